/* Which documents a step trains on, and how they are packed. Pure functions of the data, the seed and the spec. */
#include <math.h>

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "tune_private.h"

static uint64_t length_of(const sd_tuner *t, uint64_t doc)
{
    return t->sft_data->start[doc + 1] - t->sft_data->start[doc];
}

static void order_epoch(sd_tuner *t, uint64_t epoch)
{
    sd_key key = sd_key_make(t->spec.seed, SD_STREAM_SFT_ORDER, epoch);

    if (t->order_epoch == epoch)
        return;
    for (uint64_t i = 0; i < t->n_train; i++)
        t->order[sd_random_permute(key, t->n_train, i)] = t->train[i];
    t->order_epoch = epoch;
}

/* Number of documents from `first` on that fit into a step, at least one. */
static uint64_t fit(const sd_tuner *t, uint64_t first)
{
    uint64_t tokens = 0, count = 0;

    while (first + count < t->n_train) {
        tokens += length_of(t, t->order[first + count]);
        if (count > 0 && tokens > t->spec.batch)
            break;
        count++;
    }
    return count;
}

static sd_status split_documents(sd_tuner *t)
{
    sd_key key = sd_key_make(t->spec.seed, SD_STREAM_HELD_OUT, 0);
    uint64_t docs = t->sft_data->docs;
    sd_status st;

    SD_TRY(st, SD_NEW(&t->train, docs));
    SD_TRY(st, SD_NEW(&t->held, docs));
    for (uint64_t d = 0; d < docs; d++) {
        if (sd_random_uniform(key, d) < t->spec.held_out)
            t->held[t->n_held++] = d;
        else
            t->train[t->n_train++] = d;
    }
    if (t->n_train == 0 || (t->spec.held_out > 0 && t->n_held == 0))
        st = SD_FAIL(SD_E_DATA, "of %llu documents, %llu are for training and %llu are held out (finetune.eval %g); both need at least one: give "
                     "more documents",
                     (unsigned long long)docs, (unsigned long long)t->n_train, (unsigned long long)t->n_held, t->spec.held_out);
out:
    return st;
}

sd_status tune_plan(sd_tuner *t)
{
    double whole = floor(t->spec.epochs), share = t->spec.epochs - whole;
    uint64_t capacity = 64, wanted = t->spec.steps;
    sd_status st;

    SD_TRY(st, split_documents(t));
    SD_TRY(st, SD_NEW(&t->order, t->n_train));
    SD_TRY(st, SD_NEW(&t->plan, capacity));
    t->order_epoch = UINT64_MAX;
    for (uint64_t epoch = 0; wanted > 0 ? t->steps < wanted : (double)epoch < t->spec.epochs; epoch++) {
        uint64_t before = t->steps, here;

        order_epoch(t, epoch);
        for (uint64_t first = 0; first < t->n_train; first += t->plan[t->steps++].count) {
            if (t->steps == capacity) {
                tune_step_docs *grown;

                SD_TRY(st, SD_NEW(&grown, 2 * capacity));
                for (uint64_t i = 0; i < capacity; i++)
                    grown[i] = t->plan[i];
                sd_free(t->plan);
                t->plan = grown;
                capacity *= 2;
            }
            t->plan[t->steps] = (tune_step_docs){epoch, first, fit(t, first)};
        }
        here = t->steps - before;
        if (wanted == 0 && (double)epoch >= whole)
            t->steps = before + (uint64_t)ceil(share * (double)here);
    }
    if (wanted > 0)
        t->steps = wanted;
out:
    return st;
}

const uint64_t *tune_documents(sd_tuner *t, uint64_t step)
{
    order_epoch(t, t->plan[step].epoch);
    return t->order + t->plan[step].first;
}

uint64_t tune_pack(const sd_tuner *t, const uint64_t *docs, uint64_t count, uint64_t *bin, uint64_t *filled)
{
    uint64_t bins = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t b = 0, length = length_of(t, docs[i]);

        while (b < bins && filled[b] + length > t->spec.micro)
            b++;
        if (b == bins)
            filled[bins++] = 0;
        filled[b] += length;
        bin[i] = b;
    }
    return bins;
}

/* The tuner: forward and backward passes of micro-batches, the training step, the held-out loss. */
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "tune_private.h"

/* A micro-batch: the input of the model, its targets, and the results of the pass. */
typedef struct micro {
    uint64_t *start; /* [documents of the step + 1] */
    int32_t *ids, *target, *best;
    double *logp;
    uint64_t docs, rows;
} micro;

static void free_micro(micro *b)
{
    sd_free(b->start);
    sd_free(b->ids);
    sd_free(b->target);
    sd_free(b->best);
    sd_free(b->logp);
}

static sd_status create_micro(micro *b, const sd_tuner *t, uint64_t docs)
{
    sd_status st;

    SD_TRY(st, SD_NEW(&b->start, docs + 1));
    SD_TRY(st, SD_NEW(&b->ids, t->max_rows));
    SD_TRY(st, SD_NEW(&b->target, t->max_rows));
    SD_TRY(st, SD_NEW(&b->best, t->max_rows));
    SD_TRY(st, SD_NEW(&b->logp, t->max_rows));
out:
    return st;
}

static void fill_micro(micro *b, const sd_tuner *t, const uint64_t *docs, uint64_t count, const uint64_t *bin, uint64_t which)
{
    const sd_sft_data *l = t->sft_data;

    b->docs = b->rows = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (bin[i] != which)
            continue;
        for (uint64_t row = l->start[docs[i]]; row < l->start[docs[i] + 1]; row++, b->rows++) {
            bool supervised = row + 1 < l->start[docs[i] + 1] && l->supervised[row + 1];

            b->ids[b->rows] = l->ids[row];
            b->target[b->rows] = supervised ? l->ids[row + 1] : -1;
        }
        b->start[++b->docs] = b->rows;
    }
}

/* The sum of −log p and the number of top-1 hits of a micro-batch after its pass. */
static void add_up(const micro *b, double *loss, double *hits)
{
    *loss = *hits = 0;
    for (uint64_t r = 0; r < b->rows; r++)
        if (b->target[r] >= 0) {
            *loss -= b->logp[r];
            *hits += b->best[r] == b->target[r];
        }
}

/* Local. Forward, and with `scale` > 0 backward. */
static sd_status run_micro(sd_tuner *t, micro *b, double scale)
{
    const sd_pass pass = {.ids = b->ids, .doc_start = b->start, .docs = b->docs, .to_logits = true};
    sd_status st;

    if (scale > 0)
        return sd_backward_run(t->backward,
                               &(sd_train_batch){.ids = b->ids, .doc_start = b->start, .docs = b->docs, .target = b->target, .scale = scale},
                               t->grad, b->logp, b->best);
    SD_TRY(st, sd_model_forward(t->model, &pass));
    SD_TRY(st, sd_model_score(t->model, b->target, b->logp, b->best));
out:
    return st;
}

/* Collective. All micro-batches of `docs`, assigned to the ranks in turn; with `train` each rank then has the sum of their gradients over its slice. */
static sd_status run_documents(sd_tuner *t, const uint64_t *docs, uint64_t count, bool train, sd_tune_loss *loss)
{
    const sd_sft_data *l = t->sft_data;
    uint64_t *bin = NULL, *filled = NULL, bins = 0;
    double *found = NULL, hits = 0; /* found [bins, 2]: loss, hits */
    micro b = {0};
    sd_status st;

    *loss = (sd_tune_loss){0};
    st = SD_NEW(&bin, count);
    if (st == SD_OK)
        st = SD_NEW(&filled, count);
    if (st == SD_OK)
        st = create_micro(&b, t, count);
    if (st == SD_OK) {
        bins = tune_pack(t, docs, count, bin, filled);
        st = SD_NEW(&found, 2 * bins);
    }
    SD_TRY(st, sd_par_agree(t->par, st));
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t row = l->start[docs[i]]; row < l->start[docs[i] + 1]; row++, loss->tokens++)
            loss->evaluated += l->supervised[row];
    for (uint64_t first = 0; first < bins; first += (uint64_t)t->par->size) {
        uint64_t mine = first + (uint64_t)t->par->rank;
        int sources = bins - first < (uint64_t)t->par->size ? (int)(bins - first) : t->par->size;

        if (mine < bins) {
            fill_micro(&b, t, docs, count, bin, mine);
            st = run_micro(t, &b, train ? 1 / (double)loss->evaluated : 0);
            add_up(&b, &found[2 * mine], &found[2 * mine + 1]);
        }
        SD_TRY(st, sd_par_agree(t->par, st));
        if (train)
            SD_TRY(st, tune_owner_add(t, sources, first == 0));
    }
    SD_TRY(st, sd_par_share_f64(t->par, found, 2 * bins));
    for (uint64_t i = 0; i < bins; i++) {
        loss->loss += found[2 * i];
        hits += found[2 * i + 1];
    }
    loss->accuracy = hits / (double)loss->evaluated;
    loss->loss /= (double)loss->evaluated;
out:
    free_micro(&b);
    sd_free(bin);
    sd_free(filled);
    sd_free(found);
    return st;
}

sd_status sd_tuner_step_on(sd_tuner *t, const uint64_t *docs, uint64_t count, sd_tune_report *report)
{
    const sd_tune_spec *s = &t->spec;
    sd_tune_report r = {.step = t->step + 1};
    sd_slope slope = {.fall = s->fall, .peak = s->lr, .final = s->final, .steps = t->steps, .warmup = s->warmup};
    sd_status st;

    r.lr = sd_slope_rate(&slope, r.step);
    SD_TRY(st, run_documents(t, docs, count, true, &r.of));
    SD_TRY(st, tune_owner_step(t, r.step, r.lr, &r.norm));
    t->step++;
    *report = r;
out:
    return st;
}

sd_status sd_tuner_step(sd_tuner *t, sd_tune_report *report)
{
    if (t->step >= t->steps)
        return SD_FAIL(SD_E_INTERNAL, "step %llu was asked for; training has %llu", (unsigned long long)t->step + 1, (unsigned long long)t->steps);
    return sd_tuner_step_on(t, tune_documents(t, t->step), t->plan[t->step].count, report);
}

sd_status sd_tuner_evaluate(sd_tuner *t, sd_tune_loss *loss)
{
    return run_documents(t, t->held, t->n_held, false, loss);
}

/* ---- creation and destruction */

static sd_status open_tuner(sd_tuner *t)
{
    const sd_sft_data *l = t->sft_data;
    const sd_trainable *last;
    sd_tune_size size = {0};
    sd_status st;

    t->max_rows = t->spec.micro;
    for (uint64_t d = 0; d < l->docs; d++)
        t->max_rows = l->start[d + 1] - l->start[d] > t->max_rows ? l->start[d + 1] - l->start[d] : t->max_rows;
    SD_TRY(st, tune_plan(t));
    SD_TRY(st, sd_model_open(&t->model, t->dev, t->dir, t->max_rows));
    SD_TRY(st, sd_tune_measure(sd_model_config_of(t->model), &t->spec, &size));
    SD_TRY(st, sd_backward_create(&t->backward, t->model,
                                  &(sd_trainable_spec){.how = size.how, .rank = t->spec.rank,
                                                 .scale = t->spec.rank > 0 ? t->spec.alpha / (double)t->spec.rank : 0},
                                  t->spec.recompute));
    SD_TRY(st, sd_model_tensors(sd_model_config_of(t->model), &t->tensors, &t->n_tensors));
    t->trainable = sd_backward_trainable(t->backward, &t->n_trainable);
    last = &t->trainable[t->n_trainable - 1];
    t->elements = last->first + last->count;
    SD_TRY(st, tune_owner_create(t));
out:
    sd_free(size.how);
    return st;
}

sd_status sd_tuner_create(sd_tuner **tuner, const sd_par *par, sd_dev *dev, const char *dir, const sd_sft_data *sft_data,
                          const sd_tune_spec *spec)
{
    sd_tuner *t = NULL;
    sd_status st;

    *tuner = NULL;
    st = SD_NEW(&t, 1);
    if (st == SD_OK) {
        t->par = par;
        t->dev = dev;
        t->spec = *spec;
        t->sft_data = sft_data;
        st = sd_str_copy(&t->dir, dir);
    }
    if (st == SD_OK)
        st = open_tuner(t);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_group_open(&t->group, par, dev, SD_PAR_DEADLINE));
    *tuner = t;
    t = NULL;
out:
    sd_tuner_destroy(&t);
    return st;
}

const char *sd_tuner_exchange(const sd_tuner *t)
{
    return sd_group_describe(t->group);
}

void sd_tuner_destroy(sd_tuner **tuner)
{
    sd_tuner *t = *tuner;

    if (t == NULL)
        return;
    sd_group_close(&t->group);
    tune_owner_destroy(t);
    sd_backward_destroy(&t->backward);
    sd_model_close(&t->model);
    sd_free(t->tensors);
    sd_free(t->train);
    sd_free(t->held);
    sd_free(t->plan);
    sd_free(t->order);
    sd_free(t->dir);
    sd_free(t);
    *tuner = NULL;
}

uint64_t sd_tuner_steps(const sd_tuner *t)
{
    return t->steps;
}

uint64_t sd_tuner_step_count(const sd_tuner *t)
{
    return t->step;
}

uint64_t sd_tuner_held_out(const sd_tuner *t)
{
    return t->n_held;
}

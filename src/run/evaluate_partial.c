/* The long loops of `evaluate`: batches in rounds of about a second, with a vote after each, and checkpoints of the sums. A checkpoint does not
 * depend on the number of ranks. It alternates between two names, so that the recorded one is never overwritten. */
#include <stdio.h>
#include <string.h>

#include "evaluate.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/bundle.h"
#include "saediff/store/file.h"

#define FORMAT "saediff.eval-checkpoint"
enum { VERSION = 1, NAMES = 2, NAME = 24 };

static void checkpoint_path(char out[RUN_PATH], const eval_partial *p, int which)
{
    snprintf(out, RUN_PATH, "%s/checkpoint-%c.h5", p->folder, 'a' + which);
}

static sd_dtype type_of(const eval_array *a)
{
    return a->kind == EVAL_SUM ? SD_U64 : SD_F64;
}

sd_status eval_partial_add(eval_partial *p, eval_kind kind, void *data, uint64_t count)
{
    if (p->count == p->capacity) {
        uint64_t capacity = 2 * p->capacity + 32;
        eval_array *more = NULL;
        sd_status st = SD_NEW(&more, capacity);

        if (st != SD_OK)
            return st;
        if (p->count > 0)
            memcpy(more, p->array, p->count * sizeof *more);
        sd_free(p->array);
        p->array = more;
        p->capacity = capacity;
    }
    p->array[p->count++] = (eval_array){kind, data, count};
    return SD_OK;
}

void eval_partial_free(eval_partial *p)
{
    sd_free(p->array);
    sd_free(p->done);
    *p = (eval_partial){0};
}

/* ---- loading */

/* Local. This rank's part of each array; rank 0 gets all of EVAL_SUM. */
static sd_status read_checkpoint(run *r, const eval_share *share, eval_partial *p, const char *path)
{
    sd_bundle *bundle = NULL;
    uint64_t batches[1] = {share->n_batches}, *done = NULL;
    void *data = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    for (uint64_t i = 0; i < p->count; i++) {
        const eval_array *a = &p->array[i];
        uint64_t shape[1] = {a->kind == EVAL_PER_DOCUMENT ? r->tokens->docs : a->count};
        char name[NAME];

        snprintf(name, sizeof name, "%llu", (unsigned long long)i);
        SD_TRY(st, sd_bundle_read(bundle, name, type_of(a), 1, shape, &data));
        if (a->kind == EVAL_PER_DOCUMENT)
            memcpy(a->data, (const double *)data + share->first_doc, share->docs * sizeof(double));
        else if (a->kind == EVAL_SAME || r->par->rank == 0)
            memcpy(a->data, data, a->count * sizeof(double));
        sd_free(data);
        data = NULL;
    }
    SD_TRY(st, sd_bundle_read(bundle, "done", SD_U64, 1, batches, &data));
    done = data;
    memcpy(p->done, done + share->mine.first, share->mine.count * sizeof *done);
    for (uint64_t s = 0; s < share->n_batches; s++)
        p->rows_done += done[s] ? share->batch[s].rows : 0;
out:
    sd_free(data);
    sd_bundle_close(&bundle);
    return st;
}

sd_status eval_partial_load(run *r, const eval_share *share, eval_partial *p, bool *there)
{
    char relative[RUN_PATH], *path = NULL;
    sd_status st;

    *there = false;
    p->saved = sd_now();
    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&p->done, share->mine.count)));
    for (int which = 0; which < NAMES && !*there; which++) {
        checkpoint_path(relative, p, which);
        SD_TRY(st, sd_manifest_has(r->manifest, relative, p->key, there));
        p->newest = which;
    }
    if (!*there)
        goto out;
    st = run_full_path(r, relative, &path);
    if (st == SD_OK)
        st = read_checkpoint(r, share, p, path);
    SD_TRY(st, sd_par_agree(r->par, st));
    sd_say("%-16s resumes %s after %llu of %llu tokens", "evaluate", p->folder, (unsigned long long)p->rows_done,
           (unsigned long long)r->tokens->tokens);
out:
    sd_free(path);
    return st;
}

/* ---- saving */

/* Collective. Whole arrays on rank 0 in all[i], NULL on the others. */
static sd_status collect(run *r, const eval_share *share, const eval_partial *p, void **all)
{
    bool root = r->par->rank == 0;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i <= p->count; i++) {
        bool batches = i == p->count, per_document = !batches && p->array[i].kind == EVAL_PER_DOCUMENT;
        uint64_t count = batches ? share->n_batches : per_document ? r->tokens->docs : p->array[i].count;
        uint64_t *sum = NULL;

        if (root || (!batches && p->array[i].kind == EVAL_SUM))
            st = sd_alloc_bytes(&all[i], count, sizeof(double));
        SD_TRY(st, sd_par_agree(r->par, st));
        if (batches)
            SD_TRY(st, sd_par_gather(r->par, p->done, share->mine.count * sizeof *sum, all[i], count * sizeof *sum));
        else if (per_document)
            SD_TRY(st, sd_par_gather(r->par, p->array[i].data, share->docs * sizeof(double), all[i], count * sizeof(double)));
        else if (all[i] != NULL)
            memcpy(all[i], p->array[i].data, count * sizeof(double));
        sum = all[i];
        if (!batches && p->array[i].kind == EVAL_SUM)
            SD_TRY(st, sd_par_sum_u64(r->par, sum, count));
        if (!root) {
            sd_free(all[i]);
            all[i] = NULL;
        }
    }
out:
    return st;
}

/* Rank 0. */
static sd_status write_checkpoint(run *r, const eval_share *share, const eval_partial *p, void *const *all, const char *relative)
{
    char (*name)[NAME] = NULL, *path = NULL;
    sd_array *array = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&name, p->count));
    SD_TRY(st, SD_NEW(&array, p->count + 1));
    for (uint64_t i = 0; i < p->count; i++) {
        const eval_array *a = &p->array[i];

        snprintf(name[i], sizeof name[i], "%llu", (unsigned long long)i);
        array[i] = (sd_array){.name = name[i], .type = type_of(a), .dims = 1, .data = all[i], .unit = "1", .about = "sums so far",
                              .shape = {a->kind == EVAL_PER_DOCUMENT ? r->tokens->docs : a->count}};
    }
    array[p->count] = (sd_array){.name = "done", .type = SD_U64, .dims = 1, .data = all[p->count], .unit = "1",
                                 .about = "1 for each batch that is in the sums", .shape = {share->n_batches}};
    SD_TRY(st, run_full_path(r, relative, &path));
    SD_TRY(st, sd_file_make_parent(path));
    SD_TRY(st, sd_bundle_write(path, FORMAT, VERSION, NULL, 0, array, p->count + 1));
out:
    sd_free(name);
    sd_free(array);
    sd_free(path);
    return st;
}

/* Collective. */
static sd_status save(run *r, const eval_share *share, eval_partial *p)
{
    int other = 1 - p->newest;
    char path[RUN_PATH], old[RUN_PATH];
    const char *one[1] = {path};
    void **all = NULL;
    sd_status st;

    checkpoint_path(path, p, other);
    checkpoint_path(old, p, p->newest);
    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&all, p->count + 1)));
    SD_TRY(st, collect(r, share, p, all));
    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? write_checkpoint(r, share, p, all, path) : SD_OK));
    SD_TRY(st, sd_manifest_add(r->manifest, one, NULL, 1, p->key));
    SD_TRY(st, sd_manifest_withdraw(r->manifest, old));
    p->newest = other;
    p->saved = sd_now();
out:
    for (uint64_t i = 0; all != NULL && i <= p->count; i++)
        sd_free(all[i]);
    sd_free(all);
    return st;
}

sd_status eval_partial_end(run *r, const char *folder)
{
    eval_partial p = {.newest = 0};
    char path[RUN_PATH];
    sd_status st = SD_OK;

    snprintf(p.folder, sizeof p.folder, "%s", folder);
    for (int which = 0; which < NAMES; which++) {
        checkpoint_path(path, &p, which);
        SD_TRY(st, sd_manifest_withdraw(r->manifest, path));
    }
out:
    return st;
}

/* ---- the loop */

/* Collective. Number of batches until the next vote, and whether to save now, by rank 0's clock. */
static sd_status decide(run *r, const eval_partial *p, double seconds, uint64_t taken, uint64_t *round, bool *keep)
{
    double minutes = r->job->train.checkpoint_minutes, batches = seconds > 0 ? (double)taken / seconds : 1e3;
    uint64_t word[2] = {batches < 1 ? 1 : batches > 1000 ? 1000 : (uint64_t)batches, minutes > 0 && sd_now() - p->saved >= 60 * minutes};
    sd_status st;

    SD_TRY(st, sd_par_bcast(r->par, word, sizeof word, 0));
    *round = word[0];
    *keep = word[1] != 0;
out:
    return st;
}

sd_status eval_batches(run *r, const eval_share *share, eval_partial *p, sd_status (*work)(void *self, const run_batch *batch), void *self,
                     sd_progress *progress, uint64_t before)
{
    uint64_t next = 0, round = 1, most = sd_par_split(share->n_batches, 0, r->par->size).count, rows = p->rows_done;
    sd_status st = SD_OK;

    while (next < most) {
        uint64_t end = most - next < round ? most : next + round, taken = 0;
        double began = sd_now();
        bool keep;

        for (uint64_t s = next; st == SD_OK && s < end && s < share->mine.count; s++) {
            const run_batch *batch = &share->batch[share->mine.first + s];

            if (p->done[s])
                continue;
            st = work(self, batch);
            p->done[s] = 1;
            rows += batch->rows * (uint64_t)r->par->size;
            taken++;
        }
        next = end;
        SD_TRY(st, sd_par_agree(r->par, st));
        st = sd_par_agree_or_stop(r->par, SD_OK);
        if (st == SD_E_STOPPED) {
            SD_TRY(st, save(r, share, p));
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal, saved: run the same command again");
        }
        SD_TRY(st, st);
        sd_progress_set(progress, before + (rows < r->tokens->tokens ? rows : r->tokens->tokens));
        SD_TRY(st, decide(r, p, sd_now() - began, taken, &round, &keep));
        if (keep && next < most)
            SD_TRY(st, save(r, share, p));
    }
out:
    return st;
}

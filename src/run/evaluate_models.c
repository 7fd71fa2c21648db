/* Divergence of the two models, without an SAE: sums per document. */
#include <stdio.h>
#include <string.h>

#include "evaluate.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/eval/eval.h"
#include "saediff/splice/splice.h"
#include "saediff/store/file.h"

enum { FIXED = 4 }; /* tokens, both divergences, agreement; then cosines, then distances */

typedef struct pair_work {
    run *r;
    const eval_share *share;
    sd_model *model[RUN_MODELS];
    sd_pair *pair;
    uint64_t layers, width;
    double *sums;   /* [width, docs of this rank] */
    uint64_t *start;
    sd_pair_scores scores;
    eval_partial partial;
} pair_work;

static sd_status open_work(pair_work *w)
{
    run *r = w->r;
    uint64_t rows = w->share->most_rows;
    sd_status st;

    for (int m = 0; m < RUN_MODELS; m++)
        SD_TRY(st, sd_model_open(&w->model[m], r->dev, r->model_dir[m], rows));
    SD_TRY(st, sd_pair_create(&w->pair, r->dev, w->model[BASE], w->model[TUNED], rows));
    SD_TRY(st, SD_NEW(&w->sums, w->width * w->share->docs));
    SD_TRY(st, SD_NEW(&w->start, rows + 1));
    SD_TRY(st, SD_NEW(&w->scores.kl_ab, rows));
    SD_TRY(st, SD_NEW(&w->scores.kl_ba, rows));
    SD_TRY(st, SD_NEW(&w->scores.agree, rows));
    SD_TRY(st, SD_NEW(&w->scores.cosine, w->layers * rows));
    SD_TRY(st, SD_NEW(&w->scores.relative_l2, w->layers * rows));
    for (uint64_t c = 0; c < w->width; c++)
        SD_TRY(st, eval_partial_add(&w->partial, EVAL_PER_DOCUMENT, w->sums + c * w->share->docs, 0));
out:
    return st;
}

static void close_work(pair_work *w)
{
    sd_pair_destroy(&w->pair);
    for (int m = 0; m < RUN_MODELS; m++)
        sd_model_close(&w->model[m]);
    eval_partial_free(&w->partial);
    sd_free(w->sums);
    sd_free(w->start);
    sd_free(w->scores.kl_ab);
    sd_free(w->scores.kl_ba);
    sd_free(w->scores.agree);
    sd_free(w->scores.cosine);
    sd_free(w->scores.relative_l2);
}

static sd_status run_one_batch(void *self, const run_batch *batch)
{
    pair_work *w = self;
    const run *r = w->r;
    uint64_t docs = w->share->docs, n = batch->rows;
    sd_status st;

    eval_doc_starts(r, batch, w->start);
    SD_TRY(st, sd_pair_score(w->pair, run_ids(r, BASE) + batch->row, run_ids(r, TUNED) + batch->row, w->start, batch->docs, &w->scores));
    for (uint64_t d = 0; d < batch->docs; d++) {
        double *to = w->sums + (batch->doc + d - w->share->first_doc);

        for (uint64_t i = w->start[d]; i < w->start[d + 1]; i++) {
            if (!r->job->evaluate.all_positions && !eval_counts(r, batch->row + i))
                continue;
            to[0]++;
            to[docs] += w->scores.kl_ab[i];
            to[2 * docs] += w->scores.kl_ba[i];
            to[3 * docs] += w->scores.agree[i];
            for (uint64_t l = 0; l < w->layers; l++) {
                to[(FIXED + l) * docs] += w->scores.cosine[l * n + i];
                to[(FIXED + w->layers + l) * docs] += w->scores.relative_l2[l * n + i];
            }
        }
    }
out:
    return st;
}

/* Collective. */
static sd_status write_work(pair_work *w, const char *relative, const char *key)
{
    run *r = w->r;
    uint64_t docs = r->tokens->docs, bytes = w->share->docs * sizeof(double);
    sd_models_eval *e = NULL;
    char *path = NULL;
    sd_status st;

    st = r->par->rank == 0 ? sd_models_eval_create(&e, docs, r->job->n_data, w->layers) : SD_OK;
    SD_TRY(st, sd_par_agree(r->par, st));
    for (uint64_t c = 0; c < w->width; c++) {
        double *into = NULL;

        if (e != NULL) {
            double *const fixed[FIXED] = {e->tokens, e->kl_base_tuned, e->kl_tuned_base, e->agree};

            into = c < FIXED               ? fixed[c]
                   : c < FIXED + w->layers ? e->cosine + (c - FIXED) * docs
                                           : e->relative_l2 + (c - FIXED - w->layers) * docs;
        }
        SD_TRY(st, sd_par_gather(r->par, w->sums + c * w->share->docs, bytes, into, docs * sizeof(double)));
    }
    if (e != NULL) {
        e->all_positions = r->job->evaluate.all_positions;
        memcpy(e->doc_source, r->tokens->doc_source, docs * sizeof *e->doc_source);
        st = run_full_path(r, relative, &path);
        if (st == SD_OK)
            st = sd_file_make_parent(path);
        if (st == SD_OK)
            st = sd_models_eval_write(e, path);
    }
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_manifest_add(r->manifest, &relative, NULL, 1, key));
    r->made++;
out:
    sd_models_eval_destroy(&e);
    sd_free(path);
    return st;
}

sd_status eval_models(run *r, const eval_share *share)
{
    uint64_t layers = r->config[BASE].n_layers;
    pair_work w = {.r = r, .share = share, .layers = layers, .width = FIXED + 2 * layers};
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_progress progress;
    bool has, there;
    sd_status st;

    run_models_eval_path(path);
    run_models_eval_key(r, key);
    SD_TRY(st, sd_manifest_has(r->manifest, path, key, &has));
    snprintf(w.partial.folder, sizeof w.partial.folder, "eval");
    if (has) {
        st = eval_partial_end(r, w.partial.folder);
        goto out;
    }
    memcpy(w.partial.key, key, sizeof key);
    SD_TRY(st, sd_par_agree(r->par, open_work(&w)));
    sd_progress_begin(&progress, "compare models", "tokens", 0, r->tokens->tokens);
    SD_TRY(st, eval_partial_load(r, share, &w.partial, &there));
    SD_TRY(st, eval_batches(r, share, &w.partial, run_one_batch, &w, &progress, 0));
    SD_TRY(st, write_work(&w, path, key));
    SD_TRY(st, eval_partial_end(r, w.partial.folder));
    sd_progress_set(&progress, r->tokens->tokens);
    sd_progress_end(&progress, NULL);
out:
    close_work(&w);
    return st;
}

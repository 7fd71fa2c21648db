/* The stage `evaluate`: its plan, keys and paths. The unit of work is a packed batch; each rank gets a contiguous range of them. Sums are kept per
 * document and merged in document order, so they do not depend on the ranks. */
#include <stdio.h>
#include <string.h>

#include "evaluate.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

sd_status eval_share_create(eval_share *share, const run *r)
{
    sd_status st;

    *share = (eval_share){0};
    SD_TRY(st, run_batches(r->tokens, r->job->extract.batch_tokens, &share->batch, &share->n_batches));
    for (uint64_t i = 0; i < share->n_batches; i++)
        if (share->batch[i].rows > share->most_rows)
            share->most_rows = share->batch[i].rows;
    share->mine = sd_par_split(share->n_batches, r->par->rank, r->par->size);
    if (share->mine.count > 0) {
        const run_batch *first = &share->batch[share->mine.first], *last = first + share->mine.count - 1;

        share->first_doc = first->doc;
        share->docs = last->doc + last->docs - first->doc;
    }
out:
    return st;
}

void eval_share_free(eval_share *share)
{
    sd_free(share->batch);
    *share = (eval_share){0};
}

void eval_doc_starts(const run *r, const run_batch *batch, uint64_t *start)
{
    for (uint64_t i = 0; i <= batch->docs; i++)
        start[i] = r->tokens->doc_start[batch->doc + i] - batch->row;
}

bool eval_counts(const run *r, uint64_t row)
{
    return r->tokens->mask[row] != 0 || (r->job->evaluate.count_bos && r->tokens->position[row] == 0);
}

void run_eval_path(char out[RUN_PATH], const run *r, int model, const run_sae *sae)
{
    snprintf(out, RUN_PATH, "eval/%s/%s/%s/eval.h5", run_model_label(model), r->site_names[sae->site], sae->name);
}

void run_models_eval_path(char out[RUN_PATH])
{
    snprintf(out, RUN_PATH, "eval/models.h5");
}

static void add_flag(sd_sha256 *sha, bool flag)
{
    sd_sha256_add_text(sha, flag ? "1" : "0");
}

void run_eval_key(const run *r, int model, const run_sae *sae, char key[SD_SHA256_HEX])
{
    char acts[SD_SHA256_HEX];
    sd_sha256 sha;

    run_acts_key(r, model, r->site_names[sae->site], acts);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "eval 1");
    sd_sha256_add_text(&sha, acts);
    sd_sha256_add_text(&sha, sae->key);
    add_flag(&sha, r->job->evaluate.count_bos);
    sd_sha256_end(&sha, key);
}

void run_models_eval_key(const run *r, char key[SD_SHA256_HEX])
{
    char batch[32];
    sd_sha256 sha;

    snprintf(batch, sizeof batch, "%llu", (unsigned long long)r->job->extract.batch_tokens);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "models 1");
    sd_sha256_add_text(&sha, r->tokens_key);
    for (int m = 0; m < RUN_MODELS; m++)
        sd_sha256_add_text(&sha, r->model_key[m]);
    sd_sha256_add_text(&sha, batch);
    add_flag(&sha, r->job->evaluate.count_bos);
    add_flag(&sha, r->job->evaluate.all_positions);
    sd_sha256_end(&sha, key);
}

/* Tokens of every (model, site) with a missing artefact, for the progress. */
static uint64_t count_missing(const run *r)
{
    uint64_t total = 0;

    for (int m = 0; m < RUN_MODELS; m++)
        for (uint64_t site = 0; r->model_dir[m] != NULL && site < r->n_sites; site++) {
            bool missing = false;

            for (uint64_t i = 0; i < r->n_saes; i++) {
                char path[RUN_PATH], key[SD_SHA256_HEX];
                const sd_record *record;

                if (r->saes[i].site != site || r->saes[i].on_error)
                    continue;
                run_eval_path(path, r, m, &r->saes[i]);
                run_eval_key(r, m, &r->saes[i], key);
                record = sd_manifest_find(r->manifest, path);
                missing = missing || record == NULL || strcmp(record->key, key) != 0;
            }
            total += missing ? r->tokens->tokens : 0;
        }
    return total;
}

sd_status run_evaluate(run *r)
{
    eval_share share = {0};
    sd_model *model = NULL;
    sd_progress progress;
    uint64_t total, done = 0;
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    SD_TRY(st, run_need_tuned(r));
    SD_TRY(st, sd_par_agree(r->par, eval_share_create(&share, r)));
    total = count_missing(r);
    if (total > 0 && r->dtype != SD_F32)
        sd_warn("evaluate starts from activations stored as %s, so the clean pass is rounded too; set extract.dtype to f32 to avoid this",
                sd_dtype_name(r->dtype));
    sd_progress_begin(&progress, "evaluate", "tokens", 0, total);
    for (int m = 0; m < RUN_MODELS; m++) {
        for (uint64_t site = 0; r->model_dir[m] != NULL && site < r->n_sites; site++)
            SD_TRY(st, eval_site(r, &share, m, site, &model, &progress, &done));
        sd_model_close(&model);
    }
    if (total > 0)
        sd_progress_end(&progress, NULL);
    if (r->model_dir[TUNED] != NULL)
        SD_TRY(st, eval_models(r, &share));
out:
    sd_model_close(&model);
    eval_share_free(&share);
    return st;
}

/* The loss of each next token, summed for the report: means with intervals over documents. */
#include <math.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/report/report.h"
#include "saediff/store/shard.h"

sd_status run_need_losses(run *r)
{
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS && r->model_dir[m] != NULL; m++) {
        run_acts_key(r, m, "loss", key);
        for (uint64_t i = 0; i < r->shards; i++) {
            run_acts_path(path, m, "loss", i);
            SD_TRY(st, run_need(r, path, key, SD_STAGE_EXTRACT));
        }
    }
out:
    return st;
}

/* Sums per document: base, tuned, predictions. */
enum { SUMS = 3 };

/* Adds the rows of a shard, nll [rows.count], to their documents; *doc is the document of the first row, on return that of the next shard. */
static void sum_rows(const run *r, int m, sd_span rows, const double *nll, uint64_t *doc, double *const sums[SUMS])
{
    const sd_tokens *t = r->tokens;

    for (uint64_t row = rows.first; row < rows.first + rows.count; row++) {
        while (row >= t->doc_start[*doc + 1])
            ++*doc;
        if (row + 1 < t->doc_start[*doc + 1] && (t->mask[row] || (r->job->extract.loss_bos && t->position[row] == 0))) {
            sums[m][*doc] += nll[row - rows.first];
            sums[2][*doc]++;
        }
    }
}

/* Local. Per-document sums of one model, shard by shard. */
static sd_status sum_model(const run *r, int m, double *const sums[SUMS])
{
    double *nll = NULL;
    uint64_t doc = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&nll, r->shards > 0 ? run_shard_rows(r, 0).count : 0));
    for (uint64_t d = 0; d < r->tokens->docs; d++)
        sums[m][d] = sums[2][d] = 0;
    for (uint64_t i = 0; i < r->shards; i++) {
        sd_span rows = run_shard_rows(r, i);
        char relative[RUN_PATH], *path = NULL;
        sd_shard_reader *reader = NULL;

        run_acts_path(relative, m, "loss", i);
        st = run_full_path(r, relative, &path);
        if (st == SD_OK)
            st = sd_shard_open(&reader, path, "saediff.loss", 1);
        if (st == SD_OK)
            st = sd_shard_read(reader, "nll", (sd_span){0, rows.count}, nll);
        sd_shard_close(&reader);
        sd_free(path);
        SD_TRY(st, st);
        sum_rows(r, m, rows, nll, &doc, sums);
    }
out:
    sd_free(nll);
    return st;
}

/* One data entry: gathers the sums of its documents in order, and computes means and intervals. */
static sd_status summarise(const run *r, uint64_t source, double *const sums[SUMS], sd_report_loss *loss)
{
    const sd_bootstrap spec = {r->job->evaluate.resamples, r->job->seed, 0.95};
    const sd_tokens *t = r->tokens;
    double *column[SUMS] = {NULL}, *drawn = NULL, *values = NULL;
    uint64_t *document = NULL, *weights = NULL, n = 0;
    sd_status st;

    for (int c = 0; c < SUMS; c++)
        SD_TRY(st, SD_NEW(&column[c], t->docs));
    SD_TRY(st, SD_NEW(&document, t->docs));
    SD_TRY(st, SD_NEW(&drawn, spec.resamples * SUMS));
    SD_TRY(st, SD_NEW(&weights, spec.resamples));
    SD_TRY(st, SD_NEW(&values, spec.resamples));
    for (uint64_t d = 0; d < t->docs; d++) {
        if (t->doc_source[d] != source)
            continue;
        for (int c = 0; c < SUMS; c++)
            column[c][n] = sums[c][d];
        for (int m = 0; m < RUN_MODELS; m++)
            loss->nll[m] += sums[m][d];
        loss->predictions += (uint64_t)sums[2][d];
        document[n++] = d;
    }
    loss->documents = n;
    for (int i = 0; i < 3; i++)
        loss->low[i] = loss->high[i] = NAN;
    if (n < 2)
        goto out;
    sd_bootstrap_sums(&spec, (const double *const *)column, SUMS, document, n, drawn, weights);
    for (int i = 0; i < 3; i++) {
        uint64_t count = 0;

        for (uint64_t b = 0; b < spec.resamples; b++) {
            const double *s = drawn + b * SUMS;

            if (s[2] > 0)
                values[count++] = (i < 2 ? s[i] : s[TUNED] - s[BASE]) / s[2];
        }
        sd_percentiles(values, count, spec.level, &loss->low[i], &loss->high[i]);
    }
out:
    for (int c = 0; c < SUMS; c++)
        sd_free(column[c]);
    sd_free(document);
    sd_free(drawn);
    sd_free(weights);
    sd_free(values);
    return st;
}

sd_status run_read_losses(const run *r, sd_report_loss *losses)
{
    double *sums[SUMS] = {NULL};
    sd_status st;

    for (int c = 0; c < SUMS; c++)
        SD_TRY(st, SD_NEW(&sums[c], r->tokens->docs));
    for (int m = 0; m < RUN_MODELS && r->model_dir[m] != NULL; m++)
        SD_TRY(st, sum_model(r, m, sums));
    for (uint64_t i = 0; i < r->job->n_data; i++)
        SD_TRY(st, summarise(r, i, sums, &losses[i]));
out:
    for (int c = 0; c < SUMS; c++)
        sd_free(sums[c]);
    return st;
}

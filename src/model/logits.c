/* From the final norm to logits and log-probabilities. */
#include "model_private.h"
#include "saediff/dev/dense.h"

typedef unsigned long long ull;

static sd_status need_pass(const sd_model *m, const char *what)
{
    if (m->ready > 0)
        return SD_OK;
    return SD_FAIL(SD_E_INTERNAL, "%s need a preceding pass with to_logits", what);
}

static sd_mat output_matrix(const sd_model *m)
{
    return sd_mat_of(m->config.tied ? m->embed : m->head, m->config.vocabulary, m->config.d_model);
}

sd_status sd_model_unembed(sd_model *m, sd_mat normed, sd_mat logits)
{
    if (!sd_model_ends(m))
        return sd_model_need_whole(m, "logits were asked for of");
    return sd_dev_matmul(m->dev, &(sd_matmul){.a = normed, .b = output_matrix(m), .y = logits, .trans_b = true, .alpha = 1});
}

sd_status sd_model_logits(sd_model *m, sd_span rows, sd_mat logits)
{
    sd_mat normed = sd_mat_of(m->last, m->ready, m->config.d_model);
    sd_status st;

    SD_TRY(st, need_pass(m, "logits"));
    if (rows.first > m->ready || rows.count > m->ready - rows.first) {
        st = SD_FAIL(SD_E_INTERNAL, "logits of rows %llu + %llu of a pass of %llu rows", (ull)rows.first,
                     (ull)rows.count, (ull)m->ready);
        goto out;
    }
    normed = sd_mat_rows(normed, rows.first, rows.count);
    if (m->one_by_one)
        st = sd_dev_rowwise(m->dev, &(sd_rowwise){.x = normed, .w = output_matrix(m), .y = logits});
    else
        st = sd_model_unembed(m, normed, logits);
out:
    return st;
}

sd_status sd_model_score(sd_model *m, const int32_t *target, double *logp, int32_t *best)
{
    uint64_t v = m->config.vocabulary, n = m->ready;
    sd_status st;

    SD_TRY(st, need_pass(m, "scores"));
    for (uint64_t i = 0; i < n; i++)
        if (target[i] < -1 || target[i] >= (int64_t)v) {
            st =
                SD_FAIL(SD_E_DATA, "target %llu of a pass is id %d; the model's vocabulary has ids 0 to %llu",
                        (ull)i, target[i], (ull)(v - 1));
            goto out;
        }
    SD_TRY(st, sd_dev_upload(m->dev, target, sd_mat_of(m->target, 1, n)));
    for (uint64_t first = 0; first < n; first += m->score_rows) {
        uint64_t count = n - first < m->score_rows ? n - first : m->score_rows;
        sd_mat logits = sd_mat_of(m->logits, count, v);

        SD_TRY(st, sd_model_logits(m, (sd_span){first, count}, logits));
        SD_TRY(st, sd_dev_logprob(
                       m->dev, &(sd_logprob){.logits = logits,
                                             .target = sd_mat_cols(sd_mat_of(m->target, 1, n), first, count),
                                             .logp = sd_mat_cols(sd_mat_of(m->logp, 1, n), first, count),
                                             .best = sd_mat_cols(sd_mat_of(m->best, 1, n), first, count)}));
    }
    SD_TRY(st, sd_dev_download(m->dev, sd_mat_of(m->logp, 1, n), logp));
    SD_TRY(st, sd_dev_download(m->dev, sd_mat_of(m->best, 1, n), best));
out:
    return st;
}

/* Encoding, reconstruction, and training statistics. */
#include <math.h>

#include "sae_private.h"
#include "saediff/core/mem.h"

static sd_status check_rows(const sd_sae *sae, sd_mat x)
{
    if (x.rows < 1 || x.rows > sae->spec.batch || x.cols != sae->spec.d_model)
        return SD_FAIL(SD_E_INTERNAL, "rows [%llu, %llu] for an SAE of width %llu that takes at most %llu at a time",
                       (unsigned long long)x.rows, (unsigned long long)x.cols, (unsigned long long)sae->spec.d_model,
                       (unsigned long long)sae->spec.batch);
    return SD_OK;
}

sd_status sd_sae_encode(sd_sae *sae, sd_mat x, sd_mat index, sd_mat value)
{
    sd_mat xs;
    sd_status st;

    SD_TRY(st, check_rows(sae, x));
    xs = sd_mat_of(sae->xs, x.rows, x.cols);
    SD_TRY(st, sd_dev_scale(sae->dev, &(sd_scale){.x = x, .y = xs, .scale = sae->input_scale}));
    SD_TRY(st, sd_dev_encode_topk(sae->dev, &(sd_encode_topk){xs, sae_param(sae, W_ENC, sae->w[W_ENC]),
                                                               sae_param(sae, B_ENC, sae->w[B_ENC]),
                                                               sae_param(sae, B_DEC, sae->w[B_DEC]), index, value}));
out:
    return st;
}

sd_status sd_sae_reconstruct(sd_sae *sae, sd_mat x, sd_mat index, sd_mat value, sd_mat y, sd_mat row_sse)
{
    sd_mat raw, e;
    sd_status st;

    SD_TRY(st, check_rows(sae, x));
    raw = y.buf != NULL ? y : sd_mat_of(sae->y, x.rows, x.cols);
    e = sd_mat_of(sae->e, x.rows, x.cols);
    SD_TRY(st, sd_dev_decode(sae->dev, &(sd_decode){index, value, sae_param(sae, W_DEC, sae->w[W_DEC]),
                                                     sae_param(sae, B_DEC, sae->w[B_DEC]), raw, true}));
    SD_TRY(st, sd_dev_scale(sae->dev, &(sd_scale){.x = raw, .y = raw, .scale = 1 / sae->input_scale}));
    SD_TRY(st, sd_dev_recon_error(sae->dev, &(sd_recon_error){x, raw, e, row_sse}));
out:
    return st;
}

/* Σ of the n doubles in `buf`, in row order. */
static sd_status sum_rows(sd_sae *sae, sd_buf *buf, double *sum)
{
    uint64_t n = sae->spec.batch;
    double *rows = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&rows, n));
    SD_TRY(st, sd_dev_download(sae->dev, sd_mat_of(buf, 1, n), rows));
    *sum = 0;
    for (uint64_t i = 0; i < n; i++)
        *sum += rows[i];
out:
    sd_free(rows);
    return st;
}

/* Σ ‖xs − mean‖² of the last batch; y is free between steps. */
static sd_status input_spread(sd_sae *sae, double *spread)
{
    uint64_t n = sae->spec.batch, d = sae->spec.d_model;
    sd_mat xs = sd_mat_of(sae->xs, n, d), y = sd_mat_of(sae->y, n, d), mean = sd_mat_of(sae->mean, 1, d);
    sd_mat sum = sd_mat_of(sae->scalar, 1, 1);
    sd_status st;

    SD_TRY(st, sd_dev_colsum(sae->dev, &(sd_colsum){.x = xs, .y = mean}));
    SD_TRY(st, sd_dev_scale(sae->dev, &(sd_scale){.x = xs, .y = y, .scale = 1}));
    SD_TRY(st, sd_dev_axpy(sae->dev, &(sd_axpy){.x = mean, .y = y, .scale = -1.0 / (double)n}));
    SD_TRY(st, sd_dev_sumsq(sae->dev, &(sd_sumsq){.x = y, .sum = sum, .slot = 0}));
    SD_TRY(st, sd_dev_download(sae->dev, sum, spread));
out:
    return st;
}

/* Σ w² of all parameters: not finite if one of them is not. */
static sd_status sum_weights(sd_sae *sae, double *square)
{
    sd_mat sum = sd_mat_of(sae->scalar, 1, 1);
    double part;
    sd_status st = SD_OK;

    *square = 0;
    for (int i = 0; i < SAE_PARAMS; i++) {
        SD_TRY(st, sd_dev_sumsq(sae->dev, &(sd_sumsq){.x = sae_param(sae, i, sae->w[i]), .sum = sum, .slot = 0}));
        SD_TRY(st, sd_dev_download(sae->dev, sum, &part));
        *square += part;
    }
out:
    return st;
}

sd_status sd_sae_stats(sd_sae *sae, sd_sae_report *report)
{
    sd_sae_report r = {.step = sae->step, .tokens = sae->step * sae->spec.batch, .dead = sae->dead};
    double sse, spread, aux, weights;
    sd_status st;

    SD_TRY(st, sum_rows(sae, sae->row_sse, &sse));
    SD_TRY(st, input_spread(sae, &spread));
    r.mse = sse / (double)sae->spec.batch;
    r.fvu = sse / spread;
    if (sae->aux_spread > 0) {
        SD_TRY(st, sum_rows(sae, sae->aux.row_sse, &aux));
        r.aux = aux / sae->aux_spread;
    }
    r.total = r.mse + sae->aux_weight * r.aux;
    SD_TRY(st, sd_adam_norm(sae->adam, &r.grad_norm));
    SD_TRY(st, sum_weights(sae, &weights));
    if (!isfinite(r.total) || !isfinite(r.grad_norm) || !isfinite(weights))
        return SD_FAIL(SD_E_DATA, "step %llu: loss %g, gradient norm %g, sum of squared weights %g: training has diverged; lower train.lr or look for outliers in "
                                  "the activations",
                       (unsigned long long)sae->step, r.total, r.grad_norm, weights);
    *report = r;
out:
    return st;
}

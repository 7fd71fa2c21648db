/* One training step. The gradient of the mean squared error touches the n·k active pairs only. */
#include "sae_private.h"

sd_status sd_sae_gradient(sd_sae *sae, sd_mat x)
{
    const sd_sae_spec *spec = &sae->spec;
    uint64_t n = spec->batch, d = spec->d_model, k = spec->k, latents = spec->n_latents;
    sd_dev *dev = sae->dev;
    double scale = -2.0 / (double)n; /* of ∂mse/∂x̂ = −2/n e */
    sd_mat w_enc = sae_param(sae, W_ENC, sae->w[W_ENC]), w_dec = sae_param(sae, W_DEC, sae->w[W_DEC]);
    sd_mat b_enc = sae_param(sae, B_ENC, sae->w[B_ENC]), b_dec = sae_param(sae, B_DEC, sae->w[B_DEC]);
    sd_mat g_enc_bias = sae_param(sae, B_ENC, sae->g[B_ENC]), g_dec_bias = sae_param(sae, B_DEC, sae->g[B_DEC]);
    sd_mat xs = sd_mat_of(sae->xs, n, d), y = sd_mat_of(sae->y, n, d), e = sd_mat_of(sae->e, n, d);
    sd_mat index = sd_mat_of(sae->index, n, k), value = sd_mat_of(sae->value, n, k), grad = {0}, begin, entry;
    sd_status st;

    if (!sae->trains)
        return SD_FAIL(SD_E_INTERNAL, "this SAE was opened for inference, not for training");
    if (x.rows != n || x.cols != d)
        return SD_FAIL(SD_E_INTERNAL, "a training step needs %llu rows of %llu, not %llu of %llu", (unsigned long long)n,
                       (unsigned long long)d, (unsigned long long)x.rows, (unsigned long long)x.cols);
    grad = sd_mat_of(sae->grad, n, k);
    begin = sd_mat_of(sae->begin, 1, latents + 1);
    entry = sd_mat_of(sae->entry, 1, n * k);

    SD_TRY(st, sd_dev_scale(dev, &(sd_scale){.x = x, .y = xs, .scale = sae->input_scale}));
    SD_TRY(st, sd_dev_encode_topk(dev, &(sd_encode_topk){xs, w_enc, b_enc, b_dec, index, value}));
    SD_TRY(st, sd_dev_decode(dev, &(sd_decode){index, value, w_dec, b_dec, y, true}));
    SD_TRY(st, sd_dev_recon_error(dev, &(sd_recon_error){xs, y, e, sd_mat_of(sae->row_sse, 1, n)}));

    SD_TRY(st, sd_dev_code_grad(dev, &(sd_code_grad){e, w_dec, index, value, grad, scale, true}));
    SD_TRY(st, sd_dev_invert(dev, &(sd_invert){index, begin, entry}));
    SD_TRY(st, sd_dev_scatter(dev, &(sd_scatter){.coef = value,
                                                 .begin = begin,
                                                 .entry = entry,
                                                 .x = e,
                                                 .y = sae_param(sae, W_DEC, sae->g[W_DEC]),
                                                 .scale = scale,
                                                 .relu = true}));
    SD_TRY(st, sd_dev_scatter(dev, &(sd_scatter){.coef = grad,
                                                 .begin = begin,
                                                 .entry = entry,
                                                 .x = xs,
                                                 .shift = b_dec,
                                                 .y = sae_param(sae, W_ENC, sae->g[W_ENC]),
                                                 .sum = g_enc_bias,
                                                 .scale = 1}));
    /* b_dec is added to x̂ and subtracted from the encoder's input: −2/n Σ e − Σ_i (∂/∂b_enc)_i W_enc[i]. */
    SD_TRY(st, sd_dev_colsum(dev, &(sd_colsum){.x = e, .y = g_dec_bias}));
    SD_TRY(st, sd_dev_matmul(dev, &(sd_matmul){.a = g_enc_bias,
                                               .b = w_enc,
                                               .y = g_dec_bias,
                                               .alpha = -1,
                                               .beta = scale}));
    SD_TRY(st, sae_aux_gradient(sae));
out:
    return st;
}

sd_status sd_sae_update(sd_sae *sae)
{
    uint64_t n = sae->spec.batch, k = sae->spec.k, latents = sae->spec.n_latents;
    sd_status st;

    SD_TRY(st, sd_adam_step(sae->adam, sae->step + 1, sd_schedule_rate(&sae->spec.schedule, sae->step + 1)));
    SD_TRY(st, sd_dev_track_fires(sae->dev, &(sd_track_fires){.index = sd_mat_of(sae->index, n, k),
                                                              .value = sd_mat_of(sae->value, n, k),
                                                              .since = sd_mat_of(sae->since, 1, latents),
                                                              .fires = sd_mat_of(sae->fires, 1, latents),
                                                              .tokens = n}));
    sae->step++;
out:
    return st;
}

sd_status sd_sae_step(sd_sae *sae, sd_mat x)
{
    sd_status st = sd_sae_gradient(sae, x);

    return st == SD_OK ? sd_sae_update(sae) : st;
}

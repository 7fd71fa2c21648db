/* Initial values. */
#include <math.h>

#include "sae_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"

enum { MEDIAN_STEPS = 200 };

/* input_scale = 1 / sqrt(mean square of a component). */
static sd_status measure_scale(sd_sae *sae, sd_mat x)
{
    sd_mat sum = sd_mat_of(sae->scalar, 1, 1);
    double square;
    sd_status st;

    SD_TRY(st, sd_dev_sumsq(sae->dev, &(sd_sumsq){.x = x, .sum = sum, .slot = 0}));
    SD_TRY(st, sd_dev_download(sae->dev, sum, &square));
    if (!isfinite(square))
        return SD_FAIL(SD_E_DATA, "the first %llu rows of activations hold a NaN or an infinity; an SAE cannot be initialised from them",
                       (unsigned long long)x.rows);
    if (!(square > 0))
        return SD_FAIL(SD_E_DATA, "the first %llu rows of activations are all zero; an SAE cannot be initialised from them",
                       (unsigned long long)x.rows);
    sae->input_scale = 1 / sqrt(square / ((double)x.rows * (double)x.cols));
out:
    return st;
}

/* b_dec = the geometric median of xs by Weiszfeld's iteration from the mean, until it moves by less than 1e-6 of a component's
 * unit scale. */
static sd_status find_median(sd_sae *sae, sd_mat xs)
{
    sd_mat b_dec = sae_param(sae, B_DEC, sae->w[B_DEC]), moved_mat = sd_mat_of(sae->scalar, 1, 1);
    double moved = INFINITY;
    sd_status st;

    SD_TRY(st, sd_dev_colsum(sae->dev, &(sd_colsum){.x = xs, .y = b_dec}));
    SD_TRY(st, sd_dev_scale(sae->dev, &(sd_scale){.x = b_dec, .y = b_dec, .scale = 1.0 / (double)xs.rows}));
    for (int i = 0; i < MEDIAN_STEPS && moved > 1e-6; i++) {
        SD_TRY(st, sd_dev_median_step(sae->dev, &(sd_median_step){xs, b_dec, b_dec, moved_mat, 1e-9}));
        SD_TRY(st, sd_dev_download(sae->dev, moved_mat, &moved));
    }
out:
    return st;
}

/* Directions uniform on the sphere, from the seed alone. */
static sd_status draw_directions(sd_sae *sae)
{
    uint64_t latents = sae->spec.n_latents, d = sae->spec.d_model;
    sd_key key = sd_key_make(sae->spec.seed, SD_STREAM_SAE_INIT, 0);
    sd_real *rows = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&rows, latents * d));
    for (uint64_t i = 0; i < latents; i++) {
        double square = 0, length;

        for (uint64_t c = 0; c < d; c++) {
            double z = sd_random_normal(key, i * d + c);

            rows[i * d + c] = (sd_real)z;
            square += z * z;
        }
        length = sqrt(square);
        for (uint64_t c = 0; c < d; c++)
            rows[i * d + c] = (sd_real)((double)rows[i * d + c] / length);
    }
    SD_TRY(st, sd_dev_upload(sae->dev, rows, sae_param(sae, W_DEC, sae->w[W_DEC])));
    SD_TRY(st, sd_dev_upload(sae->dev, rows, sae_param(sae, W_ENC, sae->w[W_ENC])));
out:
    sd_free(rows);
    return st;
}

sd_status sd_sae_start(sd_sae *sae, sd_mat x)
{
    sd_buf *scaled = NULL;
    sd_mat xs;
    sd_status st;

    SD_TRY(st, measure_scale(sae, x));
    SD_TRY(st, sd_buf_create(&scaled, sae->dev, SD_REAL, x.rows * x.cols));
    xs = sd_mat_of(scaled, x.rows, x.cols);
    SD_TRY(st, sd_dev_scale(sae->dev, &(sd_scale){.x = x, .y = xs, .scale = sae->input_scale}));
    SD_TRY(st, find_median(sae, xs));
    SD_TRY(st, draw_directions(sae));
    SD_TRY(st, sd_dev_unit_rows(sae->dev, &(sd_unit_rows){sae_param(sae, W_DEC, sae->w[W_DEC])}));
    SD_TRY(st, sd_dev_fill(sae->dev, &(sd_fill){.y = sae_param(sae, B_ENC, sae->w[B_ENC])}));
    SD_TRY(st, sd_dev_fill(sae->dev, &(sd_fill){.y = sd_mat_of(sae->since, 1, sae->spec.n_latents)}));
    SD_TRY(st, sd_dev_fill(sae->dev, &(sd_fill){.y = sd_mat_of(sae->fires, 1, sae->spec.n_latents)}));
    st = sd_dev_wait(sae->dev);
out:
    sd_buf_destroy(&scaled);
    return st;
}

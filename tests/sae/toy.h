/* Rows made of a few known directions, for SAEs to find. */
#ifndef SAEDIFF_TESTS_SAE_TOY_H
#define SAEDIFF_TESTS_SAE_TOY_H

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/sae/sae.h"

enum { TOY_D = 12, TOY_F = 40, TOY_BATCH = 96, TOY_K = 3 };

/* Row r of batch b: 5 + two of 20 fixed directions, with positive weights. */
static inline void toy_rows(uint64_t batch, float *rows)
{
    sd_key directions = sd_key_make(77, SD_STREAM_TEST, 0), draws = sd_key_make(78, SD_STREAM_TEST, batch);

    for (uint64_t r = 0; r < TOY_BATCH; r++)
        for (uint64_t c = 0; c < TOY_D; c++) {
            double value = 5;

            for (uint64_t j = 0; j < 2; j++) {
                uint64_t which = sd_random_u64(draws, 4 * r + 2 * j) % 20;

                value += (1 + 3 * sd_random_uniform(draws, 4 * r + 2 * j + 1)) *
                         sd_random_normal(directions, which * TOY_D + c);
            }
            rows[r * TOY_D + c] = (float)value;
        }
}

static inline sd_sae_spec toy_spec(void)
{
    return (sd_sae_spec){.d_model = TOY_D, .n_latents = TOY_F, .k = TOY_K, .k_aux = 8, .dead_tokens = 5 * TOY_BATCH,
                         .batch = TOY_BATCH, .aux_coef = 1.0 / 32, .adam = {0.9, 0.999, 1e-8, 0, 1},
                         .schedule = {5e-3, 400, 20, 80}, .seed = 3};
}

/* A device and an SAE that has done `steps` steps from the start, or from `file` if it is not NULL. */
typedef struct toy {
    sd_dev *dev;
    sd_sae *sae;
    sd_buf *x;
} toy;

static inline void toy_open(toy *t, const char *device, int threads, const char *file)
{
    static float rows[TOY_BATCH * TOY_D];
    sd_sae_spec spec = toy_spec();

    *t = (toy){0};
    CHECK_OK(sd_dev_open(&t->dev, device, threads));
    CHECK_OK(sd_sae_create(&t->sae, t->dev, &spec));
    CHECK_OK(sd_buf_create(&t->x, t->dev, SD_REAL, TOY_BATCH * TOY_D));
    toy_rows(0, rows);
    CHECK_OK(sd_dev_upload_as(t->dev, rows, SD_F32, sd_mat_of(t->x, TOY_BATCH, TOY_D)));
    if (file != NULL)
        CHECK_OK(sd_sae_load(t->sae, file));
    else
        CHECK_OK(sd_sae_start(t->sae, sd_mat_of(t->x, TOY_BATCH, TOY_D)));
}

static inline void toy_train(toy *t, uint64_t until)
{
    static float rows[TOY_BATCH * TOY_D];

    while (sd_sae_step_count(t->sae) < until) {
        toy_rows(sd_sae_step_count(t->sae), rows);
        CHECK_OK(sd_dev_upload_as(t->dev, rows, SD_F32, sd_mat_of(t->x, TOY_BATCH, TOY_D)));
        CHECK_OK(sd_sae_step(t->sae, sd_mat_of(t->x, TOY_BATCH, TOY_D)));
    }
}

static inline void toy_close(toy *t)
{
    sd_sae_destroy(&t->sae);
    sd_buf_destroy(&t->x);
    sd_dev_close(&t->dev);
}

/* All weights one after another, f32. */
enum { TOY_WEIGHTS = 2 * TOY_F * TOY_D + TOY_F + TOY_D };
static inline void toy_weights(toy *t, float out[TOY_WEIGHTS])
{
    static const char *const names[] = {"W_enc", "b_enc", "W_dec", "b_dec"};
    uint64_t at = 0;

    for (int i = 0; i < 4; i++) {
        sd_mat m;

        CHECK_OK(sd_sae_array(t->sae, names[i], &m));
        CHECK_OK(sd_dev_download_as(t->dev, m, out + at, SD_F32));
        at += m.rows * m.cols;
    }
    CHECK(at == TOY_WEIGHTS);
}

#endif

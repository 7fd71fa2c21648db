#include "toy.h"

static void test_training_explains_what_it_sees(void)
{
    sd_sae_report before, after;
    toy t;

    toy_open(&t, "cpu", 1, NULL);
    toy_train(&t, 1);
    CHECK_OK(sd_sae_stats(t.sae, &before));
    toy_train(&t, 400);
    CHECK_OK(sd_sae_stats(t.sae, &after));
    CHECK(before.fvu > 0.3 && after.fvu < 0.05);
    CHECK(after.step == 400 && after.tokens == 400 * TOY_BATCH);
    toy_close(&t);
}

static void test_decoder_rows_keep_length_one(void)
{
    float w[TOY_F * TOY_D];
    sd_mat m;
    toy t;

    toy_open(&t, "cpu", 1, NULL);
    toy_train(&t, 30);
    CHECK_OK(sd_sae_array(t.sae, "W_dec", &m));
    CHECK_OK(sd_dev_download_as(t.dev, m, w, SD_F32));
    for (int i = 0; i < TOY_F; i++) {
        double square = 0;

        for (int c = 0; c < TOY_D; c++)
            square += (double)w[i * TOY_D + c] * (double)w[i * TOY_D + c];
        CHECK_NEAR(square, 1, 1e-5);
    }
    toy_close(&t);
}

/* The same bits with any number of threads, and on the strict backend. */
static void test_bits_do_not_depend_on_threads_or_queueing(void)
{
    static float first[TOY_WEIGHTS], other[TOY_WEIGHTS];
    static const struct {
        const char *device;
        int threads;
    } runs[] = {{"cpu", 1}, {"cpu", 2}, {"cpu", 3}, {"strict", 2}};

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        toy t;

        toy_open(&t, runs[i].device, runs[i].threads, NULL);
        toy_train(&t, 40);
        toy_weights(&t, i == 0 ? first : other);
        CHECK(i == 0 || memcmp(first, other, sizeof first) == 0);
        toy_close(&t);
    }
}

static void test_start_is_scaled_centred_and_seeded(void)
{
    static float rows[TOY_BATCH * TOY_D], w[TOY_WEIGHTS];
    double square = 0, centre[TOY_D] = {0}, scale;
    toy t;

    toy_rows(0, rows);
    for (int i = 0; i < TOY_BATCH * TOY_D; i++)
        square += (double)rows[i] * (double)rows[i] / (TOY_BATCH * TOY_D);
    toy_open(&t, "cpu", 1, NULL);
    scale = sd_sae_input_scale(t.sae);
    CHECK_NEAR(scale, 1 / sqrt(square), 1e-6);
    toy_weights(&t, w);
    for (int i = 0; i < TOY_F * TOY_D; i++)
        CHECK_NEAR((double)w[i], (double)w[TOY_F * TOY_D + TOY_F + i], 1e-6);
    for (int i = 0; i < TOY_F; i++)
        CHECK(w[TOY_F * TOY_D + i] == 0);
    /* At the geometric median the unit vectors towards the rows cancel. */
    for (int r = 0; r < TOY_BATCH; r++) {
        double length = 0, to[TOY_D];

        for (int c = 0; c < TOY_D; c++) {
            to[c] = (double)rows[r * TOY_D + c] * scale - (double)w[TOY_WEIGHTS - TOY_D + c];
            length += to[c] * to[c];
        }
        for (int c = 0; c < TOY_D; c++)
            centre[c] += to[c] / sqrt(length);
    }
    for (int c = 0; c < TOY_D; c++)
        CHECK_NEAR(centre[c] / TOY_BATCH, 0, 1e-4);
    toy_close(&t);
}

/* Silence is counted in tokens, and ends with the first positive value. */
static void test_dead_counters(void)
{
    uint64_t since[TOY_F], fires[TOY_F], total = 0;
    sd_mat m;
    toy t;

    toy_open(&t, "cpu", 1, NULL);
    toy_train(&t, 4);
    CHECK_OK(sd_sae_array(t.sae, "since", &m));
    CHECK_OK(sd_dev_download(t.dev, m, since));
    CHECK_OK(sd_sae_array(t.sae, "fires", &m));
    CHECK_OK(sd_dev_download(t.dev, m, fires));
    for (int i = 0; i < TOY_F; i++) {
        CHECK(since[i] % TOY_BATCH == 0 && since[i] <= 4 * TOY_BATCH);
        CHECK((fires[i] == 0) == (since[i] == 4 * TOY_BATCH));
        total += fires[i];
    }
    CHECK(total > 0 && total <= 4 * TOY_BATCH * TOY_K);
    toy_close(&t);
}

static void test_bad_rows_are_refused(void)
{
    static float rows[TOY_BATCH * TOY_D];
    sd_sae_spec spec = toy_spec();
    sd_sae_report report;
    sd_sae *none = NULL;
    toy t;

    toy_open(&t, "cpu", 1, NULL);
    memset(rows, 0, sizeof rows);
    CHECK_OK(sd_dev_upload_as(t.dev, rows, SD_F32, sd_mat_of(t.x, TOY_BATCH, TOY_D)));
    CHECK_FAILS(sd_sae_start(t.sae, sd_mat_of(t.x, TOY_BATCH, TOY_D)), SD_E_DATA, "all zero");
    rows[17] = (float)NAN;
    CHECK_OK(sd_dev_upload_as(t.dev, rows, SD_F32, sd_mat_of(t.x, TOY_BATCH, TOY_D)));
    CHECK_FAILS(sd_sae_start(t.sae, sd_mat_of(t.x, TOY_BATCH, TOY_D)), SD_E_DATA, "NaN");
    toy_train(&t, 1);
    CHECK_OK(sd_dev_upload_as(t.dev, rows, SD_F32, sd_mat_of(t.x, TOY_BATCH, TOY_D)));
    CHECK_OK(sd_sae_step(t.sae, sd_mat_of(t.x, TOY_BATCH, TOY_D)));
    CHECK_FAILS(sd_sae_stats(t.sae, &report), SD_E_DATA, "step 2");
    spec.k = TOY_F + 1;
    CHECK_FAILS(sd_sae_create(&none, t.dev, &spec), SD_E_USAGE, "sae.k is 41; it must be 1 to sae.latents = 40");
    toy_close(&t);
}

static const test_case tests[] = {
    TEST(test_training_explains_what_it_sees),
    TEST(test_decoder_rows_keep_length_one),
    TEST(test_bits_do_not_depend_on_threads_or_queueing),
    TEST(test_start_is_scaled_centred_and_seeded),
    TEST(test_dead_counters),
    TEST(test_bad_rows_are_refused),
};

TEST_MAIN(tests, NULL, NULL)

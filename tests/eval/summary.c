/* The conformance vectors of the measures, intervals, density, and verdicts. */
#include "sums.h"

static const sd_bootstrap spec = {1000, 3, 0.95};
static sd_measure m[SD_EVAL_IDS];

#define VALUE(name) (m[SD_EVAL_ID_##name].value)

/* Rows with a mean far larger than their spread. */
static void fill_rows(double x[][4], double *mean, int n)
{
    sd_key key = sd_key_make(1, SD_STREAM_TEST, 5);

    for (int c = 0; c < 4; c++)
        mean[c] = 0;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 4; c++) {
            x[i][c] = 1000.0 * (c + 1) + sd_random_normal(key, (uint64_t)(4 * i + c));
            mean[c] += x[i][c] / n;
        }
}

/* Predicting the mean explains nothing, however large the mean; x itself explains all; MSE does not depend on how many rows there are. */
static void test_explained_variance(void)
{
    double x[60][4], mean[4], mse = 0;

    fill_rows(x, mean, 60);
    for (int what = 0; what < 2; what++) {
        sd_eval *e = sums_eval(4, 1, 5);

        for (int i = 0; i < 60; i++)
            sums_row(e, (uint64_t)i % 4, x[i], what ? x[i] : mean, mean);
        CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
        CHECK_NEAR(VALUE(explained_variance), what, 1e-12);
        CHECK_NEAR(VALUE(mse_per_token), 4 * VALUE(mse_per_component), 1e-12);
        CHECK_NEAR(VALUE(compat_loss_recovered), 100.0 * what, 1e-9);
        if (what) {
            CHECK(VALUE(mse_per_token) == 0 && !signbit(VALUE(mse_per_token)));
            CHECK_NEAR(VALUE(cosine), 1, 1e-12);
            CHECK_NEAR(VALUE(l2_ratio), 1, 1e-12);
            CHECK_NEAR(VALUE(relative_bias), 1, 1e-12);
        } else {
            mse = VALUE(mse_per_token);
            for (int i = 0; i < 60; i++)
                sums_row(e, (uint64_t)i % 4, x[i], mean, mean);
            CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
            CHECK_NEAR(VALUE(mse_per_token), mse, 1e-12 * mse);
        }
        CHECK(m[SD_EVAL_ID_cosine].n_tokens == (what ? 60 : 120) && m[SD_EVAL_ID_cosine].n_documents == 4);
        sd_eval_destroy(&e);
    }
}

/* A ratio of sums over unequal documents is not the mean of their ratios. An SAE worse than the mean has a negative EV, which only S1's
 * measure clamps. */
static void test_ratio_of_sums(void)
{
    sd_eval *e = sums_eval(2, 2, 5);

    for (int d = 0; d < 2; d++) {
        e->column[SD_EVAL_tokens][d] = d ? 90 : 10;
        e->column[SD_EVAL_all_tokens][d] = d ? 90 : 10;
        e->column[SD_EVAL_sse][d] = e->column[SD_EVAL_all_sse][d] = d ? 9 : 30;
        e->column[SD_EVAL_spread][d] = e->column[SD_EVAL_all_spread][d] = d ? 90 : 10;
        e->column[SD_EVAL_spread_source][d] = e->column[SD_EVAL_all_spread_source][d] = d ? 45 : 10;
        e->column[SD_EVAL_l0][d] = d ? 180 : 40;
    }
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    CHECK_NEAR(VALUE(explained_variance), 1 - 39.0 / 100, 1e-15);
    CHECK_NEAR(VALUE(l0), 2.2, 1e-15);
    CHECK(isnan(VALUE(ce_clean)) && isnan(VALUE(ce_recovered_mean)) && m[SD_EVAL_ID_ce_clean].n_documents == 0);
    CHECK_OK(sd_eval_summary(e, 0, &spec, m));
    CHECK_NEAR(VALUE(explained_variance), -2, 1e-15);
    CHECK(VALUE(compat_loss_recovered) == 0);
    CHECK(isnan(m[SD_EVAL_ID_l0].low) && isnan(m[SD_EVAL_ID_l0].high) && m[SD_EVAL_ID_l0].n_documents == 1);
    CHECK_OK(sd_eval_summary(e, 1, &spec, m));
    CHECK_NEAR(VALUE(explained_variance), 1 - 9.0 / 45, 1e-15);
    CHECK_FAILS(sd_eval_summary(e, 2, &spec, m), SD_E_INTERNAL, "data entry 2");
    sd_eval_destroy(&e);
}

/* Identity → 1; zero → zero-floor 0; mean → mean-floor 0; in between and beyond as they come. */
static void test_recovered(void)
{
    sd_eval *e = sums_eval(3, 1, 5);

    for (int which = 0; which < 4; which++) {
        for (int d = 0; d < 3; d++) {
            double clean = 2.0 * (d + 1), zero = 9.0 * (d + 1), mean = 6.0 * (d + 1), kl_zero = 5.0, kl_mean = 3.0;

            e->column[SD_EVAL_predictions][d] = d + 1;
            e->column[SD_EVAL_tokens][d] = d + 2;
            e->column[SD_EVAL_ce_clean][d] = clean;
            e->column[SD_EVAL_ce_zero][d] = zero;
            e->column[SD_EVAL_ce_mean][d] = mean;
            e->column[SD_EVAL_ce_sae][d] = which == 0 ? clean : which == 1 ? zero : which == 2 ? mean : 7.0 * (d + 1);
            e->column[SD_EVAL_kl_zero][d] = kl_zero;
            e->column[SD_EVAL_kl_mean][d] = kl_mean;
            e->column[SD_EVAL_kl_sae][d] = which == 0 ? 0 : which == 1 ? kl_zero : which == 2 ? kl_mean : 4;
        }
        CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
        CHECK(VALUE(ce_clean) == 2 && VALUE(ce_zero) == 9 && VALUE(ce_mean) == 6);
        CHECK_NEAR(VALUE(ce_recovered_zero), which == 0 ? 1 : which == 1 ? 0 : which == 2 ? 3.0 / 7 : 2.0 / 7, 1e-15);
        CHECK_NEAR(VALUE(ce_recovered_mean), which == 0 ? 1 : which == 1 ? -0.75 : which == 2 ? 0 : -0.25, 1e-15);
        CHECK_NEAR(VALUE(kl_recovered_zero), which == 0 ? 1 : which == 1 ? 0 : which == 2 ? 0.4 : 0.2, 1e-15);
        CHECK_NEAR(VALUE(kl_recovered_mean), which == 0 ? 1 : which == 1 ? -2.0 / 3 : which == 2 ? 0 : -1.0 / 3, 1e-15);
        CHECK(m[SD_EVAL_ID_ce_sae].n_tokens == 6 && m[SD_EVAL_ID_l0].n_tokens == 9);
        CHECK_NEAR(m[SD_EVAL_ID_ce_clean].low, 2, 1e-12); /* the same in every document */
        CHECK_NEAR(m[SD_EVAL_ID_ce_clean].high, 2, 1e-12);
    }
    e->column[SD_EVAL_ce_sae][1] = (double)NAN;
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    CHECK(isnan(VALUE(ce_sae)) && isnan(m[SD_EVAL_ID_ce_recovered_zero].low) && VALUE(ce_zero) == 9);
    sd_eval_destroy(&e);
}

/* Health cannot tell where latents that fire once or twice are as many as those that never fire, and where densities are near 0.8. */
static void test_ranges_of_latents(void)
{
    enum { SILENT = 60, ONCE = 10, TWICE = 4, NEAR = 3, OFTEN = 23, ALL = 100 };
    sd_health h;
    sd_eval *e = sums_eval(2, 1, ALL);
    double high = 9 * exp(1.959964 * sqrt(log(1 + 58.06 / 81))); /* 10·9 / (2·5) = 9; its variance 9 + 36.1 + 12.96 */

    e->column[SD_EVAL_tokens][0] = 600;
    e->column[SD_EVAL_tokens][1] = 400;
    for (int i = SILENT; i < ALL; i++)
        e->fires[i] = i < SILENT + ONCE ? 1 : i < SILENT + ONCE + TWICE ? 2 : i < ALL - OFTEN ? 790 : i < ALL - 1 ? 100 : 900;
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    CHECK_NEAR(m[SD_EVAL_ID_dead].low, (60 - high) / 100, 1e-5);
    CHECK(high > 20 && m[SD_EVAL_ID_dead].high == 0.6 && VALUE(dead) == 0.6);
    CHECK_NEAR(VALUE(always_on), 0.01, 1e-15);
    CHECK(m[SD_EVAL_ID_always_on].low == 0.01 && m[SD_EVAL_ID_always_on].high == 0.04);
    sd_eval_health(m, &(sd_health_rule){.max_dead = 0.5}, &h);
    CHECK(h.dead == SD_UNDECIDED);
    sd_eval_health(m, &(sd_health_rule){.max_dead = 0.2}, &h);
    CHECK(h.dead == SD_FAILS);
    sd_eval_health(m, &(sd_health_rule){.max_dead = 0.6}, &h);
    CHECK(h.dead == SD_PASSES);
    sd_eval_destroy(&e);
}

/* Density, its histogram, the bound of the dead, and S1's dead. */
static void test_latents(void)
{
    static const uint64_t fires[2][5] = {{0, 0, 3, 900, 2000}, {0, 1, 2, 900, 48}};
    uint64_t bins[SD_DENSITY_BINS], never, in_bins = 0;
    sd_eval *e = sums_eval(2, 2, 5);

    e->column[SD_EVAL_tokens][0] = 2000;
    e->column[SD_EVAL_tokens][1] = 48 + 1;
    for (int i = 0; i < 10; i++) {
        e->fires[i] = fires[i / 5][i % 5];
        e->strength[i] = (double)fires[i / 5][i % 5] * (i % 5 == 3 ? 0.05 : 2);
    }
    e->redundancy = 0.3;
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    CHECK_NEAR(VALUE(dead), 0.2, 1e-15);
    CHECK_NEAR(VALUE(always_on), 0.4, 1e-15); /* 1800 and 2048 of 2049 */
    CHECK_NEAR(VALUE(compat_dead), 60, 1e-12); /* never, once, and often but weak */
    CHECK(isnan(m[SD_EVAL_ID_compat_dead].low) && VALUE(decoder_redundancy) == 0.3 && m[SD_EVAL_ID_decoder_redundancy].low == 0.3);
    /* One latent fires once: nothing to expect from it. */
    CHECK(m[SD_EVAL_ID_dead].low == 0.2 && m[SD_EVAL_ID_dead].high == 0.2);
    CHECK(m[SD_EVAL_ID_always_on].low == 0.4 && m[SD_EVAL_ID_always_on].high == 0.4);
    e->column[SD_EVAL_tokens][1] = 48;
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    CHECK_NEAR(VALUE(dead_bound), 1.46e-3, 0.01e-3); /* n = 2048 */
    CHECK_OK(sd_eval_summary(e, 0, &spec, m));
    CHECK_NEAR(VALUE(dead), 0.4, 1e-15);
    CHECK_NEAR(VALUE(always_on), 0.2, 1e-15);
    sd_eval_density(e, SD_EVAL_ALL, bins, &never);
    for (int b = 0; b < SD_DENSITY_BINS; b++)
        in_bins += bins[b];
    CHECK(never == 1 && in_bins == 4);
    CHECK(bins[(int)floor(4 * (log10(5.0 / 2048) + 8))] == 1 && bins[SD_DENSITY_BINS - 1] == 2);
    e->column[SD_EVAL_tokens][0] = e->column[SD_EVAL_tokens][1] = 0;
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    CHECK(isnan(VALUE(dead)) && VALUE(dead_bound) == 1);
    sd_eval_destroy(&e);
}

/* The interval of a mean over many equal-sized documents is that of the normal law. */
static void test_interval(void)
{
    enum { DOCS = 400 };
    sd_eval *e = sums_eval(DOCS, 1, 5);
    sd_key key = sd_key_make(8, SD_STREAM_TEST, 6);
    double mean = 0, square = 0, half;

    for (uint64_t d = 0; d < DOCS; d++) {
        double l0 = 30 + 5 * sd_random_normal(key, d);

        e->column[SD_EVAL_tokens][d] = 10;
        e->column[SD_EVAL_l0][d] = 10 * l0;
        mean += l0 / DOCS;
        square += l0 * l0 / DOCS;
    }
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &spec, m));
    half = 1.96 * sqrt((square - mean * mean) / DOCS);
    CHECK_NEAR(VALUE(l0), mean, 1e-12 * mean);
    CHECK_NEAR(m[SD_EVAL_ID_l0].low, mean - half, 0.15 * half);
    CHECK_NEAR(m[SD_EVAL_ID_l0].high, mean + half, 0.15 * half);
    CHECK_OK(sd_eval_summary(e, SD_EVAL_ALL, &(sd_bootstrap){0, 3, 0.95}, m));
    CHECK(isnan(m[SD_EVAL_ID_l0].low) && VALUE(l0) > 0);
    sd_eval_destroy(&e);
}

static void set(int id, double value, double low, double high)
{
    m[id].value = value;
    m[id].low = low;
    m[id].high = high;
}

static void test_health(void)
{
    const sd_health_rule rule = {0.6, 20, 200, 0.2, 0.35};
    sd_health h;

    set(SD_EVAL_ID_ce_recovered_mean, 0.9, 0.85, 0.95);
    set(SD_EVAL_ID_l0, 32, 31, 33);
    set(SD_EVAL_ID_dead, 0.1, (double)NAN, (double)NAN);
    set(SD_EVAL_ID_decoder_redundancy, 0.3, 0.3, 0.3);
    set(SD_EVAL_ID_compat_loss_recovered, 59, (double)NAN, (double)NAN);
    set(SD_EVAL_ID_compat_l0, 61, (double)NAN, (double)NAN);
    set(SD_EVAL_ID_compat_dead, 10, (double)NAN, (double)NAN);
    set(SD_EVAL_ID_compat_absorption, 0.35, 0.35, 0.35);
    sd_eval_health(m, &rule, &h);
    CHECK(h.all == SD_PASSES && h.compat_healthy == 3);
    CHECK(strcmp(sd_verdict_name(h.all), "pass") == 0 && strcmp(sd_verdict_name(SD_UNDECIDED), "undecided") == 0);
    set(SD_EVAL_ID_l0, 199, 190, 210);
    sd_eval_health(m, &rule, &h);
    CHECK(h.l0 == SD_UNDECIDED && h.all == SD_UNDECIDED);
    set(SD_EVAL_ID_l0, 15, 14, 16);
    sd_eval_health(m, &rule, &h);
    CHECK(h.l0 == SD_FAILS && h.all == SD_FAILS && h.compat_healthy == 3);
    set(SD_EVAL_ID_compat_l0, 201, (double)NAN, (double)NAN);
    sd_eval_health(m, &rule, &h);
    CHECK(h.compat_healthy == 2);
    set(SD_EVAL_ID_l0, 32, 31, 33);
    set(SD_EVAL_ID_ce_recovered_mean, (double)NAN, (double)NAN, (double)NAN);
    set(SD_EVAL_ID_dead, 0.21, (double)NAN, (double)NAN);
    sd_eval_health(m, &rule, &h);
    CHECK(h.ce_recovered == SD_UNDECIDED && h.dead == SD_FAILS && h.all == SD_FAILS);
}

static const test_case tests[] = {
    TEST(test_explained_variance),
    TEST(test_ratio_of_sums),
    TEST(test_recovered),
    TEST(test_ranges_of_latents),
    TEST(test_latents),
    TEST(test_interval),
    TEST(test_health),
};

TEST_MAIN(tests, NULL, NULL)

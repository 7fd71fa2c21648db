/* Poisson weights, percentiles, and how often an interval over clustered documents holds the truth. */
#include "saediff/stat/bootstrap.h"

#include "check.h"
#include "saediff/core/random.h"

enum { DOCS = 240, RESAMPLES = 300, STUDIES = 700 };

static double tokens[DOCS], sums[DOCS], totals[2 * RESAMPLES], ratios[RESAMPLES];
static uint64_t document[DOCS], drawn[RESAMPLES];

static void test_weights_are_poisson(void)
{
    const sd_bootstrap spec = {1000, 4, 0.95};
    uint64_t seen[8] = {0}, n = 200000;
    double mean = 0, square = 0, expected = exp(-1.0);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t w = sd_bootstrap_weight(&spec, i % 100, i / 100);

        CHECK(w == sd_bootstrap_weight(&spec, i % 100, i / 100));
        seen[w < 7 ? w : 7]++;
        mean += (double)w;
        square += (double)(w * w);
    }
    CHECK_NEAR(mean / (double)n, 1, 0.01);
    CHECK_NEAR(square / (double)n - 1, 1, 0.02);
    for (int k = 0; k < 6; k++) {
        CHECK_NEAR((double)seen[k] / (double)n, expected, 0.004);
        expected /= k + 1;
    }
}

static void test_sums(void)
{
    const sd_bootstrap spec = {5, 9, 0.95};
    const double a[3] = {1, 10, NAN}, b[3] = {0.5, 0, 2};
    const double *const columns[] = {a, b};
    const uint64_t ids[3] = {7, 3, 11};

    sd_bootstrap_sums(&spec, columns, 2, ids, 3, totals, drawn);
    for (uint64_t r = 0; r < 5; r++) {
        uint64_t w[3], all = 0;

        for (int i = 0; i < 3; i++)
            all += w[i] = sd_bootstrap_weight(&spec, r, ids[i]);
        CHECK(drawn[r] == all);
        CHECK(totals[2 * r + 1] == 0.5 * (double)w[0] + 2.0 * (double)w[2]);
        if (w[2] == 0)
            CHECK(totals[2 * r] == (double)w[0] + 10 * (double)w[1]);
        else
            CHECK(isnan(totals[2 * r]));
    }
}

static void test_percentiles(void)
{
    double values[] = {5, 1, 4, 2, 3}, one[] = {7}, bad[] = {1, NAN}, low, high;

    sd_percentiles(values, 5, 0.5, &low, &high);
    CHECK(low == 2 && high == 4);
    sd_percentiles(values, 5, 0.9, &low, &high);
    CHECK_NEAR(low, 1.2, 1e-12);
    CHECK_NEAR(high, 4.8, 1e-12);
    sd_percentiles(one, 1, 0.95, &low, &high);
    CHECK(low == 7 && high == 7);
    sd_percentiles(one, 0, 0.95, &low, &high);
    CHECK(isnan(low) && isnan(high));
    sd_percentiles(bad, 2, 0.95, &low, &high);
    CHECK(isnan(low) && isnan(high));
}

/* Documents of 1 to 40 tokens whose tokens share an effect that grows with the length: intervals over tokens would be far too narrow.
 * The truth is E[sum] / E[tokens]. */
static void test_coverage(void)
{
    const double *const columns[] = {sums, tokens};
    double truth_sum = 0, truth_tokens = 0;
    uint64_t held = 0;

    for (int length = 1; length <= 40; length++) {
        truth_sum += length * (1.0 + 0.02 * length);
        truth_tokens += length;
    }
    for (uint64_t s = 0; s < STUDIES; s++) {
        const sd_bootstrap spec = {RESAMPLES, 100 + s, 0.95};
        sd_key key = sd_key_make(s, SD_STREAM_TEST, 2);
        double low, high;
        uint64_t n = 0;

        for (uint64_t d = 0; d < DOCS; d++) {
            double length = 1 + floor(40 * sd_random_uniform(key, 4 * d)), effect = sd_random_normal(key, 4 * d + 1);

            document[d] = d;
            tokens[d] = length;
            sums[d] = length * (1.0 + 0.02 * length + 0.5 * effect) + sqrt(length) * sd_random_normal(key, 4 * d + 2);
        }
        sd_bootstrap_sums(&spec, columns, 2, document, DOCS, totals, drawn);
        for (uint64_t b = 0; b < RESAMPLES; b++)
            if (drawn[b] > 0)
                ratios[n++] = totals[2 * b] / totals[2 * b + 1];
        sd_percentiles(ratios, n, 0.95, &low, &high);
        held += low <= truth_sum / truth_tokens && truth_sum / truth_tokens <= high;
    }
    printf("coverage of 95 %% intervals: %.3f of %d studies\n", (double)held / STUDIES, STUDIES);
    CHECK((double)held / STUDIES >= 0.93 && (double)held / STUDIES <= 0.97);
}

static const test_case tests[] = {
    TEST(test_weights_are_poisson),
    TEST(test_sums),
    TEST(test_percentiles),
    TEST(test_coverage),
};

TEST_MAIN(tests, NULL, NULL)

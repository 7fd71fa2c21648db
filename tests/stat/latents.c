#include "saediff/stat/stat.h"

#include "check.h"
#include "saediff/core/random.h"

enum { ROWS = 61, LATENTS = 13, PAIRS = 5 };

/* PAIRS rising latents of row r, one of them with a value that is not a firing; latent LATENTS−1 never fires. */
static void row_of(uint64_t r, int32_t *latent, float *value)
{
    sd_key key = sd_key_make(9, SD_STREAM_TEST, 1);

    for (uint64_t i = 0; i < PAIRS; i++) {
        latent[i] = (int32_t)((r + i * 2) % (LATENTS - 1));
        value[i] = (float)(sd_random_uniform(key, r * PAIRS + i) * (double)(r + 1) + 0.25);
    }
    value[r % PAIRS] = r % 2 ? 0.0F : -1.0F;
}

static void add_rows(sd_latent_sums *s, uint64_t first, uint64_t count)
{
    for (uint64_t r = first; r < first + count; r++) {
        int32_t latent[PAIRS];
        float value[PAIRS];

        row_of(r, latent, value);
        sd_latent_sums_add(s, latent, value, PAIRS);
    }
}

static void test_against_naive(const sd_latent_sums *s)
{
    CHECK(s->rows == ROWS && s->latents == LATENTS);
    for (int32_t l = 0; l < LATENTS; l++) {
        uint64_t count = 0;
        double sum = 0, sum2 = 0, max = 0;

        for (uint64_t r = 0; r < ROWS; r++) {
            int32_t latent[PAIRS];
            float value[PAIRS];

            row_of(r, latent, value);
            for (int i = 0; i < PAIRS; i++)
                if (latent[i] == l && value[i] > 0) {
                    count++;
                    sum += (double)value[i];
                    sum2 += (double)value[i] * (double)value[i];
                    max = (double)value[i] > max ? (double)value[i] : max;
                }
        }
        CHECK(s->count[l] == count && s->max[l] == max);
        CHECK_NEAR(s->sum[l], sum, 1e-12 * sum);
        CHECK_NEAR(s->sum2[l], sum2, 1e-12 * sum2);
    }
    CHECK(s->count[LATENTS - 1] == 0 && s->sum[LATENTS - 1] == 0 && s->max[LATENTS - 1] == 0);
}

static void test_merge(void)
{
    static const uint64_t cut[] = {0, 0, 1, 20, 20, ROWS};
    sd_latent_sums whole[2];

    for (int twice = 0; twice < 2; twice++) {
        CHECK_OK(sd_latent_sums_create(&whole[twice], LATENTS));
        for (int p = 0; p < 5; p++) {
            sd_latent_sums part;

            CHECK_OK(sd_latent_sums_create(&part, LATENTS));
            add_rows(&part, cut[p], cut[p + 1] - cut[p]);
            sd_latent_sums_merge(&whole[twice], &part);
            sd_latent_sums_free(&part);
        }
        test_against_naive(&whole[twice]);
    }
    CHECK(memcmp(whole[0].sum, whole[1].sum, LATENTS * sizeof *whole[0].sum) == 0);
    CHECK(memcmp(whole[0].sum2, whole[1].sum2, LATENTS * sizeof *whole[0].sum2) == 0);
    sd_latent_sums_free(&whole[0]);
    sd_latent_sums_free(&whole[1]);
}

static void test_nan_is_seen(void)
{
    int32_t latent[1] = {1};
    float bad[1] = {NAN}, good[1] = {2};
    sd_latent_sums s;

    CHECK_OK(sd_latent_sums_create(&s, 2));
    sd_latent_sums_add(&s, latent, bad, 1);
    sd_latent_sums_add(&s, latent, good, 1);
    CHECK(s.count[1] == 2 && isnan(s.sum[1]) && isnan(s.max[1]) && s.sum[0] == 0);
    sd_latent_sums_free(&s);
}

static void test_parts_sum_to_the_change(void)
{
    static const struct {
        uint64_t n, count_b, count_f;
        double sum_b, sum_f;
    } c[] = {{100, 10, 20, 35, 90}, {100, 0, 20, 0, 90}, {100, 10, 0, 35, 0}, {7, 7, 7, 1, 3}, {5, 0, 0, 0, 0}};

    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        double f, m, change = c[i].sum_f / (double)c[i].n - c[i].sum_b / (double)c[i].n;

        sd_change_parts(c[i].n, c[i].count_b, c[i].sum_b, c[i].count_f, c[i].sum_f, &f, &m);
        CHECK_NEAR(f + m, change, 1e-15);
        if (c[i].count_b == c[i].count_f)
            CHECK(f == 0);
        if (c[i].count_b == 0 || c[i].count_f == 0)
            CHECK(m == 0);
    }
}

/* By hand: φ 0.1 → 0.2, M 3.5 → 4.5. */
static void test_parts_by_hand(void)
{
    double f, m;

    sd_change_parts(100, 10, 35, 20, 90, &f, &m);
    CHECK_NEAR(f, 0.5 * (3.5 + 4.5) * 0.1, 1e-15);
    CHECK_NEAR(m, 0.5 * (0.1 + 0.2) * 1.0, 1e-15);
    sd_change_parts(0, 0, 0, 0, 0, &f, &m);
    CHECK(isnan(f) && isnan(m));
}

static void test_sums(void)
{
    sd_latent_sums s;

    CHECK_OK(sd_latent_sums_create(&s, LATENTS));
    add_rows(&s, 0, ROWS);
    test_against_naive(&s);
    sd_latent_sums_free(&s);
}

static const test_case tests[] = {
    TEST(test_sums),
    TEST(test_merge),
    TEST(test_nan_is_seen),
    TEST(test_parts_sum_to_the_change),
    TEST(test_parts_by_hand),
};

TEST_MAIN(tests, NULL, NULL)

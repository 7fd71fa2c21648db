#include "saediff/stat/stat.h"

#include "check.h"
#include "saediff/core/random.h"

enum { ROWS = 257, WIDTH = 7 };

static double value(uint64_t row, uint64_t i)
{
    sd_key key = sd_key_make(3, SD_STREAM_TEST, 0);

    return 1000.0 * (double)(i + 1) + (double)(i + 1) * sd_random_normal(key, row * WIDTH + i);
}

static void add_rows(sd_moments *m, uint64_t first, uint64_t count)
{
    for (uint64_t r = first; r < first + count; r++) {
        double row[WIDTH];

        for (uint64_t i = 0; i < WIDTH; i++)
            row[i] = value(r, i);
        sd_moments_add(m, row);
    }
}

/* Two passes over the rows: first the mean, then the squares of what is left. */
static void test_moments_equal_two_passes(const sd_moments *m)
{
    double spread = 0;

    CHECK(m->n == ROWS && m->width == WIDTH);
    for (uint64_t i = 0; i < WIDTH; i++) {
        double mean = 0, m2 = 0;

        for (uint64_t r = 0; r < ROWS; r++)
            mean += value(r, i) / ROWS;
        for (uint64_t r = 0; r < ROWS; r++)
            m2 += (value(r, i) - mean) * (value(r, i) - mean);
        CHECK_NEAR(m->mean[i], mean, 1e-12 * mean);
        CHECK_NEAR(m->m2[i], m2, 1e-9 * m2);
        spread += m2;
    }
    CHECK_NEAR(sd_moments_spread(m), spread, 1e-9 * spread);
}

/* Cuts of the rows into parts; empty parts are normal. */
static void merged(sd_moments *m, const uint64_t *cut, int parts)
{
    CHECK_OK(sd_moments_create(m, WIDTH));
    for (int p = 0; p < parts; p++) {
        sd_moments part;

        CHECK_OK(sd_moments_create(&part, WIDTH));
        add_rows(&part, cut[p], cut[p + 1] - cut[p]);
        sd_moments_merge(m, &part);
        sd_moments_free(&part);
    }
}

static void test_merging(void)
{
    static const uint64_t cuts[3][6] = {
        {0, 1, 2, 100, 100, ROWS}, {0, 0, 0, 0, 0, ROWS}, {0, 64, 128, 192, 256, ROWS}};

    for (int c = 0; c < 3; c++) {
        sd_moments a, b;

        merged(&a, cuts[c], 5);
        merged(&b, cuts[c], 5);
        test_moments_equal_two_passes(&a);
        CHECK(memcmp(a.mean, b.mean, WIDTH * sizeof *a.mean) == 0);
        CHECK(memcmp(a.m2, b.m2, WIDTH * sizeof *a.m2) == 0);
        sd_moments_free(&a);
        sd_moments_free(&b);
    }
}

static void test_explained_variance(void)
{
    CHECK(sd_explained_variance(1, 4) == 0.75);
    CHECK(sd_explained_variance(8, 4) == -1);
    CHECK(isnan(sd_explained_variance(0, 0)));
    CHECK(isnan(sd_explained_variance(1, 0)));
    CHECK(isnan(sd_explained_variance((double)NAN, 4)));
}

static void test_nan_stays(void)
{
    sd_moments m;
    double row[2] = {1, (double)NAN};

    CHECK_OK(sd_moments_create(&m, 2));
    sd_moments_add(&m, row);
    sd_moments_add(&m, row);
    CHECK(m.mean[0] == 1 && m.m2[0] == 0 && isnan(m.mean[1]) && isnan(sd_moments_spread(&m)));
    sd_moments_free(&m);
    CHECK(m.mean == NULL && m.m2 == NULL);
}

static void test_moments(void)
{
    sd_moments m;

    CHECK_OK(sd_moments_create(&m, WIDTH));
    add_rows(&m, 0, ROWS);
    test_moments_equal_two_passes(&m);
    sd_moments_free(&m);
}

static const test_case tests[] = {
    TEST(test_moments),
    TEST(test_merging),
    TEST(test_explained_variance),
    TEST(test_nan_stays),
};

TEST_MAIN(tests, NULL, NULL)

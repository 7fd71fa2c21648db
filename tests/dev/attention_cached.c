/* put_rows, rowwise and attention_cached against plain formulas, and batch invariance: equal bits for a row whatever the other rows are. */
#include "kit.h"

enum { MOST = 1 << 15 };

static double x[MOST], w[MOST], k[MOST], v[MOST], got[KIT_OUT], alone[KIT_OUT];

typedef struct shape {
    uint64_t m, n, k; /* rows, outputs or rows of the KV cache, inner or heads·head */
    uint64_t first;   /* row of x at which the m rows begin */
} shape;

static void rowwise(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat y = kit_new(dev, SD_REAL, s->m, s->n, 2);

    CHECK_OK(sd_dev_rowwise(dev, &(sd_rowwise){.x = kit_real(dev, x + s->first * s->k, s->m, s->k, 1),
                                               .w = kit_real(dev, w, s->n, s->k, 3),
                                               .y = y}));
    kit_get(dev, y, out);
}

static void test_rowwise(uint64_t m, uint64_t n, uint64_t inner)
{
    shape s = {m, n, inner, 0};

    CHECK(kit_everywhere(rowwise, &s, got) == m * n);
    for (uint64_t r = 0; r < m; r++)
        for (uint64_t c = 0; c < n; c++) {
            double sum = 0;

            for (uint64_t i = 0; i < inner; i++)
                sum += x[r * inner + i] * w[c * inner + i];
            CHECK_NEAR(got[r * n + c], sum, 10 * kit_eps * sqrt((double)inner));
        }
    for (s.first = 0, s.m = 1; s.first < m; s.first++) {
        kit_everywhere(rowwise, &s, alone);
        CHECK(memcmp(alone, got + s.first * n, n * sizeof *got) == 0);
    }
}

enum { HEAD = 6, HEADS = 4, KV = 2 };
static const int32_t begin[] = {0, 3, 7, 70, 5}, end[] = {0, 69, 7, 99, 2};

static void attend_cached(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat y = kit_new(dev, SD_REAL, s->m, HEADS * HEAD, 1);

    CHECK_OK(sd_dev_attention_cached(dev, &(sd_attention_cached){.q = kit_real(dev, x + s->first * HEADS * HEAD, s->m, HEADS * HEAD, 5),
                                             .k = kit_real(dev, k, s->n, KV * HEAD, 0),
                                             .v = kit_real(dev, v, s->n, KV * HEAD, 4),
                                             .first = kit_i32(dev, begin + s->first, 1, s->m, 0),
                                             .last = kit_i32(dev, end + s->first, 1, s->m, 0),
                                             .y = y,
                                             .head = HEAD}));
    kit_get(dev, y, out);
}

static double attended(uint64_t r, uint64_t h, uint64_t i)
{
    uint64_t g = h / (HEADS / KV);
    double sum = 0, all = 0;

    for (int32_t t = begin[r]; t <= end[r]; t++) {
        double score = 0;

        for (uint64_t j = 0; j < HEAD; j++)
            score += x[(r * HEADS + h) * HEAD + j] * k[((uint64_t)t * KV + g) * HEAD + j];
        score = exp(score / sqrt((double)HEAD));
        sum += score;
        all += score * v[((uint64_t)t * KV + g) * HEAD + i];
    }
    return all / sum;
}

/* The last row's range is empty (first > last): NaN. */
static void test_attention_cached(void)
{
    shape s = {5, 100, 0, 0};

    CHECK(kit_everywhere(attend_cached, &s, got) == 5 * HEADS * HEAD);
    for (uint64_t r = 0; r < 4; r++)
        for (uint64_t c = 0; c < HEADS * HEAD; c++)
            CHECK_NEAR(got[r * HEADS * HEAD + c], attended(r, c / HEAD, c % HEAD), 40 * kit_eps);
    for (uint64_t c = 0; c < HEADS * HEAD; c++)
        CHECK(isnan(got[4 * HEADS * HEAD + c]));
    for (s.first = 0, s.m = 1; s.first < 4; s.first++) {
        kit_everywhere(attend_cached, &s, alone);
        CHECK(memcmp(alone, got + s.first * HEADS * HEAD, HEADS * HEAD * sizeof *got) == 0);
    }
}

static void put_rows(sd_dev *dev, const void *arg, double **out)
{
    static const int32_t index[] = {4, -1, 0, 9};
    sd_mat y = kit_real(dev, w, 6, 5, 1);

    (void)arg;
    CHECK_OK(sd_dev_put_rows(dev, &(sd_put_rows){.x = kit_real(dev, x, 4, 5, 2), .index = kit_i32(dev, index, 1, 4, 0), .y = y}));
    kit_get(dev, y, out);
}

static void test_put_rows(void)
{
    CHECK(kit_everywhere(put_rows, NULL, got) == 30);
    for (uint64_t r = 0; r < 6; r++)
        for (uint64_t c = 0; c < 5; c++)
            CHECK(got[r * 5 + c] == (r == 4 ? x[c] : r == 0 ? x[10 + c] : w[r * 5 + c]));
}

static void prepare(void)
{
    kit_fill(x, 31, MOST);
    kit_fill(w, 32, MOST);
    kit_fill(k, 33, MOST);
    kit_fill(v, 34, MOST);
}

static void test_rowwise_products(void)
{
    test_rowwise(1, 1, 1);
    test_rowwise(3, 65, 47);
    test_rowwise(5, 130, 128);
}

static const test_case tests[] = {
    TEST(test_rowwise_products),
    TEST(test_attention_cached),
    TEST(test_put_rows),
};

TEST_MAIN(tests, prepare, NULL)

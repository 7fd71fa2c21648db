/* Log-probabilities and column sums. */
#include "kit.h"

enum { MOST = 1 << 17 };

static double x[MOST], got[KIT_OUT];

typedef struct shape {
    uint64_t m, n;
    int32_t target[512];
} shape;

static void logprob(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_logprob op = {.logits = kit_real(dev, x, s->m, s->n, 3),
                     .target = kit_i32(dev, s->target, 1, s->m, 0),
                     .logp = kit_new(dev, SD_F64, 1, s->m, 0),
                     .best = kit_new(dev, SD_I32, 1, s->m, 0)};

    CHECK_OK(sd_dev_logprob(dev, &op));
    kit_get(dev, op.logp, out);
    kit_get(dev, op.best, out);
}

static void test_logprob(uint64_t m, uint64_t n)
{
    shape s = {.m = m, .n = n};

    for (uint64_t r = 0; r < m; r++)
        s.target[r] = r % 5 == 4 ? -1 : (int32_t)(r * 7 % n);
    CHECK(kit_everywhere(logprob, &s, got) == 2 * m);
    for (uint64_t r = 0; r < m; r++) {
        double most = x[r * n], sum = 0;
        uint64_t best = 0;

        for (uint64_t i = 1; i < n; i++)
            if (x[r * n + i] > most) {
                most = x[r * n + i];
                best = i;
            }
        for (uint64_t i = 0; i < n; i++)
            sum += exp(x[r * n + i] - most);
        CHECK(got[m + r] == (double)best);
        if (s.target[r] < 0)
            CHECK(got[r] == 0);
        else
            CHECK_NEAR(got[r], x[r * n + (uint64_t)s.target[r]] - most - log(sum), 1e-12);
    }
}

/* The lowest index among equals; a NaN never wins but shows in the probability. */
static void test_ties_and_nan(void)
{
    shape s = {.m = 3, .n = 33};
    double kept[99];

    memcpy(kept, x, sizeof kept);
    for (int i = 0; i < 99; i++)
        x[i] = i % 33 < 3 ? -1 : 2;
    x[33] = NAN;
    x[66 + 20] = NAN;
    kit_everywhere(logprob, &s, got);
    CHECK(got[3] == 3 && got[4] == 3 && got[5] == 3);
    CHECK(isfinite(got[0]) && isnan(got[1]) && isnan(got[2]));
    memcpy(x, kept, sizeof kept);
}

static void colsum(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_colsum op = {.x = kit_real(dev, x, s->m, s->n, 3), .y = kit_new(dev, SD_REAL, 1, s->n, 0)};

    CHECK_OK(sd_dev_colsum(dev, &op));
    kit_get(dev, op.y, out);
}

static void test_colsum(uint64_t m, uint64_t n)
{
    shape s = {.m = m, .n = n};

    CHECK(kit_everywhere(colsum, &s, got) == n);
    for (uint64_t c = 0; c < n; c++) {
        double sum = 0;

        for (uint64_t r = 0; r < m; r++)
            sum += x[r * n + c];
        CHECK_NEAR(got[c], sum, kit_eps * fabs(sum) + 1e-11);
    }
}

static void begin(void)
{
    kit_fill(x, 31, MOST);
    for (uint64_t i = 0; i < MOST; i++)
        x[i] = (double)(sd_real)(40 * x[i]);
}

static void test_logprobs(void)
{
    test_logprob(1, 1);
    test_logprob(65, 129);
    test_logprob(17, 3001);
}

static void test_colsums(void)
{
    test_colsum(0, 3);
    test_colsum(1, 1);
    test_colsum(257, 17);
    test_colsum(1025, 65);
}

static const test_case tests[] = {
    TEST(test_logprobs),
    TEST(test_ties_and_nan),
    TEST(test_colsums),
};

TEST_MAIN(tests, begin, NULL)

/* KL divergence of rows of logits, and products of pairs of rows, against plain sums in double. */
#include "kit.h"

#include "saediff/dev/score.h"

enum { MOST = 1 << 17 };

static double x[MOST], y[MOST], got[KIT_OUT];

typedef struct shape {
    uint64_t m, n;
} shape;

static void kl(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_kl op = {.p = kit_real(dev, x, s->m, s->n, 3), .q = kit_real(dev, y, s->m, s->n, 5), .kl = kit_new(dev, SD_F64, 1, s->m, 0)};

    CHECK_OK(sd_dev_kl(dev, &op));
    kit_get(dev, op.kl, out);
}

static double log_sum(const double *row, uint64_t n)
{
    double most = row[0], sum = 0;

    for (uint64_t i = 1; i < n; i++)
        most = row[i] > most ? row[i] : most;
    for (uint64_t i = 0; i < n; i++)
        sum += exp(row[i] - most);
    return most + log(sum);
}

static void test_kl(uint64_t m, uint64_t n)
{
    const shape s = {m, n};

    CHECK(kit_everywhere(kl, &s, got) == m);
    for (uint64_t r = 0; r < m; r++) {
        const double *p = x + r * n, *q = y + r * n;
        double lp = log_sum(p, n), lq = log_sum(q, n), want = 0;

        for (uint64_t i = 0; i < n; i++)
            want += exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
        CHECK_NEAR(got[r], want, 1e-11 * (1 + fabs(want)));
    }
}

/* Equal rows: exactly 0, never −0; a NaN shows. */
static void test_equal_and_nan(void)
{
    const shape s = {9, 35};
    double kept[9 * 35];

    memcpy(kept, y, sizeof kept);
    memcpy(y, x, sizeof kept);
    y[4 * 35 + 20] = NAN;
    kit_everywhere(kl, &s, got);
    for (int r = 0; r < 9; r++)
        CHECK(r == 4 ? isnan(got[r]) : got[r] == 0 && !signbit(got[r]));
    memcpy(y, kept, sizeof kept);
}

static void row_pair(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_row_pair op = {.x = kit_real(dev, x, s->m, s->n, 1), .y = kit_real(dev, y, s->m, s->n, 2),
                      .xx = kit_new(dev, SD_F64, 1, s->m, 0), .yy = kit_new(dev, SD_F64, 1, s->m, 0),
                      .xy = kit_new(dev, SD_F64, 1, s->m, 0), .sse = kit_new(dev, SD_F64, 1, s->m, 0)};

    CHECK_OK(sd_dev_row_pair(dev, &op));
    kit_get(dev, op.xx, out);
    kit_get(dev, op.yy, out);
    kit_get(dev, op.xy, out);
    kit_get(dev, op.sse, out);
}

static void test_row_pair(uint64_t m, uint64_t n)
{
    const shape s = {m, n};

    CHECK(kit_everywhere(row_pair, &s, got) == 4 * m);
    for (uint64_t r = 0; r < m; r++) {
        double want[4] = {0};

        for (uint64_t i = r * n; i < (r + 1) * n; i++) {
            want[0] += x[i] * x[i];
            want[1] += y[i] * y[i];
            want[2] += x[i] * y[i];
            want[3] += (x[i] - y[i]) * (x[i] - y[i]);
        }
        for (uint64_t i = 0; i < 4; i++)
            CHECK_NEAR(got[i * m + r], want[i], 1e-12 * (want[0] + want[1]));
    }
}

static void count_positive(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_count_positive op = {.x = kit_real(dev, x, s->m, s->n, 1), .shift = kit_real(dev, y, 1, s->n, 0),
                            .count = kit_new(dev, SD_U64, 1, s->m, 0)};

    CHECK_OK(sd_dev_fill(dev, &(sd_fill){op.count, 3}));
    CHECK_OK(sd_dev_count_positive(dev, &op));
    kit_get(dev, op.count, out);
}

/* NaN is not positive, nor is 0; what was there is added to. */
static void test_count_positive(uint64_t m, uint64_t n)
{
    const shape s = {m, n};
    double kept = x[0], other = x[1];

    x[0] = NAN;
    x[1] = -y[1 % n];
    CHECK(kit_everywhere(count_positive, &s, got) == m);
    for (uint64_t r = 0; r < m; r++) {
        double want = 3;

        for (uint64_t i = 0; i < n; i++)
            want += (sd_real)x[r * n + i] + (sd_real)y[i] > 0;
        CHECK(got[r] == want);
    }
    x[0] = kept;
    x[1] = other;
}

static void test_refusals(void)
{
    sd_dev *dev;
    sd_mat p, q, r;

    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    p = kit_new(dev, SD_REAL, 2, 5, 0);
    q = kit_new(dev, SD_REAL, 2, 4, 0);
    r = kit_new(dev, SD_F64, 1, 2, 0);
    CHECK_FAILS(sd_dev_kl(dev, &(sd_kl){p, q, r}), SD_E_INTERNAL, "kl: q");
    CHECK_FAILS(sd_dev_row_pair(dev, &(sd_row_pair){p, p, r, r, r, r}), SD_E_INTERNAL, "overlaps");
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&dev);
}

int main(void)
{
    kit_fill(x, 41, MOST);
    kit_fill(y, 42, MOST);
    for (uint64_t i = 0; i < MOST; i++) {
        x[i] = (double)(sd_real)(12 * x[i]);
        y[i] = (double)(sd_real)(12 * y[i]);
    }
    test_kl(1, 1);
    test_kl(65, 129);
    test_kl(17, 3001);
    test_equal_and_nan();
    test_row_pair(0, 3);
    test_row_pair(1, 1);
    test_row_pair(67, 257);
    test_count_positive(1, 1);
    test_count_positive(71, 259);
    test_refusals();
    return TEST_RESULT();
}

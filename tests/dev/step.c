/* The optimiser's operations. */
#include "kit.h"

enum { MOST = 1 << 16 };

static double w[MOST], g[MOST], m[MOST], v[MOST], got[KIT_OUT];

typedef struct shape {
    uint64_t rows, cols;
} shape;

static void rows_of(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat unit = kit_real(dev, w, s->rows, s->cols, 1), grad = kit_real(dev, g, s->rows, s->cols, 2);

    CHECK_OK(sd_dev_unit_rows(dev, &(sd_unit_rows){.w = unit}));
    CHECK_OK(sd_dev_project_rows(dev, &(sd_project_rows){.g = grad, .w = unit}));
    kit_get(dev, unit, out);
    kit_get(dev, grad, out);
}

/* Unit length; no gradient along the row; a row of zeros is unchanged. */
static void test_rows(uint64_t rows, uint64_t cols)
{
    shape s = {rows, cols};

    memset(w, 0, cols * sizeof *w);
    CHECK(kit_everywhere(rows_of, &s, got) == 2 * rows * cols);
    for (uint64_t c = 0; c < cols; c++)
        CHECK(got[c] == 0 && got[rows * cols + c] == g[c]);
    for (uint64_t r = 1; r < rows; r++) {
        const double *unit = got + r * cols, *grad = got + (rows + r) * cols;
        double norm = 0, along = 0, before = 0;

        for (uint64_t c = 0; c < cols; c++)
            norm += w[r * cols + c] * w[r * cols + c];
        for (uint64_t c = 0; c < cols; c++) {
            CHECK_NEAR(unit[c], w[r * cols + c] / sqrt(norm), 2 * kit_eps);
            along += unit[c] * grad[c];
            before += unit[c] * g[r * cols + c];
        }
        CHECK_NEAR(along, 0, 8 * kit_eps * sqrt((double)cols));
        for (uint64_t c = 0; c < cols; c++)
            CHECK_NEAR(grad[c], g[r * cols + c] - before * unit[c], 8 * kit_eps * (1 + fabs(before)));
    }
    kit_fill(w, 71, MOST);
}

static void clip(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat x = kit_real(dev, g, s->rows, s->cols, 3), sum = kit_new(dev, SD_F64, 1, 2, 0);
    sd_clip op = {.sum = sum, .norm = kit_new(dev, SD_F64, 1, 1, 0), .factor = kit_new(dev, SD_F64, 1, 1, 0)};

    CHECK_OK(sd_dev_sumsq(dev, &(sd_sumsq){.x = x, .sum = sum, .slot = 1}));
    CHECK_OK(sd_dev_sumsq(dev, &(sd_sumsq){.x = sd_mat_rows(x, 0, 1), .sum = sum, .slot = 0}));
    for (op.limit = 0.5; op.limit < 1e9; op.limit *= 1e8) {
        CHECK_OK(sd_dev_clip(dev, &op));
        kit_get(dev, op.norm, out);
        kit_get(dev, op.factor, out);
    }
}

static void test_clip(uint64_t rows, uint64_t cols)
{
    shape s = {rows, cols};
    double sum = 0, kept = g[cols / 2];

    for (uint64_t i = 0; i < rows * cols; i++)
        sum += (i < cols ? 2 : 1) * g[i] * g[i];
    CHECK(kit_everywhere(clip, &s, got) == 4);
    CHECK_NEAR(got[0], sqrt(sum), 1e-12 * sum);
    CHECK_NEAR(got[1], sqrt(sum) <= 0.5 ? 1 : 0.5 / sqrt(sum), 1e-12);
    CHECK(got[3] == 1);
    g[cols / 2] = INFINITY;
    kit_everywhere(clip, &s, got);
    CHECK(isnan(got[1]) && isnan(got[3]));
    g[cols / 2] = kept;
}

typedef struct adam_case {
    shape s;
    uint64_t t;
    bool with_factor;
} adam_case;

static void adam(sd_dev *dev, const void *arg, double **out)
{
    const adam_case *c = arg;
    sd_adamw op = {.w = kit_real(dev, w, c->s.rows, c->s.cols, 1),
                   .g = kit_real(dev, g, c->s.rows, c->s.cols, 0),
                   .m = kit_real(dev, m, c->s.rows, c->s.cols, 3),
                   .v = kit_real(dev, v, c->s.rows, c->s.cols, 2),
                   .lr = 1e-3,
                   .beta1 = 0.9,
                   .beta2 = 0.999,
                   .eps = 1e-8,
                   .decay = 0.1,
                   .t = c->t};

    if (c->with_factor) {
        op.factor = kit_new(dev, SD_F64, 1, 1, 0);
        CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = op.factor, .value = 0.25}));
    }
    CHECK_OK(sd_dev_adamw(dev, &op));
    kit_get(dev, op.w, out);
    kit_get(dev, op.m, out);
    kit_get(dev, op.v, out);
}

static void test_adam(const adam_case *c)
{
    uint64_t size = c->s.rows * c->s.cols;

    CHECK(kit_everywhere(adam, c, got) == 3 * size);
    for (uint64_t i = 0; i < size; i++) {
        double grad = g[i] * (c->with_factor ? 0.25 : 1);
        double mean = 0.9 * m[i] + 0.1 * grad, square = 0.999 * v[i] + 0.001 * grad * grad;
        double step = 1e-3 * (mean / (1 - pow(0.9, (double)c->t))) /
                      (sqrt(square / (1 - pow(0.999, (double)c->t))) + 1e-8);

        CHECK_NEAR(got[i], w[i] * (1 - 1e-4) - step, 4 * kit_eps * (fabs(w[i]) + 100 * fabs(step)) + 1e-15);
        CHECK_NEAR(got[size + i], mean, 4 * kit_eps);
        CHECK_NEAR(got[2 * size + i], square, 400 * kit_eps * 0.01);
    }
}

/* Operations with their numbers of calls if the device has timers, else none. */
static void test_times(void)
{
    sd_dev_time times[2];
    uint64_t count = 99;
    sd_dev *dev;
    sd_mat y;

    CHECK_OK(sd_dev_open(&dev, test_devices[0].name, 1));
    y = kit_new(dev, SD_REAL, 3, 5, 0);
    CHECK_OK(sd_dev_times_begin(dev));
    for (int i = 0; i < 3; i++)
        CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = y, .value = i}));
    CHECK_OK(sd_dev_unit_rows(dev, &(sd_unit_rows){.w = y}));
    CHECK_OK(sd_dev_times_end(dev, times, 2, &count));
    CHECK(count == (test_on_cuda() ? 2 : 0));
    for (uint64_t i = 0; i < count; i++)
        CHECK(times[i].times == (strcmp(times[i].name, "fill") == 0 ? 3 : 1) && times[i].seconds > 0);
    CHECK_OK(sd_dev_times_end(dev, times, 2, &count));
    CHECK(count == 0);
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&dev);
}

static void begin(void)
{
    kit_fill(w, 71, MOST);
    kit_fill(g, 72, MOST);
    kit_fill(m, 73, MOST);
    kit_fill(v, 74, MOST);
    for (uint64_t i = 0; i < MOST; i++)
        v[i] = (double)(sd_real)fabs(v[i]);
}

static void test_unit_rows(void)
{
    test_rows(3, 1);
    test_rows(65, 129);
    test_rows(33, 1000);
}

static void test_clips(void)
{
    test_clip(1, 1);
    test_clip(3, 5000);
    test_clip(257, 17);
}

static void test_adams(void)
{
    test_adam(&(adam_case){{1, 1}, 1, false});
    test_adam(&(adam_case){{65, 129}, 2, true});
    test_adam(&(adam_case){{3, 5001}, 1000, false});
}

static const test_case tests[] = {
    TEST(test_unit_rows),
    TEST(test_clips),
    TEST(test_times),
    TEST(test_adams),
};

TEST_MAIN(tests, begin, NULL)

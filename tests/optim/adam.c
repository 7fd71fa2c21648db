#include "check.h"
#include "saediff/core/random.h"
#include "saediff/dev/dense.h"
#include "saediff/optim/adam.h"

enum { ROWS = 5, COLS = 7, N = ROWS * COLS, STEPS = 6 };

/* Reference implementation: two parameters, the first with unit rows, one clip over both. */
static void naive_step(double w[2][N], double g[2][N], double m[2][N], double v[2][N], double t, double lr, double limit,
                       double decay, double *norm)
{
    double square = 0, factor;

    for (int r = 0; r < ROWS; r++) {
        double dot = 0;

        for (int c = 0; c < COLS; c++)
            dot += g[0][r * COLS + c] * w[0][r * COLS + c];
        for (int c = 0; c < COLS; c++)
            g[0][r * COLS + c] -= dot * w[0][r * COLS + c];
    }
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < N; i++)
            square += g[p][i] * g[p][i];
    *norm = sqrt(square);
    factor = *norm > limit ? limit / *norm : 1;
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < N; i++) {
            double gradient = g[p][i] * factor;

            m[p][i] = 0.9 * m[p][i] + 0.1 * gradient;
            v[p][i] = 0.99 * v[p][i] + 0.01 * gradient * gradient;
            w[p][i] = w[p][i] * (1 - lr * decay) -
                      lr * (m[p][i] / (1 - pow(0.9, t))) / (sqrt(v[p][i] / (1 - pow(0.99, t))) + 1e-8);
        }
    for (int r = 0; r < ROWS; r++) {
        double length = 0;

        for (int c = 0; c < COLS; c++)
            length += w[0][r * COLS + c] * w[0][r * COLS + c];
        for (int c = 0; c < COLS; c++)
            w[0][r * COLS + c] /= sqrt(length);
    }
}

static void unit_rows(double *w)
{
    for (int r = 0; r < ROWS; r++) {
        double length = 0;

        for (int c = 0; c < COLS; c++)
            length += w[r * COLS + c] * w[r * COLS + c];
        for (int c = 0; c < COLS; c++)
            w[r * COLS + c] /= sqrt(length);
    }
}

static void test_steps_are_those_of_the_book(const char *device, double limit, double decay)
{
    static double w[2][N], g[2][N], m[2][N], v[2][N], got[N];
    sd_key key = sd_key_make(5, SD_STREAM_TEST, 1);
    sd_dev *dev = NULL;
    sd_buf *wb[2] = {NULL}, *gb[2] = {NULL};
    sd_param params[2];
    sd_adam *adam = NULL;
    uint64_t draw = 0;

    memset(m, 0, sizeof m);
    memset(v, 0, sizeof v);
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < N; i++)
            w[p][i] = sd_random_normal(key, draw++);
    unit_rows(w[0]);
    CHECK_OK(sd_dev_open(&dev, device, 2));
    for (int p = 0; p < 2; p++) {
        CHECK_OK(sd_buf_create(&wb[p], dev, SD_REAL, N));
        CHECK_OK(sd_buf_create(&gb[p], dev, SD_REAL, N));
        params[p] = (sd_param){.name = p ? "b" : "a",
                               .w = sd_mat_of(wb[p], ROWS, COLS),
                               .g = sd_mat_of(gb[p], ROWS, COLS),
                               .unit_rows = p == 0};
        CHECK_OK(sd_dev_upload(dev, w[p], params[p].w));
    }
    CHECK_OK(sd_adam_create(&adam, dev, &(sd_adam_spec){0.9, 0.99, 1e-8, decay, limit}, params, 2));
    for (int t = 1; t <= STEPS; t++) {
        double norm, want;

        for (int p = 0; p < 2; p++) {
            for (int i = 0; i < N; i++)
                g[p][i] = sd_random_normal(key, draw++) * (t % 2 ? 1 : 0.01);
            CHECK_OK(sd_dev_upload(dev, g[p], params[p].g));
        }
        naive_step(w, g, m, v, t, 0.01 * t, limit, decay, &want);
        CHECK_OK(sd_adam_step(adam, (uint64_t)t, 0.01 * t));
        CHECK_OK(sd_adam_norm(adam, &norm));
        CHECK_NEAR(norm, want, 1e-12 * want);
        for (int p = 0; p < 2; p++) {
            CHECK_OK(sd_dev_download(dev, params[p].w, got));
            for (int i = 0; i < N; i++)
                CHECK_NEAR(got[i], w[p][i], 1e-12);
        }
    }
    sd_adam_destroy(&adam);
    for (int p = 0; p < 2; p++) {
        sd_buf_destroy(&wb[p]);
        sd_buf_destroy(&gb[p]);
    }
    sd_dev_close(&dev);
}

static void on(const char *device)
{
    test_steps_are_those_of_the_book(device, 1.0, 0);
    test_steps_are_those_of_the_book(device, 1e9, 0.1);
}

static void test_cpu(void)
{
    on("cpu");
}

static void test_strict(void)
{
    on("strict");
}

static const test_case tests[] = {
    TEST(test_cpu),
    TEST(test_strict),
};

TEST_MAIN(tests, NULL, NULL)

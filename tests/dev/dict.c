/* Sparse decoder, reconstruction error, gradients, inversion, scatter, dead counters and the median step, against plain loops. */
#include "kit.h"

typedef struct shape {
    uint64_t n, d, latents, k;
    bool relu, shift, accumulate;
} shape;

enum { MOST = 1 << 16 };

static double x[MOST], w[MOST], value[MOST], bias[MOST], start_y[MOST], start_sum[MOST], got[KIT_OUT],
    want[KIT_OUT];
static double size_of[KIT_OUT]; /* Σ |terms| of want */
static int32_t latent_of[MOST];

static double kept(const shape *s, double c)
{
    return s->relu && c <= 0 ? 0 : c;
}

static void compare(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        CHECK_NEAR(got[i], want[i], 8 * kit_eps * (size_of[i] + 1e-3));
}

/* Codes concentrated on some latents, with others unused; a latent may occur twice in a row. */
static void make_codes(const shape *s)
{
    for (uint64_t i = 0; i < s->n * s->k; i++) {
        double u = (kit_value(51, i) + 1) / 2;

        latent_of[i] = (int32_t)(u * u * (double)s->latents);
    }
}

static void decode(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_decode op = {.index = kit_i32(dev, latent_of, s->n, s->k, 1),
                    .value = kit_real(dev, value, s->n, s->k, 0),
                    .w_dec = kit_real(dev, w, s->latents, s->d, 3),
                    .y = kit_new(dev, SD_REAL, s->n, s->d, 1),
                    .relu = s->relu};

    if (s->shift)
        op.bias = kit_real(dev, bias, 1, s->d, 0);
    CHECK_OK(sd_dev_decode(dev, &op));
    kit_get(dev, op.y, out);
}

static void test_decode(const shape *s)
{
    CHECK(kit_everywhere(decode, s, got) == s->n * s->d);
    for (uint64_t r = 0; r < s->n; r++)
        for (uint64_t c = 0; c < s->d; c++) {
            double *y = &want[r * s->d + c], *size = &size_of[r * s->d + c];

            *y = *size = s->shift ? bias[c] : 0;
            *size = fabs(*size);
            for (uint64_t j = r * s->k; j < (r + 1) * s->k; j++) {
                double term = kept(s, value[j]) * w[(uint64_t)latent_of[j] * s->d + c];

                *y += term;
                *size += fabs(term);
            }
        }
    compare(s->n * s->d);
}

static void recon_error(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_recon_error op = {.x = kit_real(dev, x, s->n, s->d, 2),
                      .y = kit_real(dev, w, s->n, s->d, 1),
                      .row_sse = kit_new(dev, SD_F64, 1, s->n, 0)};

    op.e = op.y;
    CHECK_OK(sd_dev_recon_error(dev, &op));
    kit_get(dev, op.e, out);
    kit_get(dev, op.row_sse, out);
}

static void test_recon_error(const shape *s)
{
    CHECK(kit_everywhere(recon_error, s, got) == s->n * (s->d + 1));
    for (uint64_t r = 0; r < s->n; r++) {
        double sum = 0;

        for (uint64_t c = 0; c < s->d; c++) {
            uint64_t i = r * s->d + c;

            want[i] = x[i] - w[i];
            size_of[i] = 1;
            sum += want[i] * want[i];
        }
        want[s->n * s->d + r] = size_of[s->n * s->d + r] = sum;
    }
    compare(s->n * (s->d + 1));
}

static void code_grad(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_code_grad op = {.e = kit_real(dev, x, s->n, s->d, 2),
                       .w_dec = kit_real(dev, w, s->latents, s->d, 3),
                       .index = kit_i32(dev, latent_of, s->n, s->k, 0),
                       .value = kit_real(dev, value, s->n, s->k, 1),
                       .grad = kit_new(dev, SD_REAL, s->n, s->k, 2),
                       .scale = -0.5,
                       .relu = s->relu};

    CHECK_OK(sd_dev_code_grad(dev, &op));
    kit_get(dev, op.grad, out);
}

static void test_code_grad(const shape *s)
{
    CHECK(kit_everywhere(code_grad, s, got) == s->n * s->k);
    for (uint64_t i = 0; i < s->n * s->k; i++) {
        want[i] = size_of[i] = 0;
        for (uint64_t c = 0; c < s->d && !(s->relu && value[i] <= 0); c++) {
            double term = -0.5 * x[i / s->k * s->d + c] * w[(uint64_t)latent_of[i] * s->d + c];

            want[i] += term;
            size_of[i] += fabs(term);
        }
    }
    compare(s->n * s->k);
}

static void scatter(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_invert turn = {.index = kit_i32(dev, latent_of, s->n, s->k, 1),
                      .begin = kit_new(dev, SD_U32, 1, s->latents + 1, 0),
                      .entry = kit_new(dev, SD_U32, 1, s->n * s->k, 0)};
    sd_scatter op = {.coef = kit_real(dev, value, s->n, s->k, 1),
                     .begin = turn.begin,
                     .entry = turn.entry,
                     .x = kit_real(dev, x, s->n, s->d, 2),
                     .scale = 0.25,
                     .relu = s->relu,
                     .accumulate = s->accumulate};

    op.y = s->accumulate ? kit_real(dev, start_y, s->latents, s->d, 1)
                         : kit_new(dev, SD_REAL, s->latents, s->d, 1);
    op.sum =
        s->accumulate ? kit_real(dev, start_sum, 1, s->latents, 0) : kit_new(dev, SD_REAL, 1, s->latents, 0);
    if (s->shift)
        op.shift = kit_real(dev, bias, 1, s->d, 0);
    CHECK_OK(sd_dev_invert(dev, &turn));
    CHECK_OK(sd_dev_scatter(dev, &op));
    kit_get(dev, op.y, out);
    kit_get(dev, op.sum, out);
    kit_get(dev, turn.begin, out);
    kit_get(dev, turn.entry, out);
}

static void test_scatter(const shape *s)
{
    uint64_t y_size = s->latents * s->d, all = y_size + s->latents, at;

    CHECK(kit_everywhere(scatter, s, got) == all + s->latents + 1 + s->n * s->k);
    for (uint64_t i = 0; i < y_size; i++) {
        want[i] = s->accumulate ? start_y[i] : 0;
        size_of[i] = 1;
    }
    for (uint64_t i = 0; i < s->latents; i++) {
        want[y_size + i] = s->accumulate ? start_sum[i] : 0;
        size_of[y_size + i] = 1;
    }
    for (uint64_t e = 0; e < s->n * s->k; e++) {
        double coef = 0.25 * kept(s, value[e]);
        uint64_t i = (uint64_t)latent_of[e];

        for (uint64_t c = 0; c < s->d; c++) {
            double term = coef * (x[e / s->k * s->d + c] - (s->shift ? bias[c] : 0));

            want[i * s->d + c] += term;
            size_of[i * s->d + c] += fabs(term);
        }
        want[y_size + i] += coef;
        size_of[y_size + i] += fabs(coef);
    }
    compare(all);

    /* The inversion: bounds from 0 to all entries; entries of each latent rising and its own. */
    at = all + s->latents + 1;
    CHECK(got[all] == 0 && got[all + s->latents] == (double)(s->n * s->k));
    for (uint64_t i = 0; i < s->latents; i++)
        for (uint64_t e = (uint64_t)got[all + i]; e < (uint64_t)got[all + i + 1]; e++) {
            CHECK(latent_of[(uint64_t)got[at + e]] == (int32_t)i);
            CHECK(e == (uint64_t)got[all + i] || got[at + e - 1] < got[at + e]);
        }
}

static void scatter_rows(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_scatter_rows op = {.x = kit_real(dev, x, s->n, s->d, 2),
                          .map = kit_i32(dev, latent_of, 1, s->n, 0),
                          .y = kit_real(dev, start_y, s->latents / 2 + 1, s->d, 1),
                          .scale = 3};

    CHECK_OK(sd_dev_scatter_rows(dev, &op));
    kit_get(dev, op.y, out);
}

static void test_scatter_rows(const shape *s)
{
    uint64_t rows = s->latents / 2 + 1;

    latent_of[0] = -1;
    CHECK(kit_everywhere(scatter_rows, s, got) == rows * s->d);
    for (uint64_t i = 0; i < rows * s->d; i++) {
        want[i] = start_y[i];
        size_of[i] = 1;
    }
    for (uint64_t r = 0; r < s->n; r++)
        for (uint64_t c = 0; c < s->d; c++)
            if (latent_of[r] >= 0 && (uint64_t)latent_of[r] < rows) {
                want[(uint64_t)latent_of[r] * s->d + c] += 3 * x[r * s->d + c];
                size_of[(uint64_t)latent_of[r] * s->d + c] += fabs(3 * x[r * s->d + c]);
            }
    compare(rows * s->d);
    make_codes(s);
}

static void track(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_track_fires op = {.index = kit_i32(dev, latent_of, s->n, s->k, 1),
                         .value = kit_real(dev, value, s->n, s->k, 0),
                         .since = kit_new(dev, SD_U64, 1, s->latents, 0),
                         .fires = kit_new(dev, SD_U64, 1, s->latents, 0),
                         .tokens = s->n};

    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = op.since, .value = 100}));
    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = op.fires, .value = 7}));
    CHECK_OK(sd_dev_track_fires(dev, &op));
    kit_get(dev, op.since, out);
    kit_get(dev, op.fires, out);
}

static void test_track(const shape *s)
{
    CHECK(kit_everywhere(track, s, got) == 2 * s->latents);
    for (uint64_t i = 0; i < s->latents; i++) {
        uint64_t fires = 0;

        for (uint64_t e = 0; e < s->n * s->k; e++)
            fires += latent_of[e] == (int32_t)i && value[e] > 0;
        CHECK(got[i] == (fires > 0 ? 0 : 100 + (double)s->n));
        CHECK(got[s->latents + i] == 7 + (double)fires);
    }
}

static void median(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_median_step op = {.x = kit_real(dev, x, s->n, s->d, 2),
                         .c = kit_real(dev, x, 1, s->d, 0), /* equal to the first row: eps decides */
                         .moved = kit_new(dev, SD_F64, 1, 1, 0),
                         .eps = 0.125};

    op.y = op.c;
    CHECK_OK(sd_dev_median_step(dev, &op));
    kit_get(dev, op.y, out);
    kit_get(dev, op.moved, out);
}

static void test_median(const shape *s)
{
    double weights = 0, moved = 0;

    CHECK(kit_everywhere(median, s, got) == s->d + 1);
    memset(want, 0, sizeof want);
    for (uint64_t r = 0; r < s->n; r++) {
        double rho = 0;

        for (uint64_t c = 0; c < s->d; c++)
            rho += pow(x[r * s->d + c] - x[c], 2);
        rho = fmax(sqrt(rho), 0.125);
        weights += 1 / rho;
        for (uint64_t c = 0; c < s->d; c++)
            want[c] += x[r * s->d + c] / rho;
    }
    for (uint64_t c = 0; c < s->d; c++) {
        want[c] /= weights;
        size_of[c] = 1;
        moved += pow(want[c] - x[c], 2);
    }
    want[s->d] = sqrt(moved);
    size_of[s->d] = 10;
    compare(s->d + 1);
}

static void begin(void)
{
    kit_fill(x, 61, MOST);
    kit_fill(w, 62, MOST);
    kit_fill(value, 63, MOST);
    kit_fill(bias, 64, MOST);
    kit_fill(start_y, 65, MOST);
    kit_fill(start_sum, 66, MOST);
}

static void over_shapes(void (*test_shape)(const shape *))
{
    static const shape shapes[] = {
        {1, 1, 1, 1, false, false, false},    {3, 17, 5, 2, true, true, true},
        {65, 33, 129, 5, true, false, false}, {257, 65, 17, 3, false, true, false},
        {130, 129, 257, 7, true, true, true},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        make_codes(&shapes[i]);
        test_shape(&shapes[i]);
    }
}

static void test_decodes(void)
{
    over_shapes(test_decode);
}

static void test_recon_errors(void)
{
    over_shapes(test_recon_error);
}

static void test_code_grads(void)
{
    over_shapes(test_code_grad);
}

static void test_scatters(void)
{
    over_shapes(test_scatter);
    over_shapes(test_scatter_rows);
}

static void test_tracks(void)
{
    over_shapes(test_track);
}

static void test_medians(void)
{
    over_shapes(test_median);
}

static const test_case tests[] = {
    TEST(test_decodes),
    TEST(test_recon_errors),
    TEST(test_code_grads),
    TEST(test_scatters),
    TEST(test_tracks),
    TEST(test_medians),
};

TEST_MAIN(tests, begin, NULL)

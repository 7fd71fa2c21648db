/* Products of all four kinds, at odd sizes and across tile edges, in views with their own offset and stride.
 */
#include "kit.h"

typedef struct shape {
    uint64_t m, k, n;
    bool trans_a, trans_b;
    double alpha, beta;
} shape;

static double a[1 << 16], b[1 << 17], y[1 << 17];

static void product(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_matmul op = {.trans_a = s->trans_a, .trans_b = s->trans_b, .alpha = s->alpha, .beta = s->beta};

    op.a = s->trans_a ? kit_real(dev, a, s->k, s->m, 2) : kit_real(dev, a, s->m, s->k, 1);
    op.b = s->trans_b ? kit_real(dev, b, s->n, s->k, 3) : kit_real(dev, b, s->k, s->n, 0);
    op.y = s->beta == 0 ? kit_new(dev, SD_REAL, s->m, s->n, 5) : kit_real(dev, y, s->m, s->n, 5);
    CHECK_OK(sd_dev_matmul(dev, &op));
    kit_get(dev, op.y, out);
}

/* Row r of `first` rows on of a [·, k] by bf16 weights [n, k]. */
typedef struct narrow {
    uint64_t first, m, k, n;
    bool rowwise;
} narrow;

static uint16_t weights[1 << 17];

static void narrow_product(sd_dev *dev, const void *arg, double **out)
{
    const narrow *s = arg;
    sd_mat x = kit_real(dev, a + s->first * s->k, s->m, s->k, 1), w = kit_new(dev, SD_BF16, s->n, s->k, 3);
    sd_mat to = kit_new(dev, SD_REAL, s->m, s->n, 2);

    CHECK_OK(sd_dev_upload(dev, weights, w));
    if (s->rowwise)
        CHECK_OK(sd_dev_rowwise(dev, &(sd_rowwise){.x = x, .w = w, .y = to}));
    else
        CHECK_OK(sd_dev_matmul(dev, &(sd_matmul){.a = x, .b = w, .y = to, .trans_b = true, .alpha = 1}));
    kit_get(dev, to, out);
}

static double rounded(double value)
{
    return (double)sd_f32_from_bf16(sd_bf16_from_f32((float)value));
}

/* Both factors rounded, summed in fp32 or better; and batch invariance. */
static void test_narrow(narrow s)
{
    static double got[KIT_OUT], one[KIT_OUT];

    CHECK(kit_everywhere(narrow_product, &s, got) == s.m * s.n);
    for (uint64_t r = 0; r < s.m; r++)
        for (uint64_t c = 0; c < s.n; c++) {
            double sum = 0, size = 0;

            for (uint64_t j = 0; j < s.k; j++) {
                double term = rounded(a[r * s.k + j]) * (double)sd_f32_from_bf16(weights[c * s.k + j]);

                sum += term;
                size += fabs(term);
            }
            CHECK_NEAR(got[r * s.n + c], sum, 1e-6 * size);
        }
    for (s.first = 0, s.m = 1; s.first < 3; s.first++) {
        kit_everywhere(narrow_product, &s, one);
        CHECK(memcmp(one, got + s.first * s.n, s.n * sizeof *got) == 0);
    }
}

static void test_bf16(void)
{
    sd_dtype type;
    char words[SD_COMPUTE_WORDS];
    sd_dev *dev;
    bool has;

    CHECK_OK(sd_dev_open(&dev, test_devices[0].name, 1));
    has = sd_dev_set_compute(dev, SD_BF16) == SD_OK;
    CHECK(sd_dev_compute(dev) == (has ? SD_BF16 : SD_REAL));
    CHECK_FAILS(sd_dev_set_compute(dev, SD_I32), SD_E_ENV, "multiplies in");
    CHECK_FAILS(sd_dev_choose_compute(dev, "fp8", &type, words), SD_E_USAGE, "unknown compute type 'fp8'");
    if (!test_is_emulated()) {
        CHECK_OK(sd_dev_choose_compute(dev, "auto", &type, words));
        CHECK(type == SD_REAL || (has && type == SD_BF16));
    }
    sd_dev_close(&dev);
    if (!has)
        return;
    for (uint64_t i = 0; i < 1 << 17; i++)
        weights[i] = sd_bf16_from_f32((float)b[i]);
    test_narrow((narrow){0, 3, 1, 1, false});
    test_narrow((narrow){0, 257, 33, 70, false});
    test_narrow((narrow){0, 70, 129, 513, false});
    test_narrow((narrow){0, 5, 129, 131, true});
}

static void begin(void)
{
    kit_fill(a, 1, 1 << 16);
    kit_fill(b, 2, 1 << 17);
    kit_fill(y, 3, 1 << 17);
}

static void test_products(void)
{
    static const shape shapes[] = {
        {1, 1, 1, false, false, 1, 0},      {3, 17, 5, false, true, 1, 0},
        {65, 129, 17, true, false, 0.5, 0}, {17, 3, 65, true, true, 1, 1},
        {257, 33, 129, false, true, 1, 0},  {129, 65, 513, false, false, -2, 0.5},
        {257, 1, 257, true, false, 1, 0},   {1, 257, 3, false, true, 1, 1},
        {0, 3, 4, false, false, 1, 0},      {3, 0, 4, false, false, 1, 0.5},
        {64, 64, 700, false, true, 1, 0},
    };
    static double got[KIT_OUT];

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];

        CHECK(kit_everywhere(product, s, got) == s->m * s->n);
        for (uint64_t r = 0; r < s->m; r++)
            for (uint64_t c = 0; c < s->n; c++) {
                double sum = 0, size = 1;

                for (uint64_t j = 0; j < s->k; j++) {
                    double term = (s->trans_a ? a[j * s->m + r] : a[r * s->k + j]) *
                                  (s->trans_b ? b[c * s->k + j] : b[j * s->n + c]);

                    sum += term;
                    size += fabs(term);
                }
                sum = s->alpha * sum + s->beta * y[r * s->n + c];
                CHECK_NEAR(got[r * s->n + c], sum, 8 * kit_eps * size);
            }
    }
}

static const test_case tests[] = {
    TEST(test_products),
    TEST(test_bf16),
};

TEST_MAIN(tests, begin, NULL)

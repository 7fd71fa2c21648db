/* Element-wise and row-wise operations against their formulas in double. */
#include "kit.h"

enum { MOST = 1 << 16 };

static double x[MOST], g[MOST], got[KIT_OUT];

typedef struct shape {
    uint64_t m, n, groups;
} shape;

static void simple(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat from = kit_real(dev, x, s->m, s->n, 1), row = kit_real(dev, g, 1, s->n, 0);
    sd_mat y = kit_new(dev, SD_REAL, s->m, s->n, 4);

    CHECK_OK(sd_dev_scale(dev, &(sd_scale){.x = from, .y = y, .scale = 1.5}));
    kit_get(dev, y, out);
    CHECK_OK(sd_dev_axpy(dev, &(sd_axpy){.x = from, .y = y, .scale = -0.25}));
    kit_get(dev, y, out);
    CHECK_OK(sd_dev_axpy(dev, &(sd_axpy){.x = row, .y = y, .scale = 2}));
    kit_get(dev, y, out);
    CHECK_OK(sd_dev_scale(dev, &(sd_scale){.x = y, .y = y, .scale = 0.5}));
    kit_get(dev, y, out);
}

static void test_simple(uint64_t m, uint64_t n)
{
    shape s = {m, n, 1};
    uint64_t size = m * n;

    CHECK(kit_everywhere(simple, &s, got) == 4 * size);
    for (uint64_t i = 0; i < size; i++) {
        CHECK_NEAR(got[i], 1.5 * x[i], 2 * kit_eps);
        CHECK_NEAR(got[size + i], 1.25 * x[i], 4 * kit_eps);
        CHECK_NEAR(got[2 * size + i], 1.25 * x[i] + 2 * g[i % n], 8 * kit_eps);
        CHECK_NEAR(got[3 * size + i], 0.625 * x[i] + g[i % n], 8 * kit_eps);
    }
}

static void norm(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat from = kit_real(dev, x, s->m, s->n, 1), gain = kit_real(dev, g, 1, s->n / s->groups, 0);
    sd_mat y = kit_new(dev, SD_REAL, s->m, s->n, 4);

    CHECK_OK(sd_dev_rmsnorm(dev, &(sd_rmsnorm){.x = from, .gain = gain, .y = y, .eps = 1e-5}));
    CHECK_OK(sd_dev_rmsnorm(dev, &(sd_rmsnorm){.x = from, .gain = gain, .y = from, .eps = 1e-5}));
    kit_get(dev, y, out);
    kit_get(dev, from, out);
}

static void test_norm(uint64_t m, uint64_t n, uint64_t groups)
{
    shape s = {m, n * groups, groups};

    CHECK(kit_everywhere(norm, &s, got) == 2 * m * n * groups);
    for (uint64_t r = 0; r < m * groups; r++) {
        double sum = 0;

        for (uint64_t c = 0; c < n; c++)
            sum += x[r * n + c] * x[r * n + c];
        for (uint64_t c = 0; c < n; c++) {
            double want = g[c] * x[r * n + c] / sqrt(sum / (double)n + 1e-5);

            CHECK_NEAR(got[r * n + c], want, (4 * kit_eps + 1e-13) * fabs(want));
            CHECK(got[r * n + c] == got[(m * groups + r) * n + c]);
        }
    }
}

static void silu(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat gate = kit_real(dev, x, s->m, s->n, 1), up = kit_real(dev, g, s->m, s->n, 0);

    CHECK_OK(sd_dev_silu_mul(dev, &(sd_silu_mul){.gate = gate, .up = up, .y = up}));
    kit_get(dev, up, out);
}

/* Over the whole range of exp, overflow and underflow included. */
static void test_silu(void)
{
    shape s = {3, 4099, 1};
    double gate[3 * 4099];

    for (uint64_t i = 0; i < s.m * s.n; i++) {
        gate[i] = x[i];
        x[i] = (double)(sd_real)(pow(10, 4 * fabs(x[i]) - 1) * (x[i] < 0 ? -1 : 1));
    }
    x[5] = NAN;
    x[6] = INFINITY;
    CHECK(kit_everywhere(silu, &s, got) == s.m * s.n);
    for (uint64_t i = 0; i < s.m * s.n; i++) {
        double want = x[i] / (1 + exp(-x[i])) * g[i];

        if (i == 5)
            CHECK(isnan(got[i]));
        else if (i == 6)
            CHECK(isinf(got[i]));
        else
            CHECK_NEAR(got[i], want, 8 * kit_eps * fabs(want) + (double)1e-36f);
        x[i] = gate[i];
    }
}

typedef struct rotation {
    uint64_t m, heads, head, positions;
    int32_t at[64];
} rotation;

static void rope(sd_dev *dev, const void *arg, double **out)
{
    const rotation *s = arg;
    sd_rope op = {.x = kit_real(dev, x, s->m, s->heads * s->head, 3),
                  .position = kit_i32(dev, s->at, 1, s->m, 0),
                  .cos = kit_real(dev, g, s->positions, s->head / 2, 1),
                  .sin = kit_real(dev, g + 1000, s->positions, s->head / 2, 0),
                  .head = s->head};

    CHECK_OK(sd_dev_rope(dev, &op));
    kit_get(dev, op.x, out);
}

static void test_rope(void)
{
    rotation s = {.m = 37, .heads = 3, .head = 10, .positions = 13};

    for (uint64_t r = 0; r < s.m; r++)
        s.at[r] = (int32_t)(r * 5 % 13);
    s.at[7] = 13;
    s.at[8] = -1;
    CHECK(kit_everywhere(rope, &s, got) == s.m * s.heads * s.head);
    for (uint64_t r = 0; r < s.m; r++)
        for (uint64_t c = 0; c < s.heads * s.head; c++) {
            uint64_t at = r * s.heads * s.head + c, half = s.head / 2, i = c % s.head;
            uint64_t table = (uint64_t)s.at[r] * half + i % half;
            double want;

            if (r == 7 || r == 8) {
                CHECK(isnan(got[at]));
                continue;
            }
            want = i < half ? x[at] * g[table] - x[at + half] * g[1000 + table]
                            : x[at] * g[table] + x[at - half] * g[1000 + table];
            CHECK_NEAR(got[at], want, 4 * kit_eps);
        }
}

static void gather(sd_dev *dev, const void *arg, double **out)
{
    sd_mat from = kit_real(dev, x, 5, 33, 2), index = kit_i32(dev, arg, 1, 40, 0);
    sd_mat y = kit_new(dev, SD_REAL, 40, 33, 1);

    CHECK_OK(sd_dev_gather(dev, &(sd_gather){.x = from, .index = index, .y = y}));
    kit_get(dev, y, out);
}

static void test_gather(void)
{
    int32_t index[40];

    for (int32_t i = 0; i < 40; i++)
        index[i] = i % 7 - 1;
    CHECK(kit_everywhere(gather, index, got) == 40 * 33);
    for (uint64_t r = 0; r < 40; r++)
        for (uint64_t c = 0; c < 33; c++) {
            if (index[r] < 0 || index[r] >= 5)
                CHECK(isnan(got[r * 33 + c]));
            else
                CHECK(got[r * 33 + c] == x[(uint64_t)index[r] * 33 + c]);
        }
}

static void fill(sd_dev *dev, const void *arg, double **out)
{
    static const sd_dtype types[] = {SD_REAL, SD_F64, SD_I32, SD_U32, SD_U64};

    (void)arg;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        sd_mat y = kit_new(dev, types[i], 65, 257, 0);

        CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = y, .value = 7}));
        CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = sd_mat_cols(sd_mat_rows(y, 2, 60), 3, 250), .value = 9}));
        kit_get(dev, sd_mat_rows(y, 0, 3), out);
    }
}

static void test_fill(void)
{
    CHECK(kit_everywhere(fill, NULL, got) == 5 * 3 * 257);
    for (uint64_t i = 0; i < 5 * 3 * 257; i++) {
        uint64_t r = i / 257 % 3, c = i % 257;

        CHECK(got[i] == (r == 2 && c >= 3 && c < 253 ? 9 : 7));
    }
}

static void noise(sd_dev *dev, const void *arg, double **out)
{
    sd_mat y = kit_new(dev, SD_REAL, 7, 1001, 2);

    CHECK_OK(sd_dev_noise(dev, &(sd_noise){.y = y, .key = *(const sd_key *)arg, .scale = 0.75}));
    kit_get(dev, y, out);
}

static void test_noise(void)
{
    const sd_key key = sd_key_make(((uint64_t)5 << 40) + 3, SD_STREAM_TEST, 99);

    CHECK(kit_everywhere(noise, &key, got) == 7 * 1001);
    for (uint64_t i = 0; i < 7 * 1001; i++)
        CHECK(got[i] == (double)(sd_real)(0.75 * (2 * sd_random_uniform(key, i) - 1)));
}

static void begin(void)
{
    kit_fill(x, 11, MOST);
    kit_fill(g, 12, MOST);
}

static void test_simple_ones(void)
{
    test_simple(1, 1);
    test_simple(3, 5001);
    test_simple(257, 17);
}

static void test_norms(void)
{
    test_norm(1, 1, 1);
    test_norm(65, 129, 1);
    test_norm(3, 4097, 1);
    test_norm(37, 24, 5);
}

static const test_case tests[] = {
    TEST(test_simple_ones),
    TEST(test_norms),
    TEST(test_silu),
    TEST(test_rope),
    TEST(test_gather),
    TEST(test_fill),
    TEST(test_noise),
};

TEST_MAIN(tests, begin, NULL)

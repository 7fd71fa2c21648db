/* Operations on bf16 and f16: each against the same operation in real, on the same rounded numbers. What differs is the rounding of the results,
 * and on tensor cores that of attention's probabilities. */
#include "kit.h"

enum { MOST = 1 << 16 };

static double x[MOST], w[MOST], z[MOST], got[KIT_OUT];
static sd_dtype type; /* that is tested */

/* Half a unit in the last place of 1. */
static double ulp(void)
{
    return type == SD_BF16 ? 0x1p-8 : 0x1p-11;
}

static sd_mat narrow(sd_dev *dev, const double *from, uint64_t rows, uint64_t cols, uint64_t pad)
{
    sd_mat m = kit_new(dev, type, rows, cols, pad);
    uint16_t *host;

    CHECK_OK(SD_NEW(&host, rows * cols));
    sd_convert(host, type, from, SD_F64, rows * cols);
    CHECK_OK(sd_dev_upload(dev, host, m));
    sd_free(host);
    return m;
}

static void get(sd_dev *dev, sd_mat m, double **out)
{
    uint16_t *host;

    if (sd_buf_type(m.buf) == SD_REAL) {
        kit_get(dev, m, out);
        return;
    }
    CHECK_OK(SD_NEW(&host, m.rows * m.cols));
    CHECK_OK(sd_dev_download(dev, m, host));
    sd_convert(*out, SD_F64, host, type, m.rows * m.cols);
    *out += m.rows * m.cols;
    sd_free(host);
}

/* Numbers of the tested type in `to`, so that the operation in real starts from the same. */
static void make(double *to, uint64_t stream, double scale)
{
    uint16_t bits;

    for (uint64_t i = 0; i < MOST; i++) {
        double value = scale * kit_value(stream, i);

        sd_convert(&bits, type, &value, SD_F64, 1);
        sd_convert(&to[i], SD_F64, &bits, type, 1);
    }
}

/* Compares the two halves of got: the operation on narrow members, and the one in real. `extra`: tolerance for other inputs that were rounded. */
static void compare(uint64_t count, double extra)
{
    for (uint64_t i = 0; i < count / 2; i++) {
        double want = got[count / 2 + i];

        if (isfinite(want))
            CHECK_NEAR(got[i], want, 2 * ulp() * (fabs(want) + extra));
        else
            CHECK(!isfinite(got[i]));
    }
}

typedef struct shape {
    uint64_t m, n, heads, kv_heads, head, window, pad;
} shape;

static void rows(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    uint64_t m = s->m, n = s->n;

    for (int real = 0; real < 2; real++) {
        sd_mat a = real ? kit_real(dev, x, m, n, 1) : narrow(dev, x, m, n, s->pad), gain = kit_real(dev, z, 1, n, 0);
        sd_mat b = real ? kit_real(dev, w, m, n, 2) : narrow(dev, w, m, n, s->pad);
        sd_mat wide = kit_real(dev, w, m, n, 3), y = kit_new(dev, real ? SD_REAL : type, m, n, s->pad);

        CHECK_OK(sd_dev_axpy(dev, &(sd_axpy){.x = a, .y = wide, .scale = 0.5}));
        get(dev, wide, out);
        CHECK_OK(sd_dev_rmsnorm(dev, &(sd_rmsnorm){.x = wide, .gain = gain, .y = y, .eps = 1e-5}));
        get(dev, y, out);
        CHECK_OK(sd_dev_silu_mul(dev, &(sd_silu_mul){.gate = a, .up = b, .y = y}));
        get(dev, y, out);
        CHECK_OK(sd_dev_axpy(dev, &(sd_axpy){.x = gain, .y = b, .scale = 2}));
        get(dev, b, out);
        CHECK_OK(sd_dev_rmsnorm(dev, &(sd_rmsnorm){.x = a, .gain = gain, .y = a, .eps = 1e-5}));
        get(dev, a, out);
    }
}

typedef struct moves {
    int32_t index[9];
} moves;

/* Copies are exact; rope rounds once. */
static void copies(sd_dev *dev, const void *arg, double **out)
{
    const moves *s = arg;

    for (int real = 0; real < 2; real++) {
        sd_mat a = real ? kit_real(dev, x, 9, 24, 1) : narrow(dev, x, 9, 24, 3), index = kit_i32(dev, s->index, 1, 9, 0);
        sd_mat y = kit_new(dev, SD_REAL, 9, 24, 0), kept = real ? kit_real(dev, w, 7, 24, 0) : narrow(dev, w, 7, 24, 1);

        CHECK_OK(sd_dev_gather(dev, &(sd_gather){.x = a, .index = index, .y = y}));
        get(dev, y, out);
        CHECK_OK(sd_dev_put_rows(dev, &(sd_put_rows){.x = a, .index = index, .y = kept}));
        get(dev, kept, out);
        CHECK_OK(sd_dev_rope(dev, &(sd_rope){.x = a, .position = index, .cos = kit_real(dev, z, 6, 4, 1), .sin = kit_real(dev, z + 64, 6, 4, 0),
                                             .head = 8}));
        get(dev, a, out);
    }
}

static void products(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_mat weights = narrow(dev, w, s->n, s->head, s->pad), wide = kit_real(dev, w, s->n, s->head, 0);

    for (int real = 0; real < 2; real++)
        for (int kind = 0; kind < 6; kind++) {
            /* a narrow or real, y narrow or real; the last two for single rows */
            bool rounds = !real && (kind & 1), gives = !real && (kind & 2);
            sd_mat a = rounds ? narrow(dev, x, s->m, s->head, s->pad) : kit_real(dev, x, s->m, s->head, 1);
            sd_mat y = kit_new(dev, gives ? type : SD_REAL, s->m, s->n, 1);

            if (kind < 4)
                CHECK_OK(sd_dev_matmul(dev, &(sd_matmul){.a = a, .b = real ? wide : weights, .y = y, .trans_b = true, .alpha = 1}));
            else
                CHECK_OK(sd_dev_rowwise(dev, &(sd_rowwise){.x = a, .w = real ? wide : weights, .y = y}));
            get(dev, y, out);
        }
}

/* Two documents, the second of which is not finite somewhere in its values; and recall of the same rows. */
static void attention(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    uint64_t m = s->m, q = s->heads * s->head, kv = s->kv_heads * s->head, few = m < 12 ? m : 12;
    int32_t start[512], first[512], last[512];

    for (uint64_t t = 0; t < m; t++) {
        start[t] = t < m / 3 ? 0 : (int32_t)(m / 3);
        first[t] = s->window > 0 && t - (uint64_t)start[t] >= s->window ? (int32_t)(t + 1 - s->window) : start[t];
        last[t] = (int32_t)t;
    }
    for (int real = 0; real < 2; real++) {
        sd_mat all = real ? kit_real(dev, x, m, q + 2 * kv, 0) : narrow(dev, x, m, q + 2 * kv, s->pad);
        sd_mat y = kit_new(dev, real ? SD_REAL : type, m, q, s->pad);
        sd_mat starts = kit_i32(dev, start, 1, m, 0), rows_of = kit_i32(dev, last, 1, m, 0);

        /* Buffers of this test begin 3 elements in: moved to where rows begin at multiples of 16 bytes, which tensor cores want. */
        if (!real && s->pad == 0) {
            sd_mat apart = all;

            all = kit_new(dev, type, m + 1, q + 2 * kv, 0);
            all.offset = 0;
            all.rows = m;
            y = kit_new(dev, type, m + 1, q, 0);
            y.offset = 0;
            y.rows = m;
            CHECK_OK(sd_dev_put_rows(dev, &(sd_put_rows){.x = apart, .index = rows_of, .y = all}));
        }
        CHECK_OK(sd_dev_attention(dev, &(sd_attention){.q = sd_mat_cols(all, 0, q), .k = sd_mat_cols(all, q, kv), .v = sd_mat_cols(all, q + kv, kv),
                                                       .start = starts, .y = y, .head = s->head, .window = s->window}));
        get(dev, y, out);
        /* The last rows only. */
        CHECK_OK(sd_dev_attention_cached(dev, &(sd_attention_cached){.q = sd_mat_rows(sd_mat_cols(all, 0, q), m - few, few), .k = sd_mat_cols(all, q, kv),
                                                 .v = sd_mat_cols(all, q + kv, kv), .first = kit_i32(dev, first + m - few, 1, few, 0),
                                                 .last = kit_i32(dev, last + m - few, 1, few, 0), .y = sd_mat_rows(y, m - few, few),
                                                 .head = s->head}));
        get(dev, y, out);
    }
}

static void test_attention(shape s)
{
    uint64_t cols = (s.heads + 2 * s.kv_heads) * s.head, v = cols - s.kv_heads * s.head, bad = s.m / 3 + 70;

    CHECK(s.m * cols <= MOST);
    compare(kit_everywhere(attention, &s, got), 0.5);
    if (bad + 20 >= s.m)
        return;
    x[bad * cols + v + 1] = NAN;
    x[(bad + 20) * cols + v + 2] = INFINITY;
    compare(kit_everywhere(attention, &s, got), 0.5);
    CHECK(isnan(got[bad * s.heads * s.head + 1]) && isfinite(got[bad * s.heads * s.head + 3]));
    CHECK(isfinite(got[(bad - 1) * s.heads * s.head + 1]));
    make(x, 61, 2);
}

static void test_type(void)
{
    static const moves moved = {{3, 0, 7, 5, 1, -1, 2, 6, 9}};

    make(x, 61, 2);
    make(w, 62, 2);
    make(z, 63, 1);
    compare(kit_everywhere(rows, &(shape){.m = 1, .n = 1, .pad = 0}, got), 0.1);
    compare(kit_everywhere(rows, &(shape){.m = 33, .n = 129, .pad = 2}, got), 0.1);
    compare(kit_everywhere(rows, &(shape){.m = 5, .n = 2056, .pad = 8}, got), 0.1);
    compare(kit_everywhere(copies, &moved, got), 0.1);
    compare(kit_everywhere(products, &(shape){.m = 1, .n = 1, .head = 1}, got), 0.1);
    compare(kit_everywhere(products, &(shape){.m = 37, .n = 70, .head = 129, .pad = 3}, got), 0.1);
    compare(kit_everywhere(products, &(shape){.m = 11, .n = 16, .head = 256}, got), 0.1);
    test_attention((shape){.m = 40, .heads = 2, .kv_heads = 1, .head = 6, .pad = 1});
    test_attention((shape){.m = 150, .heads = 2, .kv_heads = 1, .head = 32});
    test_attention((shape){.m = 221, .heads = 1, .kv_heads = 1, .head = 64, .window = 70});
    if (type == SD_F16)
        return;
    test_attention((shape){.m = 70, .heads = 1, .kv_heads = 1, .head = 96});
    test_attention((shape){.m = 100, .heads = 1, .kv_heads = 1, .head = 128, .window = 5});
    test_attention((shape){.m = 1, .heads = 1, .kv_heads = 1, .head = 64});
}

/* Types that do not belong together. */
static void test_refusals(void)
{
    sd_dev *dev;
    sd_mat real, narrow_one, other, whole;

    CHECK_OK(sd_dev_open(&dev, test_devices[0].name, 1));
    real = kit_new(dev, SD_REAL, 4, 4, 0);
    narrow_one = kit_new(dev, SD_BF16, 4, 4, 0);
    other = kit_new(dev, SD_F16, 4, 4, 0);
    whole = kit_new(dev, SD_I32, 4, 4, 0);
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = other, .b = narrow_one, .y = real, .trans_b = true, .alpha = 1}), SD_E_INTERNAL,
                "matmul: a holds f16 where bf16 is needed");
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = narrow_one, .b = real, .y = real, .trans_b = true, .alpha = 1}), SD_E_INTERNAL,
                "matmul: a holds bf16 where");
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = real, .b = narrow_one, .y = kit_new(dev, SD_REAL, 4, 4, 0), .trans_b = true, .alpha = 2}),
                SD_E_INTERNAL, "by weights of bf16 only");
    CHECK_FAILS(sd_dev_silu_mul(dev, &(sd_silu_mul){.gate = narrow_one, .up = real, .y = narrow_one}), SD_E_INTERNAL, "silu_mul: up holds");
    CHECK_FAILS(sd_dev_axpy(dev, &(sd_axpy){.x = whole, .y = real, .scale = 1}), SD_E_INTERNAL, "bf16 or f16 is needed");
    CHECK_FAILS(sd_dev_put_rows(dev, &(sd_put_rows){.x = other, .index = sd_mat_rows(whole, 0, 1), .y = narrow_one}), SD_E_INTERNAL, "put_rows: x holds f16");
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&dev);
}

static void test_bf16(void)
{
    type = SD_BF16;
    test_type();
}

static void test_f16(void)
{
    type = SD_F16;
    test_type();
}

static const test_case tests[] = {
    TEST(test_bf16),
    TEST(test_f16),
    TEST(test_refusals),
};

TEST_MAIN(tests, NULL, NULL)

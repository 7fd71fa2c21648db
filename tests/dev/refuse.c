/* The front ends refuse what does not fit, naming operation, argument and both shapes. */
#include "kit.h"

static sd_dev *dev, *other;

static sd_mat real(uint64_t rows, uint64_t cols)
{
    sd_mat m = kit_new(dev, SD_REAL, rows, cols, 0);

    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = m, .value = 0}));
    return m;
}

static sd_mat typed(sd_dtype type, uint64_t rows, uint64_t cols)
{
    return kit_new(dev, type, rows, cols, 0);
}

static void test_matrices(void)
{
    sd_mat a = real(3, 4), b = real(5, 4), y = real(3, 5), foreign = y, none = {0}, beyond = y, narrow = y;

    CHECK_OK(sd_dev_matmul(dev, &(sd_matmul){.a = a, .b = b, .y = y, .trans_b = true, .alpha = 1}));
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = a, .b = b, .y = y, .alpha = 1}), SD_E_INTERNAL,
                "matmul: b is [5, 4] where [4, 4] is needed");
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = a, .b = b, .y = a, .trans_b = true}), SD_E_INTERNAL,
                "matmul: y is [3, 4] where [3, 5] is needed");
    CHECK_OK(sd_buf_create(&foreign.buf, other, SD_REAL, 100));
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = a, .b = b, .y = foreign, .trans_b = true}),
                SD_E_INTERNAL, "matmul: the buffer of y belongs to another device");
    sd_buf_destroy(&foreign.buf);
    CHECK_FAILS(sd_dev_matmul(dev, &(sd_matmul){.a = none, .b = b, .y = y, .trans_b = true}), SD_E_INTERNAL,
                "matmul: a has no buffer");
    beyond.offset += 1;
    CHECK_FAILS(sd_dev_scale(dev, &(sd_scale){.x = beyond, .y = y}), SD_E_INTERNAL,
                "scale: x is [3, 5], rows 5 apart, at element 4 of a buffer of 18");
    beyond.offset = UINT64_MAX;
    CHECK_FAILS(sd_dev_download(dev, beyond, &none), SD_E_INTERNAL, "download: from is");
    narrow.stride = 4;
    CHECK_FAILS(sd_dev_scale(dev, &(sd_scale){.x = narrow, .y = y}), SD_E_INTERNAL, "rows only 4 apart");
    beyond = y;
    beyond.rows = 1ull << 40;
    CHECK_FAILS(sd_dev_scale(dev, &(sd_scale){.x = beyond, .y = y}), SD_E_INTERNAL,
                "a dimension may be at most");
    CHECK_FAILS(sd_dev_gather(dev, &(sd_gather){.x = a, .index = real(1, 3), .y = real(3, 4)}), SD_E_INTERNAL,
                "gather: index holds f32 where i32 is needed");
    CHECK_FAILS(sd_dev_upload_as(dev, &none, SD_I32, y), SD_E_INTERNAL, "not a floating type");
    CHECK_FAILS(sd_dev_fill(dev, &(sd_fill){.y = typed(SD_U32, 1, 1), .value = -1}), SD_E_INTERNAL,
                "u32 cannot hold -1");
    CHECK_FAILS(sd_dev_axpy(dev, &(sd_axpy){.x = real(2, 5), .y = y}), SD_E_INTERNAL,
                "axpy: x is [2, 5] where [3, 5] is needed");
}

static void test_overlap(void)
{
    sd_mat m = real(6, 8), left = sd_mat_cols(m, 0, 4), right = sd_mat_cols(m, 4, 4),
           across = sd_mat_cols(m, 3, 4);

    CHECK_OK(sd_dev_axpy(dev, &(sd_axpy){.x = left, .y = right, .scale = 1}));
    CHECK_OK(sd_dev_axpy(dev, &(sd_axpy){.x = sd_mat_rows(m, 0, 3), .y = sd_mat_rows(m, 3, 3), .scale = 1}));
    CHECK_FAILS(sd_dev_axpy(dev, &(sd_axpy){.x = left, .y = across, .scale = 1}), SD_E_INTERNAL,
                "axpy: y [6, 4] at element 6 overlaps x [6, 4] at element 3");
    CHECK_OK(sd_dev_scale(dev, &(sd_scale){.x = left, .y = left, .scale = 1}));
    CHECK_FAILS(sd_dev_scale(dev, &(sd_scale){.x = left, .y = across, .scale = 1}), SD_E_INTERNAL,
                "overlaps");
    CHECK_FAILS(
        sd_dev_axpy(dev, &(sd_axpy){.x = sd_mat_rows(m, 0, 3), .y = sd_mat_rows(m, 2, 3), .scale = 1}),
        SD_E_INTERNAL, "overlaps");
}

static void test_special(void)
{
    sd_mat x = real(3, 12), kv = real(3, 8), start = typed(SD_I32, 1, 3), y = real(3, 12);
    sd_mat w = real(5, 12), index = typed(SD_I32, 3, 6), value = real(3, 6), one = typed(SD_F64, 1, 1);

    CHECK_FAILS(sd_dev_attention(dev, &(sd_attention){x, kv, kv, start, y, 4, 0}), SD_E_INTERNAL,
                "no whole numbers of heads");
    CHECK_FAILS(sd_dev_attention(dev, &(sd_attention){x, kv, kv, start, y, 0, 0}), SD_E_INTERNAL,
                "attention: q is");
    CHECK_FAILS(sd_dev_rmsnorm(dev, &(sd_rmsnorm){x, real(1, 5), real(3, 12), 0}), SD_E_INTERNAL,
                "no whole number of groups of 5 components");
    CHECK_FAILS(sd_dev_rope(dev, &(sd_rope){x, start, real(4, 2), real(4, 2), 5, false}), SD_E_INTERNAL,
                "heads of 5");
    CHECK_FAILS(sd_dev_rope(dev, &(sd_rope){x, start, real(4, 2), real(4, 3), 4, false}), SD_E_INTERNAL,
                "rope: sin is [4, 3] where [4, 2] is needed");
    CHECK_FAILS(sd_dev_encode_topk(dev, &(sd_encode_topk){x, w, real(1, 5), real(1, 12), index, value}),
                SD_E_INTERNAL, "k must be 1 to the 5 latents");
    CHECK_FAILS(
        sd_dev_decode(dev, &(sd_decode){.index = index, .value = value, .w_dec = w, .y = real(3, 11)}),
        SD_E_INTERNAL, "decode: y is [3, 11] where [3, 12] is needed");
    CHECK_FAILS(sd_dev_sumsq(dev, &(sd_sumsq){x, one, 1}), SD_E_INTERNAL, "sumsq: slot 1 of sum [1, 1]");
    CHECK_FAILS(sd_dev_adamw(dev, &(sd_adamw){.w = x, .g = y, .m = real(3, 12), .v = real(3, 12)}),
                SD_E_INTERNAL, "the first step is 1");
    CHECK_FAILS(sd_dev_median_step(dev, &(sd_median_step){real(0, 3), real(1, 3), real(1, 3), one, 1}),
                SD_E_INTERNAL, "no rows");
}

/* Values in device memory that no front end sees. */
static void test_bad_index(void)
{
    static const int32_t bad[3] = {0, 5, 1};
    sd_mat index = kit_i32(dev, bad, 3, 1, 0), begin = typed(SD_U32, 1, 6), entry = typed(SD_U32, 1, 3);

    sd_mat value = real(3, 1), w = real(5, 2), y = real(3, 2), grad = real(3, 1);
    sd_real got[6];

    CHECK_FAILS(sd_dev_invert(dev, &(sd_invert){index, begin, entry}), SD_E_INTERNAL,
                "index[1, 0] is 5; there are 5 latents");
    CHECK_OK(sd_dev_decode(dev, &(sd_decode){.index = index, .value = value, .w_dec = w, .y = y}));
    CHECK_OK(sd_dev_download(dev, y, got));
    CHECK(got[0] == 0 && isnan(got[2]) && isnan(got[3]) && got[4] == 0);
    CHECK_OK(sd_dev_code_grad(dev, &(sd_code_grad){y, w, index, value, grad, 1, false}));
    CHECK_OK(sd_dev_download(dev, grad, got));
    CHECK(got[0] == 0 && isnan(got[1]) && got[2] == 0);
}

static void begin(void)
{
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    CHECK_OK(sd_dev_open(&other, "cpu", 1));
}

static void end(void)
{
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&other);
    sd_dev_close(&dev);
}

static const test_case tests[] = {
    TEST(test_matrices),
    TEST(test_overlap),
    TEST(test_special),
    TEST(test_bad_index),
};

TEST_MAIN(tests, begin, end)

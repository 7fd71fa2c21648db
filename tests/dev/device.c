/* Opening, buffers, views, copies with and without conversion. */
#include "kit.h"

static void test_open(void)
{
    sd_dev *dev;

    CHECK_OK(sd_dev_open(&dev, "auto", 2));
    CHECK(strcmp(sd_dev_name(dev), "cpu") == 0 || strcmp(sd_dev_name(dev), "cuda") == 0);
    CHECK(sd_dev_threads(dev) == 2);
    sd_dev_close(&dev);
    CHECK_OK(sd_dev_open(&dev, "cpu", 2));
    CHECK(strncmp(sd_dev_describe(dev), "cpu: OpenBLAS ", 14) == 0);
    CHECK_OK(sd_dev_wait(dev));
    sd_dev_close(&dev);
    CHECK(dev == NULL);
    sd_dev_close(&dev);
    CHECK_FAILS(sd_dev_open(&dev, "gpu", 1), SD_E_USAGE, "choose auto, cpu, strict or cuda");
    CHECK(dev == NULL);
    CHECK_FAILS(sd_dev_open(&dev, "cpu", 0), SD_E_USAGE, "the number of threads is 0");
    CHECK(sd_dev_default_threads(1) >= 1);
    CHECK(sd_dev_default_threads(100000) >= 1);
    CHECK(sd_dev_default_threads(1) >= sd_dev_default_threads(2));
}

static void views(sd_dev *dev, const void *arg, double **out)
{
    double x[7 * 9];
    int32_t whole[4] = {1, -2, 3, 2147483647};
    sd_mat m, inner, integers;

    (void)arg;
    kit_fill(x, 81, 63);
    m = kit_real(dev, x, 7, 9, 0);
    inner = sd_mat_cols(sd_mat_rows(m, 2, 4), 3, 5);
    CHECK(inner.rows == 4 && inner.cols == 5 && inner.stride == 9);
    kit_get(dev, inner, out);
    for (int i = 0; i < 20; i++)
        x[i] = i;
    CHECK_OK(sd_dev_upload_as(dev, x, SD_F64, inner));
    for (int i = 0; i < 20; i++)
        x[i] = -1; /* host memory may be reused at once */
    kit_get(dev, m, out);
    integers = kit_i32(dev, whole, 2, 2, 1);
    kit_get(dev, integers, out);
    CHECK(sd_buf_count(m.buf) == 66 && sd_buf_type(m.buf) == SD_REAL);
}

static void test_views(void)
{
    static double got[KIT_OUT];

    CHECK(kit_everywhere(views, NULL, got) == 20 + 63 + 4);
    for (uint64_t r = 0; r < 7; r++)
        for (uint64_t c = 0; c < 9; c++) {
            bool in = r >= 2 && r < 6 && c >= 3 && c < 8;
            double old = kit_value(81, r * 9 + c);

            CHECK(got[20 + r * 9 + c] == (in ? (double)((r - 2) * 5 + c - 3) : old));
            if (in)
                CHECK(got[(r - 2) * 5 + c - 3] == old);
        }
    CHECK(got[83] == 1 && got[84] == -2 && got[86] == 2147483647);
}

static void test_conversion(void)
{
    static const sd_dtype types[] = {SD_F32, SD_F64, SD_F16, SD_BF16};
    sd_dev *dev;

    CHECK_OK(sd_dev_open(&dev, "strict", 1));
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        double x[6] = {1, -0.5, 0.25, 3, 0, -128}, y[6];
        uint64_t capacity[6], back[6];
        sd_buf *buf;

        sd_convert(capacity, types[t], x, SD_F64, 6);
        CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, 6));
        CHECK_OK(sd_dev_upload_as(dev, capacity, types[t], sd_mat_of(buf, 2, 3)));
        CHECK_OK(sd_dev_download_as(dev, sd_mat_of(buf, 2, 3), back, types[t]));
        sd_convert(y, SD_F64, back, types[t], 6);
        CHECK(memcmp(x, y, sizeof x) == 0);
        sd_buf_destroy(&buf);
    }
    sd_dev_close(&dev);
}

/* A failed allocation leaks nothing and leaves no half-open device. */
static void test_no_memory(void)
{
    for (uint64_t n = 1; n < 100; n++) {
        sd_dev *dev = NULL;
        sd_buf *buf = NULL;
        sd_status st;

        sd_mem_fail_at(n);
        st = sd_dev_open(&dev, "strict", 2);
        if (st == SD_OK)
            st = sd_buf_create(&buf, dev, SD_REAL, 4);
        if (st == SD_OK)
            st = sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(buf, 2, 2), .value = 1});
        if (st == SD_OK)
            st = sd_dev_wait(dev);
        sd_mem_fail_at(0);
        CHECK(st == SD_OK || st == SD_E_ENV);
        sd_buf_destroy(&buf);
        sd_dev_close(&dev);
        if (st == SD_OK)
            break;
        CHECK(n < 99);
    }
}

static const test_case tests[] = {
    TEST(test_open),
    TEST(test_views),
    TEST(test_conversion),
    TEST(test_no_memory),
};

TEST_MAIN(tests, NULL, NULL)

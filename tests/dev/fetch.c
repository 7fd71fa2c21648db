/* Asynchronous copies to the host. */
#include "kit.h"

static const sd_dtype types[] = {SD_REAL, SD_BF16, SD_F16};
enum { TYPES = sizeof types / sizeof types[0], ROWS = 5, COLS = 11, COUNT = ROWS * COLS };

/* What a fetch of `x` in `type` must give: sd_convert's bytes. */
static bool is_rounded(const void *host, sd_dtype type, const sd_real *x, uint64_t count)
{
    uint64_t capacity[COUNT];

    sd_convert(capacity, type, x, SD_REAL, count);
    return memcmp(host, capacity, count * sd_dtype_size(type)) == 0;
}

static void fill_with(sd_real *x, uint64_t stream)
{
    for (uint64_t i = 0; i < COUNT; i++)
        x[i] = (sd_real)kit_value(stream, i);
    x[3] = (sd_real)-0.0;
    x[4] = (sd_real)1e-7;
    x[5] = (sd_real)1.00390625; /* halfway between two numbers of bf16 */
}

/* A copy has the values at the time it was begun, whatever was queued later; two fetches at once are independent. */
static void test_snapshot(const char *name, sd_dtype type, uint64_t pad)
{
    sd_real x[2][COUNT];
    const void *host[2];
    sd_fetch *fetch[2];
    sd_dev *dev;
    sd_mat m;

    CHECK_OK(sd_dev_open(&dev, name, 2));
    m = kit_new(dev, SD_REAL, ROWS, COLS, pad);
    for (int i = 0; i < 2; i++)
        CHECK_OK(sd_fetch_create(&fetch[i], dev, COUNT + 2, type));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            fill_with(x[i], (uint64_t)(2 * round + i));
            CHECK_OK(sd_dev_upload_as(dev, x[i], SD_REAL, m));
            CHECK_OK(sd_fetch_begin(fetch[i], m));
        }
        CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = m, .value = NAN}));
        for (int i = 0; i < 2; i++) {
            CHECK_OK(sd_fetch_take(fetch[i], &host[i]));
            CHECK((uintptr_t)host[i] % 64 == 0);
            CHECK(is_rounded(host[i], type, x[i], COUNT));
        }
        CHECK(is_rounded(host[0], type, x[0], COUNT));
        CHECK_OK(sd_dev_wait(dev));
        CHECK(is_rounded(host[0], type, x[0], COUNT));
    }
    /* Part of it, and none of it. */
    CHECK_OK(sd_dev_upload_as(dev, x[0], SD_REAL, m));
    CHECK_OK(sd_fetch_begin(fetch[0], sd_mat_rows(m, 2, 2)));
    CHECK_OK(sd_fetch_take(fetch[0], &host[0]));
    CHECK(is_rounded(host[0], type, x[0] + 2 * COLS, 2 * COLS));
    CHECK_OK(sd_fetch_begin(fetch[0], sd_mat_rows(m, 2, 0)));
    CHECK_OK(sd_fetch_take(fetch[0], &host[0]));
    for (int i = 0; i < 2; i++)
        sd_fetch_destroy(&fetch[i]);
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&dev);
}

/* Before it is taken, nothing has been copied to the host. */
static void test_not_before(const char *name)
{
    sd_real x[COUNT], y[COUNT];
    const void *host;
    sd_fetch *fetch;
    sd_dev *dev;
    sd_mat m;

    if (strcmp(name, "cpu") == 0 || (test_on_cuda() && !test_is_emulated()))
        return;
    CHECK_OK(sd_dev_open(&dev, name, 1));
    m = kit_new(dev, SD_REAL, ROWS, COLS, 0);
    CHECK_OK(sd_fetch_create(&fetch, dev, COUNT, SD_REAL));
    fill_with(x, 1);
    fill_with(y, 2);
    CHECK_OK(sd_dev_upload_as(dev, x, SD_REAL, m));
    CHECK_OK(sd_fetch_begin(fetch, m));
    CHECK_OK(sd_fetch_take(fetch, &host));
    CHECK_OK(sd_dev_upload_as(dev, y, SD_REAL, m));
    CHECK_OK(sd_fetch_begin(fetch, m));
    CHECK_OK(sd_dev_wait(dev));
    CHECK(!is_rounded(host, SD_REAL, y, COUNT));
    if (strcmp(name, "strict") == 0)
        for (int i = 0; i < COUNT; i++)
            CHECK(isnan(((const sd_real *)host)[i]));
    CHECK_OK(sd_fetch_take(fetch, &host));
    CHECK(is_rounded(host, SD_REAL, y, COUNT));
    sd_fetch_destroy(&fetch);
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&dev);
}

/* A copy in progress may be abandoned, and its source destroyed before it is taken. */
static void test_destroyed(const char *name)
{
    const void *host;
    sd_fetch *fetch;
    sd_dev *dev;
    sd_buf *buf;

    CHECK_OK(sd_dev_open(&dev, name, 1));
    for (int taken = 0; taken < 2; taken++) {
        sd_real seven[3] = {7, 7, 7};

        CHECK_OK(sd_fetch_create(&fetch, dev, 3, SD_BF16));
        CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, 3));
        CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(buf, 1, 3), .value = 7}));
        CHECK_OK(sd_fetch_begin(fetch, sd_mat_of(buf, 1, 3)));
        sd_buf_destroy(&buf);
        if (taken) {
            CHECK_OK(sd_fetch_take(fetch, &host));
            CHECK(is_rounded(host, SD_BF16, seven, 3));
        }
        sd_fetch_destroy(&fetch);
        CHECK(fetch == NULL);
        sd_fetch_destroy(&fetch);
    }
    CHECK_OK(sd_dev_wait(dev));
    sd_dev_close(&dev);
}

static void test_refused(const char *name)
{
    const void *host = NULL;
    sd_fetch *fetch;
    sd_dev *dev;
    sd_buf *buf, *ids;

    CHECK_OK(sd_dev_open(&dev, name, 1));
    CHECK_FAILS(sd_fetch_create(&fetch, dev, 4, SD_I32), SD_E_INTERNAL, "i32 is not a possible type");
    CHECK(fetch == NULL);
    CHECK_OK(sd_fetch_create(&fetch, dev, 5, SD_REAL));
    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, 6));
    CHECK_OK(sd_buf_create(&ids, dev, SD_I32, 5));
    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(buf, 2, 3), .value = 1}));
    CHECK_FAILS(sd_fetch_take(fetch, &host), SD_E_INTERNAL, "taken that had not been begun");
    CHECK_FAILS(sd_fetch_begin(fetch, sd_mat_of(buf, 2, 3)), SD_E_INTERNAL, "[2, 3], but the fetch holds 5 elements");
    CHECK_FAILS(sd_fetch_begin(fetch, sd_mat_of(ids, 1, 5)), SD_E_INTERNAL, "holds i32");
    CHECK_OK(sd_fetch_begin(fetch, sd_mat_of(buf, 1, 3)));
    CHECK_FAILS(sd_fetch_begin(fetch, sd_mat_of(buf, 1, 3)), SD_E_INTERNAL, "before the last one was taken");
    CHECK(host == NULL);
    CHECK_OK(sd_fetch_take(fetch, &host));
    CHECK(((const sd_real *)host)[2] == 1);
    sd_fetch_destroy(&fetch);
    sd_buf_destroy(&buf);
    sd_buf_destroy(&ids);
    sd_dev_close(&dev);
}

/* A failed allocation leaks nothing. */
static void test_no_memory(const char *name)
{
    for (uint64_t n = 1; n < 10; n++) {
        sd_fetch *fetch;
        sd_dev *dev;
        sd_status st;

        CHECK_OK(sd_dev_open(&dev, name, 1));
        sd_mem_fail_at(n);
        st = sd_fetch_create(&fetch, dev, 4, SD_BF16);
        sd_mem_fail_at(0);
        CHECK(st == SD_OK || (st == SD_E_ENV && fetch == NULL));
        sd_fetch_destroy(&fetch);
        sd_dev_close(&dev);
        if (st == SD_OK)
            break;
        CHECK(n < 9);
    }
}

static void over_devices(void (*test_on)(const char *name))
{
    for (size_t i = 0; i < test_devices_count; i += test_devices_count - 1)
        test_on(test_devices[i].name);
}

static void snapshots(const char *name)
{
    for (int t = 0; t < TYPES; t++)
        for (uint64_t pad = 0; pad < 3; pad += 2)
            test_snapshot(name, types[t], pad);
}

static void test_snapshots(void)
{
    over_devices(snapshots);
}

static void test_order(void)
{
    over_devices(test_not_before);
    over_devices(test_destroyed);
}

static void test_failures(void)
{
    over_devices(test_refused);
    over_devices(test_no_memory);
}

static const test_case tests[] = {
    TEST(test_snapshots),
    TEST(test_order),
    TEST(test_failures),
};

TEST_MAIN(tests, NULL, NULL)

/* The defects that the strict backend detects. */
#include "kit.h"

#include "../../src/dev/strict/strict.h"

static sd_dev *dev;

static sd_mat fresh(uint64_t count)
{
    sd_mat m = {0};
    sd_buf *buf;

    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, count));
    m = sd_mat_of(buf, 1, count);
    return m;
}

/* Uninitialised memory is NaN, which propagates through arithmetic. */
static void test_fresh_is_nan(void)
{
    sd_mat x = fresh(5), y = fresh(5);
    sd_real got[5];

    CHECK_OK(sd_dev_scale(dev, &(sd_scale){.x = x, .y = y, .scale = 0}));
    CHECK_OK(sd_dev_download(dev, y, got));
    for (int i = 0; i < 5; i++)
        CHECK(isnan(got[i]));
    sd_buf_destroy(&x.buf);
    sd_buf_destroy(&y.buf);
}

static sd_status count_runs(sd_dev *cpu, const void *args)
{
    (void)cpu;
    ++**(int *const *)args;
    return SD_OK;
}

/* Nothing runs before a wait; argument blocks are copied; order is kept. */
static void test_queue(void)
{
    int runs = 0, *counter = &runs;
    sd_mat x = fresh(3);
    sd_fill op = {.y = x, .value = 1};
    sd_real got[3];

    CHECK_OK(sd_strict_queue(dev, "count", count_runs, &counter, sizeof counter));
    CHECK_OK(sd_dev_fill(dev, &op));
    op.value = 2;
    CHECK_OK(sd_dev_fill(dev, &op));
    op.value = 3;
    CHECK(runs == 0);
    CHECK_OK(sd_dev_download(dev, x, got));
    CHECK(runs == 1 && got[0] == 2 && got[2] == 2);

    CHECK_OK(sd_strict_queue(dev, "count", count_runs, &counter, sizeof counter));
    CHECK(runs == 1);
    sd_buf_destroy(&x.buf);
    CHECK(runs == 2);
}

static sd_status write_beyond(sd_dev *cpu, const void *args)
{
    sd_mat m = *(const sd_mat *)args;

    (void)cpu;
    ((char *)m.buf->data)[m.buf->count * sizeof(sd_real) + 2] = 0;
    return SD_OK;
}

static sd_status write_before(sd_dev *cpu, const void *args)
{
    sd_mat m = *(const sd_mat *)args;

    (void)cpu;
    ((char *)m.buf->data)[-4] = 0;
    return SD_OK;
}

/* Reported once, naming the operation that did it. */
static void test_guards(void)
{
    sd_mat x = fresh(3), y = fresh(100);

    CHECK_OK(sd_strict_queue(dev, "rogue", write_beyond, &x, sizeof x));
    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = y, .value = 1}));
    CHECK_FAILS(sd_dev_wait(dev), SD_E_INTERNAL, "rogue wrote 3 bytes beyond a buffer of 3 elements of f32");
    CHECK_OK(sd_dev_wait(dev));
    CHECK_OK(sd_strict_queue(dev, "rogue", write_before, &y, sizeof y));
    sd_buf_destroy(&y.buf);
    CHECK_FAILS(sd_dev_wait(dev), SD_E_INTERNAL, "rogue wrote 4 bytes before a buffer of 100 elements");
    sd_buf_destroy(&x.buf);
}

static sd_status fail(sd_dev *cpu, const void *args)
{
    (void)cpu;
    return SD_FAIL(SD_E_ENV, "failure %c", *(const char *)args);
}

/* The first failure is returned; what was queued after it does not run. */
static void test_first_failure(void)
{
    int runs = 0, *counter = &runs;

    CHECK_OK(sd_strict_queue(dev, "fail", fail, "A", 1));
    CHECK_OK(sd_strict_queue(dev, "fail", fail, "B", 1));
    CHECK_OK(sd_strict_queue(dev, "count", count_runs, &counter, sizeof counter));
    CHECK_FAILS(sd_dev_wait(dev), SD_E_ENV, "failure A");
    CHECK(runs == 0);
    CHECK_OK(sd_dev_wait(dev));
}

/* A fetch after a failure does not copy; it returns the failure, as does the next wait. */
static void test_failure_before_a_fetch(void)
{
    sd_mat x = fresh(3);
    const void *host = NULL;
    sd_fetch *fetch;

    CHECK_OK(sd_fetch_create(&fetch, dev, 3, SD_REAL));
    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = x, .value = 1}));
    CHECK_OK(sd_strict_queue(dev, "fail", fail, "C", 1));
    CHECK_OK(sd_fetch_begin(fetch, x));
    CHECK_FAILS(sd_fetch_take(fetch, &host), SD_E_ENV, "failure C");
    CHECK(host == NULL);
    CHECK_FAILS(sd_dev_wait(dev), SD_E_ENV, "failure C");
    CHECK_OK(sd_fetch_begin(fetch, x));
    CHECK_OK(sd_fetch_take(fetch, &host));
    CHECK(((const sd_real *)host)[2] == 1);
    sd_fetch_destroy(&fetch);
    sd_buf_destroy(&x.buf);
}

static void test_dead_buffer(void)
{
    sd_mat x = fresh(3), y = fresh(3), old = x;

    sd_buf_destroy(&x.buf);
    CHECK_FAILS(sd_dev_scale(dev, &(sd_scale){.x = old, .y = y, .scale = 1}), SD_E_INTERNAL,
                "not one of this device's living buffers");
    sd_buf_destroy(&y.buf);
}

static void begin(void)
{
    CHECK_OK(sd_dev_open(&dev, "strict", 2));
    CHECK(strcmp(sd_dev_name(dev), "strict") == 0);
}

static void end(void)
{
    sd_dev_close(&dev);
}

static const test_case tests[] = {
    TEST(test_fresh_is_nan),
    TEST(test_queue),
    TEST(test_guards),
    TEST(test_first_failure),
    TEST(test_failure_before_a_fetch),
    TEST(test_dead_buffer),
};

TEST_MAIN(tests, begin, end)

/* The memory of a device: what it says of it, and what it says when there is none left. */
#include "kit.h"

#ifdef TEST_EMULATED
void emulate_memory(size_t bytes);
#endif

static void test_room(const char *name)
{
    sd_dev_capacity capacity;
    sd_dev *dev;

    CHECK_OK(sd_dev_open(&dev, name, 1));
    CHECK_OK(sd_dev_memory(dev, 3, &capacity));
    CHECK(capacity.all > 0 && capacity.left > 0 && capacity.left <= capacity.all);
    CHECK(capacity.own == test_on_cuda());
    CHECK(capacity.sharers == (capacity.own ? 1 : 3));
    CHECK_OK(sd_dev_memory(dev, 1, &capacity));
    CHECK(capacity.sharers == 1); /* of a GPU: until group.h counts them */
    CHECK_OK(sd_dev_release(dev));
    sd_dev_close(&dev);
}

#ifdef TEST_EMULATED
enum { PIECE = 1 << 16, ALL = 64 * PIECE };

static sd_status take(sd_buf **buf, sd_dev *dev, uint64_t pieces)
{
    return sd_buf_create(buf, dev, SD_U8, pieces * PIECE);
}

/* Memory is what buffers leave of it; destroyed ones leave it to others of any size, and to other devices when it is released. */
static void test_pool(void)
{
    sd_buf *a, *b, *c;
    sd_dev_capacity before, capacity;
    sd_dev *dev, *other;

    emulate_memory(ALL);
    CHECK_OK(sd_dev_open_at(&dev, "cuda", 1, 0));
    CHECK_OK(sd_dev_memory(dev, 5, &before));
    CHECK(before.all == ALL && before.left <= ALL && before.left > ALL - PIECE && before.sharers == 1);
    CHECK_OK(take(&a, dev, 20));
    CHECK_OK(take(&b, dev, 20));
    CHECK_OK(sd_dev_memory(dev, 1, &capacity));
    CHECK(capacity.left == before.left - 40 * PIECE);
    CHECK_FAILS(take(&c, dev, 30), SD_E_ENV, "no memory for a buffer of 1966080 bytes");
    CHECK(c == NULL && strstr(sd_last_error(), "of the GPU's 4194304 are free") != NULL);
    CHECK_OK(sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(b, 1, 20 * PIECE), .value = 3}));
    sd_buf_destroy(&a);
    CHECK_OK(sd_dev_memory(dev, 1, &capacity));
    CHECK(capacity.left == before.left - 20 * PIECE);
    /* The pool keeps the 20, and joins them with what is left when more is asked for. */
    CHECK_OK(take(&c, dev, 42));
    sd_buf_destroy(&c);
    CHECK_OK(sd_dev_open_at(&other, "cuda", 1, 0));
    CHECK_FAILS(take(&a, other, 40), SD_E_ENV, "no memory for a buffer");
    CHECK_OK(sd_dev_release(dev));
    CHECK_OK(take(&a, other, 40));
    sd_buf_destroy(&a);
    sd_buf_destroy(&b);
    sd_dev_close(&other);
    sd_dev_close(&dev);
}

/* No memory for a fetch, and none for opening. */
static void test_none(void)
{
    sd_fetch *fetch;
    sd_dev *dev;

    emulate_memory(ALL);
    CHECK_OK(sd_dev_open(&dev, "cuda", 1));
    CHECK_FAILS(sd_fetch_create(&fetch, dev, ALL, SD_BF16), SD_E_ENV, "no memory for a fetch of 8388608 bytes");
    CHECK(fetch == NULL);
    sd_dev_close(&dev);
    emulate_memory(0);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "no memory for faults");
    CHECK(dev == NULL);
}
#endif

static void test_rooms(void)
{
    for (size_t i = 0; i < test_devices_count; i += test_devices_count - 1)
        test_room(test_devices[i].name);
}

static const test_case tests[] = {
    TEST(test_rooms),
#ifdef TEST_EMULATED
    TEST(test_pool),
    TEST(test_none),
#endif
};

TEST_MAIN(tests, NULL, NULL)

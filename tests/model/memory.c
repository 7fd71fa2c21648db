/* What a model takes of a device's memory is known before it is opened, and too much of it is refused before a weight is read. */
#include "tiny.h"

enum { ROWS = 40 };

static const sd_model_config shapes[] = {
    TINY_SHAPE(24, 3, 4, 2, 6, 40, 50, 64, 1e-5, 10000, false),
    TINY_SHAPE(16, 1, 2, 2, 8, 70, 300, 32, 1e-5, 10000, true), /* tied; more rows than context */
};

/* Where memory is counted to the byte. */
static void test_as_measured(const char *device, const sd_model_config *c, sd_dtype compute, sd_span blocks)
{
    sd_dev_capacity before, after;
    sd_model_need need;
    tiny m = {.c = *c, .type = SD_F32};
    sd_model *model;
    sd_dev *dev;

    tiny_make(&m);
    CHECK_OK(sd_dev_open(&dev, device, 1));
    CHECK_OK(sd_dev_set_compute(dev, compute));
    CHECK_OK(sd_dev_memory(dev, 1, &before));
    CHECK_OK(sd_model_measure(c, dev, ROWS, blocks, &need));
    CHECK_OK(sd_model_open_part(&model, dev, m.dir, ROWS, blocks));
    CHECK_OK(sd_dev_memory(dev, 1, &after));
    if (test_is_emulated())
        CHECK(before.left - after.left == need.weights + need.workspace);
    sd_model_close(&model);
    CHECK_OK(sd_dev_memory(dev, 1, &after));
    if (test_is_emulated())
        CHECK(before.left == after.left);
    sd_dev_close(&dev);
    tiny_remove(&m);
}

/* The weights' file is never opened. */
static void test_refused(void)
{
    const char *device = test_device_name();
    tiny m = {.c = shapes[0], .type = SD_F32};
    char path[128];
    sd_model *model;
    sd_dev *dev;

    tiny_make(&m);
    tiny_path(&m, "model.safetensors", path);
    CHECK(unlink(path) == 0);
    CHECK_OK(sd_dev_open(&dev, device, 1));
    CHECK_FAILS(sd_model_open(&model, dev, m.dir, INT32_MAX), SD_E_ENV, "the workspace of passes of 2147483647 tokens");
    CHECK(model == NULL);
    CHECK_FAILS(sd_model_open_noise(&model, dev, m.dir, INT32_MAX), SD_E_ENV, "the weights need");
    CHECK(model == NULL);
    sd_dev_close(&dev);
    tiny_remove(&m);
}

static void test_whole_models(void)
{
    const char *device = test_device_name();

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        test_as_measured(device, &shapes[i], SD_REAL, (sd_span){0, shapes[i].n_layers});
        if (test_on_cuda())
            test_as_measured(device, &shapes[i], SD_BF16, (sd_span){0, shapes[i].n_layers});
    }
}

static void test_parts(void)
{
    for (uint64_t first = 0; first < 3; first++)
        test_as_measured(test_device_name(), &shapes[0], SD_REAL, (sd_span){first, 1});
}

static const test_case tests[] = {
    TEST(test_whole_models),
    TEST(test_parts),
    TEST(test_refused),
};

TEST_MAIN(tests, NULL, NULL)

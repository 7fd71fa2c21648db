/* The CUDA module as built, with a driver that finds no GPU (tests/dev/driver): it loads, matches the program, and reports what is missing. */
#include <stdlib.h>

#include "check.h"

#include "saediff/dev/dev.h"

static void test_modules(void)
{
    const char *module = getenv("SAEDIFF_TEST_MODULE");
    sd_dev *dev;

    CHECK(module != NULL);
    setenv("SAEDIFF_CUDA_MODULE", "/nowhere/module.so", 1);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "the file '/nowhere/module.so', which SAEDIFF_CUDA_MODULE names, cannot be read");
    CHECK_OK(sd_dev_open(&dev, "auto", 1));
    CHECK(strcmp(sd_dev_name(dev), "cpu") == 0);
    sd_dev_close(&dev);
    setenv("SAEDIFF_CUDA_MODULE", "/proc/self/exe", 1);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "its module does not load");
    setenv("SAEDIFF_CUDA_MODULE", module, 1);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "NVIDIA");
    CHECK(dev == NULL);
    CHECK_OK(sd_dev_open(&dev, "auto", 1));
    CHECK(strcmp(sd_dev_name(dev), "cpu") == 0);
    sd_dev_close(&dev);
}

static const test_case tests[] = {
    TEST(test_modules),
};

TEST_MAIN(tests, NULL, NULL)

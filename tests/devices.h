/* Which devices a test goes through. Its program is built twice: plainly, and (TEST_EMULATED) with the CUDA backend on emulated kernels, then
 * for "cuda" only. The plain one, too, goes to one device only, for example a GPU, when SAEDIFF_TEST_DEVICE names it: where that does not
 * open, the test is skipped before it begins. */
#ifndef SAEDIFF_TESTS_DEVICES_H
#define SAEDIFF_TESTS_DEVICES_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../src/dev/module.h" /* tests put an emulated backend in its place */
#include "check.h"

#include "saediff/dev/dev.h"

typedef struct test_device {
    const char *name;
    int threads;
} test_device;

/* The first is the one that the others must equal to the bit. Emulated threads run in another order on each opened device. */
static test_device test_devices[4] = {{"cpu", 1}, {"cpu", 2}, {"cpu", 3}, {"strict", 2}};
static size_t test_devices_count = 4;

#ifdef TEST_EMULATED
extern const sd_backend sd_backend_cuda;
#endif

__attribute__((constructor)) static void test_choose_devices(void)
{
    const char *given = getenv("SAEDIFF_TEST_DEVICE");
    sd_dev *dev;

#ifdef TEST_EMULATED
    sd_module_use(&sd_backend_cuda);
    given = "cuda";
#endif
    if (given == NULL)
        return;
    test_devices_count = 2;
    for (int i = 0; i < 2; i++)
        test_devices[i] = (test_device){given, 1};
    if (sd_dev_open(&dev, given, 1) != SD_OK) {
        fprintf(stderr, "skipped: %s\n", sd_last_error());
        _exit(TEST_SKIPPED);
    }
    sd_dev_close(&dev);
}

/* Emulated kernels are slow: for small cases only. */
static inline bool test_is_emulated(void)
{
#ifdef TEST_EMULATED
    return true;
#else
    return false;
#endif
}

/* A device for what need not go through all of them: the last. */
static inline const char *test_device_name(void)
{
    return test_devices[test_devices_count - 1].name;
}

/* Whether it is the CUDA backend that is tested. */
static inline bool test_on_cuda(void)
{
    return strcmp(test_devices[0].name, "cuda") == 0;
}

#endif

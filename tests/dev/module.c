/* The CUDA module, as built, beside a driver that finds no GPU (tests/dev/driver): it loads, understands the program, and says what is missing. */
#include <stdlib.h>

#include "check.h"

#include "saediff/dev/dev.h"

int main(int argc, char **argv)
{
    sd_dev *dev;

    CHECK(argc == 2);
    setenv("SAEDIFF_CUDA_MODULE", "/nowhere/module.so", 1);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "the file '/nowhere/module.so', which SAEDIFF_CUDA_MODULE names, cannot be read");
    CHECK_OK(sd_dev_open(&dev, "auto", 1));
    CHECK(strcmp(sd_dev_name(dev), "cpu") == 0);
    sd_dev_close(&dev);
    setenv("SAEDIFF_CUDA_MODULE", argv[0], 1);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "its module does not load");
    setenv("SAEDIFF_CUDA_MODULE", argv[1], 1);
    CHECK_FAILS(sd_dev_open(&dev, "cuda", 1), SD_E_ENV, "NVIDIA");
    CHECK(dev == NULL);
    CHECK_OK(sd_dev_open(&dev, "auto", 1));
    CHECK(strcmp(sd_dev_name(dev), "cpu") == 0);
    sd_dev_close(&dev);
    return TEST_RESULT();
}

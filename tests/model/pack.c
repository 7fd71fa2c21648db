/* A document's activations do not depend on what is packed beside it: to the bit with OpenBLAS's SkylakeX kernels, but for rounding with
 * others. */
#include "tiny.h"

enum { ROWS = 300, DOCS = 4 };

static void test_packed_equals_alone(void)
{
    static const uint64_t start[DOCS + 1] = {0, 100, 101, 230, ROWS};
    static const sd_model_config c = TINY_SHAPE(64, 2, 8, 4, 8, 172, 96, 256, 1e-5, 10000, true);
    tiny m = {.c = c, .type = SD_F32};
    int32_t ids[ROWS];
    uint64_t equal = 0, all = 0;
    readings packed, alone;
    sd_model *model;
    sd_dev *dev;

    tiny_make(&m);
    tiny_ids(ids, ROWS, c.vocabulary);
    CHECK_OK(sd_dev_open(&dev, "cpu", 2));
    CHECK_OK(sd_model_open(&model, dev, m.dir, ROWS));
    readings_make(&packed, &c, ROWS);
    readings_take(&packed, model, dev, (sd_pass){.ids = ids, .doc_start = start, .docs = DOCS}, NULL, 0);
    for (uint64_t k = 0; k < DOCS; k++) {
        uint64_t one[2] = {0, start[k + 1] - start[k]};

        readings_make(&alone, &c, one[1]);
        readings_take(&alone, model, dev, (sd_pass){.ids = ids + start[k], .doc_start = one, .docs = 1}, NULL,
                      0);
        for (uint64_t i = 0; i < packed.sites; i++) {
            const float *a = alone.at[i].rows, *b = packed.at[i].rows + start[k] * c.d_model;
            double apart = 0, size = 0;

            for (uint64_t j = 0; j < one[1] * c.d_model; j++) {
                apart += pow((double)a[j] - (double)b[j], 2);
                size += pow((double)b[j], 2);
            }
            CHECK_NEAR(sqrt(apart / size), 0, 2e-5);
            equal += apart == 0;
            all++;
        }
        readings_free(&alone);
    }
    CHECK(equal == all || strstr(sd_dev_describe(dev), "SkylakeX") == NULL);
    fprintf(stderr, "%llu of %llu (document, site) pairs equal to the bit on %s\n", (unsigned long long)equal,
            (unsigned long long)all, sd_dev_describe(dev));
    readings_free(&packed);
    sd_model_close(&model);
    sd_dev_close(&dev);
    tiny_remove(&m);
}

static const test_case tests[] = {
    TEST(test_packed_equals_alone),
};

TEST_MAIN(tests, NULL, NULL)

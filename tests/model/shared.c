/* A model whose weights the ranks share computes what one with weights of its own does, to the bit; a folder that one rank cannot read
 * fails on all. */
#include "tiny.h"
#include "ranks.h"

enum { ROWS = 40 };

static void test_shared_weights_are_the_same(void)
{
    static const uint64_t start[2] = {0, ROWS};
    static const sd_model_config c = TINY_SHAPE(24, 3, 4, 2, 6, 40, 50, 64, 1e-5, 10000, false);
    tiny m = {.c = c, .type = SD_BF16};
    int32_t ids[ROWS];

    tiny_make(&m);
    CHECK_OK(sd_par_bcast(ranks, m.dir, sizeof m.dir, 0)); /* the others' own folders are left empty */
    tiny_ids(ids, ROWS, c.vocabulary);
    for (int strict = 0; strict < 2; strict++) {
        readings own, shared;
        sd_model *model;
        sd_dev *dev;

        CHECK_OK(sd_dev_open(&dev, strict ? "strict" : "cpu", 1));
        readings_make(&own, &c, ROWS);
        readings_make(&shared, &c, ROWS);
        CHECK_OK(sd_model_open(&model, dev, m.dir, ROWS));
        readings_take(&own, model, dev, (sd_pass){.ids = ids, .doc_start = start, .docs = 1}, NULL, 0);
        sd_model_close(&model);
        CHECK_OK(sd_model_open_shared(&model, ranks, dev, m.dir, ROWS + (uint64_t)ranks->rank));
        readings_take(&shared, model, dev, (sd_pass){.ids = ids, .doc_start = start, .docs = 1}, NULL, 0);
        CHECK(same_readings(&own, &shared, &c, 0));
        sd_model_close(&model);
        CHECK_FAILS(sd_model_open_shared(&model, ranks, dev, ranks->rank == ranks->size - 1 ? "/absent" : m.dir, ROWS), SD_E_DATA, "/absent");
        CHECK(model == NULL);
        readings_free(&own);
        readings_free(&shared);
        sd_dev_close(&dev);
    }
    CHECK_OK(sd_par_agree(ranks, SD_OK));
    if (ranks->rank == 0)
        tiny_remove(&m);
}

static const test_case tests[] = {
    TEST(test_shared_weights_are_the_same),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3, 4)

/* A model whose weights the ranks share computes what one with weights of its own does, to the bit; a folder that one rank cannot read
 * fails on all. */
#include "tiny.h"

enum { ROWS = 40 };

int main(int argc, char **argv)
{
    static const uint64_t start[2] = {0, ROWS};
    static const sd_model_config c = TINY_SHAPE(24, 3, 4, 2, 6, 40, 50, 64, 1e-5, 10000, false);
    tiny m = {.c = c, .type = SD_BF16};
    int32_t ids[ROWS];
    sd_par par;
    int result;

    if (sd_par_begin(&par, &argc, &argv) != SD_OK)
        return 1;
    tiny_make(&m);
    CHECK_OK(sd_par_bcast(&par, m.dir, sizeof m.dir, 0)); /* the others' own folders are left empty */
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
        CHECK_OK(sd_model_open_shared(&model, &par, dev, m.dir, ROWS + (uint64_t)par.rank));
        readings_take(&shared, model, dev, (sd_pass){.ids = ids, .doc_start = start, .docs = 1}, NULL, 0);
        CHECK(same_readings(&own, &shared, &c, 0));
        sd_model_close(&model);
        CHECK_FAILS(sd_model_open_shared(&model, &par, dev, par.rank == par.size - 1 ? "/absent" : m.dir, ROWS), SD_E_DATA, "/absent");
        CHECK(model == NULL);
        readings_free(&own);
        readings_free(&shared);
        sd_dev_close(&dev);
    }
    CHECK_OK(sd_par_agree(&par, SD_OK));
    if (par.rank == 0)
        tiny_remove(&m);
    result = TEST_RESULT();
    sd_par_end(&par);
    return result;
}

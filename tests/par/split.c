#include "check.h"
#include "saediff/par/par.h"

/* Rows go to ranks in order, none lost, none twice, also with more ranks than rows. */
static void test_split_tiles_all_rows(void)
{
    for (uint64_t rows = 0; rows <= 17; rows++)
        for (int size = 1; size <= 5; size++) {
            uint64_t next = 0;

            for (int rank = 0; rank < size; rank++) {
                sd_span s = sd_par_split(rows, rank, size);

                CHECK(s.first == next);
                CHECK(s.count == rows / (uint64_t)size || s.count == rows / (uint64_t)size + 1);
                next += s.count;
            }
            CHECK(next == rows);
        }
}

static const test_case tests[] = {
    TEST(test_split_tiles_all_rows),
};

TEST_MAIN(tests, NULL, NULL)

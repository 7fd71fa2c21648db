/* Every rank sees what any rank of its machine wrote; with ranks that write nothing, and after others have let the memory go. */
#include "ranks.h"
#include "saediff/par/shared.h"

static void test_seen(const sd_par *par, uint64_t count)
{
    sd_shared *shared;
    uint64_t *values;

    CHECK_OK(sd_shared_create(&shared, par, count * sizeof *values));
    values = sd_shared_data(shared);
    CHECK((uintptr_t)values % 64 == 0);
    CHECK(sd_shared_writers(shared) == 1 || sd_shared_writers(shared) == par->size);
    for (uint64_t i = 0; i < count; i++)
        CHECK(values[i] == 0);
    CHECK_OK(sd_par_agree(par, SD_OK));
    for (uint64_t i = (uint64_t)sd_shared_writer(shared); i < count; i += (uint64_t)sd_shared_writers(shared))
        values[i] = 3 * i + 1;
    CHECK_OK(sd_par_agree(par, SD_OK));
    if (par->rank == 0)
        sd_shared_destroy(&shared);
    CHECK_OK(sd_par_agree(par, SD_OK));
    for (uint64_t i = 0; par->rank != 0 && i < count; i++)
        CHECK(values[i] == 3 * i + 1);
    sd_shared_destroy(&shared);
    CHECK(shared == NULL);
}

static void test_any_length(void)
{
    test_seen(ranks, 0);
    test_seen(ranks, 2);
    test_seen(ranks, 100000);
}

static const test_case tests[] = {
    TEST(test_any_length),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3, 4)

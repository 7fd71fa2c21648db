#include "ranks.h"
#include "saediff/par/par.h"

/* Rank r sends r² + 1 − (r odd) … bytes of its own; pieces may be empty. */
static uint64_t piece_size(int rank)
{
    return rank % 3 == 1 ? 0 : (uint64_t)(rank * rank * 1000 + 7);
}

static void test_gather_keeps_rank_order_with_empty_pieces(void)
{
    const sd_par *par = ranks;
    static unsigned char mine[100000], all[400000];
    uint64_t total = 0, at = 0;

    for (int r = 0; r < par->size; r++)
        total += piece_size(r);
    for (uint64_t i = 0; i < piece_size(par->rank); i++)
        mine[i] = (unsigned char)(i * 31 + (uint64_t)par->rank);
    CHECK_OK(sd_par_gather(par, mine, piece_size(par->rank), par->rank == 0 ? all : NULL, total));
    for (int r = 0; par->rank == 0 && r < par->size; r++)
        for (uint64_t i = 0; i < piece_size(r); i++, at++)
            CHECK(all[at] == (unsigned char)(i * 31 + (uint64_t)r));
    CHECK_FAILS(sd_par_gather(par, mine, 8, par->rank == 0 ? all : NULL, 8 * (uint64_t)par->size + 1), SD_E_INTERNAL,
                "expects");
}

static void test_broadcast_reductions_and_prefix(void)
{
    const sd_par *par = ranks;
    uint64_t values[3] = {(uint64_t)par->rank, 1, (uint64_t)1 << 40}, before, total, n = (uint64_t)par->size;
    char text[5] = "none";

    if (par->rank == par->size - 1)
        memcpy(text, "word", 5);
    CHECK_OK(sd_par_bcast(par, text, 5, par->size - 1));
    CHECK(strcmp(text, "word") == 0);
    CHECK_OK(sd_par_sum_u64(par, values, 3));
    CHECK(values[0] == n * (n - 1) / 2 && values[1] == n && values[2] == n << 40);
    values[0] = (uint64_t)par->rank + 3;
    CHECK_OK(sd_par_max_u64(par, values, 1));
    CHECK(values[0] == n + 2);
    CHECK_OK(sd_par_prefix_u64(par, (uint64_t)par->rank + 1, &before, &total));
    CHECK(before == (uint64_t)par->rank * ((uint64_t)par->rank + 1) / 2 && total == n * (n + 1) / 2);
}

static void test_share(void)
{
    const sd_par *par = ranks;
    const double all[] = {1.5, -0.0, (double)NAN, 3e-320, -(double)INFINITY};
    double values[5] = {0};

    for (int i = 0; i < 5; i++)
        if (i % par->size == par->rank)
            values[i] = all[i];
    CHECK_OK(sd_par_share_f64(par, values, 5));
    CHECK(memcmp(values, all, sizeof all) == 0);
}

static void test_data_sieving_is_off(void)
{
    CHECK(strcmp(getenv("OMPI_MCA_fbtl_posix_write_datasieving"), "0") == 0);
}

static const test_case tests[] = {
    TEST(test_data_sieving_is_off),
    TEST(test_gather_keeps_rank_order_with_empty_pieces),
    TEST(test_broadcast_reductions_and_prefix),
    TEST(test_share),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3, 4)

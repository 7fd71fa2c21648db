#include "ranks.h"
#include "saediff/par/par.h"

enum { MOST = 70, WIDTH = 3 };

static double leaf(uint64_t unit, uint64_t column)
{
    return sin((double)(unit * 17 + column * 5 + 1)) * pow(10, (double)(unit % 9));
}

/* The tree by its definition: split at the largest power of two below the count. */
static double sum_of(uint64_t first, uint64_t count, uint64_t column)
{
    uint64_t left = 1;

    if (count == 1)
        return leaf(first, column);
    while (left * 2 < count)
        left *= 2;
    return sum_of(first, left, column) + sum_of(first + left, count - left, column);
}

/* Bit for bit the recursive definition, at every number of units and so with empty ranks too. */
static void test_tree_sum_is_the_definition(void)
{
    const sd_par *par = ranks;
    for (uint64_t units = 1; units <= MOST; units++) {
        double vectors[MOST * WIDTH], sum[WIDTH];
        sd_span mine = sd_par_split(units, par->rank, par->size);

        for (uint64_t u = 0; u < mine.count; u++)
            for (uint64_t c = 0; c < WIDTH; c++)
                vectors[u * WIDTH + c] = leaf(mine.first + u, c);
        CHECK_OK(sd_par_tree_sum(par, units, mine, vectors, WIDTH, par->rank == 0 ? sum : NULL));
        for (uint64_t c = 0; par->rank == 0 && c < WIDTH; c++)
            CHECK(sum[c] == sum_of(0, units, c));
    }
}

static void test_no_units(void)
{
    CHECK_FAILS(sd_par_tree_sum(ranks, 0, (sd_span){0, 0}, NULL, 1, NULL), SD_E_INTERNAL, "no units");
}

static const test_case tests[] = {
    TEST(test_tree_sum_is_the_definition),
    TEST(test_no_units),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3, 4, 8)

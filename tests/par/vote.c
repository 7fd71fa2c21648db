#include <signal.h>
#include <unistd.h>

#include "ranks.h"
#include "saediff/par/par.h"

static void test_all_well(void)
{
    const sd_par *par = ranks;
    CHECK_OK(sd_par_agree(par, SD_OK));
}

/* Each rank in turn fails alone; all get its code and its text. */
static void test_one_failure_is_everyones(void)
{
    const sd_par *par = ranks;
    for (int bad = 0; bad < par->size; bad++) {
        char want[64];
        sd_status mine = par->rank == bad ? SD_FAIL(SD_E_DATA, "rank %d found it", bad) : SD_OK;

        snprintf(want, sizeof want, "rank %d found it", bad);
        CHECK_FAILS(sd_par_agree(par, mine), SD_E_DATA, want);
    }
}

/* All get file and line, with the rank, also after a second vote. An error of the environment names rank and host, once; with one rank
 * nothing is added. */
static void test_the_place_of_a_failure_is_everyones(void)
{
    const sd_par *par = ranks;
    int bad = par->size - 1;
    char location[64], host[64] = "", words[128];

    gethostname(host, sizeof host - 1);
    for (int again = 0; again < 2; again++) {
        sd_status mine = par->rank == bad ? SD_FAIL(again ? SD_E_ENV : SD_E_DATA, "no space") : SD_OK;
        int line = __LINE__ - 1;

        snprintf(location, sizeof location, "vote.c:%d", line);
        snprintf(words, sizeof words, "no space");
        if (par->size > 1)
            snprintf(location, sizeof location, "rank %d, vote.c:%d", bad, line);
        if (par->size > 1 && again)
            snprintf(words, sizeof words, "no space (rank %d on %s)", bad, host);
        mine = sd_par_agree(par, mine);
        mine = sd_par_agree(par, mine);
        CHECK(mine == (again ? SD_E_ENV : SD_E_DATA));
        CHECK(strcmp(sd_last_error_location(), location) == 0);
        CHECK(strcmp(sd_last_error(), words) == 0);
    }
}

/* The heaviest code wins, and among equals the lowest rank's words. */
static void test_the_heaviest_wins(void)
{
    const sd_par *par = ranks;
    sd_status mine = SD_FAIL(par->rank == par->size - 1 ? SD_E_ENV : SD_E_DATA, "rank %d", par->rank);
    char want[64];

    snprintf(want, sizeof want, "rank %d", par->size - 1);
    CHECK_FAILS(sd_par_agree(par, mine), SD_E_ENV, want);
    mine = SD_FAIL(SD_E_DATA, "rank %d says", par->rank);
    CHECK_FAILS(sd_par_agree(par, mine), SD_E_DATA, "rank 0 says");
}

static void test_difference_between_ranks_is_found(void)
{
    const sd_par *par = ranks;
    CHECK_OK(sd_par_equal(par, "the job", "same"));
    if (par->size > 1)
        CHECK_FAILS(sd_par_equal(par, "the job", par->rank == par->size - 1 ? "other" : "same"), SD_E_INTERNAL,
                    "the job differs");
}

/* Last, and among the most ranks first: the wish to stop stays with the last rank. */
static void test_stop_reaches_all_but_failure_is_heavier(void)
{
    const sd_par *par = ranks;
    CHECK_OK(sd_par_agree_or_stop(par, SD_OK));
    if (par->rank == par->size - 1)
        raise(SIGUSR1);
    CHECK_FAILS(sd_par_agree_or_stop(par, SD_OK), SD_E_STOPPED, "run the same command again");
    CHECK_FAILS(sd_par_agree_or_stop(par, par->rank == 0 ? SD_FAIL(SD_E_DATA, "bad row") : SD_OK), SD_E_DATA,
                "bad row");
}

static const test_case tests[] = {
    TEST(test_all_well),
    TEST(test_one_failure_is_everyones),
    TEST(test_the_place_of_a_failure_is_everyones),
    TEST(test_the_heaviest_wins),
    TEST(test_difference_between_ranks_is_found),
    TEST(test_stop_reaches_all_but_failure_is_heavier),
};

RANKS_MAIN(tests, NULL, NULL, 4, 3, 2, 1)

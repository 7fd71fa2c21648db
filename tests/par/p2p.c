/* Messages under way at once: in chunks, empty, to oneself; and what goes wrong with them. */
#include "ranks.h"
#include "saediff/core/log.h"
#include "saediff/par/p2p.h"

enum { MOST = 5000, CHUNK = 64 };

/* Nothing, less than a chunk, whole chunks, and more. */
static uint64_t size_of(int from, int to, int which)
{
    static const uint64_t sizes[] = {0, 1, CHUNK, 3 * CHUNK, 1000, MOST};

    return sizes[(from + 2 * to + which) % 6];
}

static unsigned char element(int from, int to, int which, uint64_t i)
{
    return (unsigned char)(31 * from + 17 * to + 5 * which + (int)(i % 251));
}

static void test_all_to_all(const sd_par *par, uint64_t chunk)
{
    static unsigned char out[4][2][MOST], in[4][2][MOST];
    sd_p2p *p2p;

    CHECK_OK(sd_p2p_open(&p2p, par, chunk));
    for (int round = 0; round < 3; round++) {
        for (int r = 0; r < par->size; r++)
            for (int w = 0; w < 2; w++)
                for (uint64_t i = 0; i < MOST; i++) {
                    out[r][w][i] = element(par->rank, r, w + round, i);
                    in[r][w][i] = 0;
                }
        if (round == 1)
            CHECK_OK(sd_p2p_reserve(p2p, 4 * (uint64_t)par->size, 4 * (uint64_t)par->size * MOST));
        for (int r = 0; r < par->size; r++)
            for (int w = 0; w < 2; w++) {
                CHECK_OK(sd_p2p_expect(p2p, in[r][w], size_of(r, par->rank, w), r));
                CHECK_OK(sd_p2p_send(p2p, out[r][w], size_of(par->rank, r, w), r));
            }
        if (round == 2)
            CHECK_OK(sd_p2p_wait(p2p, true, 60));
        CHECK_OK(sd_p2p_wait(p2p, false, 60));
        CHECK(!sd_p2p_busy(p2p));
        for (int r = 0; r < par->size; r++)
            for (int w = 0; w < 2; w++)
                for (uint64_t i = 0; i < MOST; i++)
                    CHECK(in[r][w][i] == (i < size_of(r, par->rank, w) ? element(r, par->rank, w + round, i) : 0));
    }
    sd_p2p_close(&p2p);
    CHECK(p2p == NULL);
}

/* Rank 0 awaits what nobody sends: it names the rank, at the time, and all go on after a vote. */
static void test_late(void)
{
    const sd_par *par = ranks;
    static char in[100];
    int from = par->size - 1;
    char name[64];
    sd_p2p *p2p;
    double began = sd_now();
    sd_status st = SD_OK;

    snprintf(name, sizeof name, "rank 0 waited 0.2 s for rank %d;", from);
    CHECK_OK(sd_p2p_open(&p2p, par, SD_P2P_CHUNK));
    if (par->rank == 0) {
        CHECK_OK(sd_p2p_expect(p2p, in, sizeof in, from));
        CHECK_FAILS(sd_p2p_wait(p2p, true, 0.2), SD_E_ENV, name);
        CHECK(sd_now() - began > 0.2 && sd_now() - began < 20);
        CHECK_FAILS(sd_p2p_wait(p2p, true, 0.2), SD_E_INTERNAL, "after a failed one");
        CHECK_FAILS(sd_p2p_send(p2p, in, 1, from), SD_E_INTERNAL, "after a failed one");
        CHECK(sd_p2p_busy(p2p));
        st = SD_E_ENV;
    }
    CHECK(sd_par_agree(par, st) == SD_E_ENV);
    sd_p2p_close(&p2p);
}

/* The last rank sends rank 0 nothing, less, or more than it awaits. */
static void test_refused_and_unequal(void)
{
    const sd_par *par = ranks;
    static const char *const words[] = {"failed before it could send", "sent 60 bytes where rank 0 expects 100", "sent more than the 100 bytes"};
    static char in[100], out[200];
    int last = par->size - 1;

    for (int i = 0; i < (par->size > 1 ? 3 : 2); i++) { /* of too long a message to itself Open MPI tells nothing */
        sd_p2p *p2p;

        CHECK_OK(sd_p2p_open(&p2p, par, SD_P2P_CHUNK));
        if (par->rank == 0)
            CHECK_OK(sd_p2p_expect(p2p, in, sizeof in, last));
        if (par->rank == last && i == 0)
            sd_p2p_refuse(p2p, 0);
        if (par->rank == last && i > 0) {
            CHECK_OK(sd_p2p_send(p2p, out, i == 1 ? 60 : 200, 0));
            if (last > 0)
                CHECK_OK(sd_p2p_wait(p2p, false, 20));
        }
        if (par->rank == 0)
            CHECK_FAILS(sd_p2p_wait(p2p, false, 20), i == 0 ? SD_E_ENV : SD_E_INTERNAL, words[i]);
        CHECK_OK(sd_par_agree(par, SD_OK));
        sd_p2p_close(&p2p);
    }
}

static void test_small_chunks(void)
{
    test_all_to_all(ranks, CHUNK);
}

static void test_large_chunks(void)
{
    test_all_to_all(ranks, SD_P2P_CHUNK);
}

static const test_case tests[] = {
    TEST(test_small_chunks),
    TEST(test_large_chunks),
    TEST(test_late),
    TEST(test_refused_and_unequal),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3)

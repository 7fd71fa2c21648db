/* Letters arrive whole and in order, of any length, also where the sender is far ahead; parts of the ranks are ranks among themselves. */
#include "ranks.h"
#include "saediff/par/link.h"

/* Every rank writes to the next and reads from the one before; the lengths go up and down, 0 among them. */
static void test_letters_along_a_chain(void)
{
    const sd_par *par = ranks;
    enum { LETTERS = 40, ROOM = 70000 };
    sd_link *out = NULL, *in = NULL;

    if (par->rank + 1 < par->size)
        CHECK_OK(sd_link_open(&out, par, par->rank + 1, SD_LINK_WRITES, ROOM));
    if (par->rank > 0)
        CHECK_OK(sd_link_open(&in, par, par->rank - 1, SD_LINK_READS, ROOM));
    for (uint64_t n = 0; n < LETTERS; n++) {
        uint64_t want = n % 3 == 2 ? 0 : (n * n * 7919) % (ROOM + 1), bytes = 1;

        if (in != NULL) {
            const unsigned char *letter = sd_link_take(in, &bytes);

            CHECK(bytes == want);
            for (uint64_t i = 0; i < want; i++)
                if (letter[i] != (unsigned char)(n + i * 31)) {
                    CHECK(letter[i] == (unsigned char)(n + i * 31));
                    break;
                }
        }
        if (out != NULL) {
            unsigned char *sheet = sd_link_sheet(out);

            for (uint64_t i = 0; i < want; i++)
                sheet[i] = (unsigned char)(n + i * 31);
            sd_link_send(out, want);
            sd_link_poke(out);
        }
    }
    if (out != NULL)
        sd_link_wait(out);
    sd_link_close(&out);
    sd_link_close(&in);
    CHECK(out == NULL && in == NULL);
}

/* Longer than one message of MPI's is sent. */
static void test_a_long_letter(void)
{
    const sd_par *par = ranks;
    const uint64_t length = ((uint64_t)1 << 28) + 5;
    sd_link *link = NULL;
    uint64_t bytes;

    if (par->size != 2)
        return;
    CHECK_OK(sd_link_open(&link, par, 1 - par->rank, par->rank == 0 ? SD_LINK_WRITES : SD_LINK_READS, length));
    if (link == NULL)
        return;
    if (par->rank == 0) {
        uint64_t *sheet = sd_link_sheet(link);

        for (uint64_t i = 0; i < length / 8; i++)
            sheet[i] = i * 0x9e3779b97f4a7c15u;
        memcpy((char *)sheet + length - 5, "close", 5);
        sd_link_send(link, length);
        sd_link_wait(link);
    } else {
        const uint64_t *letter = sd_link_take(link, &bytes);
        uint64_t wrong = 0;

        for (uint64_t i = 0; i < length / 8; i++)
            wrong += letter[i] != i * 0x9e3779b97f4a7c15u;
        CHECK(bytes == length && wrong == 0 && memcmp((const char *)letter + length - 5, "close", 5) == 0);
    }
    sd_link_close(&link);
}

/* Ranks r and r + 2 go together; the last rank stays out where it is odd. */
static void test_parts(void)
{
    const sd_par *par = ranks;
    bool out = par->rank == par->size - 1 && par->size % 2 == 1;
    uint64_t sum = (uint64_t)par->rank, members = 0, want = 0;
    sd_par part;

    for (int r = par->rank % 2; r < par->size - par->size % 2; r += 2, members++)
        want += (uint64_t)r;
    CHECK_OK(sd_par_part_begin(&part, par, out ? -1 : par->rank % 2));
    CHECK((part.comm == MPI_COMM_NULL) == out);
    if (!out) {
        CHECK(part.size == (int)members && part.rank == par->rank / 2);
        CHECK(part.node_size == part.size && part.node_rank == part.rank);
        CHECK_OK(sd_par_sum_u64(&part, &sum, 1));
        CHECK(sum == want);
    }
    sd_par_part_end(&part);
    CHECK(part.comm == MPI_COMM_NULL);
}

static const test_case tests[] = {
    TEST(test_letters_along_a_chain),
    TEST(test_a_long_letter),
    TEST(test_parts),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3)

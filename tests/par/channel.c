/* Messages arrive whole and in order, of any length, also where the sender is far ahead; a message that is never sent or received ends the wait;
 * groups of ranks are ranks among themselves. */
#include "ranks.h"
#include "saediff/core/log.h"
#include "saediff/par/channel.h"

/* Every rank writes to the next and reads from the one before; the lengths go up and down, 0 among them. */
static void test_messages_along_a_chain(void)
{
    const sd_par *par = ranks;
    enum { MESSAGES = 40, CAPACITY = 70000 };
    sd_channel *out = NULL, *in = NULL;
    sd_p2p *p2p;

    CHECK_OK(sd_p2p_open(&p2p, par, SD_P2P_CHUNK));
    if (par->rank + 1 < par->size)
        CHECK_OK(sd_channel_open(&out, p2p, par->rank + 1, SD_CHANNEL_WRITES, CAPACITY, 60));
    if (par->rank > 0)
        CHECK_OK(sd_channel_open(&in, p2p, par->rank - 1, SD_CHANNEL_READS, CAPACITY, 60));
    for (uint64_t n = 0; n < MESSAGES; n++) {
        uint64_t want = n % 3 == 2 ? 0 : (n * n * 7919) % (CAPACITY + 1), bytes = 1;

        if (in != NULL) {
            const unsigned char *got;
            const void *data;

            CHECK_OK(sd_channel_receive(in, &data, &bytes));
            got = data;
            CHECK(bytes == want);
            for (uint64_t i = 0; i < want; i++)
                if (got[i] != (unsigned char)(n + i * 31)) {
                    CHECK(got[i] == (unsigned char)(n + i * 31));
                    break;
                }
        }
        if (out != NULL) {
            unsigned char *bytes_out;
            void *buffer;

            CHECK_OK(sd_channel_buffer(out, &buffer));
            bytes_out = buffer;
            for (uint64_t i = 0; i < want; i++)
                bytes_out[i] = (unsigned char)(n + i * 31);
            CHECK_OK(sd_channel_send(out, want));
            CHECK_OK(sd_channel_advance(out));
        }
    }
    if (out != NULL)
        CHECK_OK(sd_channel_wait(out));
    sd_channel_close(&out);
    sd_channel_close(&in);
    sd_p2p_close(&p2p);
    CHECK(out == NULL && in == NULL);
}

/* Longer than one message of MPI may be. */
static void test_a_long_message(void)
{
    const sd_par *par = ranks;
    const uint64_t length = ((uint64_t)1 << 28) + 5;
    sd_channel *channel = NULL;
    sd_p2p *p2p;
    void *buffer;

    if (par->size != 2)
        return;
    CHECK_OK(sd_p2p_open(&p2p, par, SD_P2P_CHUNK));
    CHECK_OK(sd_channel_open(&channel, p2p, 1 - par->rank, par->rank == 0 ? SD_CHANNEL_WRITES : SD_CHANNEL_READS, length, 60));
    if (channel != NULL && par->rank == 0) {
        uint64_t *words;

        CHECK_OK(sd_channel_buffer(channel, &buffer));
        words = buffer;
        for (uint64_t i = 0; i < length / 8; i++)
            words[i] = i * 0x9e3779b97f4a7c15u;
        memcpy((char *)words + length - 5, "close", 5);
        CHECK_OK(sd_channel_send(channel, length));
        CHECK_OK(sd_channel_wait(channel));
    } else if (channel != NULL) {
        const void *data;
        uint64_t bytes, wrong = 0;

        CHECK_OK(sd_channel_receive(channel, &data, &bytes));
        for (uint64_t i = 0; i < length / 8; i++)
            wrong += ((const uint64_t *)data)[i] != i * 0x9e3779b97f4a7c15u;
        CHECK(bytes == length && wrong == 0 && memcmp((const char *)data + length - 5, "close", 5) == 0);
    }
    sd_channel_close(&channel);
    sd_p2p_close(&p2p);
}

/* Rank 1 receives from rank 0, which sends nothing, or too long a message: the error names rank 0. */
static void test_never_sent_and_too_long(void)
{
    const sd_par *par = ranks;
    for (int i = 0; i < 2 && par->size > 1; i++) {
        sd_channel *channel = NULL;
        sd_p2p *p2p;

        CHECK_OK(sd_p2p_open(&p2p, par, SD_P2P_CHUNK));
        if (par->rank == 0)
            CHECK_OK(sd_channel_open(&channel, p2p, 1, SD_CHANNEL_WRITES, 1000, 60));
        if (par->rank == 1)
            CHECK_OK(sd_channel_open(&channel, p2p, 0, SD_CHANNEL_READS, 999, 0.2));
        if (par->rank == 0 && i == 1)
            CHECK_OK(sd_channel_send(channel, 1000));
        if (par->rank == 1) {
            const void *data;
            uint64_t bytes;
            double began = sd_now();

            CHECK_FAILS(sd_channel_receive(channel, &data, &bytes), i == 0 ? SD_E_ENV : SD_E_INTERNAL,
                        i == 0 ? "rank 1 waited 0.2 s for rank 0;" : "rank 0 sent a message of 1000 bytes; the channel's capacity is 999");
            CHECK(sd_now() - began < 20);
        }
        CHECK_OK(sd_par_agree(par, SD_OK));
        sd_channel_close(&channel);
        sd_p2p_close(&p2p);
    }
}

/* The last rank sends a message that no rank receives: the wait for its buffer ends, and names the receiver. */
static void test_never_received(void)
{
    const sd_par *par = ranks;
    const uint64_t capacity = 1 << 22; /* too long to leave before it is received */
    int last = par->size - 1;
    sd_channel *channel = NULL;
    sd_p2p *p2p;
    void *buffer;

    if (last == 0)
        return;
    CHECK_OK(sd_p2p_open(&p2p, par, SD_P2P_CHUNK));
    if (par->rank == last) {
        CHECK_OK(sd_channel_open(&channel, p2p, 0, SD_CHANNEL_WRITES, capacity, 0.2));
        CHECK_OK(sd_channel_send(channel, capacity));
        CHECK_OK(sd_channel_buffer(channel, &buffer));
        CHECK_OK(sd_channel_send(channel, capacity));
        CHECK_FAILS(sd_channel_buffer(channel, &buffer), SD_E_ENV, "waited 0.2 s for rank 0;");
    }
    CHECK_OK(sd_par_agree(par, SD_OK));
    sd_channel_close(&channel);
    sd_p2p_close(&p2p);
}

/* Ranks r and r + 2 go together; the last rank stays out where it is odd. */
static void test_groups(void)
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
    TEST(test_messages_along_a_chain),
    TEST(test_a_long_message),
    TEST(test_never_sent_and_too_long),
    TEST(test_never_received),
    TEST(test_groups),
};

RANKS_MAIN(tests, NULL, NULL, 1, 2, 3)

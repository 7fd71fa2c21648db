/* Exchange between the devices of ranks: through host memory on cpu and strict; on the emulated CUDA backend through NCCL if GPUs differ. */
#include <time.h>

#include "ranks.h"
#include "devices.h"

#include "../../src/dev/strict/strict.h"

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/dev/dense.h"
#include "saediff/dev/group.h"

#ifdef TEST_EMULATED
#include "emulate/knobs.h"
#endif

enum { MOST = 8, BIG = (1 << 21) + 77 }; /* ranks; elements of a slice that takes two rounds */

static const double patience = 60;

static const sd_dtype types[] = {SD_F32, SD_F64, SD_F16, SD_BF16, SD_I32, SD_U32, SD_I64, SD_U64, SD_U8};
enum { TYPES = sizeof types / sizeof types[0] };

/* A byte determined by sender, receiver, transfer and position. */
static unsigned char byte(int from, int to, int which, uint64_t i)
{
    return (unsigned char)(37 * from + 11 * to + 101 * which + 7 * (int)(i % 97) + (int)(i / 97 % 89) + 1);
}

static sd_mat strided(sd_dev *dev, sd_dtype type, uint64_t rows, uint64_t cols, uint64_t pad)
{
    sd_mat m = {.offset = 3, .rows = rows, .cols = cols, .stride = cols + pad};
    unsigned char *zeros;

    CHECK_OK(sd_buf_create(&m.buf, dev, type, 3 + rows * m.stride + 1));
    CHECK_OK(sd_alloc_bytes((void **)&zeros, sd_buf_count(m.buf), sd_dtype_size(type)));
    CHECK_OK(sd_dev_upload(dev, zeros, sd_mat_of(m.buf, 1, sd_buf_count(m.buf))));
    sd_free(zeros);
    return m;
}

/* ---- all to all */

enum { LOT = 3 }; /* transfers between two ranks, of one type: one without rows, one with gaps on one side, one with gaps on the other */

static uint64_t rows_of(int from, int to, int which)
{
    return which == 0 ? 0 : (uint64_t)(1 + (from + 2 * to + which) % 5);
}

static uint64_t cols_of(int from, int to, int which)
{
    return (uint64_t)(1 + (3 * from + to + 5 * which) % 7);
}

static void check_arrived(sd_dev *dev, sd_mat m, int from, int me, int which, int round)
{
    uint64_t size = sd_dtype_size(sd_buf_type(m.buf)), all = sd_buf_count(m.buf);
    unsigned char *host, *want;

    CHECK_OK(sd_alloc_bytes((void **)&host, all, size));
    CHECK_OK(sd_alloc_bytes((void **)&want, all, size));
    for (uint64_t r = 0; r < m.rows; r++)
        for (uint64_t i = 0; i < m.cols * size; i++)
            want[(m.offset + r * m.stride) * size + i] = byte(from, me, which + round, r * m.cols * size + i);
    CHECK_OK(sd_dev_download(dev, sd_mat_of(m.buf, 1, all), host));
    CHECK(memcmp(host, want, all * size) == 0); /* also between the rows */
    sd_free(host);
    sd_free(want);
}

static void fill(sd_dev *dev, sd_mat m, int me, int to, int which)
{
    uint64_t bytes = m.rows * m.cols * sd_dtype_size(sd_buf_type(m.buf));
    unsigned char *host;

    CHECK_OK(sd_alloc_bytes((void **)&host, bytes, 1));
    for (uint64_t i = 0; i < bytes; i++)
        host[i] = byte(me, to, which, i);
    CHECK_OK(sd_dev_upload(dev, host, m));
    sd_free(host);
}

static void test_all_to_all(const sd_par *par, sd_dev *dev, sd_dtype type)
{
    sd_transfer transfers[2 * MOST * LOT];
    uint64_t n = 0;
    sd_group *g = NULL;
    int me = par->rank;

    CHECK_OK(sd_group_open(&g, par, dev, patience));
    for (int r = 0; r < par->size; r++)
        for (int w = 0; w < LOT; w++) {
            transfers[n++] = (sd_transfer){strided(dev, type, rows_of(me, r, w), cols_of(me, r, w), w == 1 ? 2 : 0), r, false};
            transfers[n++] = (sd_transfer){strided(dev, type, rows_of(r, me, w), cols_of(r, me, w), w == 2 ? 3 : 0), r, true};
        }
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < n; i += 2)
            fill(dev, transfers[i].what, me, transfers[i].peer, (int)(i / 2 % LOT) + round);
        CHECK_OK(sd_group_exchange(g, transfers, n));
        for (uint64_t i = 0; i < n; i += 2) /* sent data may be overwritten at once */
            fill(dev, transfers[i].what, 0, 0, 0);
        if (round == 1)
            CHECK_OK(sd_group_wait(g));
        for (uint64_t i = 1; i < n; i += 2)
            check_arrived(dev, transfers[i].what, transfers[i].peer, me, (int)(i / 2 % LOT), round);
    }
    CHECK_OK(sd_group_exchange(g, NULL, 0));
    sd_group_close(&g);
    CHECK(g == NULL);
    for (uint64_t i = 0; i < n; i++)
        sd_buf_destroy(&transfers[i].what.buf);
}

/* Long enough for the other ranks to wait for this one. */
static void sleep_a_little(void)
{
    nanosleep(&(struct timespec){0, 100000000}, NULL);
}

/* Each row of an array to one rank, and one row to all; the first rank is late, and sent data is overwritten as soon as it may be. */
static void test_rows(const sd_par *par, sd_dev *dev)
{
    enum { COLS = 50 };
    sd_mat out = strided(dev, SD_I32, (uint64_t)par->size + 1, COLS, 0), in = strided(dev, SD_I32, 2 * (uint64_t)par->size, COLS, 0);
    sd_transfer transfers[4 * MOST];
    uint64_t n = 0, size = (uint64_t)par->size;
    int32_t host[2 * MOST * COLS];
    sd_group *g;

    for (uint64_t i = 0; i < (size + 1) * COLS; i++)
        host[i] = (int32_t)(1000 * (i / COLS) + i % COLS) + 100000 * par->rank;
    CHECK_OK(sd_dev_upload(dev, host, out));
    for (int one = 0; one < 2; one++)
        for (uint64_t r = 0; r < size; r++) {
            transfers[n++] = (sd_transfer){sd_mat_rows(out, one ? size : r, 1), (int)r, false};
            transfers[2 * size + n - 1] = (sd_transfer){sd_mat_rows(in, (uint64_t)one * size + r, 1), (int)r, true};
        }
    CHECK_OK(sd_group_open(&g, par, dev, patience));
    if (par->rank == 0)
        sleep_a_little();
    CHECK_OK(sd_group_exchange(g, transfers, 2 * n));
    memset(host, 0, sizeof host);
    CHECK_OK(sd_dev_upload(dev, host, out));
    CHECK_OK(sd_dev_download(dev, in, host));
    for (uint64_t i = 0; i < 2 * size * COLS; i++) {
        uint64_t row = i / COLS < size ? (uint64_t)par->rank : size, from = i / COLS % size;

        CHECK(host[i] == (int32_t)(1000 * row + i % COLS + 100000 * from));
    }
    sd_group_close(&g);
    sd_buf_destroy(&out.buf);
    sd_buf_destroy(&in.buf);
}

/* One rank sends repeatedly to one that is late, with arrays longer than MPI buffers. */
static void test_ahead(const sd_par *par, sd_dev *dev)
{
    enum { COUNT = 60000, TIMES = 3 };
    sd_mat m = strided(dev, SD_U32, 1, COUNT, 0);
    uint32_t *host;
    sd_group *g;
    int last = par->size - 1;

    CHECK_OK(SD_NEW(&host, COUNT));
    CHECK_OK(sd_group_open(&g, par, dev, patience));
    for (uint32_t t = 0; t < TIMES && par->size > 1; t++) {
        if (par->rank == 0) {
            for (uint32_t i = 0; i < COUNT; i++)
                host[i] = t * COUNT + i;
            CHECK_OK(sd_dev_upload(dev, host, m));
            CHECK_OK(sd_group_exchange(g, (sd_transfer[]){{m, last, false}}, 1));
        } else if (par->rank == last) {
            sleep_a_little();
            CHECK_OK(sd_group_exchange(g, (sd_transfer[]){{m, 0, true}}, 1));
            CHECK_OK(sd_dev_download(dev, m, host));
            for (uint32_t i = 0; i < COUNT; i++)
                CHECK(host[i] == t * COUNT + i);
        }
    }
    CHECK_OK(sd_group_wait(g));
    sd_group_close(&g);
    sd_free(host);
    sd_buf_destroy(&m.buf);
}

/* ---- slices */

/* Sums of these depend on their order. */
static sd_real number(int source, uint64_t i)
{
    static const sd_real weights[] = {1, (sd_real)1e-3, -(sd_real)0.99, (sd_real)1e-6};

    return weights[source % 4] * (sd_real)(1 + (double)(i * 2654435761u % 10007) / 7);
}

static void cut(sd_span *slice, int size, uint64_t count, uint64_t first)
{
    uint64_t at = first;

    for (int r = 0; r < size; r++) { /* the first has as much as possible, some have nothing */
        uint64_t share = r == 0 ? first : r % 2 == 0 ? 0 : (count - first) / (uint64_t)size;

        slice[r] = r == 0 ? (sd_span){0, first} : (sd_span){at, share};
        at += r == 0 ? 0 : share;
    }
}

static void test_slices(const sd_par *par, sd_dev *dev, uint64_t count, uint64_t first, int sources)
{
    sd_span slice[MOST], mine;
    sd_real *host, *sum;
    sd_buf *vector, *to;
    sd_group *g;
    int me = par->rank;

    cut(slice, par->size, count, first);
    mine = slice[me];
    CHECK_OK(SD_NEW(&host, count));
    CHECK_OK(SD_NEW(&sum, count));
    CHECK_OK(sd_buf_create(&vector, dev, SD_REAL, count));
    CHECK_OK(sd_buf_create(&to, dev, SD_REAL, mine.count));
    CHECK_OK(sd_group_open(&g, par, dev, patience));
    for (uint64_t i = 0; i < count; i++)
        host[i] = me < sources ? number(me, i) : (sd_real)NAN;
    CHECK_OK(sd_dev_upload(dev, host, sd_mat_of(vector, 1, count)));
    CHECK_OK(sd_group_sum(g, vector, sources, slice, true, to));
    CHECK_OK(sd_group_sum(g, vector, sources, slice, false, to));
    CHECK_OK(sd_dev_download(dev, sd_mat_of(to, 1, mine.count), host));
    for (uint64_t i = 0; i < mine.count; i++) {
        sd_real want = number(0, mine.first + i);

        for (int s = 1; s < 2 * sources; s++)
            want += number(s % sources, mine.first + i);
        sum[i] = want;
    }
    CHECK(memcmp(host, sum, mine.count * sizeof *sum) == 0);

    for (uint64_t i = 0; i < count; i++) { /* the own slice, and the parts that are sent; elements that no rank owns stay unchanged */
        bool own = i >= mine.first && i < mine.first + mine.count;

        host[i] = own ? number(7, i) : -1;
    }
    CHECK_OK(sd_dev_upload(dev, host, sd_mat_of(vector, 1, count)));
    CHECK_OK(sd_group_collect(g, vector, slice));
    CHECK_OK(sd_dev_download(dev, sd_mat_of(vector, 1, count), host));
    for (uint64_t i = 0; i < count; i++)
        sum[i] = -1;
    for (int r = 0; r < par->size; r++)
        for (uint64_t i = slice[r].first; i < slice[r].first + slice[r].count; i++)
            sum[i] = number(7, i);
    CHECK(memcmp(host, sum, count * sizeof *sum) == 0);
    sd_group_close(&g);
    sd_buf_destroy(&vector);
    sd_buf_destroy(&to);
    sd_free(host);
    sd_free(sum);
}

/* ---- failures */

/* Refused on this rank; the group remains usable. */
static void test_arguments(const sd_par *par, sd_dev *dev)
{
    sd_mat a = strided(dev, SD_F32, 2, 5, 0), b = strided(dev, SD_F32, 2, 5, 0), beyond = a;
    int next = (par->rank + 1) % par->size, before = (par->rank + par->size - 1) % par->size;
    sd_group *g;

    beyond.rows = 9;
    CHECK_OK(sd_group_open(&g, par, dev, patience));
    CHECK_FAILS(sd_group_exchange(g, (sd_transfer[]){{a, par->size, false}}, 1), SD_E_INTERNAL, "transfer 0 is for rank");
    CHECK_FAILS(sd_group_exchange(g, (sd_transfer[]){{b, next, false}, {beyond, next, false}}, 2), SD_E_INTERNAL, "transfer 1 is [9, 5]");
    CHECK_FAILS(sd_group_exchange(g, (sd_transfer[]){{a, next, false}, {sd_mat_rows(a, 1, 1), before, true}}, 2), SD_E_INTERNAL, "overlaps");
    CHECK_FAILS(sd_group_exchange(g, (sd_transfer[]){{a, par->rank, false}}, 1), SD_E_INTERNAL, "than it receives from itself (transfer 0)");
    CHECK_FAILS(sd_group_exchange(g, (sd_transfer[]){{a, par->rank, false}, {sd_mat_rows(b, 0, 1), par->rank, true}}, 2), SD_E_INTERNAL,
                "sends to itself");
    CHECK_OK(sd_group_exchange(g, (sd_transfer[]){{a, next, false}, {b, before, true}}, 2));
    CHECK_OK(sd_group_wait(g));
    sd_group_close(&g);
    sd_buf_destroy(&a.buf);
    sd_buf_destroy(&b.buf);
}

/* Rank 0 does not take part, or sends too little: the others fail within the deadline and proceed to a vote. */
static void test_missing(const sd_par *par, sd_dev *dev, uint64_t count)
{
    sd_mat out = strided(dev, SD_F32, 1, count, 0), in = strided(dev, SD_F32, 1, count, 0);
    double began, limit = test_on_cuda() && !test_is_emulated() ? 5 : 0.3; /* creating an NCCL communicator takes a while */
    sd_group *g;
    sd_status st = SD_OK;
    char want[64];

    snprintf(want, sizeof want, "waited %g s for rank 0", limit);
    CHECK_OK(sd_group_open(&g, par, dev, limit));
    began = sd_now();
    if (par->rank > 0) {
        st = sd_group_exchange(g, (sd_transfer[]){{out, 0, false}, {in, 0, true}}, 2);
        if (st == SD_OK)
            st = sd_group_wait(g);
        CHECK_FAILS(st, SD_E_ENV, want);
        CHECK(sd_now() - began >= limit && sd_now() - began < limit + 20);
        CHECK_FAILS(sd_group_exchange(g, NULL, 0), SD_E_ENV, "an earlier exchange of rank");
        CHECK_FAILS(sd_group_wait(g), SD_E_ENV, "an earlier exchange of rank");
    }
    CHECK(sd_par_agree(par, st) == (par->size > 1 ? SD_E_ENV : SD_OK));
    sd_group_close(&g);
    sd_buf_destroy(&out.buf);
    sd_buf_destroy(&in.buf);
}

static sd_status fail_operation(sd_dev *cpu, const void *args)
{
    (void)cpu;
    (void)args;
    return SD_FAIL(SD_E_DATA, "it went wrong");
}

/* The device of rank 0 fails while it sends: the others are informed at once. */
static void test_failed_device(const sd_par *par, sd_dev *dev)
{
    sd_mat out = strided(dev, SD_F32, 2, 5, 0), in = strided(dev, SD_F32, 2, 5, 0);
    int next = (par->rank + 1) % par->size, before = (par->rank + par->size - 1) % par->size;
    double began = sd_now();
    sd_group *g;
    sd_status st;

    CHECK_OK(sd_group_open(&g, par, dev, patience));
    if (par->rank == 0)
        CHECK_OK(sd_strict_queue(dev, "wrong", fail_operation, &next, sizeof next));
    st = sd_group_exchange(g, (sd_transfer[]){{out, next, false}, {in, before, true}}, 2);
    if (par->rank == 0)
        CHECK_FAILS(st, SD_E_DATA, "it went wrong");
    else if (par->rank == 1)
        CHECK_FAILS(st, SD_E_ENV, "rank 0 failed before it could send");
    else
        CHECK(st == SD_OK);
    CHECK(sd_par_agree(par, st) != SD_OK && sd_now() - began < 20);
    sd_group_close(&g);
    sd_buf_destroy(&out.buf);
    sd_buf_destroy(&in.buf);
}

/* No memory on the last rank for what it should send: the receiver is informed long before the deadline. */
static void test_no_memory_to_send(const sd_par *par, sd_dev *dev)
{
    sd_mat out = strided(dev, SD_F32, 2, 5, 1), in = strided(dev, SD_F32, 2, 5, 2);
    int next = (par->rank + 1) % par->size, before = (par->rank + par->size - 1) % par->size, last = par->size - 1;
    double began = sd_now();
    sd_status all = SD_E_ENV;

    for (uint64_t n = 1; all != SD_OK && n < 20; n++) {
        sd_group *g;
        sd_status st;

        CHECK_OK(sd_group_open(&g, par, dev, patience));
        if (par->rank == last)
            sd_mem_fail_at(n);
        st = sd_group_exchange(g, (sd_transfer[]){{out, next, false}, {in, before, true}}, 2);
        sd_mem_fail_at(0);
        if (st != SD_OK && par->rank != last)
            CHECK(par->rank == 0 && strstr(sd_last_error(), "failed before it could send") != NULL);
        all = sd_par_agree(par, st);
        CHECK(all == SD_OK || all == SD_E_ENV);
        sd_group_close(&g);
    }
    CHECK(all == SD_OK && sd_now() - began < patience);
    sd_buf_destroy(&out.buf);
    sd_buf_destroy(&in.buf);
}

/* No memory on one rank: all ranks are informed long before the deadline, wherever it happens. */
static void test_no_memory(const sd_par *par, sd_dev *dev)
{
    sd_span slice[MOST];
    sd_buf *vector, *to;
    double began = sd_now();

    for (int r = 0; r < par->size; r++)
        slice[r] = (sd_span){(uint64_t)r * 50, 50};
    CHECK_OK(sd_buf_create(&vector, dev, SD_REAL, 50 * (uint64_t)par->size));
    CHECK_OK(sd_buf_create(&to, dev, SD_REAL, 50));
    for (uint64_t n = 1; n < 100; n++) {
        sd_group *g = NULL;
        sd_status st;

        if (par->rank == par->size - 1)
            sd_mem_fail_at(n);
        st = sd_group_open(&g, par, dev, patience);
        if (st == SD_OK)
            st = sd_group_sum(g, vector, par->size, slice, true, to);
        if (st == SD_OK)
            st = sd_group_collect(g, vector, slice);
        sd_mem_fail_at(0);
        CHECK(st == SD_OK || st == SD_E_ENV);
        CHECK(sd_par_agree(par, st) == st); /* equal on all ranks */
        sd_group_close(&g);
        if (st == SD_OK)
            break;
        CHECK(n < 99);
    }
    CHECK(sd_now() - began < patience);
    sd_buf_destroy(&vector);
    sd_buf_destroy(&to);
}

/* ---- choice of the backend */

/* With one rank the only transfers are those to itself. */
static void send_oneself(const sd_par *par, sd_dev *dev, sd_group *g)
{
    sd_mat out = strided(dev, SD_I32, 3, 4, 0), in = strided(dev, SD_I32, 3, 4, 2);

    fill(dev, out, par->rank, par->rank, 0);
    CHECK_OK(sd_group_exchange(g, (sd_transfer[]){{out, par->rank, false}, {in, par->rank, true}}, 2));
    CHECK_OK(sd_group_wait(g));
    check_arrived(dev, in, par->rank, par->rank, 0, 0);
    sd_buf_destroy(&out.buf);
    sd_buf_destroy(&in.buf);
}

/* The description after an exchange begins with `want`, or with `other`. */
static void test_describe(const sd_par *par, sd_dev *dev, const char *want, const char *other)
{
    sd_group *g;
    const char *said;

    CHECK_OK(sd_group_open(&g, par, dev, patience));
    if (par->size == 1)
        CHECK(strcmp(sd_group_describe(g), "one rank") == 0);
    send_oneself(par, dev, g);
    said = sd_group_describe(g);
    if (strncmp(said, want, strlen(want)) != 0 && strncmp(said, other, strlen(other)) != 0)
        fprintf(stderr, "it says '%s', not '%s' or '%s'\n", said, want, other);
    CHECK(strncmp(said, want, strlen(want)) == 0 || strncmp(said, other, strlen(other)) == 0);
    sd_group_close(&g);
}

static void test_all(const sd_par *par, sd_dev *dev)
{
    for (int t = 0; t < TYPES; t++)
        test_all_to_all(par, dev, types[t]);
    for (int sources = 1; sources <= par->size; sources++) {
        test_slices(par, dev, 1000, 333, sources);
        test_slices(par, dev, 20, 0, sources);
    }
    if (!test_is_emulated() && par->size == 3)
        test_slices(par, dev, BIG + 1000, BIG, par->size);
    test_rows(par, dev);
    test_ahead(par, dev);
    test_arguments(par, dev);
    if (strcmp(sd_dev_name(dev), "strict") == 0)
        test_failed_device(par, dev);
    test_missing(par, dev, 10);
    test_missing(par, dev, 300000);
    test_no_memory_to_send(par, dev);
    test_no_memory(par, dev);
}

static void on_device(const sd_par *par, const char *name)
{
    sd_dev *dev;
    char staged[64];

    CHECK_OK(sd_dev_open_at(&dev, name, 1, par->node_rank));
    snprintf(staged, sizeof staged, "through host memory: %s", name);
    if (!test_on_cuda())
        test_describe(par, dev, par->size > 1 ? staged : "one rank", "-");
    else
        test_describe(par, dev, "NCCL ", par->size > 1 ? "through host memory: ranks " : "through host memory: NCCL does not load");
    test_all(par, dev);
    sd_dev_close(&dev);
}

#ifdef TEST_EMULATED

/* A device on GPU `number`. */
static sd_dev *open_gpu(int number)
{
    sd_dev *dev = NULL;

    emulate_knobs.gpu = (unsigned char)number;
    CHECK_OK(sd_dev_open(&dev, "cuda", 1));
    return dev;
}

/* The last rank has no NCCL: no rank uses it, and its reason is reported. */
static void test_without_nccl(void)
{
    const sd_par *par = ranks;
    sd_dev *dev = open_gpu(par->rank + 1);
    char want[128], one[] = "through host memory: NCCL does not load: libnccl.so.2: emulated to be missing";

    emulate_knobs.nccl_missing = par->rank == par->size - 1;
    snprintf(want, sizeof want, "through host memory: rank %d: NCCL does not load: libnccl.so.2: emulated", par->size - 1);
    test_describe(par, dev, par->size > 1 ? want : one, "-");
    emulate_knobs.nccl_missing = 0;
    sd_dev_close(&dev);
}

/* Ranks that share a GPU are counted by UUID, not by index. */
static void check_sharers(const sd_par *par, sd_dev *dev, int want)
{
    sd_dev_capacity memory;

    CHECK_OK(sd_dev_count_sharers(dev, par));
    CHECK_OK(sd_dev_memory(dev, par->size, &memory));
    CHECK(memory.own && memory.sharers == want);
}

/* Ranks on one GPU are named, and NCCL is not even loaded. */
static void test_shared_gpu(void)
{
    const sd_par *par = ranks;
    static const char uuid[] = "share GPU-00000000-0000-0000-0000-0000000000";
    int before = emulate_knobs.nccl_loads;
    sd_dev *dev;
    char want[128];

    if (par->size == 1)
        return;
    dev = open_gpu(par->rank == par->size - 1 ? 1 : par->rank + 1);
    snprintf(want, sizeof want, "through host memory: ranks 0 and %d %s01", par->size - 1, uuid);
    test_describe(par, dev, want, "-");
    check_sharers(par, dev, par->rank == 0 || par->rank == par->size - 1 ? 2 : 1);
    sd_dev_close(&dev);
    dev = open_gpu(200);
    check_sharers(par, dev, par->size);
    snprintf(want, sizeof want, "through host memory: ranks 0%s and %d %sc8", par->size == 2 ? "" : par->size == 3 ? ", 1" : ", 1, 2",
             par->size - 1, uuid);
    test_describe(par, dev, want, "-");
    test_all(par, dev);
    sd_dev_close(&dev);
    CHECK(emulate_knobs.nccl_loads == before);
}

/* Each rank has a GPU of its own. */
static void test_nccl(void)
{
    const sd_par *par = ranks;
    sd_dev *dev = open_gpu(par->rank + 1);
    int ends = emulate_knobs.nccl_ends;
    char want[64];

    check_sharers(par, dev, 1);
    snprintf(want, sizeof want, "NCCL 2.28.9, %d GPU%s", par->size, par->size > 1 ? "s" : "");
    test_describe(par, dev, want, "-");
    CHECK(emulate_knobs.nccl_ends == ends + 1);
    test_all(par, dev);
    sd_dev_close(&dev);
}

/* An error that NCCL raises: while the exchange is queued, and while it is waited for. NCCL is aborted, and the next group works. */
static void test_nccl_errors(void)
{
    static const char words[] = "NCCL reports: remote process exited or there was a network error (emulated cause)";
    const sd_par *par = ranks;
    sd_dev *dev = open_gpu(par->rank + 1);
    sd_mat out = strided(dev, SD_F32, 2, 3, 1), in = strided(dev, SD_F32, 2, 3, 0);
    sd_group *g;

    for (int late = 0; late < (par->size > 1 ? 2 : 1); late++) {
        int peer = late ? 0 : par->rank, aborts = emulate_knobs.nccl_aborts;
        const sd_transfer both[] = {{out, peer, false}, {in, peer, true}};
        double began = sd_now();

        CHECK_OK(sd_group_open(&g, par, dev, patience));
        emulate_knobs.nccl_error = 6;
        emulate_knobs.nccl_error_after = late ? 20 : 2;
        if (!late) {
            CHECK_FAILS(sd_group_exchange(g, both, 2), SD_E_ENV, words);
        } else if (par->rank > 0) { /* rank 0 does not take part */
            CHECK_OK(sd_group_exchange(g, both, 2));
            CHECK_FAILS(sd_dev_wait(dev), SD_E_ENV, words);
            CHECK_FAILS(sd_dev_wait(dev), SD_E_ENV, "was abandoned"); /* not reported as success */
            CHECK_FAILS(sd_group_exchange(g, both, 2), SD_E_ENV, "has lost its NCCL communicator");
        }
        CHECK(sd_now() - began < 20);
        CHECK(emulate_knobs.nccl_aborts == aborts + (late && par->rank == 0 ? 0 : 1));
        emulate_knobs.nccl_error = 0;
        CHECK_OK(sd_par_agree(par, SD_OK));
        sd_group_close(&g);
    }
    test_describe(par, dev, "NCCL", "-");
    sd_buf_destroy(&out.buf);
    sd_buf_destroy(&in.buf);
    sd_dev_close(&dev);
}

#endif

static void begin(void)
{
#ifdef TEST_EMULATED
    emulate_knobs.ranks = &ranks->comm;
#endif
}

static void test_on_devices(void)
{
    for (size_t i = 0; i < test_devices_count; i++)
        if (!test_is_emulated() && (i == 0 || strcmp(test_devices[i].name, test_devices[i - 1].name) != 0))
            on_device(ranks, test_devices[i].name);
}

static const test_case tests[] = {
#ifdef TEST_EMULATED
    TEST(test_without_nccl),
    TEST(test_shared_gpu),
    TEST(test_nccl),
    TEST(test_nccl_errors),
#endif
    TEST(test_on_devices),
};

RANKS_MAIN(tests, begin, NULL, 1, 2, 3, 4)

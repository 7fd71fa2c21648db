/* The encoder with its k largest latents per row. A tile is ROW_TILE rows; their pre-activations exist for PANEL latents
 * at a time, in scratch memory. Each row keeps a bag of candidates: what beats its threshold goes in; a full bag is cut
 * down to its k best, and the k-th becomes the threshold. Latents come in rising order, so an equal of the threshold
 * that comes later has lost already. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "cpu.h"

enum { ROW_TILE = 128, PANEL = 1024, SMALL_SORT = 12 };

/* A number's rank as an integer: rising with the value, equal for both zeros, lowest for NaN. */
#ifdef SD_REAL_IS_DOUBLE
typedef int64_t rank_t;
#define RANK_NAN INT64_MIN
#else
typedef int32_t rank_t;
#define RANK_NAN INT32_MIN
#endif

typedef struct candidate {
    rank_t rank;
    uint32_t latent;
} candidate;

static rank_t rank_of(sd_real value)
{
    rank_t bits;

    if (value != value)
        return RANK_NAN;
    value += 0; /* −0 becomes 0 */
    memcpy(&bits, &value, sizeof bits);
    return bits >= 0 ? bits : (rank_t)(bits ^ ~RANK_NAN);
}

static sd_real value_of(rank_t rank)
{
    sd_real value;

    if (rank == RANK_NAN)
        return (sd_real)NAN;
    if (rank < 0)
        rank ^= ~RANK_NAN;
    memcpy(&value, &rank, sizeof value);
    return value;
}

static bool better(candidate a, candidate b)
{
    return a.rank > b.rank || (a.rank == b.rank && a.latent < b.latent);
}

static void swap(candidate *a, candidate *b)
{
    candidate c = *a;

    *a = *b;
    *b = c;
}

/* Splits c[0 … n−1], n ≥ 3: all before the returned place are better than all from it on, and neither part is empty.
 * The pivot is the median of first, middle and last; no two candidates are equal. */
static uint64_t split(candidate *c, uint64_t n)
{
    candidate *middle = &c[n / 2], *last = &c[n - 1], pivot;
    uint64_t i = 0, j = n - 1;

    if (better(*middle, c[0]))
        swap(middle, &c[0]);
    if (better(*last, c[0]))
        swap(last, &c[0]);
    if (better(*last, *middle))
        swap(last, middle);
    pivot = *middle;
    for (;;) {
        while (better(c[i], pivot))
            i++;
        while (better(pivot, c[j]))
            j--;
        if (i >= j)
            return j + 1;
        swap(&c[i++], &c[j--]);
    }
}

static void insertion_sort(candidate *c, uint64_t n)
{
    for (uint64_t i = 1; i < n; i++) {
        candidate x = c[i];
        uint64_t j = i;

        for (; j > 0 && better(x, c[j - 1]); j--)
            c[j] = c[j - 1];
        c[j] = x;
    }
}

/* Best first. Recursion goes into the smaller part: at most log2(n) deep. */
static void sort(candidate *c, uint64_t n)
{
    while (n > SMALL_SORT) {
        uint64_t cut = split(c, n);

        if (cut < n - cut) {
            sort(c, cut);
            c += cut;
            n -= cut;
        } else {
            sort(c + cut, n - cut);
            n = cut;
        }
    }
    insertion_sort(c, n);
}

/* Brings the k best of n to the front, the worst of them to place k−1. */
static void keep_best(candidate *c, uint64_t n, uint64_t k)
{
    uint64_t worst = 0, low = 0, high = n;

    while (high - low > SMALL_SORT) {
        uint64_t cut = low + split(c + low, high - low);

        if (k <= cut)
            high = cut;
        else
            low = cut;
        if (k == cut)
            break;
    }
    if (high - low <= SMALL_SORT)
        insertion_sort(c + low, high - low);
    for (uint64_t i = 1; i < k; i++)
        if (better(c[worst], c[i]))
            worst = i;
    swap(&c[worst], &c[k - 1]);
}

typedef struct topk_job {
    const sd_encode_topk *op;
    uint64_t k, bag; /* candidates kept, room for them */
} topk_job;

/* What a thread needs for a tile, in this order in its scratch memory. */
typedef struct topk_room {
    sd_real *x;      /* [ROW_TILE, d] x − b_dec */
    sd_real *h;      /* [ROW_TILE, PANEL] */
    candidate *bags; /* [ROW_TILE, bag] */
} topk_room;

static uint64_t align(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t room_bytes(const topk_job *job)
{
    return (size_t)(align(ROW_TILE * job->op->x.cols * sizeof(sd_real)) + ROW_TILE * PANEL * sizeof(sd_real) +
                    ROW_TILE * job->bag * sizeof(candidate));
}

static topk_room room_at(const topk_job *job, char *scratch)
{
    topk_room room;

    room.x = (sd_real *)(void *)scratch;
    scratch += align(ROW_TILE * job->op->x.cols * sizeof(sd_real));
    room.h = (sd_real *)(void *)scratch;
    scratch += ROW_TILE * PANEL * sizeof(sd_real);
    room.bags = (candidate *)(void *)scratch;
    return room;
}

/* Puts those of h + bias [n], latents first, first + 1, …, that the threshold does not hold back into the bag of
 * `held` candidates; returns how many it holds now. A NaN threshold holds nothing back: the start, and the case of a
 * row so full of NaN that one is among its k best. */
SD_WIDE static uint64_t collect(const topk_job *job, candidate *bag, uint64_t held, sd_real *threshold,
                                const sd_real *h, const sd_real *bias, uint64_t first, uint64_t n)
{
    enum { BLOCK = 64 };
    sd_real limit = *threshold;

    for (uint64_t b = 0; b < n; b += BLOCK) {
        uint64_t count = n - b < BLOCK ? n - b : BLOCK;
        sd_real v[BLOCK];
        int passes = 0;

        if (count == BLOCK) {
            for (int i = 0; i < BLOCK; i++) {
                v[i] = h[b + (uint64_t)i] + bias[b + (uint64_t)i];
                passes |= !(v[i] <= limit);
            }
        } else {
            for (uint64_t i = 0; i < count; i++)
                v[i] = h[b + i] + bias[b + i];
            passes = 1;
        }
        if (!passes)
            continue;
        for (uint64_t i = 0; i < count; i++) {
            if (v[i] <= limit)
                continue;
            bag[held++] = (candidate){rank_of(v[i]), (uint32_t)(first + b + i)};
            if (held == job->bag) {
                keep_best(bag, held, job->k);
                held = job->k;
                limit = value_of(bag[held - 1].rank);
            }
        }
    }
    *threshold = limit;
    return held;
}

SD_WIDE static void centre(const sd_encode_topk *op, sd_span rows, sd_real *restrict to)
{
    const sd_real *shift = sd_row(op->b_dec, 0);
    uint64_t d = op->x.cols;

    for (uint64_t r = 0; r < rows.count; r++) {
        const sd_real *x = sd_row(op->x, rows.first + r);

        for (uint64_t i = 0; i < d; i++)
            to[r * d + i] = x[i] - shift[i];
    }
}

static void topk_tile(const void *args, uint64_t tile, void *scratch)
{
    const topk_job *job = args;
    const sd_encode_topk *op = job->op;
    topk_room room = room_at(job, scratch);
    sd_span rows = sd_tile(op->x.rows, ROW_TILE, tile);
    uint64_t d = op->x.cols, latents = op->w_enc.rows;
    uint64_t held[ROW_TILE] = {0};
    sd_real threshold[ROW_TILE];
    blasint w_stride = (blasint)(op->w_enc.stride > d ? op->w_enc.stride : d);

    for (uint64_t r = 0; r < ROW_TILE; r++)
        threshold[r] = (sd_real)NAN;
    centre(op, rows, room.x);
    for (uint64_t first = 0; first < latents; first += PANEL) {
        uint64_t width = latents - first < PANEL ? latents - first : PANEL;

        sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows.count, (blasint)width, (blasint)d, 1,
                      room.x, d > 0 ? (blasint)d : 1, sd_row(op->w_enc, first), w_stride > 0 ? w_stride : 1, 0, room.h,
                      PANEL);
        for (uint64_t r = 0; r < rows.count; r++)
            held[r] = collect(job, room.bags + r * job->bag, held[r], &threshold[r], room.h + r * PANEL,
                              sd_row(op->b_enc, 0) + first, first, width);
    }
    for (uint64_t r = 0; r < rows.count; r++) {
        candidate *bag = room.bags + r * job->bag;
        int32_t *index = sd_row_i32(op->index, rows.first + r);
        sd_real *value = sd_row(op->value, rows.first + r);

        keep_best(bag, held[r], job->k);
        sort(bag, job->k);
        for (uint64_t j = 0; j < job->k; j++) {
            index[j] = (int32_t)bag[j].latent;
            value[j] = value_of(bag[j].rank);
        }
    }
}

sd_status sd_cpu_encode_topk(sd_dev *dev, const sd_encode_topk *args)
{
    topk_job job = {.op = args, .k = args->index.cols};

    /* Twice k, so that cutting down costs little per candidate; never more than there are latents, and one to spare so that
     * a bag for all of them does not fill up. */
    job.bag = 2 * job.k + 32 < args->w_enc.rows + 1 ? 2 * job.k + 32 : args->w_enc.rows + 1;
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, ROW_TILE), room_bytes(&job), topk_tile, &job);
}

/* The encoder with the k largest latents of each row. A tile is a few rows; their pre-activations are computed for PANEL latents at a time, in
 * scratch memory. Each row keeps a bag of candidates above its threshold; a full bag is reduced to its k best, and the k-th becomes the
 * threshold. Latents come in rising order, so a later latent that equals the threshold is not kept. */
#include <math.h>
#include <string.h>

#include "blas.h"
#include "cpu.h"

enum { FEW_ROWS = 128, MANY_ROWS = 256, MANY = 4096, PANEL = 1024, BLOCK = 32, SMALL_SORT = 12, LANES = 64 };

/* A number's rank as an integer: rising with the value, equal for both zeros, lowest for NaN. */
#ifdef SD_REAL_IS_DOUBLE
typedef int64_t rank_t;
#define just_below(x) nextafter((x), -(double)INFINITY)
#define RANK_NAN INT64_MIN
#else
typedef int32_t rank_t;
#define just_below(x) nextafterf((x), -INFINITY)
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
    return (a.rank > b.rank) | ((a.rank == b.rank) & (a.latent < b.latent));
}

static void swap(candidate *a, candidate *b)
{
    candidate c = *a;

    *a = *b;
    *b = c;
}

/* Splits c[0 … n−1], n ≥ 3, around the median of first, middle and last, which is moved to the returned position:
 * all before it are better, all after it worse. Without branches on values, which could not be predicted. */
static uint64_t split(candidate *c, uint64_t n)
{
    candidate *middle = &c[n / 2], *last = &c[n - 1], pivot;
    uint64_t place = 0;

    if (better(*middle, c[0]))
        swap(middle, &c[0]);
    if (better(*middle, *last))
        swap(middle, last);
    if (better(*last, c[0]))
        swap(last, &c[0]);
    pivot = *last;
    for (uint64_t i = 0; i + 1 < n; i++) {
        candidate x = c[i];

        c[i] = c[place];
        c[place] = x;
        place += better(x, pivot);
    }
    swap(&c[place], last);
    return place;
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
        uint64_t cut = split(c, n), behind = n - cut - 1;

        if (cut < behind) {
            sort(c, cut);
            c += cut + 1;
            n = behind;
        } else {
            sort(c + cut + 1, behind);
            n = cut;
        }
    }
    insertion_sort(c, n);
}

/* Moves the k best of n to the front, the worst of them to position k−1. */
static void keep_best(candidate *c, uint64_t n, uint64_t k)
{
    uint64_t low = 0, high = n; /* position k−1 is among these, all before them better, all after them worse */

    while (high - low > SMALL_SORT) {
        uint64_t cut = low + split(c + low, high - low);

        if (cut == k - 1)
            return;
        if (cut < k - 1)
            low = cut + 1;
        else
            high = cut;
    }
    insertion_sort(c + low, high - low);
}

typedef struct topk_job {
    const sd_encode_topk *op;
    uint64_t row_tile; /* MANY_ROWS if there are MANY: each tile packs all of w_enc */
    uint64_t k, bag;   /* candidates kept; size of a bag */
} topk_job;

/* Workspace of a tile, in this order in scratch memory. */
typedef struct topk_workspace {
    sd_real *x;      /* [row_tile, d] x − b_dec */
    sd_real *h;      /* [row_tile, PANEL] */
    candidate *bags; /* [row_tile, bag] */
} topk_workspace;

static uint64_t align(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t workspace_bytes(const topk_job *job)
{
    return (size_t)(align(job->row_tile * job->op->x.cols * sizeof(sd_real)) +
                    job->row_tile * PANEL * sizeof(sd_real) + job->row_tile * job->bag * sizeof(candidate));
}

static topk_workspace workspace_at(const topk_job *job, char *scratch)
{
    topk_workspace workspace;

    workspace.x = (sd_real *)(void *)scratch;
    scratch += align(job->row_tile * job->op->x.cols * sizeof(sd_real));
    workspace.h = (sd_real *)(void *)scratch;
    scratch += job->row_tile * PANEL * sizeof(sd_real);
    workspace.bags = (candidate *)(void *)scratch;
    return workspace;
}

/* Adds those of h + bias [n], latents first, first + 1, …, that exceed the threshold to the bag of `held` candidates; returns their new number.
 * Everything exceeds a NaN threshold: at the start, and if a row has so many NaN that one is among its k best. */
SD_WIDE static uint64_t collect(const topk_job *job, candidate *bag, uint64_t held, sd_real *threshold,
                                const sd_real *h, const sd_real *bias, uint64_t first, uint64_t n)
{
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
            bag[held] = (candidate){rank_of(v[i]), (uint32_t)(first + b + i)};
            held += !(v[i] <= limit);
        }
        if (held + BLOCK > job->bag) {
            keep_best(bag, held, job->k);
            held = job->k;
            limit = value_of(bag[held - 1].rank);
        }
    }
    *threshold = limit;
    return held;
}

/* A first threshold for a row whose bag is empty: of LANES interleaved groups of the panel the k-th largest maximum is reached by k
 * latents at least, so nothing below it is kept. Latents equal to the threshold are not kept, hence the number just below.
 * NaN if there are too few groups. */
SD_WIDE static sd_real first_threshold(const sd_real *h, const sd_real *bias, uint64_t n, uint64_t k)
{
    sd_real most[LANES];
    candidate groups[LANES];
    sd_real reached;

    if (k > LANES / 2 || n < 2 * LANES)
        return (sd_real)NAN;
    for (int l = 0; l < LANES; l++)
        most[l] = -(sd_real)INFINITY;
    for (uint64_t b = 0; b + LANES <= n; b += LANES)
        for (int l = 0; l < LANES; l++) {
            sd_real v = h[b + (uint64_t)l] + bias[b + (uint64_t)l];

            most[l] = v > most[l] ? v : most[l]; /* ignores NaN */
        }
    for (int l = 0; l < LANES; l++)
        groups[l] = (candidate){rank_of(most[l]), (uint32_t)l};
    keep_best(groups, LANES, k);
    reached = value_of(groups[k - 1].rank);
    return reached > -(sd_real)INFINITY ? just_below(reached) : (sd_real)NAN;
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
    topk_workspace workspace = workspace_at(job, scratch);
    sd_span rows = sd_tile(op->x.rows, job->row_tile, tile);
    uint64_t d = op->x.cols, latents = op->w_enc.rows;
    uint64_t held[MANY_ROWS] = {0};
    sd_real threshold[MANY_ROWS];
    blasint w_stride = (blasint)(op->w_enc.stride > d ? op->w_enc.stride : d);

    centre(op, rows, workspace.x);
    for (uint64_t first = 0; first < latents; first += PANEL) {
        uint64_t width = latents - first < PANEL ? latents - first : PANEL;

        sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows.count, (blasint)width,
                      (blasint)d, 1, workspace.x, d > 0 ? (blasint)d : 1, sd_row(op->w_enc, first),
                      w_stride > 0 ? w_stride : 1, 0, workspace.h, PANEL);
        for (uint64_t r = 0; first == 0 && r < rows.count; r++)
            threshold[r] = first_threshold(workspace.h + r * PANEL, sd_row(op->b_enc, 0), width, job->k);
        for (uint64_t r = 0; r < rows.count; r++)
            held[r] = collect(job, workspace.bags + r * job->bag, held[r], &threshold[r], workspace.h + r * PANEL,
                              sd_row(op->b_enc, 0) + first, first, width);
    }
    for (uint64_t r = 0; r < rows.count; r++) {
        candidate *bag = workspace.bags + r * job->bag;
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
    topk_job job = {
        .op = args, .row_tile = args->x.rows < MANY ? FEW_ROWS : MANY_ROWS, .k = args->index.cols};

    /* Twice k and more, so that reducing the bag costs little per candidate. A bag can always take a block, and a bag
     * for all latents does not fill up. */
    job.bag = (2 * job.k + 64 < args->w_enc.rows ? 2 * job.k + 64 : args->w_enc.rows) + BLOCK;
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, job.row_tile), workspace_bytes(&job), topk_tile,
                       &job);
}

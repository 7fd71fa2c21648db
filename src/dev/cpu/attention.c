/* Causal attention within documents. A tile is up to QUERY_TILE query rows of one document and one head; its scores are in scratch memory.
 * Products with keys before the tile's own rows use OpenBLAS. The triangle of the tile's own rows is summed explicitly, so that nothing of a
 * later row, not even a NaN, affects an earlier one. Tiles begin at the document's first row, so other documents in the batch do not change
 * them. */
#include <math.h>

#include "blas.h"
#include "cpu.h"
#include "softmax.h"

enum { QUERY_TILE = 64 };

typedef struct block {
    uint64_t start; /* first key row */
    uint64_t first; /* first query row */
    uint64_t count; /* query rows; 0: one row whose start is not valid */
} block;

typedef struct attention_job {
    const sd_attention *op;
    const block *blocks;
    uint64_t heads, group;
} attention_job;

/* The first row that the block's first row attends to. */
static uint64_t first_key(const sd_attention *op, block b)
{
    return op->window > 0 && b.first - b.start >= op->window ? b.first + 1 - op->window : b.start;
}

/* Rows of one start, cut every QUERY_TILE rows; returns their number and the longest range of keys. */
static uint64_t cut(const sd_attention *op, block *blocks, uint64_t *longest)
{
    const int32_t *start = sd_row_i32(op->start, 0);
    uint64_t count = 0;

    *longest = 0;
    for (uint64_t t = 0; t < op->q.rows; t++) {
        block *last = count > 0 ? &blocks[count - 1] : NULL;

        if (start[t] < 0 || (uint64_t)start[t] > t) {
            blocks[count++] = (block){.start = t, .first = t};
            continue;
        }
        if (last != NULL && last->count > 0 && last->count < QUERY_TILE &&
            last->start == (uint64_t)start[t] && last->first + last->count == t)
            last->count++;
        else
            blocks[count++] = (block){(uint64_t)start[t], t, 1};
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t keys = blocks[i].first + blocks[i].count - first_key(op, blocks[i]);

        *longest = keys > *longest ? keys : *longest;
    }
    return count;
}

SD_WIDE static sd_real softmax(sd_real *s, uint64_t n, sd_real scale)
{
    return sd_softmax_row(s, n, scale);
}

/* y = (y + Σ_s p[s] v[s]) / sum over n value rows. */
SD_WIDE static void finish_row(sd_real *y, uint64_t head, const sd_real *p, const sd_real *v, uint64_t stride,
                               uint64_t n, sd_real sum)
{
    sd_real factor = 1 / sum;

    for (uint64_t s = 0; s < n; s++)
        sd_add_scaled(y, p[s], v + s * stride, head);
    for (uint64_t i = 0; i < head; i++)
        y[i] *= factor;
}

/* Keys of the block that are outside the window of its r-th row. */
static uint64_t unseen(const sd_attention *op, block b, uint64_t r)
{
    return first_key(op, (block){b.start, b.first + r, 1}) - first_key(op, b);
}

static void attention_tile(const void *args, uint64_t tile, void *scratch)
{
    const attention_job *job = args;
    const sd_attention *op = job->op;
    block b = job->blocks[tile / job->heads];
    uint64_t h = tile % job->heads, head = op->head;
    uint64_t low = first_key(op, b), before = b.first - low, keys = before + b.count, ld = sd_whole_lanes(keys);
    const sd_real *q = sd_row(op->q, b.first) + h * head;
    const sd_real *k = sd_row(op->k, low) + h / job->group * head;
    const sd_real *v = sd_row(op->v, low) + h / job->group * head;
    sd_real *y = sd_row(op->y, b.first) + h * head;
    sd_real *score = scratch, scale = (sd_real)(1 / sqrt((double)head));
    sd_real sum[QUERY_TILE];

    if (b.count == 0) {
        for (uint64_t i = 0; i < head; i++)
            y[i] = (sd_real)NAN;
        return;
    }
    /* score [count, keys], rows ld apart, = q kᵀ */
    sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)b.count, (blasint)keys, (blasint)head, 1,
                  q, (blasint)op->q.stride, k, (blasint)op->k.stride, 0, score, (blasint)ld);
    for (uint64_t r = 0; r < b.count; r++) {
        for (uint64_t s = 0; s < unseen(op, b, r); s++)
            score[r * ld + s] = -(sd_real)INFINITY;
        sum[r] = softmax(score + r * ld, before + r + 1, scale);
    }
    if (before > 0)
        sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)b.count, (blasint)head,
                      (blasint)before, 1, score, (blasint)ld, v, (blasint)op->v.stride, 0, y,
                      (blasint)op->y.stride);
    else
        for (uint64_t r = 0; r < b.count; r++)
            for (uint64_t i = 0; i < head; i++)
                y[r * op->y.stride + i] = 0;
    for (uint64_t r = 0; r < b.count; r++)
        finish_row(y + r * op->y.stride, head, score + r * ld + before, v + before * op->v.stride,
                   op->v.stride, r + 1, sum[r]);
}

sd_status sd_cpu_real_attention(sd_dev *dev, const sd_attention *args)
{
    attention_job job = {
        .op = args, .heads = args->q.cols / args->head, .group = args->q.cols / args->k.cols};
    uint64_t longest, count;
    void *workspace;
    sd_status st;

    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), args->q.rows * sizeof(block), &workspace));
    count = cut(args, workspace, &longest);
    job.blocks = workspace;
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), count * job.heads,
                           QUERY_TILE * sd_whole_lanes(longest) * sizeof(sd_real), attention_tile, &job));
out:
    return st;
}

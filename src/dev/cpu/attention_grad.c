/* The backward pass of attention. A tile is one document and one key head; the query heads that share it and their rows are processed in
 * order, QUERY_TILE rows at a time, so that sums over them have a fixed order. Scores and probabilities of these rows are in scratch memory.
 * Other documents in the batch do not change the result of a document. */
#include <math.h>

#include "blas.h"
#include "cpu.h"
#include "softmax.h"

enum { QUERY_TILE = 64 };

typedef struct grad_job {
    const sd_attention_grad *op;
    const sd_span *documents; /* rows; count 0: one row whose start is not valid */
    uint64_t kv_heads, group;
} grad_job;

/* Rows of the documents; returns their number and the length of the longest. */
static uint64_t find_documents(const sd_attention_grad *op, sd_span *documents, uint64_t *longest)
{
    const int32_t *start = sd_row_i32(op->start, 0);
    uint64_t count = 0;

    *longest = 0;
    for (uint64_t t = 0; t < op->q.rows; t++) {
        sd_span *last = count > 0 ? &documents[count - 1] : NULL;

        if (start[t] >= 0 && (uint64_t)start[t] == t)
            documents[count++] = (sd_span){t, 1};
        else if (last != NULL && last->count > 0 && start[t] >= 0 && (uint64_t)start[t] == last->first)
            last->count++;
        else
            documents[count++] = (sd_span){t, 0};
        *longest = documents[count - 1].count > *longest ? documents[count - 1].count : *longest;
    }
    return count;
}

static void fill(sd_mat m, uint64_t first, uint64_t rows, uint64_t col, uint64_t cols, sd_real value)
{
    for (uint64_t r = first; r < first + rows; r++)
        for (uint64_t i = 0; i < cols; i++)
            sd_row(m, r)[col + i] = value;
}

/* Row r of a tile, which attends to keys low … end−1 of the tile's: scores become probabilities, then dp becomes the gradient of the scores.
 * Other keys get zeros. */
SD_WIDE static void row_gradient(sd_real *p, sd_real *dp, uint64_t low, uint64_t end, uint64_t keys, sd_real scale)
{
    sd_real factor;
    double along;

    for (uint64_t s = 0; s < low; s++)
        p[s] = -(sd_real)INFINITY;
    factor = 1 / sd_softmax_row(p, end, scale);
    for (uint64_t s = 0; s < end; s++)
        p[s] *= factor;
    along = sd_dot(p + low, dp + low, end - low);
    for (uint64_t s = 0; s < keys; s++) {
        if (s < low || s >= end)
            p[s] = dp[s] = 0;
        else
            dp[s] = (sd_real)((double)p[s] * ((double)dp[s] - along)) * scale;
    }
}

/* Rows t … t+count−1 of query head h. p and dp: scratch for [QUERY_TILE, whole lanes of keys]. */
static void query_tile(const grad_job *job, sd_span document, uint64_t t, uint64_t count, uint64_t h, sd_real *p, sd_real *dp)
{
    const sd_attention_grad *op = job->op;
    uint64_t head = op->head, kv = h / job->group * head;
    uint64_t first = document.first, window = op->window;
    uint64_t low = window > 0 && t - first >= window ? t + 1 - window : first;
    uint64_t keys = t + count - low, ld = sd_whole_lanes(keys);
    sd_real scale = (sd_real)(1 / sqrt((double)head));
    const sd_real *q = sd_row(op->q, t) + h * head, *k = sd_row(op->k, low) + kv, *v = sd_row(op->v, low) + kv;
    const sd_real *dy = sd_row(op->dy, t) + h * head;
    blasint n = (blasint)count, s = (blasint)keys, e = (blasint)head, stride = (blasint)ld;

    sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, s, e, 1, q, (blasint)op->q.stride, k, (blasint)op->k.stride, 0, p, stride);
    sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, s, e, 1, dy, (blasint)op->dy.stride, v, (blasint)op->v.stride, 0, dp, stride);
    for (uint64_t r = 0; r < count; r++) {
        uint64_t sees = window > 0 && t + r - first >= window ? t + r + 1 - window : first;

        row_gradient(p + r * ld, dp + r * ld, sees - low, t + r + 1 - low, keys, scale);
    }
    sd_cblas_gemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, e, s, 1, dp, stride, k, (blasint)op->k.stride, 0,
                  sd_row(op->dq, t) + h * head, (blasint)op->dq.stride);
    sd_cblas_gemm(CblasRowMajor, CblasTrans, CblasNoTrans, s, e, n, 1, dp, stride, q, (blasint)op->q.stride, 1,
                  sd_row(op->dk, low) + kv, (blasint)op->dk.stride);
    sd_cblas_gemm(CblasRowMajor, CblasTrans, CblasNoTrans, s, e, n, 1, p, stride, dy, (blasint)op->dy.stride, 1,
                  sd_row(op->dv, low) + kv, (blasint)op->dv.stride);
}

static void attention_grad_tile(const void *args, uint64_t tile, void *scratch)
{
    const grad_job *job = args;
    const sd_attention_grad *op = job->op;
    sd_span document = job->documents[tile / job->kv_heads];
    uint64_t g = tile % job->kv_heads, head = op->head, tile_scores = QUERY_TILE * sd_whole_lanes(document.count);
    sd_real *p = scratch, *dp = p + tile_scores;

    if (document.count == 0) {
        fill(op->dq, document.first, 1, g * job->group * head, job->group * head, (sd_real)NAN);
        fill(op->dk, document.first, 1, g * head, head, (sd_real)NAN);
        fill(op->dv, document.first, 1, g * head, head, (sd_real)NAN);
        return;
    }
    fill(op->dk, document.first, document.count, g * head, head, 0);
    fill(op->dv, document.first, document.count, g * head, head, 0);
    for (uint64_t t = 0; t < document.count; t += QUERY_TILE)
        for (uint64_t h = g * job->group; h < (g + 1) * job->group; h++)
            query_tile(job, document, document.first + t, document.count - t < QUERY_TILE ? document.count - t : QUERY_TILE, h, p, dp);
}

sd_status sd_cpu_attention_grad(sd_dev *dev, const sd_attention_grad *args)
{
    grad_job job = {.op = args, .kv_heads = args->k.cols / args->head, .group = args->q.cols / args->k.cols};
    uint64_t longest, count;
    void *workspace;
    sd_status st;

    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), args->q.rows * sizeof(sd_span), &workspace));
    count = find_documents(args, workspace, &longest);
    job.documents = workspace;
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), count * job.kv_heads, 2 * QUERY_TILE * sd_whole_lanes(longest) * sizeof(sd_real),
                           attention_grad_tile, &job));
out:
    return st;
}

/* Log-probabilities and sums over rows. */
#include <math.h>

#include "cpu.h"
#include "exp.h"

enum { LOSS_TILE = 8, SUM_TILE = 256 };

/* Σ exp(x − most) in double, in fixed lanes. */
static inline double sum_exp(const sd_real *x, uint64_t n, double most)
{
    double lane[SD_LANES] = {0};
    uint64_t i = 0;

    for (; i + SD_LANES <= n; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++)
            lane[j] += sd_exp_f64((double)x[i + (uint64_t)j] - most);
    for (int j = 0; i < n; i++, j++)
        lane[j] += sd_exp_f64((double)x[i] - most);
    return sd_fold(lane);
}

/* Index of the largest of n ≥ 1, the lowest among equals; ignoring NaN unless all are NaN. */
static inline uint64_t largest(const sd_real *x, uint64_t n)
{
    sd_real most[SD_LANES], top;
    uint64_t i = 0;

    for (int j = 0; j < SD_LANES; j++)
        most[j] = -(sd_real)INFINITY;
    for (; i + SD_LANES <= n; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++)
            most[j] = most[j] < x[i + (uint64_t)j] ? x[i + (uint64_t)j] : most[j];
    for (; i < n; i++)
        most[0] = most[0] < x[i] ? x[i] : most[0];
    top = most[0];
    for (int j = 1; j < SD_LANES; j++)
        top = top < most[j] ? most[j] : top;
    for (i = 0; i < n; i++)
        if (x[i] == top)
            return i;
    return 0;
}

SD_WIDE static void logprob_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_logprob *a = args;
    sd_span rows = sd_tile(a->logits.rows, LOSS_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *x = sd_row(a->logits, r);
        int64_t target = sd_row_i32(a->target, 0)[r];
        uint64_t best = largest(x, a->logits.cols);
        double logp = 0;

        if (target >= 0)
            logp = (uint64_t)target < a->logits.cols ? (double)x[target] - (double)x[best] -
                                                           log(sum_exp(x, a->logits.cols, (double)x[best]))
                                                     : (double)NAN;
        sd_row_f64(a->logp, 0)[r] = logp;
        sd_row_i32(a->best, 0)[r] = (int32_t)best;
    }
}

sd_status sd_cpu_logprob(sd_dev *dev, const sd_logprob *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->logits.rows, LOSS_TILE), 0, logprob_tile, args);
}

typedef struct colsum_job {
    const sd_colsum *op;
    double *part; /* [row tiles, n] */
} colsum_job;

SD_WIDE static void colsum_tile(const void *args, uint64_t tile, void *scratch)
{
    const colsum_job *job = args;
    sd_mat x = job->op->x;
    sd_span rows = sd_tile(x.rows, SUM_TILE, tile);
    double *restrict part = job->part + tile * x.cols;

    (void)scratch;
    for (uint64_t i = 0; i < x.cols; i++)
        part[i] = 0;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *restrict from = sd_row(x, r);

        for (uint64_t i = 0; i < x.cols; i++)
            part[i] += (double)from[i];
    }
}

sd_status sd_cpu_colsum(sd_dev *dev, const sd_colsum *args)
{
    uint64_t tiles = sd_tiles(args->x.rows, SUM_TILE), n = args->x.cols;
    colsum_job job = {.op = args};
    void *workspace;
    sd_status st;

    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), tiles * n * sizeof(double), &workspace));
    job.part = workspace;
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), tiles, 0, colsum_tile, &job));
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0;

        for (uint64_t t = 0; t < tiles; t++)
            sum += job.part[t * n + i];
        sd_row(args->y, 0)[i] = (sd_real)sum;
    }
out:
    return st;
}

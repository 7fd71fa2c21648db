/* Gradients of the row-wise operations. */
#include <math.h>

#include "cpu.h"
#include "exp.h"

enum { NORM_TILE = 64, LOSS_TILE = 8 };

typedef struct norm_job {
    const sd_rmsnorm_grad *op;
    double *part; /* [row tiles, n]: dgain of a tile */
} norm_job;

SD_WIDE static void rmsnorm_grad_tile(const void *args, uint64_t tile, void *scratch)
{
    const norm_job *job = args;
    const sd_rmsnorm_grad *a = job->op;
    sd_span rows = sd_tile(a->x.rows, NORM_TILE, tile);
    uint64_t n = a->gain.cols;
    const sd_real *restrict gain = sd_row(a->gain, 0);
    double *restrict part = job->part + tile * n;
    sd_real *u = scratch;

    for (uint64_t i = 0; i < n; i++)
        part[i] = 0;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++)
        for (uint64_t g = 0; g < a->x.cols; g += n) {
            const sd_real *x = sd_row(a->x, r) + g, *dy = sd_row(a->dy, r) + g;
            sd_real *dx = sd_row(a->dx, r) + g;
            double factor = 1.0 / sqrt(sd_dot(x, x, n) / (double)n + a->eps);
            double along;

            for (uint64_t i = 0; i < n; i++) {
                part[i] += (double)dy[i] * ((double)x[i] * factor);
                u[i] = gain[i] * dy[i];
            }
            along = sd_dot(u, x, n) * factor * factor / (double)n;
            for (uint64_t i = 0; i < n; i++)
                dx[i] = (sd_real)(factor * ((double)u[i] - (double)x[i] * along));
        }
}

sd_status sd_cpu_rmsnorm_grad(sd_dev *dev, const sd_rmsnorm_grad *args)
{
    uint64_t tiles = sd_tiles(args->x.rows, NORM_TILE), n = args->gain.cols;
    norm_job job = {.op = args};
    void *workspace;
    sd_status st;

    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), tiles * n * sizeof(double), &workspace));
    job.part = workspace;
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), tiles, n * sizeof(sd_real), rmsnorm_grad_tile, &job));
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0;

        for (uint64_t t = 0; t < tiles; t++)
            sum += job.part[t * n + i];
        sd_row(args->dgain, 0)[i] = (sd_real)sum;
    }
out:
    return st;
}

SD_WIDE static void silu_mul_grad_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_silu_mul_grad *a = args;
    sd_grid grid = sd_grid_of(a->gate.rows, a->gate.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *gate = sd_row(a->gate, r) + cols.first, *up = sd_row(a->up, r) + cols.first;
        const sd_real *dy = sd_row(a->dy, r) + cols.first;
        sd_real *dgate = sd_row(a->dgate, r) + cols.first, *dup = sd_row(a->dup, r) + cols.first;

        for (uint64_t i = 0; i < cols.count; i++) {
            sd_real g = gate[i], s = 1 / (1 + sd_exp(-g)), d = dy[i];

            dgate[i] = d * up[i] * (s * (1 + g * (1 - s)));
            dup[i] = d * (g * s);
        }
    }
}

sd_status sd_cpu_silu_mul_grad(sd_dev *dev, const sd_silu_mul_grad *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(args->gate.rows, args->gate.cols)), 0, silu_mul_grad_tile, args);
}

SD_WIDE static void logprob_grad_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_logprob_grad *a = args;
    sd_span rows = sd_tile(a->logits.rows, LOSS_TILE, tile);
    uint64_t v = a->logits.cols;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        sd_real *x = sd_row(a->logits, r);
        int64_t target = sd_row_i32(a->target, 0)[r];
        double log_sum;

        if (target < 0 || (uint64_t)target >= v) {
            for (uint64_t i = 0; i < v; i++)
                x[i] = target < 0 ? 0 : (sd_real)NAN;
            continue;
        }
        log_sum = (double)x[target] - sd_row_f64(a->logp, 0)[r];
        for (uint64_t i = 0; i < v; i++)
            x[i] = (sd_real)(a->scale * sd_exp_f64((double)x[i] - log_sum));
        x[target] = (sd_real)(a->scale * expm1(sd_row_f64(a->logp, 0)[r]));
    }
}

sd_status sd_cpu_logprob_grad(sd_dev *dev, const sd_logprob_grad *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->logits.rows, LOSS_TILE), 0, logprob_grad_tile, args);
}

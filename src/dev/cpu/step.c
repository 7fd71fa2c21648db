/* Operations of the optimiser. */
#include <math.h>

#include "cpu.h"

enum { ROW_TILE = 32 };

SD_WIDE static void unit_rows_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_unit_rows *a = args;
    sd_span rows = sd_tile(a->w.rows, ROW_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        sd_real *w = sd_row(a->w, r);
        double norm = sqrt(sd_dot(w, w, a->w.cols));

        if (norm == 0)
            continue;
        for (uint64_t i = 0; i < a->w.cols; i++)
            w[i] = (sd_real)((double)w[i] / norm);
    }
}

sd_status sd_cpu_unit_rows(sd_dev *dev, const sd_unit_rows *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->w.rows, ROW_TILE), 0, unit_rows_tile, args);
}

SD_WIDE static void project_rows_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_project_rows *a = args;
    sd_span rows = sd_tile(a->g.rows, ROW_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        sd_real *g = sd_row(a->g, r);
        const sd_real *w = sd_row(a->w, r);

        sd_add_scaled(g, (sd_real)-sd_dot(g, w, a->g.cols), w, a->g.cols);
    }
}

sd_status sd_cpu_project_rows(sd_dev *dev, const sd_project_rows *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->g.rows, ROW_TILE), 0, project_rows_tile, args);
}

typedef struct sumsq_job {
    const sd_sumsq *op;
    double *part; /* [tiles] */
} sumsq_job;

SD_WIDE static void sumsq_tile(const void *args, uint64_t tile, void *scratch)
{
    const sumsq_job *job = args;
    sd_mat x = job->op->x;
    sd_grid grid = sd_grid_of(x.rows, x.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);
    double sum = 0;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++)
        sum += sd_dot(sd_row(x, r) + cols.first, sd_row(x, r) + cols.first, cols.count);
    job->part[tile] = sum;
}

sd_status sd_cpu_sumsq(sd_dev *dev, const sd_sumsq *args)
{
    uint64_t tiles = sd_grid_tiles(sd_grid_of(args->x.rows, args->x.cols));
    sumsq_job job = {.op = args};
    double sum = 0;
    void *workspace;
    sd_status st;

    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), tiles * sizeof(double), &workspace));
    job.part = workspace;
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), tiles, 0, sumsq_tile, &job));
    for (uint64_t t = 0; t < tiles; t++)
        sum += job.part[t];
    sd_row_f64(args->sum, 0)[args->slot] = sum;
out:
    return st;
}

sd_status sd_cpu_clip(sd_dev *dev, const sd_clip *a)
{
    double sum = 0, norm, factor;

    (void)dev;
    for (uint64_t i = 0; i < a->sum.cols; i++)
        sum += sd_row_f64(a->sum, 0)[i];
    norm = sqrt(sum);
    if (!isfinite(norm))
        factor = (double)NAN;
    else
        factor = norm <= a->limit ? 1 : a->limit / norm;
    sd_row_f64(a->norm, 0)[0] = norm;
    sd_row_f64(a->factor, 0)[0] = factor;
    return SD_OK;
}

typedef struct adamw_job {
    const sd_adamw *op;
    sd_real factor, beta1, rest1, beta2, rest2, keep, rate, correct2, eps;
} adamw_job;

SD_WIDE static void adamw_tile(const void *args, uint64_t tile, void *scratch)
{
    const adamw_job *job = args;
    const sd_adamw *op = job->op;
    adamw_job c = *job;
    sd_grid grid = sd_grid_of(op->w.rows, op->w.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        sd_real *restrict w = sd_row(op->w, r) + cols.first, *restrict m = sd_row(op->m, r) + cols.first;
        sd_real *restrict v = sd_row(op->v, r) + cols.first;
        const sd_real *restrict g = sd_row(op->g, r) + cols.first;

        for (uint64_t i = 0; i < cols.count; i++) {
            sd_real grad = g[i] * c.factor, root;

            m[i] = c.beta1 * m[i] + c.rest1 * grad;
            v[i] = c.beta2 * v[i] + c.rest2 * (grad * grad);
#ifdef SD_REAL_IS_DOUBLE
            root = sqrt(v[i] * c.correct2);
#else
            root = sqrtf(v[i] * c.correct2);
#endif
            w[i] = c.keep * w[i] - c.rate * m[i] / (root + c.eps);
        }
    }
}

sd_status sd_cpu_adamw(sd_dev *dev, const sd_adamw *a)
{
    double t = (double)a->t;
    adamw_job job = {
        .op = a,
        .factor = a->factor.buf != NULL ? (sd_real)sd_row_f64(a->factor, 0)[0] : 1,
        .beta1 = (sd_real)a->beta1,
        .rest1 = (sd_real)(1 - a->beta1),
        .beta2 = (sd_real)a->beta2,
        .rest2 = (sd_real)(1 - a->beta2),
        .keep = (sd_real)(1 - a->lr * a->decay),
        .rate = (sd_real)(a->lr / (1 - pow(a->beta1, t))),
        .correct2 = (sd_real)(1 / (1 - pow(a->beta2, t))),
        .eps = (sd_real)a->eps,
    };

    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(a->w.rows, a->w.cols)), 0, adamw_tile,
                       &job);
}

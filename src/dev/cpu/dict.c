/* The sparse decoder, its gradients, dead counters and the median. An index outside 0 … F−1 gives NaN in values and is ignored in counts. */
#include <math.h>

#include "cpu.h"

enum { ROW_TILE = 16, LATENT_TILE = 32, COL_TILE = 256, MEDIAN_TILE = 256 };

static bool inside(int32_t index, uint64_t rows)
{
    return index >= 0 && (uint64_t)index < rows;
}

SD_WIDE static void decode_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_decode *a = args;
    sd_span rows = sd_tile(a->y.rows, ROW_TILE, tile);
    uint64_t d = a->y.cols;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const int32_t *index = sd_row_i32(a->index, r);
        const sd_real *value = sd_row(a->value, r);
        sd_real *y = sd_row(a->y, r);

        for (uint64_t i = 0; i < d; i++)
            y[i] = a->bias.buf != NULL ? sd_row(a->bias, 0)[i] : 0;
        for (uint64_t j = 0; j < a->index.cols; j++) {
            if (a->relu && value[j] <= 0)
                continue;
            if (inside(index[j], a->w_dec.rows))
                sd_add_scaled(y, value[j], sd_row(a->w_dec, (uint64_t)index[j]), d);
            else
                for (uint64_t i = 0; i < d; i++)
                    y[i] = (sd_real)NAN;
        }
    }
}

sd_status sd_cpu_decode(sd_dev *dev, const sd_decode *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.rows, ROW_TILE), 0, decode_tile, args);
}

SD_WIDE static void recon_error_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_recon_error *a = args;
    sd_span rows = sd_tile(a->x.rows, ROW_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *x = sd_row(a->x, r), *y = sd_row(a->y, r);
        sd_real *e = sd_row(a->e, r);

        for (uint64_t i = 0; i < a->x.cols; i++)
            e[i] = x[i] - y[i];
        sd_row_f64(a->row_sse, 0)[r] = sd_dot(e, e, a->x.cols);
    }
}

sd_status sd_cpu_recon_error(sd_dev *dev, const sd_recon_error *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, ROW_TILE), 0, recon_error_tile, args);
}

SD_WIDE static void code_grad_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_code_grad *a = args;
    sd_span rows = sd_tile(a->e.rows, ROW_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const int32_t *index = sd_row_i32(a->index, r);
        const sd_real *value = sd_row(a->value, r), *e = sd_row(a->e, r);
        sd_real *grad = sd_row(a->grad, r);

        for (uint64_t j = 0; j < a->index.cols; j++) {
            if (a->relu && value[j] <= 0)
                grad[j] = 0;
            else if (inside(index[j], a->w_dec.rows))
                grad[j] = (sd_real)a->scale * sd_dot_real(e, sd_row(a->w_dec, (uint64_t)index[j]), a->e.cols);
            else
                grad[j] = (sd_real)NAN;
        }
    }
}

sd_status sd_cpu_code_grad(sd_dev *dev, const sd_code_grad *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->e.rows, ROW_TILE), 0, code_grad_tile, args);
}

/* A counting sort: begin[i + 1] first counts latent i, then is the position of its next entry, and so ends as the begin of latent i + 1. */
sd_status sd_cpu_invert(sd_dev *dev, const sd_invert *a)
{
    uint64_t latents = a->begin.cols - 1, n = a->index.rows, k = a->index.cols;
    uint32_t *begin = sd_row_u32(a->begin, 0), *entry = sd_row_u32(a->entry, 0), sum = 0;

    (void)dev;
    for (uint64_t i = 0; i <= latents; i++)
        begin[i] = 0;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t j = 0; j < k; j++) {
            int32_t latent = sd_row_i32(a->index, r)[j];

            if (!inside(latent, latents))
                return SD_FAIL(SD_E_INTERNAL, "invert: index[%llu, %llu] is %d; there are %llu latents",
                               (unsigned long long)r, (unsigned long long)j, latent,
                               (unsigned long long)latents);
            begin[latent + 1]++;
        }
    for (uint64_t i = 1; i <= latents; i++) {
        uint32_t count = begin[i];

        begin[i] = sum;
        sum += count;
    }
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t j = 0; j < k; j++)
            entry[begin[sd_row_i32(a->index, r)[j] + 1]++] = (uint32_t)(r * k + j);
    return SD_OK;
}

/* y[latent] of one latent; `acc` [d] is the thread's. */
static inline void scatter_latent(const sd_scatter *a, uint64_t latent, sd_real *restrict acc)
{
    const uint32_t *entry = sd_row_u32(a->entry, 0);
    uint64_t d = a->x.cols, k = a->coef.cols;
    uint64_t from = sd_row_u32(a->begin, 0)[latent], to = sd_row_u32(a->begin, 0)[latent + 1];
    sd_real *y = sd_row(a->y, latent), sum = 0, scale = (sd_real)a->scale;

    for (uint64_t i = 0; i < d; i++)
        acc[i] = 0;
    for (uint64_t e = from; e < to && e < a->entry.cols; e++) {
        uint64_t row = entry[e] / k;
        sd_real c;

        if (row >= a->x.rows)
            continue;
        c = sd_row(a->coef, row)[entry[e] % k];
        if (a->relu && c <= 0)
            continue;
        sum += c;
        if (a->shift.buf == NULL) {
            sd_add_scaled(acc, c, sd_row(a->x, row), d);
        } else {
            const sd_real *x = sd_row(a->x, row), *shift = sd_row(a->shift, 0);

            for (uint64_t i = 0; i < d; i++)
                acc[i] += c * (x[i] - shift[i]);
        }
    }
    if (a->accumulate)
        sd_add_scaled(y, scale, acc, d);
    else
        for (uint64_t i = 0; i < d; i++)
            y[i] = scale * acc[i];
    if (a->sum.buf != NULL) {
        sd_real *s = sd_row(a->sum, 0) + latent;

        *s = a->accumulate ? *s + scale * sum : scale * sum;
    }
}

SD_WIDE static void scatter_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_scatter *a = args;
    sd_span latents = sd_tile(a->y.rows, LATENT_TILE, tile);

    for (uint64_t i = latents.first; i < latents.first + latents.count; i++)
        scatter_latent(a, i, scratch);
}

sd_status sd_cpu_scatter(sd_dev *dev, const sd_scatter *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.rows, LATENT_TILE), args->x.cols * sizeof(sd_real),
                       scatter_tile, args);
}

/* A tile is a range of columns, so that rows of y that occur twice in map are written by one thread. */
SD_WIDE static void scatter_rows_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_scatter_rows *a = args;
    sd_span cols = sd_tile(a->x.cols, COL_TILE, tile);

    (void)scratch;
    for (uint64_t r = 0; r < a->x.rows; r++) {
        int32_t to = sd_row_i32(a->map, 0)[r];

        if (inside(to, a->y.rows))
            sd_add_scaled(sd_row(a->y, (uint64_t)to) + cols.first, (sd_real)a->scale,
                          sd_row(a->x, r) + cols.first, cols.count);
    }
}

sd_status sd_cpu_scatter_rows(sd_dev *dev, const sd_scatter_rows *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.cols, COL_TILE), 0, scatter_rows_tile, args);
}

sd_status sd_cpu_track_fires(sd_dev *dev, const sd_track_fires *a)
{
    uint64_t *since = sd_row_u64(a->since, 0), *fires = sd_row_u64(a->fires, 0);

    (void)dev;
    for (uint64_t i = 0; i < a->since.cols; i++)
        since[i] += a->tokens;
    for (uint64_t r = 0; r < a->index.rows; r++)
        for (uint64_t j = 0; j < a->index.cols; j++) {
            int32_t latent = sd_row_i32(a->index, r)[j];

            if (sd_row(a->value, r)[j] > 0 && inside(latent, a->since.cols)) {
                since[latent] = 0;
                fires[latent]++;
            }
        }
    return SD_OK;
}

typedef struct median_job {
    const sd_median_step *op;
    double *part; /* [tiles, d + 1]: Σ x/ρ, then Σ 1/ρ */
} median_job;

SD_WIDE static void median_tile(const void *args, uint64_t tile, void *scratch)
{
    const median_job *job = args;
    const sd_median_step *op = job->op;
    sd_span rows = sd_tile(op->x.rows, MEDIAN_TILE, tile);
    uint64_t d = op->x.cols;
    double *restrict part = job->part + tile * (d + 1);
    const sd_real *c = sd_row(op->c, 0);
    sd_real *away = scratch; /* [d] x − c */

    for (uint64_t i = 0; i <= d; i++)
        part[i] = 0;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *x = sd_row(op->x, r);
        double rho, weight;

        for (uint64_t i = 0; i < d; i++)
            away[i] = x[i] - c[i];
        rho = sqrt(sd_dot(away, away, d));
        weight = 1 / (rho < op->eps ? op->eps : rho);
        for (uint64_t i = 0; i < d; i++)
            part[i] += weight * (double)x[i];
        part[d] += weight;
    }
}

sd_status sd_cpu_median_step(sd_dev *dev, const sd_median_step *args)
{
    uint64_t tiles = sd_tiles(args->x.rows, MEDIAN_TILE), d = args->x.cols;
    median_job job = {.op = args};
    double weight = 0, moved = 0;
    const sd_real *c = sd_row(args->c, 0);
    sd_real *y = sd_row(args->y, 0);
    void *workspace;
    sd_status st;

    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), tiles * (d + 1) * sizeof(double), &workspace));
    job.part = workspace;
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), tiles, d * sizeof(sd_real), median_tile, &job));
    for (uint64_t t = 0; t < tiles; t++)
        weight += job.part[t * (d + 1) + d];
    for (uint64_t i = 0; i < d; i++) {
        double sum = 0, step;

        for (uint64_t t = 0; t < tiles; t++)
            sum += job.part[t * (d + 1) + i];
        step = sum / weight - (double)c[i];
        moved += step * step;
        y[i] = (sd_real)(sum / weight);
    }
    sd_row_f64(args->moved, 0)[0] = sqrt(moved);
out:
    return st;
}

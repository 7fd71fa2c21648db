/* Comparisons of rows. */
#include <math.h>

#include "cpu.h"
#include "exp.h"

enum { KL_TILE = 8, PAIR_TILE = 32 };

static inline double most_of(const sd_real *x, uint64_t n)
{
    sd_real most = x[0];

    for (uint64_t i = 1; i < n; i++)
        most = most < x[i] ? x[i] : most;
    return (double)most;
}

/* With a = p − max p, b = q − max q: KL = Σ eᵃ (a − b) / Σ eᵃ − (log Σ eᵃ − log Σ eᵇ). */
SD_WIDE static void kl_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_kl *op = args;
    sd_span rows = sd_tile(op->p.rows, KL_TILE, tile);
    uint64_t n = op->p.cols;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *p = sd_row(op->p, r), *q = sd_row(op->q, r);
        double most_p = most_of(p, n), most_q = most_of(q, n), sum_p, sum_q, cross;
        double lane_p[SD_LANES] = {0}, lane_q[SD_LANES] = {0}, lane_c[SD_LANES] = {0};
        uint64_t i = 0;

        for (; i + SD_LANES <= n; i += SD_LANES)
            for (int j = 0; j < SD_LANES; j++) {
                double a = (double)p[i + (uint64_t)j] - most_p, b = (double)q[i + (uint64_t)j] - most_q;
                double e = sd_exp_f64(a);

                lane_p[j] += e;
                lane_q[j] += sd_exp_f64(b);
                lane_c[j] += e * (a - b);
            }
        for (int j = 0; i < n; i++, j++) {
            double a = (double)p[i] - most_p, b = (double)q[i] - most_q, e = sd_exp_f64(a);

            lane_p[j] += e;
            lane_q[j] += sd_exp_f64(b);
            lane_c[j] += e * (a - b);
        }
        sum_p = sd_fold(lane_p);
        sum_q = sd_fold(lane_q);
        cross = sd_fold(lane_c);
        sd_row_f64(op->kl, 0)[r] = cross / sum_p - (log(sum_p) - log(sum_q));
    }
}

sd_status sd_cpu_kl(sd_dev *dev, const sd_kl *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->p.rows, KL_TILE), 0, kl_tile, args);
}

static inline double apart_of(const sd_real *x, const sd_real *y, uint64_t n)
{
    double lane[SD_LANES] = {0};
    uint64_t i = 0;

    for (; i + SD_LANES <= n; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++) {
            double e = (double)x[i + (uint64_t)j] - (double)y[i + (uint64_t)j];

            lane[j] += e * e;
        }
    for (int j = 0; i < n; i++, j++) {
        double e = (double)x[i] - (double)y[i];

        lane[j] += e * e;
    }
    return sd_fold(lane);
}

SD_WIDE static void pair_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_row_pair *op = args;
    sd_span rows = sd_tile(op->x.rows, PAIR_TILE, tile);
    uint64_t n = op->x.cols;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *x = sd_row(op->x, r), *y = sd_row(op->y, r);

        sd_row_f64(op->xx, 0)[r] = sd_dot(x, x, n);
        sd_row_f64(op->yy, 0)[r] = sd_dot(y, y, n);
        sd_row_f64(op->xy, 0)[r] = sd_dot(x, y, n);
        sd_row_f64(op->sse, 0)[r] = apart_of(x, y, n);
    }
}

sd_status sd_cpu_row_pair(sd_dev *dev, const sd_row_pair *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, PAIR_TILE), 0, pair_tile, args);
}

SD_WIDE static void count_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_count_positive *op = args;
    sd_span rows = sd_tile(op->x.rows, PAIR_TILE, tile);
    const sd_real *shift = sd_row(op->shift, 0);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *x = sd_row(op->x, r);
        uint64_t count = 0;

        for (uint64_t i = 0; i < op->x.cols; i++)
            count += x[i] + shift[i] > 0 ? 1U : 0U;
        sd_row_u64(op->count, 0)[r] += count;
    }
}

sd_status sd_cpu_count_positive(sd_dev *dev, const sd_count_positive *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, PAIR_TILE), 0, count_tile, args);
}

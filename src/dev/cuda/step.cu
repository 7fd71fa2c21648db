/* Operations of the optimiser. */
#include "cuda.h"

enum { SUM_ELEMENTS = 16384 }; /* of a tile of sumsq */

/* ---- rows: a block each ---- */

__global__ static void unit_rows_kernel(sd_view<sd_real> m)
{
    sd_real *w = m.row(blockIdx.x);
    double sum = 0, norm;

    for (uint64_t i = threadIdx.x; i < m.cols; i += SD_BLOCK)
        sum += (double)w[i] * (double)w[i];
    norm = sqrt(sd_team_sum<SD_BLOCK>(sum));
    for (uint64_t i = threadIdx.x; i < m.cols && norm != 0; i += SD_BLOCK)
        w[i] = (sd_real)((double)w[i] / norm);
}

sd_status sd_cuda_unit_rows(sd_dev *dev, const sd_unit_rows *a)
{
    return sd_launch(dev, "unit_rows", unit_rows_kernel, a->w.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->w));
}

__global__ static void project_rows_kernel(sd_view<sd_real> gradient, sd_view<sd_real> unit)
{
    sd_real *g = gradient.row(blockIdx.x), along;
    const sd_real *w = unit.row(blockIdx.x);
    double sum = 0;

    for (uint64_t i = threadIdx.x; i < gradient.cols; i += SD_BLOCK)
        sum += (double)g[i] * (double)w[i];
    along = (sd_real)-sd_team_sum<SD_BLOCK>(sum);
    for (uint64_t i = threadIdx.x; i < gradient.cols; i += SD_BLOCK)
        g[i] += along * w[i];
}

sd_status sd_cuda_project_rows(sd_dev *dev, const sd_project_rows *a)
{
    return sd_launch(dev, "project_rows", project_rows_kernel, a->g.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->g), sd_view_of<sd_real>(a->w));
}

/* ---- sumsq, clip ---- */

/* A tile is SUM_ELEMENTS of the elements in row-major order. */
__global__ static void sumsq_tiles(sd_view<sd_real> x, double *part)
{
    uint64_t first = (uint64_t)blockIdx.x * SUM_ELEMENTS, end = first + SUM_ELEMENTS, all = x.rows * x.cols;
    double sum = 0;

    for (uint64_t i = first + threadIdx.x; i < end && i < all; i += SD_BLOCK) {
        double v = (double)x.row(i / x.cols)[i % x.cols];

        sum += v * v;
    }
    sum = sd_team_sum<SD_BLOCK>(sum);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

/* One block: each thread sums every SD_BLOCK-th tile, then the threads' sums are added. */
__global__ static void sumsq_all(const double *part, uint64_t tiles, double *to)
{
    double sum = 0;

    for (uint64_t t = threadIdx.x; t < tiles; t += SD_BLOCK)
        sum += part[t];
    sum = sd_team_sum<SD_BLOCK>(sum);
    if (threadIdx.x == 0)
        *to = sum;
}

sd_status sd_cuda_sumsq(sd_dev *dev, const sd_sumsq *a)
{
    uint64_t tiles = sd_written_spans(a->x.rows * a->x.cols, SUM_ELEMENTS);
    void *part;

    SD_PASS(sd_cuda_scratch(dev, "sumsq", tiles * sizeof(double), &part));
    SD_PASS(sd_launch(dev, "sumsq", sumsq_tiles, tiles, SD_BLOCK, 0, sd_view_of<sd_real>(a->x), (double *)part));
    return sd_launch(dev, "sumsq", sumsq_all, 1, SD_BLOCK, 0, (const double *)part, tiles, sd_view_of<double>(a->sum).at + a->slot);
}

__global__ static void clip_kernel(sd_view<double> part, double *norm, double *factor, double limit)
{
    double sum = 0, length;

    if (threadIdx.x > 0)
        return;
    for (uint64_t i = 0; i < part.cols; i++)
        sum += part.at[i];
    length = sqrt(sum);
    *norm = length;
    *factor = !isfinite(length) ? (double)NAN : length <= limit ? 1 : limit / length;
}

sd_status sd_cuda_clip(sd_dev *dev, const sd_clip *a)
{
    return sd_launch(dev, "clip", clip_kernel, 1, SD_WARP, 0, sd_view_of<double>(a->sum), sd_view_of<double>(a->norm).at,
                     sd_view_of<double>(a->factor).at, a->limit);
}

/* ---- adamw ---- */

struct adam {
    sd_view<sd_real> w, g, m, v;
    const double *factor; /* NULL for 1 */
    sd_real beta1, rest1, beta2, rest2, keep, rate, correct2, eps;
};

__global__ static void adamw_kernel(adam a)
{
    uint64_t across = sd_written_spans(a.w.cols, SD_WIDTH), i = sd_thread(), r, c, count;
    sd_real w[SD_WIDTH], g[SD_WIDTH], m[SD_WIDTH], v[SD_WIDTH], factor = a.factor != NULL ? (sd_real)*a.factor : (sd_real)1;

    if (across == 0 || i >= a.w.rows * across)
        return;
    r = i / across;
    c = i % across * SD_WIDTH;
    count = a.w.cols - c;
    sd_load(w, a.w.row(r) + c, count, a.w.whole);
    sd_load(g, a.g.row(r) + c, count, a.g.whole);
    sd_load(m, a.m.row(r) + c, count, a.m.whole);
    sd_load(v, a.v.row(r) + c, count, a.v.whole);
    for (int j = 0; j < SD_WIDTH; j++) {
        sd_real grad = g[j] * factor;

        m[j] = a.beta1 * m[j] + a.rest1 * grad;
        v[j] = a.beta2 * v[j] + a.rest2 * (grad * grad);
        w[j] = a.keep * w[j] - a.rate * m[j] / ((sd_real)sqrt(v[j] * a.correct2) + a.eps);
    }
    sd_store(w, a.w.row(r) + c, count, a.w.whole);
    sd_store(m, a.m.row(r) + c, count, a.m.whole);
    sd_store(v, a.v.row(r) + c, count, a.v.whole);
}

sd_status sd_cuda_adamw(sd_dev *dev, const sd_adamw *a)
{
    double t = (double)a->t;
    adam job = {sd_view_of<sd_real>(a->w), sd_view_of<sd_real>(a->g), sd_view_of<sd_real>(a->m), sd_view_of<sd_real>(a->v),
                sd_view_of<double>(a->factor).at, (sd_real)a->beta1, (sd_real)(1 - a->beta1), (sd_real)a->beta2, (sd_real)(1 - a->beta2),
                (sd_real)(1 - a->lr * a->decay), (sd_real)(a->lr / (1 - pow(a->beta1, t))), (sd_real)(1 / (1 - pow(a->beta2, t))),
                (sd_real)a->eps};

    return sd_launch(dev, "adamw", adamw_kernel, sd_written_spans(a->w.rows * sd_written_spans(a->w.cols, SD_WIDTH), SD_BLOCK), SD_BLOCK, 0, job);
}

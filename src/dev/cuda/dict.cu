/* The sparse decoder, its gradients, dead counters and the median. */
#include "transpose_index.h"

__device__ static inline bool inside(int32_t index, uint64_t rows)
{
    return index >= 0 && (uint64_t)index < rows;
}

/* ---- decode: a block for each row, SD_WIDTH columns to a thread ---- */

__global__ static void decode_kernel(sd_view<int32_t> index, sd_view<sd_real> value, sd_view<sd_real> w, const sd_real *bias,
                                     sd_view<sd_real> y, bool relu)
{
    uint64_t r = blockIdx.x;
    sd_real sum[SD_WIDTH], row[SD_WIDTH];

    for (uint64_t c = threadIdx.x * SD_WIDTH; c < y.cols; c += SD_BLOCK * SD_WIDTH) {
        for (int i = 0; i < SD_WIDTH; i++)
            sum[i] = 0;
        if (bias != NULL)
            sd_load(sum, bias + c, y.cols - c, false);
        for (uint64_t j = 0; j < index.cols; j++) {
            sd_real code = value.row(r)[j];
            int32_t latent = index.row(r)[j];

            if (relu && code <= 0)
                continue;
            if (inside(latent, w.rows))
                sd_load(row, w.row((uint64_t)latent) + c, y.cols - c, w.whole);
            for (int i = 0; i < SD_WIDTH; i++)
                sum[i] = inside(latent, w.rows) ? sum[i] + code * row[i] : sd_nan();
        }
        sd_store(sum, y.row(r) + c, y.cols - c, y.whole);
    }
}

sd_status sd_cuda_decode(sd_dev *dev, const sd_decode *a)
{
    return sd_launch(dev, "decode", decode_kernel, a->y.rows, SD_BLOCK, 0, sd_view_of<int32_t>(a->index), sd_view_of<sd_real>(a->value),
                     sd_view_of<sd_real>(a->w_dec), (const sd_real *)sd_view_of<sd_real>(a->bias).at, sd_view_of<sd_real>(a->y), a->relu);
}

/* ---- recon_error, code_grad ---- */

__global__ static void recon_error_kernel(sd_view<sd_real> x, sd_view<sd_real> y, sd_view<sd_real> e, double *row_sse)
{
    uint64_t r = blockIdx.x;
    double sum = 0;

    for (uint64_t i = threadIdx.x; i < x.cols; i += SD_BLOCK) {
        sd_real apart = x.row(r)[i] - y.row(r)[i];

        e.row(r)[i] = apart;
        sum += (double)apart * (double)apart;
    }
    sum = sd_team_sum<SD_BLOCK>(sum);
    if (threadIdx.x == 0)
        row_sse[r] = sum;
}

sd_status sd_cuda_recon_error(sd_dev *dev, const sd_recon_error *a)
{
    return sd_launch(dev, "recon_error", recon_error_kernel, a->x.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->x), sd_view_of<sd_real>(a->y),
                     sd_view_of<sd_real>(a->e), sd_view_of<double>(a->row_sse).at);
}

/* A warp for each code. */
__global__ static void code_grad_kernel(sd_view<sd_real> e, sd_view<sd_real> w, sd_view<int32_t> index, sd_view<sd_real> value,
                                        sd_view<sd_real> grad, sd_real scale, bool relu)
{
    uint64_t i = sd_thread() / SD_WARP, lane = threadIdx.x % SD_WARP, r, j;
    sd_real sum = 0, x[SD_WIDTH], y[SD_WIDTH];
    bool dead, known;
    int32_t latent;

    if (i >= index.rows * index.cols)
        return;
    r = i / index.cols;
    j = i % index.cols;
    latent = index.row(r)[j];
    dead = relu && value.row(r)[j] <= 0;
    known = inside(latent, w.rows);
    for (uint64_t c = lane * SD_WIDTH; c < e.cols && known && !dead; c += SD_WARP * SD_WIDTH) {
        sd_load(x, e.row(r) + c, e.cols - c, e.whole);
        sd_load(y, w.row((uint64_t)latent) + c, e.cols - c, w.whole);
        for (int k = 0; k < SD_WIDTH; k++)
            sum += x[k] * y[k];
    }
    sum = sd_warp_sum(sum);
    if (lane == 0)
        grad.row(r)[j] = dead ? (sd_real)0 : known ? scale * sum : sd_nan();
}

sd_status sd_cuda_code_grad(sd_dev *dev, const sd_code_grad *a)
{
    return sd_launch(dev, "code_grad", code_grad_kernel, sd_written_spans(a->index.rows * a->index.cols, SD_WARPS), SD_BLOCK, 0,
                     sd_view_of<sd_real>(a->e), sd_view_of<sd_real>(a->w_dec), sd_view_of<int32_t>(a->index), sd_view_of<sd_real>(a->value),
                     sd_view_of<sd_real>(a->grad), (sd_real)a->scale, a->relu);
}

/* ---- scatter: a block for each latent, its entries in their order ---- */

struct scatter_job {
    sd_view<sd_real> coef, x, y;
    const uint32_t *begin, *entry;
    const sd_real *shift;
    sd_real *sum;
    uint64_t entries;
    sd_real scale;
    bool relu, accumulate;
};

/* The coefficient of entry e and its row; false where it adds nothing. */
__device__ static inline bool entry_at(const scatter_job &a, uint64_t e, uint64_t *row, sd_real *c)
{
    *row = a.entry[e] / a.coef.cols;
    if (*row >= a.x.rows)
        return false;
    *c = a.coef.row(*row)[a.entry[e] % a.coef.cols];
    return !(a.relu && *c <= 0);
}

__global__ static void scatter_kernel(scatter_job a)
{
    uint64_t latent = blockIdx.x, from = a.begin[latent], to = a.begin[latent + 1], row;
    sd_real acc[SD_WIDTH], x[SD_WIDTH], shift[SD_WIDTH], c;

    to = to < a.entries ? to : a.entries;
    for (uint64_t col = threadIdx.x * SD_WIDTH; col < a.y.cols; col += SD_BLOCK * SD_WIDTH) {
        for (int i = 0; i < SD_WIDTH; i++)
            acc[i] = shift[i] = 0;
        if (a.shift != NULL)
            sd_load(shift, a.shift + col, a.y.cols - col, false);
        for (uint64_t e = from; e < to; e++) {
            if (!entry_at(a, e, &row, &c))
                continue;
            sd_load(x, a.x.row(row) + col, a.y.cols - col, a.x.whole);
            for (int i = 0; i < SD_WIDTH; i++)
                acc[i] += c * (x[i] - shift[i]);
        }
        for (int i = 0; i < SD_WIDTH; i++)
            acc[i] *= a.scale;
        if (a.accumulate) {
            sd_load(x, a.y.row(latent) + col, a.y.cols - col, a.y.whole);
            for (int i = 0; i < SD_WIDTH; i++)
                acc[i] += x[i];
        }
        sd_store(acc, a.y.row(latent) + col, a.y.cols - col, a.y.whole);
    }
    if (a.sum != NULL && threadIdx.x == 0) {
        sd_real sum = 0;

        for (uint64_t e = from; e < to; e++)
            if (entry_at(a, e, &row, &c))
                sum += c;
        a.sum[latent] = a.accumulate ? a.sum[latent] + a.scale * sum : a.scale * sum;
    }
}

sd_status sd_cuda_scatter(sd_dev *dev, const sd_scatter *a)
{
    scatter_job job = {sd_view_of<sd_real>(a->coef), sd_view_of<sd_real>(a->x), sd_view_of<sd_real>(a->y), sd_view_of<uint32_t>(a->begin).at,
                       sd_view_of<uint32_t>(a->entry).at, sd_view_of<sd_real>(a->shift).at, sd_view_of<sd_real>(a->sum).at, a->entry.cols,
                       (sd_real)a->scale, a->relu, a->accumulate};

    return sd_launch(dev, "scatter", scatter_kernel, a->y.rows, SD_BLOCK, 0, job);
}

/* ---- scatter_rows: the map transposed, then a block for each row of y ---- */

__global__ static void scatter_rows_kernel(sd_view<sd_real> x, sd_view<sd_real> y, const uint32_t *begin, const uint32_t *entry, sd_real scale)
{
    uint64_t to = blockIdx.x;
    sd_real acc[SD_WIDTH], v[SD_WIDTH];

    if (begin[to] == begin[to + 1])
        return;
    for (uint64_t c = threadIdx.x * SD_WIDTH; c < y.cols; c += SD_BLOCK * SD_WIDTH) {
        sd_load(acc, y.row(to) + c, y.cols - c, y.whole);
        for (uint32_t e = begin[to]; e < begin[to + 1]; e++) {
            sd_load(v, x.row(entry[e]) + c, y.cols - c, x.whole);
            for (int i = 0; i < SD_WIDTH; i++)
                acc[i] += scale * v[i];
        }
        sd_store(acc, y.row(to) + c, y.cols - c, y.whole);
    }
}

sd_status sd_cuda_scatter_rows(sd_dev *dev, const sd_scatter_rows *a)
{
    uint64_t rows = a->y.rows;
    uint32_t *begin;
    void *workspace;

    SD_PASS(sd_cuda_scratch(dev, "scatter_rows", (2 * rows + 1 + a->x.rows) * sizeof(uint32_t), &workspace));
    begin = (uint32_t *)workspace;
    SD_PASS(sd_cuda_transpose_index(dev, "scatter_rows", sd_view_of<int32_t>(a->map), rows, begin, begin + 2 * rows + 1, begin + rows + 1, false));
    return sd_launch(dev, "scatter_rows", scatter_rows_kernel, rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->x), sd_view_of<sd_real>(a->y),
                     (const uint32_t *)begin, (const uint32_t *)(begin + 2 * rows + 1), (sd_real)a->scale);
}

/* ---- track_fires ---- */

__global__ static void age_kernel(sd_view<uint64_t> since, uint64_t tokens)
{
    uint64_t i = sd_thread();

    if (i < since.cols)
        since.at[i] += tokens;
}

__global__ static void fires_kernel(sd_view<int32_t> index, sd_view<sd_real> value, sd_view<uint64_t> since, sd_view<uint64_t> fires)
{
    uint64_t i = sd_thread(), r, j;
    int32_t latent;

    if (i >= index.rows * index.cols)
        return;
    r = i / index.cols;
    j = i % index.cols;
    latent = index.row(r)[j];
    if (value.row(r)[j] > 0 && inside(latent, since.cols)) {
        since.at[latent] = 0;
        atomicAdd((unsigned long long *)&fires.at[latent], 1ull);
    }
}

sd_status sd_cuda_track_fires(sd_dev *dev, const sd_track_fires *a)
{
    SD_PASS(sd_launch(dev, "track_fires", age_kernel, sd_written_spans(a->since.cols, SD_BLOCK), SD_BLOCK, 0, sd_view_of<uint64_t>(a->since), a->tokens));
    return sd_launch(dev, "track_fires", fires_kernel, sd_written_spans(a->index.rows * a->index.cols, SD_BLOCK), SD_BLOCK, 0,
                     sd_view_of<int32_t>(a->index), sd_view_of<sd_real>(a->value), sd_view_of<uint64_t>(a->since), sd_view_of<uint64_t>(a->fires));
}

/* ---- median_step ---- */

enum { MEDIAN_TILE = 256 };

/* weight [n] = 1 / max(‖x − c‖, eps): a block for each row. */
__global__ static void median_weights(sd_view<sd_real> x, const sd_real *c, double eps, double *weight)
{
    uint64_t r = blockIdx.x;
    double sum = 0, rho;

    for (uint64_t i = threadIdx.x; i < x.cols; i += SD_BLOCK) {
        double away = (double)(x.row(r)[i] - c[i]);

        sum += away * away;
    }
    rho = sqrt(sd_team_sum<SD_BLOCK>(sum));
    if (threadIdx.x == 0)
        weight[r] = 1 / (rho < eps ? eps : rho);
}

/* part [tiles, d + 1]: Σ weight·x over the rows of a tile, then Σ weight. */
__global__ static void median_tiles(sd_view<sd_real> x, const double *weight, double *part)
{
    uint64_t i = sd_thread(), tile = i / (x.cols + 1), c = i % (x.cols + 1), end = (tile + 1) * MEDIAN_TILE;
    double sum = 0;

    if (tile >= sd_written_spans(x.rows, MEDIAN_TILE))
        return;
    for (uint64_t r = tile * MEDIAN_TILE; r < end && r < x.rows; r++)
        sum += c < x.cols ? weight[r] * (double)x.row(r)[c] : weight[r];
    part[i] = sum;
}

/* One block. y may be c: each component is read and written by one thread. */
__global__ static void median_all(const double *part, uint64_t tiles, uint64_t d, const sd_real *c, sd_real *y, double *moved)
{
    double weight = 0, sum = 0;

    for (uint64_t t = 0; t < tiles; t++)
        weight += part[t * (d + 1) + d];
    for (uint64_t i = threadIdx.x; i < d; i += SD_BLOCK) {
        double all = 0, away;

        for (uint64_t t = 0; t < tiles; t++)
            all += part[t * (d + 1) + i];
        away = all / weight - (double)c[i];
        y[i] = (sd_real)(all / weight);
        sum += away * away;
    }
    sum = sd_team_sum<SD_BLOCK>(sum);
    if (threadIdx.x == 0)
        *moved = sqrt(sum);
}

sd_status sd_cuda_median_step(sd_dev *dev, const sd_median_step *a)
{
    uint64_t n = a->x.rows, d = a->x.cols, tiles = sd_written_spans(n, MEDIAN_TILE);
    double *weight;
    void *workspace;

    SD_PASS(sd_cuda_scratch(dev, "median_step", (n + tiles * (d + 1)) * sizeof(double), &workspace));
    weight = (double *)workspace;
    SD_PASS(sd_launch(dev, "median_step", median_weights, n, SD_BLOCK, 0, sd_view_of<sd_real>(a->x),
                      (const sd_real *)sd_view_of<sd_real>(a->c).at, a->eps, weight));
    SD_PASS(sd_launch(dev, "median_step", median_tiles, sd_written_spans(tiles * (d + 1), SD_BLOCK), SD_BLOCK, 0, sd_view_of<sd_real>(a->x),
                      (const double *)weight, weight + n));
    return sd_launch(dev, "median_step", median_all, 1, SD_BLOCK, 0, (const double *)(weight + n), tiles, d,
                     (const sd_real *)sd_view_of<sd_real>(a->c).at, sd_view_of<sd_real>(a->y).at, sd_view_of<double>(a->moved).at);
}

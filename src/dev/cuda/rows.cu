/* Element-wise and row-wise operations. Element-wise ones give each thread SD_WIDTH columns of a row; the others give each row, or each group
 * of its components, a team of threads, a warp or a block, by its length alone. */
#include "cuda.h"

enum { LONG_ROW = 1024 }; /* groups of at least this many components get a block each */

/* Where a thread of an element-wise kernel works: row, first column, columns. */
struct place {
    uint64_t row, col, count;
};

__device__ static inline bool find_place(uint64_t rows, uint64_t cols, place *p)
{
    uint64_t across = sd_written_spans(cols, SD_WIDTH), i = sd_thread();

    if (across == 0 || i >= rows * across)
        return false;
    p->row = i / across;
    p->col = i % across * SD_WIDTH;
    p->count = sd_least(cols - p->col, SD_WIDTH);
    return true;
}

static uint64_t blocks_for(uint64_t rows, uint64_t cols)
{
    return sd_written_spans(rows * sd_written_spans(cols, SD_WIDTH), SD_BLOCK);
}

/* ---- fill ---- */

template <typename E> __global__ static void fill_kernel(sd_view<E> y, E value)
{
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    for (uint64_t i = 0; i < p.count; i++)
        y.row(p.row)[p.col + i] = value;
}

template <typename E> static sd_status fill_with(sd_dev *dev, sd_mat y, E value)
{
    return sd_launch(dev, "fill", fill_kernel<E>, blocks_for(y.rows, y.cols), SD_BLOCK, 0, sd_view_of<E>(y), value);
}

__global__ static void fill_narrow_kernel(sd_any y, sd_real value)
{
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    for (uint64_t i = 0; i < p.count; i++)
        sd_store_one(value, y, p.row, p.col + i);
}

sd_status sd_cuda_fill(sd_dev *dev, const sd_fill *a)
{
    switch (a->y.buf->type) {
    case SD_F32:
        return fill_with(dev, a->y, (float)a->value);
    case SD_F64:
        return fill_with(dev, a->y, a->value);
    case SD_F16:
    case SD_BF16:
        return sd_launch(dev, "fill", fill_narrow_kernel, blocks_for(a->y.rows, a->y.cols), SD_BLOCK, 0, sd_any_of(a->y), (sd_real)a->value);
    case SD_I32:
        return fill_with(dev, a->y, (int32_t)a->value);
    case SD_U32:
        return fill_with(dev, a->y, (uint32_t)a->value);
    case SD_I64:
        return fill_with(dev, a->y, (int64_t)a->value);
    case SD_U64:
        return fill_with(dev, a->y, (uint64_t)a->value);
    case SD_U8:
        return fill_with(dev, a->y, (uint8_t)a->value);
    case SD_DTYPES:
        break;
    }
    return SD_OK;
}

/* ---- noise ---- */

/* sd_random_uniform() of core/random.h. */
__device__ static inline double uniform(sd_key key, uint64_t index)
{
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)key.stream, (uint32_t)(key.stream >> 32)};
    uint32_t k[2] = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)};

    for (int round = 0; round < 10; round++) {
        uint64_t left = (uint64_t)0xd2511f53u * c[0], right = (uint64_t)0xcd9e8d57u * c[2];

        c[0] = (uint32_t)(right >> 32) ^ c[1] ^ k[0];
        c[1] = (uint32_t)right;
        c[2] = (uint32_t)(left >> 32) ^ c[3] ^ k[1];
        c[3] = (uint32_t)left;
        k[0] += 0x9e3779b9u;
        k[1] += 0xbb67ae85u;
    }
    return (double)(((uint64_t)c[1] << 32 | c[0]) >> 11) * 0x1p-53;
}

__global__ static void noise_kernel(sd_any y, sd_key key, double scale)
{
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    for (uint64_t i = 0; i < p.count; i++)
        sd_store_one((sd_real)(scale * (2 * uniform(key, p.row * y.cols + p.col + i) - 1)), y, p.row, p.col + i);
}

sd_status sd_cuda_noise(sd_dev *dev, const sd_noise *a)
{
    return sd_launch(dev, "noise", noise_kernel, blocks_for(a->y.rows, a->y.cols), SD_BLOCK, 0, sd_any_of(a->y), a->key, a->scale);
}

/* ---- scale, axpy ---- */

__global__ static void scale_kernel(sd_view<sd_real> x, sd_view<sd_real> y, sd_real c)
{
    sd_real v[SD_WIDTH];
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    sd_load(v, x.row(p.row) + p.col, p.count, x.whole);
    for (int i = 0; i < SD_WIDTH; i++)
        v[i] *= c;
    sd_store(v, y.row(p.row) + p.col, p.count, y.whole);
}

sd_status sd_cuda_scale(sd_dev *dev, const sd_scale *a)
{
    return sd_launch(dev, "scale", scale_kernel, blocks_for(a->y.rows, a->y.cols), SD_BLOCK, 0, sd_view_of<sd_real>(a->x),
                     sd_view_of<sd_real>(a->y), (sd_real)a->scale);
}

__global__ static void axpy_kernel(sd_any x, sd_any y, sd_real c)
{
    sd_real add[SD_WIDTH], v[SD_WIDTH];
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    sd_load(add, x, x.rows == 1 ? 0 : p.row, p.col, p.count, x.whole);
    sd_load(v, y, p.row, p.col, p.count, y.whole);
    for (int i = 0; i < SD_WIDTH; i++)
        v[i] += c * add[i];
    sd_store(v, y, p.row, p.col, p.count, y.whole);
}

sd_status sd_cuda_axpy(sd_dev *dev, const sd_axpy *a)
{
    return sd_launch(dev, "axpy", axpy_kernel, blocks_for(a->y.rows, a->y.cols), SD_BLOCK, 0, sd_any_of(a->x), sd_any_of(a->y), (sd_real)a->scale);
}

/* ---- gather, put_rows ---- */

__global__ static void gather_kernel(sd_any x, sd_view<int32_t> index, sd_view<sd_real> y)
{
    sd_real v[SD_WIDTH];
    int64_t from;
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    from = index.at[p.row];
    if (from >= 0 && (uint64_t)from < x.rows)
        sd_load(v, x, (uint64_t)from, p.col, p.count, x.whole);
    else
        for (int i = 0; i < SD_WIDTH; i++)
            v[i] = sd_nan();
    sd_store(v, y.row(p.row) + p.col, p.count, y.whole);
}

sd_status sd_cuda_gather(sd_dev *dev, const sd_gather *a)
{
    return sd_launch(dev, "gather", gather_kernel, blocks_for(a->y.rows, a->y.cols), SD_BLOCK, 0, sd_any_of(a->x), sd_view_of<int32_t>(a->index),
                     sd_view_of<sd_real>(a->y));
}

template <typename T> __global__ static void put_rows_kernel(sd_view<T> x, sd_view<int32_t> index, sd_view<T> y)
{
    int64_t to;
    place p;

    if (!find_place(x.rows, x.cols, &p))
        return;
    to = index.at[p.row];
    if (to < 0 || (uint64_t)to >= y.rows)
        return;
    for (uint64_t i = 0; i < p.count; i++)
        y.row((uint64_t)to)[p.col + i] = x.row(p.row)[p.col + i];
}

template <typename T> static sd_status put_rows_by(sd_dev *dev, const sd_put_rows *a)
{
    return sd_launch(dev, "put_rows", put_rows_kernel<T>, blocks_for(a->x.rows, a->x.cols), SD_BLOCK, 0, sd_view_of<T>(a->x),
                     sd_view_of<int32_t>(a->index), sd_view_of<T>(a->y));
}

/* bf16 and f16 are copied the same way. */
sd_status sd_cuda_put_rows(sd_dev *dev, const sd_put_rows *a)
{
    if (a->x.buf->type != SD_REAL)
        return put_rows_by<uint16_t>(dev, a);
    return put_rows_by<sd_real>(dev, a);
}

/* ---- rmsnorm ---- */

/* A team of TEAM threads for each group of n components. */
template <int TEAM> __global__ static void rmsnorm_kernel(sd_any x, sd_view<sd_real> gain, sd_any y, double eps)
{
    uint64_t n = gain.cols, groups = x.cols / n, team = sd_thread() / TEAM, r = team / groups, g = team % groups * n;
    uint64_t member = threadIdx.x % TEAM;
    bool there = r < x.rows, x_whole = x.whole && n % SD_WIDTH == 0, y_whole = y.whole && n % SD_WIDTH == 0;
    sd_real v[SD_WIDTH], w[SD_WIDTH], factor;
    double sum = 0;

    for (uint64_t i = member * SD_WIDTH; i < n && there; i += TEAM * SD_WIDTH) {
        sd_load(v, x, r, g + i, n - i, x_whole);
        for (int j = 0; j < SD_WIDTH; j++)
            sum += (double)v[j] * (double)v[j];
    }
    sum = sd_team_sum<TEAM>(sum);
    if (!there)
        return;
    factor = (sd_real)(1.0 / sqrt(sum / (double)n + eps));
    for (uint64_t i = member * SD_WIDTH; i < n; i += TEAM * SD_WIDTH) {
        sd_load(v, x, r, g + i, n - i, x_whole);
        sd_load(w, gain.at + i, n - i, gain.whole);
        for (int j = 0; j < SD_WIDTH; j++)
            v[j] = w[j] * (v[j] * factor);
        sd_store(v, y, r, g + i, n - i, y_whole);
    }
}

sd_status sd_cuda_rmsnorm(sd_dev *dev, const sd_rmsnorm *a)
{
    uint64_t teams = a->x.rows * (a->x.cols / a->gain.cols);

    if (a->gain.cols < LONG_ROW)
        return sd_launch(dev, "rmsnorm", rmsnorm_kernel<SD_WARP>, sd_written_spans(teams, SD_WARPS), SD_BLOCK, 0, sd_any_of(a->x),
                         sd_view_of<sd_real>(a->gain), sd_any_of(a->y), a->eps);
    return sd_launch(dev, "rmsnorm", rmsnorm_kernel<SD_BLOCK>, teams, SD_BLOCK, 0, sd_any_of(a->x), sd_view_of<sd_real>(a->gain), sd_any_of(a->y),
                     a->eps);
}

/* ---- rope ---- */

/* A thread rotates up to SD_WIDTH pairs of one head. */
template <typename T>
__global__ static void rope_kernel(sd_view<T> x, sd_view<int32_t> position, sd_view<sd_real> cosine, sd_view<sd_real> sine, uint64_t head,
                                   sd_real direction)
{
    uint64_t half = head / 2, across = sd_written_spans(half, SD_WIDTH), heads = x.cols / head, i = sd_thread();
    uint64_t r = i / (heads * across), first = i % across * SD_WIDTH, count = half - first, at;
    bool whole = x.whole && half % SD_WIDTH == 0, table = cosine.whole && sine.whole && half % SD_WIDTH == 0;
    sd_real low[SD_WIDTH], high[SD_WIDTH], c[SD_WIDTH], s[SD_WIDTH];
    int64_t p;

    if (r >= x.rows)
        return;
    at = i / across % heads * head + first;
    p = position.at[r];
    if (p >= 0 && (uint64_t)p < cosine.rows) {
        sd_load(low, x.row(r) + at, count, whole);
        sd_load(high, x.row(r) + at + half, count, whole);
        sd_load(c, cosine.row((uint64_t)p) + first, count, table);
        sd_load(s, sine.row((uint64_t)p) + first, count, table);
        for (int j = 0; j < SD_WIDTH; j++) {
            sd_real l = low[j], h = high[j], turn = direction * s[j];

            low[j] = l * c[j] - h * turn;
            high[j] = h * c[j] + l * turn;
        }
    } else {
        for (int j = 0; j < SD_WIDTH; j++)
            low[j] = high[j] = sd_nan();
    }
    sd_store(low, x.row(r) + at, count, whole);
    sd_store(high, x.row(r) + at + half, count, whole);
}

sd_status sd_cuda_rope(sd_dev *dev, const sd_rope *a)
{
    uint64_t threads = a->x.rows * (a->x.cols / a->head) * sd_written_spans(a->head / 2, SD_WIDTH);

    return sd_by_type(a->x.buf->type, [&](auto x) {
        return sd_launch(dev, "rope", rope_kernel<decltype(x)>, sd_written_spans(threads, SD_BLOCK), SD_BLOCK, 0, sd_view_of<decltype(x)>(a->x),
                         sd_view_of<int32_t>(a->position), sd_view_of<sd_real>(a->cos), sd_view_of<sd_real>(a->sin), a->head,
                         (sd_real)(a->back ? -1 : 1));
    });
}

/* ---- silu_mul and its gradient ---- */

template <typename T> __global__ static void silu_mul_kernel(sd_view<T> gate, sd_view<T> up, sd_view<T> y)
{
    sd_real g[SD_WIDTH], u[SD_WIDTH];
    place p;

    if (!find_place(y.rows, y.cols, &p))
        return;
    sd_load(g, gate.row(p.row) + p.col, p.count, gate.whole);
    sd_load(u, up.row(p.row) + p.col, p.count, up.whole);
    for (int i = 0; i < SD_WIDTH; i++)
        g[i] = g[i] / (1 + sd_exp(-g[i])) * u[i];
    sd_store(g, y.row(p.row) + p.col, p.count, y.whole);
}

sd_status sd_cuda_silu_mul(sd_dev *dev, const sd_silu_mul *a)
{
    return sd_by_type(a->y.buf->type, [&](auto t) {
        typedef decltype(t) T;

        return sd_launch(dev, "silu_mul", silu_mul_kernel<T>, blocks_for(a->y.rows, a->y.cols), SD_BLOCK, 0, sd_view_of<T>(a->gate),
                         sd_view_of<T>(a->up), sd_view_of<T>(a->y));
    });
}

__global__ static void silu_mul_grad_kernel(sd_view<sd_real> gate, sd_view<sd_real> up, sd_view<sd_real> dy, sd_view<sd_real> dgate,
                                            sd_view<sd_real> dup)
{
    sd_real g[SD_WIDTH], u[SD_WIDTH], d[SD_WIDTH];
    place p;

    if (!find_place(gate.rows, gate.cols, &p))
        return;
    sd_load(g, gate.row(p.row) + p.col, p.count, gate.whole);
    sd_load(u, up.row(p.row) + p.col, p.count, up.whole);
    sd_load(d, dy.row(p.row) + p.col, p.count, dy.whole);
    for (int i = 0; i < SD_WIDTH; i++) {
        sd_real s = 1 / (1 + sd_exp(-g[i])), along = d[i] * u[i] * (s * (1 + g[i] * (1 - s)));

        u[i] = d[i] * (g[i] * s);
        g[i] = along;
    }
    sd_store(g, dgate.row(p.row) + p.col, p.count, dgate.whole);
    sd_store(u, dup.row(p.row) + p.col, p.count, dup.whole);
}

sd_status sd_cuda_silu_mul_grad(sd_dev *dev, const sd_silu_mul_grad *a)
{
    return sd_launch(dev, "silu_mul_grad", silu_mul_grad_kernel, blocks_for(a->gate.rows, a->gate.cols), SD_BLOCK, 0,
                     sd_view_of<sd_real>(a->gate), sd_view_of<sd_real>(a->up), sd_view_of<sd_real>(a->dy), sd_view_of<sd_real>(a->dgate),
                     sd_view_of<sd_real>(a->dup));
}

/* ---- colsum ---- */

enum { SUM_TILE = 256 };

/* part [tiles, n]: columns summed over the rows of a tile. */
__global__ static void colsum_tiles(sd_view<sd_real> x, double *part)
{
    uint64_t i = sd_thread(), tile = i / x.cols, c = i % x.cols, end = (tile + 1) * SUM_TILE;
    double sum = 0;

    if (tile >= sd_written_spans(x.rows, SUM_TILE))
        return;
    for (uint64_t r = tile * SUM_TILE; r < end && r < x.rows; r++)
        sum += (double)x.row(r)[c];
    part[i] = sum;
}

__global__ static void colsum_all(const double *part, uint64_t tiles, sd_view<sd_real> y)
{
    uint64_t c = sd_thread();
    double sum = 0;

    if (c >= y.cols)
        return;
    for (uint64_t t = 0; t < tiles; t++)
        sum += part[t * y.cols + c];
    y.at[c] = (sd_real)sum;
}

sd_status sd_cuda_colsum(sd_dev *dev, const sd_colsum *a)
{
    uint64_t tiles = sd_written_spans(a->x.rows, SUM_TILE), n = a->x.cols;
    void *part;

    SD_PASS(sd_cuda_scratch(dev, "colsum", tiles * n * sizeof(double), &part));
    SD_PASS(sd_launch(dev, "colsum", colsum_tiles, sd_written_spans(tiles * n, SD_BLOCK), SD_BLOCK, 0, sd_view_of<sd_real>(a->x), (double *)part));
    return sd_launch(dev, "colsum", colsum_all, sd_written_spans(n, SD_BLOCK), SD_BLOCK, 0, (const double *)part, tiles, sd_view_of<sd_real>(a->y));
}

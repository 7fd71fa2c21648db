/* Causal attention within documents without tensor cores: any type and head, arithmetic in real. A block of four warps takes 16 rows of one head, four to a
 * warp, over 32 keys at a time, counted from the document's first row: a lane scores a key, then takes its share of the head's components of
 * all 32 values. Values of keys that a row does not attend to are not read, so that not even a NaN of theirs affects it. */
#include "attention.h"

enum { TILE = 16, KEYS = SD_WARP, WARPS = 4, ROWS = TILE / WARPS, MAX_HEAD = 256, DIMENSIONS = MAX_HEAD / SD_WARP, AT_ONCE = 16 };

__global__ static void cut_kernel(const int32_t *start, uint32_t rows, uint32_t tile, sd_tiles tiles)
{
    uint32_t found = 0;

    for (uint32_t first = 0; first < rows; first += SD_BLOCK) {
        uint32_t t = first + threadIdx.x, all, at;
        bool leads = false;

        if (t < rows) {
            int64_t s = start[t];

            leads = t == 0 || s < 0 || s > (int64_t)t || s != start[t - 1] || ((int64_t)t - s) % tile == 0;
        }
        at = found + sd_block_before(leads ? 1u : 0u, &all);
        if (leads)
            tiles.first[at] = t;
        found += all;
    }
    if (threadIdx.x == 0) {
        tiles.first[found] = rows;
        *tiles.count = found;
    }
}

sd_status sd_cuda_cut(sd_dev *dev, sd_mat start, uint32_t tile, sd_tiles *tiles)
{
    void *workspace;

    SD_PASS(sd_cuda_scratch(dev, "attention", (start.cols + 2) * sizeof(uint32_t), &workspace));
    tiles->count = (uint32_t *)workspace;
    tiles->first = tiles->count + 1;
    return sd_launch(dev, "attention: tiles", cut_kernel, 1, SD_BLOCK, 0, sd_view_of<int32_t>(start).at, (uint32_t)start.cols, tile, *tiles);
}

/* One warp's rows against the keys at … at+KEYS−1, whose last one that exists is `end`−1. */
template <typename T>
__device__ static inline void attend_row(const sd_attend<T> &a, const sd_work &w, uint64_t row, uint64_t at, const sd_real *query,
                                         const sd_real *keys, sd_real *most, sd_real *sum, sd_real acc[DIMENSIONS])
{
    uint64_t t = w.first + row, lane = threadIdx.x % SD_WARP, key = at + lane, low = sd_first_seen(w.start, t, a.window);
    bool sees = key >= low && key <= t;
    sd_real score = 0, higher, fade, p;

    for (uint64_t i = 0; i < a.head; i++)
        score += query[i] * keys[lane * (a.head + 1) + i];
    score = sees ? score * a.scale : -(sd_real)INFINITY;
    higher = sd_warp_most(score);
    higher = higher > *most ? higher : *most;
    fade = *most > -(sd_real)INFINITY ? sd_exp(*most - higher) : (sd_real)0;
    p = sees ? sd_exp(score - higher) : (sd_real)0;
    *most = higher;
    *sum = *sum * fade + sd_warp_sum(p);
    for (int i = 0; i < DIMENSIONS; i++)
        acc[i] *= fade;
    for (int s = 0; s < KEYS; s++) {
        sd_real share = __shfl_sync(0xffffffffu, p, s);

        if (at + (uint64_t)s < low || at + (uint64_t)s > t)
            continue;
        for (int i = 0; i < DIMENSIONS; i++)
            if ((uint64_t)i * SD_WARP + lane < a.head)
                acc[i] += share * sd_wide(a.v.row(at + (uint64_t)s)[w.kv_column + (uint64_t)i * SD_WARP + lane]);
    }
}

template <typename T> __global__ static void attention_kernel(sd_attend<T> a)
{
    sd_real *query = sd_shared(), *keys = query + TILE * a.head; /* [TILE, head], [KEYS, head + 1] */
    unsigned lane = threadIdx.x % SD_WARP, warp = threadIdx.x / SD_WARP;
    sd_work w;

    for (uint64_t work = blockIdx.x; sd_find_work(a, work, &w); work += gridDim.x) {
        sd_real most[ROWS], sum[ROWS], acc[ROWS][DIMENSIONS];
        uint64_t end = w.first + w.rows, low = sd_first_seen(w.start, w.first, a.window);

        if (!w.valid) {
            for (uint64_t i = threadIdx.x; i < a.head; i += blockDim.x)
                sd_narrow(sd_nan(), &a.y.row(w.first)[w.column + i]);
            continue;
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            most[r] = -(sd_real)INFINITY;
            sum[r] = 0;
            for (int i = 0; i < DIMENSIONS; i++)
                acc[r][i] = 0;
        }
        __syncthreads();
        for (uint64_t i = threadIdx.x; i < w.rows * a.head; i += blockDim.x)
            query[i] = sd_wide(a.q.row(w.first + i / a.head)[w.column + i % a.head]);
        for (uint64_t at = w.start + (low - w.start) / KEYS * KEYS; at < end; at += KEYS) {
            __syncthreads();
            for (uint64_t i = threadIdx.x; i < KEYS * a.head; i += blockDim.x) {
                uint64_t s = i / a.head, c = i % a.head;

                keys[s * (a.head + 1) + c] = at + s < end ? sd_wide(a.k.row(at + s)[w.kv_column + c]) : (sd_real)0;
            }
            __syncthreads();
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                if (warp * ROWS + (unsigned)r < w.rows)
                    attend_row(a, w, warp * ROWS + (uint64_t)r, at, query + (warp * ROWS + (uint64_t)r) * a.head, keys, &most[r], &sum[r], acc[r]);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < DIMENSIONS; i++) {
                uint64_t row = warp * ROWS + (uint64_t)r, c = (uint64_t)i * SD_WARP + lane;

                if (row < w.rows && c < a.head)
                    sd_narrow(acc[r][i] * (1 / sum[r]), &a.y.row(w.first + row)[w.column + c]);
            }
    }
}

sd_status sd_cuda_attention(sd_dev *dev, const sd_attention *a)
{
    uint64_t most = a->q.rows * (a->q.cols / a->head), blocks = (uint64_t)sd_cuda(dev)->processors * AT_ONCE;
    size_t shared = (TILE * a->head + KEYS * (a->head + 1)) * sizeof(sd_real);
    sd_tiles tiles;

    if (a->head > MAX_HEAD)
        return SD_FAIL(SD_E_ENV, "device 'cuda' supports attention heads of at most %d components, not %llu", MAX_HEAD, (unsigned long long)a->head);
    if (a->q.rows == 0)
        return SD_OK;
    if (sd_cuda_has_mma(a))
        return sd_cuda_attention_mma(dev, a);
    SD_PASS(sd_cuda_cut(dev, a->start, TILE, &tiles));
    return sd_by_type(a->q.buf->type, [&](auto t) {
        return sd_launch(dev, "attention", attention_kernel<decltype(t)>, sd_least(most, blocks), WARPS * SD_WARP, shared,
                         sd_attend_of<decltype(t)>(a, tiles));
    });
}

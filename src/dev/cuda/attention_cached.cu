/* Operations of generation: single rows times weights, and attention over a KV cache. */
#include "cuda.h"

/* ---- rowwise ---- */

enum { ROWS_AT_ONCE = 8 };

/* A warp for each row of w: its lanes take SD_WIDTH components each in turn, for ROWS_AT_ONCE rows of x at a time. */
template <typename T> __global__ static void rowwise_kernel(sd_view<T> x, sd_view<T> w, sd_any y)
{
    uint64_t c = sd_thread() / SD_WARP, lane = threadIdx.x % SD_WARP;
    sd_real weight[SD_WIDTH], v[SD_WIDTH], sum[ROWS_AT_ONCE];

    if (c >= w.rows)
        return;
    for (uint64_t first = 0; first < x.rows; first += ROWS_AT_ONCE) {
        for (int r = 0; r < ROWS_AT_ONCE; r++)
            sum[r] = 0;
        for (uint64_t i = lane * SD_WIDTH; i < x.cols; i += SD_WARP * SD_WIDTH) {
            sd_load(weight, w.row(c) + i, x.cols - i, w.whole);
            for (int r = 0; r < ROWS_AT_ONCE; r++) {
                if (first + (uint64_t)r >= x.rows)
                    continue;
                sd_load(v, x.row(first + (uint64_t)r) + i, x.cols - i, x.whole);
                for (int j = 0; j < SD_WIDTH; j++)
                    sum[r] += v[j] * weight[j];
            }
        }
        for (int r = 0; r < ROWS_AT_ONCE; r++) {
            sd_real all = sd_warp_sum(sum[r]);

            if (lane == 0 && first + (uint64_t)r < x.rows)
                sd_store_one(all, y, first + (uint64_t)r, c);
        }
    }
}

/* x in the type of the weights: as it is, or rounded into scratch memory. */
template <typename T> static sd_status rowwise(sd_dev *dev, const sd_rowwise *a)
{
    sd_view<T> x = sd_view_of<T>(a->x);
    void *workspace;

    if (a->x.buf->type != a->w.buf->type) {
        x.stride = sd_written_spans(x.cols, SD_WIDTH) * SD_WIDTH;
        x.whole = true;
        SD_PASS(sd_cuda_scratch(dev, "rowwise", x.rows * x.stride * sizeof(T), &workspace));
        SD_PASS(sd_cuda_round(dev, "rowwise: rounding", a->x, a->w.buf->type, workspace, x.stride));
        x.at = (T *)workspace;
    }
    return sd_launch(dev, "rowwise", rowwise_kernel<T>, sd_written_spans(a->w.rows, SD_WARPS), SD_BLOCK, 0, x, sd_view_of<T>(a->w), sd_any_of(a->y));
}

sd_status sd_cuda_rowwise(sd_dev *dev, const sd_rowwise *a)
{
    return sd_by_type(a->w.buf->type, [&](auto t) { return rowwise<decltype(t)>(dev, a); });
}

/* ---- attention_cached ---- */

enum { TEAMS = 4, MAX_HEAD = 256, DIMENSIONS = MAX_HEAD / SD_WARP };

/* A block of TEAMS warps for each row and head. Each warp processes every TEAMS-th group of 32 keys, counted from the first one: a lane
 * scores a key, then takes its share of the head's components of all 32 values; maxima and sums are updated as in online softmax. At the end the warps'
 * results are added in their order. */
template <typename T>
__global__ static void attention_cached_kernel(sd_view<T> q, sd_view<T> k, sd_view<T> v, sd_view<int32_t> first, sd_view<int32_t> last, sd_view<T> y,
                                     uint64_t head, sd_real scale)
{
    __shared__ sd_real query[MAX_HEAD], mosts[TEAMS], sums[TEAMS], parts[TEAMS][MAX_HEAD];
    uint64_t heads = q.cols / head, r = blockIdx.x / heads, h = blockIdx.x % heads, column = h / (q.cols / k.cols) * head;
    unsigned lane = threadIdx.x % SD_WARP, team = threadIdx.x / SD_WARP;
    int64_t low = first.at[r], high = last.at[r];
    bool valid = low >= 0 && low <= high && (uint64_t)high < k.rows;
    sd_real most = -(sd_real)INFINITY, sum = 0, acc[DIMENSIONS];

    for (int i = 0; i < DIMENSIONS; i++)
        acc[i] = 0;
    for (uint64_t i = threadIdx.x; i < head; i += TEAMS * SD_WARP)
        query[i] = sd_wide(q.row(r)[h * head + i]);
    __syncthreads();
    for (int64_t at = low + team * SD_WARP; valid && at <= high; at += TEAMS * SD_WARP) {
        bool sees = at + lane <= high;
        sd_real score = 0, higher, fade, p;

        for (uint64_t i = 0; i < head && sees; i++)
            score += query[i] * sd_wide(k.row((uint64_t)(at + lane))[column + i]);
        score = sees ? score * scale : -(sd_real)INFINITY;
        higher = sd_warp_most(score);
        higher = higher > most ? higher : most;
        fade = most > -(sd_real)INFINITY ? sd_exp(most - higher) : (sd_real)0;
        p = sees ? sd_exp(score - higher) : (sd_real)0;
        most = higher;
        sum = sum * fade + sd_warp_sum(p);
        for (int i = 0; i < DIMENSIONS; i++)
            acc[i] *= fade;
        for (int s = 0; s < SD_WARP && at + s <= high; s++) {
            sd_real share = __shfl_sync(0xffffffffu, p, s);

            for (int i = 0; i < DIMENSIONS; i++)
                if ((uint64_t)i * SD_WARP + lane < head)
                    acc[i] += share * sd_wide(v.row((uint64_t)(at + s))[column + (uint64_t)i * SD_WARP + lane]);
        }
    }
    for (int i = 0; i < DIMENSIONS; i++)
        parts[team][i * SD_WARP + (int)lane] = acc[i];
    if (lane == 0) {
        mosts[team] = most;
        sums[team] = sum;
    }
    __syncthreads();
    most = mosts[0];
    for (int t = 1; t < TEAMS; t++)
        most = mosts[t] > most ? mosts[t] : most;
    for (uint64_t i = threadIdx.x; i < head; i += TEAMS * SD_WARP) {
        sd_real all = 0, total = 0;

        for (int t = 0; t < TEAMS; t++) {
            sd_real fade = mosts[t] > -(sd_real)INFINITY ? sd_exp(mosts[t] - most) : (sd_real)0;

            all += fade * parts[t][i];
            total += fade * sums[t];
        }
        sd_narrow(valid ? all / total : sd_nan(), &y.row(r)[h * head + i]);
    }
}

sd_status sd_cuda_attention_cached(sd_dev *dev, const sd_attention_cached *a)
{
    if (a->head > MAX_HEAD)
        return SD_FAIL(SD_E_ENV, "device 'cuda' supports attention heads of at most %d components, not %llu", MAX_HEAD, (unsigned long long)a->head);
    return sd_by_type(a->q.buf->type, [&](auto t) {
        typedef decltype(t) T;

        return sd_launch(dev, "attention_cached", attention_cached_kernel<T>, a->q.rows * (a->q.cols / a->head), TEAMS * SD_WARP, 0, sd_view_of<T>(a->q),
                         sd_view_of<T>(a->k), sd_view_of<T>(a->v), sd_view_of<int32_t>(a->first), sd_view_of<int32_t>(a->last),
                         sd_view_of<T>(a->y), a->head, (sd_real)(1 / sqrt((double)a->head)));
    });
}

/* Causal attention within documents on tensor cores. A block of four warps takes 64 rows of one head, 16 to a warp, over 64 keys at a time,
 * counted from the document's first row. Scores, maxima, sums and results are fp32 in registers; probabilities are rounded to the type of the
 * values for their product. The algorithm is that of Dao, "FlashAttention-2", 2023.
 *
 * A probability of 0 times a value of NaN would be NaN. If some row does not attend to some key of the tile, values that are not finite are
 * therefore excluded from the product, and the rows that attend to them become NaN. */
#include "attention.h"
#include "mma.h"

enum { TILE = 64, KEYS = 64, WARPS = 4, THREADS = WARPS * SD_WARP, ROWS = TILE / WARPS, AT_ONCE = 4 };

__device__ static inline bool finite_bits(sd_bf16 x)
{
    return (x.bits & 0x7f80u) != 0x7f80u;
}

__device__ static inline bool finite_bits(sd_f16 x)
{
    return (x.bits & 0x7c00u) != 0x7c00u;
}

/* KEYS rows in shared memory, in packs of SD_WIDTH components; one pack more than there are keeps the lanes of a warp on different banks. */
template <int HEAD, typename T> struct staged {
    sd_pack<T> row[KEYS][HEAD / SD_WIDTH + 1];
};

/* Rows at … at+KEYS−1 of m from column `column` on, those from `end` on zero; whether all are finite. */
template <int HEAD, typename T>
__device__ static inline bool stage(const sd_view<T> &m, uint64_t column, uint64_t at, uint64_t end, staged<HEAD, T> *to)
{
    bool finite = true;

    for (int i = (int)threadIdx.x; i < KEYS * HEAD / SD_WIDTH; i += THREADS) {
        int row = i / (HEAD / SD_WIDTH), c = i % (HEAD / SD_WIDTH);
        sd_pack<T> pack = {};

        if (at + (uint64_t)row < end)
            pack.blocks[0] = *(const typename sd_pack<T>::block *)(m.row(at + (uint64_t)row) + column + c * SD_WIDTH);
        for (int j = 0; j < SD_WIDTH; j++)
            finite = finite && finite_bits(pack.element[j]);
        to->row[row][c] = pack;
    }
    return finite;
}

/* Elements c and c + 1 of row `row` of the tile's queries; zeros after the tile. */
template <typename T> __device__ static inline uint32_t query_pair(const sd_attend<T> &a, const sd_work &w, uint64_t row, uint64_t c)
{
    const T *q;

    if (row >= w.rows)
        return 0;
    q = a.q.row(w.first + row) + w.column + c;
    return sd_pair(q[0], q[1]);
}

/* State of a lane's two rows, g and g + 8 of its warp's. */
template <int HEAD> struct rows {
    float most[2], sum[2];
    float out[HEAD / 8][4];
};

/* Bit s: row t attends to key at + s. */
__device__ static inline uint64_t seen_bits(uint64_t start, uint64_t t, uint64_t window, uint64_t at)
{
    uint64_t low = sd_first_seen(start, t, window), bits;

    if (t < at || low >= at + KEYS)
        return 0;
    bits = t - at >= KEYS - 1 ? ~(uint64_t)0 : ((uint64_t)2 << (t - at)) - 1;
    return low > at ? bits >> (low - at) << (low - at) : bits;
}

/* Online softmax: scores become unnormalised probabilities, and earlier sums are rescaled. */
template <int HEAD> __device__ static inline void soften(float score[KEYS / 8][4], const uint64_t seen[2], float scale, rows<HEAD> *r)
{
    unsigned t = threadIdx.x % 4;

    for (int half = 0; half < 2; half++) {
        float most = r->most[half], base, fade, sum = 0;

#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; i++) {
                bool sees = seen[half] >> (8 * j + 2 * (int)t + i % 2) & 1;

                score[j][i] = sees ? score[j][i] * scale : -INFINITY;
                most = score[j][i] > most ? score[j][i] : most;
            }
        for (int apart = 1; apart < 4; apart *= 2) {
            float other = __shfl_xor_sync(0xffffffffu, most, apart);

            most = other > most ? other : most;
        }
        base = most > -INFINITY ? most : 0;
        fade = exp2f(r->most[half] - base);
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; i++) {
                score[j][i] = exp2f(score[j][i] - base);
                sum += score[j][i];
            }
        r->most[half] = most;
        r->sum[half] = r->sum[half] * fade + sum;
#pragma unroll
        for (int d = 0; d < HEAD / 8; d++) {
            r->out[d][2 * half] *= fade;
            r->out[d][2 * half + 1] *= fade;
        }
    }
}

template <int HEAD, typename T> __global__ static void __launch_bounds__(THREADS) attention_mma_kernel(sd_attend<T> a)
{
    __shared__ staged<HEAD, T> keys, values;
    __shared__ uint64_t poison[HEAD]; /* bit s: value s of the tile is not finite in this component */
    unsigned lane = threadIdx.x % SD_WARP, g = lane / 4, t = lane % 4;
    uint64_t mine = threadIdx.x / SD_WARP * ROWS + g; /* the lane's first row of the tile */
    float scale = (float)a.scale * 1.44269504f;       /* exponentials are of base 2 */
    sd_work w;

    for (uint64_t work = blockIdx.x; sd_find_work(a, work, &w); work += gridDim.x) {
        uint64_t end = w.first + w.rows, low = sd_first_seen(w.start, w.first, a.window);
        uint32_t query[HEAD / 16][4];
        rows<HEAD> r;

        if (!w.valid) {
            for (uint64_t i = threadIdx.x; i < HEAD; i += THREADS)
                sd_narrow(sd_nan(), &a.y.row(w.first)[w.column + i]);
            continue;
        }
#pragma unroll
        for (int k = 0; k < HEAD / 16; k++) {
            query[k][0] = query_pair(a, w, mine, (uint64_t)(16 * k) + 2 * t);
            query[k][1] = query_pair(a, w, mine + 8, (uint64_t)(16 * k) + 2 * t);
            query[k][2] = query_pair(a, w, mine, (uint64_t)(16 * k) + 2 * t + 8);
            query[k][3] = query_pair(a, w, mine + 8, (uint64_t)(16 * k) + 2 * t + 8);
        }
        r.most[0] = r.most[1] = -INFINITY;
        r.sum[0] = r.sum[1] = 0;
#pragma unroll
        for (int d = 0; d < HEAD / 8; d++)
            for (int i = 0; i < 4; i++)
                r.out[d][i] = 0;

        for (uint64_t at = w.start + (low - w.start) / KEYS * KEYS; at < end; at += KEYS) {
            /* Every row of the tile attends to every key of the tile. */
            bool open = at + KEYS - 1 <= w.first && sd_first_seen(w.start, end - 1, a.window) <= at, finite;
            uint64_t seen[2] = {seen_bits(w.start, w.first + mine, a.window, at), seen_bits(w.start, w.first + mine + 8, a.window, at)};
            float score[KEYS / 8][4];
            int poisoned;

            __syncthreads();
            stage<HEAD>(a.k, w.kv_column, at, end, &keys);
            finite = stage<HEAD>(a.v, w.kv_column, at, end, &values);
            poisoned = __syncthreads_or(!open && !finite);
            if (poisoned) {
                for (int d = (int)threadIdx.x; d < HEAD; d += THREADS) {
                    poison[d] = 0;
                    for (int s = 0; s < KEYS; s++) {
                        T *value = &values.row[s][d / SD_WIDTH].element[d % SD_WIDTH];

                        if (!finite_bits(*value)) {
                            poison[d] |= (uint64_t)1 << s;
                            value->bits = 0;
                        }
                    }
                }
                __syncthreads();
            }

#pragma unroll
            for (int j = 0; j < KEYS / 8; j++) {
                score[j][0] = score[j][1] = score[j][2] = score[j][3] = 0;
#pragma unroll
                for (int k = 0; k < HEAD / 16; k++) {
                    const sd_pack<T> *key = &keys.row[8 * j + (int)g][2 * k];
                    const uint32_t b[2] = {key[0].blocks[0].word[t], key[1].blocks[0].word[t]};

                    sd_mma<T>(score[j], query[k], b);
                }
            }
            soften<HEAD>(score, seen, scale, &r);
#pragma unroll
            for (int k = 0; k < KEYS / 16; k++) {
                const uint32_t p[4] = {sd_pair_of<T>(score[2 * k][0], score[2 * k][1]), sd_pair_of<T>(score[2 * k][2], score[2 * k][3]),
                                       sd_pair_of<T>(score[2 * k + 1][0], score[2 * k + 1][1]),
                                       sd_pair_of<T>(score[2 * k + 1][2], score[2 * k + 1][3])};

#pragma unroll
                for (int d = 0; d < HEAD / 8; d += 2) {
                    uint32_t b[4];

                    sd_load_transposed(b, &values.row[16 * k + (int)(lane / 8 % 2 * 8 + lane % 8)][d + (int)(lane / 16)].element[0].bits);
                    sd_mma<T>(r.out[d], p, b);
                    sd_mma<T>(r.out[d + 1], p, b + 2);
                }
            }
            for (int d = 0; poisoned && d < HEAD / 8; d++)
                for (int i = 0; i < 4; i++)
                    if (poison[8 * d + 2 * (int)t + i % 2] & seen[i / 2])
                        r.out[d][i] = NAN;
        }
        for (int half = 0; half < 2; half++) {
            uint64_t row = mine + 8 * (uint64_t)half;
            float sum = r.sum[half], share;

            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            share = 1 / sum;
            if (row >= w.rows)
                continue;
#pragma unroll
            for (int d = 0; d < HEAD / 8; d++) {
                T *y = a.y.row(w.first + row) + w.column + 8 * d + 2 * t;

                *(uint32_t *)y = sd_pair_of<T>(r.out[d][2 * half] * share, r.out[d][2 * half + 1] * share);
            }
        }
    }
}

template <typename T> static sd_status launch(sd_dev *dev, const sd_attention *a, sd_tiles tiles)
{
    uint64_t most = a->q.rows * (a->q.cols / a->head), blocks = (uint64_t)sd_cuda(dev)->processors * AT_ONCE;
    void (*kernel)(sd_attend<T>) = attention_mma_kernel<32, T>;

    switch (a->head) {
    case 64:
        kernel = attention_mma_kernel<64, T>;
        break;
    case 96:
        kernel = attention_mma_kernel<96, T>;
        break;
    case 128:
        kernel = attention_mma_kernel<128, T>;
        break;
    default:
        break;
    }
    return sd_launch(dev, "attention", kernel, sd_least(most, blocks), THREADS, 0, sd_attend_of<T>(a, tiles));
}

static bool even(sd_mat m)
{
    return m.buf->type == SD_BF16 ? sd_view_of<sd_bf16>(m).whole : sd_view_of<sd_f16>(m).whole;
}

bool sd_cuda_has_mma(const sd_attention *a)
{
    bool narrow = a->q.buf->type == SD_BF16 || a->q.buf->type == SD_F16;

    return narrow && (a->head == 32 || a->head == 64 || a->head == 96 || a->head == 128) && even(a->q) && even(a->k) && even(a->v) && even(a->y);
}

sd_status sd_cuda_attention_mma(sd_dev *dev, const sd_attention *a)
{
    sd_tiles tiles;

    SD_PASS(sd_cuda_cut(dev, a->start, TILE, &tiles));
    return a->q.buf->type == SD_BF16 ? launch<sd_bf16>(dev, a, tiles) : launch<sd_f16>(dev, a, tiles);
}

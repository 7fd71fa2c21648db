/* The encoder with the k largest latents of each row. Pre-activations are computed for ROWS rows and PANEL latents at a time. Each row keeps a bag of
 * the best so far, in rising order of latents; a block of threads merges a panel into it: the k-th best of both is found digit by digit of the
 * numbers' ranks (radix select with counts in shared memory); better candidates are kept, and of those equal to it the first ones that fit. At
 * the end each bag is sorted. */
#include "cuda.h"

enum { ROWS = 8192, EACH = 8, PANEL = SD_BLOCK * EACH, DIGITS = 256 };

/* A number's rank: rising with the value, equal for both zeros, lowest for NaN. */
#ifdef SD_REAL_IS_DOUBLE
typedef uint64_t rank_t;
#else
typedef uint32_t rank_t;
#endif

struct candidate {
    rank_t rank;
    uint32_t latent;
};

__device__ static inline rank_t rank_of(sd_real value)
{
    const rank_t top = (rank_t)1 << (8 * sizeof(rank_t) - 1);
    rank_t bits;

    if (value != value)
        return 0;
    value += 0; /* −0 becomes 0 */
    memcpy(&bits, &value, sizeof bits);
    return bits & top ? ~bits : bits | top;
}

__device__ static inline sd_real value_of(rank_t rank)
{
    const rank_t top = (rank_t)1 << (8 * sizeof(rank_t) - 1);
    sd_real value;

    if (rank == 0)
        return sd_nan();
    rank = rank & top ? rank & ~top : ~rank;
    memcpy(&value, &rank, sizeof value);
    return value;
}

__global__ static void centre_kernel(sd_view<sd_real> x, const sd_real *shift, sd_real *to)
{
    uint64_t i = sd_thread();

    if (i < x.rows * x.cols)
        to[i] = x.row(i / x.cols)[i % x.cols] - shift[i % x.cols];
}

struct merge {
    const sd_real *h; /* [rows, PANEL] */
    const sd_real *bias; /* of the panel's latents */
    candidate *bags;  /* [rows, k] */
    rank_t *worst;    /* [rows] of a full bag */
    uint32_t k, held; /* in each bag so far */
    uint32_t first, width; /* latents of the panel */
};

/* Shared by the threads of a block. */
struct agreed {
    uint32_t count[DIGITS];
    rank_t prefix;
    uint32_t wanted;
};

/* The m.k-th best rank of bag and panel, and how many candidates of that rank are among the k best. Each thread has EACH of the panel's
 * ranks in `rank`, of which `own` are valid. */
__device__ static inline void find_pivot(const merge &m, const candidate *bag, const rank_t rank[EACH], uint32_t own, agreed *s, rank_t *pivot,
                                         uint32_t *equals)
{
    if (threadIdx.x == 0) {
        s->prefix = 0;
        s->wanted = m.k;
    }
    for (int shift = 8 * (int)sizeof(rank_t) - 8; shift >= 0; shift -= 8) {
        /* The common prefix of the digits so far, empty at first. */
        rank_t above = shift + 8 < 8 * (int)sizeof(rank_t) ? ~(rank_t)0 << (shift + 8) % (8 * (int)sizeof(rank_t)) : 0, prefix;
        uint32_t digit = DIGITS - 1 - threadIdx.x, before, all, wanted;

        s->count[threadIdx.x] = 0;
        __syncthreads();
        prefix = s->prefix;
        wanted = s->wanted;
        for (uint32_t i = threadIdx.x; i < m.held; i += SD_BLOCK)
            if ((bag[i].rank & above) == prefix)
                atomicAdd(&s->count[bag[i].rank >> shift & 0xff], 1u);
#pragma unroll
        for (uint32_t i = 0; i < EACH; i++)
            if (i < own && (rank[i] & above) == prefix)
                atomicAdd(&s->count[rank[i] >> shift & 0xff], 1u);
        __syncthreads();
        before = sd_block_before(s->count[digit], &all); /* those with a higher digit */
        if (before < wanted && wanted <= before + s->count[digit]) {
            s->prefix = prefix | (rank_t)digit << shift;
            s->wanted = wanted - before;
        }
        __syncthreads();
    }
    *pivot = s->prefix;
    *equals = s->wanted;
}

/* Whether a candidate of this thread is kept, and its position: called by all threads, in the order of latents. */
__device__ static inline bool stays(bool there, rank_t rank, rank_t pivot, uint32_t equals, uint32_t *kept, uint32_t *met, uint32_t *place)
{
    bool equal = there && rank == pivot, stay;
    uint32_t all, before = *met + sd_block_before(equal ? 1u : 0u, &all);

    *met += all;
    stay = there && (rank > pivot || (equal && before < equals));
    *place = *kept + sd_block_before(stay ? 1u : 0u, &all);
    *kept += all;
    return stay;
}

/* A block for each row. */
__global__ static void merge_kernel(merge m)
{
    __shared__ agreed s;
    uint64_t r = blockIdx.x;
    const sd_real *h = m.h + r * PANEL;
    candidate *bag = m.bags + r * m.k;
    uint32_t from = threadIdx.x * EACH, own = from < m.width ? m.width - from : 0, kept = 0, met = 0, equals, place;
    rank_t rank[EACH], pivot;
    bool better = false;

    own = (uint32_t)sd_least(own, EACH);
#pragma unroll
    for (uint32_t i = 0; i < EACH; i++) {
        rank[i] = i < own ? rank_of(h[from + i] + m.bias[from + i]) : 0;
        better = better || (i < own && (m.held < m.k || rank[i] > m.worst[r]));
    }
    /* A later candidate equal to the worst is not kept. */
    if (!__syncthreads_or(better))
        return;
    if (m.held + m.width <= m.k) {
        for (uint32_t i = 0; i < own; i++)
            bag[m.held + from + i] = candidate{rank[i], m.first + from + i};
        if (m.held + m.width < m.k)
            return;
        pivot = ~(rank_t)0; /* the bag has just become full: only its worst is unknown */
        for (uint32_t i = 0; i < own; i++)
            pivot = rank[i] < pivot ? rank[i] : pivot;
        for (uint32_t i = threadIdx.x; i < m.held; i += SD_BLOCK)
            pivot = bag[i].rank < pivot ? bag[i].rank : pivot;
        pivot = (rank_t)~sd_block_most((rank_t)~pivot);
    } else {
        find_pivot(m, bag, rank, own, &s, &pivot, &equals);
        for (uint32_t base = 0; base < m.held; base += SD_BLOCK) {
            uint32_t i = base + threadIdx.x;
            candidate c = i < m.held ? bag[i] : candidate{0, 0};

            /* All threads read before any writes, and no candidate moves backwards. */
            if (stays(i < m.held, c.rank, pivot, equals, &kept, &met, &place))
                bag[place] = c;
        }
        /* The panel, in the order of its latents: SD_BLOCK neighbours at a time. */
        for (uint32_t base = 0; base < m.width; base += SD_BLOCK) {
            uint32_t i = base + threadIdx.x;
            rank_t one = i < m.width ? rank_of(h[i] + m.bias[i]) : 0;

            if (stays(i < m.width, one, pivot, equals, &kept, &met, &place))
                bag[place] = candidate{one, m.first + i};
        }
    }
    if (threadIdx.x == 0)
        m.worst[r] = pivot;
}

__device__ static inline void order(candidate *bag, uint32_t low, uint32_t high, uint32_t k)
{
    candidate a, b;

    if (high >= k)
        return;
    a = bag[low];
    b = bag[high];
    if (b.rank > a.rank || (b.rank == a.rank && b.latent < a.latent)) {
        bag[low] = b;
        bag[high] = a;
    }
}

/* A block for each row: its bag sorted, best first (the network of transpose_index.cu), and written out. */
__global__ static void finish_kernel(candidate *bags, uint32_t k, sd_view<int32_t> index, sd_view<sd_real> value, uint64_t first)
{
    candidate *bag = bags + (uint64_t)blockIdx.x * k;
    uint64_t r = first + blockIdx.x;

    for (uint32_t size = 2; size < 2 * k; size *= 2) {
        for (uint32_t i = threadIdx.x; i < (k + size - 1) / size * (size / 2); i += SD_BLOCK) {
            uint32_t base = i / (size / 2) * size, j = i % (size / 2);

            order(bag, base + j, base + size - 1 - j, k);
        }
        __syncthreads();
        for (uint32_t gap = size / 4; gap > 0; gap /= 2) {
            for (uint32_t i = threadIdx.x; i < (k + 2 * gap - 1) / (2 * gap) * gap; i += SD_BLOCK)
                order(bag, i / gap * 2 * gap + i % gap, i / gap * 2 * gap + i % gap + gap, k);
            __syncthreads();
        }
    }
    for (uint32_t j = threadIdx.x; j < k; j += SD_BLOCK) {
        index.row(r)[j] = (int32_t)bag[j].latent;
        value.row(r)[j] = value_of(bag[j].rank);
    }
}

/* The workspace of ROWS rows, in this order. */
struct workspace {
    sd_real *x;      /* [rows, d] x − b_dec */
    sd_real *h;      /* [rows, PANEL] */
    candidate *bags; /* [rows, k] */
    rank_t *worst;   /* [rows] */
};

static sd_status create_workspace(sd_dev *dev, uint64_t rows, uint64_t d, uint64_t k, workspace *to)
{
    uint64_t x = (rows * d * sizeof(sd_real) + 255) / 256 * 256, h = rows * PANEL * sizeof(sd_real), bags = rows * k * sizeof(candidate);
    void *start;

    SD_PASS(sd_cuda_scratch(dev, "encode_topk", x + h + bags + rows * sizeof(rank_t), &start));
    to->x = (sd_real *)start;
    to->h = (sd_real *)((char *)start + x);
    to->bags = (candidate *)((char *)to->h + h);
    to->worst = (rank_t *)((char *)to->bags + bags);
    return SD_OK;
}

/* Some rows against all latents. */
static sd_status encode(sd_dev *dev, const sd_encode_topk *a, const workspace *m, uint64_t first, uint64_t rows)
{
    uint64_t d = a->x.cols, latents = a->w_enc.rows, k = a->index.cols;
    sd_view<sd_real> x = sd_view_of<sd_real>(a->x);

    x.at += first * x.stride;
    x.rows = rows;
    SD_PASS(sd_launch(dev, "encode_topk: centre", centre_kernel, sd_written_spans(rows * d, SD_BLOCK), SD_BLOCK, 0, x,
                      (const sd_real *)sd_view_of<sd_real>(a->b_dec).at, m->x));
    for (uint64_t from = 0; from < latents; from += PANEL) {
        uint64_t width = sd_least(latents - from, PANEL), stride = a->w_enc.stride > d ? a->w_enc.stride : d;
        sd_product p = {m->x, sd_view_of<sd_real>(a->w_enc).at + from * stride, m->h, rows, width, d, d, stride, PANEL, false, true, SD_REAL,
                        SD_REAL, 1, 0};
        merge job = {m->h, sd_view_of<sd_real>(a->b_enc).at + from, m->bags, m->worst, (uint32_t)k, (uint32_t)(from < k ? from : k),
                     (uint32_t)from, (uint32_t)width};

        if (d > 0)
            SD_PASS(sd_cuda_product(dev, "encode_topk: product", &p));
        else
            SD_CUDA(cudaMemsetAsync(m->h, 0, rows * PANEL * sizeof(sd_real), sd_cuda(dev)->stream), "encode_topk");
        SD_PASS(sd_launch(dev, "encode_topk: merge", merge_kernel, rows, SD_BLOCK, 0, job));
    }
    return sd_launch(dev, "encode_topk: sort", finish_kernel, rows, SD_BLOCK, 0, m->bags, (uint32_t)k, sd_view_of<int32_t>(a->index),
                     sd_view_of<sd_real>(a->value), first);
}

sd_status sd_cuda_encode_topk(sd_dev *dev, const sd_encode_topk *a)
{
    uint64_t n = a->x.rows, most = sd_least(n, ROWS);
    workspace m;

    SD_PASS(create_workspace(dev, most, a->x.cols, a->index.cols, &m));
    for (uint64_t first = 0; first < n; first += ROWS)
        SD_PASS(encode(dev, a, &m, first, sd_least(n - first, ROWS)));
    return SD_OK;
}

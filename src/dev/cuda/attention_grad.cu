/* The backward pass of attention. A warp for each row and head recomputes the row's maximum, sum and Σ p·dp and then computes its dq; after that a warp
 * for each key and its head sums dk and dv over the query heads and over the rows that attend to the key, in order. Lanes take a
 * key (or a row) each for the scores, and a share of the head's components for the sums. */
#include "cuda.h"

enum { MAX_HEAD = 256, DIMENSIONS = MAX_HEAD / SD_WARP };

/* Runs of rows of one start: run i has rows first[i] … first[i + 1] − 1, and of[t] is the run of row t. A run is a document if its start is
 * its first row; other rows are not valid. */
struct runs {
    uint32_t *first; /* [rows + 1] */
    uint32_t *of;    /* [rows] */
};

/* Of a row and a query head, in scratch memory. */
struct row_sums {
    double along; /* Σ p·dp */
    sd_real most, share; /* maximum of the scores, 1 / Σ exp(score − most) */
};

struct grad_job {
    sd_view<sd_real> q, k, v, dy, dq, dk, dv;
    const int32_t *start;
    runs documents;
    row_sums *sums; /* [rows, heads] */
    uint64_t head, heads, group, window;
    sd_real scale;
};

__global__ static void find_runs(const int32_t *start, uint32_t rows, runs to)
{
    uint32_t found = 0;

    for (uint32_t first = 0; first < rows; first += SD_BLOCK) {
        uint32_t t = first + threadIdx.x, all, before;
        bool leads = t < rows && (t == 0 || start[t] != start[t - 1] || start[t] == (int32_t)t);

        before = found + sd_block_before(leads ? 1u : 0u, &all);
        if (leads)
            to.first[before] = t;
        if (t < rows)
            to.of[t] = before + (leads ? 1u : 0u) - 1;
        found += all;
    }
    if (threadIdx.x == 0)
        to.first[found] = rows;
}

/* Whether row t belongs to a document, whose rows then are *first … *end−1. */
__device__ static inline bool document_of(const grad_job &a, uint64_t t, uint64_t *first, uint64_t *end)
{
    uint32_t run = a.documents.of[t];

    *first = a.documents.first[run];
    *end = a.documents.first[run + 1];
    return a.start[t] == (int32_t)*first;
}

/* x·y of one head each. */
__device__ static inline sd_real dot(const grad_job &a, const sd_real *x, const sd_real *y)
{
    sd_real sum = 0;

    for (uint64_t i = 0; i < a.head; i++)
        sum += x[i] * y[i];
    return sum;
}

/* acc += Σ over the lanes of share times the lane's row of m; `count` of them, from row `at` on. */
__device__ static inline void add_rows(const grad_job &a, sd_real acc[DIMENSIONS], sd_real share, const sd_view<sd_real> &m, uint64_t at,
                                       uint64_t count, uint64_t column)
{
    uint64_t lane = threadIdx.x % SD_WARP;

    for (uint64_t s = 0; s < SD_WARP && s < count; s++) {
        sd_real c = __shfl_sync(0xffffffffu, share, (int)s);

        for (int i = 0; i < DIMENSIONS; i++)
            if ((uint64_t)i * SD_WARP + lane < a.head)
                acc[i] += c * m.row(at + s)[column + (uint64_t)i * SD_WARP + lane];
    }
}

__device__ static inline void store_lanes(const grad_job &a, const sd_real acc[DIMENSIONS], sd_real *to, bool valid)
{
    uint64_t lane = threadIdx.x % SD_WARP;

    for (int i = 0; i < DIMENSIONS; i++)
        if ((uint64_t)i * SD_WARP + lane < a.head)
            to[(uint64_t)i * SD_WARP + lane] = valid ? acc[i] : sd_nan();
}

__global__ static void query_kernel(grad_job a)
{
    uint64_t i = sd_thread() / SD_WARP, lane = threadIdx.x % SD_WARP, t = i / a.heads, h = i % a.heads, first, end, low;
    uint64_t kv = h / a.group * a.head;
    sd_real most = -(sd_real)INFINITY, acc[DIMENSIONS], share;
    double sum = 0, along = 0;
    const sd_real *q, *dy;

    if (t >= a.q.rows)
        return;
    for (int d = 0; d < DIMENSIONS; d++)
        acc[d] = 0;
    if (!document_of(a, t, &first, &end)) {
        store_lanes(a, acc, a.dq.row(t) + h * a.head, false);
        return;
    }
    low = a.window > 0 && t - first >= a.window ? t + 1 - a.window : first;
    q = a.q.row(t) + h * a.head;
    dy = a.dy.row(t) + h * a.head;
    for (uint64_t s = low + lane; s <= t; s += SD_WARP) {
        sd_real score = dot(a, q, a.k.row(s) + kv) * a.scale;

        most = score > most ? score : most;
    }
    most = sd_warp_most(most);
    for (uint64_t s = low + lane; s <= t; s += SD_WARP) {
        double e = (double)sd_exp(dot(a, q, a.k.row(s) + kv) * a.scale - most);

        sum += e;
        along += e * (double)dot(a, dy, a.v.row(s) + kv);
    }
    sum = sd_warp_sum(sum);
    along = sd_warp_sum(along) / sum;
    share = (sd_real)(1 / sum);
    if (lane == 0)
        a.sums[t * a.heads + h] = row_sums{along, most, share};
    for (uint64_t at = low; at <= t; at += SD_WARP) {
        uint64_t s = at + lane;
        sd_real ds = 0;

        if (s <= t) {
            sd_real p = sd_exp(dot(a, q, a.k.row(s) + kv) * a.scale - most) * share;

            ds = (sd_real)((double)p * ((double)dot(a, dy, a.v.row(s) + kv) - along)) * a.scale;
        }
        add_rows(a, acc, ds, a.k, at, t + 1 - at, kv);
    }
    store_lanes(a, acc, a.dq.row(t) + h * a.head, true);
}

__global__ static void key_kernel(grad_job a)
{
    uint64_t heads = a.heads / a.group, i = sd_thread() / SD_WARP, lane = threadIdx.x % SD_WARP, s = i / heads, g = i % heads, first, end;
    sd_real dk[DIMENSIONS], dv[DIMENSIONS];
    const sd_real *k, *v;
    bool valid;

    if (s >= a.k.rows)
        return;
    for (int d = 0; d < DIMENSIONS; d++)
        dk[d] = dv[d] = 0;
    valid = document_of(a, s, &first, &end);
    if (valid && a.window > 0 && end - s > a.window)
        end = s + a.window;
    k = a.k.row(s) + g * a.head;
    v = a.v.row(s) + g * a.head;
    for (uint64_t h = g * a.group; valid && h < (g + 1) * a.group; h++)
        for (uint64_t at = s; at < end; at += SD_WARP) {
            uint64_t t = at + lane;
            sd_real p = 0, ds = 0;

            if (t < end) {
                row_sums sums = a.sums[t * a.heads + h];

                p = sd_exp(dot(a, a.q.row(t) + h * a.head, k) * a.scale - sums.most) * sums.share;
                ds = (sd_real)((double)p * ((double)dot(a, a.dy.row(t) + h * a.head, v) - sums.along)) * a.scale;
            }
            add_rows(a, dk, ds, a.q, at, end - at, h * a.head);
            add_rows(a, dv, p, a.dy, at, end - at, h * a.head);
        }
    store_lanes(a, dk, a.dk.row(s) + g * a.head, valid);
    store_lanes(a, dv, a.dv.row(s) + g * a.head, valid);
}

sd_status sd_cuda_attention_grad(sd_dev *dev, const sd_attention_grad *a)
{
    uint64_t m = a->q.rows, heads = a->q.cols / a->head, kv_heads = a->k.cols / a->head;
    grad_job job = {sd_view_of<sd_real>(a->q), sd_view_of<sd_real>(a->k), sd_view_of<sd_real>(a->v), sd_view_of<sd_real>(a->dy),
                    sd_view_of<sd_real>(a->dq), sd_view_of<sd_real>(a->dk), sd_view_of<sd_real>(a->dv), sd_view_of<int32_t>(a->start).at,
                    {NULL, NULL}, NULL, a->head, heads, heads / kv_heads, a->window, (sd_real)(1 / sqrt((double)a->head))};
    void *workspace;

    if (a->head > MAX_HEAD)
        return SD_FAIL(SD_E_ENV, "device 'cuda' supports attention heads of at most %d components, not %llu", MAX_HEAD, (unsigned long long)a->head);
    if (m == 0)
        return SD_OK;
    SD_PASS(sd_cuda_scratch(dev, "attention_grad", m * heads * sizeof(row_sums) + (2 * m + 1) * sizeof(uint32_t), &workspace));
    job.sums = (row_sums *)workspace;
    job.documents.first = (uint32_t *)(job.sums + m * heads);
    job.documents.of = job.documents.first + m + 1;
    SD_PASS(sd_launch(dev, "attention_grad: documents", find_runs, 1, SD_BLOCK, 0, job.start, (uint32_t)m, job.documents));
    SD_PASS(sd_launch(dev, "attention_grad: queries", query_kernel, sd_written_spans(m * heads, SD_WARPS), SD_BLOCK, 0, job));
    return sd_launch(dev, "attention_grad: keys", key_kernel, sd_written_spans(m * kv_heads, SD_WARPS), SD_BLOCK, 0, job);
}

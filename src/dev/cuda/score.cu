/* Log-probabilities, their gradient, divergences and comparisons of rows: a block for each row, sums in double. */
#include "cuda.h"

/* The largest of a row, ignoring NaN; −∞ if all are NaN. */
__device__ static inline sd_real largest(const sd_real *x, uint64_t n)
{
    sd_real most = -(sd_real)INFINITY;

    for (uint64_t i = threadIdx.x; i < n; i += SD_BLOCK)
        most = most < x[i] ? x[i] : most;
    return sd_block_most(most);
}

/* The first position of `value` in a row, 0 if there is none. */
__device__ static inline uint64_t first_place(const sd_real *x, uint64_t n, sd_real value)
{
    long long behind = -1; /* distance from the end, largest for the first position */

    for (uint64_t i = threadIdx.x; i < n && behind < 0; i += SD_BLOCK)
        behind = x[i] == value ? (long long)(n - 1 - i) : -1;
    behind = sd_block_most(behind);
    return behind < 0 ? 0 : n - 1 - (uint64_t)behind;
}

__global__ static void logprob_kernel(sd_view<sd_real> logits, sd_view<int32_t> target, sd_view<double> logp, sd_view<int32_t> best)
{
    uint64_t r = blockIdx.x, n = logits.cols;
    const sd_real *x = logits.row(r);
    int64_t wanted = target.at[r];
    sd_real most = largest(x, n);
    uint64_t first = first_place(x, n, most);
    double top = (double)x[first], sum = 0;

    for (uint64_t i = threadIdx.x; i < n; i += SD_BLOCK)
        sum += exp((double)x[i] - top);
    sum = sd_team_sum<SD_BLOCK>(sum);
    if (threadIdx.x > 0)
        return;
    best.at[r] = (int32_t)first;
    if (wanted < 0)
        logp.at[r] = 0;
    else
        logp.at[r] = (uint64_t)wanted < n ? (double)x[wanted] - top - log(sum) : (double)NAN;
}

sd_status sd_cuda_logprob(sd_dev *dev, const sd_logprob *a)
{
    return sd_launch(dev, "logprob", logprob_kernel, a->logits.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->logits), sd_view_of<int32_t>(a->target),
                     sd_view_of<double>(a->logp), sd_view_of<int32_t>(a->best));
}

__global__ static void logprob_grad_kernel(sd_view<sd_real> logits, sd_view<int32_t> target, sd_view<double> logp, double scale)
{
    uint64_t r = blockIdx.x, n = logits.cols;
    sd_real *x = logits.row(r);
    int64_t wanted = target.at[r];
    bool valid = wanted >= 0 && (uint64_t)wanted < n;
    double log_sum = valid ? (double)x[wanted] - logp.at[r] : 0;

    __syncthreads(); /* all have read x[wanted] before it is written */
    for (uint64_t i = threadIdx.x; i < n; i += SD_BLOCK) {
        if (!valid)
            x[i] = wanted < 0 ? (sd_real)0 : sd_nan();
        else if (i == (uint64_t)wanted)
            x[i] = (sd_real)(scale * expm1(logp.at[r]));
        else
            x[i] = (sd_real)(scale * exp((double)x[i] - log_sum));
    }
}

sd_status sd_cuda_logprob_grad(sd_dev *dev, const sd_logprob_grad *a)
{
    return sd_launch(dev, "logprob_grad", logprob_grad_kernel, a->logits.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->logits),
                     sd_view_of<int32_t>(a->target), sd_view_of<double>(a->logp), a->scale);
}

/* With a = p − max p, b = q − max q: KL = Σ eᵃ (a − b) / Σ eᵃ − (log Σ eᵃ − log Σ eᵇ). */
__global__ static void kl_kernel(sd_view<sd_real> left, sd_view<sd_real> right, sd_view<double> kl)
{
    uint64_t r = blockIdx.x, n = left.cols;
    const sd_real *p = left.row(r), *q = right.row(r);
    double most_p = (double)largest(p, n), most_q = (double)largest(q, n), sum_p = 0, sum_q = 0, cross = 0;

    for (uint64_t i = threadIdx.x; i < n; i += SD_BLOCK) {
        double a = (double)p[i] - most_p, b = (double)q[i] - most_q, e = exp(a);

        sum_p += e;
        sum_q += exp(b);
        cross += e * (a - b);
    }
    sum_p = sd_team_sum<SD_BLOCK>(sum_p);
    sum_q = sd_team_sum<SD_BLOCK>(sum_q);
    cross = sd_team_sum<SD_BLOCK>(cross);
    if (threadIdx.x == 0)
        kl.at[r] = cross / sum_p - (log(sum_p) - log(sum_q));
}

sd_status sd_cuda_kl(sd_dev *dev, const sd_kl *a)
{
    return sd_launch(dev, "kl", kl_kernel, a->p.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->p), sd_view_of<sd_real>(a->q),
                     sd_view_of<double>(a->kl));
}

__global__ static void row_pair_kernel(sd_view<sd_real> left, sd_view<sd_real> right, double *xx, double *yy, double *xy, double *sse)
{
    uint64_t r = blockIdx.x;
    double sum[4] = {0, 0, 0, 0};

    for (uint64_t i = threadIdx.x; i < left.cols; i += SD_BLOCK) {
        double x = (double)left.row(r)[i], y = (double)right.row(r)[i], e = x - y;

        sum[0] += x * x;
        sum[1] += y * y;
        sum[2] += x * y;
        sum[3] += e * e;
    }
    for (int i = 0; i < 4; i++)
        sum[i] = sd_team_sum<SD_BLOCK>(sum[i]);
    if (threadIdx.x > 0)
        return;
    xx[r] = sum[0];
    yy[r] = sum[1];
    xy[r] = sum[2];
    sse[r] = sum[3];
}

sd_status sd_cuda_row_pair(sd_dev *dev, const sd_row_pair *a)
{
    return sd_launch(dev, "row_pair", row_pair_kernel, a->x.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->x), sd_view_of<sd_real>(a->y),
                     sd_view_of<double>(a->xx).at, sd_view_of<double>(a->yy).at, sd_view_of<double>(a->xy).at, sd_view_of<double>(a->sse).at);
}

__global__ static void count_positive_kernel(sd_view<sd_real> x, sd_view<sd_real> shift, sd_view<uint64_t> count)
{
    uint64_t r = blockIdx.x;
    uint32_t sum = 0;

    for (uint64_t i = threadIdx.x; i < x.cols; i += SD_BLOCK)
        sum += x.row(r)[i] + shift.at[i] > 0 ? 1u : 0u;
    sum = sd_team_sum<SD_BLOCK>(sum);
    if (threadIdx.x == 0)
        count.at[r] += sum;
}

sd_status sd_cuda_count_positive(sd_dev *dev, const sd_count_positive *a)
{
    return sd_launch(dev, "count_positive", count_positive_kernel, a->x.rows, SD_BLOCK, 0, sd_view_of<sd_real>(a->x),
                     sd_view_of<sd_real>(a->shift), sd_view_of<uint64_t>(a->count));
}

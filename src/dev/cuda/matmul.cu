/* Matrix products: by cublasLt (gemm.h), or plain for sizes for which it has no algorithm. Rows of real are first rounded into scratch memory if
 * the weights are bf16 or f16. */
#include "cuda.h"

/* A thread for each element of y, a sum over k in its order. */
template <typename T, typename Y> __global__ static void plain_kernel(sd_product p)
{
    uint64_t i = sd_thread(), r = i / p.n, c = i % p.n;
    const T *a = (const T *)p.a + (p.trans_a ? r : r * p.a_stride), *b = (const T *)p.b + (p.trans_b ? c * p.b_stride : c);
    uint64_t a_step = p.trans_a ? p.a_stride : 1, b_step = p.trans_b ? 1 : p.b_stride;
    sd_real sum = 0;
    Y *y;

    if (r >= p.m)
        return;
    y = (Y *)p.y + r * p.y_stride + c;
    for (uint64_t k = 0; k < p.k; k++)
        sum += sd_wide(a[k * a_step]) * sd_wide(b[k * b_step]);
    sum *= (sd_real)p.alpha;
    if (p.beta != 0)
        sum += (sd_real)p.beta * sd_wide(*y);
    sd_narrow(sum, y);
}

template <typename T> static sd_status plain(sd_dev *dev, const char *what, const sd_product *p)
{
    uint64_t blocks = sd_written_spans(p->m * p->n, SD_BLOCK);

    if (p->y_type == SD_REAL)
        return sd_launch(dev, what, plain_kernel<T, sd_real>, blocks, SD_BLOCK, 0, *p);
    return sd_launch(dev, what, plain_kernel<T, T>, blocks, SD_BLOCK, 0, *p);
}

sd_status sd_cuda_product(sd_dev *dev, const char *what, const sd_product *p)
{
    bool done = false;

    SD_PASS(sd_cuda_queueing(dev, what));
    SD_PASS(sd_gemm_run(sd_cuda(dev)->gemm, p, &done));
    if (done)
        return SD_OK;
    return sd_by_type(p->type, [&](auto t) { return plain<decltype(t)>(dev, what, p); });
}

template <typename T> __global__ static void round_kernel(sd_view<sd_real> x, T *to, uint64_t stride)
{
    uint64_t across = sd_written_spans(x.cols, SD_WIDTH), i = sd_thread(), r, c;
    sd_real v[SD_WIDTH];

    if (i >= x.rows * across)
        return;
    r = i / across;
    c = i % across * SD_WIDTH;
    sd_load(v, x.row(r) + c, x.cols - c, x.whole);
    sd_store(v, to + r * stride + c, x.cols - c, stride % SD_WIDTH == 0);
}

sd_status sd_cuda_round(sd_dev *dev, const char *what, sd_mat x, sd_dtype type, void *to, uint64_t stride)
{
    uint64_t blocks = sd_written_spans(x.rows * sd_written_spans(x.cols, SD_WIDTH), SD_BLOCK);

    if (type == SD_BF16)
        return sd_launch(dev, what, round_kernel<sd_bf16>, blocks, SD_BLOCK, 0, sd_view_of<sd_real>(x), (sd_bf16 *)to, stride);
    return sd_launch(dev, what, round_kernel<sd_f16>, blocks, SD_BLOCK, 0, sd_view_of<sd_real>(x), (sd_f16 *)to, stride);
}

/* p->a becomes x rounded to p->type, in rows that begin at multiples of 16 bytes. */
static sd_status round_rows(sd_dev *dev, sd_mat x, sd_product *p)
{
    void *workspace;

    p->a_stride = sd_written_spans(x.cols, SD_WIDTH) * SD_WIDTH;
    SD_PASS(sd_cuda_scratch(dev, "matmul", x.rows * p->a_stride * 2, &workspace));
    p->a = workspace;
    return sd_cuda_round(dev, "matmul: rounding", x, p->type, workspace, p->a_stride);
}

static void *start_of(sd_mat m)
{
    return (char *)m.buf->data + m.offset * sd_dtype_size(m.buf->type);
}

/* A single row is contiguous, regardless of its stride. */
static uint64_t stride_of(sd_mat m)
{
    return m.stride > m.cols ? m.stride : m.cols;
}

sd_status sd_cuda_matmul(sd_dev *dev, const sd_matmul *a)
{
    sd_product p = {};

    p.m = a->y.rows;
    p.n = a->y.cols;
    p.k = a->trans_a ? a->a.rows : a->a.cols;
    if (p.m == 0 || p.n == 0)
        return SD_OK;
    if (p.k == 0) {
        sd_fill zero = {a->y, 0};
        sd_scale keep = {a->y, a->y, a->beta};

        return a->beta == 0 ? sd_cuda_fill(dev, &zero) : sd_cuda_scale(dev, &keep);
    }
    p.a = start_of(a->a);
    p.b = start_of(a->b);
    p.y = start_of(a->y);
    p.a_stride = stride_of(a->a);
    p.b_stride = stride_of(a->b);
    p.y_stride = stride_of(a->y);
    p.trans_a = a->trans_a;
    p.trans_b = a->trans_b;
    p.type = a->b.buf->type;
    p.y_type = a->y.buf->type;
    p.alpha = a->alpha;
    p.beta = a->beta;
    if (a->a.buf->type != p.type)
        SD_PASS(round_rows(dev, a->a, &p));
    return sd_cuda_product(dev, "matmul", &p);
}

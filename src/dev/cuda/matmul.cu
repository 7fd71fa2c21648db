/* Matrix products: cublasLt's, by gemm.h. Rows of real that meet weights of bf16 or f16 are rounded into scratch memory first. */
#include "cuda.h"

template <typename T> __global__ static void round_kernel(sd_view<sd_real> x, T *to)
{
    uint64_t across = sd_pieces(x.cols, SD_WIDTH), i = sd_thread(), r, c;
    sd_real v[SD_WIDTH];

    if (i >= x.rows * across)
        return;
    r = i / across;
    c = i % across * SD_WIDTH;
    sd_load(v, x.row(r) + c, x.cols - c, x.whole);
    sd_store(v, to + r * across * SD_WIDTH + c, x.cols - c, true);
}

/* p->a becomes x rounded to p->type, in rows that begin at multiples of 16 bytes. */
static sd_status round_rows(sd_dev *dev, sd_mat x, sd_product *p)
{
    uint64_t across = sd_pieces(x.cols, SD_WIDTH);
    void *room;

    SD_PASS(sd_cuda_scratch(dev, "matmul", x.rows * across * SD_WIDTH * 2, &room));
    p->a = room;
    p->a_stride = across * SD_WIDTH;
    if (p->type == SD_BF16)
        return sd_launch(dev, "matmul: rounding", round_kernel<sd_bf16>, sd_pieces(x.rows * across, SD_BLOCK), SD_BLOCK, 0,
                         sd_view_of<sd_real>(x), (sd_bf16 *)room);
    return sd_launch(dev, "matmul: rounding", round_kernel<sd_f16>, sd_pieces(x.rows * across, SD_BLOCK), SD_BLOCK, 0, sd_view_of<sd_real>(x),
                     (sd_f16 *)room);
}

static void *start_of(sd_mat m)
{
    return (char *)m.buf->data + m.offset * sd_dtype_size(m.buf->type);
}

/* Rows next to one another where there is only one. */
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
    sd_cuda(dev)->last = "matmul";
    return sd_gemm_run(sd_cuda(dev)->gemm, &p);
}

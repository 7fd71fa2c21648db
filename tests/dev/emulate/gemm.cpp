/* In the place of cublasLt: every element a sum over k in its order. */
#include "cuda.h"

struct sd_gemm {
    int unused;
};

static struct sd_gemm only;

sd_status sd_gemm_create(sd_gemm **gemm, cudaStream_t)
{
    *gemm = &only;
    return SD_OK;
}

void sd_gemm_destroy(sd_gemm **gemm)
{
    *gemm = nullptr;
}

const char *sd_gemm_describe(const sd_gemm *)
{
    return "plain loops";
}

static sd_real element(const void *m, sd_dtype type, uint64_t i)
{
    switch (type) {
    case SD_BF16:
        return sd_wide(((const sd_bf16 *)m)[i]);
    case SD_F16:
        return sd_wide(((const sd_f16 *)m)[i]);
    default:
        return ((const sd_real *)m)[i];
    }
}

sd_status sd_gemm_run(sd_gemm *, const sd_product *p)
{
    for (uint64_t r = 0; r < p->m; r++)
        for (uint64_t c = 0; c < p->n; c++) {
            uint64_t at = r * p->y_stride + c;
            sd_real sum = 0;

            for (uint64_t i = 0; i < p->k; i++)
                sum += element(p->a, p->type, p->trans_a ? i * p->a_stride + r : r * p->a_stride + i) *
                       element(p->b, p->type, p->trans_b ? c * p->b_stride + i : i * p->b_stride + c);
            sum *= (sd_real)p->alpha;
            if (p->beta != 0)
                sum += (sd_real)p->beta * ((sd_real *)p->y)[at];
            if (p->y_type == SD_BF16)
                sd_narrow(sum, (sd_bf16 *)p->y + at);
            else if (p->y_type == SD_F16)
                sd_narrow(sum, (sd_f16 *)p->y + at);
            else
                ((sd_real *)p->y)[at] = sum;
        }
    return SD_OK;
}

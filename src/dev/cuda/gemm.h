/* Matrix products by cublasLt, behind an interface that hides it: the emulator has no cublasLt and uses the plain product of matmul.cu. */
#ifndef SAEDIFF_DEV_CUDA_GEMM_H
#define SAEDIFF_DEV_CUDA_GEMM_H

struct sd_gemm;
struct sd_cuda_state;

/* y [m, n] = alpha · op(a) · op(b) + beta · y, row-major, rows `*_stride` elements apart; a is [m, k], or [k, m] if trans_a; b is [k, n], or
 * [n, k] if trans_b; m, n, k ≥ 1. Element types: a and b real, y real; or a and b both bf16 or both f16, y that or real. Sums in fp32
 * (double where real is). */
struct sd_product {
    const void *a, *b;
    void *y;
    uint64_t m, n, k, a_stride, b_stride, y_stride;
    bool trans_a, trans_b;
    sd_dtype type, y_type;
    double alpha, beta;
};

/* Uses the stream and memory of `state`, which must outlive it. *gemm is NULL on failure. */
sd_status sd_gemm_create(sd_gemm **gemm, sd_cuda_state *state);
void sd_gemm_destroy(sd_gemm **gemm);
/* Queued; *done false: there is no algorithm for these sizes without split-K. The algorithm depends on sizes and strides, but not on m, so the
 * product is batch-invariant. */
sd_status sd_gemm_run(sd_gemm *gemm, const sd_product *p, bool *done);
/* "cublasLt 13.1.0" */
const char *sd_gemm_describe(const sd_gemm *gemm);

#endif

/* Operations of sparse autoencoders; conventions of types, ownership and errors as in dense.h. All Local.
 *
 * Codes are k (latent, value) pairs per row; nothing of size
 * rows × latents is ever stored. n rows, d = d_model, F latents. Both weight matrices hold one
 * latent per row: w_enc [F, d], w_dec [F, d]. An index outside 0 … F−1 gives NaN in sd_decode and sd_code_grad, is
 * ignored by sd_track_fires, and makes sd_invert fail with SD_E_INTERNAL (on a GPU at the next wait). */
#ifndef SAEDIFF_DEV_DICT_H
#define SAEDIFF_DEV_DICT_H

#include "saediff/dev/dense.h"

/* h = (x − b_dec)·w_encᵀ + b_enc; keeps the k largest h of each row, largest first, among equal values
 * the lowest latent. Values are raw h (no ReLU). NaN counts as smaller than every number. */
typedef struct sd_encode_topk {
    sd_mat x;     /* [n, d] */
    sd_mat w_enc; /* [F, d] */
    sd_mat b_enc; /* [1, F] */
    sd_mat b_dec; /* [1, d] */
    sd_mat index; /* [n, k] i32, 1 ≤ k ≤ F */
    sd_mat value; /* [n, k] */
} sd_encode_topk;

/* y[r] = bias + Σ_j f(value[r, j]) · w_dec[index[r, j]], f = ReLU if relu else the value itself,
 * j = 0 … k−1 in this order. */
typedef struct sd_decode {
    sd_mat index, value; /* [n, k] i32, real */
    sd_mat w_dec;        /* [F, d] */
    sd_mat bias;         /* [1, d]; buf NULL for none */
    sd_mat y;            /* [n, d] */
    bool relu;
} sd_decode;

/* e = x − y; row_sse[r] = Σ_c e², in double. e may be y. */
typedef struct sd_recon_error {
    sd_mat x, y, e; /* [n, d] */
    sd_mat row_sse; /* [1, n] f64 */
} sd_recon_error;

/* grad[r, j] = scale · e[r]·w_dec[index[r, j]]; with relu, 0 where value[r, j] ≤ 0. */
typedef struct sd_code_grad {
    sd_mat e;            /* [n, d] */
    sd_mat w_dec;        /* [F, d] */
    sd_mat index, value; /* [n, k] */
    sd_mat grad;         /* [n, k] */
    double scale;
    bool relu;
} sd_code_grad;

/* Transposes the sparse index (CSR to CSC): the entries of latent i are entry[begin[i]] … entry[begin[i+1]−1], each a flat position r·k + j in
 * index, in rising order. */
typedef struct sd_invert {
    sd_mat index; /* [n, k] i32, values in 0 … F−1 */
    sd_mat begin; /* [1, F+1] u32 */
    sd_mat entry; /* [1, n·k] u32 */
} sd_invert;

/* For every latent i: y[i, :] (+)= scale · Σ_entries c · (x[row] − shift), sum[0, i] (+)= scale · Σ_entries c,
 * where c = coef[entry] (relu: max(c, 0)), row = entry / k, in entry order: deterministic, no atomics.
 * With accumulate the outputs are added to, otherwise overwritten (zero where a latent has no entry). */
typedef struct sd_scatter {
    sd_mat coef;         /* [n, k] */
    sd_mat begin, entry; /* of sd_invert */
    sd_mat x;            /* [n, d] */
    sd_mat shift;        /* [1, d]; buf NULL for none */
    sd_mat y;            /* [F, d] */
    sd_mat sum;          /* [1, F]; buf NULL if not needed */
    double scale;
    bool relu, accumulate;
} sd_scatter;

/* y[map[i], :] += scale · x[i, :] for i = 0 … m−1 in order. Entries of map outside y are skipped. */
typedef struct sd_scatter_rows {
    sd_mat x;   /* [m, d] */
    sd_mat map; /* [1, m] i32 */
    sd_mat y;   /* [r, d] */
    double scale;
} sd_scatter_rows;

/* Dead counters in tokens: since[i] = 0 if latent i has a positive value in the batch, else since[i] + tokens;
 * fires[i] += number of positive values. */
typedef struct sd_track_fires {
    sd_mat index, value; /* [n, k] */
    sd_mat since;        /* [1, F] u64 */
    sd_mat fires;        /* [1, F] u64 */
    uint64_t tokens;
} sd_track_fires;

/* One Weiszfeld step towards the geometric median: y = Σ x_r/ρ_r / Σ 1/ρ_r, ρ_r = max(‖x_r − c‖, eps);
 * moved[0, 0] = ‖y − c‖. Sums in double over row tiles of a fixed size. */
typedef struct sd_median_step {
    sd_mat x;     /* [n, d] */
    sd_mat c;     /* [1, d] */
    sd_mat y;     /* [1, d], may be c */
    sd_mat moved; /* [1, 1] f64 */
    double eps;
} sd_median_step;

#define SD_DICT_OPS(X)                                                                                       \
    X(encode_topk)                                                                                           \
    X(decode)                                                                                                \
    X(recon_error)                                                                                            \
    X(code_grad)                                                                                             \
    X(invert)                                                                                                \
    X(scatter)                                                                                               \
    X(scatter_rows)                                                                                          \
    X(track_fires)                                                                                           \
    X(median_step)

SD_DICT_OPS(SD_DECLARE_OP)

#endif

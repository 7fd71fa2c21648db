/* Operations of the backward pass; conventions of types, ownership and errors as in dense.h. All Local. Each takes the inputs of its forward
 * operation (dense.h) and the gradient of the loss with respect to its output, and computes the gradients with respect to its inputs. Gradients
 * are overwritten, not accumulated. Sums over rows are taken over tiles of a fixed size, in their order. The backward of a matmul is two matmuls,
 * of a bias colsum, of rope the inverse rotation (sd_rope.back), of an embedding scatter_rows. */
#ifndef SAEDIFF_DEV_GRAD_H
#define SAEDIFF_DEV_GRAD_H

#include "saediff/dev/dense.h"

/* With f = 1 / sqrt(mean(x²) + eps), h = x·f and u = gain·dy, of each group:
 *   dx = f · (u − h · mean(u·h)),  dgain = Σ over rows and groups of dy·h. */
typedef struct sd_rmsnorm_grad {
    sd_mat x;     /* [m, groups·n] */
    sd_mat gain;  /* [1, n] */
    sd_mat dy;    /* [m, groups·n] */
    sd_mat dx;    /* [m, groups·n], may be dy */
    sd_mat dgain; /* [1, n] */
    double eps;
} sd_rmsnorm_grad;

/* With s = 1 / (1 + exp(−gate)): dgate = dy · up · s · (1 + gate · (1 − s)), dup = dy · gate · s. */
typedef struct sd_silu_mul_grad {
    sd_mat gate, up, dy; /* [m, n] */
    sd_mat dgate;        /* [m, n], may be gate */
    sd_mat dup;          /* [m, n], may be up */
} sd_silu_mul_grad;

/* Of sd_attention, whose probabilities are recomputed. With p a row's probabilities and dp[s] = dy·v[s]:
 *   dv[s] += p[s] dy,  ds = p · (dp − Σ p·dp) / sqrt(head),  dq = Σ ds[s] k[s],  dk[s] += ds[s] q,
 * summed over the query heads of a key's head and over the rows that attend to it, heads first, in their order. The rows of a document
 * must be contiguous: start[t] is t or start[t − 1]; other rows get gradients of NaN. */
typedef struct sd_attention_grad {
    sd_mat q, dy, dq;    /* [m, heads·head] */
    sd_mat k, v, dk, dv; /* [m, kv_heads·head] */
    sd_mat start;        /* [1, m] i32 */
    uint64_t head;
    uint64_t window;
} sd_attention_grad;

/* Gradient of −scale · Σ log softmax(logits)[target], written over the logits: scale · (softmax − [column is target]); a row whose target is
 * below 0 gives zeros, one whose target is no column NaN. */
typedef struct sd_logprob_grad {
    sd_mat logits; /* [m, v]; becomes the gradient */
    sd_mat target; /* [1, m] i32 */
    sd_mat logp;   /* [1, m] f64, from sd_logprob */
    double scale;
} sd_logprob_grad;

#define SD_GRAD_OPS(X)                                                                                       \
    X(rmsnorm_grad)                                                                                          \
    X(silu_mul_grad)                                                                                         \
    X(attention_grad)                                                                                        \
    X(logprob_grad)

SD_GRAD_OPS(SD_DECLARE_OP)

#endif

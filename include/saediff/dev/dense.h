/* Dense operations. "real" is sd_real; "any" is real, bf16 or f16, and members marked "any T" have one common type. Elements are widened to real
 * when read and rounded to nearest when written; all arithmetic between is real. Members without a type are real. Matrices are sd_mat, borrowed;
 * their shapes are given with each member, and all shapes of one operation must agree. Unless noted otherwise an output must not overlap an
 * input. All calls are Local: each checks its arguments (SD_E_INTERNAL), then queues the operation (dev.h); the argument block is copied. */
#ifndef SAEDIFF_DEV_DENSE_H
#define SAEDIFF_DEV_DENSE_H

#include "saediff/core/random.h"
#include "saediff/dev/dev.h"

/* y[r, c] = value. y of any type, also integer; SD_E_INTERNAL if the type cannot hold `value`. */
typedef struct sd_fill {
    sd_mat y;
    double value;
} sd_fill;

/* y[r, c] = scale · (2·sd_random_uniform(key, r·n + c) − 1), y any; the same numbers on every device. */
typedef struct sd_noise {
    sd_mat y; /* [m, n] */
    sd_key key;
    double scale;
} sd_noise;

/* y = scale·x, y may be x. */
typedef struct sd_scale {
    sd_mat x, y; /* [m, n] real */
    double scale;
} sd_scale;

/* y += scale·x */
typedef struct sd_axpy {
    sd_mat x, y; /* [m, n] any, any; x [1, n] is added to every row */
    double scale;
} sd_axpy;

/* y = alpha·op(a)·op(b) + beta·y. With beta 0, y need not be initialised. With b of bf16 or f16 (only with trans_b, alpha 1, beta 0) a and y are real
 * or of b's type; a is rounded to it, and the products are summed in fp32. Whether the bits of a row of y are independent of the other rows of a
 * (batch invariance) depends on the device; `saediff selftest` reports it. */
typedef struct sd_matmul {
    sd_mat a; /* [m, k], or [k, m] if trans_a */
    sd_mat b; /* [k, n], or [n, k] if trans_b (a linear layer's weight) */
    sd_mat y; /* [m, n] */
    bool trans_a, trans_b;
    double alpha, beta;
} sd_matmul;

/* y[i, :] = x[index[i], :]; an index outside 0 … rows(x)−1 gives a row of NaN. */
typedef struct sd_gather {
    sd_mat x;     /* [r, n] any */
    sd_mat index; /* [1, m] i32 */
    sd_mat y;     /* [m, n] */
} sd_gather;

/* y[i, g] = gain · x[i, g] / sqrt(mean(x[i, g]²) + eps) for each group g of n components of a row, the mean in double. A whole row is
 * one group, or a group is a head. Zhang & Sennrich, "Root mean square layer normalization", 2019. */
typedef struct sd_rmsnorm {
    sd_mat x;    /* [m, groups·n] any */
    sd_mat gain; /* [1, n] */
    sd_mat y;    /* [m, groups·n] any, may be x */
    double eps;
} sd_rmsnorm;

/* Rotary position embedding (Su et al. 2021), in place: rotates component pairs (i, i + head/2) of each head by the angles of the row's position
 * (Hugging Face's half-split layout); `back`: by the negative angles, for gradients. A position outside the tables gives NaN. */
typedef struct sd_rope {
    sd_mat x;        /* [m, heads·head] any */
    sd_mat position; /* [1, m] i32 */
    sd_mat cos, sin; /* [positions, head/2] */
    uint64_t head;   /* even */
    bool back;
} sd_rope;

/* SwiGLU's product: y = silu(gate)·up with silu(g) = g / (1 + exp(−g)); y may be gate or up. */
typedef struct sd_silu_mul {
    sd_mat gate, up, y; /* [m, n] any T */
} sd_silu_mul;

/* For each row: logp = log softmax(logits)[target] in double, best = index of the largest logit
 * (lowest index among equals). A target below 0 gives logp 0. */
typedef struct sd_logprob {
    sd_mat logits; /* [m, v] */
    sd_mat target; /* [1, m] i32 */
    sd_mat logp;   /* [1, m] f64 */
    sd_mat best;   /* [1, m] i32 */
} sd_logprob;

/* Causal attention within the documents of a packed batch: row t attends to rows start[t] … t, with a window to the last `window` of them.
 * out_h[t] = Σ_s softmax_s(q_h[t]·k_g[s] / sqrt(head)) v_g[s], g = h / (heads / kv_heads). */
typedef struct sd_attention {
    sd_mat q;      /* [m, heads·head] any T */
    sd_mat k, v;   /* [m, kv_heads·head] any T */
    sd_mat start;  /* [1, m] i32: first row of this row's document, 0 ≤ start[t] ≤ t */
    sd_mat y;      /* [m, heads·head] any T, may not be q */
    uint64_t head; /* components per head; heads a multiple of kv_heads */
    uint64_t window; /* sliding window: maximum rows that a row attends to, itself included; 0: no window */
} sd_attention;

/* y[index[i], :] = x[i, :]; indices must be distinct, one outside 0 … rows(y)−1 writes nothing. */
typedef struct sd_put_rows {
    sd_mat x;     /* [m, n] any T */
    sd_mat index; /* [1, m] i32 */
    sd_mat y;     /* [r, n] any T */
} sd_put_rows;

/* y = x·wᵀ, batch-invariant: the bits of a row of y depend on its row of x only. For generation, where the sequences of a batch change. For few
 * rows; matmul is faster for many. */
typedef struct sd_rowwise {
    sd_mat x; /* [m, k] real or w's type */
    sd_mat w; /* [n, k] any; x is rounded to its type */
    sd_mat y; /* [m, n] real or w's type */
} sd_rowwise;

/* Attention of single queries over a KV cache: row i attends to rows first[i] … last[i] of k and v; unless 0 ≤ first[i] ≤ last[i] < r its
 * result is NaN. Batch-invariant: the bits of a row depend on its query and the keys and values it attends to only. */
typedef struct sd_attention_cached {
    sd_mat q;           /* [m, heads·head] any T */
    sd_mat k, v;        /* [r, kv_heads·head] any T */
    sd_mat first, last; /* [1, m] i32 */
    sd_mat y;           /* [m, heads·head] any T */
    uint64_t head;
} sd_attention_cached;

/* y[0, :] = Σ_rows x, summed in double over row tiles of a fixed size. */
typedef struct sd_colsum {
    sd_mat x; /* [m, n] real */
    sd_mat y; /* [1, n] real */
} sd_colsum;

/* The list of operations, from which function tables, declarations and the strict backend are generated. */
#define SD_DENSE_OPS(X)                                                                                      \
    X(fill)                                                                                                  \
    X(noise)                                                                                                 \
    X(scale)                                                                                                 \
    X(axpy)                                                                                                  \
    X(matmul)                                                                                                \
    X(gather)                                                                                                \
    X(rmsnorm)                                                                                               \
    X(rope)                                                                                                  \
    X(silu_mul)                                                                                              \
    X(logprob)                                                                                               \
    X(attention)                                                                                             \
    X(put_rows)                                                                                                 \
    X(rowwise)                                                                                               \
    X(attention_cached)                                                                                                \
    X(colsum)

/* SD_MUST_CHECK sd_status sd_dev_matmul(sd_dev *dev, const sd_matmul *args), and so on. */
#define SD_DECLARE_OP(name) SD_MUST_CHECK sd_status sd_dev_##name(sd_dev *dev, const sd_##name *args);
SD_DENSE_OPS(SD_DECLARE_OP)

#endif

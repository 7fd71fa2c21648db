/* Operations of the optimiser; conventions of types, ownership and errors as in dense.h. All Local. The gradient norm, the clip and the step
 * that uses them stay on the device: nothing waits. */
#ifndef SAEDIFF_DEV_STEP_H
#define SAEDIFF_DEV_STEP_H

#include "saediff/dev/dense.h"

/* Rows of w scaled to length 1; a row of zeros is unchanged. */
typedef struct sd_unit_rows {
    sd_mat w; /* [m, n] */
} sd_unit_rows;

/* g[i] −= (g[i]·w[i]) w[i]: removes the part of each row's gradient along that row. w has unit rows. */
typedef struct sd_project_rows {
    sd_mat g; /* [m, n] */
    sd_mat w; /* [m, n] */
} sd_project_rows;

/* sum[0, slot] = Σ x² in double, over tiles of a fixed size in their order. */
typedef struct sd_sumsq {
    sd_mat x;   /* [m, n] real */
    sd_mat sum; /* [1, slots] f64 */
    uint64_t slot;
} sd_sumsq;

/* norm = sqrt(Σ sum[0, :]); factor = 1 if norm ≤ limit, else limit / norm. A norm that is not finite
 * gives factor NaN. */
typedef struct sd_clip {
    sd_mat sum;    /* [1, slots] f64 */
    sd_mat norm;   /* [1, 1] f64 */
    sd_mat factor; /* [1, 1] f64 */
    double limit;
} sd_clip;

/* AdamW with bias correction, in real; g is multiplied by factor[0, 0] first:
 *   m = β1 m + (1−β1) g,  v = β2 v + (1−β2) g²,
 *   w = w (1 − lr·decay) − lr · (m / (1−β1^t)) / (sqrt(v / (1−β2^t)) + eps).
 * Kingma & Ba 2014; Loshchilov & Hutter 2017. */
typedef struct sd_adamw {
    sd_mat w, g, m, v; /* [r, c] */
    sd_mat factor;     /* [1, 1] f64; buf NULL for 1 */
    double lr, beta1, beta2, eps, decay;
    uint64_t t; /* 1 for the first step */
} sd_adamw;

#define SD_STEP_OPS(X)                                                                                       \
    X(unit_rows)                                                                                             \
    X(project_rows)                                                                                          \
    X(sumsq)                                                                                                 \
    X(clip)                                                                                                  \
    X(adamw)

SD_STEP_OPS(SD_DECLARE_OP)

#endif

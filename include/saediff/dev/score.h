/* Operations that compare rows (distributions over a vocabulary, vectors and their reconstructions) or count in them. Conventions of types,
 * ownership and errors as in dense.h. All Local. Sums are taken in double, in a fixed order. */
#ifndef SAEDIFF_DEV_SCORE_H
#define SAEDIFF_DEV_SCORE_H

#include "saediff/dev/dense.h"

/* kl[r] = KL(softmax p[r] ‖ softmax q[r]) in nats. Equal rows give exactly 0; rounding may give a value just below it. */
typedef struct sd_kl {
    sd_mat p, q; /* [m, v] logits */
    sd_mat kl;   /* [1, m] f64 */
} sd_kl;

/* Of each row: xx = Σ x², yy = Σ y², xy = Σ x·y, sse = Σ (x − y)². */
typedef struct sd_row_pair {
    sd_mat x, y;              /* [m, n] */
    sd_mat xx, yy, xy, sse; /* [1, m] f64 */
} sd_row_pair;

/* count[r] += the number of columns c with x[r, c] + shift[c] > 0. */
typedef struct sd_count_positive {
    sd_mat x;     /* [m, n] */
    sd_mat shift; /* [1, n] */
    sd_mat count; /* [1, m] u64 */
} sd_count_positive;

#define SD_SCORE_OPS(X)                                                                                      \
    X(kl)                                                                                                    \
    X(row_pair)                                                                                              \
    X(count_positive)

SD_SCORE_OPS(SD_DECLARE_OP)

#endif

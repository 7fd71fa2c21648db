/* The inside of a backward pass. Private to model. */
#ifndef SAEDIFF_MODEL_BACKWARD_H
#define SAEDIFF_MODEL_BACKWARD_H

#include "trainable.h"

/* What is kept of a block besides the residual stream that goes into it; rows as in the comments beside sd_model's work space. */
typedef struct inner {
    sd_buf *normed;  /* d: after the attention's norm */
    sd_buf *raw;     /* (heads + kv_heads)·head: q and k before the norm of their heads; NULL where they have none */
    sd_buf *qkv;     /* (heads + 2 kv_heads)·head: rotated */
    sd_buf *mixed;   /* heads·head */
    sd_buf *mid;     /* d: the residual stream behind attention */
    sd_buf *normed2; /* d: after the MLP's norm */
    sd_buf *gate_up; /* 2·mlp; its gradient later */
    sd_buf *act;     /* mlp */
} inner;

enum { INNER = sizeof(inner) / sizeof(sd_buf *) };

struct sd_backward {
    sd_model *m;
    bool recompute;
    trainable_set set;
    sd_buf **stream;  /* [n_layers + 1] d: into each block, and out of the last */
    inner *inner;     /* [n_layers], or one with recompute */
    sd_buf *evaluated;  /* [max_tokens] i32: rows that are counted */
    sd_buf *rows;     /* d: what these rows are after the final norm */
    sd_buf *low;      /* rank: rows in the space of factors; NULL where none are learned */
    sd_buf *spare;    /* [d_model or head]: the gradient of a gain that nobody wants */

    /* of the pass under way */
    uint64_t n;
    sd_buf *grad; /* the caller's */
};

/* backward_block.c. All Local; operations are queued. */

/* The first rows of a buffer, as many as the pass has. */
sd_mat backward_rows(const sd_backward *b, sd_buf *buf, uint64_t cols);
/* Where the gradient of what is learned of tensor i begins, as a matrix. */
sd_mat backward_gradient(const sd_backward *b, uint64_t i, uint64_t rows, uint64_t cols);
/* Whether something is learned in front of the tensors of the buffer, so that the gradient has to go on through them. */
bool backward_goes_on(const sd_backward *b, sd_buf *const *buffer);
SD_MUST_CHECK sd_status backward_norm(const sd_backward *b, sd_mat x, sd_buf *gain, uint64_t group, sd_mat y);
SD_MUST_CHECK sd_status backward_norm_back(const sd_backward *b, sd_mat x, sd_buf *const *gain, uint64_t group, sd_mat dy, sd_mat dx);
/* Block l from stream[l] to stream[l + 1], keeping `in`. */
SD_MUST_CHECK sd_status backward_forward(const sd_backward *b, uint64_t l, const inner *in);
/* Back through block l as far as something is learned in it or below. dx [n, d_model]: the loss's gradient with respect to the residual
 * stream behind the block, and then before it. */
SD_MUST_CHECK sd_status backward_block(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx);

#endif

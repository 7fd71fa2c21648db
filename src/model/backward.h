/* Internals of the backward pass. Private to model. */
#ifndef SAEDIFF_MODEL_BACKWARD_H
#define SAEDIFF_MODEL_BACKWARD_H

#include "trainable.h"

/* Activations kept of a block, besides its input; columns as in the workspace of sd_model. */
typedef struct inner {
    sd_buf *normed;  /* d: after the attention's norm */
    sd_buf *raw;     /* (heads + kv_heads)·head: q and k before the norm of their heads; NULL without such norms */
    sd_buf *qkv;     /* (heads + 2 kv_heads)·head: rotated */
    sd_buf *mixed;   /* heads·head */
    sd_buf *mid;     /* d: the residual stream after attention */
    sd_buf *normed2; /* d: after the MLP's norm */
    sd_buf *gate_up; /* 2·mlp; its gradient later */
    sd_buf *act;     /* mlp */
} inner;

enum { INNER = sizeof(inner) / sizeof(sd_buf *) };

struct sd_backward {
    sd_model *m;
    bool recompute;
    trainable_set set;
    sd_buf **stream;  /* [n_layers + 1] d: input of each block, and output of the last */
    inner *inner;     /* [n_layers], or one with recompute */
    sd_buf *evaluated;  /* [max_tokens] i32: supervised rows */
    sd_buf *rows;     /* d: these rows after the final norm */
    sd_buf *low;      /* rank: rows in the space of factors; NULL without factors */
    sd_buf *spare;    /* [d_model or head]: unused gradient of a gain */

    /* of the current pass */
    uint64_t n;
    sd_buf *grad; /* the caller's */
};

/* backward_block.c. All Local; operations are queued. */

/* The rows of the current pass in a buffer. */
sd_mat backward_rows(const sd_backward *b, sd_buf *buf, uint64_t cols);
/* The gradient of the trainable part of tensor i, as a matrix. */
sd_mat backward_gradient(const sd_backward *b, uint64_t i, uint64_t rows, uint64_t cols);
/* Whether anything before the tensors of the buffer is trainable, so that the gradient must be propagated through them. */
bool backward_goes_on(const sd_backward *b, sd_buf *const *buffer);
SD_MUST_CHECK sd_status backward_norm(const sd_backward *b, sd_mat x, sd_buf *gain, uint64_t group, sd_mat y);
SD_MUST_CHECK sd_status backward_norm_back(const sd_backward *b, sd_mat x, sd_buf *const *gain, uint64_t group, sd_mat dy, sd_mat dx);
/* Block l from stream[l] to stream[l + 1], keeping `in`. */
SD_MUST_CHECK sd_status backward_forward(const sd_backward *b, uint64_t l, const inner *in);
/* Backward through block l, as far as anything in it or before it is trainable. dx [n, d_model]: gradient of the loss with respect to the residual
 * stream after the block, on return before it. */
SD_MUST_CHECK sd_status backward_block(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx);

#endif

/* The inside of a model. q, k, v of a layer are one matrix, gate and up another: one product each. */
#ifndef SAEDIFF_MODEL_PRIVATE_H
#define SAEDIFF_MODEL_PRIVATE_H

#include "saediff/model/model.h"
#include "saediff/par/shared.h"

typedef struct sd_layer {
    sd_buf *attn_gain; /* [1, d] */
    sd_buf *qkv;       /* [(heads + 2 kv_heads)·head, d] */
    sd_buf *qkv_bias;  /* [1, (heads + 2 kv_heads)·head]; as all below, NULL where the model has none */
    sd_buf *q_gain, *k_gain; /* [1, head] */
    sd_buf *o;         /* [d, heads·head] */
    sd_buf *o_bias;    /* [1, d] */
    sd_buf *mlp_gain;  /* [1, d] */
    sd_buf *gate_up;   /* [2·mlp, d] */
    sd_buf *gate_up_bias; /* [1, 2·mlp] */
    sd_buf *down;      /* [d, mlp] */
    sd_buf *down_bias; /* [1, d] */
} sd_layer;

struct sd_model {
    sd_dev *dev;
    sd_model_config config;
    uint64_t max_tokens;
    sd_shared *memory; /* of all weights, where buffers are wrapped around it; else NULL */

    sd_buf *embed; /* [vocabulary, d] */
    sd_buf *gain;  /* [1, d] */
    sd_buf *head;  /* [vocabulary, d], NULL if tied */
    sd_layer *layers;
    sd_buf *cos, *sin; /* [tables·positions, head/2], positions = min(context, max_tokens); the second table is for long documents */
    uint64_t positions, tables;

    /* Work space of one pass, [max_tokens, …]. */
    sd_buf *x;                      /* d: the residual stream */
    sd_buf *normed;                 /* d: after a norm; after a pass to the logits, the final one */
    sd_buf *wide;                   /* max((heads + 2 kv_heads)·head, 2·mlp) */
    sd_buf *mixed;                  /* heads·head: what attention gathered */
    sd_buf *delta;                  /* d: what is about to be added to x */
    sd_buf *ids, *position, *start; /* 1, i32 */

    /* Work space of sd_model_score(). */
    uint64_t score_rows;
    sd_buf *logits;        /* [score_rows, vocabulary] */
    sd_buf *target, *best; /* [max_tokens] i32 */
    sd_buf *logp;          /* [max_tokens] f64 */

    uint64_t ready; /* rows of the last pass to the logits, 0 if there is none */
};

/* Local. The weights of the folder, tensor by tensor, in buffers of the model's own. */
SD_MUST_CHECK sd_status sd_model_load(sd_model *model, const char *dir);
/* Collective. Once for the ranks of a machine, which share the reading. The device wraps. */
SD_MUST_CHECK sd_status sd_model_load_shared(sd_model *model, const sd_par *par, const char *dir);

#endif

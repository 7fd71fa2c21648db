/* Internals of a model. q, k and v of a layer are one matrix, gate and up another: one product each. */
#ifndef SAEDIFF_MODEL_PRIVATE_H
#define SAEDIFF_MODEL_PRIVATE_H

#include "saediff/model/model.h"
#include "saediff/par/shared.h"
#include "saediff/store/safetensors.h"

typedef struct sd_layer {
    sd_buf *attn_gain; /* [1, d] */
    sd_buf *qkv;       /* [(heads + 2 kv_heads)·head, d] */
    sd_buf *qkv_bias;  /* [1, (heads + 2 kv_heads)·head]; like all below, NULL if the model has none */
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
    sd_span blocks;    /* the blocks of this part; everything else below is NULL */
    sd_shared *memory; /* all weights, if the buffers wrap shared host memory; else NULL */

    sd_buf *embed; /* [vocabulary, d] */
    sd_buf *gain;  /* [1, d] */
    sd_buf *head;  /* [vocabulary, d], NULL if tied */
    sd_layer *layers;
    sd_buf *cos, *sin; /* [tables·positions, head/2], positions: of the longest sequence so far; the second table is for long documents */
    uint64_t positions, tables;

    /* Workspace of one pass, [max_tokens, …]; normed, wide and mixed have the device's activation type, which is real in a backward
     * pass; the others are real. */
    sd_buf *x;                      /* d: the residual stream */
    sd_buf *normed;                 /* d: after a norm */
    sd_buf *wide;                   /* max((heads + 2 kv_heads)·head, 2·mlp) */
    sd_buf *mixed;                  /* heads·head: attention before the output matrix */
    sd_buf *delta;                  /* d: output to be added to x */
    sd_buf *last;                   /* d: output of the final norm; normed if that is real, else delta */
    sd_buf *ids, *position, *start; /* 1, i32 */

    /* Workspace of sd_model_score(). */
    uint64_t score_rows;
    sd_buf *logits;        /* [score_rows, vocabulary] */
    sd_buf *target, *best; /* [max_tokens] i32 */
    sd_buf *logp;          /* [max_tokens] f64 */

    uint64_t ready; /* rows of the last pass with to_logits, 0 if none */
    bool one_by_one; /* that pass continued slots, row by row */
};

struct sd_cache {
    sd_model *model;
    uint64_t slots, length;
    sd_buf **k, **v;             /* per layer, [slots·length, kv_heads·head], in the activation type */
    sd_buf *slots_row;           /* [max_tokens] i32: cache row written by a row of the pass, the last visible to it */
    sd_buf *first, *first_window; /* [max_tokens] i32: first visible cache row, in layers without and with the window */
    uint64_t *held, *planned;    /* tokens per slot */
};

/* Local. Cache rows written by and visible to each row of a pass; rotary positions into `position`. Checks slots and lengths. */
SD_MUST_CHECK sd_status sd_cache_slots(sd_cache *cache, const sd_pass *pass, int32_t *position);
/* After a pass: its rows are in the cache. */
void sd_cache_hold(sd_cache *cache, const sd_pass *pass);
/* Whether the part has the embedding; whether it has the final norm and the output matrix. */
static inline bool sd_model_begins(const sd_model *m)
{
    return m->blocks.first == 0;
}
static inline bool sd_model_ends(const sd_model *m)
{
    return m->blocks.first + m->blocks.count == m->config.n_layers;
}
/* Local. SD_E_INTERNAL if m is a part of a model: `what` needs the whole one. */
SD_MUST_CHECK sd_status sd_model_need_whole(const sd_model *m, const char *what);
/* Local. Checks where a pass begins and its taps against the whole model. *last: the site it ends at; *empty: nothing to compute. */
SD_MUST_CHECK sd_status sd_pass_reach(const sd_model_config *config, const sd_pass *pass, sd_site *last, bool *empty);
/* Local. Checks documents and ids of a pass, and uploads ids, positions and document starts. */
SD_MUST_CHECK sd_status sd_model_rows(sd_model *model, const sd_pass *pass);
/* Local. Rotary tables for sequences of up to `positions` tokens. */
SD_MUST_CHECK sd_status sd_model_reach(sd_model *model, uint64_t positions);
/* The rotary table's row of position p in a sequence of `length` tokens. */
uint64_t sd_model_position(const sd_model *model, uint64_t p, uint64_t length);

enum { SD_WANTED_NAME = 96 };

/* One tensor of the file and its destination: after `first` elements of *to, which has `all` elements. */
typedef struct sd_wanted {
    char name[SD_WANTED_NAME];
    uint64_t rows, cols; /* rows 0: a vector of cols elements */
    sd_buf **to;
    uint64_t first, all;
    sd_dtype type; /* of the buffer: matrices in the type of products, vectors real */
    bool here;     /* included in the part */
    const sd_tensor *tensor;
} sd_wanted;

typedef struct sd_wanted_list {
    sd_wanted *items;
    uint64_t count;
} sd_wanted_list;

/* Local. Every tensor of m->config, whose layers are allocated; l->items: sd_free(). Tensors that share a buffer are adjacent, in its order. */
SD_MUST_CHECK sd_status sd_model_list(sd_wanted_list *l, sd_model *m);
/* Local. Reads the weights of the folder, tensor by tensor, into the model's buffers. */
SD_MUST_CHECK sd_status sd_model_load(sd_model *model, const char *dir);
/* Collective. The same for devices that wrap host memory: once per machine, whose ranks share the reading. */
SD_MUST_CHECK sd_status sd_model_load_shared(sd_model *model, const sd_par *par, const char *dir);

#endif

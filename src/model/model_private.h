/* The inside of a model. q, k, v of a layer are one matrix, gate and up another: one product each. */
#ifndef SAEDIFF_MODEL_PRIVATE_H
#define SAEDIFF_MODEL_PRIVATE_H

#include "saediff/model/model.h"
#include "saediff/par/shared.h"
#include "saediff/store/safetensors.h"

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
    sd_span blocks;    /* what is here of the model; all else is NULL in what follows */
    sd_shared *memory; /* of all weights, where buffers are wrapped around it; else NULL */

    sd_buf *embed; /* [vocabulary, d] */
    sd_buf *gain;  /* [1, d] */
    sd_buf *head;  /* [vocabulary, d], NULL if tied */
    sd_layer *layers;
    sd_buf *cos, *sin; /* [tables·positions, head/2], positions: the longest sequence so far possible; the second table is for long documents */
    uint64_t positions, tables;

    /* Work space of one pass, [max_tokens, …]; normed, wide and mixed in the device's type of activations, which is real in a backward
     * pass; the rest real. */
    sd_buf *x;                      /* d: the residual stream */
    sd_buf *normed;                 /* d: after a norm */
    sd_buf *wide;                   /* max((heads + 2 kv_heads)·head, 2·mlp) */
    sd_buf *mixed;                  /* heads·head: what attention gathered */
    sd_buf *delta;                  /* d: what is about to be added to x */
    sd_buf *last;                   /* d: normed where that is real, else delta: after a pass to the logits, the final norm */
    sd_buf *ids, *position, *start; /* 1, i32 */

    /* Work space of sd_model_score(). */
    uint64_t score_rows;
    sd_buf *logits;        /* [score_rows, vocabulary] */
    sd_buf *target, *best; /* [max_tokens] i32 */
    sd_buf *logp;          /* [max_tokens] f64 */

    uint64_t ready; /* rows of the last pass to the logits, 0 if there is none */
    bool one_by_one; /* that pass continued slots: each row by itself */
};

struct sd_cache {
    sd_model *model;
    uint64_t slots, length;
    sd_buf **k, **v;             /* of each layer, [slots·length, kv_heads·head], in the type of activations */
    sd_buf *place;               /* [max_tokens] i32: row of the cache that a row of the pass fills, the last it sees */
    sd_buf *first, *first_window; /* [max_tokens] i32: the first it sees, in layers without and with the window */
    uint64_t *held, *planned;    /* of each slot, tokens */
};

/* Local. Places and what each row of a pass sees, [rows]; rotary positions too, into `position`. Checks slots and lengths. */
SD_MUST_CHECK sd_status sd_cache_slots(sd_cache *cache, const sd_pass *pass, int32_t *position);
/* The pass is done: its rows are held. */
void sd_cache_hold(sd_cache *cache, const sd_pass *pass);
/* Whether the model's part begins with the embedding; whether it ends with the final norm and the output matrix. */
static inline bool sd_model_begins(const sd_model *m)
{
    return m->blocks.first == 0;
}
static inline bool sd_model_ends(const sd_model *m)
{
    return m->blocks.first + m->blocks.count == m->config.n_layers;
}
/* Local. SD_E_INTERNAL saying that `what` needs the whole model, if m is a part of one. */
SD_MUST_CHECK sd_status sd_model_need_whole(const sd_model *m, const char *what);
/* Local. Checks where a pass begins and its taps against the whole model. *last = the site it ends at; *empty: there is nothing to compute. */
SD_MUST_CHECK sd_status sd_pass_reach(const sd_model_config *config, const sd_pass *pass, sd_site *last, bool *empty);
/* Local. Checks documents and ids of a pass, and brings ids, positions and document starts to the device. */
SD_MUST_CHECK sd_status sd_model_rows(sd_model *model, const sd_pass *pass);
/* Local. Rotary tables for sequences of up to `positions` tokens. */
SD_MUST_CHECK sd_status sd_model_reach(sd_model *model, uint64_t positions);
/* The rotary table's row of position p in a sequence of `length` tokens. */
uint64_t sd_model_position(const sd_model *model, uint64_t p, uint64_t length);

enum { SD_WANTED_NAME = 96 };

/* One tensor of the file and where it goes: behind `first` elements of *to, which has `all` elements. */
typedef struct sd_wanted {
    char name[SD_WANTED_NAME];
    uint64_t rows, cols; /* rows 0: a vector of cols elements */
    sd_buf **to;
    uint64_t first, all;
    sd_dtype type; /* of the buffer: matrices as the device computes, vectors real */
    bool here;     /* the model's part has it */
    const sd_tensor *tensor;
} sd_wanted;

typedef struct sd_wanted_list {
    sd_wanted *items;
    uint64_t count;
} sd_wanted_list;

/* Local. Every tensor of m->config, whose layers are allocated; l->items: sd_free(). Those that share a buffer follow one another as in it. */
SD_MUST_CHECK sd_status sd_model_list(sd_wanted_list *l, sd_model *m);
/* Local. The weights of the folder, tensor by tensor, in buffers of the model's own. */
SD_MUST_CHECK sd_status sd_model_load(sd_model *model, const char *dir);
/* Collective. Once for the ranks of a machine, which share the reading. The device wraps. */
SD_MUST_CHECK sd_status sd_model_load_shared(sd_model *model, const sd_par *par, const char *dir);

#endif

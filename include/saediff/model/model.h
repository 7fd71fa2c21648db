/* A Llama-family model: weights on a device, and its forward pass with taps.
 *
 * Exactness: fp32 within 2e-5 (‖a−b‖/‖b‖ per document and site) of a float64 reference. Rope tables are built in double.
 * Activations equal Hugging Face's output_hidden_states, except that the last block's resid_post is the real one. */
#ifndef SAEDIFF_MODEL_MODEL_H
#define SAEDIFF_MODEL_MODEL_H

#include "saediff/dev/dev.h"
#include "saediff/flow/sink.h"
#include "saediff/model/config.h"
#include "saediff/model/site.h"
#include "saediff/par/par.h"

typedef struct sd_model sd_model;

/* Local. From a Hugging Face folder: config.json and its weights (store/weights.h). Every tensor's name, shape and finiteness is checked;
 * messages name file and tensor (missing and unexpected tensors: the first ten). max_tokens ≥ 1 bounds the rows of one forward
 * call; work space for it is taken here. Memory: the weights and one tensor; what cannot fit on the device is SD_E_ENV before a weight is
 * read. `dev` is borrowed and must outlive the model. */
SD_MUST_CHECK sd_status sd_model_open(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens);
/* Collective. As above; where the device reads host memory, the ranks of a machine share the reading and one copy of the weights.
 * max_tokens may differ from rank to rank. One verdict. */
SD_MUST_CHECK sd_status sd_model_open_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir,
                                             uint64_t max_tokens);
/* The same for a part of a model: the blocks `blocks`, with the first of all also the embedding, with the last the final norm and the output
 * matrix. Names, shapes and types of all tensors are checked; only the part's weights are read and kept. A pass must begin and end inside the
 * part. No backward pass, and no weights in and out (train.h). sd_model_open_part_shared(): all ranks of `par` open the same part. */
SD_MUST_CHECK sd_status sd_model_open_part(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens, sd_span blocks);
SD_MUST_CHECK sd_status sd_model_open_part_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens,
                                                  sd_span blocks);
/* Local. A model of the shape of dir/config.json for measuring: its matrices are noise of standard deviation 0.02 made on the device, gains 1,
 * biases 0. No other file is read. */
SD_MUST_CHECK sd_status sd_model_open_noise(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens);
/* Local. */
void sd_model_close(sd_model **model);

const sd_model_config *sd_model_config_of(const sd_model *model);
sd_dev *sd_model_dev(const sd_model *model);
/* Rows of one pass, as asked for when it was opened. */
uint64_t sd_model_max_tokens(const sd_model *model);
/* The blocks it has: all, unless it was opened as a part. */
sd_span sd_model_blocks(const sd_model *model);

/* Bytes of the device's memory that a model takes. */
typedef struct sd_model_need {
    uint64_t weights; /* in the number types that dev computes in now */
    uint64_t capacity;    /* rotary tables, and work space of passes of max_tokens rows */
} sd_model_need;
/* Local. Of the whole model, or the part with these blocks: follows from the configuration alone. */
SD_MUST_CHECK sd_status sd_model_measure(const sd_model_config *config, sd_dev *dev, uint64_t max_tokens, sd_span blocks, sd_model_need *need);
/* Local. As far as sd_model_open() looks without reading weights: configuration, and the name, shape and type of every tensor. */
SD_MUST_CHECK sd_status sd_model_check(const char *dir);
typedef enum sd_tap_kind {
    SD_TAP_READ,    /* rows at the site go to `sink` */
    SD_TAP_REPLACE, /* rows at the site become `value` */
    SD_TAP_ADD      /* value is added to them */
} sd_tap_kind;

/* A tap at resid_pre/mid/post acts on the residual stream itself: what is replaced is what everything later reads. At attn_out
 * and mlp_out it acts on what is about to be added. */
typedef struct sd_tap {
    sd_site site;
    sd_tap_kind kind;
    sd_sink sink; /* READ */
    sd_mat value; /* REPLACE, ADD: [n, d_model] real */
} sd_tap;

/* Keys and values of sequences under way, in `slots` places of `length` tokens each. */
typedef struct sd_cache sd_cache;

/* Local. The model is borrowed. */
SD_MUST_CHECK sd_status sd_cache_create(sd_cache **cache, sd_model *model, uint64_t slots, uint64_t length);
void sd_cache_destroy(sd_cache **cache);
/* Forgets what the slot holds; the next sequence there may have up to `planned` ≤ length tokens, which decides the rotation where a model
 * has another one for long sequences. */
void sd_cache_clear(sd_cache *cache, uint64_t slot, uint64_t planned);

typedef struct sd_pass {
    const int32_t *ids;       /* [n] host, 1 ≤ n ≤ max_tokens; each in 0 … vocabulary−1 */
    const uint64_t *doc_start; /* [docs + 1] host: row where each document begins; doc_start[0] = 0, doc_start[docs] = n */
    uint64_t docs;
    const sd_tap *taps; /* taps at one site act in the order given */
    uint64_t n_taps;
    const sd_site *from; /* NULL: from the embeddings; else resid_pre, resid_mid or resid_post: continue there … */
    sd_mat state;        /* … with this residual stream [n, d_model] */
    bool to_logits;      /* run to the final norm, for sd_model_logits() and sd_model_score() */
    sd_cache *cache;       /* NULL: none; else document d is what comes next in slot[d] … */
    const uint64_t *slot;  /* … [docs], different from one another: either all slots are empty, or all documents are one token long, and
                              a row's bits then depend on its own sequence alone */
} sd_pass;

/* Local. Positions restart with each document; attention never crosses documents; a document longer than the model's context is
 * SD_E_DATA. Stops after the last tapped site unless to_logits. A NaN or infinity at a READ tap is not looked for here. */
SD_MUST_CHECK sd_status sd_model_forward(sd_model *model, const sd_pass *pass);

/* Local. After a pass with to_logits: logits [rows.count, vocabulary] of rows of that pass. Of a pass that continues slots, a row's bits
 * depend on that row alone. */
SD_MUST_CHECK sd_status sd_model_logits(sd_model *model, sd_span rows, sd_mat logits);

/* Local. Queued. Logits [m, vocabulary] of rows [m, d_model] as they stand at ln_final.hook_normalized. */
SD_MUST_CHECK sd_status sd_model_unembed(sd_model *model, sd_mat normed, sd_mat logits);

/* Local. After a pass with to_logits: log p(target[r]) in nats and the most likely id for each row of the pass; target −1 for none (logp 0).
 * Host arrays [n]. Logits are made in chunks, never all at once. */
SD_MUST_CHECK sd_status sd_model_score(sd_model *model, const int32_t *target, double *logp, int32_t *best);

#endif

/* A Llama-family model: weights on a device, and its forward pass with taps.
 *
 * Exactness: fp32 within 2e-5 (‖a−b‖/‖b‖ per document and site) of a float64 reference. Rope tables are built in double.
 * Activations equal Hugging Face's output_hidden_states, except that the last block's resid_post is taken before the final norm. */
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
 * call; workspace is allocated here. Memory: the weights and one tensor; if they cannot fit on the device, SD_E_ENV before any weight is
 * read. `dev` is borrowed and must outlive the model. */
SD_MUST_CHECK sd_status sd_model_open(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens);
/* Collective. As above; if the device reads host memory, the ranks of a machine share the reading and one copy of the weights.
 * max_tokens may differ between ranks. All ranks return the same status. */
SD_MUST_CHECK sd_status sd_model_open_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir,
                                             uint64_t max_tokens);
/* The same for a part of a model: the blocks `blocks`, plus the embedding if it includes the first block, and the final norm and output
 * matrix if it includes the last. Names, shapes and types of all tensors are checked; only the part's weights are read and kept. A pass must begin and end inside the
 * part. No backward pass, and no access to the weights (train.h). sd_model_open_part_shared(): all ranks of `par` open the same part. */
SD_MUST_CHECK sd_status sd_model_open_part(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens, sd_span blocks);
SD_MUST_CHECK sd_status sd_model_open_part_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens,
                                                  sd_span blocks);
/* Local. A model with the shape of dir/config.json for benchmarks: its matrices are noise of standard deviation 0.02 generated on the device, gains 1,
 * biases 0. No other file is read. */
SD_MUST_CHECK sd_status sd_model_open_noise(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens);
/* Local. */
void sd_model_close(sd_model **model);

const sd_model_config *sd_model_config_of(const sd_model *model);
sd_dev *sd_model_dev(const sd_model *model);
/* Maximum rows of one pass, as given when it was opened. */
uint64_t sd_model_max_tokens(const sd_model *model);
/* Its blocks: all, unless it was opened as a part. */
sd_span sd_model_blocks(const sd_model *model);

/* Device memory of a model, in bytes. */
typedef struct sd_model_need {
    uint64_t weights; /* in the present number type of products of dev */
    uint64_t workspace; /* rotary tables, and workspace of passes of max_tokens rows */
} sd_model_need;
/* Local. For the whole model or the part with these blocks, from the configuration only. */
SD_MUST_CHECK sd_status sd_model_measure(const sd_model_config *config, sd_dev *dev, uint64_t max_tokens, sd_span blocks, sd_model_need *need);
/* Local. The checks of sd_model_open() that read no weights: configuration, and the name, shape and type of every tensor. */
SD_MUST_CHECK sd_status sd_model_check(const char *dir);
typedef enum sd_tap_kind {
    SD_TAP_READ,    /* rows at the site go to `sink` */
    SD_TAP_REPLACE, /* rows at the site are replaced by `value` */
    SD_TAP_ADD      /* value is added to them */
} sd_tap_kind;

/* A tap at resid_pre/mid/post acts on the residual stream itself, which everything later reads. At attn_out
 * and mlp_out it acts on the output before it is added. */
typedef struct sd_tap {
    sd_site site;
    sd_tap_kind kind;
    sd_sink sink; /* READ */
    sd_mat value; /* REPLACE, ADD: [n, d_model] real */
} sd_tap;

/* Key-value cache of `slots` sequences of up to `length` tokens each. */
typedef struct sd_cache sd_cache;

/* Local. The model is borrowed. */
SD_MUST_CHECK sd_status sd_cache_create(sd_cache **cache, sd_model *model, uint64_t slots, uint64_t length);
void sd_cache_destroy(sd_cache **cache);
/* Empties the slot; its next sequence may have up to `planned` ≤ length tokens, which selects the rotary table if the model has another one
 * for long sequences. */
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
    sd_cache *cache;       /* NULL: none; else document d continues slot[d] … */
    const uint64_t *slot;  /* … [docs], all different: either all slots are empty, or all documents are one token long, and the
                              bits of a row depend on its own sequence only */
} sd_pass;

/* Local. Positions restart with each document; attention never crosses documents; a document longer than the model's context is
 * SD_E_DATA. Stops after the last tapped site unless to_logits. NaN and infinity at READ taps are not checked here. */
SD_MUST_CHECK sd_status sd_model_forward(sd_model *model, const sd_pass *pass);

/* Local. After a pass with to_logits: logits [rows.count, vocabulary] of rows of that pass. In a pass that continues slots, the bits of a row
 * depend on that row only. */
SD_MUST_CHECK sd_status sd_model_logits(sd_model *model, sd_span rows, sd_mat logits);

/* Local. Queued. Logits [m, vocabulary] of rows [m, d_model] at ln_final.hook_normalized. */
SD_MUST_CHECK sd_status sd_model_unembed(sd_model *model, sd_mat normed, sd_mat logits);

/* Local. After a pass with to_logits: log p(target[r]) in nats and the most likely id for each row of the pass; target −1 for none (logp 0).
 * Host arrays [n]. Logits are computed in chunks, never all at once. */
SD_MUST_CHECK sd_status sd_model_score(sd_model *model, const int32_t *target, double *logp, int32_t *best);

#endif

/* The backward pass: the gradient of a packed batch's loss with respect to all weights, some of them, or the factors of
 * low-rank adapters; and the weights as one vector. All Local.
 *
 * The weights of a model are one vector of sd_real: the tensors in the order of sd_model_tensors(), each row-major, concatenated
 * without gaps. A tied output matrix is the embedding and occurs once. */
#ifndef SAEDIFF_MODEL_TRAIN_H
#define SAEDIFF_MODEL_TRAIN_H

#include "saediff/model/model.h"

enum { SD_TENSOR_NAME = 96 };

/* One tensor of a model under its Hugging Face name. */
typedef struct sd_model_tensor {
    char name[SD_TENSOR_NAME];
    uint64_t rows, cols;   /* rows 0: a vector of cols elements */
    uint64_t first, count; /* position in the vector of all weights */
} sd_model_tensor;

/* *tensors [*count]: sd_free(). The number of weights is the last one's first + count. */
SD_MUST_CHECK sd_status sd_model_tensors(const sd_model_config *config, sd_model_tensor **tensors, uint64_t *count);

/* The part `elements` of the weights, from and to the host; waits. A model opened with sd_model_open_shared() cannot be written;
 * its matrices must be real (sd_dev_set_compute), as for a backward pass. */
SD_MUST_CHECK sd_status sd_model_weights_get(sd_model *model, sd_span elements, sd_real *host);
SD_MUST_CHECK sd_status sd_model_weights_put(sd_model *model, sd_span elements, const sd_real *host);

/* How a tensor is trained: not at all, as a whole, or by a low-rank adapter: the matrix is then W0 + scale · B·A, with W0
 * constant, A [rank, cols] and B [rows, rank]. Hu et al., "LoRA: low-rank adaptation of large language models", 2021. */
typedef enum sd_training { SD_FROZEN, SD_TRAIN_WHOLE, SD_TRAIN_FACTORS } sd_training;

typedef struct sd_trainable_spec {
    const uint8_t *how; /* [tensors] sd_training of each of sd_model_tensors(); NULL: everything */
    uint64_t rank;      /* of the factors, at most the smaller dimension of each matrix that has some */
    double scale;
} sd_trainable_spec;

/* One matrix or vector of the vector of trainable parameters, in which they are concatenated without gaps in the order of the model's
 * tensors, A before B. */
typedef enum sd_trainable_part { SD_TRAINABLE_TENSOR, SD_TRAINABLE_A, SD_TRAINABLE_B } sd_trainable_part;
typedef struct sd_trainable {
    sd_trainable_part part;
    uint64_t tensor;       /* of sd_model_tensors() */
    uint64_t rows, cols;   /* rows 0: a vector of cols elements */
    uint64_t first, count; /* position in that vector */
} sd_trainable;

typedef struct sd_backward sd_backward;

/* Activations kept from the forward pass: with `recompute` the input of every block, and the rest of one block, recomputed in the backward
 * pass; without, everything. Same bits either way. The workspace is the model's. The model is borrowed, `spec` (NULL: everything is
 * trainable) is copied. For factors, W0 is a copy of the model's present weights. Nothing trainable, or a rank that is too large, is
 * SD_E_INTERNAL. */
SD_MUST_CHECK sd_status sd_backward_create(sd_backward **backward, sd_model *model, const sd_trainable_spec *spec, bool recompute);
void sd_backward_destroy(sd_backward **backward);
/* Bytes that sd_backward_create() takes for passes of max_tokens. */
uint64_t sd_backward_bytes(const sd_model_config *config, const sd_trainable_spec *spec, uint64_t max_tokens, bool recompute);

/* [*count], lives as long as the backward pass. The number of trainable parameters is the last one's first + count. */
const sd_trainable *sd_backward_trainable(const sd_backward *backward, uint64_t *count);
/* Sets the model's weights from the vector of trainable parameters, the first elements of a buffer of real on the model's device; factors are
 * merged. Not for a model opened with sd_model_open_shared(). Before the first call factors are zero. Waits. */
SD_MUST_CHECK sd_status sd_backward_put(sd_backward *backward, sd_buf *trainable);
/* Factor i of sd_backward_trainable() as merged into the model, to the host; waits. */
SD_MUST_CHECK sd_status sd_backward_factor(const sd_backward *backward, uint64_t i, sd_real *host);

/* A packed batch: documents as in sd_pass. */
typedef struct sd_train_batch {
    const int32_t *ids;
    const uint64_t *doc_start;
    uint64_t docs;
    const int32_t *target; /* [n] the id to predict at this row; −1: not supervised */
    double scale;
} sd_train_batch;

/* grad [trainable or more] (real, the first elements are written) = gradient of −scale · Σ log p(target) over the supervised rows with respect to the
 * trainable parameters. Gradients of frozen tensors, of whole matrices with factors, and of everything before the first trainable tensor are not
 * computed. logp, best: host arrays [n], or NULL: log p of each row's target and its most likely id, 0 and −1 for rows without supervision. Logits are
 * computed in chunks of supervised rows, never all at once. Equal batches give equal bits at any thread count. NaN is not checked here. Waits. */
SD_MUST_CHECK sd_status sd_backward_run(sd_backward *backward, const sd_train_batch *batch, sd_buf *grad, double *logp, int32_t *best);

#endif

/* The backward pass: the gradient of a packed batch's loss with respect to every weight, to some, or to factors of what is added to
 * some; and the weights as one vector. All Local.
 *
 * The weights of a model are one vector of sd_real: the tensors in the order of sd_model_tensors(), each row-major, one behind the other
 * without gaps. A tied output matrix is the embedding and stands there once. */
#ifndef SAEDIFF_MODEL_TRAIN_H
#define SAEDIFF_MODEL_TRAIN_H

#include "saediff/model/model.h"

enum { SD_TENSOR_NAME = 96 };

/* One tensor of a model under its Hugging Face name. */
typedef struct sd_model_tensor {
    char name[SD_TENSOR_NAME];
    uint64_t rows, cols;   /* rows 0: a vector of cols elements */
    uint64_t first, count; /* where it stands in the vector of all weights */
} sd_model_tensor;

/* *tensors [*count]: sd_free(). The weights are as many as the last one's first + count. */
SD_MUST_CHECK sd_status sd_model_tensors(const sd_model_config *config, sd_model_tensor **tensors, uint64_t *count);

/* The part `elements` of the weights, from and to the host; waits. A model opened with sd_model_open_shared() cannot be written;
 * its matrices must be real (sd_dev_set_compute), as for a backward pass. */
SD_MUST_CHECK sd_status sd_model_weights_get(sd_model *model, sd_span elements, sd_real *host);
SD_MUST_CHECK sd_status sd_model_weights_put(sd_model *model, sd_span elements, const sd_real *host);

/* What is learned of a tensor: nothing, all of it, or the factors of what is added to it: a matrix W is then W0 + scale · B·A, with W0
 * as it was, A [rank, cols] and B [rows, rank]. Hu et al., "LoRA: low-rank adaptation of large language models", 2021. */
typedef enum sd_training { SD_FROZEN, SD_TRAIN_WHOLE, SD_TRAIN_FACTORS } sd_training;

typedef struct sd_trainable_spec {
    const uint8_t *how; /* [tensors] sd_training of each of sd_model_tensors(); NULL: all of all */
    uint64_t rank;      /* of the factors, at most the lesser side of each matrix that has some */
    double scale;
} sd_trainable_spec;

/* One matrix or vector of the vector of what is learned, which has them one behind the other without gaps in the order of the model's
 * tensors; A stands before B. */
typedef enum sd_trainable_part { SD_TRAINABLE_TENSOR, SD_TRAINABLE_A, SD_TRAINABLE_B } sd_trainable_part;
typedef struct sd_trainable {
    sd_trainable_part part;
    uint64_t tensor;       /* of sd_model_tensors() */
    uint64_t rows, cols;   /* rows 0: a vector of cols elements */
    uint64_t first, count; /* where it stands in that vector */
} sd_trainable;

typedef struct sd_backward sd_backward;

/* What a backward pass keeps of its forward pass: with `recompute` the input of every block, and of one block the rest, which is
 * computed again when its turn comes; without, all of all blocks. Same bits either way. Its work space is the model's own. The model is
 * borrowed, `learning` (NULL: all) copied. Where factors are learned, W0 is the model as it is now, kept beside it. Nothing to learn, or
 * a rank that does not fit, is SD_E_INTERNAL. */
SD_MUST_CHECK sd_status sd_backward_create(sd_backward **backward, sd_model *model, const sd_trainable_spec *learning, bool recompute);
void sd_backward_destroy(sd_backward **backward);
/* Bytes that sd_backward_create() takes for passes of max_tokens. */
uint64_t sd_backward_bytes(const sd_model_config *config, const sd_trainable_spec *learning, uint64_t max_tokens, bool recompute);

/* [*count], lives as long as the backward pass. What is learned has as many elements as the last one's first + count. */
const sd_trainable *sd_backward_trainable(const sd_backward *backward, uint64_t *count);
/* The model's weights become those of the vector of what is learned, the first elements of a buffer of real on the model's device; matrices
 * with factors are merged. Not for a model opened with sd_model_open_shared(). Before the first call factors count as zero. Waits. */
SD_MUST_CHECK sd_status sd_backward_put(sd_backward *backward, sd_buf *trainable);
/* Factor i of sd_backward_trainable() as the model has it, to the host; waits. */
SD_MUST_CHECK sd_status sd_backward_factor(const sd_backward *backward, uint64_t i, sd_real *host);

/* A packed batch: documents as in sd_pass. */
typedef struct sd_train_batch {
    const int32_t *ids;
    const uint64_t *doc_start;
    uint64_t docs;
    const int32_t *target; /* [n] the id that row should predict; −1: not counted */
    double scale;
} sd_train_batch;

/* grad [learned or more] (real, the first written) = gradient of −scale · Σ log p(target) over the counted rows with respect to what is learned. No
 * product is made for what is not: no gradient of a tensor that stays, none of a whole matrix that has factors, and nothing below the
 * first that is learned. logp, best: host arrays [n], or NULL: log p of each row's target and its most likely id, 0 and −1 in rows that
 * are not counted. Logits are made in chunks of counted rows, never all at once. Equal batches give equal bits at any thread count. A
 * NaN in it is not looked for here. Waits. */
SD_MUST_CHECK sd_status sd_backward_run(sd_backward *backward, const sd_train_batch *batch, sd_buf *grad, double *logp, int32_t *best);

#endif

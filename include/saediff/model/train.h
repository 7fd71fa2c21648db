/* The backward pass: the gradient of a packed batch's loss with respect to every weight, and the weights as one vector. All Local.
 *
 * The weights of a model, and their gradient, are one vector of sd_real: the tensors in the order of sd_model_tensors(), each row-major, one
 * behind the other without gaps. A tied output matrix is the embedding and stands there once. */
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

typedef struct sd_backward sd_backward;

/* What a backward pass keeps of its forward pass: with `recompute` the input of every block, and of one block the rest, which is computed
 * again when its turn comes; without, all of all blocks. Same bits either way. Its work space is the model's own. The model is borrowed. */
SD_MUST_CHECK sd_status sd_backward_create(sd_backward **backward, sd_model *model, bool recompute);
void sd_backward_destroy(sd_backward **backward);
/* Bytes that sd_backward_create() takes for passes of max_tokens. */
uint64_t sd_backward_bytes(const sd_model_config *config, uint64_t max_tokens, bool recompute);

/* A packed batch: documents as in sd_pass. */
typedef struct sd_lesson {
    const int32_t *ids;
    const uint64_t *doc_start;
    uint64_t docs;
    const int32_t *target; /* [n] the id that row should predict; −1: not counted */
    double scale;
} sd_lesson;

/* grad [1, weights] (real, written) = gradient of −scale · Σ log p(target) over the counted rows. logp, best: host arrays [n], or NULL: log p of
 * each row's target and its most likely id, 0 and −1 in rows that are not counted. Logits are made in chunks of counted rows, never all at
 * once. Equal batches give equal bits at any thread count. A NaN in it is not looked for here. Waits. */
SD_MUST_CHECK sd_status sd_backward_run(sd_backward *backward, const sd_lesson *lesson, sd_mat grad, double *logp, int32_t *best);

#endif

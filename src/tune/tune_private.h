#ifndef SAEDIFF_TUNE_PRIVATE_H
#define SAEDIFF_TUNE_PRIVATE_H

#include "saediff/dev/group.h"
#include "saediff/tune/tune.h"

/* The vector of what is learned is cut into blocks of this many elements, filled up with zeros; ranks own whole blocks. */
enum { TUNE_BLOCK = 65536 };

/* Documents of one step: count of them from `first` on in the order of `epoch`. */
typedef struct tune_stretch {
    uint64_t epoch, first, count;
} tune_stretch;

/* The optimiser's state of the slice that this rank owns, and what the ranks exchange. */
typedef struct tune_owner {
    uint64_t blocks;
    sd_span mine;   /* elements of the vector with its filling */
    sd_span *slice; /* [size] of each rank */
    sd_buf *w, *g, *m, *v; /* [mine.count] */
    sd_buf *sums, *norm, *factor; /* f64 [blocks], [1], [1] */
    sd_real *part; /* host [mine.count] */
} tune_owner;

struct sd_tuner {
    const sd_par *par;
    sd_dev *dev;
    sd_group *group;
    sd_tune_spec spec;
    const sd_sft_data *sft_data;
    char *dir;
    sd_model *model;
    sd_backward *backward;
    sd_model_tensor *tensors;
    uint64_t n_tensors;
    const sd_trainable *trainable; /* the backward pass's */
    uint64_t n_trainable, elements;
    uint64_t capacity; /* tokens of a micro-batch, at most */

    uint64_t *learn, n_train, *held, n_held; /* documents */
    tune_stretch *plan;
    uint64_t steps, step;
    uint64_t *order, order_epoch; /* [n_train] of that epoch; UINT64_MAX: of none */

    tune_owner own;
    sd_buf *grad; /* [blocks·TUNE_BLOCK] of one micro-batch; before the first one of a step what is learned */
};

/* pack.c, local and pure. */

/* Deals documents to training and held-out ones, and plans the steps. */
SD_MUST_CHECK sd_status tune_plan(sd_tuner *t);
/* The documents of a step; valid until the next call. */
const uint64_t *tune_documents(sd_tuner *t, uint64_t step);
/* bin[i] = the micro-batch of docs[i]: the first with room; returns their number. filled [count]: tokens of each. */
uint64_t tune_pack(const sd_tuner *t, const uint64_t *docs, uint64_t count, uint64_t *bin, uint64_t *filled);

/* learning.c */

enum { TUNE_NAME = SD_TENSOR_NAME + 32 };
/* peft's name of what is learned: "base_model.model.NAME.lora_A.weight" for a factor; the tensor's own for a tensor. */
void tune_name(const sd_tuner *t, uint64_t i, char name[TUNE_NAME]);
/* Local. What is learned as it begins, [elements]: the model's tensors, factors as drawn. */
SD_MUST_CHECK sd_status tune_start(const sd_tuner *t, sd_real *trainable);

/* owner.c */

/* Local. For what is learned as it begins. */
SD_MUST_CHECK sd_status tune_owner_create(sd_tuner *t);
void tune_owner_destroy(sd_tuner *t);
/* Local. This rank's slice of a vector on the host [elements], which is in `grad` afterwards. */
SD_MUST_CHECK sd_status tune_owner_take(sd_tuner *t, const sd_real *host, sd_buf *slice);
/* This rank's slice as a matrix [blocks, TUNE_BLOCK]; elements follow one another. */
sd_mat tune_owner_all(const sd_tuner *t, sd_buf *buf);
/* Collective. Adds the gradients in `grad` of ranks 0 … sources−1, in their order, to those of earlier rounds of the step. */
SD_MUST_CHECK sd_status tune_owner_add(sd_tuner *t, int sources, bool first);
/* Collective. Norm, clip, AdamW; then the model has the new weights on every rank. */
SD_MUST_CHECK sd_status tune_owner_step(sd_tuner *t, uint64_t step, double lr, double *norm);

#endif

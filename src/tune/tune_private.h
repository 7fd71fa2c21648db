#ifndef SAEDIFF_TUNE_PRIVATE_H
#define SAEDIFF_TUNE_PRIVATE_H

#include "saediff/dev/group.h"
#include "saediff/tune/tune.h"

/* The vector of trainable parameters is padded with zeros to blocks of this many elements; each rank owns whole blocks. */
enum { TUNE_BLOCK = 65536 };

/* The documents of one step: `count` of them, from `first` on in the shuffled order of `epoch`. */
typedef struct tune_step_docs {
    uint64_t epoch, first, count;
} tune_step_docs;

/* Optimiser state of the slice that this rank owns, and buffers of the exchange. */
typedef struct tune_owner {
    uint64_t blocks;
    sd_span mine;   /* elements of the padded vector */
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
    uint64_t max_rows; /* maximum tokens of a micro-batch */

    uint64_t *train, n_train, *held, n_held; /* documents */
    tune_step_docs *plan; /* [steps] */
    uint64_t steps, step;
    uint64_t *order, order_epoch; /* [n_train] documents in the order of that epoch; UINT64_MAX: not set */

    tune_owner own;
    sd_buf *grad; /* [blocks·TUNE_BLOCK] gradient of one micro-batch; between steps the trainable parameters */
};

/* pack.c; Local, without communication. */

/* Splits the documents into training and held-out ones, and assigns training documents to steps. */
SD_MUST_CHECK sd_status tune_plan(sd_tuner *t);
/* The documents of a step; valid until the next call. */
const uint64_t *tune_documents(sd_tuner *t, uint64_t step);
/* First-fit packing: bin[i] = the micro-batch of docs[i], the first one that it fits into. Returns their number. filled [count]: tokens of
 * each micro-batch. */
uint64_t tune_pack(const sd_tuner *t, const uint64_t *docs, uint64_t count, uint64_t *bin, uint64_t *filled);

/* trainable.c */

enum { TUNE_NAME = SD_TENSOR_NAME + 32 };
/* The name that peft gives to trainable parameter i: "base_model.model.NAME.lora_A.weight" for a factor; the tensor's own for a tensor. */
void tune_name(const sd_tuner *t, uint64_t i, char name[TUNE_NAME]);
/* Local. Initial values of the trainable parameters [elements]: the model's tensors; for adapters A random, B zero. */
SD_MUST_CHECK sd_status tune_start(const sd_tuner *t, sd_real *trainable);

/* owner.c */

/* Local. Allocates the buffers and sets the initial values, moments zero. */
SD_MUST_CHECK sd_status tune_owner_create(sd_tuner *t);
void tune_owner_destroy(sd_tuner *t);
/* Local. slice = this rank's slice of a host vector [elements]; `grad` then holds the whole vector. */
SD_MUST_CHECK sd_status tune_owner_take(sd_tuner *t, const sd_real *host, sd_buf *slice);
/* This rank's slice as a matrix [its blocks, TUNE_BLOCK], contiguous. */
sd_mat tune_owner_all(const sd_tuner *t, sd_buf *buf);
/* Collective. Adds the gradients in `grad` of ranks 0 … sources−1, in their order, to the sum over earlier rounds of the step; with
 * `first` the sum starts anew. */
SD_MUST_CHECK sd_status tune_owner_add(sd_tuner *t, int sources, bool first);
/* Collective. Global norm, clip, AdamW on this rank's slice; then every rank gets all slices and sets its model's weights. SD_E_DATA naming
 * step and tensor if the gradient is not finite. */
SD_MUST_CHECK sd_status tune_owner_step(sd_tuner *t, uint64_t step, double lr, double *norm);

#endif

/* What of a model is learned, for the backward pass. Private to model. */
#ifndef SAEDIFF_MODEL_TRAINABLE_H
#define SAEDIFF_MODEL_TRAINABLE_H

#include "model_private.h"
#include "saediff/model/train.h"

typedef struct trainable_set {
    sd_wanted_list list; /* the model's tensors */
    uint8_t *how;        /* [list.count] sd_training */
    uint64_t *place;     /* [list.count] where what is learned of it begins in the vector of that */
    uint64_t lowest;     /* the first tensor of which something is learned */
    uint64_t rank;
    double scale;
    sd_trainable *items; /* [count] */
    uint64_t count, elements;
    sd_buf **start;  /* [list.count] W0 of matrices with factors, else NULL */
    sd_buf *factors; /* [elements] the vector on the device; NULL where no factors are learned */
} trainable_set;

/* Local. W0 is the model as it is; factors are 0. */
SD_MUST_CHECK sd_status trainable_create(trainable_set *s, sd_model *m, const sd_trainable_spec *learning);
void trainable_free(trainable_set *s);
/* Local. As sd_backward_put() and sd_backward_factor(). */
SD_MUST_CHECK sd_status trainable_put(trainable_set *s, sd_model *m, sd_buf *vector);
SD_MUST_CHECK sd_status trainable_factor(const trainable_set *s, sd_model *m, uint64_t i, sd_real *host);

/* The tensors that share the buffer: neighbours in the list. */
sd_span trainable_tensors(const trainable_set *s, sd_buf *const *buffer);
/* Factors of tensor i. */
sd_mat trainable_a(const trainable_set *s, uint64_t i);
sd_mat trainable_b(const trainable_set *s, uint64_t i);

#endif

/* Where a trainer's rows come from: batch `step` of the data order, in device memory. */
#ifndef SAEDIFF_FLOW_SOURCE_H
#define SAEDIFF_FLOW_SOURCE_H

#include "saediff/dev/dev.h"
#include "saediff/flow/order.h"

/* Activation shards (shard.h), version 1: dataset "activations" [rows, d_model] in a floating type. */
#define SD_ACTIVATIONS_FORMAT "saediff.activations"

typedef struct sd_source sd_source;

/* What is done to rows before they are handed out. */
typedef struct sd_transform {
    /* Local. Changes rows [n, d_model] (real, on the device) in place; queued. */
    sd_status (*apply)(void *self, sd_dev *dev, sd_mat rows);
    void *self;
} sd_transform;

/* Local. Activations of one site of one model from its shards (dataset "activations"; paths in stream order).
 * Shapes, ranges and the total against `tokens` are checked. Holds one window of rows in memory. `dev` and `order` are
 * borrowed. */
SD_MUST_CHECK sd_status sd_source_open_shards(sd_source **source, sd_dev *dev, sd_order *order, uint64_t tokens,
                                              const char *const *paths, uint64_t count);
void sd_source_close(sd_source **source);
/* Local. From now on every batch and head goes through it. It outlives the source. */
void sd_source_transform(sd_source *source, sd_transform filter);

/* Local. x = the rows [batch, d_model] of step 0, 1, 2, … in training order, counted through all epochs; valid until the
 * next call. Any step may be asked for; rising steps are cheap. */
SD_MUST_CHECK sd_status sd_source_batch(sd_source *source, uint64_t step, sd_mat *x);

/* Local. The first `rows` rows (≤ one window) of epoch 0 in training order, for initialisation. */
SD_MUST_CHECK sd_status sd_source_head(sd_source *source, uint64_t rows, sd_mat *x);

#endif

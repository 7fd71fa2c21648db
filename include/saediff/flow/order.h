/* The one data order of training: which rows of the token stream come at which step. A pure function of
 * (tokens, seed, batch, window), the same whether activations are read from files or come straight from a model.
 *
 * Epoch e: documents in the order of a keyed permutation; their counted rows (mask 1) one after another form
 * the epoch's stream; the stream is cut into windows of `window` rows; the rows of each window are permuted by
 * another key; batches are consecutive rows of the result. Rows that do not fill the epoch's last batch are left out.
 * Local, no file, no MPI. */
#ifndef SAEDIFF_FLOW_ORDER_H
#define SAEDIFF_FLOW_ORDER_H

#include "saediff/store/tokens.h"

typedef struct sd_order sd_order;

/* window is rounded down to a multiple of batch, at least one batch. `tokens` is borrowed. SD_E_DATA if there are fewer
 * counted rows than one batch. */
SD_MUST_CHECK sd_status sd_order_create(sd_order **order, const sd_tokens *tokens, uint64_t seed, uint64_t batch,
                                        uint64_t window);
void sd_order_destroy(sd_order **order);

uint64_t sd_order_rows(const sd_order *order);            /* counted rows of an epoch */
uint64_t sd_order_steps_per_epoch(const sd_order *order); /* floor(rows / batch) */
uint64_t sd_order_window(const sd_order *order);          /* rows of a full window */
uint64_t sd_order_batch(const sd_order *order);           /* rows of a batch */

/* The stream rows of window w of an epoch in training order: rows [window], the first *count of them, whole batches, are
 * valid. */
SD_MUST_CHECK sd_status sd_order_fill(sd_order *order, uint64_t epoch, uint64_t w, uint64_t *rows, uint64_t *count);

#endif

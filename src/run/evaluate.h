/* Shared by the files of the stage `evaluate`. */
#ifndef SAEDIFF_RUN_EVALUATE_H
#define SAEDIFF_RUN_EVALUATE_H

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/store/shard.h"

/* The packed batches of a job, and this rank's contiguous range of them with its documents. */
typedef struct eval_share {
    run_batch *batch;
    uint64_t n_batches, most_rows;
    sd_span mine;               /* batches */
    uint64_t first_doc, docs;   /* of mine */
} eval_share;

SD_MUST_CHECK sd_status eval_share_create(eval_share *share, const run *r);
void eval_share_free(eval_share *share);

/* Document starts relative to the batch; start [batch->docs + 1]. */
void eval_doc_starts(const run *r, const run_batch *batch, uint64_t *start);

/* Whether the prediction at a row is evaluated: mask 1, or BOS with evaluate.count_bos. */
bool eval_counts(const run *r, uint64_t row);

/* Stored activations of one model at one site, read batch by batch. */
typedef struct eval_rows {
    run *r;
    int m;
    uint64_t site, d, sources;
    sd_shard_reader *reader;
    uint64_t shard; /* open in reader */
    void *stored;   /* [most, d] the last rows read, in the file's type */
    double *row;    /* [d] */
} eval_rows;

/* Local. At most `most` rows in one read. */
SD_MUST_CHECK sd_status eval_rows_open(eval_rows *rows, run *r, int model, uint64_t site, uint64_t most);
void eval_rows_close(eval_rows *rows);
/* Local. Rows first … of the stream into rows->stored. */
SD_MUST_CHECK sd_status eval_rows_read(eval_rows *rows, uint64_t first, uint64_t count);
/* Row i of those, in double; valid until the next call. */
const double *eval_rows_at(eval_rows *rows, uint64_t i);

/* Arrays that batches add to; a loop over batches can be interrupted and resumed with any number of ranks. */
typedef enum eval_kind {
    EVAL_PER_DOCUMENT, /* double [documents of this rank], each document in one batch */
    EVAL_SUM,          /* uint64_t [count], to be summed over the ranks */
    EVAL_SAME          /* double [count], the same on all ranks from the start */
} eval_kind;

typedef struct eval_array {
    eval_kind kind;
    void *data;
    uint64_t count; /* unused for EVAL_PER_DOCUMENT */
} eval_array;

typedef struct eval_partial {
    char folder[RUN_PATH - 32]; /* of its checkpoints, relative to the run folder */
    char key[SD_SHA256_HEX];
    eval_array *array;     /* borrowed data, in an order determined by the key */
    uint64_t count, capacity;
    uint64_t *done;        /* [batches of this rank] 1 if included in the sums */
    uint64_t rows_done;    /* in the checkpoint */
    int newest;            /* index of its name */
    double saved;
} eval_partial;

SD_MUST_CHECK sd_status eval_partial_add(eval_partial *partial, eval_kind kind, void *data, uint64_t count);
void eval_partial_free(eval_partial *partial);
/* Collective. After all arrays were added. *there: a checkpoint with this key was found and loaded. */
SD_MUST_CHECK sd_status eval_partial_load(run *r, const eval_share *share, eval_partial *partial, bool *there);
/* Collective. Calls `work` for each batch of this rank that is not done; after a signal all ranks save and return SD_E_STOPPED within about a second
 * and a batch, and they save every train.checkpoint_minutes. `before`: progress before this loop, in tokens. */
SD_MUST_CHECK sd_status eval_batches(run *r, const eval_share *share, eval_partial *partial,
                                   sd_status (*work)(void *self, const run_batch *batch), void *self, sd_progress *progress,
                                   uint64_t before);
/* Collective. Removes the checkpoints of the folder. */
SD_MUST_CHECK sd_status eval_partial_end(run *r, const char *folder);

/* Collective. mean [2, 1 + sources, d]: over the evaluated rows, then over all rows; each over all texts, then per data entry. NaN without
 * rows. */
SD_MUST_CHECK sd_status eval_means(eval_rows *rows, const eval_share *share, double *mean);

/* Collective. All SAEs of the job on one model at one site. *done: tokens so far. */
SD_MUST_CHECK sd_status eval_site(run *r, const eval_share *share, int model, uint64_t site, sd_model **loaded,
                                  sd_progress *progress, uint64_t *done);

/* Collective. Divergence of the two models, if the job has two. */
SD_MUST_CHECK sd_status eval_models(run *r, const eval_share *share);

#endif

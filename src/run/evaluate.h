/* What the two halves of the stage `evaluate` share. */
#ifndef SAEDIFF_RUN_EVALUATE_H
#define SAEDIFF_RUN_EVALUATE_H

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/store/shard.h"

/* The slabs of a job and this rank's contiguous share of them, with the documents in it. */
typedef struct eval_share {
    run_slab *slab;
    uint64_t n_slabs, most_rows;
    sd_span mine;               /* slabs */
    uint64_t first_doc, docs;   /* of mine */
} eval_share;

SD_MUST_CHECK sd_status eval_share_create(eval_share *share, const run *r);
void eval_share_free(eval_share *share);

/* Document starts of a slab from row 0 on; start [slab->docs + 1]. */
void eval_doc_starts(const run *r, const run_slab *slab, uint64_t *start);

/* A row's prediction, or a position, counts: mask 1, or BOS with evaluate.count_bos. */
bool eval_counts(const run *r, uint64_t row);

/* Stored activations of one model at one site, read slab by slab. */
typedef struct eval_rows {
    run *r;
    int m;
    uint64_t site, d, sources;
    sd_shard_reader *reader;
    uint64_t shard; /* open in reader */
    void *stored;   /* [most, d] the rows read last, in the file's type */
    double *row;    /* [d] */
} eval_rows;

/* Local. At most `most` rows in one read. */
SD_MUST_CHECK sd_status eval_rows_open(eval_rows *rows, run *r, int model, uint64_t site, uint64_t most);
void eval_rows_close(eval_rows *rows);
/* Local. Rows first … of the stream into rows->stored. */
SD_MUST_CHECK sd_status eval_rows_read(eval_rows *rows, uint64_t first, uint64_t count);
/* Row i of those, in double; valid until the next call. */
const double *eval_rows_at(eval_rows *rows, uint64_t i);

/* Collective. mean [2, 1 + sources, d]: of the counted rows, then of all rows; each of everything, then of each data entry. NaN where there
 * is no row. */
SD_MUST_CHECK sd_status eval_means(eval_rows *rows, const eval_share *share, double *mean);

/* Collective. All SAEs of the job on one model at one site. *done counts tokens. */
SD_MUST_CHECK sd_status eval_site(run *r, const eval_share *share, int model, uint64_t site, sd_model **loaded,
                                  sd_progress *progress, uint64_t *done);

/* Collective. Both models side by side, if the job has two. */
SD_MUST_CHECK sd_status eval_models(run *r, const eval_share *share);

#endif

/* What the two halves of the stage `evaluate` share. */
#ifndef SAEDIFF_RUN_EVALUATE_H
#define SAEDIFF_RUN_EVALUATE_H

#include "run_private.h"
#include "saediff/core/log.h"

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

/* Collective. All SAEs of the job on one model at one site. *done counts tokens. */
SD_MUST_CHECK sd_status eval_site(run *r, const eval_share *share, int model, uint64_t site, sd_model **loaded,
                                  sd_progress *progress, uint64_t *done);

/* Collective. Both models side by side, if the job has two. */
SD_MUST_CHECK sd_status eval_models(run *r, const eval_share *share);

#endif

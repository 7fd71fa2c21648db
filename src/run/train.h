/* What the halves of the stage `train` share: its loop, and the checkpoints of SAEs in training. */
#ifndef SAEDIFF_RUN_TRAIN_H
#define SAEDIFF_RUN_TRAIN_H

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/flow/source.h"

/* SAEs of one round: those that read activations, then those that read what the first leave. */
typedef struct trainer {
    run *r;
    bool on_error;      /* the second round; SAEs of another round count as finished */
    uint64_t steps, d_model;
    sd_order *order;
    bool *finished;     /* [n_saes]: its final file is there, or the record of its failure */
    bool *exported;     /* [n_saes]: and so is its export */
    uint64_t *from;     /* [n_saes]: step of the newest checkpoint of each, 0 for none */
    bool *mine;         /* [n_saes]: this rank trains it in this round */
    sd_sae **sae;       /* [n_saes]; NULL where finished, failed or another rank's */
    run_failure *failed; /* [n_saes]: of mine that failed since the last vote; reason "" for none */
    sd_source **source; /* [n_sites * RUN_MODELS], in the second round [n_saes]; NULL where no SAE of mine reads it */
    uint64_t n_sources;
    run_error_sae *rest; /* [n_saes]: before the sources of the second round */
    sd_progress progress;
    double saved; /* when the last checkpoint was written */
} trainer;

/* The newest state of an SAE in training, relative to the run folder. */
void train_checkpoint_path(char out[RUN_PATH], const run *r, const run_sae *s, uint64_t step);

/* Collective. The newest sound checkpoint of an SAE in *newest (0 for none; NULL: not asked); all but the one of step `keep` are
 * withdrawn if `clean`. */
SD_MUST_CHECK sd_status train_find_checkpoint(trainer *t, uint64_t i, uint64_t keep, bool clean, uint64_t *newest);

/* Collective. What kills left of the checkpoints of an SAE goes; all of them if it is finished. */
SD_MUST_CHECK sd_status train_sweep_checkpoints(trainer *t, uint64_t i);

/* Collective. The state at `step` of every SAE that stands there, recorded together; then older ones go. */
SD_MUST_CHECK sd_status train_save_checkpoint(trainer *t, uint64_t step);

/* train_final.c. Where the SAE reads, for its files: the site, and of a residual which SAE leaves it. */
void train_sae_site(char out[RUN_PATH], const run *r, const run_sae *s);

/* Collective. Whether the SAE has its final file and its export, or the record of its failure: finished, exported. */
SD_MUST_CHECK sd_status train_find_final(trainer *t, uint64_t i);
/* Local. An SAE of mine fails by its own data: it leaves the training now, and train_settle_failed() tells the others. */
void train_leave_out(trainer *t, uint64_t i, uint64_t step, const char *reason);
/* Collective. Records what failed since the last time; from here on it counts as finished. */
SD_MUST_CHECK sd_status train_settle_failed(trainer *t);
/* Collective. The files of the SAEs that are trained, and of those that lost their export. */
SD_MUST_CHECK sd_status train_finish(trainer *t);

#endif

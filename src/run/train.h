/* Shared by the files of the stage `train`. */
#ifndef SAEDIFF_RUN_TRAIN_H
#define SAEDIFF_RUN_TRAIN_H

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/flow/source.h"

/* One round of training: first the SAEs on activations, then the error SAEs. */
typedef struct trainer {
    run *r;
    bool on_error;      /* the round of error SAEs; SAEs of the other round count as finished */
    uint64_t steps, d_model;
    sd_order *order;
    bool *finished;     /* [n_saes]: it has its final file, or a recorded failure */
    bool *exported;     /* [n_saes]: it has its export */
    uint64_t *from;     /* [n_saes]: step of the newest checkpoint, 0 for none */
    bool *mine;         /* [n_saes]: this rank trains it in this round */
    sd_sae **sae;       /* [n_saes]; NULL if finished, failed or another rank's */
    run_failure *failed; /* [n_saes]: SAEs of this rank that failed since the last vote; reason "" for none */
    sd_source **source; /* [n_sites * RUN_MODELS], for error SAEs [n_saes]; NULL if no SAE of this rank reads it */
    uint64_t n_sources;
    run_error_sae *error; /* [n_saes]: transforms of the sources of error SAEs */
    sd_progress progress;
    double saved; /* time of the last checkpoint */
} trainer;

/* The newest state of an SAE in training, relative to the run folder. */
void train_checkpoint_path(char out[RUN_PATH], const run *r, const run_sae *s, uint64_t step);

/* Collective. The newest undamaged checkpoint of an SAE in *newest (0 for none; may be NULL); if `clean`, all except the one of step
 * `keep` are withdrawn. */
SD_MUST_CHECK sd_status train_find_checkpoint(trainer *t, uint64_t i, uint64_t keep, bool clean, uint64_t *newest);

/* Collective. Deletes checkpoint files of an SAE that a kill left; all of them if it is finished. */
SD_MUST_CHECK sd_status train_sweep_checkpoints(trainer *t, uint64_t i);

/* Collective. Saves the state of every SAE that is at `step`, records them together, then withdraws older ones. */
SD_MUST_CHECK sd_status train_save_checkpoint(trainer *t, uint64_t step);

/* train_final.c. The input of the SAE, for its files: the site, for an error SAE "SITE minus BASE_SAE". */
void train_sae_site(char out[RUN_PATH], const run *r, const run_sae *s);

/* Collective. Whether the SAE has its final file or a recorded failure (finished), and its export (exported). */
SD_MUST_CHECK sd_status train_find_final(trainer *t, uint64_t i);
/* Local. An SAE of this rank failed to train: removes it; train_settle_failed() informs the others. */
void train_leave_out(trainer *t, uint64_t i, uint64_t step, const char *reason);
/* Collective. Records the SAEs that failed since the last call; they count as finished. */
SD_MUST_CHECK sd_status train_settle_failed(trainer *t);
/* Collective. Writes the files of the trained SAEs, and of those whose export is missing. */
SD_MUST_CHECK sd_status train_finish(trainer *t);

#endif

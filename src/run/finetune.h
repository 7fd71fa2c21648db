/* Shared by the files of the stage `finetune`. */
#ifndef SAEDIFF_RUN_FINETUNE_H
#define SAEDIFF_RUN_FINETUNE_H

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/str.h"
#include "saediff/tune/tune.h"

typedef struct tuning {
    run *r;
    const char *key;
    sd_tokenizer *tokenizer;
    sd_sft_data *sft_data;
    sd_tuner *tuner;
    sd_str log;          /* of all steps since step 0 */
    uint64_t best_step;  /* 0: none yet */
    double best_loss;
    double saved;        /* time of the last checkpoint */
    sd_progress progress;
} tuning;

/* The next record from *at on whose path begins with `prefix`, NULL if none; *at is advanced past it. */
const sd_record *finetune_record(const run *r, const char *prefix, uint64_t *at);

/* Collective. Withdraws paths that begin with `prefix`, except `keep`, and deletes unrecorded files that a kill left. */
SD_MUST_CHECK sd_status finetune_withdraw(run *r, const char *prefix, const char *keep);

/* The settings of the job; points into the job. */
sd_tune_spec finetune_spec(const sd_job *job);

/* sft_data.c. Collective. Opens the tokenizer and reads the training data. */
SD_MUST_CHECK sd_status finetune_data(tuning *t);

/* finetune_folder.c. Collective. Whether the folder is complete: every recorded file, the copied files, and weights that fit config.json. */
SD_MUST_CHECK sd_status finetune_finished(run *r, const char *key, bool *finished);

/* Collective. Writes folder, adapters and log, and records them; checkpoints are kept. */
SD_MUST_CHECK sd_status finetune_finish(tuning *t);

#endif

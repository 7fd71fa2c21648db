/* What the files of the stage finetune share. */
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
    sd_str log;          /* of the whole training, from step 0 on */
    uint64_t best_step;  /* 0: none yet */
    double best_loss;
    double saved;        /* when */
    sd_progress progress;
} tuning;

/* The record at or behind *at whose path begins with `prefix`, NULL if there is none; *at is set behind it. */
const sd_record *finetune_record(const run *r, const char *prefix, uint64_t *at);

/* Collective. Withdraws what begins with `prefix`, but not `keep`; files without a record that a kill left go too. */
SD_MUST_CHECK sd_status finetune_withdraw(run *r, const char *prefix, const char *keep);

/* What the job's keys say; points into the job. */
sd_tune_spec finetune_spec(const sd_job *job);

/* lessons.c. Collective. Opens the tokenizer and reads all lessons. */
SD_MUST_CHECK sd_status finetune_data(tuning *t);

/* finetune_folder.c. Collective. Whether the folder is whole: every recorded file, the files that were copied, and weights that fit config.json. */
SD_MUST_CHECK sd_status finetune_finished(run *r, const char *key, bool *finished);

/* Collective. Writes folder, adapters and log, and records them; checkpoints stay. */
SD_MUST_CHECK sd_status finetune_finish(tuning *t);

#endif

/* What the halves of `saediff check` share. */
#ifndef SAEDIFF_RUN_CHECK_H
#define SAEDIFF_RUN_CHECK_H

#include "run_private.h"

typedef struct estimate {
    run *r;
    double documents, tokens;
    double sft_data; /* tokens of an epoch of finetune */
    double sft_documents;
    double trainable; /* parameters */
    uint64_t adapters;
    double flops[SD_STAGES], disk[SD_STAGES];
    double memory;       /* of the rank that needs most */
    double together;     /* SAEs that are trained at a time, at most */
    double flops_rate;   /* of one rank */
    uint64_t train_steps;
} estimate;

/* check_estimate.c, local. Documents and tokens, with a line for each entry of data and lessons; what the stages then take. */
SD_MUST_CHECK sd_status check_estimate_tokens(estimate *e);
SD_MUST_CHECK sd_status check_estimate_work(estimate *e);

#endif

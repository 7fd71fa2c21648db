/* Shared by the files of `saediff check`. */
#ifndef SAEDIFF_RUN_CHECK_H
#define SAEDIFF_RUN_CHECK_H

#include "run_private.h"

typedef struct estimate {
    run *r;
    double documents, tokens;
    double sft_data; /* tokens of one epoch of finetune */
    double sft_documents;
    double trainable; /* parameters */
    uint64_t adapters;
    double flops[SD_STAGES], disk[SD_STAGES];
    double memory;       /* per rank, the maximum over ranks */
    double together;     /* maximum number of SAEs trained at the same time */
    double flops_rate;   /* per rank */
    uint64_t train_steps;
} estimate;

/* check_estimate.c, local. Counts documents and tokens, prints a line for each entry of data and finetune.data, and estimates the cost of each stage. */
SD_MUST_CHECK sd_status check_estimate_tokens(estimate *e);
SD_MUST_CHECK sd_status check_estimate_work(estimate *e);

#endif

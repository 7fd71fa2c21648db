/* Runs a job: the table of stages, which of their artefacts are finished, and the loops that join text, models, files and trainers.
 *
 * A run folder:
 *   manifest.log                          records of the finished artefacts, see store/manifest.h
 *   kernel.txt                            the arithmetic kernel that the run started with; resuming with another gives a warning
 *   tokens/tokens.h5                      the token stream; labels.h5: the labels of each document
 *   model/                                the tuned model if the job has finetune, as a Hugging Face folder; finetune/log.jsonl: the log of
 *                                         each step; finetune/adapter/: the LoRA adapters; finetune/checkpoint-STEP.h5 and best-STEP.h5 during training
 *   acts/MODEL/SITE/shard-000000.h5 …     activations of MODEL (base, tuned) at SITE; view.h5 beside them for h5py
 *   acts/MODEL/loss/shard-000000.h5 …     negative log-likelihood of each next token (extract.loss)
 *   sae/SITE/NAME/sae.h5                  trained SAE; sae_weights.safetensors and cfg.json beside it in SAELens layout;
 *                                         checkpoint-STEP.h5 during training; only failed.json, with the reason,
 *                                         if the SAE diverged or its activations are all zero: later stages exclude it
 *   codes/MODEL/SITE/NAME/shard-000000.h5 …
 *   eval/MODEL/SITE/NAME/eval.h5          fidelity of the SAE on MODEL, as sums per document
 *   eval/models.h5                        divergence of the two models; checkpoint-a.h5 or -b.h5 here and in eval/MODEL/SITE during
 *                                         the stage
 *   diff/SITE/NAME/diff.h5                change of each latent between the models
 *   diff/SITE/NAME/detection.h5           label detection, if the data has labels
 *   match/SITE/NAME/match.h5              the base SAE matched with the one trained on the tuned model (train.on)
 *   report/README.md, index.html, results.json, *.csv, plots/
 *   run.lock                              lock of the run that writes here
 *   run.json                              times, ranks, hosts, device, rates: the only file in which two equal runs differ */
#ifndef SAEDIFF_RUN_RUN_H
#define SAEDIFF_RUN_RUN_H

#include "saediff/par/par.h"
#include "saediff/run/job.h"

typedef struct sd_run_spec {
    const sd_job *job;
    const char *job_json;   /* effective configuration, for the report */
    const char *device;     /* auto, cpu, strict */
    int threads;            /* 0: as many as the process may use */
    bool fresh;             /* discard the earlier results of the stages to run */
    bool stage[SD_STAGES];  /* what to run */
    const char *command;    /* for run.json */
} sd_run_spec;

/* The name of a stage: "tokenize", … */
const char *sd_stage_name(sd_stage_id stage);

/* Collective. Runs the chosen stages in order; artefacts that the manifest records as finished are skipped. A missing input is
 * SD_E_USAGE naming the stage to run first. SAEs that fail to train are excluded, and give SD_E_DATA when everything else is done. SD_E_STOPPED after a
 * signal; finished artefacts are kept. */
SD_MUST_CHECK sd_status sd_run(const sd_par *par, const sd_run_spec *spec);

/* Collective. Opens and checks every file of the job without computing, then prints the plan on standard output: documents, tokens, work
 * per stage, memory per rank, disk, expected time. SD_E_ENV if the disk is too small. */
SD_MUST_CHECK sd_status sd_run_check(const sd_par *par, const sd_run_spec *spec);

/* Collective. Compares every artefact of a run folder with the manifest and every block with its checksum. Prints a line per damaged artefact
 * on standard output; SD_E_DATA if there is one. Damaged artefacts are withdrawn, so that the next run rebuilds just those, unless a run holds the
 * lock or the folder is not writable. */
SD_MUST_CHECK sd_status sd_run_verify(const sd_par *par, const char *folder);

#endif

/* Carrying out a job: the table of stages, what is finished and what is not, and the pumps that join text, model, files and trainers.
 *
 * A run folder:
 *   manifest.log                          what is whole, see store/manifest.h
 *   kernel.txt                            the arithmetic kernel the run was begun with; another one later is warned about
 *   tokens/tokens.h5                      the token stream; labels.h5 beside it what the data's labels say of each document
 *   model/                                the tuned model where the job has finetune, as a Hugging Face folder; finetune/log.jsonl tells how
 *                                         it came to be; finetune/adapter/ are its adapters by themselves; finetune/checkpoint-STEP.h5 and best-STEP.h5 while it is tuned
 *   acts/MODEL/SITE/shard-000000.h5 …     activations of MODEL (base, tuned) at SITE; view.h5 beside them for h5py
 *   acts/MODEL/loss/shard-000000.h5 …     negative log-likelihood of each next token (extract.loss)
 *   sae/SITE/NAME/sae.h5                  trained SAE; sae_weights.safetensors and cfg.json beside it in SAELens layout;
 *                                         checkpoint-STEP.h5 while training goes on; failed.json alone, with the reason,
 *                                         where the SAE diverged or its activations are all zero: later stages do without it
 *   codes/MODEL/SITE/NAME/shard-000000.h5 …
 *   eval/MODEL/SITE/NAME/eval.h5          what the SAE is worth on MODEL, as sums per document
 *   eval/models.h5                        the two models side by side; checkpoint-a.h5 or -b.h5 here and in eval/MODEL/SITE while
 *                                         they are worked on
 *   diff/SITE/NAME/diff.h5                the SAE on both models
 *   diff/SITE/NAME/detection.h5                which latents tell the labels of the documents, where the data has labels
 *   match/SITE/NAME/match.h5              the SAE against the one trained on the tuned model (train.on)
 *   report/README.md, index.html, results.json, *.csv, plots/
 *   run.lock                              held by the run that writes here
 *   run.json                              times, ranks, hosts, device, rates: nothing else differs between two equal runs */
#ifndef SAEDIFF_RUN_RUN_H
#define SAEDIFF_RUN_RUN_H

#include "saediff/par/par.h"
#include "saediff/run/job.h"

typedef struct sd_run_spec {
    const sd_job *job;
    const char *job_json;   /* effective configuration, for the report */
    const char *device;     /* auto, cpu, strict */
    int threads;            /* 0: as many as the process may use */
    bool fresh;             /* withdraw everything the asked-for stages made before */
    bool stage[SD_STAGES];  /* what to run */
    const char *command;    /* for run.json */
} sd_run_spec;

/* The word of a stage: "tokenize", … */
const char *sd_stage_name(sd_stage_id stage);

/* Collective. Runs the asked-for stages in order; what the manifest says is finished is skipped. A stage whose input is missing is
 * SD_E_USAGE naming the stage to run first. SAEs that fail by their own data are left out, and are SD_E_DATA when all else is done. SD_E_STOPPED after a signal, with everything finished so far kept. */
SD_MUST_CHECK sd_status sd_run(const sd_par *par, const sd_run_spec *spec);

/* Collective. No computing: opens and checks every file the job names, then prints the plan on standard output: documents, tokens, work
 * per stage, memory of a rank, disk, expected time. SD_E_ENV if the disk will not hold it. */
SD_MUST_CHECK sd_status sd_run_check(const sd_par *par, const sd_run_spec *spec);

/* Collective. Compares every artefact of a run folder with the manifest and every block with its checksum. Prints a line per damaged artefact
 * on standard output; SD_E_DATA if there is one. Damaged artefacts are withdrawn, so that the next run makes just those anew, unless a run has
 * the folder or it cannot be written. */
SD_MUST_CHECK sd_status sd_run_verify(const sd_par *par, const char *folder);

#endif

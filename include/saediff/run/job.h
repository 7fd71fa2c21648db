/* A job: one study, as its file describes it. The table of keys that fills this struct is app/keys.c; defaults are text there and pass
 * the same parser as the user's words. */
#ifndef SAEDIFF_RUN_JOB_H
#define SAEDIFF_RUN_JOB_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sd_stage_id {
    SD_STAGE_TOKENIZE,
    SD_STAGE_FINETUNE,
    SD_STAGE_EXTRACT,
    SD_STAGE_TRAIN,
    SD_STAGE_ENCODE,
    SD_STAGE_EVALUATE,
    SD_STAGE_DIFF,
    SD_STAGE_REPORT,
    SD_STAGES
} sd_stage_id;

typedef struct sd_job_list {
    char **item;
    uint64_t count;
} sd_job_list;

typedef struct sd_job_data {
    char *name;
    sd_job_list paths; /* key path: files or patterns, resolved; at least one */
    char *format, *field, *separator; /* separator "" for none */
    /* Paths in a record, "" for none. In finetune.data the prompt is context and the completion is supervised. */
    char *messages, *prompt, *completion;
    char *prompt_format; /* of chats: templated, substituted, plain, raw; NULL in finetune.data */
    char *supervise;     /* of chats in finetune.data: assistant, all; NULL in data */
    sd_job_list labels; /* members of a record that label the document; unused in finetune.data */
    bool shuffle;
    uint64_t skip, limit, min_chars;
    uint64_t max_tokens; /* of data; 0: no limit */
} sd_job_data;

typedef struct sd_job_numbers {
    uint64_t *item;
    uint64_t count;
} sd_job_numbers;

typedef struct sd_job {
    char *path;        /* of the job file */
    bool has[SD_STAGES]; /* the stage's section is in the job */
    char *name;
    char *seed_text; /* decimal digits; beyond 2^53 too */
    uint64_t seed;
    char *out;                  /* run folder, relative to the job file unless absolute or given with --out */
    char *compute;              /* f32, bf16, f16, auto */
    uint64_t pipeline;           /* pipeline stages of a model in extract */
    char *base, *tuned;         /* model folders, paths resolved; tuned "" where the job has none */
    sd_job_data *data;
    uint64_t n_data;
    sd_job_data *sft_data; /* finetune.data */
    uint64_t n_sft_data;

    struct {
        uint64_t context, max_tokens; /* 0: the model's context; no limit */
        bool mask_special;
        char *template_file, *date;  /* "" for the model's own; YYYY-MM-DD */
        sd_job_list substitute;      /* "from:to", token ids */
    } tokenize;
    struct {
        uint64_t context;          /* 0: the model's */
        bool end;                  /* append the end-of-text token to every document */
        double epochs;
        uint64_t steps;            /* 0: as epochs say */
        uint64_t batch, micro_batch;     /* tokens */
        double lr, final;
        char *schedule;            /* constant, linear, cosine */
        uint64_t warmup;
        double beta1, beta2, eps, decay, clip;
        double held_out;           /* share of the documents */
        uint64_t eval_steps;       /* 0: at the end only */
        char *keep;                /* last, best */
        sd_job_list freeze;
        uint64_t lora_rank;        /* 0: no adapters */
        double lora_alpha;         /* 0: twice the rank */
        sd_job_list lora_targets;  /* none: all matrices of the blocks */
        bool recompute;
        char *dtype;               /* of the folder: f32, bf16, f16 */
        char *template_file;       /* "" for the base model's */
        double save_minutes;
        uint64_t save_steps; /* 0: by time only */
    } finetune;
    struct {
        sd_job_list sites; /* as written; see model/site.h */
        char *dtype;       /* f32, bf16, f16 */
        uint64_t shard_tokens, batch_tokens;
        bool loss;      /* also the next-token loss */
        bool loss_bos;  /* include the prediction made at BOS in the mean loss */
    } extract;
    struct {
        sd_job_numbers sizes, ks; /* keys sae.latents, sae.k: a number or a list; every size with every k, on every site */
        uint64_t k_aux, dead_tokens;
        double aux_coef;
    } sae;
    struct {
        sd_job_list on; /* "base", "tuned": whose activations SAEs are trained on */
        uint64_t batch, window, init_rows;
        double epochs; /* may be a fraction */
        double lr;     /* 0: 2e-4 / sqrt(latents / 16384) */
        uint64_t warmup;
        double decay;  /* share of the steps at the end */
        double beta1, beta2, eps, clip;
        double checkpoint_minutes;
        uint64_t checkpoint_steps; /* 0: by time only */
    } train;
    struct {
        bool count_bos;     /* include predictions made at BOS */
        bool all_positions; /* the two models are compared at every position */
        double min_ce_recovered, l0_low, l0_high, max_dead, max_redundancy; /* health */
        uint64_t resamples; /* of the intervals */
    } evaluate;
    struct {
        uint64_t flips;
        double match_cosine, match_correlation, match_margin;
        uint64_t label_permutations;
        double label_auroc;
    } diff;
    struct {
        uint64_t top;
        char *gnuplot; /* program that draws; "" for none */
        char *plotly;  /* its script; "" where the job names none */
    } report;
} sd_job;

void sd_job_destroy(sd_job **job);

#endif

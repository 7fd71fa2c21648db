/* One SAE on two models: what fires more, less, stronger, weaker. First version: per-latent sums over the counted tokens (mask 1), both
 * models on the same tokens. */
#ifndef SAEDIFF_DIFF_DIFF_H
#define SAEDIFF_DIFF_DIFF_H

#include "saediff/par/par.h"
#include "saediff/stat/stat.h"
#include "saediff/store/tokens.h"

/* The SAE on one model. */
typedef struct sd_diff_side {
    sd_latent_sums sums;
    double ev;            /* explained variance: 1 − Σ‖x−x̂‖² / Σ‖x−μ‖² over the counted tokens */
    double l0;            /* mean number of active latents of a counted token */
    double sse, spread;   /* the two sums of EV */
    uint64_t dead;        /* latents that never fire on the counted tokens; their rate is at most 3/n with 95 % confidence */
} sd_diff_side;

typedef struct sd_diff {
    char *site;          /* TransformerLens name */
    uint64_t latents, k, tokens, docs; /* tokens: counted; docs: with at least one counted token */
    sd_diff_side base, tuned;
    /* Per latent, tuned − base. Frequency φ = count/n, mean A = sum/n, active mean M = sum/count (NaN where count = 0 on a side). */
    double *d_frequency, *d_mean, *d_active_mean, *frequency_part, *magnitude_part; /* [latents] */
} sd_diff;

typedef struct sd_diff_spec {
    const char *site;
    const char *const *base_codes, *const *tuned_codes; /* paths of codes shards in stream order */
    uint64_t shards;
    const sd_tokens *tokens;
} sd_diff_spec;

/* Collective. Shards are dealt to ranks, merged on rank 0 in shard order: the same bits at any rank count. *diff on rank 0, NULL on the
 * others. Shards that do not cover the tokens, or disagree in latents between the models, are SD_E_DATA. */
SD_MUST_CHECK sd_status sd_diff_run(const sd_par *par, const sd_diff_spec *spec, sd_diff **diff);
void sd_diff_destroy(sd_diff **diff);

/* Local. Bundle "saediff.diff" version 1 with every array of both sides and of the change. */
SD_MUST_CHECK sd_status sd_diff_write(const sd_diff *diff, const char *path);
SD_MUST_CHECK sd_status sd_diff_read(sd_diff **diff, const char *path);

#endif

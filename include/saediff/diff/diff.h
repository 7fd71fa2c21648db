/* One SAE on two models, paired by token: the change of each latent's frequency and mean activation, with standard errors and tests. Everything is
 * over the evaluated tokens (mask 1); δ = a_tuned − a_base of a latent on one token.
 *
 * Standard errors treat documents as clusters, since tokens of one document are dependent. With S_d the sum of δ over document d, n_d its
 * evaluated tokens, N = Σ n_d, G the documents with n_d > 0 and m = Σ S_d / N:
 *   se² = G/(G−1) · Σ_d (S_d − n_d m)² / N²
 * the cluster-robust variance of a mean (Liang & Zeger, Biometrika 1986; the factor is CR1 of Cameron & Miller, J. Human Resources 2015).
 * t = m / se has G − 1 degrees of freedom; p is two-sided. */
#ifndef SAEDIFF_DIFF_DIFF_H
#define SAEDIFF_DIFF_DIFF_H

#include "saediff/par/par.h"
#include "saediff/stat/stat.h"
#include "saediff/store/tokens.h"

/* A change per latent, arrays [latents]. t is 0 and p is 1 if mean and se are both 0; NaN if only se is, or if G < 2. q: Benjamini–Hochberg
 * over the tested latents, NaN for the others. */
typedef struct sd_diff_effect {
    double *mean, *se, *t, *p, *q;
} sd_diff_effect;

/* The documents an effect is measured on. The selection split selects latents, the estimation split estimates their effects: selecting and
 * reporting on the same documents would overestimate them. The split follows from the job's seed. */
typedef enum sd_diff_docs { SD_DIFF_ALL, SD_DIFF_SELECTION, SD_DIFF_ESTIMATION, SD_DIFF_PARTS } sd_diff_docs;

typedef struct sd_diff_part {
    uint64_t docs, tokens; /* evaluated */
    double quantile;       /* 97.5 % of Student's t with docs − 1 degrees; NaN for docs < 2: the interval is mean ± quantile · se */
    sd_diff_effect value, frequency; /* of the mean activation, SAE units per token; of the frequency */
} sd_diff_part;

/* Tested latents fire on at least this many evaluated tokens, both models together. The rule does not depend on δ. */
enum { SD_DIFF_SUPPORT = 20 };
/* Above this FVU on the tuned model, as a multiple of the base model's, the SAE no longer describes the tuned model. */
#define SD_DIFF_FVU_LIMIT 1.25

/* The SAE on one model. */
typedef struct sd_diff_side {
    sd_latent_sums sums;
    double ev;            /* explained variance: 1 − Σ‖x−x̂‖² / Σ‖x−μ‖² over the evaluated tokens */
    double l0;            /* mean number of active latents of a evaluated token */
    double sse, spread;   /* the two sums of EV */
    uint64_t dead;        /* latents that never fire on the evaluated tokens; their rate is at most 3/n with 95 % confidence */
    double error_norm;      /* mean ‖x − x̂‖ of a evaluated token */
    double error_norm_low, error_norm_high; /* its 95 % interval over documents; NaN without resamples */
    /* compat: as defined by a published study (S2), over every token of the stream, including masked ones. (The study also counts the
     * padding of its batches; a stream has none.) */
    uint64_t *compat_count; /* [latents] tokens on which the latent fires */
    double *compat_sum;     /* [latents] Σ value */
    double compat_error_norm; /* mean ‖x − x̂‖ */
} sd_diff_side;

typedef struct sd_diff {
    char *site;          /* TransformerLens name */
    char *trained_on;    /* training data of the SAE: "base", "tuned" or "error" */
    uint64_t latents, k, tokens, docs; /* evaluated tokens, and documents with at least one */
    sd_diff_side base, tuned;
    /* Per latent, tuned − base. Frequency φ = count/n, mean A = sum/n, active mean M = sum/count (NaN if count = 0). */
    double *d_frequency, *d_mean, *d_active_mean, *frequency_part, *magnitude_part; /* [latents] */

    /* The same change with standard errors and tests. part[SD_DIFF_ALL].value.mean is d_mean up to rounding. */
    sd_diff_part part[SD_DIFF_PARTS];
    uint64_t *only_tuned, *only_base; /* tokens on which the latent fires in this model only */
    double *mcnemar_p, *mcnemar_q;    /* exact: two-sided binomial of the smaller of the two at ½ */
    double *d_z;         /* mean δ / sd δ over tokens; 0 if both are 0, NaN if only sd is */
    double *log2_ratio;  /* log2((A_tuned + ε) / (A_base + ε)) */
    double *maxt_p;      /* Westfall–Young single step, from `flips` joint sign flips of documents; NaN for latents that are not tested */
    double epsilon;      /* ε = half of the smallest positive activation in either model */
    uint64_t tested, flips;

    double fvu_ratio;         /* (1 − tuned.ev) / (1 − base.ev): above SD_DIFF_FVU_LIMIT the SAE is out of distribution */
    double error_norm_increase; /* tuned.error_norm / base.error_norm − 1 */
    double error_norm_increase_low, error_norm_increase_high; /* both models resampled together */
    uint64_t compat_tokens; /* of the stream */
} sd_diff;

typedef struct sd_diff_spec {
    const char *site;
    const char *const *base_codes, *const *tuned_codes; /* paths of codes shards in stream order */
    uint64_t shards;
    const sd_tokens *tokens;
    const char *trained_on; /* NULL: "base" */
    uint64_t seed;  /* of the split and the flips */
    uint64_t flips; /* sign flips for maxt_p; 0: maxt_p is NaN */
    uint64_t resamples; /* bootstrap resamples of documents for the intervals of error_norm; 0: none */
    uint64_t tile;  /* per-document sums held at a time, 24 bytes each; 0: 4 Mi. Does not affect results */
} sd_diff_spec;

/* Collective. First the shards are distributed over the ranks and merged on rank 0 in shard order; then the latents are distributed, and each rank reads all
 * shards for its own, with at most `tile` sums per document at a time. The same bits at any rank count. *diff on rank 0, NULL on the
 * others. Shards that do not cover the tokens, or disagree in latents between the models, are SD_E_DATA. After a signal SD_E_STOPPED on all
 * ranks, within the time of one shard. */
SD_MUST_CHECK sd_status sd_diff_run(const sd_par *par, const sd_diff_spec *spec, sd_diff **diff);
void sd_diff_destroy(sd_diff **diff);

/* True if the latent fires on at least SD_DIFF_SUPPORT tokens. */
bool sd_diff_is_tested(const sd_diff *diff, uint64_t latent);

/* Local. Bundle "saediff.diff" version 5 with every array of both sides and of the change. */
SD_MUST_CHECK sd_status sd_diff_write(const sd_diff *diff, const char *path);
SD_MUST_CHECK sd_status sd_diff_read(sd_diff **diff, const char *path);

#endif

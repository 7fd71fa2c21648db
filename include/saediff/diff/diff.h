/* One SAE on two models, paired by token: what fires more, less, stronger, weaker, and how sure that is. Everything is over the
 * counted tokens (mask 1); δ = a_tuned − a_base of a latent on one token.
 *
 * Standard errors take the document as the unit (tokens of one document hang together). With S_d the sum of δ over document d, n_d its
 * counted tokens, N = Σ n_d, G the documents with n_d > 0 and m = Σ S_d / N:
 *   se² = G/(G−1) · Σ_d (S_d − n_d m)² / N²
 * the cluster-robust variance of a mean (Liang & Zeger, Biometrika 1986; the factor is CR1 of Cameron & Miller, J. Human Resources 2015).
 * t = m / se has G − 1 degrees of freedom; p is two-sided. */
#ifndef SAEDIFF_DIFF_DIFF_H
#define SAEDIFF_DIFF_DIFF_H

#include "saediff/par/par.h"
#include "saediff/stat/stat.h"
#include "saediff/store/tokens.h"

/* A change per latent, arrays [latents]. t is 0 and p 1 where mean and se are both 0; NaN where only se is, or G < 2. q: Benjamini–Hochberg
 * over the tested latents, NaN for the others. */
typedef struct sd_diff_effect {
    double *mean, *se, *t, *p, *q;
} sd_diff_effect;

/* The documents an effect is measured on. Half A is for choosing latents, half B for saying how large their effects are: a list that is
 * chosen and reported on the same documents exaggerates. Which half a document is in follows from the job's seed. */
typedef enum sd_diff_docs { SD_DIFF_ALL, SD_DIFF_SELECTION, SD_DIFF_ESTIMATION, SD_DIFF_PARTS } sd_diff_docs;

typedef struct sd_diff_part {
    uint64_t docs, tokens; /* counted */
    double quantile;       /* 97.5 % of Student's t with docs − 1 degrees; NaN for docs < 2: the interval is mean ± quantile · se */
    sd_diff_effect value, frequency; /* of mean activation, SAE units a token; of the share of tokens it fires on */
} sd_diff_part;

/* A tested latent fires on at least this many counted tokens, both models together. The rule does not look at δ. */
enum { SD_DIFF_SUPPORT = 20 };
/* Above this FVU on the tuned model, as a multiple of the base model's, the SAE no longer describes the tuned model. */
#define SD_DIFF_FVU_LIMIT 1.25

/* The SAE on one model. */
typedef struct sd_diff_side {
    sd_latent_sums sums;
    double ev;            /* explained variance: 1 − Σ‖x−x̂‖² / Σ‖x−μ‖² over the counted tokens */
    double l0;            /* mean number of active latents of a counted token */
    double sse, spread;   /* the two sums of EV */
    uint64_t dead;        /* latents that never fire on the counted tokens; their rate is at most 3/n with 95 % confidence */
    double error_norm;      /* mean ‖x − x̂‖ of a counted token */
    double error_norm_low, error_norm_high; /* its 95 % interval over documents; NaN without resamples */
    /* compat: as a published comparison of a fine-tuned model counts, over every token of the stream, those that the mask leaves out too. (It counts the
     * padding of its batches besides, of which a stream has none.) */
    uint64_t *compat_count; /* [latents] tokens on which the latent fires */
    double *compat_sum;     /* [latents] Σ value */
    double compat_error_norm; /* mean ‖x − x̂‖ */
} sd_diff_side;

typedef struct sd_diff {
    char *site;          /* TransformerLens name */
    char *trained_on;    /* "base" or "tuned": whose activations the SAE was trained on */
    uint64_t latents, k, tokens, docs; /* tokens: counted; docs: with at least one counted token */
    sd_diff_side base, tuned;
    /* Per latent, tuned − base. Frequency φ = count/n, mean A = sum/n, active mean M = sum/count (NaN where count = 0 on a side). */
    double *d_frequency, *d_mean, *d_active_mean, *frequency_part, *magnitude_part; /* [latents] */

    /* The same change with its uncertainty. part[SD_DIFF_ALL].value.mean is d_mean up to rounding. */
    sd_diff_part part[SD_DIFF_PARTS];
    uint64_t *only_tuned, *only_base; /* tokens on which the latent fires in this model alone */
    double *mcnemar_p, *mcnemar_q;    /* exact: two-sided binomial of the smaller of the two at ½ */
    double *d_z;         /* mean δ / sd δ over tokens; 0 where both are 0, NaN where only sd is */
    double *log2_ratio;  /* log2((A_tuned + ε) / (A_base + ε)) */
    double *maxt_p;      /* Westfall–Young single step, from `flips` joint sign flips of documents; NaN for latents that are not tested */
    double epsilon;      /* ε = half of the smallest positive code of both models */
    uint64_t tested, flips;

    double fvu_ratio;         /* (1 − tuned.ev) / (1 − base.ev): above SD_DIFF_FVU_LIMIT the SAE is out of its distribution */
    double error_norm_increase; /* tuned.residual / base.residual − 1 */
    double error_norm_increase_low, error_norm_increase_high; /* both models resampled together */
    uint64_t compat_tokens; /* of the stream */
} sd_diff;

typedef struct sd_diff_spec {
    const char *site;
    const char *const *base_codes, *const *tuned_codes; /* paths of codes shards in stream order */
    uint64_t shards;
    const sd_tokens *tokens;
    const char *trained_on; /* NULL: "base" */
    uint64_t seed;  /* of the halves and the flips */
    uint64_t flips; /* sign flips for maxt_p; 0: maxt_p is NaN */
    uint64_t resamples; /* of documents, for the intervals of the residuals; 0: none */
    uint64_t tile;  /* sums per document and latent held at a time, 24 bytes each; 0: 4 Mi. Shows in no number */
} sd_diff_spec;

/* Collective. First shards are dealt to ranks and merged on rank 0 in shard order; then latents are dealt, and each rank goes through all shards
 * for its own, with at most `tile` sums per document at a time. The same bits at any rank count. *diff on rank 0, NULL on the
 * others. Shards that do not cover the tokens, or disagree in latents between the models, are SD_E_DATA. SD_E_STOPPED on all ranks
 * within a shard's time after a signal. */
SD_MUST_CHECK sd_status sd_diff_run(const sd_par *par, const sd_diff_spec *spec, sd_diff **diff);
void sd_diff_destroy(sd_diff **diff);

/* True if the latent fires on enough tokens to be tested. */
bool sd_diff_is_tested(const sd_diff *diff, uint64_t latent);

/* Local. Bundle "saediff.diff" version 4 with every array of both sides and of the change. */
SD_MUST_CHECK sd_status sd_diff_write(const sd_diff *diff, const char *path);
SD_MUST_CHECK sd_status sd_diff_read(sd_diff **diff, const char *path);

#endif

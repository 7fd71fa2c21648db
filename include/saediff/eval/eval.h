/* Fidelity of an SAE inside its model: sums per document, and the measures computed from them.
 *
 * S is the set of evaluated tokens (mask 1). Every measure is a ratio of sums over S, so it is defined for any set of documents, and documents
 * can be resampled. x is a row at the SAE's site, x̂ its reconstruction, f its latent activations, in raw units unless stated otherwise. P_c(t) is the
 * model's prediction at t when x is replaced by c: clean (x), sae (x̂), zero (0), mean (μ over S of this model at this site). Positions
 * with mask 0 always keep x. CE and KL are taken at positions of S that have a next token in their document, and at BOS
 * too if evaluate.count_bos.
 *
 * NaN stays NaN and nothing is clamped, except compat.* measures that their authors clamp. All Local. */
#ifndef SAEDIFF_EVAL_EVAL_H
#define SAEDIFF_EVAL_EVAL_H

#include <stdbool.h>

#include "saediff/stat/bootstrap.h"
#include "saediff/stat/stat.h"

/* Sums of one document: name, unit, about. */
#define SD_EVAL_COLUMNS(X)                                                                                                   \
    X(tokens, "tokens", "evaluated tokens")                                                                                    \
    X(sse, "squared activation units", "sum of |x - y|^2, y the reconstruction")                                             \
    X(spread, "squared activation units", "sum of |x - mean|^2, mean over all evaluated tokens")                               \
    X(spread_source, "squared activation units", "sum of |x - mean|^2, mean over the evaluated tokens of the same data entry") \
    X(x2, "squared activation units", "sum of |x|^2")                                                                        \
    X(y2, "squared activation units", "sum of |y|^2")                                                                        \
    X(xy, "squared activation units", "sum of x.y")                                                                          \
    X(cosine, "1", "sum of cos(x, y)")                                                                                       \
    X(ratio, "1", "sum of |y| / |x|")                                                                                        \
    X(l0, "latents", "sum of the number of active latents")                                                                  \
    X(l1, "SAE units", "sum of the latent activations")                                                                                   \
    X(all_tokens, "tokens", "all tokens, including masked ones")                                                                   \
    X(all_sse, "squared activation units", "as sse over all tokens")                                                         \
    X(all_spread, "squared activation units", "sum of |x - mean|^2 over all tokens, mean over all tokens")                   \
    X(all_spread_source, "squared activation units", "as all_spread, mean over all tokens of the same data entry")           \
    X(all_l0_before, "latents", "sum over all tokens of the number of positive pre-activations, before TopK")                \
    X(predictions, "tokens", "positions with an evaluated prediction")                                                       \
    X(ce_clean, "nats", "sum of -log p(next token), clean model")                                                     \
    X(ce_sae, "nats", "the same with the reconstruction")                                                           \
    X(ce_zero, "nats", "the same with zero ablation")                                                                        \
    X(ce_mean, "nats", "the same with mean ablation")                                                                    \
    X(kl_sae, "nats", "sum of KL(P_clean | P_sae)")                                                                          \
    X(kl_zero, "nats", "sum of KL(P_clean | P_zero)")                                                                        \
    X(kl_mean, "nats", "sum of KL(P_clean | P_mean)")

typedef enum sd_eval_column {
#define SD_EVAL_ENUM(name, unit, about) SD_EVAL_##name,
    SD_EVAL_COLUMNS(SD_EVAL_ENUM)
#undef SD_EVAL_ENUM
        SD_EVAL_WIDTH
} sd_eval_column;

/* One SAE on one model. */
typedef struct sd_eval {
    char *model, *site, *sae;  /* "base", "blocks.1.hook_resid_post", "topk-512-k16" */
    char *no_passes;           /* why CE and KL are NaN; "" if they are defined */
    bool count_bos;
    uint64_t docs, sources, latents, k, d_model;
    uint32_t *doc_source;          /* [docs] which data entry */
    double *column[SD_EVAL_WIDTH]; /* [docs] each, in document order */
    uint64_t *fires;               /* [sources, latents] evaluated tokens on which a latent is active */
    double *strength;              /* [sources, latents] sum of its activations in raw units, to 2^-16 */
    double redundancy;             /* mean of the 100 largest cosines between decoder rows of different latents, each pair once */
    double max_cosine;             /* mean over latents of the largest cosine with another latent's decoder row */
    double compat_absorption;      /* mean of the 100 largest off-diagonal cosines with each pair counted twice */
} sd_eval;

/* Zero-filled arrays of these sizes. */
SD_MUST_CHECK sd_status sd_eval_create(sd_eval **eval, uint64_t docs, uint64_t sources, uint64_t latents);
void sd_eval_destroy(sd_eval **eval);

/* Bundle "saediff.eval" version 1: one dataset per column, doc_source, fires, strength; the rest as attributes. */
SD_MUST_CHECK sd_status sd_eval_write(const sd_eval *eval, const char *path);
SD_MUST_CHECK sd_status sd_eval_read(sd_eval **eval, const char *path);

/* Measures: id, unit, formula over S. */
#define SD_EVAL_MEASURES(X)                                                                                                 \
    X(explained_variance, "1", "1 - sum|x-y|^2 / sum|x-mean|^2, mean per component over the same documents")               \
    X(mse_per_token, "squared activation units", "sum|x-y|^2 / tokens")                                                     \
    X(mse_per_component, "squared activation units", "sum|x-y|^2 / (tokens * d_model)")                                     \
    X(cosine, "1", "mean of cos(x, y)")                                                                                     \
    X(l2_ratio, "1", "mean of |y| / |x|")                                                                                   \
    X(relative_bias, "1", "sum|y|^2 / sum x.y")                                                                             \
    X(l0, "latents", "mean number of active latents per token, after the activation function")                                        \
    X(l1, "SAE units", "mean sum of latent activations")                                                                                 \
    X(dead, "1", "fraction of latents that never fire; low: Chao1 estimate of latents that more text would activate")   \
    X(dead_bound, "1", "3 / tokens: the frequency of a latent that never fires is below this with 95 % confidence")                  \
    X(always_on, "1", "fraction of latents with a frequency above 0.8")                                                            \
    X(decoder_redundancy, "1", "mean of the 100 largest decoder cosines between different latents")                         \
    X(decoder_max_cosine, "1", "mean over latents of the largest decoder cosine with another latent")                       \
    X(ce_clean, "nats", "mean of -log p(next token), clean model")                                                   \
    X(ce_sae, "nats", "with the reconstruction")                                                                   \
    X(ce_zero, "nats", "with zero ablation")                                                                                \
    X(ce_mean, "nats", "with mean ablation")                                                                 \
    X(ce_recovered_zero, "1", "(ce_zero - ce_sae) / (ce_zero - ce_clean)")                                                  \
    X(ce_recovered_mean, "1", "(ce_mean - ce_sae) / (ce_mean - ce_clean)")                                                  \
    X(kl_sae, "nats", "mean of KL(P_clean | P_sae)")                                                                        \
    X(kl_zero, "nats", "mean of KL(P_clean | P_zero)")                                                                      \
    X(kl_mean, "nats", "mean of KL(P_clean | P_mean)")                                                                      \
    X(kl_recovered_zero, "1", "(kl_zero - kl_sae) / kl_zero")                                                               \
    X(kl_recovered_mean, "1", "(kl_mean - kl_sae) / kl_mean")                                                               \
    X(compat_loss_recovered, "%", "S1's loss recovered: 100 EV over all tokens, including masked ones, clamped to 0 ... 100")     \
    X(compat_l0, "latents", "S1's L0: mean number of positive pre-activations, before TopK, over all tokens")               \
    X(compat_dead, "%", "S1's dead: fired fewer than 5 times or mean strength below 0.1")                                   \
    X(compat_absorption, "1", "S1's absorption: mean of the 100 largest decoder cosines, each pair counted twice")

typedef enum sd_eval_id {
#define SD_EVAL_ENUM(name, unit, about) SD_EVAL_ID_##name,
    SD_EVAL_MEASURES(SD_EVAL_ENUM)
#undef SD_EVAL_ENUM
        SD_EVAL_IDS
} sd_eval_id;

typedef struct sd_measure {
    const char *id, *unit, *about;       /* static */
    double value, low, high;             /* NaN without an interval; see below */
    uint64_t n_documents, n_tokens;      /* documents with at least one token of this measure; their tokens */
} sd_measure;

enum { SD_EVAL_ALL = -1 };

/* out [SD_EVAL_IDS], in the order of SD_EVAL_MEASURES, for the documents of data entry `source`, or for all (SD_EVAL_ALL). Intervals:
 * percentiles of the ratio of resampled sums (μ is held fixed); NaN with fewer than 2 documents. Measures of weights alone have low = high =
 * value, and no documents. Empty resamples are skipped.
 *
 * The bootstrap is biased for fractions of rare or common latents (a resample lacks a third of the documents, so more latents are dead in it);
 * these have ranges from the counts instead, treating tokens as independent:
 *   dead       low: minus a Chao1 estimate of the silent latents that more text would activate, the upper end of sd_unseen() from the latents that
 *              fire once and twice; high: as observed, since a latent that fired is not dead
 *   always_on  low, high: latents whose Wilson interval of the frequency is above 0.8 at both ends, and at one end
 *   compat_dead  none */
SD_MUST_CHECK sd_status sd_eval_summary(const sd_eval *eval, int64_t source, const sd_bootstrap *bootstrap,
                                        sd_measure out[SD_EVAL_IDS]);

/* Latents in each bin of sd_density_bin() on the documents of `source` or of all. *never: those that never fired. */
void sd_eval_density(const sd_eval *eval, int64_t source, uint64_t bins[SD_DENSITY_BINS], uint64_t *never);

/* Health: each rule compares a measure with its limits. A rule fails if the value violates it; it is undecided if the interval contains a limit, or
 * the value is NaN. */
typedef struct sd_health_rule {
    double min_ce_recovered; /* of ce_recovered_mean */
    double l0_low, l0_high;
    double max_dead;
    double max_redundancy;
} sd_health_rule;

typedef enum sd_verdict { SD_FAILS, SD_UNDECIDED, SD_PASSES } sd_verdict;
/* "fail", "undecided", "pass". */
const char *sd_verdict_name(sd_verdict verdict);

typedef struct sd_health {
    sd_verdict ce_recovered, l0, dead, redundancy;
    sd_verdict all; /* fails if one fails, else undecided if one is undecided */
    /* S1's published rule on the compat measures: EV ≥ 60 %, 20 ≤ L0 ≤ 200, dead ≤ 20 %, absorption ≤ 0.35; number of the four that hold. */
    int compat_healthy;
} sd_health;

void sd_eval_health(const sd_measure measures[SD_EVAL_IDS], const sd_health_rule *rule, sd_health *health);

/* ---- divergence of the two models, without an SAE */

/* Sums per document over the positions of S, or all positions (evaluate.all_positions). */
typedef struct sd_models_eval {
    uint64_t docs, sources, layers;
    bool all_positions;
    uint32_t *doc_source;     /* [docs] */
    double *tokens;           /* [docs] positions */
    double *kl_base_tuned;    /* Σ KL(P_base ‖ P_tuned), nats */
    double *kl_tuned_base;    /* Σ KL(P_tuned ‖ P_base), nats */
    double *agree;            /* positions with the same most likely token */
    double *cosine;           /* [layers, docs] Σ cos of both models' resid_post */
    double *relative_l2;      /* [layers, docs] Σ ‖tuned − base‖ / ‖base‖ of resid_post */
} sd_models_eval;

SD_MUST_CHECK sd_status sd_models_eval_create(sd_models_eval **eval, uint64_t docs, uint64_t sources, uint64_t layers);
void sd_models_eval_destroy(sd_models_eval **eval);
/* Bundle "saediff.models" version 1. */
SD_MUST_CHECK sd_status sd_models_eval_write(const sd_models_eval *eval, const char *path);
SD_MUST_CHECK sd_status sd_models_eval_read(sd_models_eval **eval, const char *path);

/* Measures: kl_base_tuned, kl_tuned_base, top1_agreement, then per layer cosine, then per layer relative_l2. */
enum { SD_MODELS_FIXED = 3 };
/* out [SD_MODELS_FIXED + 2·layers]: means over positions with intervals, as sd_eval_summary(). */
SD_MUST_CHECK sd_status sd_models_eval_summary(const sd_models_eval *eval, int64_t source, const sd_bootstrap *bootstrap,
                                               sd_measure *out);

#endif

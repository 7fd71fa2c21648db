/* A model whose residual stream is replaced at one site, scored against the clean model.
 *
 * sd_splice_begin() takes a packed batch with its rows at the site; then any number of replacements can be scored, each by a pass that continues
 * from the site. Rows with mask 0 keep their own values. Nothing of size rows × vocabulary is stored: logits of both passes are recomputed
 * in chunks. Results do not depend on earlier scores. All Local. */
#ifndef SAEDIFF_SPLICE_SPLICE_H
#define SAEDIFF_SPLICE_SPLICE_H

#include "saediff/model/model.h"

/* Whether a pass can continue from this site: resid_pre, resid_mid, resid_post. */
bool sd_splice_can(sd_site site);

typedef struct sd_splice sd_splice;

/* At most max_tokens rows per batch, no more than the model takes. `model` and `dev` are borrowed. */
SD_MUST_CHECK sd_status sd_splice_create(sd_splice **splice, sd_dev *dev, sd_model *model, uint64_t max_tokens);
void sd_splice_destroy(sd_splice **splice);

typedef struct sd_splice_batch {
    sd_site site;              /* for which sd_splice_can() is true */
    const uint64_t *doc_start; /* [docs + 1], as of a pass */
    uint64_t docs;
    sd_mat x;              /* [n, d_model] rows at the site; unchanged until the next batch */
    const uint8_t *mask;   /* [n] host: 0 keeps the row's own value */
    const int32_t *target; /* [n] host: next token id, −1 for none */
} sd_splice_batch;

/* The clean pass. nll [n] host = −log p(target) in nats, 0 without target. Pointers in `batch` must stay valid until the next batch. */
SD_MUST_CHECK sd_status sd_splice_begin(sd_splice *splice, const sd_splice_batch *batch, double *nll);

/* Rows with mask 1 are replaced by those of `state` [n, d_model], or all by the row of a state [1, d_model], or by zero without a state (buf NULL). nll
 * as above, kl [n] host = KL(P_clean ‖ P_state) of every row. `state` is not changed. */
SD_MUST_CHECK sd_status sd_splice_score(sd_splice *splice, sd_mat state, double *nll, double *kl);

/* Two models on the same tokens. Host arrays of the caller; [layers, n] row-major. */
typedef struct sd_pair_scores {
    double *kl_ab, *kl_ba; /* [n] KL(P_a ‖ P_b), KL(P_b ‖ P_a) */
    uint8_t *agree;        /* [n] 1 if both have the same most likely token */
    double *cosine;        /* [layers, n] of both resid_post */
    double *relative_l2;   /* [layers, n] ‖b − a‖ / ‖a‖ */
} sd_pair_scores;

typedef struct sd_pair sd_pair;

/* Both models must have the same number of layers, d_model and vocabulary. Holds two residual streams, not one per layer. */
SD_MUST_CHECK sd_status sd_pair_create(sd_pair **pair, sd_dev *dev, sd_model *a, sd_model *b, uint64_t max_tokens);
void sd_pair_destroy(sd_pair **pair);
/* ids_a, ids_b: the ids that each model reads; they differ only where tokenize.substitute applies. */
SD_MUST_CHECK sd_status sd_pair_score(sd_pair *pair, const int32_t *ids_a, const int32_t *ids_b, const uint64_t *doc_start, uint64_t docs,
                                      const sd_pair_scores *out);

#endif

/* Two SAEs of one site, trained separately on the base and on the tuned model: which latents correspond. Equal indices are
 * unrelated; a pair is accepted by decoder cosine and correlation only.
 *
 * Cosine is that of the decoder rows; correlation is that of the activations over the evaluated tokens, the base SAE on the base model
 * and the tuned SAE on the tuned model, and is defined only between latents that each fire on SD_MATCH_SUPPORT tokens. A pair (i, j) is accepted
 * if and only if each is the other's best match by cosine and by correlation, cosine ≥ min_cosine, correlation ≥ min_correlation, and the cosine is
 * larger by min_margin than that of i with any other latent and that of j with any other. Of equal matches the lowest index counts. */
#ifndef SAEDIFF_DIFF_MATCH_H
#define SAEDIFF_DIFF_MATCH_H

#include "saediff/par/par.h"
#include "saediff/store/tokens.h"

enum { SD_MATCH_SUPPORT = 20 };

typedef enum sd_match_kind {
    SD_MATCH_PAIR,      /* accepted */
    SD_MATCH_ROTATED,   /* mutual best in correlation and ≥ min_correlation, but its best cosine is below min_cosine */
    SD_MATCH_SPLIT,     /* one latent is the best match by cosine, ≥ min_cosine, of several latents of the other SAE: the parent and its parts */
    SD_MATCH_EXCLUSIVE, /* fires, and no latent of the other SAE reaches min_cosine or min_correlation with it */
    SD_MATCH_SILENT,    /* fires on fewer than SD_MATCH_SUPPORT tokens */
    SD_MATCH_UNCLEAR,   /* none of these */
    SD_MATCH_KINDS
} sd_match_kind;

/* "pair", "rotated", … */
const char *sd_match_kind_name(sd_match_kind kind);

/* The matches of one SAE in the other; arrays [latents]. Index −1: none. */
typedef struct sd_match_side {
    uint64_t latents;
    uint64_t *count;       /* evaluated tokens it fires on, on its own model */
    double *mean;          /* mean activation over the evaluated tokens, on its own model */
    double *cosine, *second_cosine;           /* largest and second largest; NaN if none */
    double *correlation, *second_correlation; /* the same */
    int64_t *cosine_with, *correlation_with;  /* latent with the largest */
    int64_t *match;        /* the matched latent */
    uint8_t *kind;         /* sd_match_kind */
    uint64_t kinds[SD_MATCH_KINDS]; /* latents of each kind */
    double unmatched;      /* fraction of the latents, silent ones excluded, without a matched latent; NaN if all are silent */
} sd_match_side;

typedef struct sd_match {
    char *site;
    double min_cosine, min_correlation, min_margin;
    uint64_t d_model, tokens; /* evaluated */
    sd_match_side base, tuned;
    uint64_t pairs;
    /* Null values: the largest cosine of the base decoder with a random decoder of the tuned one's shape, and the largest correlation when each
     * document is paired with another one (a keyed cycle of the documents within each shard; NaN if no shard has two). */
    double null_cosine, null_correlation;
    uint64_t pairs_above_null; /* accepted pairs above both */
} sd_match;

typedef struct sd_match_spec {
    const char *site;
    const char *base_sae, *tuned_sae; /* paths of "saediff.sae" bundles of one d_model; sizes may differ */
    const char *const *base_codes;    /* shards of the base SAE on the base model, in stream order */
    const char *const *tuned_codes;   /* shards of the tuned SAE on the tuned model */
    uint64_t shards;
    const sd_tokens *tokens;
    double min_cosine, min_correlation, min_margin;
    uint64_t seed; /* of the two null values */
    uint64_t tile; /* pair sums held at a time, 8 bytes each; 0: 16 Mi. Does not affect results */
} sd_match_spec;

/* Collective. Base latents are distributed over the ranks; each rank holds both decoders, and processes its latents in tiles of at most `tile` sums,
 * reading all shards for each tile. The same bits at any rank count. *match on rank 0, NULL on the others. */
SD_MUST_CHECK sd_status sd_match_run(const sd_par *par, const sd_match_spec *spec, sd_match **match);
void sd_match_destroy(sd_match **match);

/* Local. Bundle "saediff.match" version 1. */
SD_MUST_CHECK sd_status sd_match_write(const sd_match *match, const char *path);
SD_MUST_CHECK sd_status sd_match_read(sd_match **match, const char *path);

#endif

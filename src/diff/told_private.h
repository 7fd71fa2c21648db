/* What the parts of sd_told_run() share. Private to this room. */
#ifndef SAEDIFF_DIFF_TOLD_PRIVATE_H
#define SAEDIFF_DIFF_TOLD_PRIVATE_H

#include "saediff/diff/told.h"

/* Documents among which values are told: positives and others of one value or of several with the same ones, in order of document. */
typedef struct told_pool {
    uint64_t *docs[SD_TOLD_HALVES];
    uint64_t count[SD_TOLD_HALVES];
    int64_t *place[SD_TOLD_HALVES]; /* [docs of the stream] where a document stands in docs; −1: not there */
} told_pool;

/* One label value. Deal 0 is what the labels say, the others are permutations. */
typedef struct told_value {
    bool judged;
    uint64_t pool;
    uint64_t positives[SD_TOLD_HALVES], others[SD_TOLD_HALVES];
    uint32_t *at[SD_TOLD_HALVES]; /* [deals, positives] places in the pool; only of judged values */
} told_value;

typedef struct told_docs {
    uint64_t docs, n_values, deals; /* deals: 1 + permutations */
    uint64_t *size;  /* [docs] counted tokens */
    uint8_t *half;   /* [docs] SD_TOLD_A or _B */
    told_pool *pools;
    uint64_t n_pools;
    told_value *values;
} told_docs;

/* Local. The same on every rank. */
SD_MUST_CHECK sd_status told_docs_make(const sd_told_spec *spec, told_docs *docs);
void told_docs_free(told_docs *docs);

/* The best latent of one value under one deal. */
typedef struct told_winner {
    double a, b;    /* AUROC on half A and on half B */
    int64_t latent; /* −1: none yet */
} told_winner;

/* What one latent tells best of one field. */
typedef struct told_best {
    int64_t value;
    double b, se;
} told_best;

/* The documents that a chosen latent fires in, by rising mean activation: what an interval is drawn from. */
typedef struct told_kept {
    struct sd_scored *fires;
    uint64_t count;
} told_kept;

/* Local. Of the latents `mine` on the model whose codes these are: winners [values, deals] and, of deal 0, kept [values]; best
 * [mine.count, fields]. support [latents]: counted tokens that each fires on. */
SD_MUST_CHECK sd_status told_measure(const sd_told_spec *spec, const told_docs *docs, const char *const *codes, const uint64_t *support,
                                     sd_span mine, told_winner *winners, told_kept *kept, told_best *best);

/* Local. Intervals on half B of the chosen latents that are among `mine`: chosen [values], −1 for none; range [values, 2], 0 for the
 * values of other ranks. */
SD_MUST_CHECK sd_status told_intervals(const sd_told_spec *spec, const told_docs *docs, const int64_t *chosen, sd_span mine,
                                       const told_kept *kept, double *range);

#endif

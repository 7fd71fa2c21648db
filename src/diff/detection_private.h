/* What the parts of sd_detection_run() share. Private to this room. */
#ifndef SAEDIFF_DIFF_TOLD_PRIVATE_H
#define SAEDIFF_DIFF_TOLD_PRIVATE_H

#include "saediff/diff/detection.h"

/* Documents among which values are told: positives and others of one value or of several with the same ones, in order of document. */
typedef struct detection_pool {
    uint64_t *docs[SD_DETECTION_SPLITS];
    uint64_t count[SD_DETECTION_SPLITS];
    int64_t *place[SD_DETECTION_SPLITS]; /* [docs of the stream] where a document stands in docs; −1: not there */
} detection_pool;

/* One label value. Deal 0 is what the labels say, the others are permutations. */
typedef struct detection_value {
    bool judged;
    uint64_t pool;
    uint64_t positives[SD_DETECTION_SPLITS], others[SD_DETECTION_SPLITS];
    uint32_t *at[SD_DETECTION_SPLITS]; /* [deals, positives] places in the pool; only of judged values */
} detection_value;

typedef struct detection_docs {
    uint64_t docs, n_values, deals; /* deals: 1 + permutations */
    uint64_t *size;  /* [docs] counted tokens */
    uint8_t *split;   /* [docs] SD_DETECTION_SELECTION or _B */
    detection_pool *pools;
    uint64_t n_pools;
    detection_value *values;
} detection_docs;

/* Local. The same on every rank. */
SD_MUST_CHECK sd_status detection_docs_make(const sd_detection_spec *spec, detection_docs *docs);
void detection_docs_free(detection_docs *docs);

/* The best latent of one value under one deal. */
typedef struct detection_winner {
    double a, b;    /* AUROC on half A and on half B */
    int64_t latent; /* −1: none yet */
} detection_winner;

/* What one latent tells best of one field. */
typedef struct detection_best {
    int64_t value;
    double b, se;
} detection_best;

/* The documents that a chosen latent fires in, by rising mean activation: what an interval is drawn from. */
typedef struct detection_kept {
    struct sd_scored *fires;
    uint64_t count;
} detection_kept;

/* Local. Of the latents `mine` on the model whose codes these are: winners [values, deals] and, of deal 0, kept [values]; best
 * [mine.count, fields]. support [latents]: counted tokens that each fires on. */
SD_MUST_CHECK sd_status detection_measure(const sd_detection_spec *spec, const detection_docs *docs, const char *const *codes, const uint64_t *support,
                                     sd_span mine, detection_winner *winners, detection_kept *kept, detection_best *best);

/* Local. Intervals on half B of the chosen latents that are among `mine`: chosen [values], −1 for none; range [values, 2], 0 for the
 * values of other ranks. */
SD_MUST_CHECK sd_status detection_intervals(const sd_detection_spec *spec, const detection_docs *docs, const int64_t *chosen, sd_span mine,
                                       const detection_kept *kept, double *range);

#endif

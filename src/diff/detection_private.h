/* Shared by the parts of sd_detection_run(). Private to diff. */
#ifndef SAEDIFF_DIFF_DETECTION_PRIVATE_H
#define SAEDIFF_DIFF_DETECTION_PRIVATE_H

#include "saediff/diff/detection.h"

/* A pool of documents: the positives and others of one value, or of several values with the same ones, in document order. */
typedef struct detection_pool {
    uint64_t *docs[SD_DETECTION_SPLITS];
    uint64_t count[SD_DETECTION_SPLITS];
    int64_t *index[SD_DETECTION_SPLITS]; /* [docs of the stream] index of a document in docs; −1: not in the pool */
} detection_pool;

/* One label value. Assignment 0 is the labels as given, the others are permutations. */
typedef struct detection_value {
    bool tested;
    uint64_t pool;
    uint64_t positives[SD_DETECTION_SPLITS], others[SD_DETECTION_SPLITS];
    uint32_t *at[SD_DETECTION_SPLITS]; /* [assignments, positives] indices in the pool; of tested values only */
} detection_value;

typedef struct detection_docs {
    uint64_t docs, n_values, assignments; /* assignments: 1 + permutations */
    uint64_t *size;  /* [docs] evaluated tokens */
    uint8_t *split;   /* [docs] SD_DETECTION_SELECTION or _ESTIMATION */
    detection_pool *pools;
    uint64_t n_pools;
    detection_value *values;
} detection_docs;

/* Local; the same on every rank. */
SD_MUST_CHECK sd_status detection_docs_make(const sd_detection_spec *spec, detection_docs *docs);
void detection_docs_free(detection_docs *docs);

/* The best latent for one value under one assignment. */
typedef struct detection_winner {
    double a, b;    /* AUROC on the selection and on the estimation split */
    int64_t latent; /* −1: none yet */
} detection_winner;

/* The value of one field that one latent detects best. */
typedef struct detection_best {
    int64_t value;
    double b, se;
} detection_best;

/* The documents in which a selected latent fires, by ascending mean activation, for its interval. */
typedef struct detection_kept {
    struct sd_scored *fires;
    uint64_t count;
} detection_kept;

/* Local. For the latents `mine` on one model: winners [values, assignments] and, for assignment 0, kept [values]; best
 * [mine.count, fields]. support [latents]: evaluated tokens on which each fires. */
SD_MUST_CHECK sd_status detection_measure(const sd_detection_spec *spec, const detection_docs *docs, const char *const *codes, const uint64_t *support,
                                     sd_span mine, detection_winner *winners, detection_kept *kept, detection_best *best);

/* Local. Intervals on the estimation split for the selected latents among `mine`: chosen [values], −1 for none; range [values, 2], 0
 * for the values of other ranks. */
SD_MUST_CHECK sd_status detection_intervals(const sd_detection_spec *spec, const detection_docs *docs, const int64_t *chosen, sd_span mine,
                                       const detection_kept *kept, double *range);

#endif

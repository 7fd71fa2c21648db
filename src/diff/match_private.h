/* Parts of the matching of two SAEs. Private to diff. */
#ifndef SAEDIFF_DIFF_MATCH_PRIVATE_H
#define SAEDIFF_DIFF_MATCH_PRIVATE_H

#include "saediff/diff/match.h"

/* The two largest values of one latent. */
typedef struct best {
    double first, second; /* NaN if none */
    int64_t with;         /* the latent of `first`; −1 for none */
} best;

/* NaN is ignored. Of equal values the one with the lower index comes first, in whatever order they arrive. */
void best_offer(best *b, double value, uint64_t index);
void best_merge(best *into, const best *other);

/* One measure between this rank's base latents and all tuned latents. */
typedef struct sweep {
    sd_span rows;
    uint64_t cols;
    best *row; /* [rows.count] */
    best *col; /* [cols] */
} sweep;

SD_MUST_CHECK sd_status sweep_create(sweep *s, sd_span rows, uint64_t cols);
void sweep_free(sweep *s);
static inline void sweep_offer(sweep *s, uint64_t row, uint64_t col, double value)
{
    best_offer(&s->row[row - s->rows.first], value, col);
    best_offer(&s->col[col], value, row);
}

/* Decoder rows [latents, width] as the file has them. */
typedef struct decoder {
    uint64_t latents, width;
    float *rows;
} decoder;

SD_MUST_CHECK sd_status decoder_read(decoder *d, const char *path);
void decoder_free(decoder *d);

/* Local. Cosine of base rows s->rows with every row of `tuned`; with tuned->rows NULL, with random directions of `seed`. */
SD_MUST_CHECK sd_status match_cosines(sweep *s, const decoder *base, const decoder *tuned, uint64_t seed);

/* Sums of one side's latents over the aligned tokens. */
typedef struct side_sums {
    uint64_t latents, *count;
    double *sum, *sum2;
} side_sums;

typedef struct co_moments {
    uint64_t tokens;
    side_sums base, tuned;
} co_moments;

SD_MUST_CHECK sd_status co_moments_create(co_moments *m, uint64_t base, uint64_t tuned);
void co_moments_free(co_moments *m);

/* Local. Correlations of base rows s->rows; m gets the sums over all latents unless there are no rows. `null`: each document is laid over
 * another of its shard. */
SD_MUST_CHECK sd_status match_correlations(sweep *s, const sd_match_spec *spec, bool null, co_moments *m);

#endif

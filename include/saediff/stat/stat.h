/* Statistics on arrays: mergeable accumulators and what follows from them. Pure functions, Local, double throughout.
 * NaN in, NaN out; nothing is clamped. */
#ifndef SAEDIFF_STAT_STAT_H
#define SAEDIFF_STAT_STAT_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* Count, mean and sum of squared distances from the mean of vectors: mergeable (Chan, Golub, LeVeque 1983). Merging in a fixed
 * order gives the same bits however the parts were dealt out. */
typedef struct sd_moments {
    uint64_t n, width;
    double *mean, *m2; /* [width] */
} sd_moments;

SD_MUST_CHECK sd_status sd_moments_create(sd_moments *moments, uint64_t width);
void sd_moments_free(sd_moments *moments);
/* One row of `width` values in double. */
void sd_moments_add(sd_moments *moments, const double *row);
/* into becomes the moments of both. */
void sd_moments_merge(sd_moments *into, const sd_moments *other);
/* Σ over the width of m2: Σ‖x − μ‖². */
double sd_moments_spread(const sd_moments *moments);

/* Explained variance as a ratio of sums: 1 − sse / spread. NaN if spread is 0. */
double sd_explained_variance(double sse, double spread);

/* Per-latent statistics of sparse codes, mergeable in order. Arrays [latents]. */
typedef struct sd_latent_sums {
    uint64_t rows, latents;
    uint64_t *count;    /* rows with a positive value */
    double *sum, *sum2; /* of values, of squared values */
    double *max;        /* 0 where count is 0 */
} sd_latent_sums;

SD_MUST_CHECK sd_status sd_latent_sums_create(sd_latent_sums *sums, uint64_t latents);
void sd_latent_sums_free(sd_latent_sums *sums);
/* One row: `count` pairs; values ≤ 0 do not count as firing. */
void sd_latent_sums_add(sd_latent_sums *sums, const int32_t *latent, const float *value, uint64_t count);
void sd_latent_sums_merge(sd_latent_sums *into, const sd_latent_sums *other);

/* ΔA = ½(M_b+M_f)·Δφ + ½(φ_b+φ_f)·ΔM: the change of a mean activation as a part from frequency and one from magnitude; where a
 * side never fires its active mean is taken from the other. Exact up to rounding: the parts sum to A_f − A_b. */
void sd_change_parts(uint64_t n, uint64_t count_base, double sum_base, uint64_t count_tuned, double sum_tuned,
                     double *frequency_part, double *magnitude_part);

/* Indices 0 … n−1 by falling key, equal keys by rising index, NaN last. order [n]. */
void sd_order_falling(const double *key, uint64_t n, uint64_t *order);

/* Upper bound at 95 % for a rate that was never seen in n trials: 3/n (rule of three); 1 for n < 3. */
double sd_rule_of_three(uint64_t n);

/* Histogram of log10(density), density = count / n: the bin, of density in [10^(−8 + b/4), 10^(−8 + (b+1)/4)), the first also what is
 * below, the last also density 1. −1 for count 0: a latent that never fired is in no bin. */
enum { SD_DENSITY_BINS = 32 };
int sd_density_bin(uint64_t count, uint64_t n);

#endif

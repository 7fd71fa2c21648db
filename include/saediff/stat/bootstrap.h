/* Bootstrap over documents: how far an estimate would move had other documents been drawn. Each document gets a weight drawn from
 * Poisson(1) (Hanley & MacGibbon 2006), a pure function of (seed, resample, document): two estimates over the same documents are
 * resampled together, and no rank or order shows. Pure functions, Local. */
#ifndef SAEDIFF_STAT_BOOTSTRAP_H
#define SAEDIFF_STAT_BOOTSTRAP_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_bootstrap {
    uint64_t resamples; /* 1000 is usual; 0: no intervals */
    uint64_t seed;
    double level; /* 0.95 */
} sd_bootstrap;

/* The weight of `document` in `resample`. */
uint64_t sd_bootstrap_weight(const sd_bootstrap *spec, uint64_t resample, uint64_t document);

/* For each resample the weighted sums of the columns: sums [resamples, columns] = Σ_r weight(document[r]) · column[c][r], rows in order.
 * document [rows] says which weight a row takes. drawn [resamples] = Σ_r weight: a resample with 0 drew nothing. */
void sd_bootstrap_sums(const sd_bootstrap *spec, const double *const *column, uint64_t columns, const uint64_t *document,
                       uint64_t rows, double *sums, uint64_t *drawn);

/* The percentile interval of `values` [n], which is sorted in place. Quantiles interpolate between order statistics (type 7 of Hyndman &
 * Fan 1996). NaN for both if n is 0 or a value is NaN. */
void sd_percentiles(double *values, uint64_t n, double level, double *low, double *high);

#endif

#include "saediff/stat/bootstrap.h"

#include <math.h>
#include <stdlib.h>

#include "saediff/core/random.h"

/* Inversion: the number of partial sums of e⁻¹ Σ 1/i! that a uniform number reaches. */
uint64_t sd_bootstrap_weight(const sd_bootstrap *spec, uint64_t resample, uint64_t document)
{
    double u = sd_random_uniform(sd_key_make(spec->seed, SD_STREAM_BOOTSTRAP, resample), document);
    double term = 0x1.78b56362cef38p-2; /* e⁻¹ */
    double sum = term;
    uint64_t weight = 0;

    while (u >= sum && weight < 18) { /* u < 1 − 2⁻⁵³, which 18 terms reach */
        weight++;
        term /= (double)weight;
        sum += term;
    }
    return weight;
}

void sd_bootstrap_sums(const sd_bootstrap *spec, const double *const *column, uint64_t columns, const uint64_t *document,
                       uint64_t rows, double *sums, uint64_t *drawn)
{
    for (uint64_t b = 0; b < spec->resamples; b++) {
        double *into = sums + b * columns;

        drawn[b] = 0;
        for (uint64_t c = 0; c < columns; c++)
            into[c] = 0;
        for (uint64_t r = 0; r < rows; r++) {
            uint64_t weight = sd_bootstrap_weight(spec, b, document[r]);

            drawn[b] += weight;
            if (weight > 0) /* a document not drawn says nothing, not even NaN */
                for (uint64_t c = 0; c < columns; c++)
                    into[c] += (double)weight * column[c][r];
        }
    }
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(const double *sorted, uint64_t n, double p)
{
    double at = p * (double)(n - 1), below = floor(at);
    uint64_t i = (uint64_t)below;

    if (i + 1 >= n || at == below || sorted[i] == sorted[i + 1])
        return sorted[i];
    return sorted[i] + (at - below) * (sorted[i + 1] - sorted[i]);
}

void sd_percentiles(double *values, uint64_t n, double level, double *low, double *high)
{
    *low = *high = (double)NAN;
    for (uint64_t i = 0; i < n; i++)
        if (isnan(values[i]))
            return;
    if (n == 0)
        return;
    qsort(values, n, sizeof *values, rising);
    *low = quantile(values, n, (1 - level) / 2);
    *high = quantile(values, n, (1 + level) / 2);
}

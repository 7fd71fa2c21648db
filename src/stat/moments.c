#include "saediff/stat/stat.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "saediff/core/mem.h"

sd_status sd_moments_create(sd_moments *moments, uint64_t width)
{
    sd_moments m = {.width = width};
    sd_status st;

    *moments = (sd_moments){0};
    SD_TRY(st, SD_NEW(&m.mean, width));
    SD_TRY(st, SD_NEW(&m.m2, width));
    *moments = m;
    m = (sd_moments){0};
out:
    sd_moments_free(&m);
    return st;
}

void sd_moments_free(sd_moments *moments)
{
    sd_free(moments->mean);
    sd_free(moments->m2);
    *moments = (sd_moments){0};
}

/* Welford's update: no cancellation however large the mean is against the spread. */
void sd_moments_add(sd_moments *moments, const double *row)
{
    moments->n++;
    for (uint64_t i = 0; i < moments->width; i++) {
        double from_old = row[i] - moments->mean[i];

        moments->mean[i] += from_old / (double)moments->n;
        moments->m2[i] += from_old * (row[i] - moments->mean[i]);
    }
}

void sd_moments_merge(sd_moments *into, const sd_moments *other)
{
    double n_into = (double)into->n, n_other = (double)other->n, n = n_into + n_other;

    assert(into->width == other->width);
    if (other->n == 0)
        return;
    if (into->n == 0) {
        memcpy(into->mean, other->mean, into->width * sizeof *into->mean);
        memcpy(into->m2, other->m2, into->width * sizeof *into->m2);
        into->n = other->n;
        return;
    }
    for (uint64_t i = 0; i < into->width; i++) {
        double apart = other->mean[i] - into->mean[i];

        into->mean[i] += apart * (n_other / n);
        into->m2[i] += other->m2[i] + apart * apart * (n_into * n_other / n);
    }
    into->n += other->n;
}

double sd_moments_spread(const sd_moments *moments)
{
    double spread = 0;

    for (uint64_t i = 0; i < moments->width; i++)
        spread += moments->m2[i];
    return spread;
}

double sd_explained_variance(double sse, double spread)
{
    return spread == 0 ? (double)NAN : 1 - sse / spread;
}

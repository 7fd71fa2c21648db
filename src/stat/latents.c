#include "saediff/stat/stat.h"

#include <assert.h>
#include <math.h>

#include "saediff/core/mem.h"

sd_status sd_latent_sums_create(sd_latent_sums *sums, uint64_t latents)
{
    sd_latent_sums s = {.latents = latents};
    sd_status st;

    *sums = (sd_latent_sums){0};
    SD_TRY(st, SD_NEW(&s.count, latents));
    SD_TRY(st, SD_NEW(&s.sum, latents));
    SD_TRY(st, SD_NEW(&s.sum2, latents));
    SD_TRY(st, SD_NEW(&s.max, latents));
    *sums = s;
    s = (sd_latent_sums){0};
out:
    sd_latent_sums_free(&s);
    return st;
}

void sd_latent_sums_free(sd_latent_sums *sums)
{
    sd_free(sums->count);
    sd_free(sums->sum);
    sd_free(sums->sum2);
    sd_free(sums->max);
    *sums = (sd_latent_sums){0};
}

/* The larger of two, NaN if either is. */
static double larger(double a, double b)
{
    return isnan(a) || a >= b ? a : b;
}

void sd_latent_sums_add(sd_latent_sums *sums, const int32_t *latent, const float *value, uint64_t count)
{
    sums->rows++;
    for (uint64_t i = 0; i < count; i++) {
        double v = (double)value[i];
        uint64_t l = (uint64_t)latent[i];

        assert(latent[i] >= 0 && l < sums->latents);
        if (v <= 0)
            continue;
        sums->count[l]++;
        sums->sum[l] += v;
        sums->sum2[l] += v * v;
        sums->max[l] = larger(sums->max[l], v);
    }
}

void sd_latent_sums_merge(sd_latent_sums *into, const sd_latent_sums *other)
{
    assert(into->latents == other->latents);
    into->rows += other->rows;
    for (uint64_t l = 0; l < into->latents; l++) {
        into->count[l] += other->count[l];
        into->sum[l] += other->sum[l];
        into->sum2[l] += other->sum2[l];
        into->max[l] = larger(into->max[l], other->max[l]);
    }
}

void sd_change_parts(uint64_t n, uint64_t count_base, double sum_base, uint64_t count_tuned, double sum_tuned,
                     double *frequency_part, double *magnitude_part)
{
    double phi_b = (double)count_base / (double)n, phi_f = (double)count_tuned / (double)n;
    double m_b = count_base ? sum_base / (double)count_base : 0;
    double m_f = count_tuned ? sum_tuned / (double)count_tuned : 0;

    if (count_base == 0)
        m_b = m_f;
    if (count_tuned == 0)
        m_f = m_b;
    *frequency_part = 0.5 * (m_b + m_f) * (phi_f - phi_b);
    *magnitude_part = 0.5 * (phi_b + phi_f) * (m_f - m_b);
}

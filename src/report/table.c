/* latents.<site>.csv: one line per latent. */
#include <math.h>

#include "pages.h"

static void add_side(const sd_diff *d, int tuned, uint64_t l, sd_str *s)
{
    const sd_latent_sums *sums = &rep_side(d, tuned)->sums;
    char number[5][REP_NUMBER];

    sd_str_add(s, ",%llu,%s,%s,%s,%s,%s", (unsigned long long)sums->count[l],
               rep_exact(number[0], rep_frequency(d, tuned, l), "NaN"), rep_exact(number[1], rep_mean(d, tuned, l), "NaN"),
               rep_exact(number[2], rep_active_mean(d, tuned, l), "NaN"), rep_exact(number[3], sums->max[l], "NaN"),
               rep_exact(number[4], sums->sum2[l] / (double)d->tokens, "NaN"));
}

/* Standard errors and p-values of the change. */
static void add_tests(const sd_diff *d, uint64_t l, sd_str *s)
{
    const sd_diff_part *all = &d->part[SD_DIFF_ALL], *a = &d->part[SD_DIFF_SELECTION], *b = &d->part[SD_DIFF_ESTIMATION];
    const double first[] = {all->value.se[l],    all->value.p[l],     all->value.q[l],  all->frequency.se[l], all->frequency.p[l],
                            all->frequency.q[l], a->value.mean[l], b->value.mean[l], b->value.se[l]};
    const double second[] = {d->mcnemar_p[l], d->mcnemar_q[l], d->d_z[l], d->log2_ratio[l], d->maxt_p[l]};
    char number[REP_NUMBER];

    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        sd_str_add(s, ",%s", rep_exact(number, first[i], "NaN"));
    sd_str_add(s, ",%llu,%llu", (unsigned long long)d->only_base[l], (unsigned long long)d->only_tuned[l]);
    for (size_t i = 0; i < sizeof second / sizeof *second; i++)
        sd_str_add(s, ",%s", rep_exact(number, second[i], "NaN"));
}

void rep_table(const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;

    sd_str_add(s, "site,latent,n");
    for (int tuned = 0; tuned < 2; tuned++) {
        const char *label = tuned ? "tuned" : "base";

        sd_str_add(s, ",%s_count,%s_frequency,%s_mean,%s_active_mean,%s_max,%s_mean_square", label, label, label, label,
                   label, label);
    }
    sd_str_add(s, ",d_frequency,d_mean,d_active_mean,frequency_part,magnitude_part,"
                  "se_mean,p_mean,q_mean,se_frequency,p_frequency,q_frequency,selection_mean,estimation_mean,estimation_se_mean,"
                  "only_base,only_tuned,mcnemar_p,mcnemar_q,d_z,log2_ratio,maxt_p,abs_d_frequency,abs_d_mean,"
                  "compat_base_frequency,compat_tuned_frequency,compat_base_mean,compat_tuned_mean\n");
    for (uint64_t l = 0; l < d->latents; l++) {
        const double change[] = {d->d_frequency[l], d->d_mean[l], d->d_active_mean[l], d->frequency_part[l],
                                 d->magnitude_part[l]};
        char number[REP_NUMBER], mean[REP_NUMBER];

        rep_csv(s, d->site);
        sd_str_add(s, ",%llu,%llu", (unsigned long long)l, (unsigned long long)d->tokens);
        add_side(d, 0, l, s);
        add_side(d, 1, l, s);
        for (size_t i = 0; i < sizeof change / sizeof *change; i++)
            sd_str_add(s, ",%s", rep_exact(number, change[i], "NaN"));
        add_tests(d, l, s);
        sd_str_add(s, ",%s,%s", rep_exact(number, fabs(d->d_frequency[l]), "NaN"), rep_exact(mean, fabs(d->d_mean[l]), "NaN"));
        for (int i = 0; i < 4; i++)
            sd_str_add(s, ",%s", rep_exact(number, rep_compat(d, i % 2, i < 2, l), "NaN"));
        sd_str_add(s, "\n");
    }
}

/* latents.<site>.csv: one line per latent. */
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

void rep_table(const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;

    sd_str_add(s, "site,latent,n");
    for (int tuned = 0; tuned < 2; tuned++) {
        const char *label = tuned ? "tuned" : "base";

        sd_str_add(s, ",%s_count,%s_frequency,%s_mean,%s_active_mean,%s_max,%s_mean_square", label, label, label, label,
                   label, label);
    }
    sd_str_add(s, ",d_frequency,d_mean,d_active_mean,frequency_part,magnitude_part\n");
    for (uint64_t l = 0; l < d->latents; l++) {
        const double change[] = {d->d_frequency[l], d->d_mean[l], d->d_active_mean[l], d->frequency_part[l],
                                 d->magnitude_part[l]};
        char number[REP_NUMBER];

        rep_csv(s, d->site);
        sd_str_add(s, ",%llu,%llu", (unsigned long long)l, (unsigned long long)d->tokens);
        add_side(d, 0, l, s);
        add_side(d, 1, l, s);
        for (size_t i = 0; i < sizeof change / sizeof *change; i++)
            sd_str_add(s, ",%s", rep_exact(number, change[i], "NaN"));
        sd_str_add(s, "\n");
    }
}

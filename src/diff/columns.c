#include "columns.h"

enum { FIXED = 24, EFFECT = 5 };

typedef struct effect_names {
    const char *name[EFFECT], *about[EFFECT];
} effect_names;

#define NAMES(part, what, documents)                                                                          \
    {{part "_" what "_mean", part "_" what "_se", part "_" what "_t", part "_" what "_p", part "_" what "_q"}, \
     {"tuned - base, mean over the evaluated tokens of " documents, "its standard error, documents as clusters", \
      "mean / se", "two-sided p of t", "Benjamini-Hochberg q over the tested latents"}}

static const effect_names effects[SD_DIFF_PARTS][2] = {
    {NAMES("all", "value", "all documents"), NAMES("all", "frequency", "all documents")},
    {NAMES("selection", "value", "the selection split"), NAMES("selection", "frequency", "the selection split")},
    {NAMES("estimation", "value", "the estimation split"), NAMES("estimation", "frequency", "the estimation split")},
};

static void effect_columns(const effect_names *names, const char *unit, sd_diff_effect *e, column out[EFFECT])
{
    double **data[EFFECT] = {&e->mean, &e->se, &e->t, &e->p, &e->q};

    for (int i = 0; i < EFFECT; i++)
        out[i] = (column){names->name[i], i < 2 ? unit : "1", names->about[i], (void **)data[i], SD_F64};
}

void columns_of(sd_diff *d, column out[DIFF_COLUMNS])
{
    static const char units[] = "SAE units";
    sd_latent_sums *b = &d->base.sums, *f = &d->tuned.sums;
    const column fixed[FIXED] = {
        {"base_count", "tokens", "evaluated tokens on which the latent fires, base model", (void **)&b->count, SD_U64},
        {"base_sum", units, "sum of values, base model", (void **)&b->sum, SD_F64},
        {"base_sum2", "SAE units squared", "sum of squared values, base model", (void **)&b->sum2, SD_F64},
        {"base_max", units, "largest value, 0 if count is 0, base model", (void **)&b->max, SD_F64},
        {"tuned_count", "tokens", "evaluated tokens on which the latent fires, tuned model", (void **)&f->count, SD_U64},
        {"tuned_sum", units, "sum of values, tuned model", (void **)&f->sum, SD_F64},
        {"tuned_sum2", "SAE units squared", "sum of squared values, tuned model", (void **)&f->sum2, SD_F64},
        {"tuned_max", units, "largest value, 0 if count is 0, tuned model", (void **)&f->max, SD_F64},
        {"d_frequency", "1", "count / tokens, tuned - base", (void **)&d->d_frequency, SD_F64},
        {"d_mean", units, "sum / tokens, tuned - base", (void **)&d->d_mean, SD_F64},
        {"d_active_mean", units, "sum / count, tuned - base; NaN if count is 0", (void **)&d->d_active_mean,
         SD_F64},
        {"frequency_part", units, "part of d_mean from the change of frequency", (void **)&d->frequency_part, SD_F64},
        {"magnitude_part", units, "part of d_mean from the change of active mean", (void **)&d->magnitude_part, SD_F64},
        {"only_tuned", "tokens", "evaluated tokens on which it fires in the tuned model only", (void **)&d->only_tuned, SD_U64},
        {"only_base", "tokens", "evaluated tokens on which it fires in the base model only", (void **)&d->only_base, SD_U64},
        {"mcnemar_p", "1", "exact two-sided p of only_tuned against only_base", (void **)&d->mcnemar_p, SD_F64},
        {"mcnemar_q", "1", "Benjamini-Hochberg q over the tested latents", (void **)&d->mcnemar_q, SD_F64},
        {"d_z", "1", "mean / standard deviation of the paired difference over tokens", (void **)&d->d_z, SD_F64},
        {"log2_ratio", "1", "log2 of mean activation + epsilon, tuned over base", (void **)&d->log2_ratio, SD_F64},
        {"maxt_p", "1", "p of |t| against the largest of all tested latents under sign flips of documents",
         (void **)&d->maxt_p, SD_F64},
        {"compat_base_count", "tokens", "all tokens, including masked ones, on which the latent fires, base model", (void **)&d->base.compat_count, SD_U64},
        {"compat_base_sum", units, "sum of values over all tokens, base model", (void **)&d->base.compat_sum, SD_F64},
        {"compat_tuned_count", "tokens", "all tokens, including masked ones, on which the latent fires, tuned model", (void **)&d->tuned.compat_count,
         SD_U64},
        {"compat_tuned_sum", units, "sum of values over all tokens, tuned model", (void **)&d->tuned.compat_sum, SD_F64},
    };
    column *at = out;

    for (int i = 0; i < FIXED; i++)
        *at++ = fixed[i];
    for (int part = 0; part < SD_DIFF_PARTS; part++) {
        effect_columns(&effects[part][0], units, &d->part[part].value, at);
        effect_columns(&effects[part][1], "1", &d->part[part].frequency, at + EFFECT);
        at += 2 * EFFECT;
    }
}

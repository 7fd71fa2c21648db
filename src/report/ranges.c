/* Intervals of EV, L0 and FVU ratio: from the per-document sums of the stage evaluate, which diff.h5 does not have. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "saediff/core/mem.h"

/* The evaluation of the same SAE on a model, its index in *which; NULL for none. */
static const sd_eval *find_eval(const sd_report_spec *spec, const sd_diff *d, const char *model, uint64_t *which)
{
    const char tail[] = "-tuned"; /* of the name of an SAE trained on the tuned model */

    if (rep_is_error_sae(d)) /* evaluate skips these */
        return NULL;
    for (uint64_t i = 0; i < spec->n_evals; i++) {
        const sd_eval *e = spec->evals[i];
        size_t length = strlen(e->sae), end = strlen(tail);
        bool on_tuned = length > end && strcmp(e->sae + length - end, tail) == 0;

        if (strcmp(e->site, d->site) == 0 && strcmp(e->model, model) == 0 && e->latents == d->latents && e->k == d->k &&
            on_tuned == (d->trained_on != NULL && strcmp(d->trained_on, "tuned") == 0)) {
            *which = i;
            return e;
        }
    }
    return NULL;
}

/* FVU on the tuned model over FVU on the base model; the documents of both models are resampled together. */
static sd_status ratio_range(const sd_bootstrap *bootstrap, const sd_eval *base, const sd_eval *tuned, rep_range *range)
{
    const double *const columns[] = {base->column[SD_EVAL_sse], base->column[SD_EVAL_spread], tuned->column[SD_EVAL_sse],
                                     tuned->column[SD_EVAL_spread]};
    enum { WIDTH = sizeof columns / sizeof *columns };
    uint64_t *document = NULL, *drawn = NULL, count = 0;
    double *sums = NULL, *ratios = NULL;
    sd_status st;

    if (base->docs < 2 || base->docs != tuned->docs)
        return SD_OK;
    SD_TRY(st, SD_NEW(&document, base->docs));
    SD_TRY(st, SD_NEW(&drawn, bootstrap->resamples));
    SD_TRY(st, SD_NEW(&sums, bootstrap->resamples * WIDTH));
    SD_TRY(st, SD_NEW(&ratios, bootstrap->resamples));
    for (uint64_t i = 0; i < base->docs; i++)
        document[i] = i;
    sd_bootstrap_sums(bootstrap, columns, WIDTH, document, base->docs, sums, drawn);
    for (uint64_t b = 0; b < bootstrap->resamples; b++) {
        const double *s = sums + b * WIDTH;

        if (drawn[b] > 0)
            ratios[count++] = s[2] / s[3] / (s[0] / s[1]);
    }
    sd_percentiles(ratios, count, bootstrap->level, &range->low, &range->high);
out:
    sd_free(document);
    sd_free(drawn);
    sd_free(sums);
    sd_free(ratios);
    return st;
}

sd_status rep_ranges_make(rep_study *study)
{
    const rep_range none = {(double)NAN, (double)NAN};
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        rep_sae *sae = &study->saes[i];
        const sd_eval *evals[2];

        sae->fvu_ratio = none;
        for (int tuned = 0; tuned < 2; tuned++) {
            uint64_t which = 0;

            sae->ev[tuned] = sae->l0[tuned] = none;
            evals[tuned] = find_eval(study->spec, sae->diff, tuned ? "tuned" : "base", &which);
            if (evals[tuned] != NULL) {
                const sd_measure *ev = rep_measure(study, which, SD_EVAL_ALL, SD_EVAL_ID_explained_variance);
                const sd_measure *l0 = rep_measure(study, which, SD_EVAL_ALL, SD_EVAL_ID_l0);

                sae->ev[tuned] = (rep_range){ev->low, ev->high};
                sae->l0[tuned] = (rep_range){l0->low, l0->high};
            }
        }
        if (evals[0] != NULL && evals[1] != NULL)
            SD_TRY(st, ratio_range(&study->spec->bootstrap, evals[0], evals[1], &sae->fvu_ratio));
    }
out:
    return st;
}

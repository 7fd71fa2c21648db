/* The data of the pages: counts of each text, and the latents of each list. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "saediff/core/mem.h"

static sd_status count_sources(rep_study *study, const char *const *names, uint64_t n_names)
{
    const sd_tokens *t = study->spec->tokens;
    sd_status st;

    SD_TRY(st, SD_NEW(&study->sources, n_names));
    study->n_sources = n_names;
    study->all = (rep_source){.name = "all", .documents = t->docs, .tokens = t->tokens};
    for (uint64_t i = 0; i < n_names; i++)
        study->sources[i].name = names[i];
    for (uint64_t d = 0; d < t->docs; d++) {
        rep_source *source;

        if (t->doc_source[d] >= n_names) {
            st = SD_FAIL(SD_E_DATA, "tokens: document %llu comes from data entry %lu, but only %llu have names",
                         (unsigned long long)d, (unsigned long)t->doc_source[d], (unsigned long long)n_names);
            goto out;
        }
        source = &study->sources[t->doc_source[d]];
        source->documents++;
        source->tokens += t->doc_start[d + 1] - t->doc_start[d];
        for (uint64_t row = t->doc_start[d]; row < t->doc_start[d + 1]; row++) {
            source->evaluated += t->mask[row] != 0;
            study->replaced += t->ids[row] != t->ids_base[row];
        }
    }
    for (uint64_t i = 0; i < n_names; i++)
        study->all.evaluated += study->sources[i].evaluated;
out:
    return st;
}

static double rising(const rep_sae *sae, uint64_t l)
{
    double change = sae->diff->part[sae->chosen].value.mean[l];

    return change > 0 ? change : (double)NAN;
}

static double falling(const rep_sae *sae, uint64_t l)
{
    double change = sae->diff->part[sae->chosen].value.mean[l];

    return change < 0 ? -change : (double)NAN;
}

static double appearing(const rep_sae *sae, uint64_t l)
{
    const sd_diff *d = sae->diff;

    return d->base.sums.count[l] == 0 && d->tuned.sums.count[l] > 0 ? rep_mean(d, 1, l) : (double)NAN;
}

static double vanishing(const rep_sae *sae, uint64_t l)
{
    const sd_diff *d = sae->diff;

    return d->tuned.sums.count[l] == 0 && d->base.sums.count[l] > 0 ? rep_mean(d, 0, l) : (double)NAN;
}

static double frequency(const rep_sae *sae, uint64_t l)
{
    double change = fabs(sae->diff->part[sae->chosen].frequency.mean[l]);

    return change > 0 ? change : (double)NAN;
}

/* A list holds the latents whose key is not NaN, in descending order of the key. */
static const struct {
    const char *id, *title, *about;
    double (*key)(const rep_sae *sae, uint64_t l);
} kinds[REP_LISTS] = {
    {"increased", "Most increased", "largest increase of the mean activation on the selection split", rising},
    {"decreased", "Most decreased", "largest decrease of the mean activation on the selection split", falling},
    {"appearing", "Appearing", "never fire in the base model; ranked by mean activation in the tuned model", appearing},
    {"vanishing", "Vanishing", "never fire in the tuned model; ranked by mean activation in the base model", vanishing},
    {"frequency", "Frequency most changed", "largest change of the frequency on the selection split", frequency},
};

static sd_status fill_list(rep_list *list, int kind, const rep_sae *sae, uint64_t top)
{
    const sd_diff *d = sae->diff;
    double *key = NULL;
    sd_status st;

    list->id = kinds[kind].id;
    list->title = kinds[kind].title;
    list->about = kinds[kind].about;
    SD_TRY(st, SD_NEW(&key, d->latents));
    SD_TRY(st, SD_NEW(&list->latents, d->latents));
    for (uint64_t l = 0; l < d->latents; l++) {
        key[l] = sd_diff_is_tested(d, l) ? kinds[kind].key(sae, l) : (double)NAN;
        list->candidates += isnan(key[l]) ? 0 : 1;
    }
    sd_order_falling(key, d->latents, list->latents);
    list->count = list->candidates < top ? list->candidates : top;
out:
    sd_free(key);
    return st;
}

/* latents.<site>.csv, with size and k if the site has several SAEs, and "error" for error SAEs. */
static sd_status name_table(const sd_report_spec *spec, uint64_t which, char **name)
{
    const sd_diff *d = spec->diffs[which];
    const char *error = rep_is_error_sae(d) ? ".error" : "";
    uint64_t same = 0;
    sd_status st;

    for (uint64_t i = 0; i < spec->n_diffs; i++)
        same += strcmp(spec->diffs[i]->site, d->site) == 0 && rep_is_error_sae(spec->diffs[i]) == rep_is_error_sae(d);
    st = same > 1 ? sd_str_format(name, "latents.%s.F%llu.k%llu%s.csv", d->site, (unsigned long long)d->latents,
                                  (unsigned long long)d->k, error)
                  : sd_str_format(name, "latents.%s%s.csv", d->site, error);
    for (char *c = *name; st == SD_OK && *c != '\0'; c++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c) == NULL)
            *c = '_';
    return st;
}

/* The label detection of this SAE; NULL for none. */
static const sd_detection *find_detection(const sd_report_spec *spec, const sd_diff *d)
{
    for (uint64_t i = 0; i < spec->n_detections; i++) {
        const sd_detection *t = spec->detections[i];

        if (strcmp(t->site, d->site) == 0 && t->latents == d->latents && t->k == d->k &&
            strcmp(t->trained_on, d->trained_on != NULL ? d->trained_on : "base") == 0)
            return t;
    }
    return NULL;
}

static sd_status fill_sae(const sd_report_spec *spec, uint64_t which, rep_sae *sae)
{
    const sd_diff *d = spec->diffs[which];
    double frequency = 0, magnitude = 0;
    sd_status st;

    sae->diff = d;
    sae->detection = find_detection(spec, d);
    if (d->part[SD_DIFF_SELECTION].docs >= 2 && d->part[SD_DIFF_ESTIMATION].docs >= 2) {
        sae->chosen = SD_DIFF_SELECTION;
        sae->reported = SD_DIFF_ESTIMATION;
    } else {
        sae->chosen = sae->reported = SD_DIFF_ALL;
    }
    SD_TRY(st, name_table(spec, which, &sae->csv));
    for (int kind = 0; kind < REP_LISTS; kind++)
        SD_TRY(st, fill_list(&sae->lists[kind], kind, sae, spec->top));
    for (uint64_t l = 0; l < d->latents; l++) {
        sae->changed += d->part[SD_DIFF_ALL].value.q[l] <= REP_Q;
        sae->risen += d->part[SD_DIFF_ALL].value.q[l] <= REP_Q && d->d_mean[l] > 0;
        sae->moved += fabs(d->d_mean[l]);
        frequency += fabs(d->frequency_part[l]);
        magnitude += fabs(d->magnitude_part[l]);
    }
    sae->moved_by_frequency = frequency + magnitude > 0 ? frequency / (frequency + magnitude) : (double)NAN;
out:
    return st;
}

static sd_status check_sources(const rep_study *study)
{
    const sd_report_spec *spec = study->spec;

    for (uint64_t i = 0; i < spec->n_evals; i++)
        if (spec->evals[i]->sources != study->n_sources)
            return SD_FAIL(SD_E_DATA, "evaluation of %s on %s has %llu data entries, the tokens have %llu; run the stage evaluate again",
                           spec->evals[i]->site, spec->evals[i]->model, (unsigned long long)spec->evals[i]->sources,
                           (unsigned long long)study->n_sources);
    if (spec->models_eval != NULL && spec->models_eval->sources != study->n_sources)
        return SD_FAIL(SD_E_DATA, "the two models' evaluation has %llu data entries, the tokens have %llu; run the stage evaluate again",
                       (unsigned long long)spec->models_eval->sources, (unsigned long long)study->n_sources);
    return SD_OK;
}

sd_status rep_study_make(rep_study *study, const sd_report_spec *spec, const char *const *names, uint64_t n_names)
{
    sd_status st;

    *study = (rep_study){.spec = spec};
    SD_TRY(st, count_sources(study, names, n_names));
    SD_TRY(st, SD_NEW(&study->saes, spec->n_diffs));
    for (uint64_t i = 0; i < spec->n_diffs; i++)
        SD_TRY(st, fill_sae(spec, i, &study->saes[i]));
    SD_TRY(st, check_sources(study));
    SD_TRY(st, rep_fidelity_make(study));
    SD_TRY(st, rep_ranges_make(study));
out:
    return st;
}

bool rep_two_models(const rep_study *study)
{
    return study->spec->tuned.name != NULL;
}

void rep_study_free(rep_study *study)
{
    for (uint64_t i = 0; study->saes != NULL && i < study->spec->n_diffs; i++) {
        for (int kind = 0; kind < REP_LISTS; kind++)
            sd_free(study->saes[i].lists[kind].latents);
        sd_free(study->saes[i].csv);
    }
    rep_fidelity_free(study);
    sd_free(study->saes);
    sd_free(study->sources);
    *study = (rep_study){0};
}

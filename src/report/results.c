/* results.json: every number of the page with its n, its definition and its unit. */
#include <math.h>
#include <string.h>

#include "pages.h"

static void add_model(const sd_report_model *m, sd_str *s, const char *after)
{
    sd_str_add(s, "    ");
    rep_json(s, m->label);
    sd_str_add(s, ": {\"name\": ");
    rep_json(s, m->name);
    sd_str_add(s, ", \"sha256\": ");
    rep_json(s, m->sha256);
    sd_str_add(s, "}%s\n", after);
}

static void add_source(const rep_source *source, sd_str *s)
{
    sd_str_add(s, "{\"name\": ");
    rep_json(s, source->name);
    sd_str_add(s, ", \"documents\": %llu, \"tokens\": %llu, \"evaluated_tokens\": %llu, \"counted_tokens\": %llu}",
               (unsigned long long)source->documents, (unsigned long long)source->tokens, (unsigned long long)source->evaluated,
               (unsigned long long)source->evaluated);
}

static void add_text(const rep_study *study, sd_str *s)
{
    const sd_tokens *t = study->spec->tokens;

    sd_str_add(s, "  \"text\": {\n    \"sha256\": \"%s\",\n    \"tokenizer_sha256\": \"%s\",\n    \"context\": %llu,\n"
                  "    \"sources\": [", t->text_sha256, t->tokenizer_sha256, (unsigned long long)t->context);
    for (uint64_t i = 0; i < study->n_sources; i++) {
        sd_str_add(s, "%s\n      ", i ? "," : "");
        add_source(&study->sources[i], s);
    }
    sd_str_add(s, "\n    ],\n    \"all\": ");
    add_source(&study->all, s);
    sd_str_add(s, ",\n    \"substituted_for_base\": %llu,\n    \"replaced_for_base\": %llu\n  },\n", (unsigned long long)study->replaced,
               (unsigned long long)study->replaced);
}

static void add_definitions(const rep_study *study, sd_str *s)
{
    const sd_measure *m;
    const char *family;

    sd_str_add(s, "  \"definitions\": {");
    for (size_t i = 0; i < rep_definition_count; i++) {
        sd_str_add(s, "%s\n    ", i ? "," : "");
        rep_json(s, rep_definitions[i].id);
        sd_str_add(s, ": {\"unit\": ");
        rep_json(s, rep_definitions[i].unit);
        sd_str_add(s, ", \"text\": ");
        rep_json(s, rep_definitions[i].text);
        sd_str_add(s, "}");
    }
    for (uint64_t i = 0; (m = rep_fidelity_definition(study, i, &family)) != NULL; i++) {
        sd_str_add(s, ",\n    \"%s.%s\": {\"unit\": \"%s\", \"text\": ", family, m->id, m->unit);
        rep_json(s, m->about);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n  },\n");
}

static const char *unit_of(const char *id)
{
    for (size_t i = 0; i < rep_definition_count; i++)
        if (strcmp(rep_definitions[i].id, id) == 0)
            return rep_definitions[i].unit;
    return "1";
}

/* "name": {"value": …, "low": …, "high": …, "n": …, "n_documents": …, "unit": …, "definition": …}; `definition` names its entry in "definitions". */
static void add_named_range(sd_str *s, const char *before, const char *name, const char *definition, double value, const rep_range *range,
                            const sd_diff *d)
{
    char number[3][REP_NUMBER];

    sd_str_add(s, "%s\"%s\": {\"value\": %s, \"low\": %s, \"high\": %s, \"n\": %llu, \"n_documents\": %llu, \"unit\": \"%s\", "
                  "\"definition\": \"%s\"}",
               before, name, rep_exact(number[0], value, "null"), rep_exact(number[1], range->low, "null"),
               rep_exact(number[2], range->high, "null"), (unsigned long long)d->tokens, (unsigned long long)d->docs, unit_of(definition), definition);
}

/* The definition has the same name. */
static void add_range(sd_str *s, const char *before, const char *name, double value, const rep_range *range, const sd_diff *d)
{
    add_named_range(s, before, name, name, value, range, d);
}

/* Without an interval: a count, or a number without sums per document. */
static void add_value(sd_str *s, const char *before, const char *name, double value, const sd_diff *d)
{
    add_range(s, before, name, value, &(rep_range){(double)NAN, (double)NAN}, d);
}

static void add_losses(const rep_study *study, sd_str *s)
{
    const sd_report_loss *losses = study->spec->losses;

    if (losses == NULL)
        return;
    sd_str_add(s, "  \"loss\": {\n    \"includes_prediction_at_bos\": %s,\n    \"counts_prediction_at_bos\": %s,\n    \"sources\": [",
               study->spec->loss_bos ? "true" : "false", study->spec->loss_bos ? "true" : "false");
    for (uint64_t i = 0; i < study->n_sources; i++) {
        static const char *const names[] = {"base", "tuned", "change"};
        const sd_report_loss *loss = &losses[i];
        double n = (double)loss->predictions, mean[3] = {loss->nll[0] / n, loss->nll[1] / n, 0};

        mean[2] = mean[1] - mean[0];
        sd_str_add(s, "%s\n      {\"name\": ", i ? "," : "");
        rep_json(s, study->sources[i].name);
        sd_str_add(s, ", \"documents\": %llu", (unsigned long long)loss->documents);
        for (int j = 0; j < (rep_two_models(study) ? 3 : 1); j++) {
            char value[REP_NUMBER], low[REP_NUMBER], high[REP_NUMBER];

            sd_str_add(s, ", \"%s\": {\"value\": %s, \"low\": %s, \"high\": %s, \"n\": %llu, \"n_documents\": %llu, \"unit\": \"nats\", "
                          "\"definition\": \"loss\"}",
                       names[j], rep_exact(value, mean[j], "null"), rep_exact(low, loss->low[j], "null"),
                       rep_exact(high, loss->high[j], "null"), (unsigned long long)loss->predictions,
                       (unsigned long long)loss->documents);
        }
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n    ]\n  },\n");
}

static void add_failures(const sd_report_spec *spec, sd_str *s)
{
    sd_str_add(s, "  \"failed\": [");
    for (uint64_t i = 0; i < spec->n_failures; i++) {
        sd_str_add(s, "%s\n    {\"name\": ", i ? "," : "");
        rep_json(s, spec->failures[i].name);
        sd_str_add(s, ", \"step\": %llu, \"reason\": ", (unsigned long long)spec->failures[i].step);
        rep_json(s, spec->failures[i].reason);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "%s],\n", spec->n_failures ? "\n  " : "");
}

static void add_health(const rep_study *study, const rep_sae *sae, int tuned, sd_str *s)
{
    const sd_diff *d = sae->diff;
    const sd_diff_side *side = rep_side(d, tuned);
    const rep_range *ev = &sae->ev[tuned], fvu = {1 - ev->high, 1 - ev->low}, norm = {side->error_norm_low, side->error_norm_high};
    const sd_diff *first = rep_is_error_sae(d) ? rep_first_of(study, d) : NULL;

    sd_str_add(s, "        \"%s\": {\n", tuned ? "tuned" : "base");
    add_range(s, "          ", "ev", side->ev, ev, d);
    add_range(s, ",\n          ", "fvu", 1 - side->ev, &fvu, d);
    add_range(s, ",\n          ", "error_norm", side->error_norm, &norm, d);
    add_named_range(s, ",\n          ", "residual", "error_norm", side->error_norm, &norm, d);
    add_range(s, ",\n          ", "l0", side->l0, &sae->l0[tuned], d);
    add_value(s, ",\n          ", "dead", (double)side->dead, d);
    if (first != NULL)
        add_value(s, ",\n          ", "ev_of_both", rep_ev_of_both(first, d, tuned), d);
    add_value(s, ",\n          ", "dead_bound", sd_rule_of_three(d->tokens), d);
    sd_str_add(s, "\n        }%s\n", tuned ? "" : ",");
}

/* {"count": …, "frequency": …, …} of one latent in one model. */
static void add_side(const sd_diff *d, int tuned, uint64_t l, sd_str *s)
{
    char number[3][REP_NUMBER];

    sd_str_add(s, ", \"%s\": {\"count\": %llu, \"frequency\": %s, \"mean\": %s, \"active_mean\": %s}",
               tuned ? "tuned" : "base", (unsigned long long)rep_side(d, tuned)->sums.count[l],
               rep_exact(number[0], rep_frequency(d, tuned, l), "null"), rep_exact(number[1], rep_mean(d, tuned, l), "null"),
               rep_exact(number[2], rep_active_mean(d, tuned, l), "null"));
}

/* The change on the estimation split, with its interval and p-values. */
static void add_effect(const rep_sae *sae, bool frequency, uint64_t l, sd_str *s)
{
    const sd_diff *d = sae->diff;
    const sd_diff_part *part = &d->part[sae->reported], *all = &d->part[SD_DIFF_ALL];
    const sd_diff_effect *effect = frequency ? &part->frequency : &part->value, *whole = frequency ? &all->frequency : &all->value;
    char number[6][REP_NUMBER];
    double low, high;

    rep_interval(d, sae->reported, frequency, l, &low, &high);
    sd_str_add(s, ", \"effect\": {\"value\": %s, \"low\": %s, \"high\": %s, \"n\": %llu, \"n_documents\": %llu, "
                  "\"definition\": \"%s\"}, \"p\": %s, \"q\": %s, \"maxt_p\": %s",
               rep_exact(number[0], effect->mean[l], "null"), rep_exact(number[1], low, "null"),
               rep_exact(number[2], high, "null"), (unsigned long long)part->tokens, (unsigned long long)part->docs,
               sae->reported == SD_DIFF_ESTIMATION ? "estimation_split" : "change",
               rep_exact(number[3], whole->p[l], "null"), rep_exact(number[4], whole->q[l], "null"),
               rep_exact(number[5], frequency ? (double)NAN : d->maxt_p[l], "null"));
}

static void add_list(const rep_sae *sae, int kind, sd_str *s, const char *after)
{
    const rep_list *list = &sae->lists[kind];
    const sd_diff *d = sae->diff;
    char number[5][REP_NUMBER];

    sd_str_add(s, "        \"%s\": {\"about\": \"%s\", \"n\": %llu, \"candidates\": %llu, \"rows\": [", list->id, list->about,
               (unsigned long long)d->tokens, (unsigned long long)list->candidates);
    for (uint64_t i = 0; i < list->count; i++) {
        uint64_t l = list->latents[i];

        sd_str_add(s, "%s\n          {\"latent\": %llu", i ? "," : "", (unsigned long long)l);
        add_side(d, 0, l, s);
        add_side(d, 1, l, s);
        sd_str_add(s, ", \"change\": {\"frequency\": %s, \"mean\": %s, \"active_mean\": %s, \"frequency_part\": %s, "
                      "\"magnitude_part\": %s}",
                   rep_exact(number[0], d->d_frequency[l], "null"), rep_exact(number[1], d->d_mean[l], "null"),
                   rep_exact(number[2], d->d_active_mean[l], "null"), rep_exact(number[3], d->frequency_part[l], "null"),
                   rep_exact(number[4], d->magnitude_part[l], "null"));
        add_effect(sae, kind == REP_BY_FREQUENCY, l, s);
        if (sae->detection != NULL)
            rep_detects_json(sae, l, rep_latent_stronger_in(sae, kind, l), s);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "%s]}%s\n", list->count ? "\n        " : "", after);
}

static void add_sae(const rep_study *study, const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;
    const rep_range increase = {d->error_norm_increase_low, d->error_norm_increase_high};

    sd_str_add(s, "\n    {\n      \"site\": ");
    rep_json(s, d->site);
    sd_str_add(s, ",\n      \"trained_on\": \"%s\"", d->trained_on != NULL ? d->trained_on : "base");
    sd_str_add(s, ",\n      \"latents\": %llu,\n      \"k\": %llu,\n      \"n\": %llu,\n      \"documents\": %llu,\n"
                  "      \"table\": ", (unsigned long long)d->latents, (unsigned long long)d->k,
               (unsigned long long)d->tokens, (unsigned long long)d->docs);
    rep_json(s, sae->csv);
    add_range(s, ",\n      ", "fvu_ratio", d->fvu_ratio, &sae->fvu_ratio, d);
    sd_str_add(s, ",\n      \"out_of_distribution_on_tuned\": %s", d->fvu_ratio > SD_DIFF_FVU_LIMIT && !rep_is_error_sae(d) ? "true" : "false");
    add_range(s, ",\n      ", "error_norm_increase", d->error_norm_increase, &increase, d);
    add_named_range(s, ",\n      ", "residual_increase", "error_norm_increase", d->error_norm_increase, &increase, d);
    add_value(s, ",\n      ", "sum_of_absolute_changes", sae->moved, d);
    add_value(s, ",\n      ", "share_from_frequency", sae->moved_by_frequency, d);
    add_value(s, ",\n      ", "tested", (double)d->tested, d);
    add_value(s, ",\n      ", "changed", (double)sae->changed, d);
    add_value(s, ",\n      ", "changed_up", (double)sae->risen, d);
    add_value(s, ",\n      ", "changed_down", (double)(sae->changed - sae->risen), d);
    if (sae->detection != NULL)
        rep_subjects_json(sae, s);
    rep_compat_json(study, sae, s);
    sd_str_add(s, ",\n      \"health\": {\n");
    add_health(study, sae, 0, s);
    add_health(study, sae, 1, s);
    sd_str_add(s, "      },\n      \"lists\": {\n");
    for (int kind = 0; kind < REP_LISTS; kind++)
        add_list(sae, kind, s, kind + 1 < REP_LISTS ? "," : "");
    sd_str_add(s, "      }\n    }");
}

/* Members that have a new name. They are written under both names in this version; the next one drops the old ones. */
static void add_renamed(sd_str *s)
{
    static const char *const renamed[][2] = {
        {"counted_tokens", "evaluated_tokens"}, {"replaced_for_base", "substituted_for_base"}, {"counts_prediction_at_bos", "includes_prediction_at_bos"},
        {"residual", "error_norm"}, {"residual_increase", "error_norm_increase"}, {"judged", "tested"}, {"told", "detected"}, {"tells", "detects"}};

    sd_str_add(s, "  \"renamed\": {\"//\": \"old name: new name; this version writes both, the next one only the new name\"");
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        sd_str_add(s, ", \"%s\": \"%s\"", renamed[i][0], renamed[i][1]);
    sd_str_add(s, "},\n");
}

void rep_results(const rep_study *study, sd_str *s)
{
    const sd_report_spec *spec = study->spec;

    sd_str_add(s, "{\n  \"format\": \"saediff.report\",\n  \"version\": 2,\n  \"title\": ");
    rep_json(s, spec->title);
    sd_str_add(s, ",\n");
    add_renamed(s);
    sd_str_add(s, "  \"models\": {\n");
    add_model(&spec->base, s, rep_two_models(study) ? "," : "");
    if (rep_two_models(study))
        add_model(&spec->tuned, s, "");
    sd_str_add(s, "  },\n");
    add_text(study, s);
    add_losses(study, s);
    add_failures(spec, s);
    sd_str_add(s, "  \"min_firings_in_lists\": %d,\n  \"interval_level\": 0.95,\n", SD_DIFF_SUPPORT);
    add_definitions(study, s);
    rep_fidelity_json(study, s);
    rep_matched_json(study, s);
    rep_detection_json(study, s);
    sd_str_add(s, "  \"saes\": [");
    for (uint64_t i = 0; i < spec->n_diffs; i++) {
        sd_str_add(s, "%s", i ? "," : "");
        add_sae(study, &study->saes[i], s);
    }
    sd_str_add(s, "\n  ],\n  \"job\": %s\n}\n", spec->job_json == NULL ? "null" : spec->job_json);
}

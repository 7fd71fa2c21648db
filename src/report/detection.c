/* Label detection: which latents detect the labels of the documents, and which labels the changed latents detect. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "saediff/core/mem.h"
#include "saediff/stat/infer.h"
#include "page_buffer.h"

typedef unsigned long long ull;

enum { SHOWN = 3 }; /* most frequent values shown for a list of latents */

#define TABLE(page, ...)                                                                                                   \
    rep_table_open((page), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static const struct {
    const char *id, *unit, *about;
} meanings[] = {
    {"auroc", "1", "probability that the latent's mean activation is larger in a document with the value than in one of the others, ties counting half; the "
                   "others are documents with another value of the field, from the texts in which the value occurs, or from all texts if those have "
                   "none. The latent is the best one on the selection split; the AUROC is measured on the estimation split, with a bootstrap "
                   "interval over documents"},
    {"chance", "1", "95 % quantile of the AUROC when the value is permuted over the documents, with the same selection and estimation"},
    {"detected", "values", "values for which the lower end of the interval is above the threshold; tested are values with at least 10 documents and 10 others in each split"},
    {"detects", "1", "for each label, the value that the latent detects best on the selection split, and its AUROC on the estimation split ± 1.96 "
                     "standard errors (DeLong); only if the lower end is above the threshold"},
};

static const sd_detection_side *side_of(const sd_detection *t, int tuned)
{
    return tuned ? &t->tuned : &t->base;
}

static const char *field_of(const sd_detection *t, uint64_t value)
{
    return t->field[t->of_field[value]];
}

static double half_width(const sd_detection_side *s, uint64_t at)
{
    return sd_normal_quantile(0.95) * s->best_se[at];
}

/* The value of a field that a latent detects in this model, by the same criterion as the best latents of a value; −1 for none. */
static int64_t detected_by(const sd_detection *t, int tuned, uint64_t latent, uint64_t field)
{
    const sd_detection_side *s = side_of(t, tuned);
    uint64_t at = latent * t->fields + field;

    return s->best[at] >= 0 && s->best_auroc[at] - half_width(s, at) > t->threshold ? s->best[at] : -1;
}

static void count_detection(const sd_detection *t, int tuned, uint64_t *detected, uint64_t *tested)
{
    *detected = *tested = 0;
    for (uint64_t v = 0; v < t->values; v++) {
        *detected += side_of(t, tuned)->detected[v] != 0;
        *tested += sd_detection_is_tested(t, v);
    }
}

/* ---- the labels that a list of latents detects */

/* A value that latents of a list detect best. */
typedef struct subject {
    uint64_t value, listed, tested; /* latents of the list, and of all tested latents, that detect it */
} subject;

/* The values of a field that most latents of a list detect, the most frequent first; returns their number. */
static uint64_t subjects_of(const rep_sae *sae, int kind, uint64_t field, subject out[SHOWN])
{
    const sd_detection *t = sae->detection;
    const rep_list *list = &sae->lists[kind];
    int tuned = rep_stronger_in(kind);
    uint64_t n = 0;

    for (uint64_t v = 0; v < t->values; v++) {
        subject s = {.value = v};
        uint64_t at;

        if (t->of_field[v] != field)
            continue;
        for (uint64_t i = 0; i < list->count; i++)
            s.listed += detected_by(t, tuned, list->latents[i], field) == (int64_t)v;
        for (uint64_t l = 0; l < t->latents; l++)
            s.tested += sd_diff_is_tested(sae->diff, l) && detected_by(t, tuned, l, field) == (int64_t)v;
        for (at = n; at > 0 && out[at - 1].listed < s.listed; at--)
            if (at < SHOWN)
                out[at] = out[at - 1];
        if (s.listed > 0 && at < SHOWN) {
            out[at] = s;
            n += n < SHOWN;
        }
    }
    return n;
}

/* ---- the page */

static void say_value(const sd_detection *t, uint64_t value, rep_buffer *page)
{
    rep_text(page, field_of(t, value));
    rep_say(page, " ");
    rep_text(page, t->value[value]);
}

void rep_detects_cell(const rep_sae *sae, uint64_t latent, int tuned, rep_buffer *page)
{
    const sd_detection *t = sae->detection;
    bool some = false;

    rep_cell_open(page);
    for (uint64_t f = 0; f < t->fields; f++) {
        int64_t value = detected_by(t, tuned, latent, f);
        uint64_t at = latent * t->fields + f;

        if (value < 0)
            continue;
        rep_say(page, some ? ", " : "");
        rep_text(page, t->value[value]);
        rep_say(page, " ");
        rep_number(page, side_of(t, tuned)->best_auroc[at]);
        some = true;
    }
    if (!some)
        rep_say(page, "–");
    rep_cell_close(page);
}

static void say_about(const rep_sae *sae, int kind, const char *verb, rep_buffer *page)
{
    subject first[SHOWN];

    if (sae->lists[kind].count == 0 || subjects_of(sae, kind, 0, first) == 0)
        return;
    rep_say(page, "; of the %llu latents that %s most, %llu detect ", (ull)sae->lists[kind].count, verb, (ull)first[0].listed);
    say_value(sae->detection, first[0].value, page);
    rep_say(page, " (of all tested latents, %llu of %llu)", (ull)first[0].tested, (ull)sae->diff->tested);
}

void rep_detection_in_short(const rep_study *study, rep_buffer *page)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];
        uint64_t detected[2], tested;

        if (sae->detection == NULL)
            continue;
        for (int m = 0; m < 2; m++)
            count_detection(sae->detection, m, &detected[m], &tested);
        if (tested == 0)
            continue;
        rep_open(page, REP_ITEM, NULL);
        rep_say(page, "Label detection: latents at ");
        rep_code(page, sae->diff->site);
        rep_say(page, "%s (%llu latents, k %llu) detect %llu of %llu ", rep_is_error_sae(sae->diff) ? " error SAE" : "", (ull)sae->diff->latents, (ull)sae->diff->k, (ull)detected[0], (ull)tested);
        rep_jump_open(page, "labels");
        rep_say(page, "label values");
        rep_jump_close(page);
        rep_say(page, " in the base model, %llu in the tuned model", (ull)detected[1]);
        say_about(sae, 0, "increase", page);
        say_about(sae, 1, "decrease", page);
        rep_say(page, ".");
        rep_close(page, REP_ITEM);
    }
}

static void add_side_cells(const sd_detection *t, int tuned, uint64_t v, rep_buffer *page)
{
    const sd_detection_side *s = side_of(t, tuned);

    if (s->latent[v] < 0) {
        for (int i = 0; i < 3; i++)
            rep_cell_say(page, "–");
        return;
    }
    rep_cell_say(page, "%lld", (long long)s->latent[v]);
    rep_cell_open(page);
    rep_number(page, s->auroc[v]);
    rep_interval_of(page, s->low[v], s->high[v]);
    rep_cell_close(page);
    rep_cell_say(page, s->detected[v] ? "yes" : "no");
}

/* The larger of both models' chance levels. */
static void add_chance(const sd_detection *t, uint64_t v, rep_buffer *page)
{
    double chance = fmax(t->base.chance[v], t->tuned.chance[v]); /* fmax() ignores a NaN */

    if (isnan(chance))
        rep_cell_say(page, "–");
    else
        rep_cell_number(page, chance);
}

static void add_values(const rep_sae *sae, rep_buffer *page)
{
    const sd_detection *t = sae->detection;
    uint64_t few = 0;

    rep_open(page, REP_H3, NULL);
    rep_say(page, "At ");
    rep_code(page, t->site);
    rep_say(page, "%s (%llu latents, k %llu)", rep_is_error_sae(sae->diff) ? " error SAE" : "", (ull)t->latents, (ull)t->k);
    rep_close(page, REP_H3);
    TABLE(page, "<label", "<value", ">documents", ">base: latent", ">AUROC", "<detected", ">tuned: latent", ">AUROC", "<detected", ">chance");
    for (uint64_t v = 0; v < t->values; v++) {
        uint64_t positives = t->positives[v * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION];

        if (!sd_detection_is_tested(t, v)) {
            few++;
            continue;
        }
        rep_row_open(page);
        rep_cell_text(page, field_of(t, v));
        rep_cell_text(page, t->value[v]);
        rep_cell_say(page, "%llu of %llu", (ull)positives, (ull)(positives + t->others[v * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION]));
        for (int m = 0; m < 2; m++)
            add_side_cells(t, m, v, page);
        add_chance(t, v, page);
        rep_row_close(page);
    }
    rep_table_close(page);
    if (few > 0) {
        rep_open(page, REP_P, NULL);
        rep_say(page, "%llu further value%s too few documents, or too few others, to be tested.", (ull)few, few == 1 ? " has" : "s have");
        rep_close(page, REP_P);
    }
}

static void add_all_saes(const rep_study *study, rep_buffer *page)
{
    TABLE(page, "<site", ">latents", ">k", "<trained on", ">detected in base", ">detected in tuned", ">values tested");
    for (uint64_t i = 0; i < study->spec->n_detections; i++) {
        const sd_detection *t = study->spec->detections[i];
        uint64_t detected[2], tested;

        for (int m = 0; m < 2; m++)
            count_detection(t, m, &detected[m], &tested);
        rep_row_open(page);
        rep_cell_open(page);
        rep_code(page, t->site);
        rep_cell_close(page);
        rep_cell_say(page, "%llu", (ull)t->latents);
        rep_cell_say(page, "%llu", (ull)t->k);
        rep_cell_text(page, t->trained_on);
        rep_cell_say(page, "%llu", (ull)detected[0]);
        rep_cell_say(page, "%llu", (ull)detected[1]);
        rep_cell_say(page, "%llu", (ull)tested);
        rep_row_close(page);
    }
    rep_table_close(page);
}

static void add_subjects(const rep_study *study, rep_buffer *page)
{
    rep_open(page, REP_P, NULL);
    rep_say(page, "Labels of the changed latents: for each label, up to %d values that most of the listed latents detect, and how many of all tested latents "
                   "detect them. The same threshold applies.", SHOWN);
    rep_close(page, REP_P);
    TABLE(page, "<site", ">latents", ">k", "<list", "<label", "<value", ">of the list", ">of all tested");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int kind = 0; kind < 2; kind++)
            for (uint64_t f = 0; study->saes[i].detection != NULL && f < study->saes[i].detection->fields; f++) {
                const rep_sae *sae = &study->saes[i];
                subject subjects[SHOWN];
                uint64_t n = subjects_of(sae, kind, f, subjects);

                for (uint64_t s = 0; s < n; s++) {
                    rep_row_open(page);
                    rep_site_cell(sae->diff, page);
                    rep_cell_say(page, "%llu", (ull)sae->diff->latents);
                    rep_cell_say(page, "%llu", (ull)sae->diff->k);
                    rep_cell_say(page, "%s", sae->lists[kind].id);
                    rep_cell_text(page, sae->detection->field[f]);
                    rep_cell_text(page, sae->detection->value[subjects[s].value]);
                    rep_cell_say(page, "%llu of %llu", (ull)subjects[s].listed, (ull)sae->lists[kind].count);
                    rep_cell_say(page, "%llu of %llu (%.0f %%)", (ull)subjects[s].tested, (ull)sae->diff->tested,
                                 100 * (double)subjects[s].tested / (double)sae->diff->tested);
                    rep_row_close(page);
                }
            }
    rep_table_close(page);
}

void rep_detection(const rep_study *study, rep_buffer *page)
{
    const sd_report_spec *spec = study->spec;

    if (spec->n_detections == 0)
        return;
    rep_open(page, REP_H2, "labels");
    rep_say(page, "Document labels and the latents that detect them");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "The documents have labels. For each label value, the selection split of the documents picks the latent whose mean activation in a document "
                   "best separates documents with the value from the others, and the estimation split measures it (AUROC: 1 is perfect, ½ is chance), "
                   "with a 95 %% interval over documents. A value counts as detected if the lower end of the interval is above %.4g. "
                   "Chance: the 95 %% quantile of the AUROC over %llu permutations of the labels; the larger of the two models. "
                   "Detection does not imply difficulty; a single word often suffices. The table counts the documents of the estimation split.",
            spec->detections[0]->threshold, (ull)spec->detections[0]->permutations);
    rep_close(page, REP_P);
    add_all_saes(study, page);
    if (spec->n_diffs > 0)
        add_subjects(study, page);
    for (uint64_t i = 0; i < spec->n_diffs; i++)
        if (study->saes[i].detection != NULL)
            add_values(&study->saes[i], page);
    rep_open(page, REP_LIST, NULL);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        rep_open(page, REP_ITEM, NULL);
        rep_say(page, "`labels.%s`: %s.", meanings[i].id, meanings[i].about);
        rep_close(page, REP_ITEM);
    }
    rep_close(page, REP_LIST);
    rep_open(page, REP_P, NULL);
    rep_say(page, "All SAEs, including those trained on the tuned model: ");
    rep_link(page, REP_LABELS, REP_LABELS);
    rep_say(page, ".");
    rep_close(page, REP_P);
}

/* ---- JSON and CSV */

static void add_detects(const rep_sae *sae, uint64_t latent, int tuned, const char *name, const char *definition, sd_str *s)
{
    const sd_detection *t = sae->detection;
    char number[2][REP_NUMBER];
    bool some = false;

    sd_str_add(s, ", \"%s\": [", name);
    for (uint64_t f = 0; f < t->fields; f++) {
        int64_t value = detected_by(t, tuned, latent, f);
        uint64_t at = latent * t->fields + f;

        if (value < 0)
            continue;
        sd_str_add(s, "%s{\"model\": \"%s\", \"label\": ", some ? ", " : "", tuned ? "tuned" : "base");
        rep_json(s, t->field[f]);
        sd_str_add(s, ", \"value\": ");
        rep_json(s, t->value[value]);
        sd_str_add(s, ", \"auroc\": %s, \"plus_minus\": %s, \"n_documents\": %llu, \"definition\": \"labels.%s\"}",
                   rep_exact(number[0], side_of(t, tuned)->best_auroc[at], "null"), rep_exact(number[1], half_width(side_of(t, tuned), at), "null"),
                   (ull)(t->positives[(uint64_t)value * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION] + t->others[(uint64_t)value * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION]), definition);
        some = true;
    }
    sd_str_add(s, "]");
}

void rep_detects_json(const rep_sae *sae, uint64_t latent, int tuned, sd_str *s)
{
    add_detects(sae, latent, tuned, "detects", "detects", s);
    add_detects(sae, latent, tuned, "tells", "detects", s); /* its old name, see add_renamed() in results.c */
}

static void add_side_json(const sd_detection *t, int tuned, uint64_t v, sd_str *s)
{
    const sd_detection_side *side = side_of(t, tuned);
    char number[5][REP_NUMBER];

    sd_str_add(s, ", \"%s\": ", tuned ? "tuned" : "base");
    if (side->latent[v] < 0) {
        sd_str_add(s, "null");
        return;
    }
    sd_str_add(s, "{\"latent\": %lld, \"selection_auroc\": %s, \"value\": %s, \"low\": %s, \"high\": %s, \"chance\": %s, \"detected\": %s, \"told\": %s, "
                  "\"definition\": \"labels.auroc\"}",
               (long long)side->latent[v], rep_exact(number[0], side->selection_auroc[v], "null"), rep_exact(number[1], side->auroc[v], "null"),
               rep_exact(number[2], side->low[v], "null"), rep_exact(number[3], side->high[v], "null"),
               rep_exact(number[4], side->chance[v], "null"), side->detected[v] ? "true" : "false", side->detected[v] ? "true" : "false");
}

static void add_detection_json(const sd_detection *t, sd_str *s)
{
    uint64_t detected[2], tested;

    for (int m = 0; m < 2; m++)
        count_detection(t, m, &detected[m], &tested);
    sd_str_add(s, "\n      {\"site\": ");
    rep_json(s, t->site);
    sd_str_add(s, ", \"latents\": %llu, \"k\": %llu, \"trained_on\": ", (ull)t->latents, (ull)t->k);
    rep_json(s, t->trained_on);
    sd_str_add(s, ", \"tested\": %llu, \"detected\": {\"base\": %llu, \"tuned\": %llu}, \"judged\": %llu, \"told\": {\"base\": %llu, \"tuned\": %llu}, \"values\": [",
               (ull)tested, (ull)detected[0], (ull)detected[1], (ull)tested, (ull)detected[0], (ull)detected[1]);
    for (uint64_t v = 0; v < t->values; v++) {
        sd_str_add(s, "%s\n        {\"label\": ", v ? "," : "");
        rep_json(s, field_of(t, v));
        sd_str_add(s, ", \"text\": ");
        rep_json(s, t->value[v]);
        sd_str_add(s, ", \"documents\": %llu, \"others\": %llu", (ull)t->positives[v * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION],
                   (ull)t->others[v * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION]);
        for (int m = 0; m < 2; m++)
            add_side_json(t, m, v, s);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "%s]}", t->values ? "\n      " : "");
}

void rep_detection_json(const rep_study *study, sd_str *s)
{
    const sd_report_spec *spec = study->spec;
    char number[REP_NUMBER];

    if (spec->n_detections == 0)
        return;
    sd_str_add(s, "  \"labels\": {\n    \"threshold\": %s, \"permutations\": %llu,\n    \"definitions\": {",
               rep_exact(number, spec->detections[0]->threshold, "null"), (ull)spec->detections[0]->permutations);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        sd_str_add(s, "%s\n      \"labels.%s\": {\"unit\": \"%s\", \"text\": ", i ? "," : "", meanings[i].id, meanings[i].unit);
        rep_json(s, meanings[i].about);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n    },\n    \"saes\": [");
    for (uint64_t i = 0; i < spec->n_detections; i++) {
        sd_str_add(s, i ? "," : "");
        add_detection_json(spec->detections[i], s);
    }
    sd_str_add(s, "\n    ]\n  },\n");
}

/* "subjects" of one SAE: the labels that its changed latents detect. */
void rep_subjects_json(const rep_sae *sae, sd_str *s)
{
    bool some = false;

    sd_str_add(s, ",\n      \"subjects\": [");
    for (int kind = 0; kind < 2; kind++)
        for (uint64_t f = 0; f < sae->detection->fields; f++) {
            subject subjects[SHOWN];
            uint64_t n = subjects_of(sae, kind, f, subjects);

            for (uint64_t i = 0; i < n; i++) {
                sd_str_add(s, "%s\n        {\"list\": \"%s\", \"label\": ", some ? "," : "", sae->lists[kind].id);
                rep_json(s, sae->detection->field[f]);
                sd_str_add(s, ", \"value\": ");
                rep_json(s, sae->detection->value[subjects[i].value]);
                sd_str_add(s, ", \"of_list\": %llu, \"listed\": %llu, \"of_tested\": %llu, \"tested\": %llu}", (ull)subjects[i].listed,
                           (ull)sae->lists[kind].count, (ull)subjects[i].tested, (ull)sae->diff->tested);
                some = true;
            }
        }
    sd_str_add(s, "%s]", some ? "\n      " : "");
}

void rep_detection_table(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "site,latents,k,trained_on,model,label,value,documents,others,latent,selection_auroc,auroc,low,high,chance,detected\n");
    for (uint64_t i = 0; i < study->spec->n_detections; i++)
        for (int m = 0; m < 2; m++)
            for (uint64_t v = 0; v < study->spec->detections[i]->values; v++) {
                const sd_detection *t = study->spec->detections[i];
                const sd_detection_side *side = side_of(t, m);
                char number[5][REP_NUMBER];

                rep_csv(s, t->site);
                sd_str_add(s, ",%llu,%llu,%s,%s,", (ull)t->latents, (ull)t->k, t->trained_on, m ? "tuned" : "base");
                rep_csv(s, field_of(t, v));
                sd_str_add(s, ",");
                rep_csv(s, t->value[v]);
                sd_str_add(s, ",%llu,%llu,%lld,%s,%s,%s,%s,%s,%u\n", (ull)t->positives[v * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION],
                           (ull)t->others[v * SD_DETECTION_SPLITS + SD_DETECTION_ESTIMATION], (long long)side->latent[v],
                           rep_exact(number[0], side->selection_auroc[v], "NaN"), rep_exact(number[1], side->auroc[v], "NaN"),
                           rep_exact(number[2], side->low[v], "NaN"), rep_exact(number[3], side->high[v], "NaN"),
                           rep_exact(number[4], side->chance[v], "NaN"), (unsigned)side->detected[v]);
            }
}

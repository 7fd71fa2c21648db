/* What latents tell of the labels of the texts: how much of what is known about them an SAE has found, and what its changes are about. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "saediff/core/mem.h"
#include "saediff/stat/infer.h"
#include "sheet.h"

typedef unsigned long long ull;

enum { SHOWN = 3 }; /* values of a field that a list of latents is described by */

#define TABLE(sheet, ...)                                                                                                   \
    rep_table_open((sheet), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static const struct {
    const char *id, *unit, *about;
} meanings[] = {
    {"auroc", "1", "chance that a document with the value has a larger mean activation of the latent than one of the others, ties counting half; the "
                   "others are documents with another value of the field, of the texts in which the value occurs, or of all texts if there are "
                   "none there. The latent is the best one on half A of the documents; the number is that of half B, its interval is a "
                   "bootstrap over documents"},
    {"chance", "1", "95 % quantile of what the same choosing and reporting gives when the value is dealt anew among the documents"},
    {"told", "values", "values whose interval's lower end is above the threshold; judged are those with at least 10 documents and 10 others in each half"},
    {"tells", "1", "AUROC, on half B, of the value that a latent tells best of each label on half A, ± 1.96 standard errors (DeLong); only where "
                   "the lower end of that is above the threshold"},
};

static const sd_told_side *side_of(const sd_told *t, int tuned)
{
    return tuned ? &t->tuned : &t->base;
}

static const char *field_of(const sd_told *t, uint64_t value)
{
    return t->field[t->of_field[value]];
}

static double reach_of(const sd_told_side *s, uint64_t at)
{
    return sd_normal_quantile(0.95) * s->best_se[at];
}

/* The value of a field that a latent tells in this model, judged as the best latents of a value are; −1 for none. */
static int64_t told_by(const sd_told *t, int tuned, uint64_t latent, uint64_t field)
{
    const sd_told_side *s = side_of(t, tuned);
    uint64_t at = latent * t->fields + field;

    return s->best[at] >= 0 && s->best_auroc[at] - reach_of(s, at) > t->threshold ? s->best[at] : -1;
}

static void count_told(const sd_told *t, int tuned, uint64_t *told, uint64_t *judged)
{
    *told = *judged = 0;
    for (uint64_t v = 0; v < t->values; v++) {
        *told += side_of(t, tuned)->told[v] != 0;
        *judged += sd_told_is_judged(t, v);
    }
}

/* ---- what a list of latents is about */

/* A value that latents of a list tell best. */
typedef struct subject {
    uint64_t value, listed, tested; /* latents of the list, of all that are tested */
} subject;

/* The values of a field that most of a list's latents tell, the commonest first; their number. */
static uint64_t subjects_of(const rep_sae *sae, int kind, uint64_t field, subject out[SHOWN])
{
    const sd_told *t = sae->told;
    const rep_list *list = &sae->lists[kind];
    int tuned = rep_stronger_in(kind);
    uint64_t n = 0;

    for (uint64_t v = 0; v < t->values; v++) {
        subject s = {.value = v};
        uint64_t at;

        if (t->of_field[v] != field)
            continue;
        for (uint64_t i = 0; i < list->count; i++)
            s.listed += told_by(t, tuned, list->latents[i], field) == (int64_t)v;
        for (uint64_t l = 0; l < t->latents; l++)
            s.tested += sd_diff_is_tested(sae->diff, l) && told_by(t, tuned, l, field) == (int64_t)v;
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

/* ---- in the page */

static void say_value(const sd_told *t, uint64_t value, rep_sheet *sheet)
{
    rep_text(sheet, field_of(t, value));
    rep_say(sheet, " ");
    rep_text(sheet, t->value[value]);
}

void rep_tells_cell(const rep_sae *sae, uint64_t latent, int tuned, rep_sheet *sheet)
{
    const sd_told *t = sae->told;
    bool some = false;

    rep_cell_open(sheet);
    for (uint64_t f = 0; f < t->fields; f++) {
        int64_t value = told_by(t, tuned, latent, f);
        uint64_t at = latent * t->fields + f;

        if (value < 0)
            continue;
        rep_say(sheet, some ? ", " : "");
        rep_text(sheet, t->value[value]);
        rep_say(sheet, " ");
        rep_number(sheet, side_of(t, tuned)->best_auroc[at]);
        some = true;
    }
    if (!some)
        rep_say(sheet, "–");
    rep_cell_close(sheet);
}

static void say_about(const rep_sae *sae, int kind, const char *verb, rep_sheet *sheet)
{
    subject first[SHOWN];

    if (sae->lists[kind].count == 0 || subjects_of(sae, kind, 0, first) == 0)
        return;
    rep_say(sheet, "; of the %llu latents that %s most, %llu tell ", (ull)sae->lists[kind].count, verb, (ull)first[0].listed);
    say_value(sae->told, first[0].value, sheet);
    rep_say(sheet, " best (of all tested %llu of %llu)", (ull)first[0].tested, (ull)sae->diff->tested);
}

void rep_told_in_short(const rep_study *study, rep_sheet *sheet)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];
        uint64_t told[2], judged;

        if (sae->told == NULL)
            continue;
        for (int m = 0; m < 2; m++)
            count_told(sae->told, m, &told[m], &judged);
        if (judged == 0)
            continue;
        rep_open(sheet, REP_ITEM, NULL);
        rep_say(sheet, "What is known of the texts: latents at ");
        rep_code(sheet, sae->diff->site);
        rep_say(sheet, "%s (%llu latents, k %llu) tell %llu of %llu ", rep_is_residual(sae->diff) ? " residual" : "", (ull)sae->diff->latents, (ull)sae->diff->k, (ull)told[0], (ull)judged);
        rep_jump_open(sheet, "labels");
        rep_say(sheet, "label values");
        rep_jump_close(sheet);
        rep_say(sheet, " in the base model, %llu in the tuned one", (ull)told[1]);
        say_about(sae, 0, "rise", sheet);
        say_about(sae, 1, "fall", sheet);
        rep_say(sheet, ".");
        rep_close(sheet, REP_ITEM);
    }
}

static void add_side_cells(const sd_told *t, int tuned, uint64_t v, rep_sheet *sheet)
{
    const sd_told_side *s = side_of(t, tuned);

    if (s->latent[v] < 0) {
        for (int i = 0; i < 3; i++)
            rep_cell_say(sheet, "–");
        return;
    }
    rep_cell_say(sheet, "%lld", (long long)s->latent[v]);
    rep_cell_open(sheet);
    rep_number(sheet, s->auroc[v]);
    rep_interval_of(sheet, s->low[v], s->high[v]);
    rep_cell_close(sheet);
    rep_cell_say(sheet, s->told[v] ? "yes" : "no");
}

/* The larger of both models' chance levels. */
static void add_chance(const sd_told *t, uint64_t v, rep_sheet *sheet)
{
    double chance = fmax(t->base.chance[v], t->tuned.chance[v]); /* NaN gives way to a number */

    if (isnan(chance))
        rep_cell_say(sheet, "–");
    else
        rep_cell_number(sheet, chance);
}

static void add_values(const rep_sae *sae, rep_sheet *sheet)
{
    const sd_told *t = sae->told;
    uint64_t few = 0;

    rep_open(sheet, REP_H3, NULL);
    rep_say(sheet, "At ");
    rep_code(sheet, t->site);
    rep_say(sheet, "%s (%llu latents, k %llu)", rep_is_residual(sae->diff) ? " residual" : "", (ull)t->latents, (ull)t->k);
    rep_close(sheet, REP_H3);
    TABLE(sheet, "<label", "<value", ">documents", ">base: latent", ">AUROC", "<told", ">tuned: latent", ">AUROC", "<told", ">chance");
    for (uint64_t v = 0; v < t->values; v++) {
        uint64_t positives = t->positives[v * SD_TOLD_HALVES + SD_TOLD_B];

        if (!sd_told_is_judged(t, v)) {
            few++;
            continue;
        }
        rep_row_open(sheet);
        rep_cell_text(sheet, field_of(t, v));
        rep_cell_text(sheet, t->value[v]);
        rep_cell_say(sheet, "%llu of %llu", (ull)positives, (ull)(positives + t->others[v * SD_TOLD_HALVES + SD_TOLD_B]));
        for (int m = 0; m < 2; m++)
            add_side_cells(t, m, v, sheet);
        add_chance(t, v, sheet);
        rep_row_close(sheet);
    }
    rep_table_close(sheet);
    if (few > 0) {
        rep_open(sheet, REP_P, NULL);
        rep_say(sheet, "%llu further value%s too few documents or too few others to be judged.", (ull)few, few == 1 ? " has" : "s have");
        rep_close(sheet, REP_P);
    }
}

static void add_all_saes(const rep_study *study, rep_sheet *sheet)
{
    TABLE(sheet, "<site", ">latents", ">k", "<trained on", ">told in base", ">told in tuned", ">values judged");
    for (uint64_t i = 0; i < study->spec->n_told; i++) {
        const sd_told *t = study->spec->told[i];
        uint64_t told[2], judged;

        for (int m = 0; m < 2; m++)
            count_told(t, m, &told[m], &judged);
        rep_row_open(sheet);
        rep_cell_open(sheet);
        rep_code(sheet, t->site);
        rep_cell_close(sheet);
        rep_cell_say(sheet, "%llu", (ull)t->latents);
        rep_cell_say(sheet, "%llu", (ull)t->k);
        rep_cell_text(sheet, t->trained_on);
        rep_cell_say(sheet, "%llu", (ull)told[0]);
        rep_cell_say(sheet, "%llu", (ull)told[1]);
        rep_cell_say(sheet, "%llu", (ull)judged);
        rep_row_close(sheet);
    }
    rep_table_close(sheet);
}

static void add_subjects(const rep_study *study, rep_sheet *sheet)
{
    rep_open(sheet, REP_P, NULL);
    rep_say(sheet, "What the changes are about: the label values that most of the listed latents tell best, up to %d of each label, beside how many "
                   "of all tested latents do; only what is told with the same certainty.", SHOWN);
    rep_close(sheet, REP_P);
    TABLE(sheet, "<site", ">latents", ">k", "<list", "<label", "<value", ">of the list", ">of all tested");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int kind = 0; kind < 2; kind++)
            for (uint64_t f = 0; study->saes[i].told != NULL && f < study->saes[i].told->fields; f++) {
                const rep_sae *sae = &study->saes[i];
                subject subjects[SHOWN];
                uint64_t n = subjects_of(sae, kind, f, subjects);

                for (uint64_t s = 0; s < n; s++) {
                    rep_row_open(sheet);
                    rep_site_cell(sae->diff, sheet);
                    rep_cell_say(sheet, "%llu", (ull)sae->diff->latents);
                    rep_cell_say(sheet, "%llu", (ull)sae->diff->k);
                    rep_cell_say(sheet, "%s", sae->lists[kind].id);
                    rep_cell_text(sheet, sae->told->field[f]);
                    rep_cell_text(sheet, sae->told->value[subjects[s].value]);
                    rep_cell_say(sheet, "%llu of %llu", (ull)subjects[s].listed, (ull)sae->lists[kind].count);
                    rep_cell_say(sheet, "%llu of %llu (%.0f %%)", (ull)subjects[s].tested, (ull)sae->diff->tested,
                                 100 * (double)subjects[s].tested / (double)sae->diff->tested);
                    rep_row_close(sheet);
                }
            }
    rep_table_close(sheet);
}

void rep_told(const rep_study *study, rep_sheet *sheet)
{
    const sd_report_spec *spec = study->spec;

    if (spec->n_told == 0)
        return;
    rep_open(sheet, REP_H2, "labels");
    rep_say(sheet, "What is known of the texts, and what latents tell of it");
    rep_close(sheet, REP_H2);
    rep_open(sheet, REP_P, NULL);
    rep_say(sheet, "The texts carry labels. For each value one latent is chosen on one half of the documents, the one whose mean activation in a document "
                   "best tells those with the value from the others; how well it does is measured on the other half, whose documents are counted below (AUROC: 1 is without a "
                   "mistake, ½ a coin), with a 95 %% interval over documents. A value is told if the interval's lower end is above %.4g. "
                   "Chance: what such a choice gives with the labels dealt anew (95 %% of %llu permutations are below; the larger of both models). "
                   "That a value is told says that the SAE has a latent for it, not that this was hard: what separates texts is often a word.",
            spec->told[0]->threshold, (ull)spec->told[0]->permutations);
    rep_close(sheet, REP_P);
    add_all_saes(study, sheet);
    if (spec->n_diffs > 0)
        add_subjects(study, sheet);
    for (uint64_t i = 0; i < spec->n_diffs; i++)
        if (study->saes[i].told != NULL)
            add_values(&study->saes[i], sheet);
    rep_open(sheet, REP_LIST, NULL);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        rep_open(sheet, REP_ITEM, NULL);
        rep_say(sheet, "`labels.%s`: %s.", meanings[i].id, meanings[i].about);
        rep_close(sheet, REP_ITEM);
    }
    rep_close(sheet, REP_LIST);
    rep_open(sheet, REP_P, NULL);
    rep_say(sheet, "Every SAE, also those trained on the tuned model: ");
    rep_link(sheet, REP_LABELS, REP_LABELS);
    rep_say(sheet, ".");
    rep_close(sheet, REP_P);
}

/* ---- for machines */

void rep_tells_json(const rep_sae *sae, uint64_t latent, int tuned, sd_str *s)
{
    const sd_told *t = sae->told;
    char number[2][REP_NUMBER];
    bool some = false;

    sd_str_add(s, ", \"tells\": [");
    for (uint64_t f = 0; f < t->fields; f++) {
        int64_t value = told_by(t, tuned, latent, f);
        uint64_t at = latent * t->fields + f;

        if (value < 0)
            continue;
        sd_str_add(s, "%s{\"model\": \"%s\", \"label\": ", some ? ", " : "", tuned ? "tuned" : "base");
        rep_json(s, t->field[f]);
        sd_str_add(s, ", \"value\": ");
        rep_json(s, t->value[value]);
        sd_str_add(s, ", \"auroc\": %s, \"plus_minus\": %s, \"n_documents\": %llu, \"definition\": \"labels.tells\"}",
                   rep_exact(number[0], side_of(t, tuned)->best_auroc[at], "null"), rep_exact(number[1], reach_of(side_of(t, tuned), at), "null"),
                   (ull)(t->positives[(uint64_t)value * SD_TOLD_HALVES + SD_TOLD_B] + t->others[(uint64_t)value * SD_TOLD_HALVES + SD_TOLD_B]));
        some = true;
    }
    sd_str_add(s, "]");
}

static void add_side_json(const sd_told *t, int tuned, uint64_t v, sd_str *s)
{
    const sd_told_side *side = side_of(t, tuned);
    char number[5][REP_NUMBER];

    sd_str_add(s, ", \"%s\": ", tuned ? "tuned" : "base");
    if (side->latent[v] < 0) {
        sd_str_add(s, "null");
        return;
    }
    sd_str_add(s, "{\"latent\": %lld, \"chosen_auroc\": %s, \"value\": %s, \"low\": %s, \"high\": %s, \"chance\": %s, \"told\": %s, "
                  "\"definition\": \"labels.auroc\"}",
               (long long)side->latent[v], rep_exact(number[0], side->chosen_auroc[v], "null"), rep_exact(number[1], side->auroc[v], "null"),
               rep_exact(number[2], side->low[v], "null"), rep_exact(number[3], side->high[v], "null"),
               rep_exact(number[4], side->chance[v], "null"), side->told[v] ? "true" : "false");
}

static void add_told_json(const sd_told *t, sd_str *s)
{
    uint64_t told[2], judged;

    for (int m = 0; m < 2; m++)
        count_told(t, m, &told[m], &judged);
    sd_str_add(s, "\n      {\"site\": ");
    rep_json(s, t->site);
    sd_str_add(s, ", \"latents\": %llu, \"k\": %llu, \"trained_on\": ", (ull)t->latents, (ull)t->k);
    rep_json(s, t->trained_on);
    sd_str_add(s, ", \"judged\": %llu, \"told\": {\"base\": %llu, \"tuned\": %llu}, \"values\": [", (ull)judged, (ull)told[0], (ull)told[1]);
    for (uint64_t v = 0; v < t->values; v++) {
        sd_str_add(s, "%s\n        {\"label\": ", v ? "," : "");
        rep_json(s, field_of(t, v));
        sd_str_add(s, ", \"text\": ");
        rep_json(s, t->value[v]);
        sd_str_add(s, ", \"documents\": %llu, \"others\": %llu", (ull)t->positives[v * SD_TOLD_HALVES + SD_TOLD_B],
                   (ull)t->others[v * SD_TOLD_HALVES + SD_TOLD_B]);
        for (int m = 0; m < 2; m++)
            add_side_json(t, m, v, s);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "%s]}", t->values ? "\n      " : "");
}

void rep_told_json(const rep_study *study, sd_str *s)
{
    const sd_report_spec *spec = study->spec;
    char number[REP_NUMBER];

    if (spec->n_told == 0)
        return;
    sd_str_add(s, "  \"labels\": {\n    \"threshold\": %s, \"permutations\": %llu,\n    \"definitions\": {",
               rep_exact(number, spec->told[0]->threshold, "null"), (ull)spec->told[0]->permutations);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        sd_str_add(s, "%s\n      \"labels.%s\": {\"unit\": \"%s\", \"text\": ", i ? "," : "", meanings[i].id, meanings[i].unit);
        rep_json(s, meanings[i].about);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n    },\n    \"saes\": [");
    for (uint64_t i = 0; i < spec->n_told; i++) {
        sd_str_add(s, i ? "," : "");
        add_told_json(spec->told[i], s);
    }
    sd_str_add(s, "\n    ]\n  },\n");
}

/* "subjects" of one SAE: what its changes are about. */
void rep_subjects_json(const rep_sae *sae, sd_str *s)
{
    bool some = false;

    sd_str_add(s, ",\n      \"subjects\": [");
    for (int kind = 0; kind < 2; kind++)
        for (uint64_t f = 0; f < sae->told->fields; f++) {
            subject subjects[SHOWN];
            uint64_t n = subjects_of(sae, kind, f, subjects);

            for (uint64_t i = 0; i < n; i++) {
                sd_str_add(s, "%s\n        {\"list\": \"%s\", \"label\": ", some ? "," : "", sae->lists[kind].id);
                rep_json(s, sae->told->field[f]);
                sd_str_add(s, ", \"value\": ");
                rep_json(s, sae->told->value[subjects[i].value]);
                sd_str_add(s, ", \"of_list\": %llu, \"listed\": %llu, \"of_tested\": %llu, \"tested\": %llu}", (ull)subjects[i].listed,
                           (ull)sae->lists[kind].count, (ull)subjects[i].tested, (ull)sae->diff->tested);
                some = true;
            }
        }
    sd_str_add(s, "%s]", some ? "\n      " : "");
}

void rep_told_table(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "site,latents,k,trained_on,model,label,value,documents,others,latent,half_a_auroc,auroc,low,high,chance,told\n");
    for (uint64_t i = 0; i < study->spec->n_told; i++)
        for (int m = 0; m < 2; m++)
            for (uint64_t v = 0; v < study->spec->told[i]->values; v++) {
                const sd_told *t = study->spec->told[i];
                const sd_told_side *side = side_of(t, m);
                char number[5][REP_NUMBER];

                rep_csv(s, t->site);
                sd_str_add(s, ",%llu,%llu,%s,%s,", (ull)t->latents, (ull)t->k, t->trained_on, m ? "tuned" : "base");
                rep_csv(s, field_of(t, v));
                sd_str_add(s, ",");
                rep_csv(s, t->value[v]);
                sd_str_add(s, ",%llu,%llu,%lld,%s,%s,%s,%s,%s,%u\n", (ull)t->positives[v * SD_TOLD_HALVES + SD_TOLD_B],
                           (ull)t->others[v * SD_TOLD_HALVES + SD_TOLD_B], (long long)side->latent[v],
                           rep_exact(number[0], side->chosen_auroc[v], "NaN"), rep_exact(number[1], side->auroc[v], "NaN"),
                           rep_exact(number[2], side->low[v], "NaN"), rep_exact(number[3], side->high[v], "NaN"),
                           rep_exact(number[4], side->chance[v], "NaN"), (unsigned)side->told[v]);
            }
}

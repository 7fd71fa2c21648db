/* README.md: the page a person reads first. */
#include <math.h>
#include <string.h>

#include "pages.h"

enum { DIGEST = 12 }; /* digits of a digest on the page; all of them are in results.json */

static void add_cell(sd_str *s, const char *text)
{
    sd_str_add(s, "| ");
    rep_markdown(s, text);
    sd_str_add(s, " ");
}

static void add_models(const rep_study *study, sd_str *s)
{
    const sd_report_model *models[] = {&study->spec->base, &study->spec->tuned};

    sd_str_add(s, "## What was compared\n\n| model | folder | digest of its weights |\n| --- | --- | --- |\n");
    for (int m = 0; m < 2; m++) {
        add_cell(s, models[m]->label);
        add_cell(s, models[m]->name);
        sd_str_add(s, "| `%.*s` |\n", DIGEST, models[m]->sha256);
    }
}

static void add_source(const rep_source *source, sd_str *s)
{
    add_cell(s, source->name);
    sd_str_add(s, "| %llu | %llu | %llu |\n", (unsigned long long)source->documents, (unsigned long long)source->tokens,
               (unsigned long long)source->counted);
}

static void add_texts(const rep_study *study, sd_str *s)
{
    const sd_tokens *t = study->spec->tokens;

    sd_str_add(s, "\n| text | documents | tokens | counted tokens |\n| --- | ---: | ---: | ---: |\n");
    for (uint64_t i = 0; i < study->n_sources; i++)
        add_source(&study->sources[i], s);
    if (study->n_sources > 1)
        add_source(&study->all, s);
    sd_str_add(s, "\nBoth models read the same tokens (text `%.*s`, tokenizer `%.*s`", DIGEST, t->text_sha256, DIGEST,
               t->tokenizer_sha256);
    if (t->context > 0)
        sd_str_add(s, ", documents cut at %llu tokens", (unsigned long long)t->context);
    sd_str_add(s, "). Everything below is over the counted tokens.\n\n");
}

/* "blocks.3.hook_resid_post (512 latents, k 16)" */
static void add_name(const sd_diff *d, sd_str *s)
{
    sd_str_add(s, "`%s` (%llu latents, k %llu)", d->site, (unsigned long long)d->latents, (unsigned long long)d->k);
}

static void add_strongest(const rep_sae *sae, int kind, const char *word, sd_str *s)
{
    const rep_list *list = &sae->lists[kind];
    char number[REP_NUMBER];

    if (list->count == 0)
        sd_str_add(s, "no latent %s", word);
    else
        sd_str_add(s, "latent %llu %s most (%s)", (unsigned long long)list->latents[0], word,
                   rep_signed(number, sae->diff->d_mean[list->latents[0]]));
}

static void add_summary(const rep_study *study, sd_str *s)
{
    char number[4][REP_NUMBER];

    sd_str_add(s, "## In short\n\n");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];
        const sd_diff *d = sae->diff;

        sd_str_add(s, "- ");
        add_name(d, s);
        sd_str_add(s, ": ");
        add_strongest(sae, 0, "rises", s);
        sd_str_add(s, ", ");
        add_strongest(sae, 1, "falls", s);
        sd_str_add(s, "; %llu appear, %llu vanish. ", (unsigned long long)sae->lists[2].candidates,
                   (unsigned long long)sae->lists[3].candidates);
        if (sae->moved > 0)
            sd_str_add(s, "Of all change, %.0f %% is in how often latents fire, the rest in how strongly. ",
                       100 * sae->moved_by_frequency);
        else
            sd_str_add(s, "Nothing differs. ");
        sd_str_add(s, "EV %s → %s, L0 %s → %s.\n", rep_short(number[0], d->base.ev), rep_short(number[1], d->tuned.ev),
                   rep_short(number[2], d->base.l0), rep_short(number[3], d->tuned.l0));
    }
    sd_str_add(s, "\nThis version gives no confidence intervals: no number here says how far it would move with other text. "
                  "The lists pick the largest of many changes and show them on the same text they were picked on, so "
                  "expect them to shrink elsewhere.\n\n");
}

static void add_health_row(const sd_diff *d, int tuned, sd_str *s)
{
    const sd_diff_side *side = rep_side(d, tuned);
    char number[2][REP_NUMBER];

    sd_str_add(s, "| `%s` | %llu | %llu | %s | %s | %s | %llu of %llu (%.1f %%) |\n", d->site,
               (unsigned long long)d->latents, (unsigned long long)d->k, tuned ? "tuned" : "base",
               rep_short(number[0], side->ev), rep_short(number[1], side->l0), (unsigned long long)side->dead,
               (unsigned long long)d->latents, 100 * (double)side->dead / (double)d->latents);
}

static void add_bounds(const rep_study *study, sd_str *s)
{
    char number[REP_NUMBER];

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        uint64_t n = study->spec->diffs[i]->tokens;

        if (i > 0 && n == study->spec->diffs[i - 1]->tokens)
            continue;
        sd_str_add(s, "\nDead: fires on none of %llu counted tokens. Such a latent's true rate is below 3/n = %s with 95 %% "
                      "confidence, if tokens were independent.\n", (unsigned long long)n,
                   rep_short(number, sd_rule_of_three(n)));
    }
}

static void add_warnings(const rep_study *study, sd_str *s)
{
    char number[3][REP_NUMBER];

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];
        const sd_diff *d = sae->diff;

        if (!(sae->fvu_ratio > REP_FVU_WARNING))
            continue;
        sd_str_add(s, "\n> **Warning.** ");
        add_name(d, s);
        sd_str_add(s, ": SAE out of distribution on the tuned model. It leaves %s of the tuned model's variance unexplained, "
                      "%s of the base model's (ratio %s, limit %.4g). Part of what changes below may be the SAE's failure, "
                      "not the model's change.\n", rep_short(number[0], 1 - d->tuned.ev),
                   rep_short(number[1], 1 - d->base.ev), rep_short(number[2], sae->fvu_ratio), REP_FVU_WARNING);
    }
}

static void add_health(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "## Health of the SAEs\n\nEach SAE was trained on the base model and is applied unchanged to both.\n\n"
                  "| site | latents | k | model | EV | L0 | dead |\n| --- | ---: | ---: | --- | ---: | ---: | ---: |\n");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int tuned = 0; tuned < 2; tuned++)
            add_health_row(study->spec->diffs[i], tuned, s);
    add_bounds(study, s);
    add_warnings(study, s);
    sd_str_add(s, "\n");
}

static void add_losses(const rep_study *study, sd_str *s)
{
    const sd_report_loss *losses = study->spec->losses;

    if (losses == NULL)
        return;
    sd_str_add(s, "## Next-token loss\n\nNats per prediction; the prediction made at BOS %s.\n\n"
                  "| text | documents | predictions | base | tuned | change |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
               study->spec->loss_bos ? "counts" : "does not count");
    for (uint64_t i = 0; i < study->n_sources; i++) {
        double mean[2];
        char number[3][REP_NUMBER];

        for (int m = 0; m < 2; m++)
            mean[m] = losses[i].nll[m] / (double)losses[i].predictions[m];
        add_cell(s, study->sources[i].name);
        sd_str_add(s, "| %llu | %llu | %s | %s | %s |\n", (unsigned long long)losses[i].documents,
                   (unsigned long long)losses[i].predictions[1], rep_short(number[0], mean[0]),
                   rep_short(number[1], mean[1]), rep_signed(number[2], mean[1] - mean[0]));
    }
    sd_str_add(s, "\n");
}

static void add_row(const sd_diff *d, uint64_t l, sd_str *s)
{
    char number[9][REP_NUMBER];

    sd_str_add(s, "| %llu | %s | %s | %s | %s | %s | %s | %s | %llu | %llu |\n", (unsigned long long)l,
               rep_signed(number[0], d->d_mean[l]), rep_signed(number[1], d->frequency_part[l]),
               rep_signed(number[2], d->magnitude_part[l]), rep_short(number[3], rep_frequency(d, 0, l)),
               rep_short(number[4], rep_frequency(d, 1, l)), rep_short(number[5], rep_active_mean(d, 0, l)),
               rep_short(number[6], rep_active_mean(d, 1, l)), (unsigned long long)d->base.sums.count[l],
               (unsigned long long)d->tuned.sums.count[l]);
}

static void add_list(const sd_diff *d, const rep_list *list, sd_str *s)
{
    sd_str_add(s, "### %s\n\n", list->title);
    if (list->count == 0) {
        sd_str_add(s, "None (%s).\n\n", list->about);
        return;
    }
    sd_str_add(s, "%llu of %llu: %s.\n\n| latent | ΔA | from frequency | from magnitude | φ base | φ tuned | M base | M tuned "
                  "| n base | n tuned |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
               (unsigned long long)list->count, (unsigned long long)list->candidates, list->about);
    for (uint64_t i = 0; i < list->count; i++)
        add_row(d, list->latents[i], s);
    sd_str_add(s, "\n");
}

static void add_changes(const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;

    sd_str_add(s, "## Changes at ");
    add_name(d, s);
    sd_str_add(s, "\n\nOver %llu counted tokens of %llu documents. %llu of %llu latents fire often enough to be listed "
                  "(n base + n tuned ≥ %d). ΔA is the change of the mean activation, split into a part from frequency φ and "
                  "one from the active mean M; n counts firings. All latents: [%s](%s).\n\n",
               (unsigned long long)d->tokens, (unsigned long long)d->docs, (unsigned long long)sae->eligible,
               (unsigned long long)d->latents, REP_FIRINGS, sae->csv, sae->csv);
    for (int kind = 0; kind < REP_LISTS; kind++)
        add_list(d, &sae->lists[kind], s);
}

static void add_definitions(sd_str *s)
{
    sd_str_add(s, "## Definitions\n\nThe ids are those of `results.json`.\n\n| id | unit | meaning |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < rep_definition_count; i++)
        sd_str_add(s, "| `%s` | %s | %s |\n", rep_definitions[i].id, rep_definitions[i].unit, rep_definitions[i].text);
    sd_str_add(s, "\nSAE units: activations times the SAE's input scale, which brings the base model's to unit mean square.\n\n");
}

static void add_files(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "## Files\n\n- `results.json`: every number of this page in full, with n, unit and definition, all digests and "
                  "the job.\n");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        sd_str_add(s, "- `%s`: one line per latent.\n", study->saes[i].csv);
    sd_str_add(s, "\nColumns of the tables: `site`, `latent` (from 0), `n` (counted tokens); for each model, `base_…` and "
                  "`tuned_…`: `count`, `frequency`, `mean`, `active_mean`, `max`, `mean_square`; the changes tuned − base "
                  "`d_frequency`, `d_mean`, `d_active_mean`; and `frequency_part`, `magnitude_part` of `d_mean`. NaN stands "
                  "where a number does not exist.\n");
}

void rep_page(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "# ");
    rep_markdown(s, study->spec->title);
    sd_str_add(s, "\n\nWhat fine-tuning did to the features of ");
    rep_markdown(s, study->spec->base.name);
    sd_str_add(s, ": how the latents of sparse autoencoders (SAEs) fire in it and in ");
    rep_markdown(s, study->spec->tuned.name);
    sd_str_add(s, " on the same text.\n\n");
    add_summary(study, s);
    add_models(study, s);
    add_texts(study, s);
    add_health(study, s);
    add_losses(study, s);
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        add_changes(&study->saes[i], s);
    add_definitions(s);
    add_files(study, s);
}

/* The page, written once; README.md and index.html are its two forms. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pages.h"
#include "plots.h"
#include "page_buffer.h"

enum { DIGEST = 12 }; /* digits of a digest on the page; results.json has all of them */

#define TABLE(page, ...)                                                                                                   \
    rep_table_open((page), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

typedef unsigned long long ull;

static void add_models(const rep_study *study, rep_buffer *page)
{
    const sd_report_model *models[] = {&study->spec->base, &study->spec->tuned};

    rep_open(page, REP_H2, "compared");
    rep_say(page, rep_two_models(study) ? "Models and texts" : "Model and texts");
    rep_close(page, REP_H2);
    TABLE(page, "<model", "<folder", "<SHA-256 of the weights");
    for (int m = 0; m < 1 + rep_two_models(study); m++) {
        rep_row_open(page);
        rep_cell_text(page, models[m]->label);
        rep_cell_text(page, models[m]->name);
        rep_cell_say(page, "`%.*s`", DIGEST, models[m]->sha256);
        rep_row_close(page);
    }
    rep_table_close(page);
}

static void add_source(const rep_source *source, rep_buffer *page)
{
    rep_row_open(page);
    rep_cell_text(page, source->name);
    rep_cell_say(page, "%llu", (ull)source->documents);
    rep_cell_say(page, "%llu", (ull)source->tokens);
    rep_cell_say(page, "%llu", (ull)source->evaluated);
    rep_row_close(page);
}

static void add_texts(const rep_study *study, rep_buffer *page)
{
    const sd_tokens *t = study->spec->tokens;

    TABLE(page, "<text", ">documents", ">tokens", ">evaluated tokens");
    for (uint64_t i = 0; i < study->n_sources; i++)
        add_source(&study->sources[i], page);
    if (study->n_sources > 1)
        add_source(&study->all, page);
    rep_table_close(page);
    rep_open(page, REP_P, NULL);
    if (!rep_two_models(study))
        rep_say(page, "The model reads these tokens");
    else if (study->replaced == 0)
        rep_say(page, "Both models read the same %llu tokens", (ull)study->all.tokens);
    else
        rep_say(page, "Both models read the same tokens, except that %llu of %llu ids are substituted for the base model", (ull)study->replaced,
                (ull)study->all.tokens);
    rep_say(page, " (text `%.*s`, tokenizer `%.*s`", DIGEST, t->text_sha256, DIGEST, t->tokenizer_sha256);
    if (t->context > 0)
        rep_say(page, ", documents cut to %llu tokens", (ull)t->context);
    rep_say(page, "). All results below are over the evaluated tokens.");
    rep_close(page, REP_P);
}

/* "blocks.3.hook_resid_post (512 latents, k 16)" */
static void add_name(const sd_diff *d, rep_buffer *page)
{
    rep_code(page, d->site);
    rep_say(page, "%s (%llu latents, k %llu)", rep_is_error_sae(d) ? " error SAE" : "", (ull)d->latents, (ull)d->k);
}

/* "+0.03 (0.02 … 0.04)" */
static void add_effect(const rep_sae *sae, uint64_t l, rep_buffer *page)
{
    double low, high;

    rep_interval(sae->diff, sae->reported, false, l, &low, &high);
    rep_change(page, sae->diff->part[sae->reported].value.mean[l]);
    rep_say(page, ", 95 %% interval ");
    rep_number(page, low);
    rep_say(page, " … ");
    rep_number(page, high);
}

static void add_strongest(const rep_sae *sae, int kind, const char *word, rep_buffer *page)
{
    const rep_list *list = &sae->lists[kind];

    if (list->count == 0) {
        rep_say(page, "no latent %s", word);
        return;
    }
    rep_say(page, "latent %llu %s most (", (ull)list->latents[0], word);
    add_effect(sae, list->latents[0], page);
    rep_say(page, ")");
}

static void add_summary_of(const rep_sae *sae, const char *id, rep_buffer *page)
{
    const sd_diff *d = sae->diff;

    rep_open(page, REP_ITEM, NULL);
    rep_jump_open(page, id);
    add_name(d, page);
    rep_jump_close(page);
    rep_say(page, ": %llu of %llu tested latents change (q ≤ %.2f), %llu up and %llu down; ", (ull)sae->changed, (ull)d->tested, REP_Q,
            (ull)sae->risen, (ull)(sae->changed - sae->risen));
    add_strongest(sae, 0, "increases", page);
    rep_say(page, ", ");
    add_strongest(sae, 1, "decreases", page);
    rep_say(page, "; %llu appear, %llu vanish. ", (ull)sae->lists[2].candidates, (ull)sae->lists[3].candidates);
    if (sae->moved > 0)
        rep_say(page, "%.0f %% of the total change comes from how often latents fire, the rest from how strongly. ",
                100 * sae->moved_by_frequency);
    else
        rep_say(page, "No latent changes. ");
    rep_say(page, "EV ");
    rep_number(page, d->base.ev);
    rep_say(page, " → ");
    rep_number(page, d->tuned.ev);
    rep_say(page, ", L0 ");
    rep_number(page, d->base.l0);
    rep_say(page, " → ");
    rep_number(page, d->tuned.l0);
    rep_say(page, ".");
    rep_close(page, REP_ITEM);
}

/* "news 1.23 → 1.01 (-0.22)" */
static void say_loss(const rep_source *source, const sd_report_loss *loss, rep_buffer *page)
{
    double n = (double)loss->predictions;

    rep_text(page, source->name);
    rep_say(page, " ");
    rep_number(page, loss->nll[0] / n);
    rep_say(page, " → ");
    rep_number(page, loss->nll[1] / n);
    rep_say(page, " (");
    rep_change(page, loss->nll[1] / n - loss->nll[0] / n);
    rep_say(page, ")");
}

/* Divergence of the two models, without an SAE. */
static void add_models_in_short(const rep_study *study, rep_buffer *page)
{
    if (!rep_two_models(study) || (study->spec->losses == NULL && study->spec->models_eval == NULL))
        return;
    rep_open(page, REP_ITEM, NULL);
    for (uint64_t i = 0; study->spec->losses != NULL && i < study->n_sources; i++) {
        rep_say(page, i ? ", " : "Next-token loss in nats, base → tuned: ");
        say_loss(&study->sources[i], &study->spec->losses[i], page);
    }
    if (study->spec->models_eval != NULL) {
        rep_say(page, study->spec->losses != NULL ? "; KL(base ‖ tuned) on all texts " : "KL(base ‖ tuned) on all texts ");
        rep_number(page, rep_models_measure(study, SD_EVAL_ALL, 0)->value);
    }
    rep_say(page, ".");
    rep_close(page, REP_ITEM);
}

static void add_summary(const rep_study *study, rep_buffer *page)
{
    rep_open(page, REP_H2, "summary");
    rep_say(page, "Summary");
    rep_close(page, REP_H2);
    rep_open(page, REP_LIST, NULL);
    add_models_in_short(study, page);
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        char id[32];

        snprintf(id, sizeof id, "sae-%llu", (ull)i);
        add_summary_of(&study->saes[i], id, page);
    }
    rep_detection_in_short(study, page);
    if (study->spec->n_diffs == 0)
        rep_fidelity_in_short(study, page);
    rep_close(page, REP_LIST);
    if (study->spec->n_diffs == 0)
        return;
    rep_open(page, REP_P, NULL);
    rep_say(page, "Intervals and q-values treat documents as clusters. Latents are selected on one half of the documents (the selection split), and their "
                   "changes and intervals are estimated on the other half (the estimation split), if each has at least two documents. Otherwise all "
                   "documents serve for both, and the largest changes are overestimated. %s", study->spec->n_evals > 0
                       ? "Losses and SAE measures have their own intervals."
                       : "Losses have their own intervals; for intervals of EV and L0, add the stage evaluate.");
    rep_close(page, REP_P);
    rep_show_plots(study, REP_OVERVIEW, page);
}

/* A mean or a change, with its interval if there is one. */
static void add_interval_cell(rep_buffer *page, double value, bool change, double low, double high)
{
    rep_cell_open(page);
    if (change)
        rep_change(page, value);
    else
        rep_number(page, value);
    rep_interval_of(page, low, high);
    rep_cell_close(page);
}

static void add_range_cell(double value, const rep_range *range, rep_buffer *page)
{
    add_interval_cell(page, value, false, range->low, range->high);
}

static void add_health_row(const rep_sae *sae, int tuned, rep_buffer *page)
{
    const sd_diff *d = sae->diff;
    const sd_diff_side *side = rep_side(d, tuned);

    rep_row_open(page);
    rep_site_cell(d, page);
    rep_cell_say(page, "%llu", (ull)d->latents);
    rep_cell_say(page, "%llu", (ull)d->k);
    rep_cell_say(page, "%s", tuned ? "tuned" : "base");
    add_range_cell(side->ev, &sae->ev[tuned], page);
    add_range_cell(side->l0, &sae->l0[tuned], page);
    add_range_cell(side->error_norm, &(rep_range){side->error_norm_low, side->error_norm_high}, page);
    if (tuned) {
        add_interval_cell(page, d->error_norm_increase, true, d->error_norm_increase_low, d->error_norm_increase_high);
        add_range_cell(d->fvu_ratio, &sae->fvu_ratio, page);
    } else {
        rep_cell_say(page, "–");
        rep_cell_say(page, "–");
    }
    rep_cell_say(page, "%llu of %llu (%.1f %%)", (ull)side->dead, (ull)d->latents,
                 100 * (double)side->dead / (double)d->latents);
    rep_row_close(page);
}

static void add_bounds(const rep_study *study, rep_buffer *page)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        uint64_t n = study->spec->diffs[i]->tokens;

        if (i > 0 && n == study->spec->diffs[i - 1]->tokens)
            continue;
        rep_open(page, REP_P, NULL);
        rep_say(page, "Dead: does not fire on any of %llu evaluated tokens. The true rate of such a latent is below 3/n = ", (ull)n);
        rep_number(page, sd_rule_of_three(n));
        rep_say(page, " with 95 %% confidence, if tokens were independent.");
        rep_close(page, REP_P);
    }
}

static void add_warnings(const rep_study *study, rep_buffer *page)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];
        const sd_diff *d = sae->diff;

        if (!(d->fvu_ratio > SD_DIFF_FVU_LIMIT) || rep_is_error_sae(d)) /* trained on the tuned model */
            continue;
        rep_open(page, REP_WARNING, NULL);
        rep_open(page, REP_STRONG, NULL);
        rep_say(page, "Warning.");
        rep_close(page, REP_STRONG);
        rep_say(page, " ");
        add_name(d, page);
        rep_say(page, ": the SAE is out of distribution on the tuned model. It fails to explain ");
        rep_number(page, 1 - d->tuned.ev);
        rep_say(page, " of the tuned model's variance, against ");
        rep_number(page, 1 - d->base.ev);
        rep_say(page, " of the base model's (ratio ");
        rep_number(page, d->fvu_ratio);
        rep_say(page, ", limit %.4g). Some of the changes below may reflect the SAE's error rather than a change of the model.",
                SD_DIFF_FVU_LIMIT);
        rep_close(page, REP_WARNING);
    }
}

static void add_failures(const rep_study *study, rep_buffer *page)
{
    const sd_report_spec *spec = study->spec;

    if (spec->n_failures == 0)
        return;
    rep_open(page, REP_H2, "failed");
    rep_say(page, "Failed SAEs");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "These SAEs failed to train and are excluded below.");
    rep_close(page, REP_P);
    TABLE(page, "<SAE", ">step", "<why");
    for (uint64_t i = 0; i < spec->n_failures; i++) {
        rep_row_open(page);
        rep_cell_open(page);
        rep_code(page, spec->failures[i].name);
        rep_cell_close(page);
        rep_cell_say(page, "%llu", (ull)spec->failures[i].step);
        rep_cell_text(page, spec->failures[i].reason);
        rep_row_close(page);
    }
    rep_table_close(page);
}

static bool any_error_sae(const rep_study *study)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        if (rep_is_error_sae(study->spec->diffs[i]))
            return true;
    return false;
}

static void add_health(const rep_study *study, rep_buffer *page)
{
    if (study->spec->n_diffs == 0)
        return;
    rep_open(page, REP_H2, "health");
    rep_say(page, "Health of the SAEs");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "Each SAE was trained on the base model%s and is applied unchanged to both. %s",
            any_error_sae(study) ? " (error SAEs: on the reconstruction error on the tuned model)" : "",
            study->spec->n_evals > 0 ? "Intervals over documents are in brackets." : "");
    rep_close(page, REP_P);
    TABLE(page, "<site", ">latents", ">k", "<model", ">EV", ">L0", ">error norm", ">increase", ">FVU ratio", ">dead");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int tuned = 0; tuned < 2; tuned++)
            add_health_row(&study->saes[i], tuned, page);
    rep_table_close(page);
    rep_show_plots(study, REP_HEALTH, page);
    add_bounds(study, page);
    add_warnings(study, page);
}

static void add_loss_row(const rep_source *source, const sd_report_loss *loss, bool two, rep_buffer *page)
{
    double n = (double)loss->predictions;

    rep_row_open(page);
    rep_cell_text(page, source->name);
    rep_cell_say(page, "%llu", (ull)loss->documents);
    rep_cell_say(page, "%llu", (ull)loss->predictions);
    for (int m = 0; m < 1 + two; m++)
        add_interval_cell(page, loss->nll[m] / n, false, loss->low[m], loss->high[m]);
    if (two)
        add_interval_cell(page, loss->nll[1] / n - loss->nll[0] / n, true, loss->low[2], loss->high[2]);
    rep_row_close(page);
}

static void add_losses(const rep_study *study, rep_buffer *page)
{
    if (study->spec->losses == NULL)
        return;
    rep_open(page, REP_H2, "loss");
    rep_say(page, "Next-token loss");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "Nats per predicted token, with 95 %% intervals over documents in brackets; the prediction made at BOS is %s.",
            study->spec->loss_bos ? "included" : "excluded");
    rep_close(page, REP_P);
    if (rep_two_models(study))
        TABLE(page, "<text", ">documents", ">predictions", ">base", ">tuned", ">change");
    else
        TABLE(page, "<text", ">documents", ">predictions", ">loss");
    for (uint64_t i = 0; i < study->n_sources; i++)
        add_loss_row(&study->sources[i], &study->spec->losses[i], rep_two_models(study), page);
    rep_table_close(page);
}

static void add_definitions(const rep_study *study, rep_buffer *page)
{
    const sd_measure *m;
    const char *family;

    rep_open(page, REP_H2, "definitions");
    rep_say(page, "Definitions");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "The ids are those used in `results.json`.");
    rep_close(page, REP_P);
    TABLE(page, "<id", "<unit", "<meaning");
    for (size_t i = 0; i < rep_definition_count; i++) {
        rep_row_open(page);
        rep_cell_say(page, "`%s`", rep_definitions[i].id);
        rep_cell_say(page, "%s", rep_definitions[i].unit);
        rep_cell_say(page, "%s", rep_definitions[i].text);
        rep_row_close(page);
    }
    for (uint64_t i = 0; (m = rep_fidelity_definition(study, i, &family)) != NULL; i++) {
        rep_row_open(page);
        rep_cell_say(page, "`%s.%s`", family, m->id);
        rep_cell_say(page, "%s", m->unit);
        rep_cell_say(page, "%s", m->about);
        rep_row_close(page);
    }
    rep_table_close(page);
    rep_open(page, REP_P, NULL);
    rep_say(page, "SAE units: activations times the SAE's input scale, which gives its training activations unit mean square.");
    rep_close(page, REP_P);
}

static void add_columns(rep_buffer *page)
{
    rep_open(page, REP_P, NULL);
    rep_say(page, "Columns of the tables: `site`, `latent` (from 0), `n` (evaluated tokens); for each model, `base_…` and "
                   "`tuned_…`: `count`, `frequency`, `mean`, `active_mean`, `max`, `mean_square`; the changes tuned − base "
                   "`d_frequency`, `d_mean`, `d_active_mean`; `frequency_part`, `magnitude_part` of `d_mean`; `se_…`, `p_…`, `q_…` "
                   "of both changes; `selection_mean`, `estimation_mean`, `estimation_se_mean`: the change of the mean on each split; then "
                   "`only_base` to `maxt_p` as defined above; `abs_…` the absolute changes; `compat_…` frequencies and means over all tokens "
                   "as defined by the study S2. NaN marks undefined values.");
    rep_close(page, REP_P);
}

static void add_files(const rep_study *study, rep_buffer *page)
{
    rep_open(page, REP_H2, "files");
    rep_say(page, "Files");
    rep_close(page, REP_H2);
    rep_open(page, REP_LIST, NULL);
    rep_open(page, REP_ITEM, NULL);
    rep_link(page, "results.json", "results.json");
    rep_say(page, ": every number of this page at full precision, with n, unit and definition, the digests, and the job.");
    rep_close(page, REP_ITEM);
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        rep_open(page, REP_ITEM, NULL);
        rep_link(page, study->saes[i].csv, study->saes[i].csv);
        rep_say(page, ": one line per latent.");
        rep_close(page, REP_ITEM);
    }
    if (study->spec->n_evals > 0) {
        rep_open(page, REP_ITEM, NULL);
        rep_link(page, REP_MEASURES, REP_MEASURES);
        rep_say(page, ": every measure of each SAE on each model and text; `compat_…` are defined as in a published study.");
        rep_close(page, REP_ITEM);
    }
    if (study->spec->n_detections > 0) {
        rep_open(page, REP_ITEM, NULL);
        rep_link(page, REP_LABELS, REP_LABELS);
        rep_say(page, ": label detection.");
        rep_close(page, REP_ITEM);
    }
    rep_open(page, REP_ITEM, NULL);
    if (page->html) {
        rep_link(page, "README.md", "README.md");
        rep_say(page, ": this page as plain text.");
    } else {
        rep_link(page, "index.html", "index.html");
        rep_say(page, ": this page for a browser, with its plots.");
    }
    rep_close(page, REP_ITEM);
    if (study->drawn) {
        rep_open(page, REP_ITEM, NULL);
        rep_say(page, "`plots/`: the plots, as PNG and SVG.");
        rep_close(page, REP_ITEM);
    }
    rep_close(page, REP_LIST);
    if (study->spec->n_diffs > 0)
        add_columns(page);
    if (study->no_plots != NULL) {
        rep_open(page, REP_P, NULL);
        rep_say(page, "No plots: ");
        rep_text(page, study->no_plots);
        rep_say(page, ". The tables have the same numbers.");
        rep_close(page, REP_P);
    }
}

void rep_page(const rep_study *study, rep_buffer *page)
{
    rep_open(page, REP_H1, NULL);
    rep_text(page, study->spec->title);
    rep_close(page, REP_H1);
    rep_open(page, REP_P, NULL);
    if (rep_two_models(study)) {
        rep_say(page, "What fine-tuning did to the features of ");
        rep_text(page, study->spec->base.name);
        rep_say(page, ": latents of sparse autoencoders (SAEs) compared between it and ");
        rep_text(page, study->spec->tuned.name);
        rep_say(page, " on the same text.");
    } else {
        rep_say(page, "Fidelity of sparse autoencoders (SAEs) inside ");
        rep_text(page, study->spec->base.name);
        rep_say(page, ".");
    }
    rep_close(page, REP_P);
    add_summary(study, page);
    add_failures(study, page);
    add_models(study, page);
    add_texts(study, page);
    add_losses(study, page);
    rep_divergence(study, page);
    rep_detection(study, page);
    add_health(study, page);
    rep_error_sae(study, page);
    rep_fidelity(study, page);
    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        rep_changes(study, i, page);
    rep_matched(study, page);
    add_definitions(study, page);
    add_files(study, page);
}

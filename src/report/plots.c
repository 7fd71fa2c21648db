/* The plots: which there are, their files, and their figures in the page. */
#include "plots.h"

#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/file.h"

typedef unsigned long long ull;

enum { WIDE = 1040 }; /* width of a full-width plot */

static const struct {
    const char *stem, *alt;
    void (*script)(const rep_study *study, const rep_plot *plot, sd_str *script);
    int width, height;
} kinds[REP_PLOT_KINDS] = {
    [REP_PLOT_MEAN] = {"mean", "mean activation of each latent, base against tuned", rep_script_scatter, 520, 480},
    [REP_PLOT_FREQUENCY] = {"frequency", "frequency of each latent, base against tuned", rep_script_scatter, 520, 480},
    [REP_PLOT_FREQUENCIES] = {"activation_frequency", "histograms of the latents' frequencies in both models, and of their changes",
                                 rep_script_histograms, WIDE, 360},
    [REP_PLOT_MAGNITUDES] = {"activation_magnitude", "histograms of the latents' mean activations in both models, and of their changes",
                                rep_script_histograms, WIDE, 360},
    [REP_PLOT_MOVED] = {"change-by-sae", "total change at each SAE", rep_script_moved, 520, 0},
    [REP_PLOT_EV] = {"ev-by-sae", "explained variance of each SAE on both models", rep_script_ev, 520, 0},
    [REP_PLOT_ERROR_NORM] = {"error_norm_comparison", "reconstruction error norm of each SAE on both models, with intervals", rep_script_error_norm, 520, 0},
    [REP_PLOT_FIDELITY_EV] = {"explained-variance", "explained variance of each SAE on each model, with intervals", rep_script_fidelity, 520, 0},
    [REP_PLOT_FIDELITY_CE] = {"ce-recovered", "CE loss recovered by each SAE in each model, with intervals", rep_script_fidelity, 520, 0},
    [REP_PLOT_DIVERGENCE] = {"models", "distance of the two models' residual streams, block by block", rep_script_divergence, 520, 340},
};

/* Of "latents.NAME.csv", NAME, after the kind. */
static sd_status make_stem(const rep_study *study, rep_plot *p)
{
    const char *csv, *name;

    if (p->sae >= REP_HEALTH)
        return sd_str_copy(&p->stem, kinds[p->kind].stem);
    csv = study->saes[p->sae].csv;
    name = strchr(csv, '.') + 1;
    return sd_str_format(&p->stem, "%s.%.*s", kinds[p->kind].stem, (int)(strlen(name) - strlen(".csv")), name);
}

sd_status rep_plots_plan(rep_study *study)
{
    uint64_t n = study->spec->n_diffs;
    sd_status st;

    SD_TRY(st, SD_NEW(&study->plots, n * REP_PLOTS_PER_SAE + REP_PLOT_KINDS - REP_PLOTS_PER_SAE));
    for (int kind = REP_PLOTS_PER_SAE; kind < REP_PLOT_KINDS; kind++) {
        uint64_t where = kind <= REP_PLOT_EV         ? REP_OVERVIEW
                         : kind == REP_PLOT_ERROR_NORM ? REP_HEALTH
                         : kind == REP_PLOT_DIVERGENCE    ? REP_DIVERGENCE
                                                        : REP_FIDELITY;
        bool there = where == REP_OVERVIEW ? n > 1
                     : where == REP_HEALTH ? n > 0
                     : where == REP_FIDELITY  ? study->spec->n_evals > 0
                                           : study->spec->models_eval != NULL;

        if (kind == REP_PLOT_EV && study->spec->n_evals > 0)
            continue; /* shown with intervals by the other plot */
        if (there)
            study->plots[study->n_plots++] = (rep_plot){.kind = (rep_picture_kind)kind, .sae = where};
    }
    for (uint64_t i = 0; i < n; i++)
        for (int kind = 0; kind < REP_PLOTS_PER_SAE; kind++)
            study->plots[study->n_plots++] = (rep_plot){.kind = (rep_picture_kind)kind, .sae = i};
    for (uint64_t i = 0; i < study->n_plots; i++) {
        rep_plot *p = &study->plots[i];
        uint64_t lines = p->sae == REP_FIDELITY ? study->spec->n_evals : n;

        p->width = kinds[p->kind].width;
        p->height = kinds[p->kind].height > 0 ? kinds[p->kind].height : 100 + 30 * (int)(lines < 400 ? lines : 400);
        SD_TRY(st, make_stem(study, p));
    }
out:
    return st;
}

void rep_plots_free(rep_study *study)
{
    for (uint64_t i = 0; study->plots != NULL && i < study->n_plots; i++)
        sd_free(study->plots[i].stem);
    sd_free(study->plots);
    study->plots = NULL;
    study->n_plots = 0;
}

void rep_gnuplot_quote(sd_str *script, const char *text)
{
    sd_str_add(script, "'");
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            sd_str_add(script, "''");
        else
            sd_str_add_bytes(script, (unsigned char)*text < ' ' ? " " : text, 1);
    }
    sd_str_add(script, "'");
}

void rep_script_title(const rep_study *study, const rep_plot *plot, sd_str *script)
{
    const sd_diff *d = study->saes[plot->sae].diff;
    sd_str title = {0};

    sd_str_add(&title, "%s%s, %llu latents, k %llu", d->site, rep_is_error_sae(d) ? " error SAE" : "", (ull)d->latents, (ull)d->k);
    sd_str_add(script, "set title ");
    if (title.status == SD_OK)
        rep_gnuplot_quote(script, title.text);
    else
        script->status = title.status;
    sd_str_add(script, " noenhanced offset 0,%s\n", plot->kind <= REP_PLOT_FREQUENCY ? "1.5" : "0");
    sd_str_free(&title);
}

static void add_script(const rep_study *study, const rep_plot *p, bool svg, sd_str *s)
{
    sd_str_add(s, "reset\nset encoding utf8\n");
    if (svg)
        sd_str_add(s, "set terminal svg size %d,%d enhanced font 'sans-serif,13' linewidth 1\n", p->width, p->height);
    else
        sd_str_add(s, "set terminal pngcairo size %d,%d enhanced font 'sans,10' fontscale 2 linewidth 2 pointscale 2\n", 2 * p->width,
                   2 * p->height);
    sd_str_add(s, "set output ");
    sd_str_add(s, "'%s.%s.tmp'\nset border 3 linecolor rgb '#444444'\nset tics nomirror\nset grid linecolor rgb '#DDDDDD' linewidth 0.6\n",
               p->stem, svg ? "svg" : "png");
    kinds[p->kind].script(study, p, s);
    sd_str_add(s, "unset output\n");
}

/* Renames the temporary file. */
static sd_status commit(const char *folder, const char *stem, const char *ending)
{
    char *path = NULL, *temporary = NULL;
    sd_status st;

    SD_TRY(st, sd_str_format(&path, "%s/%s.%s", folder, stem, ending));
    SD_TRY(st, sd_str_format(&temporary, "%s.tmp", path));
    SD_TRY(st, sd_file_commit(temporary, path));
out:
    sd_free(path);
    sd_free(temporary);
    return st;
}

sd_status rep_plots_draw(rep_study *study, const char *folder, const char *gnuplot)
{
    rep_drawing result = REP_NO_PROGRAM;
    char *plots = NULL;
    sd_str script = {0};
    sd_status st = SD_OK;

    study->drawn = false;
    study->no_plots = "report.gnuplot is empty";
    if (gnuplot == NULL || gnuplot[0] == '\0' || study->n_plots == 0)
        goto out;
    for (uint64_t i = 0; i < study->n_plots; i++)
        for (int svg = 0; svg < 2; svg++)
            add_script(study, &study->plots[i], svg, &script);
    SD_TRY(st, sd_path_join(&plots, folder, REP_PLOTS));
    SD_TRY(st, sd_file_make_dirs(plots));
    SD_TRY(st, rep_gnuplot_run(gnuplot, plots, &script, &result));
    if (result != REP_DRAWN) {
        study->no_plots = result == REP_NO_PROGRAM ? "gnuplot is not installed" : "gnuplot failed";
        SD_TRY(st, sd_file_remove_temporaries(plots));
        goto out;
    }
    for (uint64_t i = 0; i < study->n_plots; i++) {
        SD_TRY(st, commit(plots, study->plots[i].stem, "png"));
        SD_TRY(st, commit(plots, study->plots[i].stem, "svg"));
    }
    study->drawn = true;
    study->no_plots = NULL;
out:
    sd_str_free(&script);
    sd_free(plots);
    return st;
}

/* ---- the page */

static void add_caption(const rep_study *study, const rep_plot *p, rep_buffer *page)
{
    const sd_diff *d = p->sae >= REP_HEALTH ? NULL : study->saes[p->sae].diff;
    uint64_t silent = 0;

    switch (p->kind) {
    case REP_PLOT_MEAN:
    case REP_PLOT_FREQUENCY:
        for (uint64_t l = 0; l < d->latents; l++)
            silent += d->base.sums.count[l] + d->tuned.sums.count[l] == 0;
        rep_say(page, "%s (`%s`) of each latent on the base and on the tuned model, n = %llu tokens. Above the dashed line: more in "
                       "the tuned model. Listed latents are coloured and labelled where space permits; %llu latents that "
                       "fire in neither model are omitted.",
                p->kind == REP_PLOT_MEAN ? "Mean activation" : "Frequency", p->kind == REP_PLOT_MEAN ? "mean" : "frequency",
                (ull)d->tokens, (ull)silent);
        return;
    case REP_PLOT_FREQUENCIES:
    case REP_PLOT_MAGNITUDES:
        rep_say(page, "Left: histogram of %s in both models, eight bins per decade, n = %llu tokens; `never`: %llu latents in the base "
                       "model, %llu in the tuned model. Right: histogram of its change, tuned − base, counts on a logarithmic scale; the grey bar "
                       "is centred on 0.",
                p->kind == REP_PLOT_FREQUENCIES ? "`frequency`" : "mean activation (`mean`)", (ull)d->tokens, (ull)d->base.dead,
                (ull)d->tuned.dead);
        return;
    case REP_PLOT_ERROR_NORM:
        rep_say(page, "Reconstruction error norm (`error_norm`) of each SAE on both models, with 95 %% intervals over documents.");
        return;
    case REP_PLOT_MOVED:
        rep_say(page, "Total change at each SAE: the sum of |change of `mean`|, split in proportion to |`frequency_part`| "
                       "and |`magnitude_part`|.");
        return;
    case REP_PLOT_EV:
        rep_say(page, "Explained variance (`ev`) of each SAE on both models.");
        return;
    case REP_PLOT_FIDELITY_EV:
        rep_say(page, "Explained variance (`eval.explained_variance`) on all texts, with its interval.");
        return;
    case REP_PLOT_FIDELITY_CE:
        rep_say(page, "CE loss recovered (`eval.ce_recovered_mean`) on all texts, with its interval: 1 if the reconstruction costs nothing, "
                       "0 if it is no better than mean ablation.");
        return;
    case REP_PLOT_DIVERGENCE:
        rep_say(page, "Relative distance ‖tuned − base‖ / ‖base‖ of the residual stream after each block, with intervals, for each text.");
        return;
    case REP_PLOT_KINDS:
        return;
    }
}

static void add_base64(sd_str *s, const char *data, uint64_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (uint64_t i = 0; i < size; i += 3) {
        uint32_t bits = (uint32_t)(unsigned char)data[i] << 16;
        char four[4];

        bits |= i + 1 < size ? (uint32_t)(unsigned char)data[i + 1] << 8 : 0;
        bits |= i + 2 < size ? (uint32_t)(unsigned char)data[i + 2] : 0;
        for (int d = 0; d < 4; d++)
            four[d] = digits[bits >> (18 - 6 * d) & 63];
        if (i + 1 >= size)
            four[2] = '=';
        if (i + 2 >= size)
            four[3] = '=';
        sd_str_add_bytes(s, four, 4);
    }
}

enum { MAX_SVG = 1 << 19 }; /* maximum bytes of an embedded SVG; above it the PNG is embedded */

/* The plot, embedded in the page. */
static sd_status add_inside(const rep_plot *p, rep_buffer *page)
{
    char *path = NULL, *data = NULL;
    uint64_t size;
    bool svg;
    sd_status st;

    SD_TRY(st, sd_str_format(&path, "%s/%s/%s.svg", page->folder, REP_PLOTS, p->stem));
    SD_TRY(st, sd_file_size(path, &size));
    svg = size <= MAX_SVG;
    memcpy(path + strlen(path) - 3, svg ? "svg" : "png", 3);
    SD_TRY(st, sd_file_read(path, 1 << 30, &data, &size));
    sd_str_add(page->s, "<img width=\"%d\" height=\"%d\" alt=\"%s\" src=\"data:image/%s;base64,", p->width, p->height,
               kinds[p->kind].alt, svg ? "svg+xml" : "png");
    add_base64(page->s, data, size);
    sd_str_add(page->s, "\">");
out:
    sd_free(path);
    sd_free(data);
    return st;
}

static void show(const rep_study *study, const rep_plot *p, rep_buffer *page)
{
    bool live = page->live && p->sae < REP_HEALTH;

    if (!study->drawn && !live)
        return;
    if (!page->html) {
        sd_str_add(page->s, "![%s](%s/%s.png)\n\n", kinds[p->kind].alt, REP_PLOTS, p->stem);
        add_caption(study, p, page);
        sd_str_add(page->s, "\n\n");
        return;
    }
    if (live)
        sd_str_add(page->s, "<figure%s data-panel=\"%s\" data-sae=\"%llu\">", p->width == WIDE ? " class=\"wide\"" : "", kinds[p->kind].stem,
                   (ull)p->sae);
    else
        sd_str_add(page->s, p->width == WIDE ? "<figure class=\"wide\">" : "<figure>");
    if (study->drawn && page->s->status == SD_OK)
        page->s->status = add_inside(p, page);
    sd_str_add(page->s, "<figcaption>");
    add_caption(study, p, page);
    sd_str_add(page->s, "</figcaption></figure>\n");
}

void rep_show_plots(const rep_study *study, uint64_t sae, rep_buffer *page)
{
    if (page->html)
        sd_str_add(page->s, "<div class=\"plots\">\n");
    for (uint64_t i = 0; i < study->n_plots; i++)
        if (study->plots[i].sae == sae)
            show(study, &study->plots[i], page);
    if (page->html)
        sd_str_add(page->s, "</div>\n");
}

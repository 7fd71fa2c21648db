/* Measures of the stage evaluate, as points with intervals. */
#include <math.h>
#include <string.h>

#include "plots.h"

typedef unsigned long long ull;

static const char *const colors[] = {"#666666", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#E69F00"};
enum { COLORS = sizeof colors / sizeof *colors };

/* A line of numbers; gnuplot draws nothing at NaN. */
static void add_point(sd_str *s, double position, const sd_measure *m)
{
    bool interval = !isnan(m->low) && !isnan(m->high);

    if (isnan(m->value))
        sd_str_add(s, "%.9g NaN NaN NaN\n", position);
    else
        sd_str_add(s, "%.9g %.9g %.9g %.9g\n", position, m->value, interval ? m->low : m->value, interval ? m->high : m->value);
}

/* "1.resid_post topk-512-k16": one line of the plot per SAE and model. */
static void add_label(const sd_eval *e, sd_str *s)
{
    const char *site = strncmp(e->site, "blocks.", 7) == 0 ? e->site + 7 : e->site, *hook = strstr(site, "hook_");
    sd_str label = {0};

    if (hook == NULL)
        sd_str_add(&label, "%s", site);
    else
        sd_str_add(&label, "%.*s%s", (int)(hook - site), site, hook + 5);
    sd_str_add(&label, " %s", e->sae);
    if (label.status != SD_OK)
        s->status = label.status;
    else
        rep_gnuplot_quote(s, label.text);
    sd_str_free(&label);
}

static void widen(const sd_measure *m, double *low, double *high)
{
    const double values[] = {m->value, m->low, m->high};

    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (!isnan(values[i])) {
            *low = fmin(*low, values[i]);
            *high = fmax(*high, values[i]);
        }
}

void rep_script_fidelity(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    const int id = plot->kind == REP_PLOT_FIDELITY_EV ? SD_EVAL_ID_explained_variance : SD_EVAL_ID_ce_recovered_mean;
    const char *const models[] = {"base", "tuned"};
    uint64_t n = study->spec->n_evals;
    double height = plot->height;
    double low = INFINITY, high = -INFINITY;
    size_t longest = 0;

    for (uint64_t i = 0; i < n; i++) {
        size_t length = strlen(study->spec->evals[i]->site) + strlen(study->spec->evals[i]->sae);

        longest = length > longest ? length : longest;
    }
    /* Labels are the site without "blocks." and "hook_", a blank, and the SAE; 0.015 of the width a character. */
    sd_str_add(s, "set lmargin at screen %.3f\nset rmargin at screen 0.95\nset tmargin at screen %.6f\nset bmargin at screen %.6f\n"
                  "set yrange [%.1f:0.5]\nset ytics scale 0 noenhanced (",
               fmin(0.62, fmax(0.3, 0.02 + 0.0152 * (double)(longest > 11 ? longest - 11 : 0))), 1 - 36 / height, 58 / height, (double)n + 0.5);
    for (uint64_t i = 0; i < n; i++) {
        sd_str_add(s, i ? ", " : "");
        add_label(study->spec->evals[i], s);
        sd_str_add(s, " %llu", (ull)i + 1);
        widen(rep_measure(study, i, SD_EVAL_ALL, id), &low, &high);
    }
    sd_str_add(s, ")\nset border 1\nset key at screen 0.67, screen %.6f center top horizontal Left reverse samplen 1.5\nset grid noytics xtics\n"
                  "set xlabel '%s'\n", 1 - 8 / height,
               id == SD_EVAL_ID_explained_variance ? "explained variance" : "CE loss recovered, relative to mean ablation");
    rep_script_range(low, high, s);
    for (int m = 0; m < 2; m++) {
        sd_str_add(s, "$m%d << EOD\n", m);
        for (uint64_t i = 0; i < n; i++)
            if (strcmp(study->spec->evals[i]->model, models[m]) == 0)
                add_point(s, (double)i + 1, rep_measure(study, i, SD_EVAL_ALL, id));
        sd_str_add(s, "99999 NaN NaN NaN\nEOD\n");
    }
    sd_str_add(s, "plot $m0 using 2:1:3:4 with xerrorbars pointtype 7 pointsize 0.9 linewidth 1.6 linecolor rgb '#666666' title 'on base', "
                  "$m1 using 2:1:3:4 with xerrorbars pointtype 7 pointsize 0.9 linewidth 1.6 linecolor rgb '#009E73' title 'on tuned'\n");
}

void rep_script_divergence(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    uint64_t layers = study->spec->models_eval->layers;

    (void)plot;
    sd_str_add(s, "set lmargin at screen 0.15\nset rmargin at screen 0.96\nset tmargin at screen 0.95\nset bmargin at screen 0.17\n"
                  "set xrange [-0.5:%.1f]\nset xtics %llu\nset yrange [0:*]\nset xlabel 'block'\n"
                  "set ylabel 'relative distance of the residual streams'\nset key top left Left reverse samplen 1.5 noenhanced\n",
               (double)layers - 0.5, (ull)(layers + 15) / 16);
    for (uint64_t i = 0; i < study->n_sources; i++) {
        sd_str_add(s, "$text%llu << EOD\n", (ull)i);
        for (uint64_t l = 0; l < layers; l++)
            add_point(s, (double)l + 0.08 * ((double)i - ((double)study->n_sources - 1) / 2) / (double)study->n_sources,
                      rep_models_measure(study, (int64_t)i, SD_MODELS_FIXED + layers + l));
        sd_str_add(s, "EOD\n");
    }
    sd_str_add(s, "plot ");
    for (uint64_t i = 0; i < study->n_sources; i++) {
        sd_str_add(s, "%s$text%llu using 1:2:3:4 with yerrorlines pointtype 7 pointsize 0.7 linewidth 1.4 linecolor rgb '%s' title ",
                   i ? ", " : "", (ull)i, colors[(i + 2) % COLORS]);
        rep_gnuplot_quote(s, study->sources[i].name);
    }
    sd_str_add(s, "\n");
}

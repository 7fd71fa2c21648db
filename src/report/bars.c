/* Bars and points, one line of the plot per SAE. */
#include <math.h>
#include <string.h>

#include "plots.h"

typedef unsigned long long ull;

double rep_step(double low, double high)
{
    double rough = (high - low) / 4, power;

    if (!(rough > 0) || !isfinite(rough))
        return 1;
    power = pow(10, floor(log10(rough)));
    return rough / power < 1.5 ? power : rough / power < 3.5 ? 2 * power : rough / power < 7.5 ? 5 * power : 10 * power;
}

void rep_script_range(double low, double high, sd_str *s)
{
    double width = high > low ? high - low : fabs(high) > 0 ? 0.2 * fabs(high) : 1;

    if (!isfinite(width))
        low = 0, high = width = 1;
    sd_str_add(s, "set xrange [%.9g:%.9g]\nset xtics %.9g\n", low - 0.07 * width, high + 0.07 * width, rep_step(0, 1.6 * width));
}

/* "1.resid_post" for "blocks.1.hook_resid_post", with size and k where sites have several SAEs. */
static void add_label(const rep_study *study, uint64_t which, sd_str *s)
{
    const sd_diff *d = study->spec->diffs[which];
    const char *site = strncmp(d->site, "blocks.", 7) == 0 ? d->site + 7 : d->site, *hook = strstr(site, "hook_");
    bool several = false;
    sd_str label = {0};

    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        several |= i != which && strcmp(study->spec->diffs[i]->site, d->site) == 0 && rep_is_error_sae(study->spec->diffs[i]) == rep_is_error_sae(d);
    if (hook == NULL)
        sd_str_add(&label, "%s", site);
    else
        sd_str_add(&label, "%.*s%s", (int)(hook - site), site, hook + 5);
    if (rep_is_error_sae(d))
        sd_str_add(&label, " error");
    if (several)
        sd_str_add(&label, " F%llu k%llu", (ull)d->latents, (ull)d->k);
    if (label.status != SD_OK)
        s->status = label.status;
    else
        rep_gnuplot_quote(s, label.text);
    sd_str_free(&label);
}

/* One line of the plot per SAE, the first on top. */
static void add_lines(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    uint64_t n = study->spec->n_diffs;
    double height = plot->height;
    size_t longest = 0;
    sd_str labels = {0};

    for (uint64_t i = 0; i < n; i++) {
        size_t before = labels.length;

        add_label(study, i, &labels);
        longest = labels.length - before > longest ? labels.length - before : longest;
        sd_str_add(&labels, " %llu%s", (ull)i + 1, i + 1 < n ? ", " : "");
    }
    if (labels.status != SD_OK)
        s->status = labels.status;
    sd_str_add(s, "set lmargin at screen %.3f\nset rmargin at screen 0.95\nset tmargin at screen %.6f\nset bmargin at screen %.6f\n"
                  "set yrange [%.1f:0.5]\nset ytics scale 0 noenhanced (%s",
               fmin(0.62, fmax(0.26, 0.0152 * (double)longest)), 1 - 36 / height, 58 / height, (double)n + 0.5,
               labels.status == SD_OK ? labels.text : "");
    sd_str_free(&labels);
    sd_str_add(s, ")\nset border 1\nset key at screen 0.6, screen %.6f center top horizontal Left reverse samplen 1.5\nset grid noytics xtics\n",
               1 - 8 / height);
}

void rep_script_moved(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    double most = 0;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        most = fmax(most, study->saes[i].moved);
    add_lines(study, plot, s);
    sd_str_add(s, "set xrange [0:%.9g]\nset xtics %.9g\nset xlabel 'sum of |change of mean activation| (SAE units)'\n"
                  "set style fill solid 0.9 noborder\n$bars << EOD\n", most > 0 ? 1.05 * most : 1, rep_step(0, most));
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];

        sd_str_add(s, "%llu %.9g %.9g\n", (ull)i + 1, sae->moved > 0 ? sae->moved * sae->moved_by_frequency : 0, sae->moved);
    }
    sd_str_add(s, "EOD\nplot $bars using (0):1:(0):2:($1-0.3):($1+0.3) with boxxyerror linecolor rgb '#E69F00' title 'from frequency', "
                  "$bars using 2:1:2:3:($1-0.3):($1+0.3) with boxxyerror linecolor rgb '#56B4E9' title 'from magnitude'\n");
}

void rep_script_error_norm(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    double most = 0;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int m = 0; m < 2; m++) {
            const sd_diff_side *side = rep_side(study->spec->diffs[i], m);

            most = fmax(most, isnan(side->error_norm_high) ? side->error_norm : side->error_norm_high);
        }
    add_lines(study, plot, s);
    sd_str_add(s, "set xrange [0:%.9g]\nset xtics %.9g\nset xlabel 'reconstruction error norm, mean ‖x − x̂‖ (activation units)'\nset style fill solid 0.9 noborder\n",
               most > 0 ? 1.05 * most : 1, rep_step(0, most));
    for (int m = 0; m < 2; m++) {
        sd_str_add(s, "$bars%d << EOD\n", m);
        for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
            const sd_diff_side *side = rep_side(study->spec->diffs[i], m);
            bool range = !isnan(side->error_norm_low) && !isnan(side->error_norm_high);

            sd_str_add(s, "%.9g %.9g %.9g %.9g\n", (double)i + 1 + (m ? 0.17 : -0.17), side->error_norm, range ? side->error_norm_low : side->error_norm,
                       range ? side->error_norm_high : side->error_norm);
        }
        sd_str_add(s, "EOD\n");
    }
    sd_str_add(s, "plot $bars0 using (0):1:(0):2:($1-0.16):($1+0.16) with boxxyerror linecolor rgb '#999999' title 'on base', "
                  "$bars1 using (0):1:(0):2:($1-0.16):($1+0.16) with boxxyerror linecolor rgb '#009E73' title 'on tuned', "
                  "$bars0 using 2:1:3:4 with xerrorbars pointtype 0 linewidth 1.5 linecolor rgb '#222222' notitle, "
                  "$bars1 using 2:1:3:4 with xerrorbars pointtype 0 linewidth 1.5 linecolor rgb '#222222' notitle\n");
}

void rep_script_ev(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    double low = INFINITY, high = -INFINITY;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int m = 0; m < 2; m++) {
            double ev = rep_side(study->spec->diffs[i], m)->ev;

            low = ev < low ? ev : low;
            high = ev > high ? ev : high;
        }
    rep_script_range(low, high, s);
    add_lines(study, plot, s);
    sd_str_add(s, "set xlabel 'explained variance of the SAE'\n$points << EOD\n");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const sd_diff *d = study->spec->diffs[i];

        sd_str_add(s, "%llu %.9g %.9g %.9g\n", (ull)i + 1, d->base.ev, d->tuned.ev, d->tuned.ev - d->base.ev);
    }
    sd_str_add(s, "EOD\nplot $points using 2:1:4:(0) with vectors nohead linewidth 2 linecolor rgb '#BBBBBB' notitle, "
                  "$points using 2:1 with points pointtype 7 pointsize 1.1 linecolor rgb '#666666' title 'on base', "
                  "$points using 3:1 with points pointtype 7 pointsize 1.1 linecolor rgb '#009E73' title 'on tuned'\n");
}

/* Histograms and bars. */
#include <math.h>
#include <string.h>

#include "pictures.h"

typedef unsigned long long ull;

void rep_density(const sd_diff *d, int tuned, uint64_t bins[SD_DENSITY_BINS], uint64_t *never)
{
    memset(bins, 0, SD_DENSITY_BINS * sizeof *bins);
    *never = 0;
    for (uint64_t l = 0; l < d->latents; l++) {
        int bin = sd_density_bin(rep_side(d, tuned)->sums.count[l], d->tokens);

        if (bin < 0)
            ++*never;
        else
            bins[bin]++;
    }
}

void rep_change_bins(const sd_diff *d, uint64_t bins[REP_CHANGE_BINS], double *reach)
{
    double most = 0;

    memset(bins, 0, REP_CHANGE_BINS * sizeof *bins);
    for (uint64_t l = 0; l < d->latents; l++)
        most = fmax(most, fabs(d->d_mean[l]));
    *reach = most > 0 ? most : 1;
    for (uint64_t l = 0; l < d->latents; l++) {
        double place = floor((d->d_mean[l] / *reach + 1) / 2 * REP_CHANGE_BINS);

        if (d->base.sums.count[l] + d->tuned.sums.count[l] == 0 || isnan(place))
            continue;
        bins[place >= REP_CHANGE_BINS ? REP_CHANGE_BINS - 1 : (int)place]++;
    }
}

void rep_script_changes(const rep_study *study, const rep_picture *picture, sd_str *s)
{
    uint64_t bins[REP_CHANGE_BINS];
    double reach, width;

    rep_change_bins(study->saes[picture->sae].diff, bins, &reach);
    width = 2 * reach / REP_CHANGE_BINS;
    rep_script_title(study, picture, s);
    sd_str_add(s, "set lmargin at screen 0.15\nset rmargin at screen 0.96\nset tmargin at screen 0.88\nset bmargin at screen 0.15\n"
                  "set logscale y\nset yrange [0.7:*]\nset xrange [%.9g:%.9g]\nset boxwidth %.9g\nset style fill solid 0.9 noborder\n"
                  "set xlabel 'change of the mean activation, tuned − base (SAE units)'\nset ylabel 'latents'\nunset key\n"
                  "set format x '%%g'\nset xtics %.1g\nset format y '%%g'\n$bins << EOD\n",
               -1.03 * reach, 1.03 * reach, 0.9 * width, reach / 2);
    for (int b = 0; b < REP_CHANGE_BINS; b++)
        if (bins[b] > 0)
            sd_str_add(s, "%.9g %llu %s\n", -reach + ((double)b + 0.5) * width, (ull)bins[b],
                       b < REP_CHANGE_BINS / 2 ? "0x0072B2" : b == REP_CHANGE_BINS / 2 ? "0x888888" : "0xD55E00");
    sd_str_add(s, "EOD\nplot $bins using 1:2:3 with boxes linecolor rgb variable\n");
}

void rep_script_density(const rep_study *study, const rep_picture *picture, sd_str *s)
{
    uint64_t bins[2][SD_DENSITY_BINS], never[2];
    int first = SD_DENSITY_BINS - 8;
    double left;

    for (int m = 0; m < 2; m++)
        rep_density(study->saes[picture->sae].diff, m, bins[m], &never[m]);
    for (int b = SD_DENSITY_BINS - 1; b >= 0; b--)
        if (bins[0][b] + bins[1][b] > 0 && b < first)
            first = b;
    left = -8 + 0.25 * first;
    rep_script_title(study, picture, s);
    sd_str_add(s, "set lmargin at screen 0.15\nset rmargin at screen 0.96\nset tmargin at screen 0.88\nset bmargin at screen 0.15\n"
                  "set xrange [%.9g:0]\nset yrange [0:*]\nset format x '10^{%%g}'\nset xtics %d,1,0\nset xtics add ('never' %.9g)\n"
                  "set xlabel 'share of the counted tokens on which a latent fires'\nset ylabel 'latents'\n"
                  "set style fill solid 0.45 noborder\nset key top right samplen 2\n$never << EOD\n%.9g %llu %llu\nEOD\n$bins << EOD\n",
               left - 0.8, (int)ceil(left), left - 0.45, left - 0.45, (ull)never[0], (ull)never[1]);
    for (int b = first; b < SD_DENSITY_BINS; b++)
        sd_str_add(s, "%.9g %llu %llu\n", -8 + 0.25 * (b + 0.5), (ull)bins[0][b], (ull)bins[1][b]);
    sd_str_add(s, "EOD\nset boxwidth 0.25\nplot $bins using 1:2 with boxes linecolor rgb '#888888' title 'base', "
                  "$bins using 1:3 with histeps linewidth 2.5 linecolor rgb '#009E73' title 'tuned', "
                  "$never using 1:2 with boxes linecolor rgb '#888888' notitle, "
                  "$never using ($1-0.125):3:(0.25):(0) with vectors nohead linewidth 2.5 linecolor rgb '#009E73' notitle\n");
}

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
        several |= i != which && strcmp(study->spec->diffs[i]->site, d->site) == 0;
    if (hook == NULL)
        sd_str_add(&label, "%s", site);
    else
        sd_str_add(&label, "%.*s%s", (int)(hook - site), site, hook + 5);
    if (several)
        sd_str_add(&label, " F%llu k%llu", (ull)d->latents, (ull)d->k);
    if (label.status != SD_OK)
        s->status = label.status;
    else
        rep_gnuplot_quote(s, label.text);
    sd_str_free(&label);
}

/* One line of the picture per SAE, the first on top. */
static void add_lines(const rep_study *study, const rep_picture *picture, sd_str *s)
{
    uint64_t n = study->spec->n_diffs;
    double height = picture->height;

    sd_str_add(s, "set lmargin at screen 0.26\nset rmargin at screen 0.95\nset tmargin at screen %.6f\nset bmargin at screen %.6f\n"
                  "set yrange [%.1f:0.5]\nset ytics scale 0 noenhanced (",
               1 - 36 / height, 58 / height, (double)n + 0.5);
    for (uint64_t i = 0; i < n; i++) {
        sd_str_add(s, i ? ", " : "");
        add_label(study, i, s);
        sd_str_add(s, " %llu", (ull)i + 1);
    }
    sd_str_add(s, ")\nset border 1\nset key at screen 0.6, screen %.6f center top horizontal Left reverse samplen 1.5\nset grid noytics xtics\n",
               1 - 8 / height);
}

void rep_script_moved(const rep_study *study, const rep_picture *picture, sd_str *s)
{
    double most = 0;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        most = fmax(most, study->saes[i].moved);
    add_lines(study, picture, s);
    sd_str_add(s, "set xrange [0:%.9g]\nset xtics %.9g\nset xlabel 'sum of |change of mean activation| (SAE units)'\n"
                  "set style fill solid 0.9 noborder\n$bars << EOD\n", most > 0 ? 1.05 * most : 1, rep_step(0, most));
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const rep_sae *sae = &study->saes[i];

        sd_str_add(s, "%llu %.9g %.9g\n", (ull)i + 1, sae->moved > 0 ? sae->moved * sae->moved_by_frequency : 0, sae->moved);
    }
    sd_str_add(s, "EOD\nplot $bars using (0):1:(0):2:($1-0.3):($1+0.3) with boxxyerror linecolor rgb '#E69F00' title 'from frequency', "
                  "$bars using 2:1:2:3:($1-0.3):($1+0.3) with boxxyerror linecolor rgb '#56B4E9' title 'from magnitude'\n");
}

void rep_script_ev(const rep_study *study, const rep_picture *picture, sd_str *s)
{
    double low = INFINITY, high = -INFINITY;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++)
        for (int m = 0; m < 2; m++) {
            double ev = rep_side(study->spec->diffs[i], m)->ev;

            low = ev < low ? ev : low;
            high = ev > high ? ev : high;
        }
    rep_script_range(low, high, s);
    add_lines(study, picture, s);
    sd_str_add(s, "set xlabel 'explained variance of the SAE'\n$points << EOD\n");
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const sd_diff *d = study->spec->diffs[i];

        sd_str_add(s, "%llu %.9g %.9g %.9g\n", (ull)i + 1, d->base.ev, d->tuned.ev, d->tuned.ev - d->base.ev);
    }
    sd_str_add(s, "EOD\nplot $points using 2:1:4:(0) with vectors nohead linewidth 2 linecolor rgb '#BBBBBB' notitle, "
                  "$points using 2:1 with points pointtype 7 pointsize 1.1 linecolor rgb '#666666' title 'on base', "
                  "$points using 3:1 with points pointtype 7 pointsize 1.1 linecolor rgb '#009E73' title 'on tuned'\n");
}

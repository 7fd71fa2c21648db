/* Histograms: the latents in both models, and their changes. */
#include <math.h>
#include <string.h>

#include "plots.h"

typedef unsigned long long ull;

static double number_of(const sd_diff *d, bool frequency, int tuned, uint64_t l)
{
    return frequency ? rep_frequency(d, tuned, l) : rep_mean(d, tuned, l);
}

static void count_numbers(const sd_diff *d, bool frequency, rep_histograms *h)
{
    double low = INFINITY, high = 0;

    for (uint64_t l = 0; l < d->latents; l++)
        for (int m = 0; m < 2; m++) {
            double v = number_of(d, frequency, m, l);

            low = v > 0 ? fmin(low, v) : low;
            high = fmax(high, v);
        }
    h->first = high > 0 ? (int)fmax(floor(log10(low)), floor(log10(high)) + 1 - REP_LOG_BINS / REP_PER_DECADE) : -2;
    h->bins = high > 0 ? REP_PER_DECADE * ((int)floor(log10(high) - 1e-9) + 1 - h->first) : 2 * REP_PER_DECADE;
    h->bins = h->bins < REP_PER_DECADE ? REP_PER_DECADE : h->bins > REP_LOG_BINS ? REP_LOG_BINS : h->bins;
    for (uint64_t l = 0; l < d->latents; l++)
        for (int m = 0; m < 2; m++) {
            double v = number_of(d, frequency, m, l), bin = v > 0 ? floor(REP_PER_DECADE * (log10(v) - h->first)) : 0;

            if (rep_side(d, m)->sums.count[l] == 0)
                h->never[m]++;
            else
                h->count[m][(int)fmin(fmax(bin, 0), h->bins - 1)]++;
        }
}

static void count_changes(const sd_diff *d, const double *change, rep_histograms *h)
{
    double most = 0;

    for (uint64_t l = 0; l < d->latents; l++)
        most = fmax(most, fabs(change[l]));
    h->reach = most > 0 ? most : 1;
    for (uint64_t l = 0; l < d->latents; l++) {
        double bin = floor((change[l] / h->reach + 1) / 2 * REP_CHANGE_BINS);

        if (d->base.sums.count[l] + d->tuned.sums.count[l] == 0 || isnan(bin))
            continue;
        h->changes[bin >= REP_CHANGE_BINS ? REP_CHANGE_BINS - 1 : (int)bin]++;
    }
}

void rep_histograms_of(const sd_diff *d, bool frequency, rep_histograms *h)
{
    memset(h, 0, sizeof *h);
    count_numbers(d, frequency, h);
    count_changes(d, frequency ? d->d_frequency : d->d_mean, h);
}

/* Margins of the left or the right half of the plot. */
static void add_margins(int right, sd_str *s)
{
    sd_str_add(s, "set lmargin at screen %.3f\nset rmargin at screen %.3f\nset tmargin at screen 0.89\nset bmargin at screen 0.18\n",
               right ? 0.575 : 0.075, right ? 0.98 : 0.48);
}

static void add_numbers(const rep_histograms *h, const char *what, sd_str *s)
{
    add_margins(0, s);
    sd_str_add(s, "set xrange [%.9g:%.9g]\nset yrange [0:*]\nset format x '10^{%%g}'\nset xtics %d,1\nset xtics add ('never' %.9g)\n"
                  "set xlabel '%s'\nset ylabel 'latents' offset 1,0\nset style fill solid 0.45 noborder\nset key top right samplen 2\n"
                  "$never << EOD\n%.9g %llu %llu\nEOD\n$bins << EOD\n",
               h->first - 0.8, h->first + (double)h->bins / REP_PER_DECADE, h->first, h->first - 0.45, what, h->first - 0.45, (ull)h->never[0], (ull)h->never[1]);
    for (int b = 0; b < h->bins; b++)
        sd_str_add(s, "%.9g %llu %llu\n", h->first + (b + 0.5) / REP_PER_DECADE, (ull)h->count[0][b], (ull)h->count[1][b]);
    sd_str_add(s, "EOD\nset boxwidth %.9g\nplot $bins using 1:2 with boxes linecolor rgb '#888888' title 'base', "
                  "$bins using 1:3 with histeps linewidth 2.5 linecolor rgb '#009E73' title 'tuned', "
                  "$never using 1:2 with boxes linecolor rgb '#888888' notitle, "
                  "$never using ($1-0.0625):3:(0.125):(0) with vectors nohead linewidth 2.5 linecolor rgb '#009E73' notitle\n",
               1.0 / REP_PER_DECADE);
}

static void add_changes(const rep_histograms *h, const char *what, sd_str *s)
{
    double width = 2 * h->reach / REP_CHANGE_BINS, step = rep_step(0, h->reach);

    add_margins(1, s);
    sd_str_add(s, "set logscale y\nset yrange [0.7:*]\nset xrange [%.9g:%.9g]\nset boxwidth %.9g\nset style fill solid 0.9 noborder\n"
                  "set xlabel '%s'\nset ylabel 'latents' offset 1,0\nunset key\nset format x '%%g'\nset xtics auto\nset xtics %.9g\nset format y '%%g'\n"
                  "$changes << EOD\n",
               -1.03 * h->reach, 1.03 * h->reach, 0.9 * width, what, 2 * step);
    for (int b = 0; b < REP_CHANGE_BINS; b++)
        if (h->changes[b] > 0)
            sd_str_add(s, "%.9g %llu %s\n", -h->reach + ((double)b + 0.5) * width, (ull)h->changes[b],
                       b < REP_CHANGE_BINS / 2 ? "0x0072B2" : b == REP_CHANGE_BINS / 2 ? "0x888888" : "0xD55E00");
    sd_str_add(s, "EOD\nplot $changes using 1:2:3 with boxes linecolor rgb variable\n");
}

void rep_script_histograms(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    bool frequency = plot->kind == REP_PLOT_FREQUENCIES;
    rep_histograms h;

    rep_histograms_of(study->saes[plot->sae].diff, frequency, &h);
    sd_str_add(s, "set multiplot\n");
    rep_script_title(study, plot, s);
    add_numbers(&h, frequency ? "frequency: fraction of the evaluated tokens on which a latent fires" : "mean activation of a latent (SAE units)", s);
    sd_str_add(s, "unset title\nset xtics autofreq\n");
    add_changes(&h, frequency ? "change of the frequency, tuned − base" : "change of the mean activation, tuned − base (SAE units)", s);
    sd_str_add(s, "unset multiplot\n");
}

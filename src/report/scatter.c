/* Scatter plots, base against tuned, one point per latent. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plots.h"

typedef unsigned long long ull;

/* Both axes are the same: logarithmic from lo to hi, with 0 drawn at `zero`, below the smallest value. */
typedef struct scale {
    double lo, hi, zero;
    bool has_zero;
} scale;

enum { WIDTH_OF_DIGIT = 8, HEIGHT_OF_LABEL = 14, GAP = 6, LABELS = 4 * 64 };

typedef struct box {
    double x, y, w, h; /* pixels, y upwards */
} box;

static const struct {
    const char *name, *color;
    int point;
} marks[REP_DRAWN_LISTS] = {
    {"increased", "#D55E00", 7},
    {"decreased", "#0072B2", 7},
    {"appearing", "#D55E00", 9},
    {"vanishing", "#0072B2", 11},
};

static double value_of(const rep_plot *p, const sd_diff *d, int tuned, uint64_t l)
{
    return p->kind == REP_PLOT_MEAN ? rep_mean(d, tuned, l) : rep_frequency(d, tuned, l);
}

static scale scale_of(const rep_plot *p, const sd_diff *d)
{
    scale s = {INFINITY, 0, 0, false};

    for (uint64_t l = 0; l < d->latents; l++)
        for (int m = 0; m < 2; m++) {
            double v = value_of(p, d, m, l);

            if (v > 0) {
                s.lo = fmin(s.lo, v);
                s.hi = fmax(s.hi, v);
                s.has_zero |= value_of(p, d, !m, l) == 0;
            }
        }
    if (!(s.hi > 0))
        s = (scale){0.1, 1, 0, false};
    s.zero = s.lo / 3;
    s.lo = s.has_zero ? s.zero / 1.7 : s.lo / 1.5;
    s.hi *= 1.6;
    return s;
}

static double at(const scale *s, double value)
{
    return value > 0 ? value : s->zero;
}

/* Pixels from the left (from the bottom) of the plot of `size` pixels. */
static double pixel(const scale *s, double value, double size)
{
    return size * log(at(s, value) / s->lo) / log(s->hi / s->lo);
}

static bool overlaps(const box *boxes, int count, const box *b)
{
    for (int i = 0; i < count; i++)
        if (b->x < boxes[i].x + boxes[i].w && boxes[i].x < b->x + b->w && b->y < boxes[i].y + boxes[i].h &&
            boxes[i].y < b->y + b->h)
            return true;
    return false;
}

/* Position of a label of `digits` digits at the point (x, y), on the side away from the line of no change, without overlapping another; false
 * if there is none. */
static bool place(const box *taken, int count, double x, double y, int digits, bool above, double width,
                  double height, box *b)
{
    double w = digits * WIDTH_OF_DIGIT, h = HEIGHT_OF_LABEL;
    const double out = above ? 1 : -1; /* away from the cloud: up and left, or down and right */
    const double middle = y - h / 2, beside = above ? x - GAP - w : x + GAP, past = y + out * (GAP + h / 2) - h / 2;
    const box tries[] = {{beside, middle, w, h}, {x - w / 2, past, w, h}, {beside, past, w, h},
                         {beside, middle + out * h / 2, w, h}, {above ? x + GAP : x - GAP - w, past, w, h}};

    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        if (tries[i].x >= 0 && tries[i].y >= 0 && tries[i].x + w <= width && tries[i].y + h <= height &&
            !overlaps(taken, count, &tries[i])) {
            *b = tries[i];
            return true;
        }
    return false;
}

/* Labels of listed latents, the largest of each list first, as many as fit. */
static void add_labels(const rep_sae *sae, const rep_plot *p, const scale *axes, double width, double height, sd_str *s)
{
    box taken[2 * LABELS];
    int count = 0;

    for (int kind = 0; kind < REP_DRAWN_LISTS; kind++)
        for (uint64_t i = 0; i < sae->lists[kind].count && count < LABELS; i++) {
            uint64_t l = sae->lists[kind].latents[i];
            double x = pixel(axes, value_of(p, sae->diff, 0, l), width), y = pixel(axes, value_of(p, sae->diff, 1, l), height);

            taken[count++] = (box){x - 4, y - 4, 8, 8};
        }
    for (uint64_t i = 0; i < LABELS / REP_DRAWN_LISTS; i++)
        for (int kind = 0; kind < REP_DRAWN_LISTS; kind++) {
            const rep_list *list = &sae->lists[kind];
            char text[24];
            double x, y;
            box b;

            if (i >= list->count || count >= 2 * LABELS)
                continue;
            x = pixel(axes, value_of(p, sae->diff, 0, list->latents[i]), width);
            y = pixel(axes, value_of(p, sae->diff, 1, list->latents[i]), height);
            snprintf(text, sizeof text, "%llu", (ull)list->latents[i]);
            if (!place(taken, count, x, y, (int)strlen(text), kind % 2 == 0, width, height, &b))
                continue;
            taken[count++] = b;
            sd_str_add(s, "set label '%s' at graph %.6f, graph %.6f center font ',10' textcolor rgb '%s' front\n", text,
                       (b.x + b.w / 2) / width, (b.y + b.h / 2) / height, marks[kind].color);
        }
}

static void add_points(const rep_sae *sae, const rep_plot *p, const scale *axes, sd_str *s)
{
    const sd_diff *d = sae->diff;

    sd_str_add(s, "$points << EOD\n");
    for (uint64_t l = 0; l < d->latents; l++)
        if (d->base.sums.count[l] + d->tuned.sums.count[l] > 0)
            sd_str_add(s, "%.6g %.6g\n", at(axes, value_of(p, d, 0, l)), at(axes, value_of(p, d, 1, l)));
    sd_str_add(s, "EOD\n");
    for (int kind = 0; kind < REP_DRAWN_LISTS; kind++) {
        sd_str_add(s, "$list%d << EOD\n", kind);
        for (uint64_t i = 0; i < sae->lists[kind].count; i++) {
            uint64_t l = sae->lists[kind].latents[i];

            sd_str_add(s, "%.6g %.6g\n", at(axes, value_of(p, d, 0, l)), at(axes, value_of(p, d, 1, l)));
        }
        sd_str_add(s, "EOD\n");
    }
}

void rep_script_scatter(const rep_study *study, const rep_plot *plot, sd_str *s)
{
    const rep_sae *sae = &study->saes[plot->sae];
    const char *what = plot->kind == REP_PLOT_MEAN ? "mean activation" : "frequency";
    scale axes = scale_of(plot, sae->diff);

    rep_script_title(study, plot, s);
    sd_str_add(s, "set lmargin at screen 0.15\nset rmargin at screen 0.97\nset tmargin at screen 0.86\nset bmargin at screen 0.13\n"
                  "set logscale xy\nset xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\nset xlabel '%s, base'\nset ylabel '%s, tuned'\n"
                  "set format xy '10^{%%L}'\nset mxtics 10\nset mytics 10\n"
                  "set key at screen 0.97, screen 0.905 right center horizontal maxrows 1 Left reverse samplen 0.8 width -2 font ',10'\n",
               axes.lo, axes.hi, axes.lo, axes.hi, what, what);
    if (axes.has_zero)
        sd_str_add(s, "set xtics add ('0' %.9g)\nset ytics add ('0' %.9g)\n"
                      "set arrow from %.9g, graph 0 to %.9g, graph 1 nohead dashtype 3 linecolor rgb '#AAAAAA'\n"
                      "set arrow from graph 0, first %.9g to graph 1, first %.9g nohead dashtype 3 linecolor rgb '#AAAAAA'\n",
                   axes.zero, axes.zero, 1.7 * axes.zero, 1.7 * axes.zero, 1.7 * axes.zero, 1.7 * axes.zero);
    add_labels(sae, plot, &axes, 0.82 * plot->width, 0.73 * plot->height, s);
    add_points(sae, plot, &axes, s);
    sd_str_add(s, "plot x with lines linecolor rgb '#555555' dashtype 2 title 'no change'");
    if (sae->diff->latents > 0)
        sd_str_add(s, ", $points using 1:2 with points pointtype 7 pointsize 0.35 linecolor rgb '#60808080' notitle");
    for (int kind = 0; kind < REP_DRAWN_LISTS; kind++)
        if (sae->lists[kind].count > 0)
            sd_str_add(s, ", $list%d using 1:2 with points pointtype %d pointsize 0.6 linecolor rgb '%s' title '%s'", kind,
                       marks[kind].point, marks[kind].color, marks[kind].name);
    sd_str_add(s, "\n");
}

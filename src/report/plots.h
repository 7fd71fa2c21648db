/* Plots of a study: their gnuplot scripts, and their figures in the page. Private to report. */
#ifndef SAEDIFF_REPORT_PLOTS_H
#define SAEDIFF_REPORT_PLOTS_H

#include "pages.h"
#include "page_buffer.h"

/* In place of the index of an SAE: plots of all SAEs; of their fidelity; of the two models; of the error norms. */
#define REP_OVERVIEW UINT64_MAX
#define REP_FIDELITY (UINT64_MAX - 1)
#define REP_DIVERGENCE (UINT64_MAX - 2)
#define REP_HEALTH (UINT64_MAX - 3)
#define REP_PLOTS "plots"       /* folder in the report's */

typedef enum rep_picture_kind {
    REP_PLOT_MEAN,      /* mean activation, base against tuned */
    REP_PLOT_FREQUENCY, /* the same of frequencies */
    REP_PLOT_FREQUENCIES, /* histograms of frequencies in both models, and of their changes */
    REP_PLOT_MAGNITUDES,  /* the same of mean activations */
    REP_PLOTS_PER_SAE,
    REP_PLOT_MOVED = REP_PLOTS_PER_SAE, /* Σ|ΔA| of every SAE */
    REP_PLOT_EV,                           /* EV of every SAE on both models */
    REP_PLOT_ERROR_NORM,                     /* mean ‖x − x̂‖ of every SAE on both models, with intervals */
    REP_PLOT_FIDELITY_EV,                     /* EV with intervals */
    REP_PLOT_FIDELITY_CE,                     /* CE recovered with intervals */
    REP_PLOT_DIVERGENCE,                        /* distance of the models, block by block */
    REP_PLOT_KINDS
} rep_picture_kind;

typedef struct rep_plot {
    rep_picture_kind kind;
    uint64_t sae;      /* or REP_OVERVIEW and so on */
    char *stem;        /* plots/STEM.png, plots/STEM.svg */
    int width, height; /* of the SVG; the PNG has twice as many pixels */
} rep_plot;

/* The list of what could be drawn. */
SD_MUST_CHECK sd_status rep_plots_plan(rep_study *study);
void rep_plots_free(rep_study *study);

/* Draws all into folder/plots through the program `gnuplot` and says in study->drawn whether that went well, in
 * study->no_plots why not. A program that is missing or fails is not an error; a file that cannot be written is. */
SD_MUST_CHECK sd_status rep_plots_draw(rep_study *study, const char *folder, const char *gnuplot);

/* The plots of one SAE, or of all, with their captions. */
void rep_show_plots(const rep_study *study, uint64_t sae, rep_buffer *page);

/* ---- within */

/* Commands of one plot, after terminal and output have been set. scatter.c, bars.c */
void rep_script_scatter(const rep_study *study, const rep_plot *plot, sd_str *script);
void rep_script_histograms(const rep_study *study, const rep_plot *plot, sd_str *script);
void rep_script_error_norm(const rep_study *study, const rep_plot *plot, sd_str *script);
void rep_script_moved(const rep_study *study, const rep_plot *plot, sd_str *script);
void rep_script_ev(const rep_study *study, const rep_plot *plot, sd_str *script);
void rep_script_fidelity(const rep_study *study, const rep_plot *plot, sd_str *script);
void rep_script_divergence(const rep_study *study, const rep_plot *plot, sd_str *script);
/* A step of 1, 2 or 5 times a power of ten that goes into the range about four times. */
double rep_step(double low, double high);
/* "set xrange" and "set xtics" for values from low to high, with a margin; 0 … 1 if they are not numbers. */
void rep_script_range(double low, double high, sd_str *script);
/* A text between single quotes, as gnuplot reads it. */
void rep_gnuplot_quote(sd_str *script, const char *text);
/* "set title" with the SAE's site, size and k. */
void rep_script_title(const rep_study *study, const rep_plot *plot, sd_str *script);

typedef enum rep_drawing { REP_DRAWN, REP_NO_PROGRAM, REP_DRAWING_FAILED } rep_drawing;
/* Runs `program` in `folder` with the script as its input. SD_E_ENV only if no process can be had, or a signal ended it. */
SD_MUST_CHECK sd_status rep_gnuplot_run(const char *program, const char *folder, const sd_str *script, rep_drawing *result);

/* Histograms of the latents' frequencies, or of their mean activations. Of the numbers as they are: bin b holds what is from
 * 10^(first + b/8) up to 10^(first + (b+1)/8), the first also what is below, the last also what is above; never: those that never fire. Of the
 * changes: REP_CHANGE_BINS equal bins over ±reach, the largest |change| (1 if all are 0), of the latents that fire in a model; the middle one is about 0. */
enum { REP_CHANGE_BINS = 61, REP_LOG_BINS = 128, REP_PER_DECADE = 8 };
typedef struct rep_histograms {
    int first, bins;
    uint64_t count[2][REP_LOG_BINS], never[2];
    uint64_t changes[REP_CHANGE_BINS];
    double reach;
} rep_histograms;
void rep_histograms_of(const sd_diff *diff, bool frequency, rep_histograms *out);

#endif

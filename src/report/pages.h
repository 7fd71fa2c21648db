/* Shared by the writers of a report. Private to report. */
#ifndef SAEDIFF_REPORT_PAGES_H
#define SAEDIFF_REPORT_PAGES_H

#include "saediff/core/str.h"
#include "saediff/report/report.h"

struct rep_buffer;

enum {
    REP_NUMBER = 40,   /* characters of a printed number */
    REP_LISTS = 5,
    REP_DRAWN_LISTS = 4, /* the first of them are marked in plots */
    REP_BY_FREQUENCY = 4 /* the list by change of frequency */
};
#define REP_Q 0.05 /* false discovery rate of the latents reported as changed */

/* One text (data entry) of the job. */
typedef struct rep_source {
    const char *name;
    uint64_t documents, tokens, evaluated;
} rep_source;

/* Latents of one list, the largest change first. */
typedef struct rep_list {
    const char *id, *title, *about;
    uint64_t *latents;
    uint64_t count, candidates; /* rows shown; latents that qualify */
} rep_list;

/* 95 % interval; NaN where there is none. */
typedef struct rep_range {
    double low, high;
} rep_range;

typedef struct rep_sae {
    const sd_diff *diff;
    const sd_detection *detection; /* NULL if the texts have no labels */
    char *csv; /* file name of its table */
    rep_list lists[REP_LISTS];
    uint64_t changed, risen;       /* tested latents with q ≤ REP_Q on all documents, and those of them with a larger mean in the tuned model */
    sd_diff_docs chosen, reported; /* documents that select the latents of the lists, and documents that estimate their effects: the two
                                      splits if both have two documents, else all documents for both */
    rep_range ev[2], l0[2], fvu_ratio; /* of base and tuned; NaN unless the stage evaluate measured the SAE on both */
    double moved, moved_by_frequency; /* Σ|ΔA|, Σ|frequency part| / Σ(|frequency part| + |magnitude part|) */
} rep_sae;

typedef struct rep_study {
    const sd_report_spec *spec;
    rep_source *sources, all;
    uint64_t replaced; /* tokens with another id for the base model (tokenize.substitute) */
    uint64_t n_sources;
    rep_sae *saes; /* [spec->n_diffs] */
    sd_measure *fidelity;       /* [evals, 1 + sources, SD_EVAL_IDS]; index 0 is all texts */
    sd_health *verdicts;     /* [evals] on all texts */
    sd_measure *models;      /* [1 + sources, measures of the two models] */
    struct rep_plot *plots;
    uint64_t n_plots;
    bool drawn;              /* the plots were drawn */
    const char *no_plots; /* why they were not; NULL if they were */
} rep_study;

#define REP_MEASURES "measures.csv"

typedef struct rep_definition {
    const char *id, *unit, *text;
} rep_definition;
extern const rep_definition rep_definitions[];
extern const size_t rep_definition_count;

/* Local. From the spec; `sources` (a JSON list of names, kept by the caller) names the texts. */
SD_MUST_CHECK sd_status rep_study_make(rep_study *study, const sd_report_spec *spec, const char *const *names,
                                       uint64_t n_names);
void rep_study_free(rep_study *study);

/* 4 significant digits for people; with its sign; 17 digits for machines, NaN and infinities as `nan`. −0 is 0. Return out. */
const char *rep_short(char out[REP_NUMBER], double value);
const char *rep_signed(char out[REP_NUMBER], double value);
const char *rep_exact(char out[REP_NUMBER], double value, const char *nan);
/* False for no interval, and for one whose ends print the same. */
bool rep_has_width(double low, double high);
/* Text escaped for a Markdown table or line, for JSON (with its quotes), for CSV. */
void rep_markdown(sd_str *s, const char *text);
void rep_json(sd_str *s, const char *text);
void rep_csv(sd_str *s, const char *text);

/* sum / n, sum / count (NaN where count is 0) and count / n of one latent. */
double rep_mean(const sd_diff *diff, int tuned, uint64_t latent);
double rep_active_mean(const sd_diff *diff, int tuned, uint64_t latent);
double rep_frequency(const sd_diff *diff, int tuned, uint64_t latent);
/* 95 % interval of the change of the latent's mean activation, or of its frequency, on these documents; NaN where there is none. */
void rep_interval(const sd_diff *diff, sd_diff_docs docs, bool frequency, uint64_t latent, double *low, double *high);
const sd_diff_side *rep_side(const sd_diff *diff, int tuned);

/* False for a job of one model. */
bool rep_two_models(const rep_study *study);

/* The contents of the files. A failure is kept in s->status. */
void rep_page(const rep_study *study, struct rep_buffer *page);
void rep_results(const rep_study *study, sd_str *s);
void rep_table(const rep_sae *sae, sd_str *s);

/* changes.c: the changed latents, with lists and plots. */
void rep_changes(const rep_study *study, uint64_t which, struct rep_buffer *page);
/* The model in which the latents of a list are stronger, 1 for tuned; in the list by frequency this differs by latent. */
int rep_stronger_in(int kind);
int rep_latent_stronger_in(const rep_sae *sae, int kind, uint64_t latent);

/* detection.c: label detection. */
#define REP_LABELS "labels.csv"
void rep_detection(const rep_study *study, struct rep_buffer *page);
void rep_detection_in_short(const rep_study *study, struct rep_buffer *page); /* an item of a list for each SAE */
void rep_detects_cell(const rep_sae *sae, uint64_t latent, int tuned, struct rep_buffer *page);
void rep_detects_json(const rep_sae *sae, uint64_t latent, int tuned, sd_str *s); /* a member, with a comma before it */
void rep_subjects_json(const rep_sae *sae, sd_str *s);                          /* the same */
void rep_detection_json(const rep_study *study, sd_str *s);                          /* a member of results.json with a comma after it */
void rep_detection_table(const rep_study *study, sd_str *s);

/* compat.c: frequency or mean over all tokens; the lists of the published comparison. */
double rep_compat(const sd_diff *diff, int tuned, bool frequency, uint64_t latent);
void rep_compat_lists(const rep_study *study, uint64_t which, struct rep_buffer *page);
void rep_compat_json(const rep_study *study, const rep_sae *sae, sd_str *s); /* a member, with a comma before it */

/* fidelity.c: measures of the stage evaluate. `source` SD_EVAL_ALL or a data entry. */
SD_MUST_CHECK sd_status rep_fidelity_make(rep_study *study);
/* After both: intervals of the diffs' numbers from sums per document of the stage evaluate. ranges.c */
SD_MUST_CHECK sd_status rep_ranges_make(rep_study *study);
void rep_fidelity_free(rep_study *study);
const sd_measure *rep_measure(const rep_study *study, uint64_t which, int64_t source, int id);
const sd_measure *rep_models_measure(const rep_study *study, int64_t source, uint64_t which);
void rep_fidelity(const rep_study *study, struct rep_buffer *page);
void rep_fidelity_in_short(const rep_study *study, struct rep_buffer *page); /* an item of a list for each SAE */
void rep_divergence(const rep_study *study, struct rep_buffer *page);
/* The measure number `which`, for its id, unit and definition, and its family, "eval" or "models"; NULL after the last. */
const sd_measure *rep_fidelity_definition(const rep_study *study, uint64_t which, const char **family);
void rep_fidelity_json(const rep_study *study, sd_str *s); /* members of results.json, each with a comma after it */
void rep_fidelity_table(const rep_study *study, sd_str *s);

/* error_sae.c: SAEs on the reconstruction error of others. */
bool rep_is_error_sae(const sd_diff *diff);
const sd_diff *rep_first_of(const rep_study *study, const sd_diff *second);              /* NULL if it is not among the diffs */
double rep_ev_of_both(const sd_diff *first, const sd_diff *second, int tuned); /* explained variance of the sum of their reconstructions */
void rep_site_cell(const sd_diff *diff, struct rep_buffer *page);
void rep_error_sae(const rep_study *study, struct rep_buffer *page);

/* matched.c: separately trained SAEs, and their matched latents. */
void rep_matched(const rep_study *study, struct rep_buffer *page);
void rep_matched_json(const rep_study *study, sd_str *s); /* as rep_fidelity_json() */

#endif

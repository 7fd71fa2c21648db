/* What the writers of a report share. Private to this room. */
#ifndef SAEDIFF_REPORT_PAGES_H
#define SAEDIFF_REPORT_PAGES_H

#include "saediff/core/str.h"
#include "saediff/report/report.h"

struct rep_sheet;

enum {
    REP_NUMBER = 40,   /* characters of a printed number */
    REP_FIRINGS = 20,  /* n_base + n_tuned that a latent of a list has at least */
    REP_LISTS = 4
};
#define REP_FVU_WARNING 1.25 /* FVU of the tuned model over the base model's */

/* One text of the job. */
typedef struct rep_source {
    const char *name;
    uint64_t documents, tokens, counted;
} rep_source;

/* Latents of one list, the strongest first. */
typedef struct rep_list {
    const char *id, *title, *about;
    uint64_t *latents;
    uint64_t count, candidates; /* rows shown, latents that belong */
} rep_list;

typedef struct rep_sae {
    const sd_diff *diff;
    char *csv; /* its file's name */
    rep_list lists[REP_LISTS];
    uint64_t eligible; /* latents with enough firings */
    double moved, moved_by_frequency; /* Σ|ΔA|, Σ|frequency part| / Σ(|frequency part| + |magnitude part|) */
    double fvu_ratio;                 /* tuned over base; NaN where undefined */
} rep_sae;

typedef struct rep_study {
    const sd_report_spec *spec;
    rep_source *sources, all;
    uint64_t n_sources;
    rep_sae *saes; /* [spec->n_diffs] */
    struct rep_picture *pictures;
    uint64_t n_pictures;
    bool drawn;              /* the pictures are there */
    const char *no_pictures; /* why not; NULL if they are */
} rep_study;

typedef struct rep_definition {
    const char *id, *unit, *text;
} rep_definition;
extern const rep_definition rep_definitions[];
extern const size_t rep_definition_count;

/* Local. From the spec; `sources` (a JSON list of names, kept by the caller) gives names to the texts. */
SD_MUST_CHECK sd_status rep_study_make(rep_study *study, const sd_report_spec *spec, const char *const *names,
                                       uint64_t n_names);
void rep_study_free(rep_study *study);

/* 4 significant digits for people; with its sign; 17 digits for machines, NaN and infinities as `nan`. −0 is 0. Return out. */
const char *rep_short(char out[REP_NUMBER], double value);
const char *rep_signed(char out[REP_NUMBER], double value);
const char *rep_exact(char out[REP_NUMBER], double value, const char *nan);
/* Text as it must stand in a Markdown table or line, in JSON (with its quotes), in CSV. */
void rep_markdown(sd_str *s, const char *text);
void rep_json(sd_str *s, const char *text);
void rep_csv(sd_str *s, const char *text);

/* sum / n, sum / count (NaN where count is 0) and count / n of one latent. */
double rep_mean(const sd_diff *diff, int tuned, uint64_t latent);
double rep_active_mean(const sd_diff *diff, int tuned, uint64_t latent);
double rep_frequency(const sd_diff *diff, int tuned, uint64_t latent);
const sd_diff_side *rep_side(const sd_diff *diff, int tuned);

/* The files' texts. Failures stay in s->status. */
void rep_page(const rep_study *study, struct rep_sheet *sheet);
void rep_results(const rep_study *study, sd_str *s);
void rep_table(const rep_sae *sae, sd_str *s);

#endif

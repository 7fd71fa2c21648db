/* Pages from stored results only: no model, no device. Local (rank 0 calls).
 *
 *   index.html    the page, self-contained with its plots; interactive panels if Plotly's script is given
 *   README.md     the same as Markdown
 *   results.json  every number of the page with n, interval, definition id and unit
 *   latents.<site>.csv  one line per latent, all statistics of both models and their change; latents.<site>.F<latents>.k<k>.csv
 *                       if a site has several SAEs
 *   measures.csv  every measure of every SAE on every model and text, if the stage evaluate was run
 *   labels.csv    label detection, if the texts have labels
 *   plots/NAME.png, NAME.svg  plots by gnuplot; without it the page has the tables only, and says so */
#ifndef SAEDIFF_REPORT_REPORT_H
#define SAEDIFF_REPORT_REPORT_H

#include "saediff/diff/diff.h"
#include "saediff/diff/match.h"
#include "saediff/diff/detection.h"
#include "saediff/eval/eval.h"

typedef struct sd_report_model {
    const char *label, *name, *sha256; /* "base", the folder's name, digest of its weights */
} sd_report_model;

/* Next-token loss on one data entry. */
typedef struct sd_report_loss {
    double nll[2];              /* base, tuned: Σ −log p, nats; the first only for a job of one model */
    uint64_t predictions;       /* evaluated, the same in both */
    uint64_t documents;
    double low[3], high[3];     /* 95 % intervals of the means of base, of tuned, and of tuned − base; NaN for none */
} sd_report_loss;

/* An SAE of the job that failed to train. */
typedef struct sd_report_failure {
    const char *name, *reason; /* "sae/SITE/NAME"; a sentence */
    uint64_t step;             /* of training at which it failed; 0: not started */
} sd_report_failure;

typedef struct sd_report_spec {
    const char *folder; /* output folder; created if missing */
    const char *title;
    sd_report_model base, tuned; /* tuned.name NULL: a job of one model, without diffs, matches and models_eval */
    const sd_tokens *tokens;
    const sd_diff *const *diffs; /* one per SAE, in the order of the job */
    uint64_t n_diffs;
    const sd_report_failure *failures;
    uint64_t n_failures;
    const sd_report_loss *losses; /* one per data entry (tokens->sources); NULL without extract.loss */
    bool loss_bos;                /* includes predictions made at BOS */
    const sd_eval *const *evals; /* any number, in the order of the page; as many data entries as the tokens have */
    uint64_t n_evals;
    const sd_models_eval *models_eval; /* NULL for none */
    sd_health_rule health;             /* used with evals, as is: */
    sd_bootstrap bootstrap;
    const sd_match *const *matches; /* SAEs trained on both models, one per pair of them */
    uint64_t n_matches;
    const sd_detection *const *detections; /* of SAEs trained on either model; none if the texts have no labels */
    uint64_t n_detections;
    uint64_t top; /* rows of each top list */
    const char *job_json; /* effective configuration, as JSON text; paths and machine left out */
    const char *gnuplot;  /* gnuplot program; NULL or "": no plots */
    const char *plotly;   /* file with Plotly's minified script; NULL: none */
} sd_report_spec;

/* Files are written atomically; *files = their names, *count of them (sd_free() each and the list). SD_E_STOPPED on a
 * signal. The files contain no times, hosts or rank counts: equal results give equal bytes with the same gnuplot and the same script. Only tested latents are listed; the selection split
 * ranks them, the estimation split measures their effect. */
SD_MUST_CHECK sd_status sd_report_write(const sd_report_spec *spec, char ***files, uint64_t *count);

#endif

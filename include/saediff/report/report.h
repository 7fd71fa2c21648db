/* Pages from stored results only: no model, no device. Local (rank 0 calls).
 *
 *   index.html    the page: opens by itself, with its pictures inside; panels that answer to the pointer where Plotly's script is given
 *   README.md     the same as Markdown: what was compared, health of the SAE on both models, top latents both ways, definitions
 *   results.json  every number of the page with n, interval, definition id and unit
 *   latents.<site>.csv  one line per latent, all statistics of both models and their change; latents.<site>.F<latents>.k<k>.csv
 *                       where a site has several SAEs
 *   measures.csv  every measure of every SAE on every model and text, where the stage evaluate was run
 *   labels.csv    what latents tell of the labels of the texts, where these have some
 *   plots/NAME.png, NAME.svg  pictures, through gnuplot; without it the page says so and has its tables */
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
    double nll[2];              /* base, tuned: Σ −log p, nats; of one model the first only */
    uint64_t predictions;       /* counted, the same in both */
    uint64_t documents;
    double low[3], high[3];     /* 95 % intervals of the means of base, of tuned, and of tuned − base; NaN for none */
} sd_report_loss;

/* An SAE of the job that could not be had. */
typedef struct sd_report_failure {
    const char *name, *reason; /* "sae/SITE/NAME"; in words */
    uint64_t step;             /* of its training; 0: it was not begun */
} sd_report_failure;

typedef struct sd_report_spec {
    const char *folder; /* written into; made if need be */
    const char *title;
    sd_report_model base, tuned; /* tuned.name NULL: a job of one model, without diffs, matches and models_eval */
    const sd_tokens *tokens;
    const sd_diff *const *diffs; /* one per SAE, in the order of the job */
    uint64_t n_diffs;
    const sd_report_failure *failures;
    uint64_t n_failures;
    const sd_report_loss *losses; /* one per data entry (tokens->sources); NULL where losses were not asked for */
    bool loss_bos;                /* predictions made at BOS count */
    const sd_eval *const *evals; /* any number, in the order of the page; as many data entries as the tokens have */
    uint64_t n_evals;
    const sd_models_eval *models_eval; /* NULL for none */
    sd_health_rule health;             /* used with evals, as is: */
    sd_bootstrap bootstrap;
    const sd_match *const *matches; /* SAEs trained on both models, one per pair of them */
    uint64_t n_matches;
    const sd_detection *const *detections; /* of SAEs trained on either model; none where the texts have no labels */
    uint64_t n_detections;
    uint64_t top; /* rows of each top list */
    const char *job_json; /* effective configuration, as JSON text; paths and machine left out */
    const char *gnuplot;  /* program that draws; NULL or "": no pictures */
    const char *plotly;   /* file with Plotly's minified script; NULL: none */
} sd_report_spec;

/* Files are written atomically; *files = their names, *count of them (sd_free() each and the list). SD_E_STOPPED on a signal. No times, hosts or rank counts inside: equal
 * results give equal bytes with the same gnuplot and the same script. Only tested latents enter a list; they are chosen on half A of the documents and their effect is that of half B. */
SD_MUST_CHECK sd_status sd_report_write(const sd_report_spec *spec, char ***files, uint64_t *count);

#endif

/* The stage `report`: pages from stored results. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/diff/diff.h"
#include "saediff/diff/match.h"
#include "saediff/diff/detection.h"
#include "saediff/eval/eval.h"
#include "saediff/report/report.h"
#include "saediff/store/file.h"
#include "saediff/store/shard.h"

/* The name of a model in the report: the last component of its folder, or the last two if both models would have the same name. */
static const char *model_name(const char *path, const char *other)
{
    const char *name = path, *others = other;

    for (const char *at = path; *at; at++)
        if (*at == '/' && at[1])
            name = at + 1;
    for (const char *at = other; other != NULL && *at; at++)
        if (*at == '/' && at[1])
            others = at + 1;
    if (other == NULL || strcmp(name, others) != 0 || name - path < 2)
        return name;
    for (name -= 2; name > path && name[-1] != '/'; name--)
        continue;
    return name;
}

/* ---- tools */

#define PLOTLY "saediff/plotly.min.js" /* in the user's data folder */

typedef struct tools {
    bool gnuplot;
    char *plotly; /* rank 0; NULL if none */
    char plotly_sha256[SD_SHA256_HEX];
} tools;

/* Whether the program exists: a path, or a name in $PATH. */
static bool can_run(const char *program)
{
    const char *at = getenv("PATH");
    bool found = false;

    if (program[0] == '\0' || strchr(program, '/') != NULL)
        return program[0] != '\0' && access(program, X_OK) == 0;
    while (!found && at != NULL && *at != '\0') {
        size_t length = strcspn(at, ":");
        char *path = NULL;

        if (length > 0 && sd_str_format(&path, "%.*s/%s", (int)length, at, program) == SD_OK)
            found = access(path, X_OK) == 0;
        sd_free(path);
        at += length + (at[length] == ':');
    }
    return found;
}

/* report.plotly, which must exist; else $SAEDIFF_PLOTLY or the user's data folder, if they have it. */
static sd_status find_plotly(const run *r, char **path)
{
    const char *wish = r->job->report.plotly, *variable = getenv("SAEDIFF_PLOTLY"), *data = getenv("XDG_DATA_HOME"),
               *home = getenv("HOME");
    sd_status st = SD_OK;

    if (wish[0] != '\0')
        return sd_str_copy(path, wish);
    if (variable != NULL && variable[0] != '\0')
        st = sd_str_copy(path, variable);
    else if (data != NULL && data[0] != '\0')
        st = sd_str_format(path, "%s/" PLOTLY, data);
    else if (home != NULL && home[0] != '\0')
        st = sd_str_format(path, "%s/.local/share/" PLOTLY, home);
    if (st == SD_OK && *path != NULL && !sd_file_exists(*path)) {
        sd_free(*path);
        *path = NULL;
    }
    return st;
}

static sd_status find_tools(const run *r, tools *t)
{
    sd_status st;

    t->gnuplot = can_run(r->job->report.gnuplot);
    SD_TRY(st, find_plotly(r, &t->plotly));
    if (t->plotly != NULL)
        SD_TRY(st, sd_file_sha256(t->plotly, t->plotly_sha256));
out:
    return st;
}

/* ---- results of evaluate */

typedef struct fidelity {
    sd_eval **evals; /* every SAE on the base, then on the tuned model */
    uint64_t n_evals;
    sd_models_eval *models;
} fidelity;

static void fidelity_free(fidelity *w)
{
    for (uint64_t i = 0; i < w->n_evals; i++)
        sd_eval_destroy(&w->evals[i]);
    sd_free(w->evals);
    sd_models_eval_destroy(&w->models);
}

/* Error SAEs are not spliced into a model. */
static bool is_evaluated(const run *r, uint64_t sae, int m)
{
    return r->model_dir[m] != NULL && !r->saes[sae].on_error;
}

static sd_status read_fidelity(const run *r, fidelity *w)
{
    char relative[RUN_PATH], *path = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&w->evals, RUN_MODELS * r->n_saes));
    for (uint64_t i = 0; i < r->n_saes; i++)
        for (int m = 0; m < RUN_MODELS && is_evaluated(r, i, m); m++) {
            run_eval_path(relative, r, m, &r->saes[i]);
            SD_TRY(st, run_full_path(r, relative, &path));
            SD_TRY(st, sd_eval_read(&w->evals[w->n_evals], path));
            w->n_evals++;
            sd_free(path);
            path = NULL;
        }
    if (r->model_dir[TUNED] != NULL) {
        run_models_eval_path(relative);
        SD_TRY(st, run_full_path(r, relative, &path));
        SD_TRY(st, sd_models_eval_read(&w->models, path));
    }
out:
    sd_free(path);
    return st;
}

/* Collective. */
static sd_status need_fidelity(run *r)
{
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_status st;

    for (uint64_t i = 0; i < r->n_saes; i++)
        for (int m = 0; m < RUN_MODELS && is_evaluated(r, i, m); m++) {
            run_eval_path(path, r, m, &r->saes[i]);
            run_eval_key(r, m, &r->saes[i], key);
            SD_TRY(st, run_need(r, path, key, SD_STAGE_EVALUATE));
        }
    if (r->model_dir[TUNED] != NULL) {
        run_models_eval_path(path);
        run_models_eval_key(r, key);
        SD_TRY(st, run_need(r, path, key, SD_STAGE_EVALUATE));
    }
out:
    return st;
}

static void add_fidelity_keys(const run *r, sd_sha256 *sha)
{
    char key[SD_SHA256_HEX];

    for (uint64_t i = 0; i < r->n_saes; i++)
        for (int m = 0; m < RUN_MODELS && is_evaluated(r, i, m); m++) {
            run_eval_key(r, m, &r->saes[i], key);
            sd_sha256_add_text(sha, key);
        }
    if (r->model_dir[TUNED] != NULL) {
        run_models_eval_key(r, key);
        sd_sha256_add_text(sha, key);
    }
}

/* ---- results of diff */

/* Whether the report compares two models. */
static bool has_diffs(const run *r)
{
    return r->job->has[SD_STAGE_DIFF];
}

static sd_status read_diffs(const run *r, sd_diff **diffs, uint64_t *count)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; has_diffs(r) && i < r->n_saes; i++) {
        char relative[RUN_PATH], *path = NULL;

        if (r->saes[i].model != BASE && !r->saes[i].on_error)
            continue;
        run_diff_path(relative, r, &r->saes[i]);
        st = run_full_path(r, relative, &path);
        if (st == SD_OK)
            st = sd_diff_read(&diffs[*count], path);
        sd_free(path);
        SD_TRY(st, st);
        ++*count;
    }
out:
    return st;
}

/* Collective. */
static sd_status need_diffs(run *r)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; has_diffs(r) && i < r->n_saes; i++) {
        char path[RUN_PATH], key[SD_SHA256_HEX];

        run_diff_path(path, r, &r->saes[i]);
        run_diff_key(r, &r->saes[i], key);
        SD_TRY(st, run_need(r, path, key, SD_STAGE_DIFF));
    }
out:
    return st;
}

/* Label detection: one per SAE. */
static sd_status read_detection(const run *r, sd_detection **detection, uint64_t *count)
{
    char relative[RUN_PATH], *path = NULL;
    sd_status st = SD_OK;

    for (uint64_t i = 0; has_diffs(r) && run_has_labels(r) && i < r->n_saes; i++) {
        run_detection_path(relative, r, &r->saes[i]);
        SD_TRY(st, run_full_path(r, relative, &path));
        SD_TRY(st, sd_detection_read(&detection[*count], path));
        ++*count;
        sd_free(path);
        path = NULL;
    }
out:
    sd_free(path);
    return st;
}

/* Collective. */
static sd_status need_detection(run *r)
{
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_status st = SD_OK;

    for (uint64_t i = 0; has_diffs(r) && run_has_labels(r) && i < r->n_saes; i++) {
        run_detection_path(path, r, &r->saes[i]);
        run_detection_key(r, &r->saes[i], key);
        SD_TRY(st, run_need(r, path, key, SD_STAGE_DIFF));
    }
out:
    return st;
}

static void add_detection_keys(const run *r, sd_sha256 *sha)
{
    for (uint64_t i = 0; has_diffs(r) && run_has_labels(r) && i < r->n_saes; i++) {
        char key[SD_SHA256_HEX];

        run_detection_key(r, &r->saes[i], key);
        sd_sha256_add_text(sha, key);
    }
}

/* Matched latents of separately trained SAEs. */

static sd_status read_matches(const run *r, sd_match **matches, uint64_t *count)
{
    char relative[RUN_PATH], *path = NULL;
    sd_status st = SD_OK;

    for (uint64_t i = 0; has_diffs(r) && i < r->n_saes; i++) {
        if (run_counterpart(r, &r->saes[i]) == NULL)
            continue;
        run_match_path(relative, r, &r->saes[i]);
        SD_TRY(st, run_full_path(r, relative, &path));
        SD_TRY(st, sd_match_read(&matches[*count], path));
        ++*count;
        sd_free(path);
        path = NULL;
    }
out:
    sd_free(path);
    return st;
}

/* Collective. */
static sd_status need_matches(run *r)
{
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_status st = SD_OK;

    for (uint64_t i = 0; has_diffs(r) && i < r->n_saes; i++) {
        const run_sae *tuned = run_counterpart(r, &r->saes[i]);

        if (tuned == NULL)
            continue;
        run_match_path(path, r, &r->saes[i]);
        run_match_key(r, &r->saes[i], tuned, key);
        SD_TRY(st, run_need(r, path, key, SD_STAGE_DIFF));
    }
out:
    return st;
}

static void add_match_keys(const run *r, sd_sha256 *sha)
{
    for (uint64_t i = 0; has_diffs(r) && i < r->n_saes; i++) {
        const run_sae *tuned = run_counterpart(r, &r->saes[i]);
        char key[SD_SHA256_HEX];

        if (tuned == NULL)
            continue;
        run_match_key(r, &r->saes[i], tuned, key);
        sd_sha256_add_text(sha, key);
    }
}

/* Collective. The key of the report: results, settings, and the tools of rank 0. */
static sd_status pages_key(run *r, tools *t, char key[SD_SHA256_HEX])
{
    char results[SD_SHA256_HEX];
    sd_sha256 sha;
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? find_tools(r, t) : SD_OK));
    SD_TRY(st, sd_par_bcast(r->par, &t->gnuplot, sizeof t->gnuplot, 0));
    SD_TRY(st, sd_par_bcast(r->par, t->plotly_sha256, sizeof t->plotly_sha256, 0));
    run_report_key(r, results);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "pages 4");
    sd_sha256_add_text(&sha, results);
    sd_sha256_add_text(&sha, t->gnuplot ? "gnuplot" : "");
    sd_sha256_add_text(&sha, t->plotly_sha256);
    if (r->job->has[SD_STAGE_EVALUATE])
        add_fidelity_keys(r, &sha);
    add_match_keys(r, &sha);
    add_detection_keys(r, &sha);
    sd_sha256_end(&sha, key);
out:
    return st;
}

/* Rank 0. Relative paths of the written files, separated by newlines. */
static sd_status write_pages(run *r, const tools *t, sd_str *list)
{
    sd_report_loss *losses = NULL;
    sd_report_failure *failures = NULL;
    fidelity w = {0};
    sd_diff **diffs = NULL;
    sd_match **matches = NULL;
    sd_detection **detection = NULL;
    char *folder = NULL, **files = NULL;
    uint64_t count = 0, n_diffs = 0, n_matches = 0, n_detections = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&diffs, r->n_saes));
    SD_TRY(st, SD_NEW(&matches, r->n_saes));
    SD_TRY(st, read_matches(r, matches, &n_matches));
    SD_TRY(st, SD_NEW(&detection, r->n_saes));
    SD_TRY(st, read_detection(r, detection, &n_detections));
    SD_TRY(st, SD_NEW(&losses, r->job->n_data));
    SD_TRY(st, read_diffs(r, diffs, &n_diffs));
    SD_TRY(st, SD_NEW(&failures, r->n_failures));
    for (uint64_t i = 0; i < r->n_failures; i++)
        failures[i] = (sd_report_failure){r->failures[i].name, r->failures[i].reason, r->failures[i].step};
    if (r->job->extract.loss)
        SD_TRY(st, run_read_losses(r, losses));
    if (r->job->has[SD_STAGE_EVALUATE])
        SD_TRY(st, read_fidelity(r, &w));
    SD_TRY(st, run_full_path(r, "report", &folder));
    SD_TRY(st, sd_report_write(&(sd_report_spec){.folder = folder,
                                                 .title = r->job->name,
                                                 .base = {"base", model_name(r->model_dir[BASE], r->model_dir[TUNED]), r->model_sha256[BASE]},
                                                 .tuned = {"tuned", r->model_dir[TUNED] ? model_name(r->model_dir[TUNED], r->model_dir[BASE]) : NULL,
                                                           r->model_sha256[TUNED]},
                                                 .tokens = r->tokens,
                                                 .diffs = (const sd_diff *const *)diffs,
                                                 .n_diffs = n_diffs,
                                                 .failures = failures,
                                                 .n_failures = r->n_failures,
                                                 .losses = r->job->extract.loss ? losses : NULL,
                                                 .loss_bos = r->job->extract.loss_bos,
                                                 .matches = (const sd_match *const *)matches,
                                                 .n_matches = n_matches,
                                                 .detections = (const sd_detection *const *)detection,
                                                 .n_detections = n_detections,
                                                 .evals = (const sd_eval *const *)w.evals,
                                                 .n_evals = w.n_evals,
                                                 .models_eval = w.models,
                                                 .health = {r->job->evaluate.min_ce_recovered, r->job->evaluate.l0_low,
                                                            r->job->evaluate.l0_high, r->job->evaluate.max_dead,
                                                            r->job->evaluate.max_redundancy},
                                                 .bootstrap = {r->job->evaluate.resamples, r->job->seed, 0.95},
                                                 .top = r->job->report.top,
                                                 .job_json = r->spec->job_json,
                                                 .gnuplot = r->job->report.gnuplot,
                                                 .plotly = t->plotly},
                               &files, &count));
    for (uint64_t i = 0; i < count; i++)
        sd_str_add(list, "report/%s%s", files[i], i + 1 < count ? "\n" : "");
    st = list->status;
out:
    for (uint64_t i = 0; i < count; i++)
        sd_free(files[i]);
    sd_free(files);
    for (uint64_t i = 0; diffs != NULL && i < r->n_saes; i++)
        sd_diff_destroy(&diffs[i]);
    for (uint64_t i = 0; i < n_matches; i++)
        sd_match_destroy(&matches[i]);
    sd_free(matches);
    for (uint64_t i = 0; i < n_detections; i++)
        sd_detection_destroy(&detection[i]);
    sd_free(detection);
    fidelity_free(&w);
    sd_free(diffs);
    sd_free(failures);
    sd_free(losses);
    sd_free(folder);
    return st;
}

/* Collective. Records the files in rank 0's list. */
static sd_status record_pages(run *r, sd_str *list, const char *key)
{
    uint64_t length = list->length, count = 1;
    char *text = NULL;
    const char **paths = NULL;
    sd_status st;

    SD_TRY(st, sd_par_bcast(r->par, &length, sizeof length, 0));
    st = SD_NEW(&text, length + 1);
    if (st == SD_OK && r->par->rank == 0)
        memcpy(text, list->text, length);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_par_bcast(r->par, text, length, 0));
    for (uint64_t i = 0; i < length; i++)
        count += text[i] == '\n';
    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&paths, count)));
    paths[0] = text;
    for (uint64_t i = 0, at = 1; i < length; i++)
        if (text[i] == '\n') {
            text[i] = '\0';
            paths[at++] = text + i + 1;
        }
    SD_TRY(st, sd_manifest_add(r->manifest, paths, NULL, count, key));
out:
    sd_free(text);
    sd_free(paths);
    return st;
}

/* Collective. Withdraws files of an earlier report that this one does not have. */
static sd_status withdraw_older(run *r, const char *key)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < sd_manifest_count(r->manifest);) {
        const sd_record *record = sd_manifest_at(r->manifest, i);
        char path[RUN_PATH];

        if (strncmp(record->path, "report/", 7) != 0 || strcmp(record->key, key) == 0) {
            i++;
            continue;
        }
        snprintf(path, sizeof path, "%s", record->path);
        SD_TRY(st, sd_manifest_withdraw(r->manifest, path));
    }
out:
    return st;
}

/* Collective. Whether the report is complete: README.md, and every file recorded with it. */
static sd_status have_pages(run *r, const char *key, bool *has)
{
    sd_status st;

    SD_TRY(st, sd_manifest_has(r->manifest, "report/README.md", key, has));
    for (uint64_t i = 0; *has && i < sd_manifest_count(r->manifest); i++) {
        const sd_record *record = sd_manifest_at(r->manifest, i);
        char path[RUN_PATH];

        if (strncmp(record->path, "report/", 7) != 0 || strcmp(record->key, key) != 0)
            continue;
        snprintf(path, sizeof path, "%s", record->path);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, has));
    }
out:
    return st;
}

sd_status run_report(run *r)
{
    char key[SD_SHA256_HEX];
    sd_str list = {0};
    tools t = {0};
    bool has;
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    SD_TRY(st, pages_key(r, &t, key));
    SD_TRY(st, have_pages(r, key, &has));
    if (has) { /* a run may have been killed before it cleaned up */
        st = withdraw_older(r, key);
        goto out;
    }
    SD_TRY(st, run_need_tuned(r));
    SD_TRY(st, need_diffs(r));
    if (r->job->extract.loss)
        SD_TRY(st, run_need_losses(r));
    if (r->job->has[SD_STAGE_EVALUATE])
        SD_TRY(st, need_fidelity(r));
    SD_TRY(st, need_matches(r));
    SD_TRY(st, need_detection(r));
    SD_TRY(st, sd_par_agree_or_stop(r->par, r->par->rank == 0 ? write_pages(r, &t, &list) : SD_OK));
    SD_TRY(st, record_pages(r, &list, key));
    SD_TRY(st, withdraw_older(r, key));
    r->made++;
out:
    sd_free(t.plotly);
    sd_str_free(&list);
    return st;
}

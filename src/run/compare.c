/* The stage `diff`: comparison of codes. */
#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/diff/diff.h"
#include "saediff/diff/match.h"
#include "saediff/diff/detection.h"
#include "saediff/store/file.h"

static sd_status need_codes(run *r, const run_sae *s)
{
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++) {
        run_codes_key(r, m, s, key);
        for (uint64_t i = 0; i < r->shards; i++) {
            run_codes_path(path, r, m, s, i);
            SD_TRY(st, run_need(r, path, key, SD_STAGE_ENCODE));
        }
    }
out:
    return st;
}

/* Inputs of a comparison, and its output file. */
typedef struct files {
    run_paths codes[RUN_MODELS];
    char *made;
} files;

/* Local. saes: the SAE whose codes are used, for each model. */
static sd_status find_files(const run *r, const run_sae *const saes[RUN_MODELS], const char *relative, files *f)
{
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++)
        SD_TRY(st, run_codes_paths(r, m, saes[m], &f->codes[m]));
    SD_TRY(st, run_full_path(r, relative, &f->made));
out:
    return st;
}

static void free_files(files *f)
{
    for (int m = 0; m < RUN_MODELS; m++)
        run_paths_free(&f->codes[m]);
    sd_free(f->made);
}

/* Collective. `written`: the result of writing the file, on the rank that wrote it. */
static sd_status record(run *r, sd_status written, const char *relative, const char *key)
{
    sd_status st;

    SD_TRY(st, sd_par_agree_or_stop(r->par, written));
    SD_TRY(st, sd_manifest_add(r->manifest, &relative, NULL, 1, key));
    r->made++;
out:
    return st;
}

static sd_status diff_one(run *r, const run_sae *s, const char *relative, const char *key)
{
    const run_sae *const saes[RUN_MODELS] = {s, s};
    files f = {0};
    sd_diff *diff = NULL;
    sd_status st;

    SD_TRY(st, need_codes(r, s));
    SD_TRY(st, sd_par_agree(r->par, find_files(r, saes, relative, &f)));
    SD_TRY(st, sd_diff_run(r->par,
                           &(sd_diff_spec){.site = r->site_names[s->site],
                                           .base_codes = (const char *const *)f.codes[BASE].path,
                                           .tuned_codes = (const char *const *)f.codes[TUNED].path,
                                           .shards = r->shards,
                                           .tokens = r->tokens,
                                           .trained_on = run_trained_on(s),
                                           .seed = r->job->seed,
                                           .flips = r->job->diff.flips,
                                           .resamples = r->job->evaluate.resamples},
                           &diff));
    if (r->par->rank == 0) {
        st = sd_file_make_parent(f.made);
        if (st == SD_OK)
            st = sd_diff_write(diff, f.made);
    }
    SD_TRY(st, record(r, st, relative, key));
    if (diff != NULL && s->model == BASE && diff->fvu_ratio > SD_DIFF_FVU_LIMIT)
        sd_warn("%s/%s: the fraction of variance unexplained (FVU) is %.2f times as large on the tuned model as on the base model (limit %.2f): the SAE "
                "does not describe the tuned model well",
                r->site_names[s->site], s->name, diff->fvu_ratio, SD_DIFF_FVU_LIMIT);
out:
    sd_diff_destroy(&diff);
    free_files(&f);
    return st;
}

/* Collective. */
static sd_status need_saes(run *r, const run_sae *base, const run_sae *tuned)
{
    const run_sae *const saes[] = {base, tuned};
    char path[RUN_PATH];
    sd_status st = SD_OK;

    for (int i = 0; i < 2; i++) {
        run_sae_path(path, r, saes[i], "sae.h5");
        SD_TRY(st, run_need(r, path, saes[i]->key, SD_STAGE_TRAIN));
        SD_TRY(st, need_codes(r, saes[i]));
    }
out:
    return st;
}

/* Local. */
static sd_status find_saes(const run *r, const run_sae *const saes[RUN_MODELS], char *paths[RUN_MODELS])
{
    char path[RUN_PATH];
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++) {
        run_sae_path(path, r, saes[m], "sae.h5");
        SD_TRY(st, run_full_path(r, path, &paths[m]));
    }
out:
    return st;
}

/* Each SAE on its own model. */
static sd_status match_one(run *r, const run_sae *base, const run_sae *tuned, const char *relative, const char *key)
{
    const run_sae *const saes[RUN_MODELS] = {base, tuned};
    files f = {0};
    char *sae[RUN_MODELS] = {NULL};
    sd_match *match = NULL;
    sd_status st;

    SD_TRY(st, need_saes(r, base, tuned));
    st = find_files(r, saes, relative, &f);
    if (st == SD_OK)
        st = find_saes(r, saes, sae);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_match_run(r->par,
                            &(sd_match_spec){.site = r->site_names[base->site],
                                             .base_sae = sae[BASE],
                                             .tuned_sae = sae[TUNED],
                                             .base_codes = (const char *const *)f.codes[BASE].path,
                                             .tuned_codes = (const char *const *)f.codes[TUNED].path,
                                             .shards = r->shards,
                                             .tokens = r->tokens,
                                             .min_cosine = r->job->diff.match_cosine,
                                             .min_correlation = r->job->diff.match_correlation,
                                             .min_margin = r->job->diff.match_margin,
                                             .seed = r->job->seed},
                            &match));
    if (r->par->rank == 0) {
        st = sd_file_make_parent(f.made);
        if (st == SD_OK)
            st = sd_match_write(match, f.made);
    }
    SD_TRY(st, record(r, st, relative, key));
    if (match != NULL)
        sd_say("%-16s %s/%s: %llu matched pairs; %.0f %% of the base SAE's and %.0f %% of the tuned SAE's active latents are unmatched", "match",
               r->site_names[base->site], base->name, (unsigned long long)match->pairs, 100 * match->base.unmatched,
               100 * match->tuned.unmatched);
out:
    sd_match_destroy(&match);
    for (int m = 0; m < RUN_MODELS; m++)
        sd_free(sae[m]);
    free_files(&f);
    return st;
}

static sd_status run_matches(run *r, uint64_t *made)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < r->n_saes; i++) {
        const run_sae *tuned = run_counterpart(r, &r->saes[i]);
        char path[RUN_PATH], key[SD_SHA256_HEX];
        bool has;

        if (tuned == NULL)
            continue;
        run_match_path(path, r, &r->saes[i]);
        run_match_key(r, &r->saes[i], tuned, key);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, &has));
        if (has)
            continue;
        SD_TRY(st, match_one(r, &r->saes[i], tuned, path, key));
        (*made)++;
    }
out:
    return st;
}

/* Local. Every rank reads the (small) file. */
static sd_status read_labels(const run *r, sd_labels **labels)
{
    char *path = NULL;
    sd_status st;

    SD_TRY(st, run_full_path(r, RUN_LABELS, &path));
    st = sd_labels_read(labels, path);
out:
    sd_free(path);
    return st;
}

static sd_status detection_one(run *r, const run_sae *s, const sd_labels *labels, const char *relative, const char *key)
{
    const run_sae *const saes[RUN_MODELS] = {s, s};
    files f = {0};
    sd_detection *detection = NULL;
    sd_status st;

    SD_TRY(st, need_codes(r, s));
    SD_TRY(st, sd_par_agree(r->par, find_files(r, saes, relative, &f)));
    SD_TRY(st, sd_detection_run(r->par,
                           &(sd_detection_spec){.site = r->site_names[s->site],
                                           .trained_on = run_trained_on(s),
                                           .base_codes = (const char *const *)f.codes[BASE].path,
                                           .tuned_codes = (const char *const *)f.codes[TUNED].path,
                                           .shards = r->shards,
                                           .tokens = r->tokens,
                                           .labels = labels,
                                           .seed = r->job->seed,
                                           .permutations = r->job->diff.label_permutations,
                                           .resamples = r->job->evaluate.resamples,
                                           .threshold = r->job->diff.label_auroc},
                           &detection));
    if (r->par->rank == 0) {
        st = sd_file_make_parent(f.made);
        if (st == SD_OK)
            st = sd_detection_write(detection, f.made);
    }
    SD_TRY(st, record(r, st, relative, key));
out:
    sd_detection_destroy(&detection);
    free_files(&f);
    return st;
}

static sd_status run_told(run *r, uint64_t *made)
{
    char key[SD_SHA256_HEX];
    sd_labels *labels = NULL;
    sd_status st = SD_OK;

    for (uint64_t i = 0; run_has_labels(r) && i < r->n_saes; i++) {
        char path[RUN_PATH];
        bool has;

        run_detection_path(path, r, &r->saes[i]);
        run_detection_key(r, &r->saes[i], key);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, &has));
        if (has)
            continue;
        if (labels == NULL) {
            char labels_key[SD_SHA256_HEX];

            run_labels_key(r, labels_key);
            SD_TRY(st, run_need(r, RUN_LABELS, labels_key, SD_STAGE_TOKENIZE));
            SD_TRY(st, sd_par_agree(r->par, read_labels(r, &labels)));
        }
        SD_TRY(st, detection_one(r, &r->saes[i], labels, path, key));
        (*made)++;
    }
out:
    sd_labels_destroy(&labels);
    return st;
}

sd_status run_diff(run *r)
{
    double began = sd_now();
    uint64_t made = 0;
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        char path[RUN_PATH], key[SD_SHA256_HEX];
        bool has;

        run_diff_path(path, r, &r->saes[i]);
        run_diff_key(r, &r->saes[i], key);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, &has));
        if (has)
            continue;
        SD_TRY(st, diff_one(r, &r->saes[i], path, key));
        made++;
    }
    SD_TRY(st, run_matches(r, &made));
    SD_TRY(st, run_told(r, &made));
    if (made > 0) {
        char took[32];

        sd_say("%-16s %llu comparisons in %s", "diff", (unsigned long long)made,
               sd_str_seconds(took, sizeof took, sd_now() - began));
    }
out:
    return st;
}

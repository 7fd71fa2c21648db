/* The path of every artefact, relative to the run folder and absolute. */
#include <stdio.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"

void run_acts_path(char out[RUN_PATH], int model, const char *site, uint64_t shard)
{
    snprintf(out, RUN_PATH, "acts/%s/%s/shard-%06llu.h5", run_model_label(model), site, (unsigned long long)shard);
}

void run_view_path(char out[RUN_PATH], int model, const char *site)
{
    snprintf(out, RUN_PATH, "acts/%s/%s/view.h5", run_model_label(model), site);
}

void run_codes_path(char out[RUN_PATH], const run *r, int model, const run_sae *sae, uint64_t shard)
{
    snprintf(out, RUN_PATH, "codes/%s/%s/%s/shard-%06llu.h5", run_model_label(model), r->site_names[sae->site], sae->name,
             (unsigned long long)shard);
}

void run_sae_path(char out[RUN_PATH], const run *r, const run_sae *sae, const char *file)
{
    snprintf(out, RUN_PATH, "sae/%s/%s/%s", r->site_names[sae->site], sae->name, file);
}

void run_diff_path(char out[RUN_PATH], const run *r, const run_sae *sae)
{
    snprintf(out, RUN_PATH, "diff/%s/%s/diff.h5", r->site_names[sae->site], sae->name);
}

void run_detection_path(char out[RUN_PATH], const run *r, const run_sae *sae)
{
    snprintf(out, RUN_PATH, "diff/%s/%s/detection.h5", r->site_names[sae->site], sae->name);
}

void run_match_path(char out[RUN_PATH], const run *r, const run_sae *base)
{
    snprintf(out, RUN_PATH, "match/%s/%s/match.h5", r->site_names[base->site], base->name);
}

sd_status run_full_path(const run *r, const char *relative, char **out)
{
    return sd_path_join(out, sd_manifest_folder(r->manifest), relative);
}

static sd_status add_path(const run *r, run_paths *paths, const char *relative)
{
    sd_status st = run_full_path(r, relative, &paths->path[paths->count]);

    if (st == SD_OK)
        paths->count++;
    return st;
}

sd_status run_acts_paths(const run *r, int model, const char *site, run_paths *paths)
{
    char relative[RUN_PATH];
    sd_status st;

    *paths = (run_paths){0};
    SD_TRY(st, SD_NEW(&paths->path, r->shards));
    for (uint64_t i = 0; i < r->shards; i++) {
        run_acts_path(relative, model, site, i);
        SD_TRY(st, add_path(r, paths, relative));
    }
out:
    return st;
}

sd_status run_codes_paths(const run *r, int model, const run_sae *sae, run_paths *paths)
{
    char relative[RUN_PATH];
    sd_status st;

    *paths = (run_paths){0};
    SD_TRY(st, SD_NEW(&paths->path, r->shards));
    for (uint64_t i = 0; i < r->shards; i++) {
        run_codes_path(relative, r, model, sae, i);
        SD_TRY(st, add_path(r, paths, relative));
    }
out:
    return st;
}

void run_paths_free(run_paths *paths)
{
    for (uint64_t i = 0; i < paths->count; i++)
        sd_free(paths->path[i]);
    sd_free(paths->path);
    *paths = (run_paths){0};
}

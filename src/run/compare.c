/* Comparison of codes. */
#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/diff/diff.h"
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

static sd_status diff_one(run *r, const run_sae *s, const char *relative, const char *key)
{
    run_paths base = {0}, tuned = {0};
    char *path = NULL;
    sd_diff *diff = NULL;
    sd_status st;

    SD_TRY(st, need_codes(r, s));
    st = run_codes_paths(r, BASE, s, &base);
    if (st == SD_OK)
        st = run_codes_paths(r, TUNED, s, &tuned);
    if (st == SD_OK)
        st = run_full_path(r, relative, &path);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_diff_run(r->par,
                           &(sd_diff_spec){.site = r->site_names[s->site],
                                           .base_codes = (const char *const *)base.path,
                                           .tuned_codes = (const char *const *)tuned.path,
                                           .shards = r->shards,
                                           .tokens = r->tokens,
                                           .trained_on = run_model_label(s->model),
                                           .seed = r->job->seed,
                                           .flips = r->job->diff.flips},
                           &diff));
    if (r->par->rank == 0) {
        st = sd_file_make_parent(path);
        if (st == SD_OK)
            st = sd_diff_write(diff, path);
    }
    SD_TRY(st, sd_par_agree_or_stop(r->par, st));
    SD_TRY(st, sd_manifest_add(r->manifest, &relative, NULL, 1, key));
    r->made++;
out:
    sd_diff_destroy(&diff);
    run_paths_free(&base);
    run_paths_free(&tuned);
    sd_free(path);
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
    if (made > 0) {
        char took[32];

        sd_say("%-16s %llu comparisons in %s", "diff", (unsigned long long)made,
               sd_str_seconds(took, sizeof took, sd_now() - began));
    }
out:
    return st;
}

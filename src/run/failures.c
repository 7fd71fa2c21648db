/* SAEs that failed to train: failed.json has the reason, and is recorded under the SAE's key, so that it is not retried before the job changes or --fresh
 * is given. */
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

sd_status run_failure_write(const run *r, const run_sae *sae, const run_failure *failure)
{
    char relative[RUN_PATH], *path = NULL, *text = NULL;
    cJSON *root = cJSON_CreateObject();
    sd_status st;

    run_sae_path(relative, r, sae, RUN_FAILED);
    SD_TRY(st, run_full_path(r, relative, &path));
    if (cJSON_AddStringToObject(root, "site", r->site_names[sae->site]) == NULL ||
        cJSON_AddStringToObject(root, "sae", sae->name) == NULL ||
        cJSON_AddNumberToObject(root, "step", (double)failure->step) == NULL ||
        cJSON_AddStringToObject(root, "reason", failure->reason) == NULL || (text = cJSON_Print(root)) == NULL) {
        st = SD_FAIL(SD_E_ENV, "%s: out of memory while the failure was recorded", path);
        goto out;
    }
    SD_TRY(st, sd_file_make_parent(path));
    st = sd_file_write(path, text, strlen(text));
out:
    cJSON_free(text);
    cJSON_Delete(root);
    sd_free(path);
    return st;
}

static sd_status read_failure(const run *r, const run_sae *sae, run_failure *failure)
{
    char relative[RUN_PATH], *path = NULL;
    const char *reason;
    sd_json *json = NULL;
    sd_status st;

    run_sae_path(relative, r, sae, RUN_FAILED);
    SD_TRY(st, run_full_path(r, relative, &path));
    SD_TRY(st, sd_json_open(&json, path, 1 << 16));
    SD_TRY(st, sd_json_u64(json, json->root, "step", &failure->step));
    SD_TRY(st, sd_json_text(json, json->root, "reason", &reason));
    snprintf(failure->reason, sizeof failure->reason, "%s", reason);
    snprintf(failure->name, sizeof failure->name, "%.*s", (int)(strlen(relative) - strlen("/" RUN_FAILED)), relative);
out:
    sd_json_close(&json);
    sd_free(path);
    return st;
}

/* Whether this is an error SAE whose base SAE is not among the first `kept`. */
static bool is_orphan(const run *r, const run_sae *sae, uint64_t kept)
{
    for (uint64_t i = 0; i < kept; i++) {
        const run_sae *s = &r->saes[i];

        if (s->model == BASE && s->site == sae->site && s->latents == sae->latents && s->k == sae->k)
            return false;
    }
    return sae->on_error;
}

sd_status run_leave_out_failed(run *r)
{
    uint64_t kept = 0;
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&r->failures, r->n_saes)));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        char path[RUN_PATH];
        bool failed;

        run_sae_path(path, r, &r->saes[i], RUN_FAILED);
        SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &failed));
        if (!failed && !is_orphan(r, &r->saes[i], kept)) {
            r->saes[kept++] = r->saes[i];
            continue;
        }
        if (failed) {
            SD_TRY(st, sd_par_agree(r->par, read_failure(r, &r->saes[i], &r->failures[r->n_failures])));
        } else {
            run_failure *f = &r->failures[r->n_failures];

            snprintf(f->name, sizeof f->name, "%.*s", (int)(strlen(path) - strlen("/" RUN_FAILED)), path);
            snprintf(f->reason, sizeof f->reason, "the base SAE, on whose reconstruction error it would be trained, has failed");
        }
        sd_warn("%s is excluded: %s", r->failures[r->n_failures].name, r->failures[r->n_failures].reason);
        r->n_failures++;
    }
    r->n_saes = kept;
out:
    return st;
}

sd_status run_failures_result(const run *r)
{
    sd_str text = {0};
    sd_status st = SD_OK;

    if (r->n_failures == 0)
        return SD_OK;
    for (uint64_t i = 0; i < r->n_failures; i++)
        sd_str_add(&text, "%s%s: %s", i ? "; " : "", r->failures[i].name, r->failures[i].reason);
    SD_TRY(st, text.status);
    st = SD_FAIL(SD_E_DATA, "%llu of %llu SAEs failed; everything else is done. %s. They are retried when a key that affects them changes, "
                            "or with --fresh", (unsigned long long)r->n_failures, (unsigned long long)(r->n_failures + r->n_saes), text.text);
out:
    sd_str_free(&text);
    return st;
}

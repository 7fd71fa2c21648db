/* Results of training: the final file of each SAE and its export, or the record of its failure. */
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "train.h"

static const char *const final_files[] = {"sae.h5", "sae_weights.safetensors", "cfg.json"};
enum { FINAL_FILES = sizeof final_files / sizeof *final_files };

void train_sae_site(char out[RUN_PATH], const run *r, const run_sae *s)
{
    const run_sae *under = run_underlying(r, s);

    snprintf(out, RUN_PATH, "%s%s%s", r->site_names[s->site], under != NULL ? " minus " : "", under != NULL ? under->name : "");
}

sd_status train_find_final(trainer *t, uint64_t i)
{
    run *r = t->r;
    char path[RUN_PATH];
    bool failed = false;
    sd_status st;

    run_sae_path(path, r, &r->saes[i], final_files[0]);
    SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &t->finished[i]));
    if (!t->finished[i]) {
        run_sae_path(path, r, &r->saes[i], RUN_FAILED);
        SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &failed));
        t->finished[i] = failed;
    }
    t->exported[i] = t->finished[i];
    for (int f = 1; f < FINAL_FILES && t->exported[i] && !failed; f++) {
        run_sae_path(path, r, &r->saes[i], final_files[f]);
        SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &t->exported[i]));
    }
out:
    return st;
}

void train_leave_out(trainer *t, uint64_t i, uint64_t step, const char *reason)
{
    run_failure *f = &t->failed[i];

    f->step = step;
    snprintf(f->reason, sizeof f->reason, "%s", reason);
    sd_sae_destroy(&t->sae[i]);
}

sd_status train_settle_failed(trainer *t)
{
    run *r = t->r;
    uint64_t *failed = NULL;
    sd_status st, mine = SD_OK;

    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&failed, r->n_saes)));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        failed[i] = t->failed[i].reason[0] != '\0';
        if (failed[i] && mine == SD_OK)
            mine = run_failure_write(r, &r->saes[i], &t->failed[i]);
        t->failed[i].reason[0] = '\0';
    }
    SD_TRY(st, sd_par_agree(r->par, mine));
    SD_TRY(st, sd_par_max_u64(r->par, failed, r->n_saes));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        char path[RUN_PATH];
        const char *one[1] = {path};

        if (!failed[i])
            continue;
        for (int f = 0; f < FINAL_FILES; f++) {
            run_sae_path(path, r, &r->saes[i], final_files[f]);
            SD_TRY(st, sd_manifest_withdraw(r->manifest, path));
        }
        run_sae_path(path, r, &r->saes[i], RUN_FAILED);
        SD_TRY(st, sd_manifest_add(r->manifest, one, NULL, 1, r->saes[i].key));
        r->made++;
        t->finished[i] = t->exported[i] = true;
        SD_TRY(st, train_find_checkpoint(t, i, 0, true, NULL));
    }
out:
    sd_free(failed);
    return st;
}

/* Local. The SAELens files of one SAE. */
static sd_status export_final(const trainer *t, uint64_t i, sd_sae *sae)
{
    const run *r = t->r;
    const run_sae *s = &r->saes[i];
    const char *name = strrchr(r->model_dir[s->model], '/');
    char relative[RUN_PATH], site[RUN_PATH], *folder = NULL;
    sd_status st;

    train_sae_site(site, r, s);
    run_sae_path(relative, r, s, "");
    SD_TRY(st, run_full_path(r, relative, &folder));
    st = sd_sae_export_saelens(sae, folder, site, name ? name + 1 : r->model_dir[s->model], r->tokens->context);
out:
    sd_free(folder);
    return st;
}

/* Local. The final files of one SAE: trained now, or earlier if its export has been damaged. */
static sd_status save_final(trainer *t, uint64_t i)
{
    run *r = t->r;
    run_sae *s = &r->saes[i];
    char relative[RUN_PATH], site[RUN_PATH], *path = NULL;
    sd_sae *done = NULL;
    sd_status st;

    run_sae_path(relative, r, s, final_files[0]);
    SD_TRY(st, run_full_path(r, relative, &path));
    if (t->finished[i]) {
        SD_TRY(st, sd_sae_open(&done, r->dev, path, 1));
        SD_TRY(st, export_final(t, i, done));
    } else {
        SD_TRY(st, sd_file_make_parent(path));
        train_sae_site(site, r, s);
        SD_TRY(st, sd_sae_save(t->sae[i], path, site, r->model_sha256[s->model]));
        SD_TRY(st, export_final(t, i, t->sae[i]));
    }
out:
    sd_sae_destroy(&done);
    sd_free(path);
    return st;
}

sd_status train_finish(trainer *t)
{
    run *r = t->r;
    sd_status st, mine = SD_OK;

    for (uint64_t i = 0; i < r->n_saes && mine == SD_OK; i++)
        if (t->mine[i] && !t->exported[i])
            mine = save_final(t, i);
    SD_TRY(st, sd_par_agree(r->par, mine));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        char names[FINAL_FILES][RUN_PATH];
        const char *list[FINAL_FILES];

        if (t->exported[i])
            continue;
        for (int f = 0; f < FINAL_FILES; f++) {
            run_sae_path(names[f], r, &r->saes[i], final_files[f]);
            list[f] = names[f];
        }
        SD_TRY(st, sd_manifest_add(r->manifest, list, NULL, FINAL_FILES, r->saes[i].key));
        r->made++;
        run_sae_path(names[0], r, &r->saes[i], RUN_FAILED); /* left by another job */
        SD_TRY(st, sd_manifest_withdraw(r->manifest, names[0]));
        SD_TRY(st, train_find_checkpoint(t, i, 0, true, NULL));
    }
out:
    return st;
}

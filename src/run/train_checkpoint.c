/* Checkpoints of SAEs in training: recorded like any artefact, one per SAE, withdrawn when it is finished. */
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "train.h"

static const char checkpoint_word[] = "checkpoint-";

void train_checkpoint_path(char out[RUN_PATH], const run *r, const run_sae *s, uint64_t step)
{
    char file[64];

    snprintf(file, sizeof file, "%s%llu.h5", checkpoint_word, (unsigned long long)step);
    run_sae_path(out, r, s, file);
}

/* The step in the name of a checkpoint of this SAE; 0 if the path is not one. */
static uint64_t checkpoint_step(const run *r, const run_sae *s, const char *path)
{
    char prefix[RUN_PATH], digits[24];
    size_t length;
    uint64_t step = 0;

    run_sae_path(prefix, r, s, checkpoint_word);
    length = strlen(prefix);
    if (strncmp(path, prefix, length) != 0)
        return 0;
    snprintf(digits, sizeof digits, "%.*s", (int)strcspn(path + length, "."), path + length);
    return sd_str_to_u64(digits, &step) ? step : 0;
}

sd_status train_find_checkpoint(trainer *t, uint64_t i, uint64_t keep, bool clean, uint64_t *newest)
{
    run *r = t->r;
    run_sae *s = &r->saes[i];
    uint64_t best = 0;
    sd_status st = SD_OK;

    for (uint64_t at = 0; at < sd_manifest_count(r->manifest);) {
        const sd_record *record = sd_manifest_at(r->manifest, at);
        uint64_t step = checkpoint_step(r, s, record->path);
        char path[RUN_PATH];
        bool has;

        at++;
        if (step == 0)
            continue;
        snprintf(path, sizeof path, "%s", record->path);
        if (clean && step != keep) {
            SD_TRY(st, sd_manifest_withdraw(r->manifest, path));
            at--;
            continue;
        }
        SD_TRY(st, sd_manifest_has(r->manifest, path, s->key, &has));
        if (has && step > best)
            best = step;
    }
    if (newest != NULL)
        *newest = best;
out:
    return st;
}

sd_status train_sweep_checkpoints(trainer *t, uint64_t i)
{
    run *r = t->r;
    char prefix[RUN_PATH];
    sd_status st = SD_OK;

    if (t->finished[i])
        SD_TRY(st, train_find_checkpoint(t, i, 0, true, NULL));
    run_sae_path(prefix, r, &r->saes[i], checkpoint_word);
    st = sd_manifest_sweep(r->manifest, prefix);
out:
    return st;
}

/* Whether this process trained the SAE to `step`. An SAE that was loaded at a later step waits for the others, and keeps its checkpoint. */
static bool trained_to(const trainer *t, uint64_t i, uint64_t step)
{
    return !t->finished[i] && t->from[i] < step;
}

sd_status train_save_checkpoint(trainer *t, uint64_t step)
{
    run *r = t->r;
    char (*names)[RUN_PATH] = NULL;
    sd_status st, mine = SD_OK;

    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&names, r->n_saes)));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        run_sae *s = &r->saes[i];
        char site[RUN_PATH], *path = NULL;

        train_checkpoint_path(names[i], r, s, step);
        if (t->sae[i] == NULL || !trained_to(t, i, step) || mine != SD_OK)
            continue;
        mine = run_full_path(r, names[i], &path);
        if (mine == SD_OK)
            mine = sd_file_make_parent(path);
        train_sae_site(site, r, s);
        if (mine == SD_OK)
            mine = sd_sae_save(t->sae[i], path, site, r->model_sha256[s->model]);
        sd_free(path);
    }
    SD_TRY(st, sd_par_agree(r->par, mine));
    /* One record per key: the SAEs of a job have different keys. */
    for (uint64_t i = 0; i < r->n_saes; i++)
        if (trained_to(t, i, step)) {
            const char *one[1] = {names[i]};

            SD_TRY(st, sd_manifest_add(r->manifest, one, NULL, 1, r->saes[i].key));
        }
    for (uint64_t i = 0; i < r->n_saes; i++)
        if (trained_to(t, i, step))
            SD_TRY(st, train_find_checkpoint(t, i, step, true, NULL));
    t->saved = sd_now();
out:
    sd_free(names);
    return st;
}

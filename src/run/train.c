/* Training: whole SAEs are dealt to ranks; SAEs of one site on one rank share each batch. All ranks go through the same steps and vote
 * every so often, so that a failure or a signal stops them together; how often they vote or save does not touch the numbers. */
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/flow/source.h"
#include "saediff/store/file.h"

typedef struct trainer {
    run *r;
    uint64_t steps, d_model;
    sd_order *order;
    bool *finished;     /* [n_saes]: its final file is there */
    bool *exported;     /* [n_saes]: and so is its export */
    uint64_t *from;     /* [n_saes]: step of the newest checkpoint of each, 0 for none */
    sd_span mine;       /* this rank's SAEs */
    sd_sae **sae;       /* [n_saes]; NULL where finished or another rank's */
    sd_source **source; /* [n_sites * RUN_MODELS]; NULL where no SAE of mine reads it */
    sd_progress progress;
    double saved; /* when the last checkpoint was written */
} trainer;

static const char checkpoint_word[] = "checkpoint-";
static const char *const final_files[] = {"sae.h5", "sae_weights.safetensors", "cfg.json"};
enum { FINAL_FILES = sizeof final_files / sizeof *final_files };

/* SAEs of one site and model share each batch. */
static uint64_t source_of(const run_sae *s)
{
    return s->site * RUN_MODELS + (uint64_t)s->model;
}

/* ---- checkpoints */

static void checkpoint_path(char out[RUN_PATH], const run *r, const run_sae *s, uint64_t step)
{
    char file[64];

    snprintf(file, sizeof file, "%s%llu.h5", checkpoint_word, (unsigned long long)step);
    run_sae_path(out, r, s, file);
}

/* The step in the name of a recorded checkpoint of this SAE; 0 if it is none. */
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

/* Collective. The newest sound checkpoint of an SAE; what is older, damaged or of another job is withdrawn if `clean`. */
static sd_status find_checkpoint(trainer *t, uint64_t i, uint64_t keep, bool clean, uint64_t *newest)
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

typedef struct sweep {
    const run *r;
    const run_sae *s;
} sweep;

/* A checkpoint that was written and never recorded, or withdrawn and never deleted: left by a kill. */
static sd_status sweep_name(void *self, const char *name)
{
    const sweep *w = self;
    char relative[RUN_PATH], *path = NULL;
    sd_status st;

    run_sae_path(relative, w->r, w->s, name);
    if (checkpoint_step(w->r, w->s, relative) == 0 || sd_manifest_find(w->r->manifest, relative) != NULL)
        return SD_OK;
    SD_TRY(st, run_full_path(w->r, relative, &path));
    st = sd_file_remove(path);
out:
    sd_free(path);
    return st;
}

/* Collective. What kills left of the checkpoints of an SAE; all of them if it is finished. */
static sd_status sweep_checkpoints(trainer *t, uint64_t i)
{
    run *r = t->r;
    sweep w = {r, &r->saes[i]};
    char relative[RUN_PATH], *folder = NULL;
    sd_status st = SD_OK;

    if (t->finished[i])
        SD_TRY(st, find_checkpoint(t, i, 0, true, NULL));
    run_sae_path(relative, r, &r->saes[i], "");
    if (r->par->rank == 0) {
        st = run_full_path(r, relative, &folder);
        if (st == SD_OK)
            st = sd_file_each(folder, sweep_name, &w);
    }
    st = sd_par_agree(r->par, st);
out:
    sd_free(folder);
    return st;
}

/* Whether an SAE in training was trained to `step` by this process. One that was loaded at a later step waits for the others, and its own
 * checkpoint stands. */
static bool trained_to(const trainer *t, uint64_t i, uint64_t step)
{
    return !t->finished[i] && t->from[i] < step;
}

/* Collective. The state at `step` of every SAE that stands there, recorded together; then older ones go. */
static sd_status save_checkpoint(trainer *t, uint64_t step)
{
    run *r = t->r;
    char (*names)[RUN_PATH] = NULL;
    sd_status st, mine = SD_OK;

    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&names, r->n_saes)));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        run_sae *s = &r->saes[i];
        char *path = NULL;

        checkpoint_path(names[i], r, s, step);
        if (t->sae[i] == NULL || !trained_to(t, i, step) || mine != SD_OK)
            continue;
        mine = run_full_path(r, names[i], &path);
        if (mine == SD_OK)
            mine = sd_file_make_parent(path);
        if (mine == SD_OK)
            mine = sd_sae_save(t->sae[i], path, r->site_names[s->site], r->model_sha256[s->model]);
        sd_free(path);
    }
    SD_TRY(st, sd_par_agree(r->par, mine));
    /* One record a key: the SAEs of a job have different keys. */
    for (uint64_t i = 0; i < r->n_saes; i++)
        if (trained_to(t, i, step)) {
            const char *one[1] = {names[i]};

            SD_TRY(st, sd_manifest_add(r->manifest, one, NULL, 1, r->saes[i].key));
        }
    for (uint64_t i = 0; i < r->n_saes; i++)
        if (trained_to(t, i, step))
            SD_TRY(st, find_checkpoint(t, i, step, true, NULL));
    t->saved = sd_now();
out:
    sd_free(names);
    return st;
}

/* ---- before the first step */

static sd_status find_work(trainer *t, bool *trained, bool *exported)
{
    run *r = t->r;
    char path[RUN_PATH];
    sd_status st = SD_OK;

    *trained = *exported = true;
    for (uint64_t i = 0; i < r->n_saes; i++) {
        run_sae_path(path, r, &r->saes[i], final_files[0]);
        SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &t->finished[i]));
        t->exported[i] = t->finished[i];
        for (int f = 1; f < FINAL_FILES && t->exported[i]; f++) {
            run_sae_path(path, r, &r->saes[i], final_files[f]);
            SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &t->exported[i]));
        }
        SD_TRY(st, sweep_checkpoints(t, i));
        *exported = *exported && t->exported[i];
        if (t->finished[i])
            continue;
        *trained = false;
        SD_TRY(st, find_checkpoint(t, i, 0, false, &t->from[i]));
        for (uint64_t s = 0; s < r->shards; s++) {
            char key[SD_SHA256_HEX];

            run_acts_path(path, r->saes[i].model, r->site_names[r->saes[i].site], s);
            run_acts_key(r, r->saes[i].model, r->site_names[r->saes[i].site], key);
            SD_TRY(st, run_need(r, path, key, SD_STAGE_EXTRACT));
        }
    }
out:
    return st;
}

/* This rank's sources and SAEs. Local. */
static sd_status open_mine(trainer *t)
{
    run *r = t->r;
    const sd_job *job = r->job;
    sd_status st = SD_OK;

    for (uint64_t i = t->mine.first; i < t->mine.first + t->mine.count; i++) {
        run_sae *s = &r->saes[i];
        sd_sae_spec spec;
        run_paths paths = {0};

        if (t->finished[i])
            continue;
        if (t->source[source_of(s)] == NULL) {
            st = run_acts_paths(r, s->model, r->site_names[s->site], &paths);
            if (st == SD_OK)
                st = sd_source_open_shards(&t->source[source_of(s)], r->dev, t->order, r->tokens->tokens,
                                           (const char *const *)paths.path, paths.count);
            run_paths_free(&paths);
            SD_TRY(st, st);
        }
        run_sae_spec(r, s, t->d_model, t->steps, &spec);
        SD_TRY(st, sd_sae_create(&t->sae[i], r->dev, &spec));
        if (t->from[i] > 0) {
            char relative[RUN_PATH], *path = NULL;

            checkpoint_path(relative, r, s, t->from[i]);
            st = run_full_path(r, relative, &path);
            if (st == SD_OK)
                st = sd_sae_load(t->sae[i], path);
            sd_free(path);
        } else {
            /* The first window: whole batches, no more than an epoch has. */
            uint64_t most = sd_order_steps_per_epoch(t->order) * job->train.batch, rows = job->train.init_rows;
            sd_mat head;

            if (most > sd_order_window(t->order))
                most = sd_order_window(t->order);
            if (rows > most)
                rows = most;
            st = sd_source_head(t->source[source_of(s)], rows, &head);
            if (st == SD_OK)
                st = sd_sae_start(t->sae[i], head);
        }
        SD_TRY(st, st);
    }
out:
    return st;
}

/* ---- the loop */

/* Local. Step `step` of every SAE of mine that stands there. */
static sd_status train_step(trainer *t, uint64_t step)
{
    run *r = t->r;
    sd_status st = SD_OK;

    for (uint64_t source = 0; source < r->n_sites * RUN_MODELS; source++) {
        bool fetched = false;
        sd_mat x = {0};

        for (uint64_t i = t->mine.first; i < t->mine.first + t->mine.count; i++) {
            if (t->sae[i] == NULL || source_of(&r->saes[i]) != source || sd_sae_step_count(t->sae[i]) != step)
                continue;
            if (!fetched)
                SD_TRY(st, sd_source_batch(t->source[source], step, &x));
            fetched = true;
            SD_TRY(st, sd_sae_step(t->sae[i], x));
        }
    }
out:
    return st;
}

/* Local. Divergence of any SAE of mine that was trained in this process, by name. `last` and `which` are of the last of them. */
static sd_status look(trainer *t, sd_sae_report *last, uint64_t *which)
{
    run *r = t->r;
    sd_status st = SD_OK;

    for (uint64_t i = t->mine.first; i < t->mine.first + t->mine.count; i++) {
        char name[RUN_PATH];

        if (t->sae[i] == NULL || sd_sae_step_count(t->sae[i]) <= t->from[i])
            continue;
        run_sae_path(name, r, &r->saes[i], "");
        *which = i;
        st = sd_sae_look(t->sae[i], last);
        if (st != SD_OK)
            return sd_fail_in(st, name);
    }
    return st;
}

/* Collective. How many steps until the next vote (about a second), and whether to save now: rank 0's clock decides. */
static sd_status decide(trainer *t, uint64_t step, double seconds, uint64_t taken, uint64_t *interval, bool *save)
{
    const sd_job *job = t->r->job;
    uint64_t word[2] = {1, 0};
    sd_status st;

    if (t->r->par->rank == 0) {
        double per_step = taken ? seconds / (double)taken : 1;
        double steps = per_step > 0 ? 1 / per_step : 1e6;

        word[0] = steps < 1 ? 1 : steps > 1000 ? 1000 : (uint64_t)steps;
        word[1] = job->train.checkpoint_minutes > 0 && sd_now() - t->saved >= 60 * job->train.checkpoint_minutes;
        if (job->train.checkpoint_steps) {
            uint64_t each = job->train.checkpoint_steps, to_next = each - step % each;

            word[0] = word[0] < to_next ? word[0] : to_next;
            word[1] = word[1] || step % each == 0;
        }
    }
    SD_TRY(st, sd_par_bcast(t->r->par, word, sizeof word, 0));
    *interval = word[0];
    *save = word[1] != 0;
out:
    return st;
}

static sd_status train_all(trainer *t)
{
    run *r = t->r;
    uint64_t step = t->steps, interval = 1, next, since = 0, which = 0;
    sd_sae_report report = {0};
    double mark = sd_now();
    bool save;
    sd_status st = SD_OK, mine = SD_OK;

    for (uint64_t i = 0; i < r->n_saes; i++)
        if (!t->finished[i] && t->from[i] < step)
            step = t->from[i];
    sd_progress_begin(&t->progress, "train", "tokens", step * r->job->train.batch, t->steps * r->job->train.batch);
    next = step + 1;
    while (step < t->steps) {
        if (mine == SD_OK)
            mine = train_step(t, step);
        step++;
        since++;
        if (step < next && step < t->steps)
            continue;
        if (mine == SD_OK)
            mine = look(t, &report, &which);
        st = sd_par_agree_or_stop(r->par, mine);
        if (st == SD_E_STOPPED) {
            SD_TRY(st, save_checkpoint(t, step));
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal at step %llu of %llu, saved: run the same command again",
                           (unsigned long long)step, (unsigned long long)t->steps);
        }
        SD_TRY(st, st);
        sd_progress_set(&t->progress, step * r->job->train.batch);
        SD_TRY(st, decide(t, step, sd_now() - mark, since, &interval, &save));
        if (save && step < t->steps)
            SD_TRY(st, save_checkpoint(t, step));
        mark = sd_now();
        since = 0;
        next = step + interval;
    }
    {
        char note[96] = "";

        if (report.step > 0)
            snprintf(note, sizeof note, "%llu steps; last batch FVU %.4f, %llu of %llu latents dead",
                     (unsigned long long)t->steps, report.fvu, (unsigned long long)report.dead,
                     (unsigned long long)r->saes[which].latents);
        sd_progress_end(&t->progress, note[0] ? note : NULL);
    }
out:
    return st;
}

/* Local. The SAELens files of one SAE. */
static sd_status export_final(const trainer *t, uint64_t i, sd_sae *sae)
{
    const run *r = t->r;
    const run_sae *s = &r->saes[i];
    const char *name = strrchr(r->model_dir[s->model], '/');
    char relative[RUN_PATH], *folder = NULL;
    sd_status st;

    run_sae_path(relative, r, s, "");
    SD_TRY(st, run_full_path(r, relative, &folder));
    st = sd_sae_export_saelens(sae, folder, r->site_names[s->site], name ? name + 1 : r->model_dir[s->model], r->tokens->context);
out:
    sd_free(folder);
    return st;
}

/* Local. The final files of one SAE: trained now, or trained before with its export damaged since. */
static sd_status save_final(trainer *t, uint64_t i)
{
    run *r = t->r;
    run_sae *s = &r->saes[i];
    char relative[RUN_PATH], *path = NULL;
    sd_sae *done = NULL;
    sd_status st;

    run_sae_path(relative, r, s, final_files[0]);
    SD_TRY(st, run_full_path(r, relative, &path));
    if (t->finished[i]) {
        SD_TRY(st, sd_sae_open(&done, r->dev, path, 1));
        SD_TRY(st, export_final(t, i, done));
    } else {
        SD_TRY(st, sd_file_make_parent(path));
        SD_TRY(st, sd_sae_save(t->sae[i], path, r->site_names[s->site], r->model_sha256[s->model]));
        SD_TRY(st, export_final(t, i, t->sae[i]));
    }
out:
    sd_sae_destroy(&done);
    sd_free(path);
    return st;
}

static sd_status finish(trainer *t)
{
    run *r = t->r;
    sd_status st, mine = SD_OK;

    for (uint64_t i = t->mine.first; i < t->mine.first + t->mine.count && mine == SD_OK; i++)
        if (!t->exported[i])
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
        SD_TRY(st, find_checkpoint(t, i, 0, true, NULL));
    }
out:
    return st;
}

sd_status run_train(run *r)
{
    trainer t = {.r = r, .d_model = r->config[BASE].d_model, .saved = sd_now()};
    const sd_job *job = r->job;
    bool trained, exported;
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    st = SD_NEW(&t.finished, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.exported, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.from, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.sae, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.source, r->n_sites * RUN_MODELS);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, find_work(&t, &trained, &exported));
    t.mine = sd_par_split(r->n_saes, r->par->rank, r->par->size);
    if (!trained) {
        st = sd_order_create(&t.order, r->tokens, job->seed, job->train.batch, job->train.window);
        if (st == SD_OK) {
            t.steps = run_train_steps(r, sd_order_steps_per_epoch(t.order));
            st = open_mine(&t);
        }
        SD_TRY(st, sd_par_agree(r->par, st));
        SD_TRY(st, train_all(&t));
    }
    if (!exported)
        st = finish(&t);
out:
    for (uint64_t i = 0; t.sae != NULL && i < r->n_saes; i++)
        sd_sae_destroy(&t.sae[i]);
    for (uint64_t i = 0; t.source != NULL && i < r->n_sites * RUN_MODELS; i++)
        sd_source_close(&t.source[i]);
    sd_order_destroy(&t.order);
    sd_free(t.finished);
    sd_free(t.exported);
    sd_free(t.from);
    sd_free(t.sae);
    sd_free(t.source);
    return st;
}

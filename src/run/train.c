/* Training: whole SAEs are dealt to ranks; SAEs of one site on one rank share each batch. All ranks go through the same steps and vote
 * every so often, so that a failure or a signal stops them together; how often they vote or save does not touch the numbers. */
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "train.h"


static const char *const final_files[] = {"sae.h5", "sae_weights.safetensors", "cfg.json"};
enum {
    FINAL_FILES = sizeof final_files / sizeof *final_files,
    LOOK = 64 /* steps from one look for divergence to the next, at least */
};

/* SAEs of one site and model share each batch. */
static uint64_t source_of(const run_sae *s)
{
    return s->site * RUN_MODELS + (uint64_t)s->model;
}

/* ---- before the first step */

static sd_status find_work(trainer *t, bool *trained, bool *exported)
{
    run *r = t->r;
    char path[RUN_PATH];
    sd_status st = SD_OK;

    *trained = *exported = true;
    for (uint64_t i = 0; i < r->n_saes; i++) {
        bool failed = false;

        run_sae_path(path, r, &r->saes[i], final_files[0]);
        SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &t->finished[i]));
        if (!t->finished[i]) {
            run_sae_path(path, r, &r->saes[i], RUN_FAILED);
            SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &failed));
        }
        if (failed) {
            t->finished[i] = t->exported[i] = true;
            SD_TRY(st, train_sweep_checkpoints(t, i));
            continue;
        }
        t->exported[i] = t->finished[i];
        for (int f = 1; f < FINAL_FILES && t->exported[i]; f++) {
            run_sae_path(path, r, &r->saes[i], final_files[f]);
            SD_TRY(st, sd_manifest_has(r->manifest, path, r->saes[i].key, &t->exported[i]));
        }
        SD_TRY(st, train_sweep_checkpoints(t, i));
        *exported = *exported && t->exported[i];
        if (t->finished[i])
            continue;
        *trained = false;
        SD_TRY(st, train_find_checkpoint(t, i, 0, false, &t->from[i]));
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

/* ---- SAEs that fail by their own data */

/* Local. An SAE of mine fails: it leaves the training now, and settle_failed() tells the others. */
static void leave_out(trainer *t, uint64_t i, uint64_t step, const char *reason)
{
    run_failure *f = &t->failed[i];

    f->step = step;
    snprintf(f->reason, sizeof f->reason, "%s", reason);
    sd_sae_destroy(&t->sae[i]);
}

/* Collective. Records what failed since the last time; from here on it counts as finished. */
static sd_status settle_failed(trainer *t)
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

static bool all_finished(const trainer *t)
{
    for (uint64_t i = 0; i < t->r->n_saes; i++)
        if (!t->finished[i])
            return false;
    return true;
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

            train_checkpoint_path(relative, r, s, t->from[i]);
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
            if (st == SD_OK) {
                st = sd_sae_start(t->sae[i], head);
                if (st == SD_E_DATA) {
                    leave_out(t, i, 0, sd_last_error());
                    st = SD_OK;
                }
            }
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

/* Local. SAEs of mine that were trained in this process and have diverged leave. They stay diverged, so that whoever looks later sees it
 * too: the step that is told, the next multiple of LOOK, does not depend on when one looks. `last` and `which` are of the last sound one. */
static sd_status look(trainer *t, sd_sae_report *last, uint64_t *which)
{
    run *r = t->r;

    for (uint64_t i = t->mine.first; i < t->mine.first + t->mine.count; i++) {
        uint64_t step = t->sae[i] == NULL ? 0 : sd_sae_step_count(t->sae[i]), told = (step + LOOK - 1) / LOOK * LOOK;
        char reason[RUN_REASON];
        sd_status st;

        if (t->sae[i] == NULL || step <= t->from[i])
            continue;
        st = sd_sae_look(t->sae[i], last);
        if (st == SD_OK)
            *which = i;
        else if (st != SD_E_DATA)
            return st;
        else {
            told = told < t->steps ? told : t->steps;
            snprintf(reason, sizeof reason, "diverged: by step %llu of %llu its loss, gradient or weights were no finite numbers; lower "
                                            "train.lr, or look for outliers in the activations of %s",
                     (unsigned long long)told, (unsigned long long)t->steps, r->site_names[r->saes[i].site]);
            leave_out(t, i, told, reason);
        }
    }
    return SD_OK;
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
    while (step < t->steps && !all_finished(t)) {
        if (mine == SD_OK)
            mine = train_step(t, step);
        step++;
        since++;
        if (mine == SD_OK && step % LOOK == 0)
            mine = look(t, &report, &which);
        if (step < next && step < t->steps)
            continue;
        if (mine == SD_OK)
            mine = look(t, &report, &which);
        SD_TRY(st, sd_par_agree(r->par, mine));
        SD_TRY(st, settle_failed(t));
        st = sd_par_agree_or_stop(r->par, SD_OK);
        if (st == SD_E_STOPPED) {
            SD_TRY(st, train_save_checkpoint(t, step));
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal at step %llu of %llu, saved: run the same command again",
                           (unsigned long long)step, (unsigned long long)t->steps);
        }
        SD_TRY(st, st);
        sd_progress_set(&t->progress, step * r->job->train.batch);
        SD_TRY(st, decide(t, step, sd_now() - mark, since, &interval, &save));
        if (save && step < t->steps)
            SD_TRY(st, train_save_checkpoint(t, step));
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
        run_sae_path(names[0], r, &r->saes[i], RUN_FAILED); /* of another job */
        SD_TRY(st, sd_manifest_withdraw(r->manifest, names[0]));
        SD_TRY(st, train_find_checkpoint(t, i, 0, true, NULL));
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
    SD_TRY(st, run_need_tuned(r));
    st = SD_NEW(&t.finished, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.exported, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.from, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.sae, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.failed, r->n_saes);
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
        SD_TRY(st, settle_failed(&t));
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
    sd_free(t.failed);
    sd_free(t.source);
    return st;
}

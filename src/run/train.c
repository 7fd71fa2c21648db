/* The stage `train`: whole SAEs are distributed over the ranks; SAEs of one site on one rank share each batch. All ranks run the same steps and vote
 * about once a second, so that a failure or a signal stops them together; the timing of votes and checkpoints does not affect results. */
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "train.h"

enum { CHECK_EVERY = 64 /* minimum steps between checks for divergence */ };

/* Index of the SAE's source: SAEs of one site and model share one; error SAEs have their own. */
static uint64_t source_of(const trainer *t, uint64_t i)
{
    const run_sae *s = &t->r->saes[i];

    return t->on_error ? i : s->site * RUN_MODELS + (uint64_t)s->model;
}

/* Each rank gets a contiguous range of the round's SAEs, so that those of a site stay together. */
static void deal(trainer *t)
{
    const run *r = t->r;
    uint64_t count = 0, at = 0;
    sd_span mine;

    for (uint64_t i = 0; i < r->n_saes; i++)
        count += r->saes[i].on_error == t->on_error;
    mine = sd_par_split(count, r->par->rank, r->par->size);
    for (uint64_t i = 0; i < r->n_saes; i++)
        if (r->saes[i].on_error == t->on_error) {
            t->mine[i] = at >= mine.first && at < mine.first + mine.count;
            at++;
        }
}

/* Collective. An error SAE needs the file of its base SAE; if that failed, it fails too. */
static sd_status need_underlying(trainer *t, uint64_t i)
{
    run *r = t->r;
    const run_sae *under = run_underlying(r, &r->saes[i]);
    char path[RUN_PATH], reason[RUN_REASON];
    bool failed;
    sd_status st;

    run_sae_path(path, r, under, RUN_FAILED);
    SD_TRY(st, sd_manifest_has(r->manifest, path, under->key, &failed));
    if (failed && t->mine[i]) {
        snprintf(reason, sizeof reason, "%s, on whose reconstruction error it would be trained, has failed", under->name);
        train_leave_out(t, i, 0, reason);
    }
    if (!failed) {
        run_sae_path(path, r, under, "sae.h5");
        st = run_need(r, path, under->key, SD_STAGE_TRAIN);
    }
out:
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
        if (r->saes[i].on_error != t->on_error) {
            t->finished[i] = t->exported[i] = true;
            continue;
        }
        SD_TRY(st, train_find_final(t, i));
        SD_TRY(st, train_sweep_checkpoints(t, i));
        *exported = *exported && t->exported[i];
        if (t->finished[i])
            continue;
        *trained = false;
        if (t->on_error)
            SD_TRY(st, need_underlying(t, i));
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

static bool all_finished(const trainer *t)
{
    for (uint64_t i = 0; i < t->r->n_saes; i++)
        if (!t->finished[i])
            return false;
    return true;
}

/* Local. */
static sd_status open_source(trainer *t, uint64_t i)
{
    run *r = t->r;
    const run_sae *s = &r->saes[i];
    sd_source **source = &t->source[source_of(t, i)];
    run_paths paths = {0};
    sd_status st;

    SD_TRY(st, run_acts_paths(r, s->model, r->site_names[s->site], &paths));
    SD_TRY(st, sd_source_open_shards(source, r->dev, t->order, r->tokens->tokens, (const char *const *)paths.path, paths.count));
    if (t->on_error) {
        SD_TRY(st, run_error_sae_open(r, run_underlying(r, s), r->job->train.batch, &t->error[i]));
        sd_source_transform(*source, (sd_transform){run_error_sae_apply, &t->error[i]});
    }
out:
    run_paths_free(&paths);
    return st;
}

/* Local. Opens this rank's sources and SAEs. */
static sd_status open_mine(trainer *t)
{
    run *r = t->r;
    const sd_job *job = r->job;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < r->n_saes; i++) {
        run_sae *s = &r->saes[i];
        sd_source *source;
        sd_sae_spec spec;

        if (!t->mine[i] || t->finished[i] || t->failed[i].reason[0] != '\0')
            continue;
        if (t->source[source_of(t, i)] == NULL)
            SD_TRY(st, open_source(t, i));
        source = t->source[source_of(t, i)];
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
            /* The first shuffle buffer: whole batches, at most one epoch. */
            uint64_t most = sd_order_steps_per_epoch(t->order) * job->train.batch, rows = job->train.init_rows;
            sd_mat head;

            if (most > sd_order_window(t->order))
                most = sd_order_window(t->order);
            if (rows > most)
                rows = most;
            st = sd_source_head(source, rows, &head);
            if (st == SD_OK) {
                st = sd_sae_start(t->sae[i], head);
                if (st == SD_E_DATA) {
                    train_leave_out(t, i, 0, sd_last_error());
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

/* Local. Step `step` of every SAE of this rank that is at it. */
static sd_status train_step(trainer *t, uint64_t step)
{
    sd_status st = SD_OK;

    for (uint64_t source = 0; source < t->n_sources; source++) {
        bool fetched = false;
        sd_mat x = {0};

        for (uint64_t i = 0; i < t->r->n_saes; i++) {
            if (t->sae[i] == NULL || source_of(t, i) != source || sd_sae_step_count(t->sae[i]) != step)
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

/* Local. Removes SAEs of this rank that diverged. Divergence persists, so a later check finds it too: the reported step, the next multiple of
 * CHECK_EVERY, does not depend on when the check is made. `last` and `which` are those of the last finite SAE. */
static sd_status check_divergence(trainer *t, sd_sae_report *last, uint64_t *which)
{
    run *r = t->r;

    for (uint64_t i = 0; i < r->n_saes; i++) {
        uint64_t step = t->sae[i] == NULL ? 0 : sd_sae_step_count(t->sae[i]), reported = (step + CHECK_EVERY - 1) / CHECK_EVERY * CHECK_EVERY;
        char reason[RUN_REASON];
        sd_status st;

        if (t->sae[i] == NULL || step <= t->from[i])
            continue;
        st = sd_sae_stats(t->sae[i], last);
        if (st == SD_OK)
            *which = i;
        else if (st != SD_E_DATA)
            return st;
        else {
            reported = reported < t->steps ? reported : t->steps;
            snprintf(reason, sizeof reason, "diverged: by step %llu of %llu its loss, gradient or weights were not finite; lower "
                                            "train.lr, or check the activations of %s for outliers",
                     (unsigned long long)reported, (unsigned long long)t->steps, r->site_names[r->saes[i].site]);
            train_leave_out(t, i, reported, reason);
        }
    }
    return SD_OK;
}

/* Collective. Number of steps until the next vote (about a second), and whether to save now, by rank 0's clock. */
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
    sd_progress_begin(&t->progress, t->on_error ? "train error SAEs" : "train", "tokens", step * r->job->train.batch, t->steps * r->job->train.batch);
    next = step + 1;
    while (step < t->steps && !all_finished(t)) {
        if (mine == SD_OK)
            mine = train_step(t, step);
        step++;
        since++;
        if (mine == SD_OK && step % CHECK_EVERY == 0)
            mine = check_divergence(t, &report, &which);
        if (step < next && step < t->steps)
            continue;
        if (mine == SD_OK)
            mine = check_divergence(t, &report, &which);
        SD_TRY(st, sd_par_agree(r->par, mine));
        SD_TRY(st, train_settle_failed(t));
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

static sd_status train_round(run *r, bool on_error)
{
    trainer t = {.r = r,
                 .on_error = on_error,
                 .d_model = r->config[BASE].d_model,
                 .n_sources = on_error ? r->n_saes : r->n_sites * RUN_MODELS,
                 .saved = sd_now()};
    const sd_job *job = r->job;
    bool trained, exported;
    sd_status st;

    st = SD_NEW(&t.finished, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.mine, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.exported, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.from, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.sae, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.failed, r->n_saes);
    if (st == SD_OK)
        st = SD_NEW(&t.source, t.n_sources);
    if (st == SD_OK)
        st = SD_NEW(&t.error, r->n_saes);
    SD_TRY(st, sd_par_agree(r->par, st));
    deal(&t);
    SD_TRY(st, find_work(&t, &trained, &exported));
    if (!trained) {
        st = sd_order_create(&t.order, r->tokens, job->seed, job->train.batch, job->train.window);
        if (st == SD_OK) {
            t.steps = run_train_steps(r, sd_order_steps_per_epoch(t.order));
            st = open_mine(&t);
        }
        SD_TRY(st, sd_par_agree(r->par, st));
        SD_TRY(st, train_settle_failed(&t));
        SD_TRY(st, train_all(&t));
    }
    if (!exported)
        st = train_finish(&t);
out:
    for (uint64_t i = 0; t.sae != NULL && i < r->n_saes; i++)
        sd_sae_destroy(&t.sae[i]);
    for (uint64_t i = 0; t.source != NULL && i < t.n_sources; i++)
        sd_source_close(&t.source[i]);
    for (uint64_t i = 0; t.error != NULL && i < r->n_saes; i++)
        run_error_sae_close(&t.error[i]);
    sd_order_destroy(&t.order);
    sd_free(t.finished);
    sd_free(t.mine);
    sd_free(t.exported);
    sd_free(t.from);
    sd_free(t.sae);
    sd_free(t.failed);
    sd_free(t.source);
    sd_free(t.error);
    return st;
}

sd_status run_train(run *r)
{
    bool second_round = false;
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    SD_TRY(st, run_need_tuned(r));
    SD_TRY(st, train_round(r, false));
    for (uint64_t i = 0; i < r->n_saes; i++)
        second_round = second_round || r->saes[i].on_error;
    if (second_round)
        st = train_round(r, true);
out:
    return st;
}

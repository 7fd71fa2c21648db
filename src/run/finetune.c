/* The stage `finetune`: trains model/, a Hugging Face folder that later stages use as the tuned model. It is a function of the base model, the training data
 * and the keys of the section, so their digest identifies the tuned model before it exists. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "finetune.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

typedef unsigned long long ull;

static const char checkpoint_prefix[] = "finetune/checkpoint-", best_prefix[] = "finetune/best-";

/* ---- before the first step */

static sd_fall fall_of(const char *word)
{
    return strcmp(word, "cosine") == 0 ? SD_FALL_COSINE : strcmp(word, "linear") == 0 ? SD_FALL_LINEAR : SD_FALL_CONSTANT;
}

sd_tune_spec finetune_spec(const sd_job *job)
{
    uint64_t rank = job->finetune.lora_rank;

    return (sd_tune_spec){.seed = job->seed,
                          .batch = job->finetune.batch,
                          .micro = job->finetune.micro_batch,
                          .epochs = job->finetune.epochs,
                          .steps = job->finetune.steps,
                          .fall = fall_of(job->finetune.schedule),
                          .lr = job->finetune.lr,
                          .final = job->finetune.final,
                          .warmup = job->finetune.warmup,
                          .adam = {job->finetune.beta1, job->finetune.beta2, job->finetune.eps, job->finetune.decay,
                                   job->finetune.clip > 0 ? job->finetune.clip : INFINITY},
                          .held_out = job->finetune.held_out,
                          .freeze = (const char *const *)job->finetune.freeze.item,
                          .n_freeze = job->finetune.freeze.count,
                          .rank = rank,
                          .alpha = job->finetune.lora_alpha > 0 ? job->finetune.lora_alpha : 2 * (double)rank,
                          .targets = (const char *const *)job->finetune.lora_targets.item,
                          .n_targets = job->finetune.lora_targets.count,
                          .recompute = job->finetune.recompute};
}

/* Collective. Checks the keys against the model; says which parameters are trainable unless all are. */
static sd_status announce(const run *r)
{
    const sd_tune_spec spec = finetune_spec(r->job);
    const sd_model_config *c = &r->config[BASE];
    sd_tune_size size = {0};
    char trainable[32], all[32];
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, sd_tune_measure(c, &spec, &size)));
    sd_str_count(trainable, sizeof trainable, (double)size.trainable);
    sd_str_count(all, sizeof all, (double)sd_model_parameters(c));
    if (spec.rank > 0)
        sd_say("finetune: LoRA adapters of rank %llu on %llu matrices, %s trainable parameters; the model's %s are frozen", (ull)spec.rank,
               (ull)size.targets, trainable, all);
    else if (size.trainable < sd_model_parameters(c))
        sd_say("finetune: %s of the model's %s parameters are trainable", trainable, all);
out:
    sd_free(size.how);
    return st;
}

static sd_status open_tuner(tuning *t)
{
    const sd_tune_spec spec = finetune_spec(t->r->job);
    sd_status st;

    SD_TRY(st, sd_tuner_create(&t->tuner, t->r->par, t->r->dev, t->r->model_dir[BASE], t->sft_data, &spec));
    if (t->r->par->size > 1)
        sd_say("finetune: %d ranks, gradient exchange: %s", t->r->par->size, sd_tuner_exchange(t->tuner));
out:
    return st;
}

/* ---- checkpoints: the step is in the name; they include the best loss so far and the log */

static void step_path(char out[RUN_PATH], const char *prefix, uint64_t step)
{
    snprintf(out, RUN_PATH, "%s%llu.h5", prefix, (ull)step);
}

/* Collective. Saves under prefix and step, records it, then withdraws the others of the prefix. */
static sd_status save(tuning *t, const char *prefix)
{
    run *r = t->r;
    char relative[RUN_PATH], *path = NULL;
    const char *one[1] = {relative};
    sd_str note = {0};
    sd_status st;

    step_path(relative, prefix, sd_tuner_step_count(t->tuner));
    sd_str_add(&note, "best %llu %a\n%s", (ull)t->best_step, t->best_loss, t->log.text != NULL ? t->log.text : "");
    st = note.status;
    if (st == SD_OK)
        st = run_full_path(r, relative, &path);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_tuner_save(t->tuner, path, t->key, note.text));
    SD_TRY(st, sd_manifest_add(r->manifest, one, NULL, 1, t->key));
    SD_TRY(st, finetune_withdraw(r, prefix, relative));
out:
    sd_str_free(&note);
    sd_free(path);
    return st;
}

/* Collective. Loads weights, moments, step and log of a saved file. */
static sd_status load(tuning *t, const char *relative)
{
    char *path = NULL, *note = NULL;
    const char *line;
    ull best;
    sd_status st;

    SD_TRY(st, sd_par_agree(t->r->par, run_full_path(t->r, relative, &path)));
    SD_TRY(st, sd_tuner_load(t->tuner, path, t->key, &note));
    line = strchr(note, '\n');
    if (line == NULL || sscanf(note, "best %llu %la", &best, &t->best_loss) != 2) {
        st = SD_FAIL(SD_E_DATA, "%s: the attribute 'note' was not written by this program; run with --fresh", path);
        goto out;
    }
    t->best_step = best;
    sd_str_free(&t->log);
    t->log = (sd_str){0};
    sd_str_add(&t->log, "%s", line + 1);
    st = sd_par_agree(t->r->par, t->log.status);
out:
    sd_free(path);
    sd_free(note);
    return st;
}

/* Collective. Resumes from the newest undamaged checkpoint. */
static sd_status resume(tuning *t)
{
    run *r = t->r;
    const sd_record *record;
    uint64_t at = 0, newest = 0;
    char path[RUN_PATH];
    sd_status st = SD_OK;

    while ((record = finetune_record(r, checkpoint_prefix, &at)) != NULL) {
        ull step = 0;
        bool has;

        snprintf(path, sizeof path, "%s", record->path);
        if (sscanf(path + strlen(checkpoint_prefix), "%llu", &step) != 1)
            continue;
        SD_TRY(st, sd_manifest_has(r->manifest, path, t->key, &has));
        if (has && step > newest)
            newest = step;
    }
    if (newest == 0)
        goto out;
    step_path(path, checkpoint_prefix, newest);
    SD_TRY(st, load(t, path));
    sd_say("finetune resumes at step %llu of %llu", (ull)newest, (ull)sd_tuner_steps(t->tuner));
    if (t->best_step > 0) {
        bool has = false;
        uint64_t seen = 0;

        /* A later best may have replaced it; repeating the steps up to it gives it again. */
        while (!has && (record = finetune_record(r, best_prefix, &seen)) != NULL) {
            snprintf(path, sizeof path, "%s", record->path);
            SD_TRY(st, sd_manifest_has(r->manifest, path, t->key, &has));
        }
        if (!has)
            st = SD_FAIL(SD_E_DATA, "%s/%s%llu.h5, the best weights so far, is damaged; --fresh starts again",
                         sd_manifest_folder(r->manifest), best_prefix, (ull)t->best_step);
    }
out:
    return st;
}

/* ---- the loop */

/* null on overflow */
static void log_perplexity(sd_str *log, const char *name, double loss)
{
    double perplexity = exp(loss);

    if (isfinite(perplexity))
        sd_str_add(log, "\"%s\": %.9g, ", name, perplexity);
    else
        sd_str_add(log, "\"%s\": null, ", name);
}

static void log_step(tuning *t, const sd_tune_report *s)
{
    sd_str_add(&t->log, "{\"step\": %llu, \"loss\": %.9g, ", (ull)s->step, s->of.loss);
    log_perplexity(&t->log, "perplexity", s->of.loss);
    sd_str_add(&t->log, "\"accuracy\": %.9g, \"grad_norm\": %.9g, \"lr\": %.9g, \"tokens\": %llu, \"supervised\": %llu}\n", s->of.accuracy,
               s->norm, s->lr, (ull)s->of.tokens, (ull)s->of.evaluated);
}

/* Collective. Measures the held-out loss; saves the best weights if finetune.keep is best. */
static sd_status measure(tuning *t)
{
    bool keeps = strcmp(t->r->job->finetune.keep, "best") == 0;
    uint64_t step = sd_tuner_step_count(t->tuner);
    sd_tune_loss l;
    sd_status st = SD_OK;

    if (sd_tuner_held_out(t->tuner) == 0)
        return SD_OK;
    SD_TRY(st, sd_tuner_evaluate(t->tuner, &l));
    if (!isfinite(l.loss)) {
        st = SD_FAIL(SD_E_DATA, "after step %llu of %llu the held-out loss is not finite; lower finetune.lr or raise finetune.warmup", (ull)step,
                     (ull)sd_tuner_steps(t->tuner));
        goto out;
    }
    sd_str_add(&t->log, "{\"step\": %llu, \"eval_loss\": %.9g, ", (ull)step, l.loss);
    log_perplexity(&t->log, "eval_perplexity", l.loss);
    sd_str_add(&t->log, "\"eval_accuracy\": %.9g, \"eval_supervised\": %llu}\n", l.accuracy, (ull)l.evaluated);
    sd_say("finetune: step %llu of %llu, held-out loss %.4f, perplexity %.3f, token accuracy %.3f", (ull)step,
           (ull)sd_tuner_steps(t->tuner), l.loss, exp(l.loss), l.accuracy);
    if (keeps && step > 0 && (t->best_step == 0 || l.loss < t->best_loss)) {
        t->best_step = step;
        t->best_loss = l.loss;
        SD_TRY(st, save(t, best_prefix));
    }
out:
    return st;
}

/* Collective. Whether to save now, by rank 0's clock and the step. */
static sd_status time_to_save(tuning *t, bool *now)
{
    const sd_job *job = t->r->job;
    uint64_t each = job->finetune.save_steps, word;
    sd_status st;

    word = job->finetune.save_minutes > 0 && sd_now() - t->saved >= 60 * job->finetune.save_minutes;
    SD_TRY(st, sd_par_bcast(t->r->par, &word, sizeof word, 0));
    *now = word != 0 || (each > 0 && sd_tuner_step_count(t->tuner) % each == 0);
out:
    return st;
}

static sd_status tune(tuning *t)
{
    run *r = t->r;
    uint64_t steps = sd_tuner_steps(t->tuner), every = r->job->finetune.eval_steps;
    sd_tune_report report = {0};
    sd_status st = SD_OK;

    if (sd_tuner_step_count(t->tuner) == 0)
        SD_TRY(st, measure(t));
    sd_progress_begin(&t->progress, "finetune", "steps", sd_tuner_step_count(t->tuner), steps);
    t->saved = sd_now();
    while (sd_tuner_step_count(t->tuner) < steps) {
        uint64_t step;
        bool now;

        SD_TRY(st, sd_tuner_step(t->tuner, &report));
        log_step(t, &report);
        step = sd_tuner_step_count(t->tuner);
        if ((every > 0 && step % every == 0) || step == steps)
            SD_TRY(st, measure(t));
        sd_progress_set(&t->progress, step);
        SD_TRY(st, sd_par_agree(r->par, t->log.status));
        st = sd_par_agree_or_stop(r->par, SD_OK);
        if (st == SD_E_STOPPED && step < steps) {
            SD_TRY(st, save(t, checkpoint_prefix));
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal at step %llu of %llu, saved: run the same command again", (ull)step, (ull)steps);
        }
        if (st != SD_E_STOPPED) /* after the last step, finishing is as fast as saving */
            SD_TRY(st, st);
        SD_TRY(st, time_to_save(t, &now));
        if (now && step < steps) {
            SD_TRY(st, save(t, checkpoint_prefix));
            t->saved = sd_now();
        }
    }
    {
        char note[96] = "";

        if (report.step > 0)
            snprintf(note, sizeof note, "last step: loss %.4f, token accuracy %.3f", report.of.loss, report.of.accuracy);
        sd_progress_end(&t->progress, note[0] ? note : NULL);
    }
    if (t->best_step > 0) {
        char path[RUN_PATH];
        sd_str whole = t->log; /* the log of the best weights ends where they were saved */
        uint64_t best = t->best_step;

        t->log = (sd_str){0};
        step_path(path, best_prefix, best);
        st = load(t, path);
        sd_str_free(&t->log);
        t->log = whole;
        SD_TRY(st, st);
        sd_say("finetune: keeping the weights after step %llu", (ull)best);
    }
out:
    return st;
}

static sd_status withdraw_checkpoints(run *r)
{
    sd_status st = finetune_withdraw(r, checkpoint_prefix, NULL);

    return st == SD_OK ? finetune_withdraw(r, best_prefix, NULL) : st;
}

sd_status run_finetune(run *r)
{
    tuning t = {.r = r, .key = r->model_key[TUNED], .best_loss = INFINITY};
    sd_dtype compute = sd_dev_compute(r->dev);
    bool finished;
    sd_status st, back;

    SD_TRY(st, finetune_finished(r, t.key, &finished));
    if (finished) /* a run may have been killed before it cleaned up */
        return withdraw_checkpoints(r);
    SD_TRY(st, announce(r));
    SD_TRY(st, sd_par_agree(r->par, sd_dev_set_compute(r->dev, SD_REAL)));
    st = finetune_data(&t);
    if (st == SD_OK)
        st = open_tuner(&t);
    if (st == SD_OK)
        st = resume(&t);
    if (st == SD_OK)
        st = tune(&t);
    if (st == SD_OK)
        st = finetune_finish(&t);
    if (st == SD_OK)
        st = withdraw_checkpoints(r);
    sd_tuner_destroy(&t.tuner);
    back = sd_dev_set_compute(r->dev, compute);
    if (st == SD_OK)
        st = sd_par_agree(r->par, back);
out:
    sd_sft_data_destroy(&t.sft_data);
    sd_tokenizer_close(&t.tokenizer);
    sd_str_free(&t.log);
    return st;
}

/* What the job amounts to: models, sites, SAEs; the key and the path of every artefact. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/weights.h"
#include "saediff/store/file.h"

const char *run_model_label(int model)
{
    return model == BASE ? "base" : "tuned";
}

static sd_status plan_models(run *r)
{
    const char *dirs[RUN_MODELS] = {r->job->base, r->job->tuned};
    const sd_model_config *a = &r->config[BASE], *b = &r->config[TUNED];
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++) {
        if (dirs[m] == NULL || dirs[m][0] == '\0')
            continue;
        r->model_dir[m] = dirs[m];
        SD_TRY(st, sd_model_config_read(&r->config[m], dirs[m]));
    }
    if (r->job->has[SD_STAGE_FINETUNE]) {
        SD_TRY(st, sd_path_join(&r->made_dir, r->job->out, "model"));
        r->model_dir[TUNED] = r->made_dir;
        r->config[TUNED] = r->config[BASE];
    }
    if (r->model_dir[TUNED] == NULL)
        return SD_OK;
    if (a->d_model != b->d_model || a->n_layers != b->n_layers)
        return SD_FAIL(SD_E_DATA, "models.base has %llu layers of width %llu, models.tuned %llu of %llu: one SAE cannot read both",
                       (unsigned long long)a->n_layers, (unsigned long long)a->d_model, (unsigned long long)b->n_layers,
                       (unsigned long long)b->d_model);
    if (a->vocabulary != b->vocabulary)
        return SD_FAIL(SD_E_DATA, "models.base knows %llu tokens, models.tuned %llu: they cannot read the same ids",
                       (unsigned long long)a->vocabulary, (unsigned long long)b->vocabulary);
out:
    return st;
}

static sd_status plan_sites(run *r)
{
    sd_status st;

    r->n_sites = r->job->extract.sites.count;
    SD_TRY(st, SD_NEW(&r->sites, r->n_sites));
    SD_TRY(st, SD_NEW(&r->site_names, r->n_sites));
    for (uint64_t i = 0; i < r->n_sites; i++) {
        SD_TRY(st, sd_site_parse(&r->sites[i], r->job->extract.sites.item[i], r->config[BASE].n_layers));
        sd_site_name(r->sites[i], r->site_names[i]);
        for (uint64_t j = 0; j < i; j++)
            if (strcmp(r->site_names[i], r->site_names[j]) == 0)
                return SD_FAIL(SD_E_USAGE, "extract.sites names %s twice", r->site_names[i]);
    }
    if (!sd_dtype_parse(r->job->extract.dtype, &r->dtype))
        return SD_FAIL(SD_E_INTERNAL, "extract.dtype '%s' passed the table of keys", r->job->extract.dtype);
out:
    return st;
}

/* train.on: "base", and perhaps "tuned". */
static sd_status plan_trained_on(const run *r, uint64_t *models)
{
    bool on[RUN_MODELS] = {false, false};
    const sd_job_list *list = &r->job->train.on;

    for (uint64_t i = 0; i < list->count; i++) {
        int m = strcmp(list->item[i], run_model_label(TUNED)) == 0 ? TUNED : BASE;

        if (strcmp(list->item[i], run_model_label(m)) != 0)
            return SD_FAIL(SD_E_USAGE, "train.on names '%s'; it may name base and tuned", list->item[i]);
        if (on[m])
            return SD_FAIL(SD_E_USAGE, "train.on names %s twice", list->item[i]);
        on[m] = true;
    }
    if (!on[BASE])
        return SD_FAIL(SD_E_USAGE, "train.on does not name base: write \"train\": {\"on\": [\"base\"]} or [\"base\", \"tuned\"]");
    if (on[TUNED] && r->model_dir[TUNED] == NULL)
        return SD_FAIL(SD_E_USAGE, "train.on names tuned, but the job has no models.tuned and no section finetune");
    *models = on[TUNED] ? 2 : 1;
    return SD_OK;
}

static sd_status plan_saes(run *r)
{
    uint64_t sizes = r->job->sae.sizes.count, ks = r->job->sae.ks.count, models = 1;
    sd_status st;

    if (r->job->has[SD_STAGE_TRAIN])
        SD_TRY(st, plan_trained_on(r, &models));
    r->n_saes = r->job->has[SD_STAGE_TRAIN] ? r->n_sites * models * sizes * ks : 0;
    SD_TRY(st, SD_NEW(&r->saes, r->n_saes));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        run_sae *s = &r->saes[i];

        s->site = i / (models * sizes * ks);
        s->model = i / (sizes * ks) % models ? TUNED : BASE;
        s->latents = r->job->sae.sizes.item[i / ks % sizes];
        s->k = r->job->sae.ks.item[i % ks];
        snprintf(s->name, sizeof s->name, "topk-%llu-k%llu%s", (unsigned long long)s->latents, (unsigned long long)s->k,
                 s->model == TUNED ? "-tuned" : "");
    }
out:
    return st;
}

sd_status run_plan(run *r)
{
    const char *plotly = r->job->report.plotly;
    sd_status st;

    /* Missed now rather than in the last stage. */
    if (r->spec->stage[SD_STAGE_REPORT] && plotly != NULL && plotly[0] != '\0' && !sd_file_exists(plotly))
        return SD_FAIL(SD_E_USAGE, "report.plotly: there is no file '%s'; name Plotly's minified script, or leave the key out", plotly);

    SD_TRY(st, plan_models(r));
    SD_TRY(st, plan_sites(r));
    SD_TRY(st, plan_saes(r));
out:
    return st;
}

const run_sae *run_counterpart(const run *r, const run_sae *sae)
{
    for (uint64_t i = 0; sae->model == BASE && i < r->n_saes; i++) {
        const run_sae *s = &r->saes[i];

        if (s->model == TUNED && s->site == sae->site && s->latents == sae->latents && s->k == sae->k)
            return s;
    }
    return NULL;
}

void run_plan_free(run *r)
{
    sd_free(r->made_dir);
    sd_free(r->sites);
    sd_free(r->site_names);
    sd_free(r->saes);
    sd_free(r->failures);
    sd_tokens_destroy(&r->tokens);
}

/* ---- keys */

static void add_number(sd_sha256 *sha, double value)
{
    char text[40];

    snprintf(text, sizeof text, "%.17g", value);
    sd_sha256_add_text(sha, text);
}

static void add_count(sd_sha256 *sha, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    sd_sha256_add_text(sha, text);
}

/* The files of a data entry, and their names where these decide the format; not their folders, which change with the one the program runs in. */
static sd_status add_files(sd_sha256 *sha, const sd_job_data *d)
{
    sd_dataset_files files = {0};
    char hex[SD_SHA256_HEX];
    sd_status st;

    SD_TRY(st, sd_dataset_find(&files, (const char *const *)d->paths.item, d->paths.count));
    add_count(sha, files.count);
    for (uint64_t i = 0; i < files.count; i++) {
        const char *slash = strrchr(files.path[i], '/'), *name = slash != NULL ? slash + 1 : files.path[i];

        SD_TRY(st, sd_file_sha256(files.path[i], hex));
        sd_sha256_add_text(sha, hex);
        sd_sha256_add_text(sha, strcmp(d->format, "auto") == 0 ? name : "");
    }
out:
    sd_dataset_files_free(&files);
    return st;
}

/* What the texts of chats depend on beside the messages: template, special tokens, date. */
static sd_status add_template(const run *r, sd_sha256 *sha, const char *folder, const char *file)
{
    sd_template *t = NULL;
    char *config = NULL, hex[SD_SHA256_HEX] = "";
    sd_status st;

    SD_TRY(st, sd_template_open(&t, folder, file));
    sd_sha256_add_text(sha, sd_template_sha256(t));
    sd_sha256_add_text(sha, r->job->tokenize.date);
    SD_TRY(st, sd_path_join(&config, folder, "tokenizer_config.json"));
    if (sd_file_sha256(config, hex) == SD_OK)
        sd_sha256_add_text(sha, hex);
out:
    sd_template_close(&t);
    sd_free(config);
    return st;
}

static sd_status add_chats(const run *r, sd_sha256 *sha)
{
    const sd_job *job = r->job;
    const char *folder;
    bool needed;
    sd_status st;

    SD_TRY(st, run_chat_folder(r, &folder, &needed));
    if (!needed)
        return SD_OK;
    SD_TRY(st, add_template(r, sha, folder, run_chat_file(r)));
    for (uint64_t i = 0; i < job->tokenize.substitute.count; i++)
        sd_sha256_add_text(sha, job->tokenize.substitute.item[i]);
out:
    return st;
}

/* The texts of an entry of data or lessons. */
static sd_status add_entry(sd_sha256 *sha, const sd_job_data *d, uint64_t seed)
{
    sd_status st;

    SD_TRY(st, add_files(sha, d));
    sd_sha256_add_text(sha, d->name);
    sd_sha256_add_text(sha, d->format);
    sd_sha256_add_text(sha, d->field);
    sd_sha256_add_text(sha, d->separator);
    add_count(sha, d->shuffle);
    if (d->shuffle)
        add_count(sha, seed);
    add_count(sha, d->skip);
    add_count(sha, d->limit);
    add_count(sha, d->min_chars);
out:
    return st;
}

/* What the tuned model is made from, in place of a digest of its weights. tokenizer: the digest of the base model's. */
static sd_status hash_finetune(run *r, const char *tokenizer)
{
    const sd_job *job = r->job;
    int32_t end;
    sd_sha256 sha;
    sd_status st;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "finetune 2");
    sd_sha256_add_text(&sha, r->model_key[BASE]);
    sd_sha256_add_text(&sha, tokenizer);
    SD_TRY(st, run_finetune_end(r, &end));
    add_count(&sha, (uint64_t)(end + 1));
    for (uint64_t i = 0; i < job->n_lessons; i++) {
        SD_TRY(st, add_entry(&sha, &job->lessons[i], run_lesson_seed(r, i)));
        sd_sha256_add_text(&sha, job->lessons[i].prompt);
        sd_sha256_add_text(&sha, job->lessons[i].completion);
        sd_sha256_add_text(&sha, job->lessons[i].messages);
        sd_sha256_add_text(&sha, job->lessons[i].learn);
    }
    if (run_lessons_have_chats(r)) {
        SD_TRY(st, run_lessons_template(r));
        SD_TRY(st, add_template(r, &sha, r->model_dir[BASE], job->finetune.template_file));
    }
    add_count(&sha, job->seed);
    add_count(&sha, job->finetune.context ? job->finetune.context : r->config[BASE].context);
    add_number(&sha, job->finetune.epochs);
    add_count(&sha, job->finetune.steps);
    add_count(&sha, job->finetune.batch);
    add_count(&sha, job->finetune.micro);
    add_number(&sha, job->finetune.lr);
    add_number(&sha, job->finetune.final);
    sd_sha256_add_text(&sha, job->finetune.schedule);
    add_count(&sha, job->finetune.warmup);
    add_number(&sha, job->finetune.beta1);
    add_number(&sha, job->finetune.beta2);
    add_number(&sha, job->finetune.eps);
    add_number(&sha, job->finetune.decay);
    add_number(&sha, job->finetune.clip);
    add_number(&sha, job->finetune.held_out);
    add_count(&sha, job->finetune.eval_steps);
    sd_sha256_add_text(&sha, job->finetune.keep);
    add_count(&sha, job->finetune.freeze.count);
    for (uint64_t i = 0; i < job->finetune.freeze.count; i++)
        sd_sha256_add_text(&sha, job->finetune.freeze.item[i]);
    add_count(&sha, job->finetune.lora_rank);
    add_number(&sha, job->finetune.lora_alpha);
    add_count(&sha, job->finetune.lora_targets.count);
    for (uint64_t i = 0; i < job->finetune.lora_targets.count; i++)
        sd_sha256_add_text(&sha, job->finetune.lora_targets.item[i]);
    sd_sha256_add_text(&sha, job->finetune.dtype);
    sd_sha256_end(&sha, r->model_key[TUNED]);
out:
    return st;
}

/* Rank 0's part: the digests of everything read. */
static sd_status hash_inputs(run *r)
{
    const sd_job *job = r->job;
    char *tokenizer = NULL, hex[SD_SHA256_HEX];
    sd_sha256 sha;
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++)
        if (r->model_dir[m] != NULL && r->model_dir[m] != r->made_dir)
            SD_TRY(st, sd_weights_digest(r->model_dir[m], r->model_sha256[m]));
    memcpy(r->model_key, r->model_sha256, sizeof r->model_key);
    SD_TRY(st, sd_path_join(&tokenizer, r->model_dir[BASE], "tokenizer.json"));
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "tokens 3");
    SD_TRY(st, sd_file_sha256(tokenizer, hex));
    sd_sha256_add_text(&sha, hex);
    for (uint64_t i = 0; i < job->n_data; i++) {
        SD_TRY(st, add_entry(&sha, &job->data[i], run_data_seed(r, i)));
        sd_sha256_add_text(&sha, job->data[i].messages);
        sd_sha256_add_text(&sha, job->data[i].prompt);
        sd_sha256_add_text(&sha, job->data[i].completion);
        sd_sha256_add_text(&sha, job->data[i].condition);
        add_count(&sha, job->data[i].max_tokens);
    }
    add_count(&sha, job->tokenize.context ? job->tokenize.context : r->config[BASE].context);
    add_count(&sha, job->tokenize.max_tokens);
    add_count(&sha, job->tokenize.mask_special);
    SD_TRY(st, add_chats(r, &sha));
    sd_sha256_end(&sha, r->tokens_key);
    if (job->has[SD_STAGE_FINETUNE])
        st = hash_finetune(r, hex);
out:
    sd_free(tokenizer);
    return st;
}

static void sae_key(const run *r, run_sae *s)
{
    const sd_job *job = r->job;
    char acts[SD_SHA256_HEX];
    sd_sha256 sha;

    run_acts_key(r, s->model, r->site_names[s->site], acts);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "sae 2");
    sd_sha256_add_text(&sha, acts);
    add_count(&sha, s->latents);
    add_count(&sha, s->k);
    add_count(&sha, job->sae.k_aux);
    add_count(&sha, job->sae.dead_tokens);
    add_number(&sha, job->sae.aux_coef);
    add_count(&sha, job->train.batch);
    add_count(&sha, job->train.window);
    add_count(&sha, job->train.init_rows);
    add_number(&sha, job->train.epochs);
    add_number(&sha, job->train.lr);
    add_count(&sha, job->train.warmup);
    add_number(&sha, job->train.decay);
    add_number(&sha, job->train.beta1);
    add_number(&sha, job->train.beta2);
    add_number(&sha, job->train.eps);
    add_number(&sha, job->train.clip);
    add_count(&sha, job->seed);
    sd_sha256_end(&sha, s->key);
}

sd_status run_tokens_key(run *r)
{
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? hash_inputs(r) : SD_OK));
    SD_TRY(st, sd_par_bcast(r->par, r->model_sha256, sizeof r->model_sha256, 0));
    SD_TRY(st, sd_par_bcast(r->par, r->model_key, sizeof r->model_key, 0));
    SD_TRY(st, sd_par_bcast(r->par, r->tokens_key, sizeof r->tokens_key, 0));
    for (uint64_t i = 0; i < r->n_saes; i++)
        sae_key(r, &r->saes[i]);
out:
    return st;
}

void run_acts_key(const run *r, int model, const char *site, char key[SD_SHA256_HEX])
{
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "acts 2");
    sd_sha256_add_text(&sha, sd_dtype_name(sd_dev_compute(r->dev)));
    sd_sha256_add_text(&sha, r->tokens_key);
    sd_sha256_add_text(&sha, r->model_key[model]);
    sd_sha256_add_text(&sha, site);
    sd_sha256_add_text(&sha, sd_dtype_name(r->dtype));
    add_count(&sha, r->job->extract.shard_tokens);
    add_count(&sha, r->job->extract.slab_tokens);
    sd_sha256_end(&sha, key);
}

void run_codes_key(const run *r, int model, const run_sae *sae, char key[SD_SHA256_HEX])
{
    char acts[SD_SHA256_HEX];
    sd_sha256 sha;

    run_acts_key(r, model, r->site_names[sae->site], acts);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "codes 1");
    sd_sha256_add_text(&sha, acts);
    sd_sha256_add_text(&sha, sae->key);
    sd_sha256_end(&sha, key);
}

void run_diff_key(const run *r, const run_sae *sae, char key[SD_SHA256_HEX])
{
    char codes[SD_SHA256_HEX];
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "diff 4");
    for (int m = 0; m < RUN_MODELS; m++) {
        run_codes_key(r, m, sae, codes);
        sd_sha256_add_text(&sha, codes);
    }
    add_count(&sha, r->job->seed);
    add_count(&sha, r->job->diff.flips);
    add_count(&sha, r->job->evaluate.resamples);
    sd_sha256_end(&sha, key);
}

void run_told_key(const run *r, const run_sae *sae, char key[SD_SHA256_HEX])
{
    char part[SD_SHA256_HEX];
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "told 1");
    for (int m = 0; m < RUN_MODELS; m++) {
        run_codes_key(r, m, sae, part);
        sd_sha256_add_text(&sha, part);
    }
    run_labels_key(r, part);
    sd_sha256_add_text(&sha, part);
    add_count(&sha, r->job->seed);
    add_count(&sha, r->job->diff.label_permutations);
    add_number(&sha, r->job->diff.label_auroc);
    add_count(&sha, r->job->evaluate.resamples);
    sd_sha256_end(&sha, key);
}

void run_match_key(const run *r, const run_sae *base, const run_sae *tuned, char key[SD_SHA256_HEX])
{
    char codes[SD_SHA256_HEX];
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "match 1");
    run_codes_key(r, BASE, base, codes);
    sd_sha256_add_text(&sha, codes);
    run_codes_key(r, TUNED, tuned, codes);
    sd_sha256_add_text(&sha, codes);
    add_number(&sha, r->job->diff.match_cosine);
    add_number(&sha, r->job->diff.match_correlation);
    add_number(&sha, r->job->diff.match_margin);
    add_count(&sha, r->job->seed);
    sd_sha256_end(&sha, key);
}

void run_report_key(const run *r, char key[SD_SHA256_HEX])
{
    char part[SD_SHA256_HEX];
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "report 1 " SAEDIFF_VERSION);
    sd_sha256_add_text(&sha, r->job->name);
    sd_sha256_add_text(&sha, r->spec->job_json);
    add_count(&sha, r->job->report.top);
    for (uint64_t i = 0; i < r->n_failures; i++)
        sd_sha256_add_text(&sha, r->failures[i].name);
    for (uint64_t i = 0; i < r->n_saes; i++) {
        const run_sae *tuned = run_counterpart(r, &r->saes[i]);

        run_diff_key(r, &r->saes[i], part);
        sd_sha256_add_text(&sha, part);
        if (tuned != NULL) {
            run_match_key(r, &r->saes[i], tuned, part);
            sd_sha256_add_text(&sha, part);
        }
    }
    sd_sha256_end(&sha, key);
}

/* ---- paths */

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

void run_told_path(char out[RUN_PATH], const run *r, const run_sae *sae)
{
    snprintf(out, RUN_PATH, "diff/%s/%s/told.h5", r->site_names[sae->site], sae->name);
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

/* ---- what a stage needs */

sd_status run_need(run *r, const char *relative, const char *key, sd_stage_id maker)
{
    bool has;
    sd_status st;

    SD_TRY(st, sd_manifest_has(r->manifest, relative, key, &has));
    if (!has)
        return SD_FAIL(SD_E_USAGE, "%s/%s is not there, or was made by another job: run `saediff %s %s` first",
                       sd_manifest_folder(r->manifest), relative, sd_stage_name(maker), r->job->path);
out:
    return st;
}

sd_status run_need_tokens(run *r)
{
    char *path = NULL;
    sd_status st;

    if (r->tokens != NULL)
        return SD_OK;
    SD_TRY(st, run_need(r, "tokens/tokens.h5", r->tokens_key, SD_STAGE_TOKENIZE));
    st = run_full_path(r, "tokens/tokens.h5", &path);
    if (st == SD_OK)
        st = sd_tokens_read(&r->tokens, path);
    SD_TRY(st, sd_par_agree(r->par, st));
    r->shards = (r->tokens->tokens + r->job->extract.shard_tokens - 1) / r->job->extract.shard_tokens;
out:
    sd_free(path);
    return st;
}

sd_span run_shard_rows(const run *r, uint64_t shard)
{
    uint64_t size = r->job->extract.shard_tokens, first = shard * size, left = r->tokens->tokens - first;

    return (sd_span){first, left < size ? left : size};
}

uint64_t run_train_steps(const run *r, uint64_t steps_per_epoch)
{
    double steps = floor(r->job->train.epochs * (double)steps_per_epoch + 1e-9);

    return steps < 1 ? 1 : (uint64_t)steps;
}

void run_sae_spec(const run *r, const run_sae *sae, uint64_t d_model, uint64_t steps, sd_sae_spec *spec)
{
    const sd_job *job = r->job;
    double lr = job->train.lr > 0 ? job->train.lr : 2e-4 / sqrt((double)sae->latents / 16384);

    *spec = (sd_sae_spec){
        .d_model = d_model,
        .n_latents = sae->latents,
        .k = sae->k,
        .k_aux = job->sae.k_aux,
        .dead_tokens = job->sae.dead_tokens,
        .batch = job->train.batch,
        .aux_coef = job->sae.aux_coef,
        .adam = {job->train.beta1, job->train.beta2, job->train.eps, 0, job->train.clip > 0 ? job->train.clip : INFINITY},
        .schedule = {lr, steps, job->train.warmup < steps ? job->train.warmup : steps,
                     (uint64_t)(job->train.decay * (double)steps)},
        .seed = job->seed,
    };
}

/* Plan of a job: models, sites, SAEs; and the inputs of a stage. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/model/pipeline.h"
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
    if (r->spec->stage[SD_STAGE_EXTRACT]) {
        st = sd_pipeline_check(a, r->job->pipeline, r->only_plans ? INT_MAX : r->par->size);
        SD_TRY(st, sd_fail_in(st, "models.pipeline"));
    }
    if (r->job->has[SD_STAGE_FINETUNE]) {
        SD_TRY(st, sd_path_join(&r->made_dir, r->job->out, "model"));
        r->model_dir[TUNED] = r->made_dir;
        r->config[TUNED] = r->config[BASE];
    }
    if (r->model_dir[TUNED] == NULL)
        return SD_OK;
    if (a->d_model != b->d_model || a->n_layers != b->n_layers)
        return SD_FAIL(SD_E_DATA, "models.base has %llu layers and d_model %llu, models.tuned %llu layers and d_model %llu: one SAE cannot be applied to both",
                       (unsigned long long)a->n_layers, (unsigned long long)a->d_model, (unsigned long long)b->n_layers,
                       (unsigned long long)b->d_model);
    if (a->vocabulary != b->vocabulary)
        return SD_FAIL(SD_E_DATA, "models.base has a vocabulary of %llu, models.tuned of %llu: they cannot read the same token ids",
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

/* Training data of SAEs, in the order of a site's SAEs. */
enum { ON_BASE, ON_TUNED, ON_ERROR, KINDS };
static const char *const kind_name[KINDS] = {"base", "tuned", "error"};

/* Parses train.on: base, and optionally others. */
static sd_status plan_trained_on(const run *r, int kinds[KINDS], uint64_t *count)
{
    bool on[KINDS] = {false};
    const sd_job_list *list = &r->job->train.on;

    for (uint64_t i = 0; i < list->count; i++) {
        int kind = ON_BASE;

        while (kind < KINDS && strcmp(list->item[i], kind_name[kind]) != 0)
            kind++;
        if (kind == KINDS)
            return SD_FAIL(SD_E_USAGE, "train.on names '%s'; the choices are base, tuned and error", list->item[i]);
        if (on[kind])
            return SD_FAIL(SD_E_USAGE, "train.on names %s twice", list->item[i]);
        if (kind != ON_BASE && r->model_dir[TUNED] == NULL)
            return SD_FAIL(SD_E_USAGE, "train.on names %s, but the job has no models.tuned and no section finetune", list->item[i]);
        on[kind] = true;
    }
    if (!on[ON_BASE])
        return SD_FAIL(SD_E_USAGE, "train.on does not name base: write \"train\": {\"on\": [\"base\"]}, with \"tuned\" or \"error\" added for more SAEs");
    for (int kind = 0; kind < KINDS; kind++)
        if (on[kind])
            kinds[(*count)++] = kind;
    return SD_OK;
}

static sd_status plan_saes(run *r)
{
    uint64_t sizes = r->job->sae.sizes.count, ks = r->job->sae.ks.count, n_kinds = 0;
    int kinds[KINDS];
    sd_status st;

    if (r->job->has[SD_STAGE_TRAIN])
        SD_TRY(st, plan_trained_on(r, kinds, &n_kinds));
    r->n_saes = r->n_sites * n_kinds * sizes * ks;
    SD_TRY(st, SD_NEW(&r->saes, r->n_saes));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        run_sae *s = &r->saes[i];

        int kind = kinds[i / (sizes * ks) % n_kinds];

        s->site = i / (n_kinds * sizes * ks);
        s->model = kind == ON_BASE ? BASE : TUNED;
        s->on_error = kind == ON_ERROR;
        s->latents = r->job->sae.sizes.item[i / ks % sizes];
        s->k = r->job->sae.ks.item[i % ks];
        snprintf(s->name, sizeof s->name, "topk-%llu-k%llu%s%s", (unsigned long long)s->latents, (unsigned long long)s->k,
                 kind == ON_BASE ? "" : "-", kind == ON_BASE ? "" : kind_name[kind]);
    }
out:
    return st;
}

sd_status run_plan(run *r)
{
    const char *plotly = r->job->report.plotly;
    sd_status st;

    /* Checked here rather than in the last stage. */
    if (r->spec->stage[SD_STAGE_REPORT] && plotly != NULL && plotly[0] != '\0' && !sd_file_exists(plotly))
        return SD_FAIL(SD_E_USAGE, "report.plotly: the file '%s' does not exist; name Plotly's minified script, or leave the key out", plotly);

    SD_TRY(st, plan_models(r));
    SD_TRY(st, plan_sites(r));
    SD_TRY(st, plan_saes(r));
out:
    return st;
}

/* The SAE of the same site and shape with this training data; NULL if none. */
static const run_sae *find_sae(const run *r, const run_sae *sae, const char *trained_on)
{
    for (uint64_t i = 0; i < r->n_saes; i++) {
        const run_sae *s = &r->saes[i];

        if (s->site == sae->site && s->latents == sae->latents && s->k == sae->k && strcmp(run_trained_on(s), trained_on) == 0)
            return s;
    }
    return NULL;
}

const run_sae *run_counterpart(const run *r, const run_sae *sae)
{
    return sae->model == BASE ? find_sae(r, sae, kind_name[ON_TUNED]) : NULL;
}

const run_sae *run_underlying(const run *r, const run_sae *sae)
{
    return sae->on_error ? find_sae(r, sae, kind_name[ON_BASE]) : NULL;
}

const char *run_trained_on(const run_sae *sae)
{
    return kind_name[sae->on_error ? ON_ERROR : sae->model == TUNED ? ON_TUNED : ON_BASE];
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

/* ---- inputs of a stage */

sd_status run_need(run *r, const char *relative, const char *key, sd_stage_id maker)
{
    bool has;
    sd_status st;

    SD_TRY(st, sd_manifest_has(r->manifest, relative, key, &has));
    if (!has)
        return SD_FAIL(SD_E_USAGE, "%s/%s does not exist, or belongs to another job: run `saediff %s %s` first",
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

/* Keys of artefacts: a digest of everything that determines their bytes. */
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/weights.h"

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

/* The files of a data entry, and their names if these determine the format; not their folders, which depend on the working directory. */
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

/* What the texts of chats depend on besides the messages: template, special tokens, date. */
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

/* The texts of an entry of data or finetune.data. */
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

/* Digest of everything that determines the tuned model, instead of its weights. tokenizer: digest of the base model's. */
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
    for (uint64_t i = 0; i < job->n_sft_data; i++) {
        SD_TRY(st, add_entry(&sha, &job->sft_data[i], run_sft_seed(r, i)));
        sd_sha256_add_text(&sha, job->sft_data[i].prompt);
        sd_sha256_add_text(&sha, job->sft_data[i].completion);
        sd_sha256_add_text(&sha, job->sft_data[i].messages);
        sd_sha256_add_text(&sha, job->sft_data[i].supervise);
    }
    if (run_sft_has_chats(r)) {
        SD_TRY(st, run_sft_template(r));
        SD_TRY(st, add_template(r, &sha, r->model_dir[BASE], job->finetune.template_file));
    }
    add_count(&sha, job->seed);
    add_count(&sha, job->finetune.context ? job->finetune.context : r->config[BASE].context);
    add_number(&sha, job->finetune.epochs);
    add_count(&sha, job->finetune.steps);
    add_count(&sha, job->finetune.batch);
    add_count(&sha, job->finetune.micro_batch);
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

/* Rank 0: digests of all input files. */
static sd_status hash_inputs(run *r)
{
    const sd_job *job = r->job;
    char hex[SD_SHA256_HEX];
    sd_sha256 sha;
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++)
        if (r->model_dir[m] != NULL && r->model_dir[m] != r->made_dir)
            SD_TRY(st, sd_weights_digest(r->model_dir[m], r->model_sha256[m]));
    memcpy(r->model_key, r->model_sha256, sizeof r->model_key);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "tokens 3");
    SD_TRY(st, sd_tokenizer_digest(r->model_dir[BASE], hex));
    sd_sha256_add_text(&sha, hex);
    for (uint64_t i = 0; i < job->n_data; i++) {
        SD_TRY(st, add_entry(&sha, &job->data[i], run_data_seed(r, i)));
        sd_sha256_add_text(&sha, job->data[i].messages);
        sd_sha256_add_text(&sha, job->data[i].prompt);
        sd_sha256_add_text(&sha, job->data[i].completion);
        sd_sha256_add_text(&sha, job->data[i].prompt_format);
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
    return st;
}

static void sae_key(const run *r, run_sae *s)
{
    const sd_job *job = r->job;
    char acts[SD_SHA256_HEX];
    sd_sha256 sha;

    run_acts_key(r, s->model, r->site_names[s->site], acts);
    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, s->on_error ? "error sae 1" : "sae 2");
    sd_sha256_add_text(&sha, acts);
    if (s->on_error)
        sd_sha256_add_text(&sha, run_underlying(r, s)->key);
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
    add_count(&sha, r->job->extract.batch_tokens);
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

void run_detection_key(const run *r, const run_sae *sae, char key[SD_SHA256_HEX])
{
    char part[SD_SHA256_HEX];
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "detection 2");
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

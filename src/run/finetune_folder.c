/* The tuned model's folder: writing it, and checking that it is complete. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "finetune.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/weights.h"

enum { FILES_MAX = 4096, NAMES_MAX = FILES_MAX + 3, COPY_LIMIT = 1 << 30 }; /* the folder's files, adapters and log */

static const char model_prefix[] = "model/", log_path[] = "finetune/log.jsonl", adapter_prefix[] = "finetune/adapter/";
static const char template_name[] = "chat_template.jinja";
/* Written by tune. */
static const char *const adapter_names[] = {"adapter_config.json", "adapter_model.safetensors"};
/* Copied from the base model's folder, if present. */
static const char *const copied[] = {"tokenizer.json",     "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                     "vocab.json",         "merges.txt",      "chat_template.jinja",   "generation_config.json"};

const sd_record *finetune_record(const run *r, const char *prefix, uint64_t *at)
{
    while (*at < sd_manifest_count(r->manifest)) {
        const sd_record *record = sd_manifest_at(r->manifest, (*at)++);

        if (strncmp(record->path, prefix, strlen(prefix)) == 0)
            return record;
    }
    return NULL;
}

sd_status finetune_withdraw(run *r, const char *prefix, const char *keep)
{
    const sd_record *record;
    uint64_t at = 0;
    sd_status st = SD_OK;

    while ((record = finetune_record(r, prefix, &at)) != NULL) {
        char path[RUN_PATH];

        snprintf(path, sizeof path, "%s", record->path);
        if (keep != NULL && strcmp(path, keep) == 0)
            continue;
        SD_TRY(st, sd_manifest_withdraw(r->manifest, path));
        at--;
    }
    st = sd_manifest_sweep(r->manifest, prefix);
out:
    return st;
}

sd_status finetune_finished(run *r, const char *key, bool *finished)
{
    const sd_record *record;
    uint64_t at = 0, lacks = 0;
    sd_status st;

    SD_TRY(st, sd_manifest_has(r->manifest, log_path, key, finished));
    while (*finished && (record = finetune_record(r, model_prefix, &at)) != NULL) {
        char path[RUN_PATH];

        snprintf(path, sizeof path, "%s", record->path);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, finished));
    }
    for (size_t i = 0; *finished && r->job->finetune.lora_rank > 0 && i < sizeof adapter_names / sizeof *adapter_names; i++) {
        char path[RUN_PATH];

        snprintf(path, sizeof path, "%s%s", adapter_prefix, adapter_names[i]);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, finished));
    }
    if (!*finished)
        goto out;
    for (size_t i = 0; r->par->rank == 0 && i < sizeof copied / sizeof *copied; i++) {
        char *from = NULL, to[RUN_PATH];

        st = sd_path_join(&from, r->model_dir[BASE], copied[i]);
        snprintf(to, sizeof to, "%s%s", model_prefix, copied[i]);
        lacks = lacks || st != SD_OK || (sd_file_exists(from) && sd_manifest_find(r->manifest, to) == NULL);
        sd_free(from);
    }
    if (r->par->rank == 0)
        lacks = lacks || sd_model_check(r->model_dir[TUNED]) != SD_OK;
    SD_TRY(st, sd_par_max_u64(r->par, &lacks, 1));
    *finished = !lacks;
out:
    return st;
}

sd_status run_need_tuned(run *r)
{
    bool finished;
    sd_status st;

    if (!r->job->has[SD_STAGE_FINETUNE] || r->model_sha256[TUNED][0] != '\0')
        return SD_OK;
    SD_TRY(st, finetune_finished(r, r->model_key[TUNED], &finished));
    if (!finished) {
        st = SD_FAIL(SD_E_USAGE, "%s does not exist, or belongs to another job: run `saediff %s %s` first", r->model_dir[TUNED],
                     sd_stage_name(SD_STAGE_FINETUNE), r->job->path);
        goto out;
    }
    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? sd_weights_digest(r->model_dir[TUNED], r->model_sha256[TUNED]) : SD_OK));
    st = sd_par_bcast(r->par, r->model_sha256[TUNED], SD_SHA256_HEX, 0);
out:
    return st;
}

typedef struct folder {
    const char *path;
    char (*names)[RUN_PATH]; /* [NAMES_MAX] relative to the run folder */
    uint64_t count;
} folder;

static sd_status remove_name(void *self, const char *name)
{
    const folder *f = self;
    char *path = NULL;
    sd_status st = sd_path_join(&path, f->path, name);

    if (st == SD_OK)
        st = sd_file_remove(path);
    sd_free(path);
    return st;
}

static sd_status note_name(void *self, const char *name)
{
    folder *f = self;

    if (f->count == FILES_MAX)
        return SD_FAIL(SD_E_DATA, "%s has more than %d files", f->path, FILES_MAX);
    snprintf(f->names[f->count++], RUN_PATH, "%s%s", model_prefix, name);
    return SD_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* If the file exists. */
static sd_status copy_file(const char *from, const char *to_dir, const char *name)
{
    char *to = NULL, *data = NULL;
    uint64_t size;
    sd_status st = SD_OK;

    if (!sd_file_exists(from))
        goto out;
    SD_TRY(st, sd_path_join(&to, to_dir, name));
    SD_TRY(st, sd_file_read(from, COPY_LIMIT, &data, &size));
    st = sd_file_write(to, data, size);
out:
    sd_free(to);
    sd_free(data);
    return st;
}

/* Rank 0. */
static sd_status write_adapters(tuning *t, folder *f)
{
    char *path = NULL;
    sd_status st;

    SD_TRY(st, run_full_path(t->r, adapter_prefix, &path));
    SD_TRY(st, sd_tuner_export_adapters(t->tuner, path));
    for (size_t i = 0; i < sizeof adapter_names / sizeof *adapter_names; i++)
        snprintf(f->names[f->count++], RUN_PATH, "%s%s", adapter_prefix, adapter_names[i]);
out:
    sd_free(path);
    return st;
}

/* Rank 0. */
static sd_status write_folder(tuning *t, folder *f)
{
    const run *r = t->r;
    char *path = NULL, *from = NULL;
    sd_dtype type = SD_F32;
    sd_status st;

    SD_TRY(st, sd_file_each(f->path, remove_name, f));
    if (!sd_dtype_parse(r->job->finetune.dtype, &type)) {
        st = SD_FAIL(SD_E_INTERNAL, "finetune.dtype '%s' passed the table of keys", r->job->finetune.dtype);
        goto out;
    }
    SD_TRY(st, sd_tuner_export(t->tuner, f->path, type));
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        SD_TRY(st, sd_path_join(&from, r->model_dir[BASE], copied[i]));
        SD_TRY(st, copy_file(from, f->path, copied[i]));
        sd_free(from);
        from = NULL;
    }
    if (r->job->finetune.template_file[0] != '\0')
        SD_TRY(st, copy_file(r->job->finetune.template_file, f->path, template_name));
    SD_TRY(st, sd_file_each(f->path, note_name, f));
    qsort(f->names, f->count, sizeof *f->names, by_name);
    if (r->job->finetune.lora_rank > 0)
        SD_TRY(st, write_adapters(t, f));
    snprintf(f->names[f->count++], RUN_PATH, "%s", log_path);
    SD_TRY(st, run_full_path(r, log_path, &path));
    SD_TRY(st, sd_file_make_parent(path));
    st = sd_file_write(path, t->log.text, t->log.length);
out:
    sd_free(from);
    sd_free(path);
    return st;
}

sd_status finetune_finish(tuning *t)
{
    run *r = t->r;
    folder f = {.path = r->model_dir[TUNED]};
    const char **list = NULL;
    sd_status st;

    st = SD_NEW(&f.names, NAMES_MAX);
    if (st == SD_OK)
        st = SD_NEW(&list, NAMES_MAX);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, finetune_withdraw(r, model_prefix, NULL));
    SD_TRY(st, finetune_withdraw(r, adapter_prefix, NULL));
    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? write_folder(t, &f) : SD_OK));
    SD_TRY(st, sd_par_bcast(r->par, &f.count, sizeof f.count, 0));
    SD_TRY(st, sd_par_bcast(r->par, f.names, f.count * sizeof *f.names, 0));
    for (uint64_t i = 0; i < f.count; i++)
        list[i] = f.names[i];
    SD_TRY(st, sd_manifest_add(r->manifest, list, NULL, f.count, t->key));
    r->made++;
out:
    sd_free(list);
    sd_free(f.names);
    return st;
}

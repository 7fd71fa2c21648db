/* Checkpoints, and the finished model as a Hugging Face folder. */
#include <math.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/bundle.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/weights.h"
#include "tune_private.h"

static const char format[] = "saediff.tuner";
static const char *const array_names[] = {"weights", "mean", "mean_square"};

enum { ARRAYS = 3, CONFIG_LIMIT = 1 << 20 };
#define SHARD_BYTES ((uint64_t)5000000000)

static sd_buf *array_of(const sd_tuner *t, int i)
{
    sd_buf *const bufs[ARRAYS] = {t->own.w, t->own.m, t->own.v};

    return bufs[i];
}

/* Rank 0. */
static sd_status write_bundle(const sd_tuner *t, const char *path, const char *key, const char *note, sd_real *const *data)
{
    static const char *const about[] = {"trainable parameters, concatenated in the order of \"names\"",
                                        "AdamW: mean of the gradient",
                                        "AdamW: mean of its square"};
    const sd_attr attrs[] = {{.name = "key", .kind = SD_ATTR_TEXT, .text = key},
                             {.name = "step", .kind = SD_ATTR_U64, .u64 = t->step},
                             {.name = "lora_rank", .kind = SD_ATTR_U64, .u64 = t->spec.rank},
                             {.name = "lora_alpha", .kind = SD_ATTR_F64, .f64 = t->spec.rank > 0 ? t->spec.alpha : 0}};
    sd_array arrays[ARRAYS + 2];
    sd_str names = {0};
    sd_status st;

    for (uint64_t i = 0; i < t->n_trainable; i++) {
        char name[TUNE_NAME];

        tune_name(t, i, name);
        sd_str_add(&names, "%s\n", name);
    }
    SD_TRY(st, names.status);
    for (int i = 0; i < ARRAYS; i++)
        arrays[i] = (sd_array){.name = array_names[i], .type = SD_REAL, .dims = 1, .shape = {t->elements}, .data = data[i], .unit = "1",
                               .about = about[i]};
    arrays[ARRAYS] = (sd_array){.name = "names", .type = SD_U8, .dims = 1, .shape = {names.length}, .data = names.text, .unit = "1",
                                .about = "names of the trainable parameters, one per line"};
    arrays[ARRAYS + 1] = (sd_array){.name = "note", .type = SD_U8, .dims = 1, .shape = {strlen(note) + 1}, .data = note, .unit = "1",
                                    .about = "the log so far, closed by a zero byte"};
    st = sd_bundle_write(path, format, 2, attrs, sizeof attrs / sizeof *attrs, arrays, ARRAYS + 2);
out:
    sd_str_free(&names);
    return st;
}

sd_status sd_tuner_save(sd_tuner *t, const char *path, const char *key, const char *note)
{
    uint64_t whole = t->own.blocks * TUNE_BLOCK;
    sd_real *data[ARRAYS] = {NULL}, *mine = t->own.part;
    sd_status st = SD_OK;

    for (int i = 0; i < ARRAYS && st == SD_OK && t->par->rank == 0; i++)
        st = SD_NEW(&data[i], whole);
    SD_TRY(st, sd_par_agree(t->par, st));
    for (int i = 0; i < ARRAYS; i++) {
        SD_TRY(st, sd_par_agree(t->par, sd_dev_download(t->dev, tune_owner_all(t, array_of(t, i)), mine)));
        SD_TRY(st, sd_par_gather(t->par, mine, t->own.mine.count * sizeof *mine, data[i], t->par->rank == 0 ? whole * sizeof *mine : 0));
    }
    if (t->par->rank == 0) {
        st = sd_file_make_parent(path);
        if (st == SD_OK)
            st = write_bundle(t, path, key, note, data);
    }
    st = sd_par_agree(t->par, st);
out:
    for (int i = 0; i < ARRAYS; i++)
        sd_free(data[i]);
    return st;
}

/* Local. */
static sd_status read_bundle(sd_tuner *t, const char *path, const char *key, uint64_t *step, char **note)
{
    sd_bundle *file = NULL;
    char *found = NULL;
    uint64_t any = 0;
    void *data = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_open(&file, path, format, 2));
    SD_TRY(st, sd_bundle_text(file, "key", &found));
    SD_TRY(st, sd_bundle_u64(file, "step", step));
    if (strcmp(found, key) != 0 || *step > t->steps) {
        st = SD_FAIL(SD_E_DATA, "%s: this checkpoint belongs to another job, or its step %llu exceeds the %llu of this one", path,
                     (unsigned long long)*step,
                     (unsigned long long)t->steps);
        goto out;
    }
    for (int i = 0; i < ARRAYS; i++) {
        SD_TRY(st, sd_bundle_read(file, array_names[i], SD_REAL, 1, (uint64_t[]){t->elements}, &data));
        SD_TRY(st, tune_owner_take(t, data, array_of(t, i)));
        if (i == 0)
            SD_TRY(st, sd_backward_put(t->backward, t->grad));
        sd_free(data);
        data = NULL;
    }
    SD_TRY(st, sd_bundle_read(file, "note", SD_U8, 1, &any, &data));
    if (any == 0 || ((const char *)data)[any - 1] != '\0') {
        st = SD_FAIL(SD_E_DATA, "%s: 'note' is not a text", path);
        goto out;
    }
    *note = data;
    data = NULL;
out:
    sd_free(data);
    sd_free(found);
    sd_bundle_close(&file);
    return st;
}

sd_status sd_tuner_load(sd_tuner *t, const char *path, const char *key, char **note)
{
    uint64_t step = 0;
    char *text = NULL;
    sd_status st;

    SD_TRY(st, sd_par_agree(t->par, read_bundle(t, path, key, &step, &text)));
    t->step = step;
    *note = text;
    text = NULL;
out:
    sd_free(text);
    return st;
}

/* ---- export */

typedef struct exporter {
    sd_tuner *t;
    sd_dtype type;
} exporter;

static sd_status export_tensor(void *self, uint64_t i, void *out)
{
    const exporter *e = self;
    const sd_model_tensor *tensor = &e->t->tensors[i];
    sd_real *host = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&host, tensor->count));
    SD_TRY(st, sd_model_weights_get(e->t->model, (sd_span){tensor->first, tensor->count}, host));
    for (uint64_t k = 0; k < tensor->count; k++)
        if (!isfinite(host[k])) {
            st = SD_FAIL(SD_E_DATA, "after step %llu '%s' is not finite at element %llu; lower finetune.lr", (unsigned long long)e->t->step,
                         tensor->name, (unsigned long long)k);
            goto out;
        }
    sd_convert(out, e->type, host, SD_REAL, tensor->count);
out:
    sd_free(host);
    return st;
}

static const char *torch_name(sd_dtype type)
{
    return type == SD_BF16 ? "bfloat16" : type == SD_F16 ? "float16" : "float32";
}

static sd_status export_config(const sd_tuner *t, const char *dir, sd_dtype type)
{
    char *from = NULL, *to = NULL, *text = NULL;
    sd_json *json = NULL;
    const char *key;
    cJSON *root, *name;
    sd_status st;

    SD_TRY(st, sd_path_join(&from, t->dir, "config.json"));
    SD_TRY(st, sd_path_join(&to, dir, "config.json"));
    SD_TRY(st, sd_json_open(&json, from, CONFIG_LIMIT));
    root = json->root;
    key = cJSON_HasObjectItem(root, "dtype") ? "dtype" : "torch_dtype";
    cJSON_DeleteItemFromObjectCaseSensitive(root, "auto_map");
    cJSON_DeleteItemFromObjectCaseSensitive(root, "dtype");
    cJSON_DeleteItemFromObjectCaseSensitive(root, "torch_dtype");
    name = cJSON_AddStringToObject(root, key, torch_name(type));
    text = name != NULL ? cJSON_Print(root) : NULL;
    st = text != NULL ? sd_file_write(to, text, strlen(text)) : SD_FAIL(SD_E_ENV, "no memory for the text of %s", to);
out:
    cJSON_free(text);
    sd_json_close(&json);
    sd_free(from);
    sd_free(to);
    return st;
}

sd_status sd_tuner_export(sd_tuner *t, const char *dir, sd_dtype type)
{
    exporter e = {t, type};
    sd_tensor *tensors = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&tensors, t->n_tensors));
    for (uint64_t i = 0; i < t->n_tensors; i++) {
        const sd_model_tensor *from = &t->tensors[i];

        tensors[i] = (sd_tensor){.name = from->name, .type = type, .dims = from->rows > 0 ? 2 : 1};
        tensors[i].shape[0] = from->rows > 0 ? from->rows : from->cols;
        tensors[i].shape[1] = from->rows > 0 ? from->cols : 0;
    }
    SD_TRY(st, sd_file_make_dirs(dir));
    SD_TRY(st, sd_weights_write(dir, tensors, (sd_tensor_source){export_tensor, &e}, t->n_tensors, SHARD_BYTES));
    st = export_config(t, dir, type);
out:
    sd_free(tensors);
    return st;
}

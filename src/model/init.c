#include "saediff/model/init.h"

#include <string.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/weights.h"

enum { CONFIG_LIMIT = 1 << 20, PART = 1 << 16 };
#define SHARD_BYTES ((uint64_t)5000000000)

typedef struct maker {
    const sd_wanted_list *list;
    sd_dtype type;
    double spread;
    uint64_t seed;
} maker;

static bool ends(const char *name, const char *tail)
{
    size_t length = strlen(name), n = strlen(tail);

    return length >= n && strcmp(name + length - n, tail) == 0;
}

static sd_status make_tensor(void *self, uint64_t t, void *out)
{
    const maker *m = self;
    const sd_wanted *w = &m->list->items[t];
    sd_key key = sd_key_make(m->seed, SD_STREAM_WEIGHTS, t);
    uint64_t count = (w->rows > 0 ? w->rows : 1) * w->cols;
    double fixed = ends(w->name, ".bias") ? 0 : 1, *part = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&part, PART));
    for (uint64_t first = 0; first < count; first += PART) {
        uint64_t n = count - first < PART ? count - first : PART;

        for (uint64_t i = 0; i < n; i++)
            part[i] = w->rows > 0 ? m->spread * sd_random_normal(key, first + i) : fixed;
        sd_convert((char *)out + first * sd_dtype_size(m->type), m->type, part, SD_F64, n);
    }
out:
    sd_free(part);
    return st;
}

/* The keys of config.json about values rather than shapes. */
static sd_status read_values(const char *path, maker *m)
{
    static const struct {
        const char *name;
        sd_dtype type;
    } types[] = {{"float32", SD_F32}, {"float16", SD_F16}, {"bfloat16", SD_BF16}};
    sd_json *json = NULL;
    const char *type;
    sd_status st;

    SD_TRY(st, sd_json_open(&json, path, CONFIG_LIMIT));
    SD_TRY(st, sd_json_text_or(json, json->root, "torch_dtype", "float32", &type));
    SD_TRY(st, sd_json_text_or(json, json->root, "dtype", type, &type));
    SD_TRY(st, sd_json_f64_or(json, json->root, "initializer_range", 0.02, &m->spread));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].name) == 0) {
            m->type = types[i].type;
            goto out;
        }
    st = SD_FAIL(SD_E_DATA, "%s: 'torch_dtype' is '%.100s'; it must be float32, float16 or bfloat16", path, type);
out:
    sd_json_close(&json);
    return st;
}

/* An existing configuration must be the same one. */
static sd_status read_config(const char *config, const char *out, char **path, char **text, uint64_t *size)
{
    char *there = NULL;
    uint64_t length = 0;
    sd_status st;

    SD_TRY(st, sd_file_read(config, CONFIG_LIMIT, text, size));
    SD_TRY(st, sd_path_join(path, out, "config.json"));
    if (!sd_file_exists(*path))
        goto out;
    SD_TRY(st, sd_file_read(*path, CONFIG_LIMIT, &there, &length));
    if (length != *size || memcmp(there, *text, length) != 0)
        st = SD_FAIL(SD_E_USAGE, "%s: a different configuration already exists; choose another folder, or remove it", *path);
out:
    sd_free(there);
    return st;
}

sd_status sd_model_init(const char *config, const char *out, uint64_t seed)
{
    maker m = {.seed = seed};
    sd_tensor *tensors = NULL;
    sd_wanted_list l = {0};
    sd_model *shape = NULL;
    char *path = NULL, *text = NULL;
    uint64_t size = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&shape, 1));
    SD_TRY(st, sd_model_config_read_file(&shape->config, config));
    SD_TRY(st, read_values(config, &m));
    SD_TRY(st, read_config(config, out, &path, &text, &size));
    SD_TRY(st, SD_NEW(&shape->layers, shape->config.n_layers));
    SD_TRY(st, sd_model_list(&l, shape));
    SD_TRY(st, SD_NEW(&tensors, l.count));
    for (uint64_t i = 0; i < l.count; i++) {
        const sd_wanted *w = &l.items[i];

        tensors[i] = (sd_tensor){.name = w->name, .type = m.type, .dims = w->rows > 0 ? 2 : 1};
        tensors[i].shape[0] = w->rows > 0 ? w->rows : w->cols;
        tensors[i].shape[1] = w->rows > 0 ? w->cols : 0;
    }
    m.list = &l;
    SD_TRY(st, sd_weights_write(out, tensors, (sd_tensor_source){make_tensor, &m}, l.count, SHARD_BYTES));
    st = sd_file_write(path, text, size);
out:
    sd_free(path);
    sd_free(text);
    sd_free(tensors);
    sd_free(l.items);
    if (shape != NULL)
        sd_free(shape->layers);
    sd_free(shape);
    return st;
}

/* A folder's weights, in one file or in shards. */
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/weights.h"

#include "json_scan.h"

#define METADATA "{\"format\":\"pt\"}"

/* The tensors of a shard, as the writer of one file sees them. */
typedef struct window {
    sd_tensor_source source;
    uint64_t first;
} window;

static sd_status fill_window(void *self, uint64_t i, void *out)
{
    const window *w = self;

    return w->source.fill(w->source.self, w->first + i, out);
}

static sd_status bytes_of(const sd_tensor *t, uint64_t *bytes)
{
    sd_status st = SD_OK;

    *bytes = sd_dtype_size(t->type);
    for (int d = 0; d < t->dims; d++)
        SD_TRY(st, sd_mul_u64(*bytes, t->shape[d], bytes, t->name));
out:
    return st;
}

/* shard_of[i], their number, and the bytes of all tensors. */
static sd_status deal(const sd_tensor *tensors, uint64_t count, uint64_t most, uint32_t *shard_of, uint32_t *shards, uint64_t *total)
{
    uint64_t used = 0, bytes = 0;
    sd_status st = SD_OK;

    *shards = 1;
    *total = 0;
    for (uint64_t i = 0; i < count; i++) {
        SD_TRY(st, bytes_of(&tensors[i], &bytes));
        if (used > 0 && bytes > most - (used < most ? used : most)) {
            ++*shards;
            used = 0;
        }
        shard_of[i] = *shards - 1;
        used += bytes;
        SD_TRY(st, sd_add_u64(*total, bytes, total, "the bytes of all tensors"));
    }
out:
    return st;
}

static sd_status refuse_others(const char *dir)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"};
    char *path = NULL;
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        SD_TRY(st, sd_path_join(&path, dir, names[i]));
        if (sd_file_exists(path)) {
            st = SD_FAIL(SD_E_USAGE, "%s already exists; use another folder, or remove it", path);
            goto out;
        }
        sd_free(path);
        path = NULL;
    }
out:
    sd_free(path);
    return st;
}

static sd_status shard_name(char **name, uint32_t shard, uint32_t shards)
{
    if (shards == 1)
        return sd_str_copy(name, "model.safetensors");
    return sd_str_format(name, "model-%05u-of-%05u.safetensors", shard + 1, shards);
}

static sd_status write_index(const char *dir, const sd_tensor *tensors, uint64_t count, const uint32_t *shard_of, uint32_t shards,
                             uint64_t total)
{
    char *name = NULL, *path = NULL;
    sd_str text = {0};
    sd_status st;

    sd_str_add(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {", (unsigned long long)total);
    for (uint64_t i = 0; i < count; i++) {
        SD_TRY(st, shard_name(&name, shard_of[i], shards));
        sd_str_add(&text, "%s\n    ", i > 0 ? "," : "");
        sd_json_quote(&text, tensors[i].name);
        sd_str_add(&text, ": \"%s\"", name);
        sd_free(name);
        name = NULL;
    }
    sd_str_add(&text, "\n  }\n}\n");
    SD_TRY(st, text.status);
    SD_TRY(st, sd_path_join(&path, dir, "model.safetensors.index.json"));
    st = sd_file_write(path, text.text, text.length);
out:
    sd_free(name);
    sd_free(path);
    sd_str_free(&text);
    return st;
}

sd_status sd_weights_write(const char *dir, const sd_tensor *tensors, sd_tensor_source source, uint64_t count, uint64_t shard_bytes)
{
    char *name = NULL, *path = NULL;
    uint32_t *shard_of = NULL, shards = 0;
    uint64_t total = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&shard_of, count));
    SD_TRY(st, deal(tensors, count, shard_bytes, shard_of, &shards, &total));
    SD_TRY(st, sd_file_make_dirs(dir));
    SD_TRY(st, refuse_others(dir));
    for (uint64_t first = 0, s = 0; s < shards; s++) {
        window w = {source, first};
        uint64_t n = 0;

        while (first + n < count && shard_of[first + n] == s)
            n++;
        sd_free(name);
        sd_free(path);
        name = path = NULL;
        SD_TRY(st, shard_name(&name, (uint32_t)s, shards));
        SD_TRY(st, sd_path_join(&path, dir, name));
        SD_TRY(st, sd_safetensors_write_from(path, tensors + first, (sd_tensor_source){fill_window, &w}, n, METADATA));
        first += n;
    }
    if (shards > 1)
        st = write_index(dir, tensors, count, shard_of, shards, total);
out:
    sd_free(shard_of);
    sd_free(name);
    sd_free(path);
    return st;
}

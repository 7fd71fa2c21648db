#include "saediff/store/weights.h"

#include <stdlib.h>
#include <string.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/torch.h"

enum { INDEX_LIMIT = 1 << 28, FILES_MOST = 4096, NAMED_MOST = 5 };

/* One file with tensors, of either format. */
typedef struct part {
    char *path;
    const char *name; /* inside the folder */
    sd_safetensors *safe;
    sd_torch *torch;
} part;

typedef struct entry {
    const sd_tensor *tensor;
    uint32_t part;
} entry;

struct sd_weights {
    char *path; /* file or index */
    bool is_torch;
    sd_json *index; /* NULL for a single file */
    part *parts;
    uint64_t n_parts;
    entry *entries; /* by name */
    uint64_t count;
};

static const struct form {
    const char *name;
    bool is_torch, is_index;
} forms[] = {{"model.safetensors", false, false},
             {"model.safetensors.index.json", false, true},
             {"pytorch_model.bin", true, false},
             {"pytorch_model.bin.index.json", true, true}};

static sd_status find_form(const char *dir, const struct form **form, char **path)
{
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        SD_TRY(st, sd_path_join(path, dir, forms[i].name));
        if (sd_file_exists(*path)) {
            *form = &forms[i];
            goto out;
        }
        sd_free(*path);
        *path = NULL;
    }
    st = SD_FAIL(SD_E_DATA, "%s: no weights here: none of model.safetensors, pytorch_model.bin and the .index.json of either", dir);
out:
    return st;
}

/* ---- the index ---- */

static sd_status refuse(const sd_weights *w, const cJSON *item, const char *what)
{
    uint64_t line, column;

    sd_json_location(w->index, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: %s", w->path, (unsigned long long)line, (unsigned long long)column, what);
}

static int by_file(const void *left, const void *right)
{
    return strcmp(((const part *)left)->name, ((const part *)right)->name);
}

static part *find_part(const sd_weights *w, const char *name)
{
    part wanted = {.name = name};

    return bsearch(&wanted, w->parts, w->n_parts, sizeof *w->parts, by_file);
}

static sd_status add_part(sd_weights *w, const cJSON *item)
{
    const char *name = item->valuestring;

    for (uint64_t i = 0; i < w->n_parts; i++)
        if (strcmp(w->parts[i].name, name) == 0)
            return SD_OK;
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL || strchr(name, '\\') != NULL)
        return refuse(w, item, "names a file outside of the folder; plain file names are expected");
    if (w->n_parts == FILES_MOST)
        return refuse(w, item, "one file more than the 4096 that are possible");
    w->parts[w->n_parts++].name = name;
    return SD_OK;
}

static sd_status read_index(sd_weights *w)
{
    const cJSON *map, *item;
    sd_status st;

    SD_TRY(st, sd_json_open(&w->index, w->path, INDEX_LIMIT));
    map = cJSON_GetObjectItemCaseSensitive(w->index->root, "weight_map");
    if (!cJSON_IsObject(map)) {
        st = SD_FAIL(SD_E_DATA, "%s: has no object 'weight_map' from tensors to files", w->path);
        goto out;
    }
    SD_TRY(st, SD_NEW(&w->parts, FILES_MOST));
    cJSON_ArrayForEach(item, map)
    {
        if (!cJSON_IsString(item)) {
            st = refuse(w, item, "not the name of a file");
            goto out;
        }
        SD_TRY(st, add_part(w, item));
    }
    qsort(w->parts, w->n_parts, sizeof *w->parts, by_file);
out:
    return st;
}

/* ---- files ---- */

static uint64_t tensors_of(const part *p)
{
    return p->safe != NULL ? sd_safetensors_count(p->safe) : sd_torch_count(p->torch);
}

static const sd_tensor *tensor_of(const part *p, uint64_t i)
{
    return p->safe != NULL ? sd_safetensors_at(p->safe, i) : sd_torch_at(p->torch, i);
}

static sd_status open_part(sd_weights *w, part *p, const char *dir)
{
    sd_status st;

    SD_TRY(st, sd_path_join(&p->path, dir, p->name));
    if (!sd_file_exists(p->path)) {
        st = SD_FAIL(SD_E_DATA, "%s: is missing; %s names it", p->path, w->path);
        goto out;
    }
    st = w->is_torch ? sd_torch_open(&p->torch, p->path) : sd_safetensors_open(&p->safe, p->path);
out:
    return st;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const entry *)left)->tensor->name, ((const entry *)right)->tensor->name);
}

static sd_status collect(sd_weights *w)
{
    uint64_t all = 0;
    sd_status st = SD_OK;

    for (uint64_t p = 0; p < w->n_parts; p++)
        all += tensors_of(&w->parts[p]);
    SD_TRY(st, SD_NEW(&w->entries, all));
    for (uint64_t p = 0; p < w->n_parts; p++)
        for (uint64_t i = 0; i < tensors_of(&w->parts[p]); i++)
            w->entries[w->count++] = (entry){tensor_of(&w->parts[p], i), (uint32_t)p};
    qsort(w->entries, w->count, sizeof *w->entries, by_name);
    for (uint64_t i = 0; i + 1 < w->count; i++)
        if (by_name(&w->entries[i], &w->entries[i + 1]) == 0) {
            st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' stands in %s too", w->parts[w->entries[i].part].path, w->entries[i].tensor->name,
                         w->parts[w->entries[i + 1].part].path);
            goto out;
        }
out:
    return st;
}

static const entry *find(const sd_weights *w, const char *name)
{
    sd_tensor tensor = {.name = name};
    entry wanted = {.tensor = &tensor};

    return bsearch(&wanted, w->entries, w->count, sizeof *w->entries, by_name);
}

/* What the index lists is where it says. */
static sd_status check_index(const sd_weights *w)
{
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(w->index->root, "weight_map"), *item;
    uint64_t listed = 0;

    cJSON_ArrayForEach(item, map)
    {
        const entry *e = find(w, item->string);
        const part *p = find_part(w, item->valuestring);

        if (e == NULL || &w->parts[e->part] != p)
            return SD_FAIL(SD_E_DATA, "%s: tensor '%s' is not in %s, where the index puts it", w->path, item->string, p->path);
        listed++;
    }
    if (listed < w->count)
        sd_warn("%s: %llu tensors stand in the files that the index does not list", w->path, (unsigned long long)(w->count - listed));
    return SD_OK;
}

sd_status sd_weights_open(sd_weights **weights, const char *dir)
{
    const struct form *form = NULL;
    sd_weights *w = NULL;
    sd_status st;

    *weights = NULL;
    SD_TRY(st, SD_NEW(&w, 1));
    SD_TRY(st, find_form(dir, &form, &w->path));
    w->is_torch = form->is_torch;
    if (form->is_index) {
        SD_TRY(st, read_index(w));
    } else {
        SD_TRY(st, SD_NEW(&w->parts, 1));
        w->parts[w->n_parts++].name = form->name;
    }
    for (uint64_t p = 0; p < w->n_parts; p++)
        SD_TRY(st, open_part(w, &w->parts[p], dir));
    SD_TRY(st, collect(w));
    if (form->is_index)
        SD_TRY(st, check_index(w));
    *weights = w;
    w = NULL;
out:
    sd_weights_close(&w);
    return st;
}

void sd_weights_close(sd_weights **weights)
{
    sd_weights *w = *weights;

    if (w == NULL)
        return;
    for (uint64_t p = 0; p < w->n_parts; p++) {
        sd_safetensors_close(&w->parts[p].safe);
        sd_torch_close(&w->parts[p].torch);
        sd_free(w->parts[p].path);
    }
    sd_free(w->parts);
    sd_free(w->entries);
    sd_json_close(&w->index);
    sd_free(w->path);
    sd_free(w);
    *weights = NULL;
}

const char *sd_weights_path(const sd_weights *w)
{
    return w->path;
}

uint64_t sd_weights_count(const sd_weights *w)
{
    return w->count;
}

const sd_tensor *sd_weights_at(const sd_weights *w, uint64_t i)
{
    return w->entries[i].tensor;
}

const sd_tensor *sd_weights_find(const sd_weights *w, const char *name)
{
    const entry *e = find(w, name);

    return e != NULL ? e->tensor : NULL;
}

const char *sd_weights_file(const sd_weights *w, const sd_tensor *tensor)
{
    return w->parts[find(w, tensor->name)->part].path;
}

sd_status sd_weights_read(sd_weights *w, const sd_tensor *tensor, sd_dtype type, void *out)
{
    part *p = &w->parts[find(w, tensor->name)->part];

    return p->safe != NULL ? sd_safetensors_read(p->safe, tensor, type, out) : sd_torch_read(p->torch, tensor, type, out);
}

static sd_status digest_file(sd_sha256 *sha, const char *dir, const char *name)
{
    char hex[SD_SHA256_HEX], *path = NULL;
    sd_status st;

    SD_TRY(st, sd_path_join(&path, dir, name));
    SD_TRY(st, sd_file_sha256(path, hex));
    sd_sha256_add_text(sha, name);
    sd_sha256_add_text(sha, hex);
out:
    sd_free(path);
    return st;
}

sd_status sd_weights_digest(const char *dir, char hex[SD_SHA256_HEX])
{
    sd_weights *w = NULL;
    sd_sha256 sha;
    sd_status st;

    SD_TRY(st, sd_weights_open(&w, dir));
    sd_sha256_begin(&sha);
    SD_TRY(st, digest_file(&sha, dir, "config.json"));
    if (w->index != NULL)
        SD_TRY(st, digest_file(&sha, dir, strrchr(w->path, '/') != NULL ? strrchr(w->path, '/') + 1 : w->path));
    for (uint64_t p = 0; p < w->n_parts; p++)
        SD_TRY(st, digest_file(&sha, dir, w->parts[p].name));
    sd_sha256_end(&sha, hex);
out:
    sd_weights_close(&w);
    return st;
}

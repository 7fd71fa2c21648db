#include "saediff/store/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_io.h"
#include "json_scan.h"
#include "metadata.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { PREFIX = 8, HEADER_LIMIT = 100000000, PART_BYTES = 1 << 20 };

struct sd_safetensors {
    char *path;
    int fd;
    uint64_t count;
    sd_json *header; /* owns the names */
    sd_tensor *tensors; /* by offset */
    const sd_tensor **by_name;
};

/* As the format writes them. BOOL is one byte, 0 or 1. */
static const struct type_name {
    const char *name;
    sd_dtype type;
} type_names[] = {{"F32", SD_F32}, {"F64", SD_F64}, {"F16", SD_F16}, {"BF16", SD_BF16}, {"I32", SD_I32},
                  {"U32", SD_U32}, {"I64", SD_I64}, {"U64", SD_U64}, {"U8", SD_U8},     {"BOOL", SD_U8}};
enum { TYPE_NAMES = sizeof type_names / sizeof type_names[0] };

static const char *name_of_type(sd_dtype type)
{
    size_t i;

    for (i = 0; i < TYPE_NAMES; i++)
        if (type_names[i].type == type)
            return type_names[i].name;
    return "?";
}

/* A JSON number that is a count or an offset. */
static bool to_u64(const cJSON *item, uint64_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 9007199254740992.0)
        return false;
    *value = (uint64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

static sd_status parse_type(const char *path, const cJSON *entry, sd_tensor *t)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    size_t i;

    if (!cJSON_IsString(dtype))
        return SD_FAIL(SD_E_DATA, "%s: tensor '%s' has no dtype", path, t->name);
    for (i = 0; i < TYPE_NAMES; i++)
        if (strcmp(type_names[i].name, dtype->valuestring) == 0) {
            t->type = type_names[i].type;
            return SD_OK;
        }
    return SD_FAIL(SD_E_DATA, "%s: tensor '%s' has the dtype '%s', which this program does not read (F64, F32, F16, BF16, "
                              "I64, I32, U64, U32, U8 and BOOL it does)",
                   path, t->name, dtype->valuestring);
}

/* Fills *t from one member of the header; offset stays relative to the data. */
static sd_status parse_tensor(const char *path, const cJSON *entry, sd_tensor *t)
{
    const cJSON *shape, *offsets, *size;
    uint64_t bytes, begin, end;
    sd_status st;

    t->name = entry->string;
    if (!cJSON_IsObject(entry))
        return SD_FAIL(SD_E_DATA, "%s: tensor '%s' is not described by an object", path, t->name);
    SD_TRY(st, parse_type(path, entry, t));
    shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) > SD_TENSOR_DIMS) {
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' has no shape of at most %d dimensions", path, t->name, (int)SD_TENSOR_DIMS);
        goto out;
    }
    bytes = sd_dtype_size(t->type);
    cJSON_ArrayForEach(size, shape)
    {
        if (!to_u64(size, &t->shape[t->dims])) {
            st = SD_FAIL(SD_E_DATA, "%s: dimension %d of tensor '%s' is not a whole number from 0", path, t->dims, t->name);
            goto out;
        }
        if (sd_mul_u64(bytes, t->shape[t->dims], &bytes, t->name) != SD_OK) {
            st = SD_FAIL(SD_E_DATA, "%s: the shape of tensor '%s' is larger than any memory", path, t->name);
            goto out;
        }
        t->dims++;
    }
    offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !to_u64(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !to_u64(cJSON_GetArrayItem(offsets, 1), &end) || begin > end) {
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' has no data_offsets [begin, end]", path, t->name);
        goto out;
    }
    if (end - begin != bytes) {
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' has %llu bytes of data, its shape and dtype need %llu", path, t->name,
                     (unsigned long long)(end - begin), (unsigned long long)bytes);
        goto out;
    }
    t->offset = begin;
    t->bytes = bytes;
out:
    return st;
}

static int by_offset(const void *left, const void *right)
{
    const sd_tensor *a = left, *b = right;

    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int by_name(const void *left, const void *right)
{
    return strcmp((*(const sd_tensor *const *)left)->name, (*(const sd_tensor *const *)right)->name);
}

/* The tensors fill the `size` bytes after the header exactly. */
static sd_status check_cover(sd_safetensors *f, uint64_t base, uint64_t size)
{
    uint64_t at = 0, i;

    qsort(f->tensors, f->count, sizeof *f->tensors, by_offset);
    for (i = 0; i < f->count; i++) {
        sd_tensor *t = &f->tensors[i];

        if (t->offset != at)
            return SD_FAIL(SD_E_DATA, "%s: tensor '%s' begins at byte %llu of the data, %s ends at %llu: %s", f->path, t->name,
                           (unsigned long long)t->offset, i == 0 ? "nothing" : f->tensors[i - 1].name,
                           (unsigned long long)at, t->offset < at ? "they overlap" : "there is a hole");
        if (t->bytes > size - at)
            return SD_FAIL(SD_E_DATA, "%s: tensor '%s' needs %llu bytes from byte %llu of the data, of which there are only "
                                      "%llu; the file is cut off",
                           f->path, t->name, (unsigned long long)t->bytes, (unsigned long long)at, (unsigned long long)size);
        t->offset += base;
        at += t->bytes;
        f->by_name[i] = t;
    }
    if (at != size)
        return SD_FAIL(SD_E_DATA, "%s: %llu bytes follow the last tensor", f->path, (unsigned long long)(size - at));
    qsort(f->by_name, f->count, sizeof *f->by_name, by_name);
    return SD_OK;
}

static sd_status read_header(sd_safetensors *f, uint64_t size)
{
    unsigned char prefix[PREFIX];
    char *text = NULL;
    const cJSON *entry;
    uint64_t length = 0, members = 0;
    int i;
    sd_status st;

    if (size < PREFIX) {
        st = SD_FAIL(SD_E_DATA, "%s: has %llu bytes, too few for a safetensors file", f->path, (unsigned long long)size);
        goto out;
    }
    SD_TRY(st, sd_file_get(f->fd, f->path, 0, prefix, PREFIX));
    for (i = PREFIX - 1; i >= 0; i--)
        length = length << 8 | prefix[i];
    if (length < 2 || length > HEADER_LIMIT || length > size - PREFIX) {
        st = SD_FAIL(SD_E_DATA, "%s: says its header has %llu bytes; between 2 and %llu are possible here; this is not a "
                                "safetensors file, or it is cut off",
                     f->path, (unsigned long long)length,
                     (unsigned long long)(size - PREFIX < HEADER_LIMIT ? size - PREFIX : HEADER_LIMIT));
        goto out;
    }
    SD_TRY(st, SD_NEW(&text, length + 1));
    SD_TRY(st, sd_file_get(f->fd, f->path, PREFIX, text, length));
    if (text[0] != '{') {
        st = SD_FAIL(SD_E_DATA, "%s: the header does not begin with '{'; this is not a safetensors file", f->path);
        goto out;
    }
    SD_TRY(st, sd_json_parse(&f->header, f->path, text, length));
    cJSON_ArrayForEach(entry, f->header->root) members++;
    SD_TRY(st, SD_NEW(&f->tensors, members));
    SD_TRY(st, SD_NEW(&f->by_name, members));
    cJSON_ArrayForEach(entry, f->header->root)
    {
        if (strcmp(entry->string, "__metadata__") == 0)
            continue;
        SD_TRY(st, parse_tensor(f->path, entry, &f->tensors[f->count]));
        f->count++;
    }
    SD_TRY(st, check_cover(f, PREFIX + length, size - PREFIX - length));
out:
    sd_free(text);
    return st;
}

sd_status sd_safetensors_open(sd_safetensors **file, const char *path)
{
    sd_safetensors *f = NULL;
    uint64_t size = 0;
    sd_status st;

    *file = NULL;
    SD_TRY(st, SD_NEW(&f, 1));
    f->fd = -1;
    SD_TRY(st, sd_str_copy(&f->path, path));
    SD_TRY(st, sd_file_open_read(path, &f->fd, &size));
    SD_TRY(st, read_header(f, size));
    *file = f;
    f = NULL;
out:
    sd_safetensors_close(&f);
    return st;
}

void sd_safetensors_close(sd_safetensors **file)
{
    sd_safetensors *f = *file;

    if (f == NULL)
        return;
    if (f->fd >= 0)
        close(f->fd);
    sd_free(f->by_name);
    sd_free(f->tensors);
    sd_json_close(&f->header);
    sd_free(f->path);
    sd_free(f);
    *file = NULL;
}

uint64_t sd_safetensors_count(const sd_safetensors *file)
{
    return file->count;
}

const sd_tensor *sd_safetensors_at(const sd_safetensors *file, uint64_t i)
{
    return &file->tensors[i];
}

const sd_tensor *sd_safetensors_find(const sd_safetensors *file, const char *name)
{
    sd_tensor wanted = {.name = name};
    const sd_tensor *key = &wanted, **found;

    found = bsearch(&key, file->by_name, file->count, sizeof *file->by_name, by_name);
    return found != NULL ? *found : NULL;
}

const cJSON *sd_safetensors_metadata(const sd_safetensors *file)
{
    return cJSON_GetObjectItemCaseSensitive(file->header->root, "__metadata__");
}

sd_status sd_safetensors_read(sd_safetensors *file, const sd_tensor *tensor, sd_dtype type, void *out)
{
    uint64_t from_size = sd_dtype_size(tensor->type), to_size = sd_dtype_size(type);
    uint64_t count = tensor->bytes / from_size, done;
    char *part = NULL;
    sd_status st;

    if (type == tensor->type)
        return sd_file_get(file->fd, file->path, tensor->offset, out, tensor->bytes);
    if (!sd_dtype_is_float(type) || !sd_dtype_is_float(tensor->type))
        return SD_FAIL(SD_E_DATA, "%s: tensor '%s' is %s and cannot be read as %s", file->path, tensor->name,
                       sd_dtype_name(tensor->type), sd_dtype_name(type));
    SD_TRY(st, SD_NEW(&part, PART_BYTES));
    for (done = 0; done < count;) {
        uint64_t n = PART_BYTES / from_size;

        if (n > count - done)
            n = count - done;
        SD_TRY(st, sd_file_get(file->fd, file->path, tensor->offset + done * from_size, part, n * from_size));
        sd_convert((char *)out + done * to_size, type, part, tensor->type, n);
        done += n;
    }
out:
    sd_free(part);
    return st;
}

static sd_status measure(const char *path, const sd_tensor *t, uint64_t *bytes)
{
    int d;
    sd_status st = SD_OK;

    if (t->dims < 0 || t->dims > SD_TENSOR_DIMS)
        return SD_FAIL(SD_E_INTERNAL, "%s: tensor '%s' with %d dimensions", path, t->name, t->dims);
    *bytes = sd_dtype_size(t->type);
    for (d = 0; d < t->dims; d++)
        SD_TRY(st, sd_mul_u64(*bytes, t->shape[d], bytes, t->name));
out:
    return st;
}

/* The header, padded with blanks so that the data begins at a multiple of 8. */
static sd_status make_header(sd_str *text, const char *path, const sd_tensor *tensors, uint64_t count, const char *metadata,
                             uint64_t *total)
{
    uint64_t i, at = 0, bytes = 0;
    int d;
    sd_status st = SD_OK;

    sd_str_add(text, "{");
    if (metadata != NULL)
        sd_str_add(text, "\"__metadata__\":%s%s", metadata, count > 0 ? "," : "");
    for (i = 0; i < count; i++) {
        const sd_tensor *t = &tensors[i];

        SD_TRY(st, measure(path, t, &bytes));
        sd_json_quote(text, t->name);
        sd_str_add(text, ":{\"dtype\":\"%s\",\"shape\":[", name_of_type(t->type));
        for (d = 0; d < t->dims; d++)
            sd_str_add(text, "%s%llu", d > 0 ? "," : "", (unsigned long long)t->shape[d]);
        sd_str_add(text, "],\"data_offsets\":[%llu,%llu]}%s", (unsigned long long)at, (unsigned long long)(at + bytes),
                   i + 1 < count ? "," : "");
        SD_TRY(st, sd_add_u64(at, bytes, &at, path));
    }
    sd_str_add(text, "}");
    while (text->status == SD_OK && text->length % 8 != 0)
        sd_str_add(text, " ");
    st = text->status;
    *total = at;
out:
    return st;
}

/* Elements of each tensor in turn, straight from memory or by way of `room`. */
static sd_status put_tensors(int fd, const char *path, const sd_tensor *tensors, uint64_t count, sd_tensor_source source)
{
    uint64_t bytes = 0, most = 0;
    void *capacity = NULL;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < count; i++) {
        SD_TRY(st, measure(path, &tensors[i], &bytes));
        most = bytes > most ? bytes : most;
    }
    SD_TRY(st, sd_alloc_bytes(&capacity, most, 1));
    for (uint64_t i = 0; i < count; i++) {
        SD_TRY(st, measure(path, &tensors[i], &bytes));
        SD_TRY(st, source.fill(source.self, i, capacity));
        SD_TRY(st, sd_file_put(fd, path, capacity, bytes));
    }
out:
    sd_free(capacity);
    return st;
}

sd_status sd_safetensors_write_from(const char *path, const sd_tensor *tensors, sd_tensor_source source, uint64_t count,
                                    const char *metadata_json)
{
    sd_str text = {0};
    char *temporary = NULL;
    unsigned char prefix[PREFIX];
    uint64_t total = 0;
    int fd = -1, d;
    sd_status st;

    SD_TRY(st, make_header(&text, path, tensors, count, metadata_json, &total));
    SD_TRY(st, sd_add_u64(total, PREFIX + text.length, &total, path));
    SD_TRY(st, sd_file_room(path, total));
    for (d = 0; d < PREFIX; d++)
        prefix[d] = (unsigned char)((uint64_t)text.length >> (8 * d));
    SD_TRY(st, sd_str_format(&temporary, "%s.tmp", path));
    SD_TRY(st, sd_file_begin(temporary, &fd));
    SD_TRY(st, sd_file_put(fd, temporary, prefix, PREFIX));
    SD_TRY(st, sd_file_put(fd, temporary, text.text, text.length));
    SD_TRY(st, put_tensors(fd, temporary, tensors, count, source));
    SD_TRY(st, sd_file_commit(temporary, path));
out:
    if (fd >= 0) {
        close(fd);
        if (st != SD_OK)
            unlink(temporary);
    }
    sd_free(temporary);
    sd_str_free(&text);
    return st;
}

typedef struct arrays {
    const sd_tensor *tensors;
    const void *const *data;
} arrays;

static sd_status fill_from_array(void *self, uint64_t i, void *out)
{
    const arrays *a = self;
    uint64_t bytes = 0;
    sd_status st;

    SD_TRY(st, measure("tensors in memory", &a->tensors[i], &bytes));
    if (bytes > 0)
        memcpy(out, a->data[i], bytes);
out:
    return st;
}

sd_status sd_safetensors_write(const char *path, const sd_tensor *tensors, const void *const *data, uint64_t count,
                               const char *metadata_json)
{
    arrays a = {tensors, data};

    return sd_safetensors_write_from(path, tensors, (sd_tensor_source){fill_from_array, &a}, count, metadata_json);
}

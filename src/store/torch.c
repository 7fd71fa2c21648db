#include "saediff/store/torch.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "pickle.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

enum { PICKLE_LIMIT = 1 << 26, PART_BYTES = 1 << 20 };

struct sd_torch {
    char *path;
    zip_t *zip;
    char *root; /* folder inside the archive, with its slash */
    sd_pickle_tensor *raw;
    sd_tensor *tensors; /* [count], as raw */
    uint64_t count;
};

static sd_status zip_failed(const sd_torch *f, const char *entry, const char *why)
{
    return SD_FAIL(SD_E_DATA, "%s: entry '%s' of the archive: %s; the file is damaged", f->path, entry, why);
}

static sd_status entry_size(const sd_torch *f, const char *entry, uint64_t *size)
{
    zip_stat_t stat;

    zip_stat_init(&stat);
    if (zip_stat(f->zip, entry, 0, &stat) != 0 || (stat.valid & ZIP_STAT_SIZE) == 0)
        return zip_failed(f, entry, "is missing");
    *size = stat.size;
    return SD_OK;
}

/* Exactly `bytes` bytes from where `entry` stands. */
static sd_status get(const sd_torch *f, zip_file_t *entry, const char *name, void *out, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t part = bytes < PART_BYTES ? bytes : PART_BYTES;
        zip_int64_t got = zip_fread(entry, out, part);

        if (got <= 0)
            return zip_failed(f, name, got < 0 ? zip_file_strerror(entry) : "ends too early");
        out = (char *)out + got;
        bytes -= (uint64_t)got;
    }
    return SD_OK;
}

/* The whole entry; its checksum is compared when its end is reached. */
static sd_status read_entry(const sd_torch *f, const char *name, uint64_t limit, uint8_t **bytes, uint64_t *size)
{
    zip_file_t *entry = NULL;
    char extra;
    sd_status st;

    SD_TRY(st, entry_size(f, name, size));
    if (*size > limit) {
        st = SD_FAIL(SD_E_DATA, "%s: entry '%s' of the archive has %llu bytes; at most %llu are expected", f->path, name,
                     (unsigned long long)*size, (unsigned long long)limit);
        goto out;
    }
    SD_TRY(st, SD_NEW(bytes, *size));
    entry = zip_fopen(f->zip, name, 0);
    if (entry == NULL) {
        st = zip_failed(f, name, zip_strerror(f->zip));
        goto out;
    }
    SD_TRY(st, get(f, entry, name, *bytes, *size));
    if (zip_fread(entry, &extra, 1) != 0)
        st = zip_failed(f, name, zip_file_strerror(entry));
out:
    if (entry != NULL)
        zip_fclose(entry);
    return st;
}

/* All entries lie in one folder, which has the file's name at the time it was saved. */
static sd_status find_root(sd_torch *f)
{
    static const char end[] = "/data.pkl";
    zip_int64_t entries = zip_get_num_entries(f->zip, 0);

    for (zip_int64_t i = 0; i < entries; i++) {
        const char *name = zip_get_name(f->zip, (zip_uint64_t)i, 0);
        size_t length = name != NULL ? strlen(name) : 0;

        if (length > strlen(end) && strcmp(name + length - strlen(end), end) == 0 &&
            strchr(name, '/') == name + length - strlen(end))
            return sd_str_format(&f->root, "%.*s", (int)(length - strlen("data.pkl")), name);
    }
    return SD_FAIL(SD_E_DATA, "%s: a zip archive without data.pkl, so no PyTorch checkpoint", f->path);
}

static sd_status check_order(const sd_torch *f)
{
    char *name = NULL;
    uint8_t *order = NULL;
    uint64_t size;
    sd_status st;

    SD_TRY(st, sd_str_format(&name, "%sbyteorder", f->root));
    if (zip_name_locate(f->zip, name, 0) < 0)
        goto out;
    SD_TRY(st, read_entry(f, name, 16, &order, &size));
    if (size != strlen("little") || memcmp(order, "little", size) != 0)
        st = SD_FAIL(SD_E_DATA, "%s: was written in the byte order '%.*s'; only little-endian files are read", f->path, (int)size,
                     (const char *)order);
out:
    sd_free(order);
    sd_free(name);
    return st;
}

/* The last element that the tensor touches lies in its storage, and that in its entry. */
static sd_status check_tensor(const sd_torch *f, const sd_pickle_tensor *raw, sd_tensor *t)
{
    uint64_t last = raw->offset, count = 1, size = sd_dtype_size(raw->type), stored, step, bytes;
    char *entry = NULL;
    bool fits = true;
    sd_status st;

    *t = (sd_tensor){.name = raw->name, .type = raw->type, .dims = raw->dims};
    for (int d = 0; d < raw->dims; d++) {
        t->shape[d] = raw->shape[d];
        fits = fits && sd_mul_u64(count, raw->shape[d], &count, raw->name) == SD_OK;
    }
    for (int d = 0; d < raw->dims && count > 0 && fits; d++)
        fits = sd_mul_u64(raw->shape[d] - 1, raw->stride[d], &step, raw->name) == SD_OK &&
               sd_add_u64(last, step, &last, raw->name) == SD_OK;
    fits = fits && sd_mul_u64(count, size, &bytes, raw->name) == SD_OK && sd_mul_u64(raw->elements, size, &stored, raw->name) == SD_OK;
    if (!fits || (count > 0 && last >= raw->elements)) {
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' reaches beyond the %llu elements of its storage '%s'; the file is damaged", f->path,
                     raw->name, (unsigned long long)raw->elements, raw->key);
        goto out;
    }
    t->offset = raw->offset * size;
    t->bytes = bytes;
    SD_TRY(st, sd_str_format(&entry, "%sdata/%s", f->root, raw->key));
    SD_TRY(st, entry_size(f, entry, &bytes));
    if (bytes < stored)
        st = SD_FAIL(SD_E_DATA, "%s: storage '%s' of tensor '%s' has %llu bytes; its %llu elements need %llu; the file is cut off",
                     f->path, raw->key, raw->name, (unsigned long long)bytes, (unsigned long long)raw->elements,
                     (unsigned long long)stored);
out:
    sd_free(entry);
    return st;
}

static sd_status check_tensors(sd_torch *f)
{
    sd_status st;

    SD_TRY(st, SD_NEW(&f->tensors, f->count));
    for (uint64_t i = 0; i < f->count; i++)
        SD_TRY(st, check_tensor(f, &f->raw[i], &f->tensors[i]));
out:
    return st;
}

static sd_status open_zip(sd_torch *f)
{
    char why[128] = "";
    zip_error_t error;
    int code = 0;

    f->zip = zip_open(f->path, ZIP_RDONLY, &code);
    if (f->zip != NULL)
        return SD_OK;
    zip_error_init_with_code(&error, code);
    strncpy(why, zip_error_strerror(&error), sizeof why - 1);
    zip_error_fini(&error);
    if (code == ZIP_ER_NOENT || code == ZIP_ER_OPEN || code == ZIP_ER_READ)
        return SD_FAIL(SD_E_DATA, "%s: cannot be read: %s", f->path, why);
    if (code == ZIP_ER_MEMORY)
        return SD_FAIL(SD_E_ENV, "%s: no memory to read the archive", f->path);
    return SD_FAIL(SD_E_DATA,
                   "%s: no zip archive (%s); it is damaged, or older than PyTorch 1.6: load it in PyTorch and save it anew, or as "
                   "safetensors",
                   f->path, why);
}

sd_status sd_torch_open(sd_torch **file, const char *path)
{
    sd_torch *f = NULL;
    char *name = NULL;
    uint8_t *bytes = NULL;
    uint64_t size;
    sd_status st;

    *file = NULL;
    SD_TRY(st, SD_NEW(&f, 1));
    SD_TRY(st, sd_str_copy(&f->path, path));
    SD_TRY(st, open_zip(f));
    SD_TRY(st, find_root(f));
    SD_TRY(st, check_order(f));
    SD_TRY(st, sd_str_format(&name, "%sdata.pkl", f->root));
    SD_TRY(st, read_entry(f, name, PICKLE_LIMIT, &bytes, &size));
    SD_TRY(st, sd_pickle_read(path, bytes, size, &f->raw, &f->count));
    SD_TRY(st, check_tensors(f));
    *file = f;
    f = NULL;
out:
    sd_free(bytes);
    sd_free(name);
    sd_torch_close(&f);
    return st;
}

void sd_torch_close(sd_torch **file)
{
    sd_torch *f = *file;

    if (f == NULL)
        return;
    sd_pickle_free(&f->raw, f->count);
    sd_free(f->tensors);
    if (f->zip != NULL)
        zip_discard(f->zip);
    sd_free(f->root);
    sd_free(f->path);
    sd_free(f);
    *file = NULL;
}

uint64_t sd_torch_count(const sd_torch *file)
{
    return file->count;
}

const sd_tensor *sd_torch_at(const sd_torch *file, uint64_t i)
{
    return &file->tensors[i];
}

static bool row_major(const sd_pickle_tensor *raw)
{
    uint64_t stride = 1;

    for (int d = raw->dims - 1; d >= 0; d--) {
        if (raw->shape[d] != 1 && raw->stride[d] != stride)
            return false;
        stride *= raw->shape[d];
    }
    return true;
}

/* `count` consecutive elements from where `entry` stands, converted. */
static sd_status read_run(const sd_torch *f, zip_file_t *entry, const sd_pickle_tensor *raw, sd_dtype type, void *out, uint64_t count)
{
    uint64_t from = sd_dtype_size(raw->type), to = sd_dtype_size(type);
    char *part = NULL;
    sd_status st;

    if (type == raw->type)
        return get(f, entry, raw->key, out, count * from);
    SD_TRY(st, SD_NEW(&part, PART_BYTES));
    while (count > 0) {
        uint64_t n = count < PART_BYTES / from ? count : PART_BYTES / from;

        SD_TRY(st, get(f, entry, raw->key, part, n * from));
        sd_convert(out, type, part, raw->type, n);
        out = (char *)out + n * to;
        count -= n;
    }
out:
    sd_free(part);
    return st;
}

/* Elements of `all` (the stretch of the storage that the tensor touches) in row-major order. */
static void pick(const sd_pickle_tensor *raw, const char *all, uint64_t size, char *out, uint64_t count)
{
    uint64_t index[SD_TENSOR_DIMS] = {0};

    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = 0;

        for (int d = 0; d < raw->dims; d++)
            at += index[d] * raw->stride[d];
        memcpy(out + i * size, all + at * size, size);
        for (int d = raw->dims - 1; d >= 0 && ++index[d] == raw->shape[d]; d--)
            index[d] = 0;
    }
}

sd_status sd_torch_read(sd_torch *f, const sd_tensor *tensor, sd_dtype type, void *out)
{
    const sd_pickle_tensor *raw = &f->raw[tensor - f->tensors];
    uint64_t size = sd_dtype_size(raw->type), count = tensor->bytes / size, span = count;
    zip_file_t *entry = NULL;
    char *name = NULL, *all = NULL;
    bool plain = row_major(raw);
    sd_status st;

    if (type != raw->type && (!sd_dtype_is_float(type) || !sd_dtype_is_float(raw->type))) {
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' is %s and cannot be read as %s", f->path, raw->name, sd_dtype_name(raw->type),
                     sd_dtype_name(type));
        goto out;
    }
    SD_TRY(st, sd_str_format(&name, "%sdata/%s", f->root, raw->key));
    entry = zip_fopen(f->zip, name, 0);
    if (entry == NULL || (tensor->offset > 0 && count > 0 && zip_fseek(entry, (zip_int64_t)tensor->offset, SEEK_SET) != 0)) {
        st = zip_failed(f, name, entry == NULL ? zip_strerror(f->zip) : "is compressed; PyTorch stores tensors as they are");
        goto out;
    }
    if (count == 0)
        goto out;
    if (plain) {
        st = read_run(f, entry, raw, type, out, count);
        goto out;
    }
    span = 1;
    for (int d = 0; d < raw->dims; d++)
        span += (raw->shape[d] - 1) * raw->stride[d];
    SD_TRY(st, sd_alloc_bytes((void **)&all, span, sd_dtype_size(type)));
    SD_TRY(st, read_run(f, entry, raw, type, all, span));
    pick(raw, all, sd_dtype_size(type), out, count);
out:
    sd_free(all);
    sd_free(name);
    if (entry != NULL)
        zip_fclose(entry);
    return st;
}

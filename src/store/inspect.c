/* What is in a file, told apart by its first bytes. The HDF5 part is in inspect_h5.c. */
#include "saediff/store/inspect.h"

#include <string.h>
#include <unistd.h>

#include "file_io.h"
#include "inspect_h5.h"
#include "manifest_text.h"
#include "metadata.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/torch.h"

enum { HEAD = 16, VALUES = 5, LOG_LIMIT = 1 << 30, TENSOR_LIMIT = 1 << 30 };

static const char ZIP_SIGNATURE[4] = {'P', 'K', 3, 4};
static const char H5_SIGNATURE[8] = {'\x89', 'H', 'D', 'F', '\r', '\n', '\x1a', '\n'};

static void print_value(FILE *out, sd_dtype type, const void *values, uint64_t i)
{
    switch (type) {
    case SD_I32:
        fprintf(out, " %ld", (long)((const int32_t *)values)[i]);
        break;
    case SD_U32:
        fprintf(out, " %lu", (unsigned long)((const uint32_t *)values)[i]);
        break;
    case SD_I64:
        fprintf(out, " %lld", (long long)((const int64_t *)values)[i]);
        break;
    case SD_U64:
        fprintf(out, " %llu", (unsigned long long)((const uint64_t *)values)[i]);
        break;
    case SD_U8:
        fprintf(out, " %u", ((const uint8_t *)values)[i]);
        break;
    case SD_F32:
    case SD_F64:
    case SD_F16:
    case SD_BF16:
    case SD_DTYPES:
    default: {
        double value;

        sd_convert(&value, SD_F64, (const char *)values + i * sd_dtype_size(type), type, 1);
        fprintf(out, " %.6g", value);
    }
    }
}

/* The line of a tensor whose first `shown` elements are in `values`. */
static void print_tensor(FILE *out, const sd_tensor *t, const void *values, uint64_t shown)
{
    fprintf(out, "%s  %s [", t->name, sd_dtype_name(t->type));
    for (int d = 0; d < t->dims; d++)
        fprintf(out, "%s%llu", d > 0 ? ", " : "", (unsigned long long)t->shape[d]);
    fprintf(out, "] ");
    for (uint64_t i = 0; i < shown; i++)
        print_value(out, t->type, values, i);
    fprintf(out, "%s\n", shown * sd_dtype_size(t->type) < t->bytes ? " ..." : "");
}

static uint64_t first_values(const sd_tensor *t)
{
    uint64_t n = t->bytes / sd_dtype_size(t->type);

    return n < VALUES ? n : VALUES;
}

static sd_status inspect_safetensors(const char *path, int fd, FILE *out)
{
    sd_safetensors *file = NULL;
    const cJSON *entry;
    uint64_t values[VALUES];
    sd_status st;

    SD_TRY(st, sd_safetensors_open(&file, path));
    fprintf(out, "%s: safetensors, %llu tensors\n", path, (unsigned long long)sd_safetensors_count(file));
    cJSON_ArrayForEach(entry, sd_safetensors_metadata(file))
    {
        fprintf(out, "  %s = %s\n", entry->string, cJSON_IsString(entry) ? entry->valuestring : "(not text)");
    }
    for (uint64_t i = 0; i < sd_safetensors_count(file); i++) {
        const sd_tensor *t = sd_safetensors_at(file, i);

        SD_TRY(st, sd_file_get(fd, path, t->offset, values, first_values(t) * sd_dtype_size(t->type)));
        print_tensor(out, t, values, first_values(t));
    }
out:
    sd_safetensors_close(&file);
    return st;
}

/* An expanded tensor may be far larger than its file: of those beyond TENSOR_LIMIT no values are shown. */
static sd_status print_torch_tensor(sd_torch *file, const sd_tensor *t, FILE *out)
{
    void *values = NULL;
    uint64_t shown = t->bytes <= TENSOR_LIMIT ? first_values(t) : 0;
    sd_status st = SD_OK;

    if (shown > 0) {
        SD_TRY(st, sd_alloc_bytes(&values, t->bytes, 1));
        SD_TRY(st, sd_torch_read(file, t, t->type, values));
    }
    print_tensor(out, t, values, shown);
out:
    sd_free(values);
    return st;
}

static sd_status inspect_torch(const char *path, FILE *out)
{
    sd_torch *file = NULL;
    sd_status st;

    SD_TRY(st, sd_torch_open(&file, path));
    fprintf(out, "%s: PyTorch checkpoint, %llu tensors\n", path, (unsigned long long)sd_torch_count(file));
    for (uint64_t i = 0; i < sd_torch_count(file); i++)
        SD_TRY(st, print_torch_tensor(file, sd_torch_at(file, i), out));
out:
    sd_torch_close(&file);
    return st;
}

static sd_status inspect_manifest(const char *path, FILE *out)
{
    sd_records records = {0};
    char *text = NULL;
    uint64_t size = 0, good = 0, i;
    sd_status st;

    SD_TRY(st, sd_file_read(path, LOG_LIMIT, &text, &size));
    SD_TRY(st, sd_records_apply(&records, path, text, size, &good));
    fprintf(out, "%s: manifest, %llu artefacts\n", path, (unsigned long long)records.count);
    for (i = 0; i < records.count; i++) {
        const sd_record *r = &records.at[i];

        fprintf(out, "%s  %llu bytes, crc32c %08lx", r->path, (unsigned long long)r->bytes, (unsigned long)r->crc32c);
        if (r->skip.count > 0)
            fprintf(out, " outside bytes %llu to %llu", (unsigned long long)r->skip.first,
                    (unsigned long long)(r->skip.first + r->skip.count - 1));
        fprintf(out, ", key %s\n", r->key);
    }
    if (good < size)
        fprintf(out, "(%llu bytes at the end are torn and do not count)\n", (unsigned long long)(size - good));
out:
    sd_records_free(&records);
    sd_free(text);
    return st;
}

static bool is_manifest(const char *head)
{
    return strspn(head, "0123456789abcdef") == 8 && head[8] == ' ' && head[9] == '{';
}

sd_status sd_inspect(const char *path, FILE *out)
{
    char head[HEAD + 1] = "";
    uint64_t size = 0;
    int fd = -1;
    sd_status st;

    SD_TRY(st, sd_file_open_read(path, &fd, &size));
    SD_TRY(st, sd_file_get(fd, path, 0, head, size < HEAD ? size : HEAD));
    if (size >= sizeof H5_SIGNATURE && memcmp(head, H5_SIGNATURE, sizeof H5_SIGNATURE) == 0)
        st = sd_inspect_h5(path, out);
    else if (size >= sizeof ZIP_SIGNATURE && memcmp(head, ZIP_SIGNATURE, sizeof ZIP_SIGNATURE) == 0)
        st = inspect_torch(path, out);
    else if (is_manifest(head))
        st = inspect_manifest(path, out);
    else if (size > 8 && head[8] == '{')
        st = inspect_safetensors(path, fd, out);
    else
        st = SD_FAIL(SD_E_DATA, "%s: is neither an HDF5 file nor a safetensors file nor a PyTorch checkpoint nor a manifest.log", path);
out:
    if (fd >= 0)
        close(fd);
    return st;
}

/* Reading a shard, and the view over many. */
#include <string.h>
#include <unistd.h>

#include "h5.h"
#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "shard_io.h"

enum { NAMED_BLOCKS = 16 };

typedef struct table {
    char *name;
    sd_h5_set set;
    uint32_t *crcs;   /* [blocks] */
    uint8_t *checked; /* [blocks] */
} table;

struct sd_shard_reader {
    char *path;
    hid_t file;
    table *tables; /* datasets used so far */
    uint64_t count, capacity;
};

static void table_free(table *t)
{
    sd_h5_set_close(&t->set);
    sd_free(t->checked);
    sd_free(t->crcs);
    sd_free(t->name);
}

/* Opens a dataset and its checksums; `t` zeroed and its set closed. */
static sd_status table_open(sd_shard_reader *r, table *t, const char *name)
{
    sd_h5_set crcs = {.id = -1, .type = -1};
    char *crc_name = NULL;
    uint64_t blocks;
    sd_status st;

    SD_TRY(st, sd_str_copy(&t->name, name));
    SD_TRY(st, sd_h5_set_open(&t->set, r->file, r->path, t->name));
    SD_TRY(st, sd_str_format(&crc_name, "%s_crc32c", name));
    SD_TRY(st, sd_h5_set_open(&crcs, r->file, r->path, crc_name));
    blocks = sd_shard_blocks(t->set.shape[0]);
    if (crcs.dtype != SD_U32 || crcs.dims != 1 || crcs.shape[0] != blocks) {
        st = SD_FAIL(SD_E_DATA, "%s: '%s' is not a list of %llu checksums of type u32", r->path, crc_name,
                     (unsigned long long)blocks);
        goto out;
    }
    SD_TRY(st, SD_NEW(&t->crcs, blocks));
    SD_TRY(st, SD_NEW(&t->checked, blocks));
    SD_TRY(st, sd_h5_set_read(&crcs, (sd_span){0, blocks}, t->crcs));
out:
    sd_h5_set_close(&crcs);
    sd_free(crc_name);
    return st;
}

/* *found = the table of a dataset, opened on first use; valid until the next call. */
static sd_status table_of(sd_shard_reader *r, const char *name, table **found)
{
    table fresh = {.set = {.id = -1, .type = -1}}, *more = NULL;
    uint64_t i;
    sd_status st = SD_OK;

    for (i = 0; i < r->count; i++)
        if (strcmp(r->tables[i].name, name) == 0) {
            *found = &r->tables[i];
            return SD_OK;
        }
    if (r->count == r->capacity) {
        uint64_t capacity = r->capacity == 0 ? 8 : 2 * r->capacity;

        SD_TRY(st, SD_NEW(&more, capacity));
        if (r->count > 0)
            memcpy(more, r->tables, r->count * sizeof *more);
        sd_free(r->tables);
        r->tables = more;
        r->capacity = capacity;
    }
    SD_TRY(st, table_open(r, &fresh, name));
    r->tables[r->count] = fresh;
    *found = &r->tables[r->count++];
    fresh = (table){.set = {.id = -1, .type = -1}};
out:
    table_free(&fresh);
    return st;
}

static sd_status open_reader(sd_shard_reader **reader, const char *path, const char *format, uint64_t newest)
{
    sd_shard_reader *r = NULL;
    sd_status st;

    *reader = NULL;
    SD_TRY(st, SD_NEW(&r, 1));
    r->file = -1;
    SD_TRY(st, sd_str_copy(&r->path, path));
    if (format != NULL)
        SD_TRY(st, sd_h5_open_format(&r->file, path, format, newest));
    else
        SD_TRY(st, sd_h5_open(&r->file, path));
    *reader = r;
    r = NULL;
out:
    sd_shard_close(&r);
    return st;
}

sd_status sd_shard_open(sd_shard_reader **reader, const char *path, const char *format, uint64_t newest)
{
    return open_reader(reader, path, format, newest);
}

sd_status sd_shard_open_any(sd_shard_reader **reader, const char *path)
{
    return open_reader(reader, path, NULL, 0);
}

void sd_shard_close(sd_shard_reader **reader)
{
    sd_shard_reader *r = *reader;
    uint64_t i;

    if (r == NULL)
        return;
    for (i = 0; i < r->count; i++)
        table_free(&r->tables[i]);
    sd_free(r->tables);
    sd_h5_close(&r->file);
    sd_free(r->path);
    sd_free(r);
    *reader = NULL;
}

sd_status sd_shard_attr_u64(sd_shard_reader *reader, const char *name, uint64_t *value)
{
    return sd_h5_get_u64(reader->file, reader->path, name, value);
}

sd_status sd_shard_shape(sd_shard_reader *reader, const char *dataset, sd_dtype *type, int *dims,
                         uint64_t shape[SD_ARRAY_DIMS])
{
    table *t;
    sd_status st;

    SD_TRY(st, table_of(reader, dataset, &t));
    *type = t->set.dtype;
    *dims = t->set.dims;
    memcpy(shape, t->set.shape, sizeof t->set.shape);
out:
    return st;
}

sd_status sd_shard_raw(sd_shard_reader *reader, const char *dataset, sd_span *raw)
{
    haddr_t offset;
    table *t;
    sd_status st;

    SD_TRY(st, table_of(reader, dataset, &t));
    offset = H5Dget_offset(t->set.id);
    *raw = offset == HADDR_UNDEF ? (sd_span){0, 0} : (sd_span){offset, t->set.bytes};
out:
    return st;
}

static sd_span block_rows(const table *t, uint64_t block)
{
    return sd_span_intersect((sd_span){block * SD_BLOCK_ROWS, SD_BLOCK_ROWS}, (sd_span){0, t->set.shape[0]});
}

/* True if the bytes of the whole block have its checksum. */
static bool holds(table *t, uint64_t block, const void *bytes)
{
    bool good = sd_crc32c(0, bytes, block_rows(t, block).count * t->set.row_bytes) == t->crcs[block];

    t->checked[block] = good;
    return good;
}

static sd_status damaged(const sd_shard_reader *r, const table *t, uint64_t block)
{
    sd_span rows = block_rows(t, block);

    return SD_FAIL(SD_E_DATA, "%s: block %llu of dataset '%s' (rows %llu to %llu) is damaged: its checksum does not hold; "
                              "`saediff verify` the run folder, then run the job again to make the file anew",
                   r->path, (unsigned long long)block, t->name, (unsigned long long)rows.first,
                   (unsigned long long)(rows.first + rows.count - 1));
}

/* Rows of one block that are a part of it: the whole block is read and checked once. */
static sd_status read_part(const sd_shard_reader *r, table *t, uint64_t block, sd_span rows, char *data)
{
    sd_span whole = block_rows(t, block);
    char *bytes = NULL;
    sd_status st;

    if (t->checked[block])
        return sd_h5_set_read(&t->set, rows, data);
    SD_TRY(st, SD_NEW(&bytes, whole.count * t->set.row_bytes));
    SD_TRY(st, sd_h5_set_read(&t->set, whole, bytes));
    if (!holds(t, block, bytes)) {
        st = damaged(r, t, block);
        goto out;
    }
    memcpy(data, bytes + (rows.first - whole.first) * t->set.row_bytes, rows.count * t->set.row_bytes);
out:
    sd_free(bytes);
    return st;
}

/* Whole blocks first … last: one read, then each is checked in place. */
static sd_status read_blocks(const sd_shard_reader *r, table *t, uint64_t first, uint64_t count, char *data)
{
    sd_span begin = block_rows(t, first), end = block_rows(t, first + count - 1);
    uint64_t b;
    sd_status st;

    SD_TRY(st, sd_h5_set_read(&t->set, (sd_span){begin.first, end.first + end.count - begin.first}, data));
    for (b = first; b < first + count; b++)
        if (!t->checked[b] && !holds(t, b, data + (b - first) * SD_BLOCK_ROWS * t->set.row_bytes)) {
            st = damaged(r, t, b);
            goto out;
        }
out:
    return st;
}

sd_status sd_shard_read(sd_shard_reader *reader, const char *dataset, sd_span rows, void *data)
{
    uint64_t done = 0;
    table *t;
    sd_status st;

    SD_TRY(st, table_of(reader, dataset, &t));
    if (rows.first > t->set.shape[0] || rows.count > t->set.shape[0] - rows.first) {
        st = SD_FAIL(SD_E_INTERNAL, "%s: rows %llu to %llu of '%s' asked for, which has %llu", reader->path,
                     (unsigned long long)rows.first, (unsigned long long)(rows.first + rows.count), dataset,
                     (unsigned long long)t->set.shape[0]);
        goto out;
    }
    while (done < rows.count) {
        uint64_t at = rows.first + done, left = rows.count - done, block = at / SD_BLOCK_ROWS, n = 1;
        sd_span whole = block_rows(t, block);
        char *to = (char *)data + done * t->set.row_bytes;

        if (at == whole.first && left >= whole.count) {
            while (block_rows(t, block + n).count > 0 && left >= n * SD_BLOCK_ROWS + block_rows(t, block + n).count)
                n++;
            SD_TRY(st, read_blocks(reader, t, block, n, to));
            done += n * SD_BLOCK_ROWS < left ? n * SD_BLOCK_ROWS : left;
        } else {
            uint64_t part = whole.first + whole.count - at;

            part = part < left ? part : left;
            SD_TRY(st, read_part(reader, t, block, (sd_span){at, part}, to));
            done += part;
        }
    }
out:
    return st;
}

/* Adds the damaged blocks of one dataset to `list`. */
static sd_status verify_table(table *t, sd_str *list, uint64_t *bad)
{
    uint64_t blocks = sd_shard_blocks(t->set.shape[0]), b;
    char *bytes = NULL;
    sd_status st = SD_OK;

    if (blocks > 0)
        SD_TRY(st, SD_NEW(&bytes, block_rows(t, 0).count * t->set.row_bytes));
    for (b = 0; b < blocks; b++) {
        sd_span rows = block_rows(t, b);

        SD_TRY(st, sd_h5_set_read(&t->set, rows, bytes));
        if (holds(t, b, bytes))
            continue;
        if ((*bad)++ < NAMED_BLOCKS)
            sd_str_add(list, "%s'%s' block %llu (rows %llu to %llu)", *bad > 1 ? ", " : "", t->name, (unsigned long long)b,
                       (unsigned long long)rows.first, (unsigned long long)(rows.first + rows.count - 1));
    }
    SD_TRY(st, list->status);
out:
    sd_free(bytes);
    return st;
}

sd_status sd_shard_verify(sd_shard_reader *reader)
{
    H5G_info_t group;
    sd_str list = {0};
    char name[1024];
    uint64_t i, bad = 0;
    sd_status st = SD_OK;

    if (H5Gget_info(reader->file, &group) < 0) {
        st = sd_h5_fail(SD_E_DATA, reader->path, "its datasets cannot be listed");
        goto out;
    }
    for (i = 0; i < group.nlinks; i++) {
        ssize_t length = H5Lget_name_by_idx(reader->file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
        size_t suffix = strlen("_crc32c");
        table *t;

        if (length < 0 || (size_t)length >= sizeof name) {
            st = sd_h5_fail(SD_E_DATA, reader->path, "the name of link %llu cannot be read", (unsigned long long)i);
            goto out;
        }
        if ((size_t)length > suffix && strcmp(name + (size_t)length - suffix, "_crc32c") == 0)
            continue;
        SD_TRY(st, table_of(reader, name, &t));
        SD_TRY(st, verify_table(t, &list, &bad));
    }
    if (bad > 0)
        st = SD_FAIL(SD_E_DATA, "%s: %llu damaged blocks: %s%s", reader->path, (unsigned long long)bad, list.text,
                     bad > NAMED_BLOCKS ? ", ..." : "");
out:
    sd_str_free(&list);
    return st;
}

/* One virtual dataset over the same dataset of many shards. */
#include <string.h>
#include <unistd.h>

#include "h5.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "shard_io.h"

typedef struct view {
    sd_dtype type;
    int dims;
    uint64_t shape[SD_ARRAY_DIMS]; /* of all shards together */
    uint64_t *rows;                /* [count] */
} view;

/* `to` as seen from the folder of the file `from`: their common folders are left away. Paths of two kinds, or with "..",
 * stay as they are. */
static sd_status relative_to(char **out, const char *from, const char *to)
{
    size_t common = 0, i;
    sd_str text = {0};
    sd_status st;

    if ((from[0] == '/') != (to[0] == '/') || strstr(from, "..") != NULL || strstr(to, "..") != NULL)
        return sd_str_copy(out, to);
    for (i = 0; from[i] != '\0' && from[i] == to[i]; i++)
        if (from[i] == '/')
            common = i + 1;
    for (i = common; from[i] != '\0'; i++)
        if (from[i] == '/')
            sd_str_add(&text, "../");
    sd_str_add(&text, "%s", to + common);
    st = text.status != SD_OK ? text.status : sd_str_copy(out, text.text);
    sd_str_free(&text);
    return st;
}

static sd_status measure(view *v, const char *dataset, const char *const *shards, uint64_t count)
{
    sd_shard_reader *reader = NULL;
    uint64_t i, shape[SD_ARRAY_DIMS];
    sd_dtype type;
    int dims, d;
    sd_status st = SD_OK;

    for (i = 0; i < count; i++) {
        SD_TRY(st, sd_shard_open_any(&reader, shards[i]));
        SD_TRY(st, sd_shard_shape(reader, dataset, &type, &dims, shape));
        sd_shard_close(&reader);
        if (i == 0) {
            v->type = type;
            v->dims = dims;
            memcpy(v->shape, shape, sizeof shape);
            v->shape[0] = 0;
        }
        for (d = 1; d < dims && d < v->dims && shape[d] == v->shape[d]; d++)
            continue;
        if (type != v->type || dims != v->dims || d != dims) {
            st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' has another type or row shape than that of %s", shards[i], dataset,
                         shards[0]);
            goto out;
        }
        v->rows[i] = shape[0];
        SD_TRY(st, sd_add_u64(v->shape[0], shape[0], &v->shape[0], dataset));
    }
out:
    sd_shard_close(&reader);
    return st;
}

/* Rows `first` … of the view are all rows of one shard. */
static sd_status map_shard(hid_t dcpl, hid_t space, const view *v, const char *path, const char *shard, const char *dataset,
                           uint64_t first, uint64_t rows)
{
    hsize_t start[SD_ARRAY_DIMS] = {0}, count[SD_ARRAY_DIMS];
    hid_t source = -1;
    char *name = NULL;
    int d;
    sd_status st;

    SD_TRY(st, relative_to(&name, path, shard));
    start[0] = first;
    count[0] = rows;
    for (d = 1; d < v->dims; d++)
        count[d] = v->shape[d];
    if ((source = H5Screate_simple(v->dims, count, NULL)) < 0 ||
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Pset_virtual(dcpl, space, name, dataset, source) < 0)
        st = sd_h5_fail(SD_E_ENV, path, "the view of %s cannot be made", shard);
out:
    sd_h5_close(&source);
    sd_free(name);
    return st;
}

static sd_status write_view(const char *temporary, const char *path, const view *v, const char *dataset,
                            const char *const *shards, uint64_t count)
{
    hid_t fapl = -1, fcpl = -1, dcpl = -1, space = -1, type = -1, file = -1, set = -1;
    sd_attr format = {.name = "format", .kind = SD_ATTR_TEXT, .text = "saediff.view"};
    sd_attr version = {.name = "version", .kind = SD_ATTR_U64, .u64 = 1};
    hsize_t shape[SD_ARRAY_DIMS];
    uint64_t i, row = 0;
    int d;
    sd_status st = SD_OK;

    for (d = 0; d < v->dims; d++)
        shape[d] = v->shape[d];
    /* Virtual datasets came with HDF5 1.10; no older format can hold them. */
    if ((fapl = H5Pcreate(H5P_FILE_ACCESS)) < 0 || H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_V110) < 0 ||
        H5Pset_file_locking(fapl, 0, 1) < 0 || (fcpl = H5Pcreate(H5P_FILE_CREATE)) < 0 ||
        H5Pset_obj_track_times(fcpl, 0) < 0 || (dcpl = H5Pcreate(H5P_DATASET_CREATE)) < 0 ||
        H5Pset_obj_track_times(dcpl, 0) < 0 || (space = H5Screate_simple(v->dims, shape, NULL)) < 0 ||
        (type = sd_h5_type(v->type)) < 0) {
        st = sd_h5_fail(SD_E_ENV, path, "cannot be prepared");
        goto out;
    }
    for (i = 0; i < count; i++) {
        if (v->rows[i] > 0)
            SD_TRY(st, map_shard(dcpl, space, v, path, shards[i], dataset, row, v->rows[i]));
        row += v->rows[i];
    }
    SD_TRY(st, sd_h5_try_create(temporary));
    if (H5Sselect_all(space) < 0 || (file = H5Fcreate(temporary, H5F_ACC_EXCL, fcpl, fapl)) < 0 ||
        (set = H5Dcreate2(file, dataset, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT)) < 0) {
        st = sd_h5_fail(SD_E_ENV, path, "cannot be created");
        goto out;
    }
    SD_TRY(st, sd_h5_put_attr(file, path, "the file", &format));
    SD_TRY(st, sd_h5_put_attr(file, path, "the file", &version));
out:
    sd_h5_close(&set);
    if (!sd_h5_close_file(&file) && st == SD_OK)
        st = sd_h5_fail(SD_E_ENV, path, "cannot be closed");
    sd_h5_close(&type);
    sd_h5_close(&space);
    sd_h5_close(&dcpl);
    sd_h5_close(&fcpl);
    sd_h5_close(&fapl);
    return st;
}

sd_status sd_shard_view(const char *path, const char *dataset, const char *const *shards, uint64_t count)
{
    view v = {0};
    char *temporary = NULL;
    sd_status st;

    if (count == 0)
        return SD_FAIL(SD_E_INTERNAL, "%s: a view of no shards", path);
    sd_h5_begin();
    SD_TRY(st, SD_NEW(&v.rows, count));
    SD_TRY(st, measure(&v, dataset, shards, count));
    SD_TRY(st, sd_str_format(&temporary, "%s.tmp", path));
    SD_TRY(st, sd_file_remove(temporary));
    st = write_view(temporary, path, &v, dataset, shards, count);
    if (st == SD_OK)
        st = sd_file_commit(temporary, path);
    if (st != SD_OK)
        unlink(temporary);
out:
    sd_free(temporary);
    sd_free(v.rows);
    return st;
}

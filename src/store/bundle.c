#include "saediff/store/bundle.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "h5.h"
#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

enum { VIEWS_MOST = 16 };

/* An array that was given out: read, or a part of the file from a page's beginning. */
typedef struct view {
    void *memory;
    void *pages;
    uint64_t size; /* of pages */
} view;

struct sd_bundle {
    char *path;
    hid_t file;
    view views[VIEWS_MOST];
    int n_views;
};

static sd_status put_arrays(const char *temporary, const char *path, const sd_array *arrays, uint64_t n_arrays)
{
    sd_h5_set set = {.id = -1, .type = -1};
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    uint64_t i;
    sd_status st = SD_OK;

    if (fapl < 0 || H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0 ||
        H5Pset_file_locking(fapl, 0, 1) < 0 || (file = H5Fopen(temporary, H5F_ACC_RDWR, fapl)) < 0) {
        st = sd_h5_fail(SD_E_ENV, path, "cannot be opened again");
        goto out;
    }
    for (i = 0; i < n_arrays; i++) {
        SD_TRY(st, sd_h5_set_open(&set, file, path, arrays[i].name));
        SD_TRY(st, sd_h5_set_write(&set, H5P_DEFAULT, (sd_span){0, arrays[i].shape[0]}, arrays[i].data));
        sd_h5_set_close(&set);
    }
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        st = sd_h5_fail(SD_E_ENV, path, "cannot be flushed");
out:
    sd_h5_set_close(&set);
    if (!sd_h5_close_file(&file) && st == SD_OK)
        st = sd_h5_fail(SD_E_ENV, path, "cannot be closed");
    sd_h5_close(&fapl);
    return st;
}

sd_status sd_bundle_write(const char *path, const char *format, uint64_t version, const sd_attr *attrs, uint64_t n_attrs,
                          const sd_array *arrays, uint64_t n_arrays)
{
    sd_h5_plan plan = {.path = path, .format = format, .version = version, .attrs = attrs, .n_attrs = n_attrs,
                       .arrays = arrays, .n_arrays = n_arrays};
    char *temporary = NULL;
    uint32_t *crcs = NULL;
    uint64_t i, row_bytes, bytes;
    sd_status st;

    SD_TRY(st, sd_str_format(&temporary, "%s.tmp", path));
    SD_TRY(st, SD_NEW(&crcs, n_arrays));
    for (i = 0; i < n_arrays; i++) {
        SD_TRY(st, sd_h5_measure(path, arrays[i].name, arrays[i].type, arrays[i].dims, arrays[i].shape, &row_bytes,
                                 &bytes));
        crcs[i] = sd_crc32c(0, arrays[i].data, bytes);
    }
    plan.crcs = crcs;
    SD_TRY(st, sd_file_remove(temporary));
    SD_TRY(st, sd_h5_lay_out(temporary, &plan));
    st = put_arrays(temporary, path, arrays, n_arrays);
    if (st == SD_OK)
        st = sd_file_commit(temporary, path);
    if (st != SD_OK)
        unlink(temporary);
out:
    sd_free(crcs);
    sd_free(temporary);
    return st;
}

sd_status sd_bundle_open(sd_bundle **bundle, const char *path, const char *format, uint64_t newest)
{
    sd_bundle *b = NULL;
    sd_status st;

    *bundle = NULL;
    SD_TRY(st, SD_NEW(&b, 1));
    b->file = -1;
    SD_TRY(st, sd_str_copy(&b->path, path));
    SD_TRY(st, sd_h5_open_format(&b->file, path, format, newest));
    *bundle = b;
    b = NULL;
out:
    sd_bundle_close(&b);
    return st;
}

void sd_bundle_close(sd_bundle **bundle)
{
    sd_bundle *b = *bundle;

    if (b == NULL)
        return;
    for (int i = 0; i < b->n_views; i++) {
        sd_free(b->views[i].memory);
        if (b->views[i].pages != NULL)
            munmap(b->views[i].pages, b->views[i].size);
    }
    sd_h5_close(&b->file);
    sd_free(b->path);
    sd_free(b);
    *bundle = NULL;
}

static sd_status check_shape(const sd_h5_set *set, sd_dtype type, int dims, const uint64_t *shape)
{
    int d;

    if (set->dtype != type || set->dims != dims)
        return SD_FAIL(SD_E_DATA, "%s: dataset '%s' is %s with %d dimensions, not %s with %d", set->path, set->name,
                       sd_dtype_name(set->dtype), set->dims, sd_dtype_name(type), dims);
    for (d = 0; d < dims; d++)
        if (shape[d] != 0 && shape[d] != set->shape[d])
            return SD_FAIL(SD_E_DATA, "%s: dimension %d of dataset '%s' is %llu, not %llu", set->path, d, set->name,
                           (unsigned long long)set->shape[d], (unsigned long long)shape[d]);
    return SD_OK;
}

static sd_status check_sum(const sd_h5_set *set, const void *bytes)
{
    uint64_t stored = 0;
    uint32_t found;
    sd_status st;

    SD_TRY(st, sd_h5_get_u64(set->id, set->path, "crc32c", &stored));
    found = sd_crc32c(0, bytes, set->bytes);
    if (found != stored)
        st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' is damaged: its checksum is %08llx, its bytes give %08lx", set->path, set->name,
                     (unsigned long long)stored, (unsigned long)found);
out:
    return st;
}

/* The array's place in the file as memory; v->pages stays NULL where that cannot be had. */
static void map(const sd_bundle *bundle, const sd_h5_set *set, view *v, const void **data)
{
    haddr_t at = H5Dget_offset(set->id);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before;
    struct stat info;
    void *handle = NULL, *pages;
    int fd;

    if (set->bytes == 0 || at == HADDR_UNDEF || at % sd_dtype_size(set->dtype) != 0 ||
        H5Fget_vfd_handle(bundle->file, H5P_DEFAULT, &handle) < 0 || handle == NULL)
        return;
    fd = *(int *)handle;
    if (fstat(fd, &info) != 0 || at > (uint64_t)info.st_size || set->bytes > (uint64_t)info.st_size - at)
        return;
    before = at % page;
    pages = mmap(NULL, before + set->bytes, PROT_READ, MAP_SHARED, fd, (off_t)(at - before));
    if (pages == MAP_FAILED)
        return;
    *v = (view){.pages = pages, .size = before + set->bytes};
    *data = (const char *)pages + before;
}

static sd_status read_set(const sd_h5_set *set, void **data)
{
    char *bytes = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&bytes, set->bytes));
    SD_TRY(st, sd_h5_set_read(set, (sd_span){0, set->shape[0]}, bytes));
    *data = bytes;
    bytes = NULL;
out:
    sd_free(bytes);
    return st;
}

sd_status sd_bundle_read(sd_bundle *bundle, const char *name, sd_dtype type, int dims, uint64_t *shape, void **data)
{
    sd_h5_set set = {.id = -1, .type = -1};
    void *bytes = NULL;
    sd_status st;

    *data = NULL;
    SD_TRY(st, sd_h5_set_open(&set, bundle->file, bundle->path, name));
    SD_TRY(st, check_shape(&set, type, dims, shape));
    SD_TRY(st, read_set(&set, &bytes));
    SD_TRY(st, check_sum(&set, bytes));
    memcpy(shape, set.shape, (size_t)dims * sizeof *shape);
    *data = bytes;
    bytes = NULL;
out:
    sd_free(bytes);
    sd_h5_set_close(&set);
    return st;
}

sd_status sd_bundle_view(sd_bundle *bundle, const char *name, sd_dtype type, int dims, uint64_t *shape, const void **data)
{
    sd_h5_set set = {.id = -1, .type = -1};
    const void *found = NULL;
    view *v = &bundle->views[bundle->n_views];
    sd_status st;

    if (bundle->n_views == VIEWS_MOST)
        return SD_FAIL(SD_E_INTERNAL, "%s: a bundle has views of %d arrays at most", bundle->path, (int)VIEWS_MOST);
    SD_TRY(st, sd_h5_set_open(&set, bundle->file, bundle->path, name));
    SD_TRY(st, check_shape(&set, type, dims, shape));
    map(bundle, &set, v, &found);
    if (v->pages == NULL) {
        SD_TRY(st, read_set(&set, &v->memory));
        found = v->memory;
    }
    bundle->n_views++;
    SD_TRY(st, check_sum(&set, found));
    memcpy(shape, set.shape, (size_t)dims * sizeof *shape);
    *data = found;
out:
    sd_h5_set_close(&set);
    return st;
}

sd_status sd_bundle_u64(sd_bundle *bundle, const char *name, uint64_t *value)
{
    return sd_h5_get_u64(bundle->file, bundle->path, name, value);
}

sd_status sd_bundle_f64(sd_bundle *bundle, const char *name, double *value)
{
    return sd_h5_get_f64(bundle->file, bundle->path, name, value);
}

sd_status sd_bundle_text(sd_bundle *bundle, const char *name, char **value)
{
    return sd_h5_get_text(bundle->file, bundle->path, name, value);
}

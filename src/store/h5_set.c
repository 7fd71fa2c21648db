/* Laying a file out, and datasets by rows. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "file_io.h"
#include "h5.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"

/* Larger arrays begin at a multiple that suits every number type, so that the file can be looked at as memory. */
enum { CALL_BYTES = 256 << 20, META_BYTES = 1 << 16, ALIGNED_FROM = 2048, ALIGNMENT = 64 };

sd_status sd_h5_measure(const char *path, const char *name, sd_dtype type, int dims, const uint64_t *shape,
                        uint64_t *row_bytes, uint64_t *bytes)
{
    uint64_t row = sd_dtype_size(type);
    int i;
    sd_status st = SD_OK;

    if (dims < 1 || dims > SD_ARRAY_DIMS)
        return SD_FAIL(SD_E_DATA, "%s: '%s' has %d dimensions; 1 to %d are possible", path, name, dims, (int)SD_ARRAY_DIMS);
    for (i = 1; i < dims; i++)
        SD_TRY(st, sd_mul_u64(row, shape[i], &row, name));
    SD_TRY(st, sd_mul_u64(row, shape[0], bytes, name));
    *row_bytes = row;
out:
    return st == SD_OK ? st : sd_fail_in(st, path);
}

static sd_status lay_set(hid_t file, hid_t dcpl, const sd_h5_plan *plan, uint64_t i)
{
    const sd_array *array = &plan->arrays[i];
    hsize_t shape[SD_ARRAY_DIMS];
    hid_t type = -1, space = -1, set = -1, u32 = -1, scalar = -1, attr = -1;
    sd_attr unit = {.name = "unit", .kind = SD_ATTR_TEXT, .text = array->unit};
    sd_attr about = {.name = "about", .kind = SD_ATTR_TEXT, .text = array->about};
    int d;
    sd_status st;

    for (d = 0; d < array->dims; d++)
        shape[d] = array->shape[d];
    if ((type = sd_h5_type(array->type)) < 0 || (space = H5Screate_simple(array->dims, shape, NULL)) < 0 ||
        (set = H5Dcreate2(file, array->name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT)) < 0) {
        st = sd_h5_fail(SD_E_ENV, plan->path, "dataset '%s' cannot be created", array->name);
        goto out;
    }
    SD_TRY(st, sd_h5_put_attr(set, plan->path, array->name, &unit));
    SD_TRY(st, sd_h5_put_attr(set, plan->path, array->name, &about));
    if (plan->crcs != NULL &&
        ((u32 = sd_h5_type(SD_U32)) < 0 || (scalar = H5Screate(H5S_SCALAR)) < 0 ||
         (attr = H5Acreate2(set, "crc32c", u32, scalar, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
         H5Awrite(attr, u32, &plan->crcs[i]) < 0))
        st = sd_h5_fail(SD_E_ENV, plan->path, "checksum of '%s' cannot be written", array->name);
out:
    sd_h5_close(&attr);
    sd_h5_close(&scalar);
    sd_h5_close(&u32);
    sd_h5_close(&set);
    sd_h5_close(&space);
    sd_h5_close(&type);
    return st;
}

/* Shapes are possible and the disk has room for all of it. */
static sd_status check_plan(const sd_h5_plan *plan)
{
    uint64_t total = META_BYTES, i;
    sd_status st = SD_OK;

    for (i = 0; i < plan->n_arrays; i++) {
        const sd_array *array = &plan->arrays[i];
        uint64_t row_bytes, bytes;

        if (array->name == NULL || array->name[0] == '\0' || strchr(array->name, '/') != NULL || array->unit == NULL ||
            array->about == NULL) {
            st = SD_FAIL(SD_E_INTERNAL, "%s: dataset %llu lacks a plain name, a unit or a description", plan->path,
                         (unsigned long long)i);
            goto out;
        }
        SD_TRY(st, sd_h5_measure(plan->path, array->name, array->type, array->dims, array->shape, &row_bytes, &bytes));
        SD_TRY(st, sd_add_u64(total, bytes, &total, plan->path));
    }
    SD_TRY(st, sd_file_room(plan->path, total));
out:
    return st;
}

sd_status sd_h5_try_create(const char *temporary)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0640);

    if (fd < 0)
        return SD_FAIL(SD_E_ENV, "%s: cannot be created: %s", temporary, strerror(errno));
    close(fd);
    unlink(temporary);
    return SD_OK;
}

sd_status sd_h5_lay_out(const char *temporary, const sd_h5_plan *plan)
{
    hid_t fcpl = -1, fapl = -1, dcpl = -1, file = -1;
    sd_attr head[3] = {{.name = "format", .kind = SD_ATTR_TEXT, .text = plan->format},
                       {.name = "version", .kind = SD_ATTR_U64, .u64 = plan->version},
                       {.name = "saediff", .kind = SD_ATTR_TEXT, .text = SAEDIFF_VERSION}};
    bool made = false;
    uint64_t i;
    sd_status st;

    sd_h5_begin();
    SD_TRY(st, check_plan(plan));
    if ((fcpl = H5Pcreate(H5P_FILE_CREATE)) < 0 || H5Pset_obj_track_times(fcpl, 0) < 0 ||
        H5Pset_attr_phase_change(fcpl, 64, 48) < 0 || (fapl = H5Pcreate(H5P_FILE_ACCESS)) < 0 ||
        H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0 || H5Pset_file_locking(fapl, 0, 1) < 0 ||
        H5Pset_alignment(fapl, ALIGNED_FROM, ALIGNMENT) < 0 || (dcpl = H5Pcreate(H5P_DATASET_CREATE)) < 0 || H5Pset_obj_track_times(dcpl, 0) < 0 ||
        H5Pset_layout(dcpl, H5D_CONTIGUOUS) < 0 || H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY) < 0 ||
        H5Pset_fill_time(dcpl, H5D_FILL_TIME_NEVER) < 0) {
        st = sd_h5_fail(SD_E_ENV, plan->path, "cannot be prepared");
        goto out;
    }
    SD_TRY(st, sd_h5_try_create(temporary));
    if ((file = H5Fcreate(temporary, H5F_ACC_EXCL, fcpl, fapl)) < 0) {
        st = sd_h5_fail(SD_E_ENV, temporary, "cannot be created (it must not be there already)");
        goto out;
    }
    made = true;
    for (i = 0; i < 3; i++)
        SD_TRY(st, sd_h5_put_attr(file, plan->path, "the file", &head[i]));
    for (i = 0; i < plan->n_attrs; i++)
        SD_TRY(st, sd_h5_put_attr(file, plan->path, "the file", &plan->attrs[i]));
    for (i = 0; i < plan->n_arrays; i++)
        SD_TRY(st, lay_set(file, dcpl, plan, i));
    if (!sd_h5_close_file(&file)) {
        st = sd_h5_fail(SD_E_ENV, plan->path, "cannot be laid out");
        goto out;
    }
    SD_TRY(st, sd_file_reserve(temporary, plan->path));
out:
    sd_h5_close_file(&file);
    sd_h5_close(&dcpl);
    sd_h5_close(&fapl);
    sd_h5_close(&fcpl);
    if (st != SD_OK && made)
        unlink(temporary);
    return st;
}

/* A link that leads out of the file, filters, chunks and external storage are refused before they are followed. */
static sd_status check_storage(sd_h5_set *set)
{
    hid_t dcpl = H5Dget_create_plist(set->id);
    sd_status st = SD_OK;

    if (dcpl < 0)
        return sd_h5_fail(SD_E_DATA, set->path, "dataset '%s' cannot be examined", set->name);
    if (H5Pget_layout(dcpl) != H5D_CONTIGUOUS || H5Pget_external_count(dcpl) != 0 || H5Pget_nfilters(dcpl) != 0)
        st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' is not stored as one contiguous block of this file", set->path, set->name);
    else if (H5Dget_storage_size(set->id) != set->bytes)
        st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' has %llu bytes on the disk, its shape needs %llu", set->path, set->name,
                     (unsigned long long)H5Dget_storage_size(set->id), (unsigned long long)set->bytes);
    sd_h5_close(&dcpl);
    return st;
}

sd_status sd_h5_set_open(sd_h5_set *set, hid_t file, const char *path, const char *name)
{
    H5L_info_t link;
    hsize_t shape[SD_ARRAY_DIMS];
    hid_t space = -1;
    int d;
    sd_status st = SD_OK;

    *set = (sd_h5_set){.path = path, .name = name, .id = -1, .type = -1};
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return SD_FAIL(SD_E_DATA, "%s: has no dataset '%s'", path, name);
    if (H5Lget_info(file, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
        return SD_FAIL(SD_E_DATA, "%s: '%s' is a link to elsewhere; only data of the file itself is read", path, name);
    if ((set->id = H5Dopen2(file, name, H5P_DEFAULT)) < 0 || (set->type = H5Dget_type(set->id)) < 0 ||
        (space = H5Dget_space(set->id)) < 0) {
        st = sd_h5_fail(SD_E_DATA, path, "dataset '%s' cannot be opened", name);
        goto out;
    }
    set->dims = H5Sget_simple_extent_ndims(space);
    if (set->dims < 1 || set->dims > SD_ARRAY_DIMS || H5Sget_simple_extent_dims(space, shape, NULL) < 0) {
        st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' has %d dimensions; 1 to %d are possible", path, name, set->dims,
                     (int)SD_ARRAY_DIMS);
        goto out;
    }
    for (d = 0; d < set->dims; d++)
        set->shape[d] = shape[d];
    if (!sd_h5_type_of(set->type, &set->dtype)) {
        st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' is of no number type this program knows", path, name);
        goto out;
    }
    SD_TRY(st, sd_h5_measure(path, name, set->dtype, set->dims, set->shape, &set->row_bytes, &set->bytes));
    SD_TRY(st, check_storage(set));
out:
    sd_h5_close(&space);
    if (st != SD_OK)
        sd_h5_set_close(set);
    return st;
}

void sd_h5_set_close(sd_h5_set *set)
{
    sd_h5_close(&set->type);
    sd_h5_close(&set->id);
}

/* One of `in`, `from` is NULL. */
static sd_status transfer(const sd_h5_set *set, hid_t dxpl, sd_span rows, char *in, const char *from)
{
    uint64_t per_call = set->row_bytes == 0 ? 1 : CALL_BYTES / set->row_bytes, done = 0, width;
    hid_t disk = -1, memory = -1;
    sd_status st = SD_OK;

    if (rows.first > set->shape[0] || rows.count > set->shape[0] - rows.first)
        return SD_FAIL(SD_E_INTERNAL, "%s: rows %llu to %llu of '%s' asked for, which has %llu", set->path,
                       (unsigned long long)rows.first, (unsigned long long)(rows.first + rows.count), set->name,
                       (unsigned long long)set->shape[0]);
    if (rows.count == 0 || set->row_bytes == 0)
        return SD_OK;
    if (per_call == 0)
        per_call = 1;
    width = set->row_bytes / sd_dtype_size(set->dtype);
    if ((disk = H5Dget_space(set->id)) < 0) {
        st = sd_h5_fail(SD_E_ENV, set->path, "dataset '%s' cannot be reached", set->name);
        goto out;
    }
    while (done < rows.count) {
        uint64_t n = rows.count - done < per_call ? rows.count - done : per_call;
        hsize_t start[SD_ARRAY_DIMS] = {0}, count[SD_ARRAY_DIMS], elements = n * width;
        herr_t code = -1;
        int d;

        start[0] = rows.first + done;
        count[0] = n;
        for (d = 1; d < set->dims; d++)
            count[d] = set->shape[d];
        if ((memory = H5Screate_simple(1, &elements, NULL)) >= 0 &&
            H5Sselect_hyperslab(disk, H5S_SELECT_SET, start, NULL, count, NULL) >= 0)
            code = in != NULL ? H5Dread(set->id, set->type, memory, disk, dxpl, in + done * set->row_bytes)
                              : H5Dwrite(set->id, set->type, memory, disk, dxpl, from + done * set->row_bytes);
        if (code < 0) {
            st = sd_h5_fail(in != NULL ? SD_E_DATA : SD_E_ENV, set->path, "rows %llu to %llu of '%s' cannot be %s",
                            (unsigned long long)start[0], (unsigned long long)(start[0] + n), set->name,
                            in != NULL ? "read" : "written");
            goto out;
        }
        sd_h5_close(&memory);
        done += n;
    }
out:
    sd_h5_close(&memory);
    sd_h5_close(&disk);
    return st;
}

sd_status sd_h5_set_read(const sd_h5_set *set, sd_span rows, void *data)
{
    return transfer(set, H5P_DEFAULT, rows, data, NULL);
}

sd_status sd_h5_set_write(const sd_h5_set *set, hid_t dxpl, sd_span rows, const void *data)
{
    return transfer(set, dxpl, rows, NULL, data);
}

#include "inspect_h5.h"

#include <string.h>

#include "h5.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

enum { VALUES = 5, NAME_BYTES = 1024, DEPTH = 16, TEXT_SHOWN = 200 };

static void print_type(FILE *out, hid_t type)
{
    sd_dtype ours;

    if (sd_h5_type_of(type, &ours)) {
        fprintf(out, "%s", sd_dtype_name(ours));
        return;
    }
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        fprintf(out, "%s%zu", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "i", 8 * H5Tget_size(type));
        break;
    case H5T_FLOAT:
        fprintf(out, "float%zu", 8 * H5Tget_size(type));
        break;
    case H5T_STRING:
        fprintf(out, "text");
        break;
    case H5T_COMPOUND:
        fprintf(out, "compound");
        break;
    case H5T_NO_CLASS:
    case H5T_TIME:
    case H5T_BITFIELD:
    case H5T_OPAQUE:
    case H5T_REFERENCE:
    case H5T_ENUM:
    case H5T_VLEN:
    case H5T_ARRAY:
    case H5T_NCLASSES:
    default:
        fprintf(out, "other");
    }
}

static void print_shape(FILE *out, hid_t space)
{
    hsize_t shape[H5S_MAX_RANK];
    int dims = H5Sget_simple_extent_dims(space, shape, NULL), d;

    fprintf(out, "[");
    for (d = 0; d < dims; d++)
        fprintf(out, "%s%llu", d > 0 ? ", " : "", (unsigned long long)shape[d]);
    fprintf(out, "]");
}

/* The first `n` numbers of an attribute (`dataset` false) or a dataset; nothing for what is not a number. */
static sd_status print_numbers(FILE *out, const char *path, hid_t id, bool dataset, hid_t type, hid_t memory, hid_t file_space,
                               uint64_t n)
{
    H5T_class_t kind = H5Tget_class(type);
    bool natural = kind == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE;
    hid_t as = kind == H5T_FLOAT ? H5T_NATIVE_DOUBLE : natural ? H5T_NATIVE_UINT64 : H5T_NATIVE_INT64;
    union {
        double f64;
        uint64_t u64;
        int64_t i64;
    } values[VALUES];
    uint64_t i;

    if ((kind != H5T_INTEGER && kind != H5T_FLOAT) || n == 0)
        return SD_OK;
    if ((dataset ? H5Dread(id, as, memory, file_space, H5P_DEFAULT, values) : H5Aread(id, as, values)) < 0)
        return sd_h5_fail(SD_E_DATA, path, "values cannot be read");
    for (i = 0; i < n; i++) {
        if (kind == H5T_FLOAT)
            fprintf(out, " %.6g", values[i].f64);
        else if (natural)
            fprintf(out, " %llu", (unsigned long long)values[i].u64);
        else
            fprintf(out, " %lld", (long long)values[i].i64);
    }
    return SD_OK;
}

static sd_status print_attr(FILE *out, const char *path, hid_t object, uint64_t i, const char *indent)
{
    hid_t id = H5Aopen_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, H5P_DEFAULT, H5P_DEFAULT), type = -1, space = -1;
    char name[NAME_BYTES] = "", *text = NULL;
    hssize_t n;
    sd_status st = SD_OK;

    if (id < 0 || H5Aget_name(id, sizeof name, name) < 0 || (type = H5Aget_type(id)) < 0 || (space = H5Aget_space(id)) < 0) {
        st = sd_h5_fail(SD_E_DATA, path, "attribute %llu cannot be read", (unsigned long long)i);
        goto out;
    }
    n = H5Sget_simple_extent_npoints(space);
    fprintf(out, "%s%s =", indent, name);
    if (H5Tget_class(type) == H5T_STRING && n == 1) {
        SD_TRY(st, sd_h5_get_text(object, path, name, &text));
        fprintf(out, " %.*s%s", (int)TEXT_SHOWN, text, strlen(text) > TEXT_SHOWN ? " ..." : "");
    } else if (n > 0 && n <= VALUES) {
        SD_TRY(st, print_numbers(out, path, id, false, type, H5S_ALL, H5S_ALL, (uint64_t)n));
    } else {
        fprintf(out, " ");
        print_type(out, type);
        print_shape(out, space);
    }
    fprintf(out, "\n");
out:
    sd_free(text);
    sd_h5_close(&space);
    sd_h5_close(&type);
    sd_h5_close(&id);
    return st;
}

static sd_status print_attrs(FILE *out, const char *path, hid_t object, const char *indent)
{
    hsize_t i, count = 0;
    int n = H5Aget_num_attrs(object);
    sd_status st = SD_OK;

    count = n > 0 ? (hsize_t)n : 0;
    for (i = 0; i < count; i++)
        SD_TRY(st, print_attr(out, path, object, i, indent));
out:
    return st;
}

/* The files that a virtual dataset is made of. libhdf5 says nothing of missing ones and gives zeros for their rows. */
static sd_status print_sources(FILE *out, const char *path, hid_t dcpl)
{
    size_t count = 0, i;
    char file[NAME_BYTES], set[NAME_BYTES], *beside = NULL;
    sd_status st = SD_OK;

    if (H5Pget_layout(dcpl) != H5D_VIRTUAL || H5Pget_virtual_count(dcpl, &count) < 0)
        return SD_OK;
    for (i = 0; i < count; i++) {
        if (H5Pget_virtual_filename(dcpl, i, file, sizeof file) < 0 || H5Pget_virtual_dsetname(dcpl, i, set, sizeof set) < 0) {
            st = sd_h5_fail(SD_E_DATA, path, "source %zu of the view cannot be read", i);
            goto out;
        }
        sd_free(beside);
        beside = NULL;
        SD_TRY(st, sd_path_beside(&beside, path, file));
        fprintf(out, "    from %s:%s%s\n", file, set, sd_file_exists(beside) ? "" : " (missing)");
    }
out:
    sd_free(beside);
    return st;
}

/* The first values of the first row. */
static sd_status print_head(FILE *out, const char *path, hid_t set, hid_t type, hid_t space)
{
    hsize_t shape[H5S_MAX_RANK], start[H5S_MAX_RANK] = {0}, count[H5S_MAX_RANK], n;
    int dims = H5Sget_simple_extent_dims(space, shape, NULL), d;
    hid_t memory = -1;
    sd_status st = SD_OK;

    if (dims < 1 || H5Sget_simple_extent_npoints(space) <= 0)
        return SD_OK;
    for (d = 0; d < dims; d++)
        count[d] = 1;
    n = shape[dims - 1] < VALUES ? shape[dims - 1] : VALUES;
    count[dims - 1] = n;
    if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        (memory = H5Screate_simple(1, &n, NULL)) < 0)
        st = sd_h5_fail(SD_E_DATA, path, "values cannot be selected");
    else
        st = print_numbers(out, path, set, true, type, memory, space, n);
    sd_h5_close(&memory);
    return st;
}

static sd_status print_set(FILE *out, const char *path, hid_t set, const char *name)
{
    hid_t type = H5Dget_type(set), space = H5Dget_space(set), dcpl = H5Dget_create_plist(set);
    sd_status st = SD_OK;

    if (type < 0 || space < 0 || dcpl < 0) {
        st = sd_h5_fail(SD_E_DATA, path, "dataset '%s' cannot be examined", name);
        goto out;
    }
    fprintf(out, "%s  ", name);
    print_type(out, type);
    fprintf(out, " ");
    print_shape(out, space);
    fprintf(out, " ");
    SD_TRY(st, print_head(out, path, set, type, space));
    if (H5Sget_simple_extent_npoints(space) > VALUES)
        fprintf(out, " ...");
    fprintf(out, "\n");
    SD_TRY(st, print_sources(out, path, dcpl));
    SD_TRY(st, print_attrs(out, path, set, "    "));
out:
    sd_h5_close(&dcpl);
    sd_h5_close(&space);
    sd_h5_close(&type);
    return st;
}

static sd_status print_group(FILE *out, const char *path, hid_t group, const char *prefix, int depth);

static sd_status print_link(FILE *out, const char *path, hid_t group, const char *prefix, const char *name, int depth)
{
    H5L_info_t link;
    hid_t object = -1;
    char *full = NULL;
    sd_status st;

    SD_TRY(st, sd_str_format(&full, "%s%s", prefix, name));
    if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD) {
        fprintf(out, "%s  a link to elsewhere\n", full);
        goto out;
    }
    if ((object = H5Oopen(group, name, H5P_DEFAULT)) < 0) {
        st = sd_h5_fail(SD_E_DATA, path, "'%s' cannot be opened", full);
        goto out;
    }
    if (H5Iget_type(object) == H5I_DATASET) {
        SD_TRY(st, print_set(out, path, object, full));
    } else if (H5Iget_type(object) == H5I_GROUP) {
        sd_free(full);
        full = NULL;
        SD_TRY(st, sd_str_format(&full, "%s%s/", prefix, name));
        fprintf(out, "%s  group\n", full);
        SD_TRY(st, print_attrs(out, path, object, "    "));
        if (depth < DEPTH)
            SD_TRY(st, print_group(out, path, object, full, depth + 1));
    }
out:
    sd_h5_close(&object);
    sd_free(full);
    return st;
}

static sd_status print_group(FILE *out, const char *path, hid_t group, const char *prefix, int depth)
{
    H5G_info_t info;
    char name[NAME_BYTES];
    hsize_t i;
    sd_status st = SD_OK;

    if (H5Gget_info(group, &info) < 0)
        return sd_h5_fail(SD_E_DATA, path, "group '%s' cannot be listed", prefix);
    for (i = 0; i < info.nlinks; i++) {
        ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);

        if (length < 0 || (size_t)length >= sizeof name) {
            st = sd_h5_fail(SD_E_DATA, path, "name %llu of group '%s' cannot be read", (unsigned long long)i, prefix);
            goto out;
        }
        SD_TRY(st, print_link(out, path, group, prefix, name, depth));
    }
out:
    return st;
}

sd_status sd_inspect_h5(const char *path, FILE *out)
{
    hid_t file = -1, root = -1;
    sd_status st;

    SD_TRY(st, sd_h5_open(&file, path));
    if ((root = H5Gopen2(file, "/", H5P_DEFAULT)) < 0) {
        st = sd_h5_fail(SD_E_DATA, path, "its root cannot be opened");
        goto out;
    }
    fprintf(out, "%s: HDF5\n", path);
    SD_TRY(st, print_attrs(out, path, root, "  "));
    SD_TRY(st, print_group(out, path, root, "", 0));
out:
    sd_h5_close(&root);
    sd_h5_close(&file);
    return st;
}

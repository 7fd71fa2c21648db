/* libhdf5 begun, its errors in words, types, attributes, opening. */
#include "h5.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

/* A write, flush or close failed: what libhdf5 still holds may crash when MPI_Finalize makes it let go. `unclosed`: a close did,
 * so that what was written before it may be missing on the disk. */
static bool broken, unclosed;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files hold little-endian numbers and are read into memory unchanged"
#endif

enum { TEXT_LIMIT = 1 << 28 };

void sd_h5_begin(void)
{
    static bool begun;

    if (begun)
        return;
    begun = true;
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

static herr_t innermost(unsigned n, const H5E_error2_t *error, void *reason)
{
    (void)n;
    snprintf(reason, SD_ERROR_TEXT / 2, "%s", error->desc != NULL ? error->desc : "no reason given");
    return 1;
}

sd_status sd_h5_fail(sd_status code, const char *path, const char *format, ...)
{
    char reason[SD_ERROR_TEXT / 2] = "no reason given", words[SD_ERROR_TEXT / 4];
    va_list args;

    broken = broken || code == SD_E_ENV;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, reason);
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return SD_FAIL(code, "%s: %s: %s (HDF5)", path, words, reason);
}

bool sd_h5_close_file(hid_t *file)
{
    hid_t id = *file;

    *file = -1;
    if (id >= 0 && H5Fclose(id) < 0)
        broken = unclosed = true;
    return !unclosed;
}

bool sd_store_is_broken(void)
{
    return broken;
}

void sd_h5_close(hid_t *id)
{
    if (*id >= 0 && H5Idec_ref(*id) < 0)
        broken = unclosed = true;
    *id = -1;
}

hid_t sd_h5_type(sd_dtype type)
{
    hid_t id;

    switch (type) {
    case SD_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case SD_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    case SD_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case SD_U32:
        return H5Tcopy(H5T_STD_U32LE);
    case SD_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case SD_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case SD_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case SD_F16:
    case SD_BF16:
        break;
    case SD_DTYPES:
    default:
        return -1;
    }
    /* The fields shrink before the size does: libhdf5 refuses the other order. */
    id = H5Tcopy(H5T_IEEE_F32LE);
    if (id >= 0 && ((type == SD_BF16 ? H5Tset_fields(id, 15, 7, 8, 0, 7) : H5Tset_fields(id, 15, 10, 5, 0, 10)) < 0 ||
                    H5Tset_size(id, 2) < 0 || H5Tset_precision(id, 16) < 0 ||
                    H5Tset_ebias(id, type == SD_BF16 ? 127 : 15) < 0))
        sd_h5_close(&id);
    return id;
}

bool sd_h5_type_of(hid_t type, sd_dtype *ours)
{
    int i;

    for (i = 0; i < (int)SD_DTYPES; i++) {
        hid_t candidate = sd_h5_type((sd_dtype)i);
        bool same = candidate >= 0 && H5Tequal(candidate, type) > 0;

        sd_h5_close(&candidate);
        if (same) {
            *ours = (sd_dtype)i;
            return true;
        }
    }
    return false;
}

sd_status sd_h5_open(hid_t *file, const char *path)
{
    hid_t fapl = -1;
    FILE *probe;
    sd_status st = SD_OK;

    sd_h5_begin();
    *file = -1;
    probe = fopen(path, "rb");
    if (probe == NULL)
        return SD_FAIL(SD_E_DATA, "%s: cannot be opened for reading", path);
    fclose(probe);
    fapl = H5Pcreate(H5P_FILE_ACCESS);
    if (fapl < 0 || H5Pset_file_locking(fapl, 0, 1) < 0)
        st = sd_h5_fail(SD_E_ENV, path, "cannot be opened");
    else if ((*file = H5Fopen(path, H5F_ACC_RDONLY, fapl)) < 0)
        st = sd_h5_fail(SD_E_DATA, path, "cannot be opened");
    sd_h5_close(&fapl);
    return st;
}

sd_status sd_h5_open_format(hid_t *file, const char *path, const char *format, uint64_t newest)
{
    char *found = NULL;
    uint64_t version = 0;
    sd_status st;

    SD_TRY(st, sd_h5_open(file, path));
    SD_TRY(st, sd_h5_get_text(*file, path, "format", &found));
    if (strcmp(found, format) != 0) {
        st = SD_FAIL(SD_E_DATA, "%s: is of the format '%s', not '%s'; put the right file there", path, found, format);
        goto out;
    }
    SD_TRY(st, sd_h5_get_u64(*file, path, "version", &version));
    if (version == 0 || version > newest)
        st = SD_FAIL(SD_E_DATA, "%s: is '%s' version %llu; this program reads versions 1 to %llu, use the one that wrote it",
                     path, format, (unsigned long long)version, (unsigned long long)newest);
out:
    sd_free(found);
    if (st != SD_OK)
        sd_h5_close(file);
    return st;
}

/* Text is stored with variable length in UTF-8: what h5py gives back as str. */
static hid_t text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    if (type >= 0 && (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0))
        sd_h5_close(&type);
    return type;
}

sd_status sd_h5_put_attr(hid_t object, const char *path, const char *what, const sd_attr *attr)
{
    hid_t type = -1, space = H5Screate(H5S_SCALAR), id = -1;
    const void *data = NULL;
    sd_status st = SD_OK;

    switch (attr->kind) {
    case SD_ATTR_TEXT:
        type = text_type();
        data = &attr->text;
        break;
    case SD_ATTR_U64:
        type = sd_h5_type(SD_U64);
        data = &attr->u64;
        break;
    case SD_ATTR_F64:
        type = sd_h5_type(SD_F64);
        data = &attr->f64;
        break;
    }
    if (attr->kind == SD_ATTR_TEXT && attr->text == NULL)
        st = SD_FAIL(SD_E_INTERNAL, "%s: attribute '%s' of %s has no text", path, attr->name, what);
    else if (space < 0 || type < 0 || (id = H5Acreate2(object, attr->name, type, space, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
             H5Awrite(id, type, data) < 0)
        st = sd_h5_fail(SD_E_ENV, path, "attribute '%s' of %s cannot be written", attr->name, what);
    sd_h5_close(&id);
    sd_h5_close(&type);
    sd_h5_close(&space);
    return st;
}

/* *id = the scalar attribute `name`, *type its type in the file. */
static sd_status attr_open(hid_t object, const char *path, const char *name, hid_t *id, hid_t *type)
{
    hid_t space = -1;
    sd_status st = SD_OK;

    *id = *type = -1;
    if (H5Aexists(object, name) <= 0)
        return SD_FAIL(SD_E_DATA, "%s: has no attribute '%s'", path, name);
    if ((*id = H5Aopen(object, name, H5P_DEFAULT)) < 0 || (*type = H5Aget_type(*id)) < 0 ||
        (space = H5Aget_space(*id)) < 0)
        st = sd_h5_fail(SD_E_DATA, path, "attribute '%s' cannot be opened", name);
    else if (H5Sget_simple_extent_npoints(space) != 1)
        st = SD_FAIL(SD_E_DATA, "%s: attribute '%s' is not a single value", path, name);
    sd_h5_close(&space);
    if (st != SD_OK) {
        sd_h5_close(type);
        sd_h5_close(id);
    }
    return st;
}

static sd_status get_number(hid_t object, const char *path, const char *name, H5T_class_t kind, hid_t memory, void *value)
{
    hid_t id = -1, type = -1;
    sd_status st = attr_open(object, path, name, &id, &type);

    if (st != SD_OK)
        return st;
    if (H5Tget_class(type) != kind)
        st = SD_FAIL(SD_E_DATA, "%s: attribute '%s' is not %s", path, name,
                     kind == H5T_INTEGER ? "an integer" : "a floating-point number");
    else if (H5Aread(id, memory, value) < 0)
        st = sd_h5_fail(SD_E_DATA, path, "attribute '%s' cannot be read", name);
    sd_h5_close(&type);
    sd_h5_close(&id);
    return st;
}

sd_status sd_h5_get_u64(hid_t object, const char *path, const char *name, uint64_t *value)
{
    return get_number(object, path, name, H5T_INTEGER, H5T_NATIVE_UINT64, value);
}

sd_status sd_h5_get_f64(hid_t object, const char *path, const char *name, double *value)
{
    return get_number(object, path, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value);
}

sd_status sd_h5_get_text(hid_t object, const char *path, const char *name, char **value)
{
    hid_t id = -1, type = -1, memory = -1;
    char *text = NULL;
    size_t size;
    sd_status st;

    *value = NULL;
    SD_TRY(st, attr_open(object, path, name, &id, &type));
    if (H5Tget_class(type) != H5T_STRING) {
        st = SD_FAIL(SD_E_DATA, "%s: attribute '%s' is not text", path, name);
        goto out;
    }
    if (H5Tis_variable_str(type) > 0) {
        char *theirs = NULL;

        memory = text_type();
        if (memory < 0 || H5Tset_cset(memory, H5Tget_cset(type)) < 0 || H5Aread(id, memory, &theirs) < 0) {
            st = sd_h5_fail(SD_E_DATA, path, "attribute '%s' cannot be read", name);
            goto out;
        }
        st = sd_str_copy(&text, theirs != NULL ? theirs : "");
        H5free_memory(theirs);
        if (st != SD_OK)
            goto out;
    } else {
        size = H5Tget_size(type);
        if (size > TEXT_LIMIT) {
            st = SD_FAIL(SD_E_DATA, "%s: attribute '%s' has %zu bytes", path, name, size);
            goto out;
        }
        SD_TRY(st, SD_NEW(&text, size + 1));
        if (H5Aread(id, type, text) < 0) {
            st = sd_h5_fail(SD_E_DATA, path, "attribute '%s' cannot be read", name);
            goto out;
        }
    }
    *value = text;
    text = NULL;
out:
    sd_free(text);
    sd_h5_close(&memory);
    sd_h5_close(&type);
    sd_h5_close(&id);
    return st;
}

/* A bundle: one HDF5 file of named arrays with attributes, written by one rank, whole or not at all. Used for
 * tokens, SAE checkpoints, statistics and whatever else is small enough for one writer.
 *
 * Layout: fixed-extent contiguous datasets in the root group; per dataset the attributes "unit", "about" and
 * "crc32c" (u32 of the raw bytes); root attributes "format", "version", "saediff" and the caller's. Object times
 * are not stored: equal content gives equal bytes. bf16 is a custom 16-bit float that h5py shows as numbers.
 * All Local. */
#ifndef SAEDIFF_STORE_BUNDLE_H
#define SAEDIFF_STORE_BUNDLE_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

enum { SD_ARRAY_DIMS = 4 };

typedef struct sd_array {
    const char *name;
    sd_dtype type;
    int dims; /* 1 … SD_ARRAY_DIMS; a scalar is [1] */
    uint64_t shape[SD_ARRAY_DIMS];
    const void *data;        /* contiguous, row-major */
    const char *unit, *about; /* never NULL; "1" for a pure number */
} sd_array;

typedef struct sd_attr {
    const char *name;
    enum { SD_ATTR_TEXT, SD_ATTR_U64, SD_ATTR_F64 } kind;
    const char *text;
    uint64_t u64;
    double f64;
} sd_attr;

/* format "saediff.tokens" and the like, version from 1. The file is on the disk under `path` when this returns
 * (temporary name, flush, rename), or not at all. */
SD_MUST_CHECK sd_status sd_bundle_write(const char *path, const char *format, uint64_t version,
                                        const sd_attr *attrs, uint64_t n_attrs, const sd_array *arrays,
                                        uint64_t n_arrays);

typedef struct sd_bundle sd_bundle;

/* Refuses another format and a version above `newest`, naming both. */
SD_MUST_CHECK sd_status sd_bundle_open(sd_bundle **bundle, const char *path, const char *format, uint64_t newest);
void sd_bundle_close(sd_bundle **bundle);

/* Reads a whole array into fresh memory (*data, sd_free()). `type` and `dims` must be the file's; shape[i] = 0 takes
 * what the file has and reports it, any other value must be the file's. The checksum must hold. */
SD_MUST_CHECK sd_status sd_bundle_read(sd_bundle *bundle, const char *name, sd_dtype type, int dims, uint64_t *shape,
                                       void **data);
/* As sd_bundle_read(), but what is given stays the bundle's, until it is closed, and is the file itself where the system can show it as memory: of
 * an array larger than memory only what is looked at is there, and the ranks of a machine share it. */
SD_MUST_CHECK sd_status sd_bundle_view(sd_bundle *bundle, const char *name, sd_dtype type, int dims, uint64_t *shape,
                                       const void **data);
SD_MUST_CHECK sd_status sd_bundle_u64(sd_bundle *bundle, const char *name, uint64_t *value);
SD_MUST_CHECK sd_status sd_bundle_f64(sd_bundle *bundle, const char *name, double *value);
/* *value: sd_free(). */
SD_MUST_CHECK sd_status sd_bundle_text(sd_bundle *bundle, const char *name, char **value);

#endif

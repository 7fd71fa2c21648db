/* How this room speaks to libhdf5: begun once, errors in words, our number types, contiguous datasets by rows.
 * libhdf5 is not thread-safe here: one thread calls these. All Local unless said otherwise.
 *
 * Order of use: sd_h5_begin() before anything else, in every function that is entered from outside the room. */
#ifndef SAEDIFF_STORE_H5_H
#define SAEDIFF_STORE_H5_H

#include <hdf5.h>
#include <stdbool.h>

#include "saediff/core/status.h"
#include "saediff/core/types.h"
#include "saediff/store/bundle.h"

/* No closing of files at exit (it hangs a parallel job), no error stack on standard error, no plugins. */
void sd_h5_begin(void);

/* Words the failure of the libhdf5 call just made: "path: <words>: <innermost reason>". Any later libhdf5 call
 * forgets the reason. With SD_E_ENV (a write, flush or close failed) the store counts as broken from here on, see
 * sd_store_is_broken(). */
sd_status sd_h5_fail(sd_status code, const char *path, const char *format, ...) SD_PRINTF(3, 4);

/* Closes whatever kind of identifier it is; fine for a negative one. Leaves −1. For file identifiers that were
 * written use sd_h5_close_file(). */
void sd_h5_close(hid_t *id);

/* Closes a file that was written; false if that failed, or any close before it. Leaves −1 in either case: libhdf5 crashes on a second
 * try, and also when MPI_Finalize makes it close what is left, so a failure is remembered for sd_store_is_broken(). */
bool sd_h5_close_file(hid_t *file);

/* The type in the file, little-endian, to be closed; bf16 is sign 15, exponent 7…14 bias 127, fraction 0…6. */
hid_t sd_h5_type(sd_dtype type);
/* False if it is none of ours. */
bool sd_h5_type_of(hid_t type, sd_dtype *ours);

/* *file = `path` open for reading with any driver settings that locks of network file systems cannot break. */
SD_MUST_CHECK sd_status sd_h5_open(hid_t *file, const char *path);
/* The same, and the root attributes "format" and "version" must be `format` and at most `newest`. */
SD_MUST_CHECK sd_status sd_h5_open_format(hid_t *file, const char *path, const char *format, uint64_t newest);

/* Attributes of an object. `what` is what messages call it. The readers take scalars only. */
SD_MUST_CHECK sd_status sd_h5_put_attr(hid_t object, const char *path, const char *what, const sd_attr *attr);
SD_MUST_CHECK sd_status sd_h5_get_u64(hid_t object, const char *path, const char *name, uint64_t *value);
SD_MUST_CHECK sd_status sd_h5_get_f64(hid_t object, const char *path, const char *name, double *value);
/* *value: sd_free(). */
SD_MUST_CHECK sd_status sd_h5_get_text(hid_t object, const char *path, const char *name, char **value);

/* Whether H5Fcreate() would find a place for the file, which must not be there, asked without libhdf5: of a refusal nothing is left that it would have to
 * let go later. */
SD_MUST_CHECK sd_status sd_h5_try_create(const char *temporary);

/* What a new file is to hold: attributes, and contiguous datasets whose data comes later. */
typedef struct sd_h5_plan {
    const char *path; /* what messages call the file */
    const char *format;
    uint64_t version;
    const sd_attr *attrs;
    uint64_t n_attrs;
    const sd_array *arrays; /* data ignored */
    uint64_t n_arrays;
    const uint32_t *crcs; /* [n_arrays], attribute "crc32c" of each dataset; NULL for none */
} sd_h5_plan;

/* Creates `temporary` (which must not be there) with everything but the raw data, closes it, reserves its disk blocks:
 * a full disk is found here and nowhere later. On failure no file is left. One rank calls this: laying the file out
 * alone makes its bytes independent of the rank count and cannot hang. */
SD_MUST_CHECK sd_status sd_h5_lay_out(const char *temporary, const sd_h5_plan *plan);

/* A contiguous dataset of one of our types, in this file's own bytes. */
typedef struct sd_h5_set {
    const char *path, *name; /* borrowed, for messages */
    hid_t id, type;
    sd_dtype dtype;
    int dims;
    uint64_t shape[SD_ARRAY_DIMS];
    uint64_t row_bytes, bytes;
} sd_h5_set;

/* {.id = -1, .type = -1} may be closed any number of times. */
SD_MUST_CHECK sd_status sd_h5_set_open(sd_h5_set *set, hid_t file, const char *path, const char *name);
void sd_h5_set_close(sd_h5_set *set);
/* Rows to and from contiguous memory, at most 256 MiB per call of libhdf5. `dxpl` H5P_DEFAULT or a transfer list. */
SD_MUST_CHECK sd_status sd_h5_set_read(const sd_h5_set *set, sd_span rows, void *data);
SD_MUST_CHECK sd_status sd_h5_set_write(const sd_h5_set *set, hid_t dxpl, sd_span rows, const void *data);

/* bytes = rows · row_bytes of an array, checked. */
SD_MUST_CHECK sd_status sd_h5_measure(const char *path, const char *name, sd_dtype type, int dims, const uint64_t *shape,
                                      uint64_t *row_bytes, uint64_t *bytes);

#endif

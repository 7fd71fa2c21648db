/* safetensors files: u64 little-endian header length, JSON header, raw data. Every bound is checked
 * before use: length ≤ 100 MB and inside the file, tensors contiguous from 0 without hole or overlap to the
 * file's end, shape × size equal to the range, no duplicate names. Local.
 * https://github.com/huggingface/safetensors (format) */
#ifndef SAEDIFF_STORE_SAFETENSORS_H
#define SAEDIFF_STORE_SAFETENSORS_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

enum { SD_TENSOR_DIMS = 8 };

typedef struct sd_tensor {
    const char *name; /* lives as long as the file is open */
    sd_dtype type;
    int dims;
    uint64_t shape[SD_TENSOR_DIMS];
    uint64_t offset, bytes; /* in the file */
} sd_tensor;

typedef struct sd_safetensors sd_safetensors;

SD_MUST_CHECK sd_status sd_safetensors_open(sd_safetensors **file, const char *path);
void sd_safetensors_close(sd_safetensors **file);

uint64_t sd_safetensors_count(const sd_safetensors *file);
/* In the order of their offsets. */
const sd_tensor *sd_safetensors_at(const sd_safetensors *file, uint64_t i);
/* NULL if there is none of this name. */
const sd_tensor *sd_safetensors_find(const sd_safetensors *file, const char *name);

/* Reads the whole tensor into `out` as `type`: converted between floating types, exact for integers of the
 * same type. */
SD_MUST_CHECK sd_status sd_safetensors_read(sd_safetensors *file, const sd_tensor *tensor, sd_dtype type,
                                            void *out);

/* Gives the elements of tensor i, in its own type, into `out`, which has room for them. Called once for each, in order. */
typedef struct sd_tensor_source {
    sd_status (*fill)(void *self, uint64_t i, void *out);
    void *self;
} sd_tensor_source;

/* Writes a file in the order given, atomically, one tensor in memory at a time; offset and bytes of
 * `tensors` are ignored. `metadata_json` is the text of the __metadata__ object, or NULL. */
SD_MUST_CHECK sd_status sd_safetensors_write_from(const char *path, const sd_tensor *tensors, sd_tensor_source source, uint64_t count,
                                                  const char *metadata_json);
/* The same from memory: data[i] holds the tensor's elements. */
SD_MUST_CHECK sd_status sd_safetensors_write(const char *path, const sd_tensor *tensors, const void *const *data,
                                             uint64_t count, const char *metadata_json);

#endif

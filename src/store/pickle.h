/* The pickles that PyTorch writes, as data. Nothing in them is executed. Local. */
#ifndef SAEDIFF_STORE_PICKLE_H
#define SAEDIFF_STORE_PICKLE_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"
#include "saediff/store/safetensors.h"

/* A tensor as the pickle describes it; nothing is checked against the storage yet. */
typedef struct sd_pickle_tensor {
    char *name; /* keys on the way to it, joined by dots */
    char *key;  /* of its storage */
    sd_dtype type;
    uint64_t elements; /* of the storage, as the pickle says */
    uint64_t offset;   /* first element */
    int dims;
    uint64_t shape[SD_TENSOR_DIMS], stride[SD_TENSOR_DIMS]; /* in elements */
} sd_pickle_tensor;

/* Messages begin with `name`. *tensors: end with sd_pickle_free(). */
SD_MUST_CHECK sd_status sd_pickle_read(const char *name, const uint8_t *bytes, uint64_t size, sd_pickle_tensor **tensors,
                                       uint64_t *count);
void sd_pickle_free(sd_pickle_tensor **tensors, uint64_t count);

#endif

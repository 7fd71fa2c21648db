/* Reading reference tensors in tests. */
#ifndef SAEDIFF_TESTS_SAE_DATA_H
#define SAEDIFF_TESTS_SAE_DATA_H

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/store/safetensors.h"

/* The tensor as `type` in fresh memory, NULL (and a failed check) if it is not there. */
static inline void *read_tensor(sd_safetensors *file, const char *name, sd_dtype type)
{
    const sd_tensor *t = sd_safetensors_find(file, name);
    void *data = NULL;
    uint64_t count = 1;

    CHECK(t != NULL);
    if (t == NULL)
        return NULL;
    for (int i = 0; i < t->dims; i++)
        count *= t->shape[i];
    CHECK_OK(sd_alloc_bytes(&data, count, sd_dtype_size(type)));
    CHECK_OK(sd_safetensors_read(file, t, type, data));
    return data;
}

/* max |a − b| / max |b| */
static inline double worst(const double *a, const double *b, uint64_t n)
{
    double apart = 0, size = 0;

    for (uint64_t i = 0; i < n; i++) {
        apart = !(fabs(a[i] - b[i]) <= apart) ? fabs(a[i] - b[i]) : apart; /* a NaN stays */
        size = fabs(b[i]) > size ? fabs(b[i]) : size;
    }
    return size > 0 ? apart / size : apart;
}

#endif

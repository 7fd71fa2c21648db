/* The selection and the estimation split of the documents. Private to diff. */
#ifndef SAEDIFF_DIFF_SPLIT_H
#define SAEDIFF_DIFF_SPLIT_H

#include <stdbool.h>

#include "saediff/core/random.h"

static inline bool diff_selects(uint64_t seed, uint64_t docs, uint64_t doc)
{
    return sd_random_permute(sd_key_make(seed, SD_STREAM_HALVES, 0), docs, doc) < (docs + 1) / 2;
}

#endif

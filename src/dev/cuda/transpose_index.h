#ifndef SAEDIFF_DEV_CUDA_TRANSPOSE_INDEX_H
#define SAEDIFF_DEV_CUDA_TRANSPOSE_INDEX_H

#include "cuda.h"

/* Queued. sd_invert for indices 0 … things−1: begin [things + 1], entry [number of indices]; next [things] is workspace. Indices outside are
 * ignored; with `faults` the next wait reports the first one. `what` names the operation in errors. */
sd_status sd_cuda_transpose_index(sd_dev *dev, const char *what, sd_view<int32_t> index, uint64_t things, uint32_t *begin, uint32_t *entry, uint32_t *next,
                       bool faults);

#endif

#ifndef SAEDIFF_DEV_CUDA_TURN_H
#define SAEDIFF_DEV_CUDA_TURN_H

#include "cuda.h"

/* Queued. As sd_invert says: begin [things + 1], entry [all indices]; next [things] is room. Indices outside are passed over; with `faults` the
 * next wait tells the first one. */
sd_status sd_cuda_transpose_index(sd_dev *dev, const char *what, sd_view<int32_t> index, uint64_t things, uint32_t *begin, uint32_t *entry, uint32_t *next,
                       bool faults);

#endif

/* The exponentials of one row of attention scores. */
#ifndef SAEDIFF_DEV_CPU_SOFTMAX_H
#define SAEDIFF_DEV_CPU_SOFTMAX_H

#include "cpu.h"

static inline uint64_t sd_whole_lanes(uint64_t n)
{
    return sd_tiles(n, SD_LANES) * SD_LANES;
}

/* s[0 … n−1] becomes exp((s − max)·scale); returns the sum. What follows up to a whole number of lanes
 * becomes 0. */
sd_real sd_softmax_row(sd_real *s, uint64_t n, sd_real scale);

#endif

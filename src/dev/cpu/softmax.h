/* The exponentials of one row of attention scores; to be called from a function of SD_WIDE, into which it is compiled. */
#ifndef SAEDIFF_DEV_CPU_SOFTMAX_H
#define SAEDIFF_DEV_CPU_SOFTMAX_H

#include <math.h>

#include "cpu.h"
#include "exp.h"

static inline uint64_t sd_whole_lanes(uint64_t n)
{
    return sd_tiles(n, SD_LANES) * SD_LANES;
}

/* s[0 … n−1] becomes exp((s − max)·scale); returns the sum. Elements after n up to a whole number of lanes
 * become 0. */
static inline sd_real sd_softmax_row(sd_real *s, uint64_t n, sd_real scale)
{
    sd_real most[SD_LANES], top, lane[SD_LANES] = {0};
    uint64_t whole = sd_whole_lanes(n);

    for (uint64_t i = n; i < whole; i++)
        s[i] = -(sd_real)INFINITY;
    for (int j = 0; j < SD_LANES; j++)
        most[j] = s[j];
    for (uint64_t i = 0; i < whole; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++)
            most[j] = most[j] < s[i + (uint64_t)j] ? s[i + (uint64_t)j] : most[j];
    top = most[0];
    for (int j = 1; j < SD_LANES; j++)
        top = most[j] > top ? most[j] : top;
    for (uint64_t i = 0; i < whole; i++)
        s[i] = sd_exp((s[i] - top) * scale);
    for (uint64_t i = 0; i < whole; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++)
            lane[j] += s[i + (uint64_t)j];
    for (int half = SD_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

#endif

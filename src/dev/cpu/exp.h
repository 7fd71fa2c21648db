/* exp() that compilers turn into vector code: x = n·ln 2 + r with |r| ≤ ln 2 / 2, a polynomial for exp(r),
 * and 2^n assembled from exponent bits in two factors, so that results near overflow and among the
 * denormals are correct. Arguments beyond the range are handled at the end: handled first, they would keep compilers
 * from vectorising. Below 2 units in the last place of the result, whether normal or denormal. NaN
 * stays NaN. */
#ifndef SAEDIFF_DEV_CPU_EXP_H
#define SAEDIFF_DEV_CPU_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "saediff/dev/dev.h"

static inline double sd_exp_f64(double x)
{
    const double magic = 0x1.8p52; /* adding it leaves the nearest integer in the low bits */
    double t, r, p, scale_1, scale_2;
    uint64_t bits, half_1, half_2;
    int64_t n;

    t = x * 0x1.71547652b82fep+0 + magic;
    memcpy(&bits, &t, sizeof bits);
    n = (int64_t)(bits - 0x4338000000000000u);
    t -= magic;
    r = (x - t * 0x1.62e42fefa0000p-1) - t * 0x1.cf79abc9e3b3ap-40;
    p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = 1.0 + (r + r * r * p);
    /* Floor of n/2 without an arithmetic shift of 64 bits, which AVX2 lacks. */
    half_1 = (((uint64_t)n + 4096u) >> 1) - 2048u;
    half_2 = (uint64_t)n - half_1;
    half_1 = (half_1 + 1023u) << 52;
    half_2 = (half_2 + 1023u) << 52;
    memcpy(&scale_1, &half_1, sizeof half_1);
    memcpy(&scale_2, &half_2, sizeof half_2);
    p = p * scale_1 * scale_2;
    p = x < -746.0 ? 0.0 : p;
    return x > 710.0 ? (double)INFINITY : p;
}

static inline float sd_exp_f32(float x)
{
    const float magic = 0x1.8p23f;
    float t, r, p, scale_1, scale_2;
    uint32_t bits, half_1, half_2;

    t = x * 0x1.715476p+0f + magic;
    memcpy(&bits, &t, sizeof bits);
    bits -= 0x4b400000u; /* n in two's complement */
    t -= magic;
    r = (x - t * 0x1.62e400p-1f) - t * 0x1.7f7d1cp-20f;
    p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = 1.0f + (r + r * r * p);
    half_1 = ((bits + 512u) >> 1) - 256u;
    half_2 = bits - half_1;
    half_1 = (half_1 + 127u) << 23;
    half_2 = (half_2 + 127u) << 23;
    memcpy(&scale_1, &half_1, sizeof half_1);
    memcpy(&scale_2, &half_2, sizeof half_2);
    p = p * scale_1 * scale_2;
    p = x < -104.0f ? 0.0f : p;
    return x > 89.0f ? INFINITY : p;
}

static inline sd_real sd_exp(sd_real x)
{
#ifdef SD_REAL_IS_DOUBLE
    return sd_exp_f64(x);
#else
    return sd_exp_f32(x);
#endif
}

#endif

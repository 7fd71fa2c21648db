/* Products of small matrices by a warp on tensor cores, and loading of their operands. Lane l = 4g + t holds, of the 16 × 16 matrix a (row-major), rows g
 * and g + 8 at columns 2t, 2t + 1 (a[0], a[1]) and 2t + 8, 2t + 9 (a[2], a[3]); of the 16 × 8 matrix b, column g at rows 2t, 2t + 1 (b[0]) and
 * 2t + 8, 2t + 9 (b[1]); of the 16 × 8 result d, columns 2t, 2t + 1 of row g (d[0], d[1]) and of row g + 8 (d[2], d[3]). */
#ifndef SAEDIFF_DEV_CUDA_MMA_H
#define SAEDIFF_DEV_CUDA_MMA_H

#include "cuda.h"

/* Two numbers in one register, the first in its lower half. */
template <typename T> __device__ inline uint32_t sd_pair(T low, T high)
{
    return (uint32_t)low.bits | (uint32_t)high.bits << 16;
}

template <typename T> __device__ inline uint32_t sd_pair_of(float low, float high)
{
    T a, b;

    sd_narrow((sd_real)low, &a);
    sd_narrow((sd_real)high, &b);
    return sd_pair(a, b);
}

#ifdef SD_EMULATED

template <typename T> inline float sd_half(uint32_t pair, unsigned which)
{
    T x;

    x.bits = (uint16_t)(pair >> 16 * which);
    return (float)sd_wide(x);
}

/* d += a·b */
template <typename T> inline void sd_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    struct alignas(32) registers {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const registers *lane = (const registers *)emulate_all(&mine, sizeof mine);
    unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;

    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 16; k++) {
            unsigned row = g + 8 * (i / 2), col = 2 * t + i % 2;

            d[i] += sd_half<T>(lane[row % 8 * 4 + k % 8 / 2].a[row / 8 + 2 * (k / 8)], k % 2) *
                    sd_half<T>(lane[col * 4 + k % 8 / 2].b[k / 8], k % 2);
        }
}

/* Loads four 8 × 8 matrices transposed: row l % 8 of matrix l / 8 is at lane l's `row`; out[m] = elements (2t, g), (2t + 1, g) of matrix m. */
inline void sd_load_transposed(uint32_t out[4], const uint16_t *row)
{
    const char *all = (const char *)emulate_all(&row, sizeof row);
    unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;

    for (unsigned m = 0; m < 4; m++) {
        const uint16_t *low, *high;

        memcpy(&low, all + 32 * (8 * m + 2 * t), sizeof low);
        memcpy(&high, all + 32 * (8 * m + 2 * t + 1), sizeof high);
        out[m] = (uint32_t)low[g] | (uint32_t)high[g] << 16;
    }
}

#else

template <typename T> __device__ inline void sd_mma(float d[4], const uint32_t a[4], const uint32_t b[2]);

template <> __device__ inline void sd_mma<sd_bf16>(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <> __device__ inline void sd_mma<sd_f16>(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void sd_load_transposed(uint32_t out[4], const uint16_t *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
}

#endif
#endif

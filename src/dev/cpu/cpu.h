/* Shared by the kernels of the cpu backend: element types, tiles, and sums in a fixed order.
 *
 * Every kernel gives the same bits on every instruction set where the compiler keeps the order of operations:
 * sums inside a row run in LANES explicit lanes that are added in a fixed tree at the end. Matrix products
 * are OpenBLAS's and differ between its kernels; the name of the kernel is part of sd_dev_describe(). */
#ifndef SAEDIFF_DEV_CPU_H
#define SAEDIFF_DEV_CPU_H

#include <stddef.h>

#include "../backend.h"
#include "pool.h"

/* One function compiled for several instruction sets, chosen when the program is loaded. Not under
 * sanitizers, whose run time is not initialised at that point. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SD_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SD_SANITIZED
#endif
#if defined(__x86_64__) && defined(__linux__) && !defined(SD_SANITIZED)
#define SD_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SD_WIDE
#endif

enum { SD_LANES = 16 };

#define SD_DECLARE_CPU_OP(name) sd_status sd_cpu_##name(sd_dev *dev, const sd_##name *args);
SD_DENSE_OPS(SD_DECLARE_CPU_OP)
SD_DICT_OPS(SD_DECLARE_CPU_OP)
SD_STEP_OPS(SD_DECLARE_CPU_OP)
SD_SCORE_OPS(SD_DECLARE_CPU_OP)
SD_GRAD_OPS(SD_DECLARE_CPU_OP)

/* The operations on real members (except the weights of rowwise, and bf16 weights of matmul if oneDNN multiplies them); narrow.c calls them after
 * widening members of other types. */
#define SD_CPU_TYPED_OPS(X)                                                                                  \
    X(axpy)                                                                                                  \
    X(matmul)                                                                                                \
    X(rmsnorm)                                                                                               \
    X(rope)                                                                                                  \
    X(silu_mul)                                                                                              \
    X(attention)                                                                                             \
    X(put_rows)                                                                                                \
    X(rowwise)                                                                                               \
    X(attention_cached)
#define SD_DECLARE_CPU_REAL(name) sd_status sd_cpu_real_##name(sd_dev *dev, const sd_##name *args);
SD_CPU_TYPED_OPS(SD_DECLARE_CPU_REAL)

/* bf16.c: matmul with b of bf16, if this was built with oneDNN and the processor supports it. */
bool sd_cpu_has_bf16(void);
sd_status sd_cpu_matmul_bf16(sd_dev *dev, const sd_matmul *args);

/* The elements of `from`, which holds sd_real, as rows·cols contiguous elements of `type`. */
void sd_cpu_pack(void *to, sd_dtype type, sd_mat from);

static inline sd_pool *sd_cpu_pool(const sd_dev *dev)
{
    return dev->state;
}

/* Row r of a matrix by element type. */
static inline sd_real *sd_row(sd_mat m, uint64_t r)
{
    return (sd_real *)m.buf->data + m.offset + r * m.stride;
}

/* bf16 or f16. */
static inline uint16_t *sd_row_narrow(sd_mat m, uint64_t r)
{
    return (uint16_t *)m.buf->data + m.offset + r * m.stride;
}

static inline int32_t *sd_row_i32(sd_mat m, uint64_t r)
{
    return (int32_t *)m.buf->data + m.offset + r * m.stride;
}

static inline uint32_t *sd_row_u32(sd_mat m, uint64_t r)
{
    return (uint32_t *)m.buf->data + m.offset + r * m.stride;
}

static inline uint64_t *sd_row_u64(sd_mat m, uint64_t r)
{
    return (uint64_t *)m.buf->data + m.offset + r * m.stride;
}

static inline double *sd_row_f64(sd_mat m, uint64_t r)
{
    return (double *)m.buf->data + m.offset + r * m.stride;
}

/* The number of type bf16 or f16 that is nearest to `value`. */
static inline sd_real sd_round_to(sd_dtype type, sd_real value)
{
    return type == SD_BF16 ? (sd_real)sd_f32_from_bf16(sd_bf16_from_f32((float)value))
                           : (sd_real)sd_f32_from_f16(sd_f16_from_f32((float)value));
}

static inline uint64_t sd_tiles(uint64_t count, uint64_t tile)
{
    return (count + tile - 1) / tile;
}

/* Elements of tile t when `count` are cut into pieces of `tile`. */
static inline sd_span sd_tile(uint64_t count, uint64_t tile, uint64_t t)
{
    uint64_t first = t * tile;

    return (sd_span){first, count - first < tile ? count - first : tile};
}

/* A matrix cut into tiles of some 16 Ki elements, by its shape alone. */
typedef struct sd_grid {
    uint64_t rows, cols, row_tile, col_tile, across;
} sd_grid;

static inline sd_grid sd_grid_of(uint64_t rows, uint64_t cols)
{
    enum { COLS = 4096, ELEMENTS = 16384 };
    uint64_t col_tile = cols < COLS ? cols : COLS;

    if (col_tile == 0)
        col_tile = 1;
    return (sd_grid){rows, cols, ELEMENTS / col_tile, col_tile, sd_tiles(cols, col_tile)};
}

static inline uint64_t sd_grid_tiles(sd_grid g)
{
    return sd_tiles(g.rows, g.row_tile) * g.across;
}

static inline sd_span sd_grid_rows(sd_grid g, uint64_t tile)
{
    return sd_tile(g.rows, g.row_tile, tile / g.across);
}

static inline sd_span sd_grid_cols(sd_grid g, uint64_t tile)
{
    return sd_tile(g.cols, g.col_tile, tile % g.across);
}

static inline double sd_fold(const double lane[SD_LANES])
{
    double a[SD_LANES / 2];

    for (int i = 0; i < SD_LANES / 2; i++)
        a[i] = lane[i] + lane[i + SD_LANES / 2];
    for (int half = SD_LANES / 4; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a[i] += a[i + half];
    return a[0];
}

/* Σ x·y in double. */
static inline double sd_dot(const sd_real *x, const sd_real *y, uint64_t n)
{
    double lane[SD_LANES] = {0};
    uint64_t i = 0;

    for (; i + SD_LANES <= n; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++)
            lane[j] += (double)x[i + (uint64_t)j] * (double)y[i + (uint64_t)j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)x[i] * (double)y[i];
    return sd_fold(lane);
}

/* Σ x·y in real. */
static inline sd_real sd_dot_real(const sd_real *x, const sd_real *y, uint64_t n)
{
    sd_real lane[SD_LANES] = {0};
    uint64_t i = 0;

    for (; i + SD_LANES <= n; i += SD_LANES)
        for (int j = 0; j < SD_LANES; j++)
            lane[j] += x[i + (uint64_t)j] * y[i + (uint64_t)j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += x[i] * y[i];
    for (int half = SD_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

/* y += c·x */
static inline void sd_add_scaled(sd_real *restrict y, sd_real c, const sd_real *restrict x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        y[i] += c * x[i];
}

#endif

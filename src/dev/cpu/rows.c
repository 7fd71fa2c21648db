/* Element-wise and row-wise operations. */
#include <math.h>

#include "cpu.h"
#include "exp.h"

enum { ROW_TILE = 32 };

static void fill_row(sd_buf *buf, uint64_t offset, uint64_t count, double value)
{
    switch (buf->type) {
#define FILL(tag, type, converted)                                                                           \
    case tag:                                                                                                \
        for (uint64_t i = 0; i < count; i++)                                                                 \
            ((type *)buf->data)[offset + i] = converted;                                                     \
        break;
        FILL(SD_F32, float, (float)value)
        FILL(SD_F64, double, value)
        FILL(SD_F16, uint16_t, sd_f16_from_f32((float)value))
        FILL(SD_BF16, uint16_t, sd_bf16_from_f32((float)value))
        FILL(SD_I32, int32_t, (int32_t)value)
        FILL(SD_U32, uint32_t, (uint32_t)value)
        FILL(SD_I64, int64_t, (int64_t)value)
        FILL(SD_U64, uint64_t, (uint64_t)value)
        FILL(SD_U8, uint8_t, (uint8_t)value)
#undef FILL
    case SD_DTYPES:
        break;
    }
}

static void fill_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_fill *a = args;
    sd_grid grid = sd_grid_of(a->y.rows, a->y.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);

    (void)scratch;
    for (uint64_t r = 0; r < rows.count; r++)
        fill_row(a->y.buf, a->y.offset + (rows.first + r) * a->y.stride + cols.first, cols.count, a->value);
}

sd_status sd_cpu_fill(sd_dev *dev, const sd_fill *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(args->y.rows, args->y.cols)), 0, fill_tile,
                       args);
}

static void noise_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_noise *a = args;
    sd_grid grid = sd_grid_of(a->y.rows, a->y.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++)
        for (uint64_t i = cols.first; i < cols.first + cols.count; i++)
            fill_row(a->y.buf, a->y.offset + r * a->y.stride + i, 1,
                     (double)(sd_real)(a->scale * (2 * sd_random_uniform(a->key, r * a->y.cols + i) - 1)));
}

sd_status sd_cpu_noise(sd_dev *dev, const sd_noise *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(args->y.rows, args->y.cols)), 0, noise_tile, args);
}

SD_WIDE static void scale_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_scale *a = args;
    sd_grid grid = sd_grid_of(a->y.rows, a->y.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);
    sd_real c = (sd_real)a->scale;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *x = sd_row(a->x, r) + cols.first;
        sd_real *y = sd_row(a->y, r) + cols.first;

        for (uint64_t i = 0; i < cols.count; i++)
            y[i] = c * x[i];
    }
}

sd_status sd_cpu_scale(sd_dev *dev, const sd_scale *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(args->y.rows, args->y.cols)), 0, scale_tile,
                       args);
}

SD_WIDE static void axpy_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_axpy *a = args;
    sd_grid grid = sd_grid_of(a->y.rows, a->y.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++)
        sd_add_scaled(sd_row(a->y, r) + cols.first, (sd_real)a->scale,
                      sd_row(a->x, a->x.rows == 1 ? 0 : r) + cols.first, cols.count);
}

sd_status sd_cpu_real_axpy(sd_dev *dev, const sd_axpy *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(args->y.rows, args->y.cols)), 0, axpy_tile,
                       args);
}

static void gather_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_gather *a = args;
    sd_span rows = sd_tile(a->y.rows, ROW_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        int64_t from = sd_row_i32(a->index, 0)[r];
        sd_real *y = sd_row(a->y, r);

        if (from >= 0 && (uint64_t)from < a->x.rows && a->x.buf->type != SD_REAL) {
            sd_convert(y, SD_REAL, sd_row_narrow(a->x, (uint64_t)from), a->x.buf->type, a->y.cols);
        } else if (from >= 0 && (uint64_t)from < a->x.rows) {
            const sd_real *x = sd_row(a->x, (uint64_t)from);

            for (uint64_t i = 0; i < a->y.cols; i++)
                y[i] = x[i];
        } else {
            for (uint64_t i = 0; i < a->y.cols; i++)
                y[i] = (sd_real)NAN;
        }
    }
}

sd_status sd_cpu_gather(sd_dev *dev, const sd_gather *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.rows, ROW_TILE), 0, gather_tile, args);
}

SD_WIDE static void rmsnorm_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_rmsnorm *a = args;
    sd_span rows = sd_tile(a->y.rows, ROW_TILE, tile);
    uint64_t n = a->gain.cols;
    const sd_real *gain = sd_row(a->gain, 0);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++)
        for (uint64_t g = 0; g < a->x.cols; g += n) {
            const sd_real *x = sd_row(a->x, r) + g;
            sd_real *y = sd_row(a->y, r) + g;
            sd_real factor = (sd_real)(1.0 / sqrt(sd_dot(x, x, n) / (double)n + a->eps));

            for (uint64_t i = 0; i < n; i++)
                y[i] = gain[i] * (x[i] * factor);
        }
}

sd_status sd_cpu_real_rmsnorm(sd_dev *dev, const sd_rmsnorm *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.rows, ROW_TILE), 0, rmsnorm_tile, args);
}

SD_WIDE static void rope_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_rope *a = args;
    sd_span rows = sd_tile(a->x.rows, ROW_TILE, tile);
    uint64_t half = a->head / 2;
    sd_real turn = a->back ? -1 : 1;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        int64_t position = sd_row_i32(a->position, 0)[r];
        sd_real *x = sd_row(a->x, r);
        const sd_real *c, *s;

        if (position < 0 || (uint64_t)position >= a->cos.rows) {
            for (uint64_t i = 0; i < a->x.cols; i++)
                x[i] = (sd_real)NAN;
            continue;
        }
        c = sd_row(a->cos, (uint64_t)position);
        s = sd_row(a->sin, (uint64_t)position);
        for (uint64_t first = 0; first < a->x.cols; first += a->head) {
            sd_real *restrict low = x + first, *restrict high = x + first + half;

            for (uint64_t i = 0; i < half; i++) {
                sd_real l = low[i], h = high[i], sine = turn * s[i];

                low[i] = l * c[i] - h * sine;
                high[i] = h * c[i] + l * sine;
            }
        }
    }
}

sd_status sd_cpu_real_rope(sd_dev *dev, const sd_rope *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, ROW_TILE), 0, rope_tile, args);
}

SD_WIDE static void silu_mul_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_silu_mul *a = args;
    sd_grid grid = sd_grid_of(a->y.rows, a->y.cols);
    sd_span rows = sd_grid_rows(grid, tile), cols = sd_grid_cols(grid, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        const sd_real *gate = sd_row(a->gate, r) + cols.first, *up = sd_row(a->up, r) + cols.first;
        sd_real *y = sd_row(a->y, r) + cols.first;

        for (uint64_t i = 0; i < cols.count; i++)
            y[i] = gate[i] / (1 + sd_exp(-gate[i])) * up[i];
    }
}

sd_status sd_cpu_real_silu_mul(sd_dev *dev, const sd_silu_mul *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_grid_tiles(sd_grid_of(args->y.rows, args->y.cols)), 0,
                       silu_mul_tile, args);
}

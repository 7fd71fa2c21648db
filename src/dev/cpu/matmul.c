/* Matrix products: OpenBLAS on tiles of the output. Each tile runs over the whole inner dimension, so nothing
 * is summed across tiles.
 *
 * Products should be batch-invariant: the bits of a row must not depend on the number of rows. OpenBLAS uses other kernels for few rows than
 * for many. In blocks of 32 rows, the last one padded with zeros, its SkylakeX kernels give a row the same bits at any position (its Haswell
 * kernels do not; `saediff selftest` reports it). */
#include <string.h>

#include "blas.h"
#include "cpu.h"

/* Large enough that packing a tile's panels costs little compared with its products, small enough that the shapes of
 * this program give every core several tiles. Measured at 512 … 4096 rows, 64 … 4096 inner, 64 … 32768
 * columns. */
enum { ROW_TILE = 256, COL_TILE = 512, ROW_BLOCK = 32 };

static blasint leading(sd_mat m)
{
    uint64_t ld = m.stride > m.cols ? m.stride : m.cols;

    return ld > 0 ? (blasint)ld : 1;
}

/* y [rows, cols] of a tile, all of it or a block. */
static void product(const sd_matmul *a, const sd_real *from_a, blasint ld_a, const sd_real *from_b, uint64_t rows, uint64_t cols,
                    double beta, sd_real *y, blasint ld_y)
{
    uint64_t inner = a->trans_a ? a->a.rows : a->a.cols;

    sd_cblas_gemm(CblasRowMajor, a->trans_a ? CblasTrans : CblasNoTrans, a->trans_b ? CblasTrans : CblasNoTrans, (blasint)rows,
                  (blasint)cols, (blasint)inner, (sd_real)a->alpha, from_a, ld_a, from_b, leading(a->b), (sd_real)beta, y, ld_y);
}

/* The rows after the last whole block, through scratch: [ROW_BLOCK, inner] of a, [ROW_BLOCK, cols] of y. */
static void rest(const sd_matmul *a, sd_span rows, sd_span cols, const sd_real *from_b, sd_real *scratch)
{
    uint64_t inner = a->a.cols;
    sd_real *x = scratch, *y = scratch + ROW_BLOCK * inner;

    for (uint64_t r = 0; r < ROW_BLOCK; r++) {
        if (r < rows.count)
            memcpy(x + r * inner, sd_row(a->a, rows.first + r), inner * sizeof *x);
        else
            memset(x + r * inner, 0, inner * sizeof *x);
        if (r < rows.count && a->beta != 0)
            memcpy(y + r * cols.count, sd_row(a->y, rows.first + r) + cols.first, cols.count * sizeof *y);
        else
            memset(y + r * cols.count, 0, cols.count * sizeof *y);
    }
    product(a, x, inner > 0 ? (blasint)inner : 1, from_b, ROW_BLOCK, cols.count, a->beta, y, (blasint)cols.count);
    for (uint64_t r = 0; r < rows.count; r++)
        memcpy(sd_row(a->y, rows.first + r) + cols.first, y + r * cols.count, cols.count * sizeof *y);
}

static void matmul_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_matmul *a = args;
    uint64_t across = sd_tiles(a->y.cols, COL_TILE);
    sd_span rows = sd_tile(a->y.rows, ROW_TILE, tile / across);
    sd_span cols = sd_tile(a->y.cols, COL_TILE, tile % across);
    uint64_t whole = a->trans_a ? rows.count : rows.count / ROW_BLOCK * ROW_BLOCK;
    const sd_real *from_a = a->trans_a ? sd_row(a->a, 0) + rows.first : sd_row(a->a, rows.first);
    const sd_real *from_b = a->trans_b ? sd_row(a->b, cols.first) : sd_row(a->b, 0) + cols.first;

    if (whole > 0)
        product(a, from_a, leading(a->a), from_b, whole, cols.count, a->beta, sd_row(a->y, rows.first) + cols.first, leading(a->y));
    if (whole < rows.count)
        rest(a, (sd_span){rows.first + whole, rows.count - whole}, cols, from_b, scratch);
}

sd_status sd_cpu_real_matmul(sd_dev *dev, const sd_matmul *args)
{
    uint64_t cols = args->y.cols < COL_TILE ? args->y.cols : COL_TILE;
    bool tail = !args->trans_a && args->y.rows % ROW_BLOCK != 0;

    if (args->b.buf->type == SD_BF16)
        return sd_cpu_matmul_bf16(dev, args);
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.rows, ROW_TILE) * sd_tiles(args->y.cols, COL_TILE),
                       tail ? ROW_BLOCK * (args->a.cols + cols) * sizeof(sd_real) : 0, matmul_tile, args);
}

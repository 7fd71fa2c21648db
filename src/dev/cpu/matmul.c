/* Matrix products: OpenBLAS on tiles of the output. Each tile runs over the whole inner dimension, so nothing
 * is summed across tiles. */
#include "blas.h"
#include "cpu.h"

/* Large enough that packing a tile's panels costs little beside its products, small enough that the shapes of
 * this program give every core several tiles. Measured at 512 … 4096 rows, 64 … 4096 inner, 64 … 32768
 * columns. */
enum { ROW_TILE = 256, COL_TILE = 512 };

static blasint leading(sd_mat m)
{
    uint64_t ld = m.stride > m.cols ? m.stride : m.cols;

    return ld > 0 ? (blasint)ld : 1;
}

static void matmul_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_matmul *a = args;
    uint64_t across = sd_tiles(a->y.cols, COL_TILE);
    sd_span rows = sd_tile(a->y.rows, ROW_TILE, tile / across);
    sd_span cols = sd_tile(a->y.cols, COL_TILE, tile % across);
    uint64_t inner = a->trans_a ? a->a.rows : a->a.cols;
    const sd_real *from_a = a->trans_a ? sd_row(a->a, 0) + rows.first : sd_row(a->a, rows.first);
    const sd_real *from_b = a->trans_b ? sd_row(a->b, cols.first) : sd_row(a->b, 0) + cols.first;

    (void)scratch;
    sd_cblas_gemm(CblasRowMajor, a->trans_a ? CblasTrans : CblasNoTrans,
                  a->trans_b ? CblasTrans : CblasNoTrans, (blasint)rows.count, (blasint)cols.count,
                  (blasint)inner, (sd_real)a->alpha, from_a, leading(a->a), from_b, leading(a->b),
                  (sd_real)a->beta, sd_row(a->y, rows.first) + cols.first, leading(a->y));
}

sd_status sd_cpu_matmul(sd_dev *dev, const sd_matmul *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.rows, ROW_TILE) * sd_tiles(args->y.cols, COL_TILE),
                       0, matmul_tile, args);
}

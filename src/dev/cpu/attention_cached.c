/* Operations of generation, batch-invariant: single rows times weights, and attention over a KV cache. Every number is computed the same way
 * from its own row, so that other rows of the batch do not change a bit of it. */
#include <math.h>

#include "cpu.h"
#include "exp.h"

enum {
    COL_TILE = 64, /* weight rows of a tile: each is read once for all rows of x */
    ROW_TILE = 32
};

static void put_rows_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_put_rows *a = args;
    sd_span rows = sd_tile(a->x.rows, ROW_TILE, tile);

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        int64_t to = sd_row_i32(a->index, 0)[r];
        const sd_real *x = sd_row(a->x, r);

        if (to < 0 || (uint64_t)to >= a->y.rows)
            continue;
        for (uint64_t i = 0; i < a->x.cols; i++)
            sd_row(a->y, (uint64_t)to)[i] = x[i];
    }
}

sd_status sd_cpu_real_put_rows(sd_dev *dev, const sd_put_rows *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->x.rows, ROW_TILE), 0, put_rows_tile, args);
}

/* Weights of bf16 or f16: x is rounded to their type, as in matmul. */
SD_WIDE static void rowwise_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_rowwise *a = args;
    sd_span cols = sd_tile(a->y.cols, COL_TILE, tile);
    uint64_t inner = a->x.cols;
    sd_dtype type = a->w.buf->type;
    bool narrow = type != SD_REAL;
    sd_real *row = scratch, *x = narrow ? row + inner : NULL; /* the scratch is for narrow weights only */

    for (uint64_t r = 0; r < a->x.rows && narrow; r++)
        for (uint64_t i = 0; i < inner; i++)
            x[r * inner + i] = sd_round_to(type, sd_row(a->x, r)[i]);
    for (uint64_t c = cols.first; c < cols.first + cols.count; c++) {
        if (narrow)
            sd_convert(row, SD_REAL, sd_row_narrow(a->w, c), type, inner);
        for (uint64_t r = 0; r < a->x.rows; r++)
            sd_row(a->y, r)[c] = sd_dot_real(narrow ? x + r * inner : sd_row(a->x, r), narrow ? row : sd_row(a->w, c), inner);
    }
}

sd_status sd_cpu_real_rowwise(sd_dev *dev, const sd_rowwise *args)
{
    return sd_pool_run(sd_cpu_pool(dev), sd_tiles(args->y.cols, COL_TILE),
                       args->w.buf->type != SD_REAL ? (1 + args->x.rows) * args->x.cols * sizeof(sd_real) : 0, rowwise_tile, args);
}

/* One head of one row: scores in scratch, in three passes over the keys it attends to. */
SD_WIDE static void attention_cached_tile(const void *args, uint64_t tile, void *scratch)
{
    const sd_attention_cached *a = args;
    uint64_t heads = a->q.cols / a->head, group = a->q.cols / a->k.cols, r = tile / heads, h = tile % heads;
    int32_t first = sd_row_i32(a->first, 0)[r], last = sd_row_i32(a->last, 0)[r];
    const sd_real *q = sd_row(a->q, r) + h * a->head;
    sd_real *y = sd_row(a->y, r) + h * a->head, *score = scratch;
    double scale = 1 / sqrt((double)a->head), most = -INFINITY, sum = 0;
    bool valid = first >= 0 && first <= last && (uint64_t)last < a->k.rows;
    uint64_t n = valid ? (uint64_t)(last - first) + 1 : 0, column = h / group * a->head;

    for (uint64_t i = 0; i < a->head; i++)
        y[i] = valid ? 0 : (sd_real)NAN;
    for (uint64_t s = 0; s < n; s++) {
        score[s] = (sd_real)(scale * (double)sd_dot_real(q, sd_row(a->k, (uint64_t)first + s) + column, a->head));
        most = (double)score[s] > most ? (double)score[s] : most;
    }
    for (uint64_t s = 0; s < n; s++) {
        score[s] = sd_exp(score[s] - (sd_real)most);
        sum += (double)score[s];
    }
    for (uint64_t s = 0; s < n; s++)
        sd_add_scaled(y, score[s], sd_row(a->v, (uint64_t)first + s) + column, a->head);
    for (uint64_t i = 0; i < a->head && n > 0; i++)
        y[i] *= (sd_real)(1 / sum);
}

sd_status sd_cpu_real_attention_cached(sd_dev *dev, const sd_attention_cached *args)
{
    return sd_pool_run(sd_cpu_pool(dev), args->q.rows * (args->q.cols / args->head), args->k.rows * sizeof(sd_real), attention_cached_tile, args);
}

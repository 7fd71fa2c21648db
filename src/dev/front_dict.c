#include "front.h"

typedef unsigned long long ull;

/* index and value [n, k] with 1 ≤ k; value may be without buffer where the operation has none. */
static sd_status codes(const sd_dev *dev, const char *op, sd_mat index, sd_mat value, uint64_t n)
{
    sd_status st;

    SD_TRY(st, sd_front_shape(dev, op, "index", index, SD_I32, n, index.cols));
    SD_TRY(st, sd_front_shape(dev, op, "value", value, SD_REAL, n, index.cols));
out:
    return st;
}

sd_status sd_dev_encode_topk(sd_dev *dev, const sd_encode_topk *a)
{
    uint64_t n = a->x.rows, d = a->x.cols, latents = a->w_enc.rows, k = a->index.cols;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "encode_topk", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "encode_topk", "w_enc", a->w_enc, SD_REAL, latents, d));
    SD_TRY(st, sd_front_shape(dev, "encode_topk", "b_enc", a->b_enc, SD_REAL, 1, latents));
    SD_TRY(st, sd_front_shape(dev, "encode_topk", "b_dec", a->b_dec, SD_REAL, 1, d));
    SD_TRY(st, codes(dev, "encode_topk", a->index, a->value, n));
    if (k < 1 || k > latents) {
        st = SD_FAIL(SD_E_INTERNAL, "encode_topk: index is [%llu, %llu]: k must be 1 to the %llu latents",
                     (ull)n, (ull)k, (ull)latents);
        goto out;
    }
    SD_TRY(st, sd_front_disjoint("encode_topk", "value", a->value, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("encode_topk", "value", a->value, "w_enc", a->w_enc, false));
    SD_TRY(st, sd_front_disjoint("encode_topk", "value", a->value, "b_enc", a->b_enc, false));
    SD_TRY(st, sd_front_disjoint("encode_topk", "value", a->value, "b_dec", a->b_dec, false));
    SD_FRONT_CALL(st, dev, dict, encode_topk, a);
out:
    return st;
}

sd_status sd_dev_decode(sd_dev *dev, const sd_decode *a)
{
    sd_status st;

    SD_TRY(st, codes(dev, "decode", a->index, a->value, a->index.rows));
    SD_TRY(st, sd_front_mat(dev, "decode", "w_dec", a->w_dec, SD_REAL));
    if (a->bias.buf != NULL)
        SD_TRY(st, sd_front_shape(dev, "decode", "bias", a->bias, SD_REAL, 1, a->w_dec.cols));
    SD_TRY(st, sd_front_shape(dev, "decode", "y", a->y, SD_REAL, a->index.rows, a->w_dec.cols));
    SD_TRY(st, sd_front_disjoint("decode", "y", a->y, "value", a->value, false));
    SD_TRY(st, sd_front_disjoint("decode", "y", a->y, "w_dec", a->w_dec, false));
    SD_TRY(st, sd_front_disjoint("decode", "y", a->y, "bias", a->bias, false));
    SD_FRONT_CALL(st, dev, dict, decode, a);
out:
    return st;
}

sd_status sd_dev_recon_error(sd_dev *dev, const sd_recon_error *a)
{
    uint64_t n = a->x.rows, d = a->x.cols;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "recon_error", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "recon_error", "y", a->y, SD_REAL, n, d));
    SD_TRY(st, sd_front_shape(dev, "recon_error", "e", a->e, SD_REAL, n, d));
    SD_TRY(st, sd_front_shape(dev, "recon_error", "row_sse", a->row_sse, SD_F64, 1, n));
    SD_TRY(st, sd_front_disjoint("recon_error", "e", a->e, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("recon_error", "e", a->e, "y", a->y, true));
    SD_TRY(st, sd_front_disjoint("recon_error", "row_sse", a->row_sse, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("recon_error", "row_sse", a->row_sse, "y", a->y, false));
    SD_TRY(st, sd_front_disjoint("recon_error", "row_sse", a->row_sse, "e", a->e, false));
    SD_FRONT_CALL(st, dev, dict, recon_error, a);
out:
    return st;
}

sd_status sd_dev_code_grad(sd_dev *dev, const sd_code_grad *a)
{
    uint64_t n = a->e.rows;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "code_grad", "e", a->e, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "code_grad", "w_dec", a->w_dec, SD_REAL, a->w_dec.rows, a->e.cols));
    SD_TRY(st, codes(dev, "code_grad", a->index, a->value, n));
    SD_TRY(st, sd_front_shape(dev, "code_grad", "grad", a->grad, SD_REAL, n, a->index.cols));
    SD_TRY(st, sd_front_disjoint("code_grad", "grad", a->grad, "e", a->e, false));
    SD_TRY(st, sd_front_disjoint("code_grad", "grad", a->grad, "w_dec", a->w_dec, false));
    SD_TRY(st, sd_front_disjoint("code_grad", "grad", a->grad, "value", a->value, false));
    SD_FRONT_CALL(st, dev, dict, code_grad, a);
out:
    return st;
}

sd_status sd_dev_invert(sd_dev *dev, const sd_invert *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "invert", "index", a->index, SD_I32));
    /* The length of entry is held to INT_MAX by the general check, so that every flat position fits in u32.
     */
    SD_TRY(st, sd_front_shape(dev, "invert", "entry", a->entry, SD_U32, 1, a->index.rows * a->index.cols));
    SD_TRY(st, sd_front_shape(dev, "invert", "begin", a->begin, SD_U32, 1, a->begin.cols));
    if (a->begin.cols < 1) {
        st = SD_FAIL(SD_E_INTERNAL, "invert: begin is [1, 0] where [1, latents + 1] is needed");
        goto out;
    }
    SD_TRY(st, sd_front_disjoint("invert", "begin", a->begin, "entry", a->entry, false));
    SD_FRONT_CALL(st, dev, dict, invert, a);
out:
    return st;
}

sd_status sd_dev_scatter(sd_dev *dev, const sd_scatter *a)
{
    uint64_t n = a->x.rows, d = a->x.cols, latents = a->y.rows;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "scatter", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "scatter", "coef", a->coef, SD_REAL, n, a->coef.cols));
    SD_TRY(st, sd_front_shape(dev, "scatter", "y", a->y, SD_REAL, latents, d));
    SD_TRY(st, sd_front_shape(dev, "scatter", "begin", a->begin, SD_U32, 1, latents + 1));
    SD_TRY(st, sd_front_shape(dev, "scatter", "entry", a->entry, SD_U32, 1, n * a->coef.cols));
    if (a->shift.buf != NULL)
        SD_TRY(st, sd_front_shape(dev, "scatter", "shift", a->shift, SD_REAL, 1, d));
    if (a->sum.buf != NULL)
        SD_TRY(st, sd_front_shape(dev, "scatter", "sum", a->sum, SD_REAL, 1, latents));
    SD_TRY(st, sd_front_disjoint("scatter", "y", a->y, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("scatter", "y", a->y, "coef", a->coef, false));
    SD_TRY(st, sd_front_disjoint("scatter", "y", a->y, "shift", a->shift, false));
    SD_TRY(st, sd_front_disjoint("scatter", "y", a->y, "sum", a->sum, false));
    SD_TRY(st, sd_front_disjoint("scatter", "sum", a->sum, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("scatter", "sum", a->sum, "coef", a->coef, false));
    SD_FRONT_CALL(st, dev, dict, scatter, a);
out:
    return st;
}

sd_status sd_dev_scatter_rows(sd_dev *dev, const sd_scatter_rows *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "scatter_rows", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "scatter_rows", "map", a->map, SD_I32, 1, a->x.rows));
    SD_TRY(st, sd_front_shape(dev, "scatter_rows", "y", a->y, SD_REAL, a->y.rows, a->x.cols));
    SD_TRY(st, sd_front_disjoint("scatter_rows", "y", a->y, "x", a->x, false));
    SD_FRONT_CALL(st, dev, dict, scatter_rows, a);
out:
    return st;
}

sd_status sd_dev_track_fires(sd_dev *dev, const sd_track_fires *a)
{
    sd_status st;

    SD_TRY(st, codes(dev, "track_fires", a->index, a->value, a->index.rows));
    SD_TRY(st, sd_front_shape(dev, "track_fires", "since", a->since, SD_U64, 1, a->since.cols));
    SD_TRY(st, sd_front_shape(dev, "track_fires", "fires", a->fires, SD_U64, 1, a->since.cols));
    SD_TRY(st, sd_front_disjoint("track_fires", "fires", a->fires, "since", a->since, false));
    SD_FRONT_CALL(st, dev, dict, track_fires, a);
out:
    return st;
}

sd_status sd_dev_median_step(sd_dev *dev, const sd_median_step *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "median_step", "x", a->x, SD_REAL));
    if (a->x.rows == 0) {
        st = SD_FAIL(SD_E_INTERNAL, "median_step: x has no rows");
        goto out;
    }
    SD_TRY(st, sd_front_shape(dev, "median_step", "c", a->c, SD_REAL, 1, a->x.cols));
    SD_TRY(st, sd_front_shape(dev, "median_step", "y", a->y, SD_REAL, 1, a->x.cols));
    SD_TRY(st, sd_front_shape(dev, "median_step", "moved", a->moved, SD_F64, 1, 1));
    SD_TRY(st, sd_front_disjoint("median_step", "y", a->y, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("median_step", "y", a->y, "c", a->c, true));
    SD_FRONT_CALL(st, dev, dict, median_step, a);
out:
    return st;
}

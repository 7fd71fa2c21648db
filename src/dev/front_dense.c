#include <math.h>

#include "front.h"

/* Whether an element of `type` can be `value`; floating types round. */
static bool holds(sd_dtype type, double value)
{
    switch (type) {
    case SD_I32:
        return value >= -2147483648.0 && value <= 2147483647.0 && value == floor(value);
    case SD_U32:
        return value >= 0 && value <= 4294967295.0 && value == floor(value);
    case SD_I64:
        return value >= -9223372036854775808.0 && value < 9223372036854775808.0 && value == floor(value);
    case SD_U64:
        return value >= 0 && value < 18446744073709551616.0 && value == floor(value);
    case SD_U8:
        return value >= 0 && value <= 255 && value == floor(value);
    default:
        return true;
    }
}

sd_status sd_dev_fill(sd_dev *dev, const sd_fill *a)
{
    sd_status st;

    SD_TRY(st, sd_front_any(dev, "fill", "y", a->y));
    if (!holds(a->y.buf->type, a->value)) {
        st = SD_FAIL(SD_E_INTERNAL, "fill: %s cannot hold %.17g", sd_dtype_name(a->y.buf->type), a->value);
        goto out;
    }
    SD_FRONT_CALL(st, dev, dense, fill, a);
out:
    return st;
}

sd_status sd_dev_noise(sd_dev *dev, const sd_noise *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "noise", "y", a->y));
    SD_FRONT_CALL(st, dev, dense, noise, a);
out:
    return st;
}

sd_status sd_dev_scale(sd_dev *dev, const sd_scale *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "scale", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "scale", "y", a->y, SD_REAL, a->x.rows, a->x.cols));
    SD_TRY(st, sd_front_disjoint("scale", "y", a->y, "x", a->x, true));
    SD_FRONT_CALL(st, dev, dense, scale, a);
out:
    return st;
}

sd_status sd_dev_axpy(sd_dev *dev, const sd_axpy *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "axpy", "y", a->y));
    SD_TRY(st, sd_front_number(dev, "axpy", "x", a->x));
    SD_TRY(st, sd_front_shape(dev, "axpy", "x", a->x, a->x.buf->type, a->x.rows == 1 ? 1 : a->y.rows, a->y.cols));
    SD_TRY(st, sd_front_disjoint("axpy", "y", a->y, "x", a->x, false));
    SD_FRONT_CALL(st, dev, dense, axpy, a);
out:
    return st;
}

/* x·wᵀ with w of bf16 or f16: x and y are real or of that type. */
static sd_status factors(const sd_dev *dev, const char *op, const char *x_arg, sd_mat x, const char *w_arg, sd_mat w, sd_mat y)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, op, x_arg, x));
    SD_TRY(st, sd_front_number(dev, op, w_arg, w));
    SD_TRY(st, sd_front_number(dev, op, "y", y));
    if (x.buf->type != SD_REAL)
        SD_TRY(st, sd_front_mat(dev, op, x_arg, x, w.buf->type));
    if (y.buf->type != SD_REAL)
        SD_TRY(st, sd_front_mat(dev, op, "y", y, w.buf->type));
out:
    return st;
}

sd_status sd_dev_matmul(sd_dev *dev, const sd_matmul *a)
{
    uint64_t m = a->trans_a ? a->a.cols : a->a.rows, k = a->trans_a ? a->a.rows : a->a.cols;
    uint64_t n = a->trans_b ? a->b.rows : a->b.cols;
    sd_status st;

    SD_TRY(st, factors(dev, "matmul", "a", a->a, "b", a->b, a->y));
    SD_TRY(st, sd_front_shape(dev, "matmul", "b", a->b, a->b.buf->type, a->trans_b ? n : k, a->trans_b ? k : n));
    if (a->b.buf->type != SD_REAL && (a->trans_a || !a->trans_b || a->alpha != 1 || a->beta != 0)) {
        st = SD_FAIL(SD_E_INTERNAL, "matmul: by weights of %s only x·wᵀ is possible", sd_dtype_name(a->b.buf->type));
        goto out;
    }
    SD_TRY(st, sd_front_shape(dev, "matmul", "y", a->y, a->y.buf->type, m, n));
    SD_TRY(st, sd_front_disjoint("matmul", "y", a->y, "a", a->a, false));
    SD_TRY(st, sd_front_disjoint("matmul", "y", a->y, "b", a->b, false));
    SD_FRONT_CALL(st, dev, dense, matmul, a);
out:
    return st;
}

sd_status sd_dev_gather(sd_dev *dev, const sd_gather *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "gather", "x", a->x));
    SD_TRY(st, sd_front_shape(dev, "gather", "index", a->index, SD_I32, 1, a->y.rows));
    SD_TRY(st, sd_front_shape(dev, "gather", "y", a->y, SD_REAL, a->y.rows, a->x.cols));
    SD_TRY(st, sd_front_disjoint("gather", "y", a->y, "x", a->x, false));
    SD_FRONT_CALL(st, dev, dense, gather, a);
out:
    return st;
}

sd_status sd_dev_rmsnorm(sd_dev *dev, const sd_rmsnorm *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "rmsnorm", "x", a->x));
    SD_TRY(st, sd_front_shape(dev, "rmsnorm", "gain", a->gain, SD_REAL, 1, a->gain.cols));
    if (a->gain.cols == 0 || a->x.cols % a->gain.cols != 0) {
        st = SD_FAIL(SD_E_INTERNAL, "rmsnorm: x is [%llu, %llu], no whole number of groups of %llu components",
                     (unsigned long long)a->x.rows, (unsigned long long)a->x.cols,
                     (unsigned long long)a->gain.cols);
        goto out;
    }
    SD_TRY(st, sd_front_number(dev, "rmsnorm", "y", a->y));
    SD_TRY(st, sd_front_shape(dev, "rmsnorm", "y", a->y, a->y.buf->type, a->x.rows, a->x.cols));
    SD_TRY(st, sd_front_disjoint("rmsnorm", "y", a->y, "x", a->x, true));
    SD_TRY(st, sd_front_disjoint("rmsnorm", "y", a->y, "gain", a->gain, false));
    SD_FRONT_CALL(st, dev, dense, rmsnorm, a);
out:
    return st;
}

sd_status sd_dev_rope(sd_dev *dev, const sd_rope *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "rope", "x", a->x));
    if (a->head == 0 || a->head % 2 != 0 || a->x.cols % a->head != 0) {
        st = SD_FAIL(
            SD_E_INTERNAL, "rope: x is [%llu, %llu], no whole number of heads of %llu (even) components",
            (unsigned long long)a->x.rows, (unsigned long long)a->x.cols, (unsigned long long)a->head);
        goto out;
    }
    SD_TRY(st, sd_front_shape(dev, "rope", "position", a->position, SD_I32, 1, a->x.rows));
    SD_TRY(st, sd_front_shape(dev, "rope", "cos", a->cos, SD_REAL, a->cos.rows, a->head / 2));
    SD_TRY(st, sd_front_shape(dev, "rope", "sin", a->sin, SD_REAL, a->cos.rows, a->head / 2));
    SD_TRY(st, sd_front_disjoint("rope", "x", a->x, "cos", a->cos, false));
    SD_TRY(st, sd_front_disjoint("rope", "x", a->x, "sin", a->sin, false));
    SD_FRONT_CALL(st, dev, dense, rope, a);
out:
    return st;
}

sd_status sd_dev_silu_mul(sd_dev *dev, const sd_silu_mul *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "silu_mul", "gate", a->gate));
    SD_TRY(st, sd_front_shape(dev, "silu_mul", "up", a->up, a->gate.buf->type, a->gate.rows, a->gate.cols));
    SD_TRY(st, sd_front_shape(dev, "silu_mul", "y", a->y, a->gate.buf->type, a->gate.rows, a->gate.cols));
    SD_TRY(st, sd_front_disjoint("silu_mul", "y", a->y, "gate", a->gate, true));
    SD_TRY(st, sd_front_disjoint("silu_mul", "y", a->y, "up", a->up, true));
    SD_FRONT_CALL(st, dev, dense, silu_mul, a);
out:
    return st;
}

sd_status sd_dev_logprob(sd_dev *dev, const sd_logprob *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "logprob", "logits", a->logits, SD_REAL));
    if (a->logits.cols == 0) {
        st = SD_FAIL(SD_E_INTERNAL, "logprob: logits is [%llu, 0]", (unsigned long long)a->logits.rows);
        goto out;
    }
    SD_TRY(st, sd_front_shape(dev, "logprob", "target", a->target, SD_I32, 1, a->logits.rows));
    SD_TRY(st, sd_front_shape(dev, "logprob", "logp", a->logp, SD_F64, 1, a->logits.rows));
    SD_TRY(st, sd_front_shape(dev, "logprob", "best", a->best, SD_I32, 1, a->logits.rows));
    SD_TRY(st, sd_front_disjoint("logprob", "logp", a->logp, "logits", a->logits, false));
    SD_TRY(st, sd_front_disjoint("logprob", "best", a->best, "target", a->target, false));
    SD_FRONT_CALL(st, dev, dense, logprob, a);
out:
    return st;
}

sd_status sd_front_heads(const char *op, sd_mat q, sd_mat k, uint64_t head)
{
    uint64_t heads = head == 0 ? 0 : q.cols / head, kv_heads = head == 0 ? 0 : k.cols / head;

    if (heads == 0 || kv_heads == 0 || heads * head != q.cols || kv_heads * head != k.cols || heads % kv_heads != 0)
        return SD_FAIL(SD_E_INTERNAL,
                       "%s: q is [%llu, %llu] and k is [%llu, %llu], no whole numbers of heads of %llu "
                       "components, the first a multiple of the second",
                       op, (unsigned long long)q.rows, (unsigned long long)q.cols, (unsigned long long)k.rows,
                       (unsigned long long)k.cols, (unsigned long long)head);
    return SD_OK;
}

sd_status sd_dev_attention(sd_dev *dev, const sd_attention *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "attention", "q", a->q));
    SD_TRY(st, sd_front_heads("attention", a->q, a->k, a->head));
    SD_TRY(st, sd_front_shape(dev, "attention", "k", a->k, a->q.buf->type, a->q.rows, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention", "v", a->v, a->q.buf->type, a->q.rows, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention", "start", a->start, SD_I32, 1, a->q.rows));
    SD_TRY(st, sd_front_shape(dev, "attention", "y", a->y, a->q.buf->type, a->q.rows, a->q.cols));
    SD_TRY(st, sd_front_disjoint("attention", "y", a->y, "q", a->q, false));
    SD_TRY(st, sd_front_disjoint("attention", "y", a->y, "k", a->k, false));
    SD_TRY(st, sd_front_disjoint("attention", "y", a->y, "v", a->v, false));
    SD_FRONT_CALL(st, dev, dense, attention, a);
out:
    return st;
}

sd_status sd_dev_attention_cached(sd_dev *dev, const sd_attention_cached *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "attention_cached", "q", a->q));
    SD_TRY(st, sd_front_mat(dev, "attention_cached", "k", a->k, a->q.buf->type));
    SD_TRY(st, sd_front_heads("attention_cached", a->q, a->k, a->head));
    SD_TRY(st, sd_front_shape(dev, "attention_cached", "v", a->v, a->q.buf->type, a->k.rows, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_cached", "first", a->first, SD_I32, 1, a->q.rows));
    SD_TRY(st, sd_front_shape(dev, "attention_cached", "last", a->last, SD_I32, 1, a->q.rows));
    SD_TRY(st, sd_front_shape(dev, "attention_cached", "y", a->y, a->q.buf->type, a->q.rows, a->q.cols));
    SD_TRY(st, sd_front_disjoint("attention_cached", "y", a->y, "q", a->q, false));
    SD_TRY(st, sd_front_disjoint("attention_cached", "y", a->y, "k", a->k, false));
    SD_TRY(st, sd_front_disjoint("attention_cached", "y", a->y, "v", a->v, false));
    SD_FRONT_CALL(st, dev, dense, attention_cached, a);
out:
    return st;
}

sd_status sd_dev_rowwise(sd_dev *dev, const sd_rowwise *a)
{
    sd_status st;

    SD_TRY(st, factors(dev, "rowwise", "x", a->x, "w", a->w, a->y));
    SD_TRY(st, sd_front_shape(dev, "rowwise", "w", a->w, a->w.buf->type, a->w.rows, a->x.cols));
    SD_TRY(st, sd_front_shape(dev, "rowwise", "y", a->y, a->y.buf->type, a->x.rows, a->w.rows));
    SD_TRY(st, sd_front_disjoint("rowwise", "y", a->y, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("rowwise", "y", a->y, "w", a->w, false));
    SD_FRONT_CALL(st, dev, dense, rowwise, a);
out:
    return st;
}

sd_status sd_dev_put_rows(sd_dev *dev, const sd_put_rows *a)
{
    sd_status st;

    SD_TRY(st, sd_front_number(dev, "put_rows", "y", a->y));
    SD_TRY(st, sd_front_shape(dev, "put_rows", "x", a->x, a->y.buf->type, a->x.rows, a->y.cols));
    SD_TRY(st, sd_front_shape(dev, "put_rows", "index", a->index, SD_I32, 1, a->x.rows));
    SD_TRY(st, sd_front_disjoint("put_rows", "y", a->y, "x", a->x, false));
    SD_FRONT_CALL(st, dev, dense, put_rows, a);
out:
    return st;
}

sd_status sd_dev_colsum(sd_dev *dev, const sd_colsum *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "colsum", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "colsum", "y", a->y, SD_REAL, 1, a->x.cols));
    SD_TRY(st, sd_front_disjoint("colsum", "y", a->y, "x", a->x, false));
    SD_FRONT_CALL(st, dev, dense, colsum, a);
out:
    return st;
}

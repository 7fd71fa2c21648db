#include <limits.h>

#include "front.h"

typedef unsigned long long ull;

static bool alive(const sd_dev *dev, const sd_buf *buf)
{
    if (!dev->backend->checks_life)
        return true;
    for (const sd_buf *b = dev->buffers; b != NULL; b = b->next)
        if (b == buf)
            return true;
    return false;
}

sd_status sd_front_any(const sd_dev *dev, const char *op, const char *arg, sd_mat m)
{
    uint64_t last; /* elements from offset to the end of the last row */

    if (m.buf == NULL)
        return SD_FAIL(SD_E_INTERNAL, "%s: %s has no buffer", op, arg);
    if (!alive(dev, m.buf))
        return SD_FAIL(SD_E_INTERNAL, "%s: the buffer of %s is not one of this device's living buffers", op,
                       arg);
    if (m.buf->dev != dev)
        return SD_FAIL(SD_E_INTERNAL, "%s: the buffer of %s belongs to another device", op, arg);
    if (m.cols > m.stride && m.rows > 1)
        return SD_FAIL(SD_E_INTERNAL, "%s: %s is [%llu, %llu] with rows only %llu apart", op, arg,
                       (ull)m.rows, (ull)m.cols, (ull)m.stride);
    /* Backends hand sizes of one dimension to libraries that count in int. */
    if (m.rows > INT_MAX || m.cols > INT_MAX || m.stride > INT_MAX)
        return SD_FAIL(SD_E_INTERNAL,
                       "%s: %s is [%llu, %llu], rows %llu apart; a dimension may be at most %d", op, arg,
                       (ull)m.rows, (ull)m.cols, (ull)m.stride, INT_MAX);
    last = m.rows == 0 ? 0 : (m.rows - 1) * m.stride + m.cols;
    if (m.offset > m.buf->count || last > m.buf->count - m.offset)
        return SD_FAIL(SD_E_INTERNAL,
                       "%s: %s is [%llu, %llu], rows %llu apart, at element %llu of a buffer of %llu", op,
                       arg, (ull)m.rows, (ull)m.cols, (ull)m.stride, (ull)m.offset, (ull)m.buf->count);
    return SD_OK;
}

sd_status sd_front_mat(const sd_dev *dev, const char *op, const char *arg, sd_mat m, sd_dtype type)
{
    sd_status st;

    SD_TRY(st, sd_front_any(dev, op, arg, m));
    if (m.buf->type != type)
        st = SD_FAIL(SD_E_INTERNAL, "%s: %s holds %s where %s is needed", op, arg, sd_dtype_name(m.buf->type),
                     sd_dtype_name(type));
out:
    return st;
}

sd_status sd_front_number(const sd_dev *dev, const char *op, const char *arg, sd_mat m)
{
    sd_status st;

    SD_TRY(st, sd_front_any(dev, op, arg, m));
    if (m.buf->type != SD_REAL && m.buf->type != SD_BF16 && m.buf->type != SD_F16)
        st = SD_FAIL(SD_E_INTERNAL, "%s: %s holds %s where %s, bf16 or f16 is needed", op, arg, sd_dtype_name(m.buf->type),
                     sd_dtype_name(SD_REAL));
out:
    return st;
}

sd_status sd_front_shape(const sd_dev *dev, const char *op, const char *arg, sd_mat m, sd_dtype type,
                         uint64_t rows, uint64_t cols)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, op, arg, m, type));
    if (m.rows != rows || m.cols != cols)
        st = SD_FAIL(SD_E_INTERNAL, "%s: %s is [%llu, %llu] where [%llu, %llu] is needed", op, arg,
                     (ull)m.rows, (ull)m.cols, (ull)rows, (ull)cols);
out:
    return st;
}

/* Whether two checked matrices share an element. With equal strides, column views of one buffer are distinguished by the columns they cover;
 * otherwise overlapping ranges count as sharing. */
static bool meet(sd_mat a, sd_mat b)
{
    uint64_t beside; /* column in the stride at which b begins, relative to a */

    if (a.buf != b.buf || a.rows == 0 || b.rows == 0 || a.cols == 0 || b.cols == 0)
        return false;
    if (a.offset > b.offset) {
        sd_mat swap = a;

        a = b;
        b = swap;
    }
    if (a.offset + (a.rows - 1) * a.stride + a.cols <= b.offset)
        return false;
    if (a.stride != b.stride || a.stride == 0)
        return true;
    beside = (b.offset - a.offset) % a.stride;
    return beside < a.cols || beside + b.cols > a.stride;
}

static bool same(sd_mat a, sd_mat b)
{
    return a.buf == b.buf && a.offset == b.offset && a.rows == b.rows && a.cols == b.cols &&
           (a.stride == b.stride || a.rows <= 1);
}

sd_status sd_front_disjoint(const char *op, const char *out_arg, sd_mat out, const char *in_arg, sd_mat in,
                         bool may_be)
{
    if (in.buf == NULL || out.buf == NULL || !meet(out, in) || (may_be && same(out, in)))
        return SD_OK;
    return SD_FAIL(SD_E_INTERNAL,
                   "%s: %s [%llu, %llu] at element %llu overlaps %s [%llu, %llu] at element %llu", op,
                   out_arg, (ull)out.rows, (ull)out.cols, (ull)out.offset, in_arg, (ull)in.rows, (ull)in.cols,
                   (ull)in.offset);
}

sd_status sd_front_has(const sd_dev *dev, const char *op, bool has)
{
    if (has)
        return SD_OK;
    return SD_FAIL(SD_E_ENV, "device %s has no operation '%s'; choose another with --device",
                   dev->backend->name, op);
}

/* Operations on bf16 and f16: operands are copied to real for the kernels of the other files. Slow; the reference for other backends. If every
 * operand is already real, nothing is copied. */
#include "cpu.h"
#include "saediff/core/mem.h"

enum { MEMBERS = 4 };

/* The copies of one call. */
typedef struct wide {
    sd_buf bufs[MEMBERS];
    sd_mat narrow[MEMBERS]; /* what they are copies of */
    bool written[MEMBERS];
    int count;
} wide;

/* If *m is not real it becomes a copy in real; a `written` one is copied back by finish(). */
static sd_status widen(wide *w, sd_mat *m, bool written)
{
    sd_buf *buf = &w->bufs[w->count];
    sd_status st = SD_OK;

    if (m->buf->type == SD_REAL)
        goto out;
    *buf = (sd_buf){.dev = m->buf->dev, .type = SD_REAL, .count = m->rows * m->cols};
    SD_TRY(st, sd_alloc_bytes(&buf->data, buf->count, sizeof(sd_real)));
    w->narrow[w->count] = *m;
    w->written[w->count++] = written;
    for (uint64_t r = 0; r < m->rows; r++)
        sd_convert((sd_real *)buf->data + r * m->cols, SD_REAL, sd_row_narrow(*m, r), m->buf->type, m->cols);
    *m = sd_mat_of(buf, m->rows, m->cols);
out:
    return st;
}

/* If the operation succeeded, rounds and copies back its outputs; frees the copies. */
static sd_status finish(wide *w, sd_status st)
{
    for (int i = 0; i < w->count; i++) {
        sd_mat to = w->narrow[i];

        for (uint64_t r = 0; r < to.rows && w->written[i] && st == SD_OK; r++)
            sd_convert(sd_row_narrow(to, r), to.buf->type, (sd_real *)w->bufs[i].data + r * to.cols, SD_REAL, to.cols);
        sd_free(w->bufs[i].data);
    }
    return st;
}

sd_status sd_cpu_axpy(sd_dev *dev, const sd_axpy *args)
{
    sd_axpy a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.x, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_axpy(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_rmsnorm(sd_dev *dev, const sd_rmsnorm *args)
{
    sd_rmsnorm a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.x, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_rmsnorm(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_rope(sd_dev *dev, const sd_rope *args)
{
    sd_rope a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.x, true));
    st = sd_cpu_real_rope(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_silu_mul(sd_dev *dev, const sd_silu_mul *args)
{
    sd_silu_mul a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.gate, false));
    SD_TRY(st, widen(&w, &a.up, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_silu_mul(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_attention(sd_dev *dev, const sd_attention *args)
{
    sd_attention a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.q, false));
    SD_TRY(st, widen(&w, &a.k, false));
    SD_TRY(st, widen(&w, &a.v, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_attention(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_put_rows(sd_dev *dev, const sd_put_rows *args)
{
    sd_put_rows a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.x, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_put_rows(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_attention_cached(sd_dev *dev, const sd_attention_cached *args)
{
    sd_attention_cached a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.q, false));
    SD_TRY(st, widen(&w, &a.k, false));
    SD_TRY(st, widen(&w, &a.v, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_attention_cached(dev, &a);
out:
    return finish(&w, st);
}

sd_status sd_cpu_rowwise(sd_dev *dev, const sd_rowwise *args)
{
    sd_rowwise a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.x, false));
    SD_TRY(st, widen(&w, &a.y, true));
    st = sd_cpu_real_rowwise(dev, &a);
out:
    return finish(&w, st);
}

/* *m becomes a copy whose elements are rounded to `type`. */
static sd_status round_all(wide *w, sd_mat *m, sd_dtype type)
{
    sd_buf *buf = &w->bufs[w->count];
    sd_status st;

    *buf = (sd_buf){.dev = m->buf->dev, .type = SD_REAL, .count = m->rows * m->cols};
    SD_TRY(st, sd_alloc_bytes(&buf->data, buf->count, sizeof(sd_real)));
    w->narrow[w->count] = *m;
    w->written[w->count++] = false;
    for (uint64_t r = 0; r < m->rows; r++)
        for (uint64_t i = 0; i < m->cols; i++)
            ((sd_real *)buf->data)[r * m->cols + i] = sd_round_to(type, sd_row(*m, r)[i]);
    *m = sd_mat_of(buf, m->rows, m->cols);
out:
    return st;
}

/* Products in bf16 use oneDNN if available, which rounds by itself; others use OpenBLAS on rounded factors. */
sd_status sd_cpu_matmul(sd_dev *dev, const sd_matmul *args)
{
    sd_dtype type = args->b.buf->type;
    sd_matmul a = *args;
    wide w = {0};
    sd_status st;

    SD_TRY(st, widen(&w, &a.a, false));
    SD_TRY(st, widen(&w, &a.y, true));
    if (type != SD_REAL && !(type == SD_BF16 && sd_cpu_has_bf16())) {
        SD_TRY(st, round_all(&w, &a.a, type));
        SD_TRY(st, widen(&w, &a.b, false));
    }
    st = sd_cpu_real_matmul(dev, &a);
out:
    return finish(&w, st);
}

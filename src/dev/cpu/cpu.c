/* The cpu backend: buffers are host memory, operations run when they are called. */
#include <stdio.h>
#include <string.h>

#include "blas.h"
#include "cpu.h"
#include "saediff/core/mem.h"

static sd_status cpu_open(sd_dev *dev)
{
    sd_pool *pool;
    const char *config = openblas_get_config();
    sd_status st;

    /* Threads are ours, over tiles; OpenBLAS would cut by its own thread count. */
    openblas_set_num_threads(1);
    SD_TRY(st, sd_pool_create(&pool, dev->threads));
    dev->state = pool;
    /* The configuration begins with name and version. */
    snprintf(dev->describe, sizeof dev->describe, "cpu: %.*s %s",
             (int)(strcspn(config, " ") + 1 + strcspn(config + strcspn(config, " ") + 1, " ")), config,
             openblas_get_corename());
out:
    return st;
}

static void cpu_close(sd_dev *dev)
{
    sd_pool *pool = dev->state;

    sd_pool_destroy(&pool);
    dev->state = NULL;
}

static sd_status cpu_create(sd_dev *dev, sd_buf *buf)
{
    (void)dev;
    buf->base_size = buf->count * sd_dtype_size(buf->type);
    return sd_alloc_bytes(&buf->data, buf->count, sd_dtype_size(buf->type));
}

static void cpu_destroy(sd_dev *dev, sd_buf *buf)
{
    (void)dev;
    if (!buf->wrapped)
        sd_free(buf->data);
    buf->data = NULL;
}

static void copy(char *to, uint64_t to_stride, const char *from, uint64_t from_stride, uint64_t rows,
                 uint64_t bytes)
{
    if (to_stride == bytes && from_stride == bytes) {
        bytes *= rows;
        rows = 1;
    }
    for (uint64_t r = 0; r < rows && bytes > 0; r++)
        memcpy(to + r * to_stride, from + r * from_stride, bytes);
}

static sd_status cpu_upload(sd_dev *dev, const void *host, sd_mat to)
{
    size_t size = sd_dtype_size(to.buf->type);

    (void)dev;
    copy((char *)to.buf->data + to.offset * size, to.stride * size, host, to.cols * size, to.rows,
         to.cols * size);
    return SD_OK;
}

static sd_status cpu_download(sd_dev *dev, sd_mat from, void *host)
{
    size_t size = sd_dtype_size(from.buf->type);

    (void)dev;
    copy(host, from.cols * size, (const char *)from.buf->data + from.offset * size, from.stride * size,
         from.rows, from.cols * size);
    return SD_OK;
}

static sd_status cpu_wait(sd_dev *dev)
{
    (void)dev;
    return SD_OK;
}

static sd_status cpu_fetch_create(sd_dev *dev, sd_fetch *fetch)
{
    (void)dev;
    return sd_alloc_bytes(&fetch->host, fetch->most, sd_dtype_size(fetch->type));
}

void sd_cpu_pack(void *to, sd_dtype type, sd_mat from)
{
    const sd_real *x = (const sd_real *)from.buf->data + from.offset;
    size_t size = sd_dtype_size(type);

    if (from.stride == from.cols)
        sd_convert(to, type, x, SD_REAL, from.rows * from.cols);
    else
        for (uint64_t r = 0; r < from.rows; r++)
            sd_convert((char *)to + r * from.cols * size, type, x + r * from.stride, SD_REAL, from.cols);
}

static sd_status cpu_fetch_begin(sd_dev *dev, sd_fetch *fetch, sd_mat from)
{
    (void)dev;
    sd_cpu_pack(fetch->host, fetch->type, from);
    return SD_OK;
}

static sd_status cpu_fetch_take(sd_dev *dev, sd_fetch *fetch)
{
    (void)dev;
    (void)fetch;
    return SD_OK;
}

static void cpu_fetch_destroy(sd_dev *dev, sd_fetch *fetch)
{
    (void)dev;
    sd_free(fetch->host);
}

static bool cpu_computes(const sd_dev *dev, sd_dtype type)
{
    (void)dev;
    return type == SD_BF16 && sd_cpu_has_bf16();
}

#define SLOT(name) .name = sd_cpu_##name,
static const sd_dense_table dense = {SD_DENSE_OPS(SLOT)};
static const sd_dict_table dict = {SD_DICT_OPS(SLOT)};
static const sd_step_table step = {SD_STEP_OPS(SLOT)};
static const sd_score_table score = {SD_SCORE_OPS(SLOT)};
static const sd_grad_table grad = {SD_GRAD_OPS(SLOT)};

const sd_backend sd_backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .create = cpu_create,
    .destroy = cpu_destroy,
    .upload = cpu_upload,
    .download = cpu_download,
    .wait = cpu_wait,
    .fetch_create = cpu_fetch_create,
    .fetch_begin = cpu_fetch_begin,
    .fetch_take = cpu_fetch_take,
    .fetch_destroy = cpu_fetch_destroy,
    .computes = cpu_computes,
    .wraps = true,
    .dense = &dense,
    .dict = &dict,
    .step = &step,
    .score = &score,
    .grad = &grad,
};

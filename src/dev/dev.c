/* Affinity masks are a GNU extension. */
#define _GNU_SOURCE 1
#include <sched.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "saediff/dev/dense.h"
#include "front.h"
#include "module.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"

enum { MAX_THREADS = 1024 };

static sd_status open_on(sd_dev **dev, const sd_backend *backend, int threads, int which)
{
    sd_dev *d = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&d, 1));
    d->backend = backend;
    d->threads = threads;
    d->which = which;
    d->sharers = 1;
    d->compute = d->activation = SD_REAL;
    SD_TRY(st, backend->open(d));
    *dev = d;
    d = NULL;
out:
    sd_free(d);
    return st;
}

static sd_status open_cuda(sd_dev **dev, int threads, int which)
{
    const sd_backend *backend;
    sd_status st;

    SD_TRY(st, sd_module_open(&backend));
    st = open_on(dev, backend, threads, which);
out:
    return st;
}

sd_status sd_dev_open_at(sd_dev **dev, const char *name, int threads, int which)
{
    bool automatic = strcmp(name, "auto") == 0;
    sd_status st;

    *dev = NULL;
    if (threads < 1 || threads > MAX_THREADS) {
        st = SD_FAIL(SD_E_USAGE, "the number of threads is %d; it must be 1 to %d", threads, MAX_THREADS);
    } else if (strcmp(name, "cuda") == 0) {
        st = open_cuda(dev, threads, which);
    } else if (strcmp(name, "strict") == 0) {
        st = open_on(dev, &sd_backend_strict, threads, which);
    } else if (automatic && sd_module_promising()) {
        st = open_cuda(dev, threads, which);
        if (st != SD_OK) {
            sd_warn("the GPU is not used: %s", sd_last_error());
            st = open_on(dev, &sd_backend_cpu, threads, which);
        }
    } else if (automatic || strcmp(name, "cpu") == 0) {
        st = open_on(dev, &sd_backend_cpu, threads, which);
    } else {
        st = SD_FAIL(SD_E_USAGE, "unknown device '%s'; choose auto, cpu, strict or cuda", name);
    }
    return st;
}

sd_status sd_dev_open(sd_dev **dev, const char *name, int threads)
{
    return sd_dev_open_at(dev, name, threads, 0);
}

void sd_dev_close(sd_dev **dev)
{
    sd_dev *d = *dev;

    if (d == NULL)
        return;
    if (d->fetches > 0)
        sd_error("device %s was closed before all its fetches were destroyed", d->backend->name);
    if (d->buffers != NULL)
        sd_error("device %s was closed before all its buffers were destroyed", d->backend->name);
    while (d->buffers != NULL) {
        sd_buf *left = d->buffers;

        sd_buf_destroy(&left);
    }
    d->backend->close(d);
    sd_free(d);
    *dev = NULL;
}

const char *sd_dev_name(const sd_dev *dev)
{
    return dev->backend->name;
}

const char *sd_dev_describe(const sd_dev *dev)
{
    return dev->describe;
}

int sd_dev_threads(const sd_dev *dev)
{
    return dev->threads;
}

int sd_dev_default_threads(int sharers)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    long cores = online;
    cpu_set_t mask;

    CPU_ZERO(&mask);
    if (sched_getaffinity(0, sizeof mask, &mask) == 0)
        cores = CPU_COUNT(&mask);
    if (cores >= online && sharers > 1)
        cores /= sharers;
    if (cores < 1)
        return 1;
    return cores > MAX_THREADS ? MAX_THREADS : (int)cores;
}

sd_status sd_dev_wait(sd_dev *dev)
{
    return dev->backend->wait(dev);
}

sd_status sd_dev_times_begin(sd_dev *dev)
{
    return dev->backend->times_begin != NULL ? dev->backend->times_begin(dev) : SD_OK;
}

sd_status sd_dev_times_end(sd_dev *dev, sd_dev_time *out, uint64_t most, uint64_t *count)
{
    *count = 0;
    return dev->backend->times_end != NULL ? dev->backend->times_end(dev, out, most, count) : SD_OK;
}

sd_status sd_dev_memory(sd_dev *dev, int processes, sd_dev_capacity *capacity)
{
    bool own = dev->backend->memory != NULL;

    *capacity = (sd_dev_capacity){.own = own, .sharers = own ? dev->sharers : processes};
    if (own)
        return dev->backend->memory(dev, capacity);
    sd_mem_machine(&capacity->left, &capacity->all);
    return SD_OK;
}

sd_status sd_dev_release(sd_dev *dev)
{
    return dev->backend->release != NULL ? dev->backend->release(dev) : dev->backend->wait(dev);
}

static void enlist(sd_dev *dev, sd_buf *b)
{
    b->next = dev->buffers;
    if (b->next != NULL)
        b->next->previous = b;
    dev->buffers = b;
}

sd_status sd_buf_create(sd_buf **buf, sd_dev *dev, sd_dtype type, uint64_t count)
{
    sd_buf *b = NULL;
    sd_status st;

    *buf = NULL;
    SD_TRY(st, SD_NEW(&b, 1));
    b->dev = dev;
    b->type = type;
    b->count = count;
    SD_TRY(st, dev->backend->create(dev, b));
    enlist(dev, b);
    *buf = b;
    b = NULL;
out:
    sd_free(b);
    return st;
}

bool sd_dev_wraps(const sd_dev *dev)
{
    return dev->backend->wraps;
}

sd_status sd_buf_wrap(sd_buf **buf, sd_dev *dev, sd_dtype type, uint64_t count, const void *host)
{
    sd_buf *b = NULL;
    sd_status st;

    *buf = NULL;
    if (!dev->backend->wraps || (uintptr_t)host % 64 != 0) {
        st = SD_FAIL(SD_E_INTERNAL, "a buffer of device '%s' around host memory%s", dev->backend->name,
                     dev->backend->wraps ? " that is not aligned to 64 bytes" : "");
        goto out;
    }
    SD_TRY(st, SD_NEW(&b, 1));
    *b = (sd_buf){.dev = dev, .type = type, .count = count, .data = (void *)(uintptr_t)host, .wrapped = true};
    enlist(dev, b);
    *buf = b;
out:
    return st;
}

void sd_buf_destroy(sd_buf **buf)
{
    sd_buf *b = *buf;

    if (b == NULL)
        return;
    b->dev->backend->destroy(b->dev, b);
    if (b->previous != NULL)
        b->previous->next = b->next;
    else
        b->dev->buffers = b->next;
    if (b->next != NULL)
        b->next->previous = b->previous;
    sd_free(b);
    *buf = NULL;
}

uint64_t sd_buf_count(const sd_buf *buf)
{
    return buf->count;
}

sd_dtype sd_buf_type(const sd_buf *buf)
{
    return buf->type;
}

sd_mat sd_mat_of(sd_buf *buf, uint64_t rows, uint64_t cols)
{
    return (sd_mat){.buf = buf, .rows = rows, .cols = cols, .stride = cols};
}

sd_mat sd_mat_rows(sd_mat m, uint64_t first, uint64_t count)
{
    m.offset += first * m.stride;
    m.rows = count;
    return m;
}

sd_mat sd_mat_cols(sd_mat m, uint64_t first, uint64_t count)
{
    m.offset += first;
    m.cols = count;
    return m;
}

sd_status sd_dev_upload(sd_dev *dev, const void *host, sd_mat to)
{
    sd_status st;

    SD_TRY(st, sd_front_any(dev, "upload", "to", to));
    SD_TRY(st, dev->backend->upload(dev, host, to));
out:
    return st;
}

sd_status sd_dev_download(sd_dev *dev, sd_mat from, void *host)
{
    sd_status st;

    SD_TRY(st, sd_front_any(dev, "download", "from", from));
    SD_TRY(st, dev->backend->download(dev, from, host));
out:
    return st;
}

/* Host memory for all of m, which was checked, in sd_real. Refuses a `type` that is not floating. */
static sd_status staging(sd_real **host_copy, const char *op, sd_mat m, sd_dtype type)
{
    if (!sd_dtype_is_float(type))
        return SD_FAIL(SD_E_INTERNAL, "%s: host type %s is not a floating type", op, sd_dtype_name(type));
    return SD_NEW(host_copy, m.rows * m.cols);
}

sd_status sd_dev_upload_as(sd_dev *dev, const void *host, sd_dtype type, sd_mat to)
{
    sd_real *host_copy = NULL;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "upload_as", "to", to, SD_REAL));
    if (type == SD_REAL) {
        st = dev->backend->upload(dev, host, to);
        goto out;
    }
    SD_TRY(st, staging(&host_copy, "upload_as", to, type));
    sd_convert(host_copy, SD_REAL, host, type, to.rows * to.cols);
    SD_TRY(st, dev->backend->upload(dev, host_copy, to));
out:
    sd_free(host_copy);
    return st;
}

sd_status sd_dev_download_as(sd_dev *dev, sd_mat from, void *host, sd_dtype type)
{
    sd_real *host_copy = NULL;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "download_as", "from", from, SD_REAL));
    if (type == SD_REAL) {
        st = dev->backend->download(dev, from, host);
        goto out;
    }
    SD_TRY(st, staging(&host_copy, "download_as", from, type));
    SD_TRY(st, dev->backend->download(dev, from, host_copy));
    sd_convert(host, type, host_copy, SD_REAL, from.rows * from.cols);
out:
    sd_free(host_copy);
    return st;
}

/* ---- the compute type ---- */

sd_status sd_dev_set_compute(sd_dev *dev, sd_dtype type)
{
    const sd_backend *b = dev->backend;

    if (type != SD_REAL && !b->computes(dev, type))
        return SD_FAIL(SD_E_ENV, "device '%s' of this build multiplies in %s%s only, not in %s%s", b->name, sd_dtype_name(SD_REAL),
                       b->computes(dev, SD_BF16) ? " and bf16" : "", sd_dtype_name(type),
                       type == SD_BF16 ? "; for bf16, build with oneDNN (on Debian libdnnl-dev) for a processor with AVX-512" : "");
    dev->compute = type;
    dev->activation = b->narrow ? type : SD_REAL;
    return SD_OK;
}

sd_dtype sd_dev_activation(const sd_dev *dev)
{
    return dev->activation;
}

sd_dtype sd_dev_compute(const sd_dev *dev)
{
    return dev->compute;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Floating-point operations per second: the fastest of a few products after one to warm up. */
static sd_status measure(sd_dev *dev, sd_dtype type, double *rate)
{
    enum { ROWS = 1024, INNER = 1024, COLS = 2048, TIMES = 4 };
    sd_buf *x = NULL, *w = NULL, *y = NULL;
    double best = INFINITY;
    sd_status st;

    SD_TRY(st, sd_buf_create(&x, dev, SD_REAL, ROWS * INNER));
    SD_TRY(st, sd_buf_create(&w, dev, type, COLS * INNER));
    SD_TRY(st, sd_buf_create(&y, dev, SD_REAL, ROWS * COLS));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(x, ROWS, INNER), .value = 1}));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(w, COLS, INNER), .value = 1}));
    for (int i = 0; i < TIMES; i++) {
        double began;

        SD_TRY(st, sd_dev_wait(dev));
        began = now();
        SD_TRY(st, sd_dev_matmul(dev, &(sd_matmul){.a = sd_mat_of(x, ROWS, INNER),
                                                   .b = sd_mat_of(w, COLS, INNER),
                                                   .y = sd_mat_of(y, ROWS, COLS),
                                                   .trans_b = true,
                                                   .alpha = 1}));
        SD_TRY(st, sd_dev_wait(dev));
        if (i > 0 && now() - began < best)
            best = now() - began;
    }
    *rate = 2.0 * ROWS * INNER * COLS / best;
out:
    sd_buf_destroy(&x);
    sd_buf_destroy(&w);
    sd_buf_destroy(&y);
    return st;
}

sd_status sd_dev_choose_compute(sd_dev *dev, const char *word, sd_dtype *type, char words[SD_COMPUTE_WORDS])
{
    double wide, narrow;
    sd_status st = SD_OK;

    *type = SD_REAL;
    words[0] = '\0';
    if (strcmp(word, "f32") == 0)
        goto out;
    if (strcmp(word, "bf16") == 0 || strcmp(word, "f16") == 0) {
        *type = word[0] == 'b' ? SD_BF16 : SD_F16;
        snprintf(words, SD_COMPUTE_WORDS, "products in %s", word);
        goto out;
    }
    if (strcmp(word, "auto") != 0) {
        st = SD_FAIL(SD_E_USAGE, "unknown compute type '%s'; choose f32, bf16, f16 or auto", word);
        goto out;
    }
    if (!dev->backend->computes(dev, SD_BF16))
        goto out;
    SD_TRY(st, measure(dev, SD_REAL, &wide));
    SD_TRY(st, measure(dev, SD_BF16, &narrow));
    *type = narrow > 1.5 * wide ? SD_BF16 : SD_REAL;
    snprintf(words, SD_COMPUTE_WORDS, "products in %s: measured %.0f GFLOP/s in bf16, %.0f in f32", *type == SD_BF16 ? "bf16" : "f32",
             narrow / 1e9, wide / 1e9);
out:
    return st;
}

/* The strict backend: the cpu behind the rules of a device, for tests.
 *
 * Operations and uploads are copied into a queue, which runs only at wait, download and destroy. Each buffer has its own pages, which are
 * protected except while the queue runs, so host code that accesses device memory crashes at once. Guard bytes before and after the elements
 * are checked after each run of the queue. New elements are bytes of 0xFF, which is NaN in every floating type. Pages of destroyed buffers are
 * unmapped, and their handles are refused. */
/* Anonymous mappings. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cpu/cpu.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "strict.h"

enum { GUARD = 256, GUARD_BYTE = 0xA5, FRESH_BYTE = 0xFF };

typedef struct job {
    struct job *next;
    const char *name;
    sd_status (*run)(sd_dev *cpu, const void *args);
    void *args; /* a copy */
} job;

typedef struct strict {
    sd_dev *cpu; /* runs the queue */
    job *first, **end;
    sd_status failed; /* of the queue, not yet returned by a wait */
    char text[SD_ERROR_TEXT];
} strict;

static void remember(strict *s, sd_status st)
{
    if (s->failed != SD_OK || st == SD_OK)
        return;
    s->failed = st;
    snprintf(s->text, sizeof s->text, "%s", sd_last_error());
}

static void drop(job *j)
{
    if (j == NULL)
        return;
    sd_free(j->args);
    sd_free(j);
}

static sd_status strict_open(sd_dev *dev)
{
    strict *s = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&s, 1));
    SD_TRY(st, sd_dev_open(&s->cpu, "cpu", dev->threads));
    s->end = &s->first;
    snprintf(dev->describe, sizeof dev->describe, "strict over %.140s", s->cpu->describe);
    dev->state = s;
    s = NULL;
out:
    sd_free(s);
    return st;
}

static sd_status allow(sd_buf *buf, int access)
{
    if (mprotect(buf->base, buf->base_size, access) == 0)
        return SD_OK;
    return SD_FAIL(SD_E_ENV, "strict: the pages of a buffer of %llu bytes could not be protected (%s)",
                   (unsigned long long)buf->base_size, strerror(errno));
}

static sd_status allow_all(sd_dev *dev, int access)
{
    sd_status st = SD_OK;

    for (sd_buf *b = dev->buffers; b != NULL; b = b->next)
        SD_TRY(st, allow(b, access));
out:
    return st;
}

/* Offset from `from` of the first changed guard byte, or count. */
static uint64_t damage(const unsigned char *from, uint64_t count)
{
    uint64_t i = 0;

    while (i < count && from[i] == GUARD_BYTE)
        i++;
    return i;
}

static sd_status check_guards(const sd_buf *b, const char *when)
{
    const unsigned char *base = b->base, *data = b->data;
    uint64_t bytes = b->count * sd_dtype_size(b->type), behind = b->base_size - GUARD - bytes, at;

    at = damage(base, GUARD);
    if (at < GUARD)
        return SD_FAIL(SD_E_INTERNAL, "strict: %s wrote %llu bytes before a buffer of %llu elements of %s",
                       when, (unsigned long long)(GUARD - at), (unsigned long long)b->count,
                       sd_dtype_name(b->type));
    at = damage(data + bytes, behind);
    if (at < behind)
        return SD_FAIL(SD_E_INTERNAL, "strict: %s wrote %llu bytes beyond a buffer of %llu elements of %s",
                       when, (unsigned long long)(at + 1), (unsigned long long)b->count,
                       sd_dtype_name(b->type));
    return SD_OK;
}

/* Checks all guards, and restores them so that one overwrite is reported once. Pages are accessible. */
static sd_status check_all_guards(sd_dev *dev, const char *when)
{
    sd_status st = SD_OK;

    for (sd_buf *b = dev->buffers; b != NULL && st == SD_OK; b = b->next) {
        uint64_t bytes = b->count * sd_dtype_size(b->type);

        st = check_guards(b, when);
        if (st != SD_OK) {
            memset(b->base, GUARD_BYTE, GUARD);
            memset((char *)b->data + bytes, GUARD_BYTE, b->base_size - GUARD - bytes);
        }
    }
    return st;
}

/* Runs the queue up to the first failure, which is kept for the next wait; the rest of the queue is dropped. */
static void run_queue(sd_dev *dev)
{
    strict *s = dev->state;

    if (s->first == NULL)
        return;
    remember(s, allow_all(dev, PROT_READ | PROT_WRITE));
    while (s->first != NULL) {
        job *j = s->first;

        s->first = j->next;
        if (s->failed == SD_OK) {
            remember(s, j->run(s->cpu, j->args));
            remember(s, check_all_guards(dev, j->name));
        }
        drop(j);
    }
    s->end = &s->first;
    remember(s, allow_all(dev, PROT_NONE));
}

static sd_status strict_wait(sd_dev *dev)
{
    strict *s = dev->state;
    sd_status st;

    run_queue(dev);
    st = s->failed;
    s->failed = SD_OK;
    return st == SD_OK ? SD_OK : SD_FAIL(st, "%s", s->text);
}

static void strict_close(sd_dev *dev)
{
    strict *s = dev->state;

    if (strict_wait(dev) != SD_OK)
        sd_error("the strict device was closed with a failure that no wait had returned: %s", s->text);
    sd_dev_close(&s->cpu);
    sd_free(s);
    dev->state = NULL;
}

static sd_status strict_create(sd_dev *dev, sd_buf *buf)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes, total;
    void *base;
    sd_status st;

    (void)dev;
    SD_TRY(st, sd_mul_u64(buf->count, sd_dtype_size(buf->type), &bytes, "a buffer's bytes"));
    SD_TRY(st, sd_add_u64(bytes, 2 * GUARD + page, &total, "a buffer's bytes"));
    total = total / page * page;
    base = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        st = SD_FAIL(SD_E_ENV, "strict: no memory for a buffer of %llu bytes (%s)", (unsigned long long)bytes,
                     strerror(errno));
        goto out;
    }
    buf->base = base;
    buf->base_size = total;
    buf->data = (char *)base + GUARD;
    memset(base, GUARD_BYTE, total);
    memset(buf->data, FRESH_BYTE, bytes);
    st = allow(buf, PROT_NONE);
    if (st != SD_OK)
        munmap(base, total);
out:
    return st;
}

static void strict_destroy(sd_dev *dev, sd_buf *buf)
{
    run_queue(dev);
    munmap(buf->base, buf->base_size);
}

sd_status sd_strict_queue(sd_dev *dev, const char *name, sd_status (*run)(sd_dev *cpu, const void *args),
                          const void *args, size_t size)
{
    strict *s = dev->state;
    job *j = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&j, 1));
    j->name = name;
    j->run = run;
    SD_TRY(st, sd_alloc_bytes(&j->args, size, 1));
    memcpy(j->args, args, size);
    *s->end = j;
    s->end = &j->next;
    j = NULL;
out:
    drop(j);
    return st;
}

/* An upload in the queue: its matrix, followed by the elements. */
typedef struct upload {
    sd_mat to;
    char elements[];
} upload;

static sd_status run_upload(sd_dev *cpu, const void *args)
{
    const upload *u = args;

    return sd_backend_cpu.upload(cpu, u->elements, u->to);
}

static sd_status strict_upload(sd_dev *dev, const void *host, sd_mat to)
{
    uint64_t bytes = to.rows * to.cols * sd_dtype_size(to.buf->type);
    upload *u = NULL;
    sd_status st;

    SD_TRY(st, sd_alloc_bytes((void **)&u, sizeof *u + bytes, 1));
    u->to = to;
    if (bytes > 0)
        memcpy(u->elements, host, bytes);
    SD_TRY(st, sd_strict_queue(dev, "upload", run_upload, u, sizeof *u + bytes));
out:
    sd_free(u);
    return st;
}

static sd_status strict_download(sd_dev *dev, sd_mat from, void *host)
{
    strict *s = dev->state;
    sd_status st;

    SD_TRY(st, strict_wait(dev));
    SD_TRY(st, allow(from.buf, PROT_READ));
    SD_TRY(st, sd_backend_cpu.download(s->cpu, from, host));
    SD_TRY(st, allow(from.buf, PROT_NONE));
out:
    return st;
}

/* A fetch fills its own block when the queue runs, and the caller's block when it is taken. */
typedef struct fetching {
    sd_fetch *fetch;
    sd_mat from;
} fetching;

static sd_status strict_fetch_create(sd_dev *dev, sd_fetch *fetch)
{
    size_t size = sd_dtype_size(fetch->type);
    sd_status st;

    (void)dev;
    SD_TRY(st, sd_alloc_bytes(&fetch->host, fetch->most, size));
    SD_TRY(st, sd_alloc_bytes(&fetch->state, fetch->most, size));
    memset(fetch->host, FRESH_BYTE, fetch->most * size);
    memset(fetch->state, FRESH_BYTE, fetch->most * size);
out:
    if (st != SD_OK)
        sd_free(fetch->host);
    return st;
}

static sd_status run_fetch(sd_dev *cpu, const void *args)
{
    const fetching *f = args;

    (void)cpu;
    sd_cpu_pack(f->fetch->state, f->fetch->type, f->from);
    return SD_OK;
}

static sd_status strict_fetch_begin(sd_dev *dev, sd_fetch *fetch, sd_mat from)
{
    const fetching f = {fetch, from};

    memset(fetch->host, FRESH_BYTE, fetch->most * sd_dtype_size(fetch->type));
    return sd_strict_queue(dev, "fetch", run_fetch, &f, sizeof f);
}

/* A failure stays for the next wait. */
static sd_status strict_fetch_take(sd_dev *dev, sd_fetch *fetch)
{
    size_t bytes = fetch->most * sd_dtype_size(fetch->type);
    const strict *s = dev->state;

    run_queue(dev);
    if (s->failed != SD_OK)
        return SD_FAIL(s->failed, "%s", s->text);
    memcpy(fetch->host, fetch->state, bytes);
    memset(fetch->state, FRESH_BYTE, bytes);
    return SD_OK;
}

static void strict_fetch_destroy(sd_dev *dev, sd_fetch *fetch)
{
    run_queue(dev);
    sd_free(fetch->state);
    sd_free(fetch->host);
}

static bool strict_computes(const sd_dev *dev, sd_dtype type)
{
    const strict *s = dev->state;

    return s->cpu->backend->computes(s->cpu, type);
}

/* For each operation: the function that the queue calls, and the one that queues it. */
#define DEFINE_OP(name, table)                                                                               \
    static sd_status run_##name(sd_dev *cpu, const void *args)                                               \
    {                                                                                                        \
        return sd_backend_cpu.table->name(cpu, args);                                                        \
    }                                                                                                        \
    static sd_status strict_##name(sd_dev *dev, const sd_##name *args)                                       \
    {                                                                                                        \
        return sd_strict_queue(dev, #name, run_##name, args, sizeof *args);                                  \
    }
#define DEFINE_DENSE(name) DEFINE_OP(name, dense)
#define DEFINE_DICT(name) DEFINE_OP(name, dict)
#define DEFINE_STEP(name) DEFINE_OP(name, step)
#define DEFINE_SCORE(name) DEFINE_OP(name, score)
#define DEFINE_GRAD(name) DEFINE_OP(name, grad)
SD_DENSE_OPS(DEFINE_DENSE)
SD_DICT_OPS(DEFINE_DICT)
SD_STEP_OPS(DEFINE_STEP)
SD_SCORE_OPS(DEFINE_SCORE)
SD_GRAD_OPS(DEFINE_GRAD)

#define SLOT(name) .name = strict_##name,
static const sd_dense_table dense = {SD_DENSE_OPS(SLOT)};
static const sd_dict_table dict = {SD_DICT_OPS(SLOT)};
static const sd_step_table step = {SD_STEP_OPS(SLOT)};
static const sd_score_table score = {SD_SCORE_OPS(SLOT)};
static const sd_grad_table grad = {SD_GRAD_OPS(SLOT)};

const sd_backend sd_backend_strict = {
    .name = "strict",
    .open = strict_open,
    .close = strict_close,
    .create = strict_create,
    .destroy = strict_destroy,
    .upload = strict_upload,
    .download = strict_download,
    .wait = strict_wait,
    .fetch_create = strict_fetch_create,
    .fetch_begin = strict_fetch_begin,
    .fetch_take = strict_fetch_take,
    .fetch_destroy = strict_fetch_destroy,
    .computes = strict_computes,
    .checks_life = true,
    .dense = &dense,
    .dict = &dict,
    .step = &step,
    .score = &score,
    .grad = &grad,
};

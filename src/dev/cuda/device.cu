/* Opening, copies, waiting, and the function tables. One stream runs everything in order; a second one runs the copies of fetch.cu. */
#include <stdio.h>

#include "cuda.h"

extern "C" {
#include "saediff/core/log.h"
}

typedef unsigned long long ull;

sd_status sd_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return SD_OK;
    return SD_FAIL(SD_E_ENV, "cuda: %s: %s", what, cudaGetErrorString(error));
}

static sd_status find_device(sd_dev *dev, sd_cuda_state *s)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);

    if (error == cudaErrorInsufficientDriver)
        return SD_FAIL(SD_E_ENV, "device 'cuda': the NVIDIA driver of this machine is missing or older than CUDA %d.%d", CUDART_VERSION / 1000,
                       CUDART_VERSION % 1000 / 10);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return SD_FAIL(SD_E_ENV, "device 'cuda': this machine has no NVIDIA GPU, or none that this process may use (CUDA_VISIBLE_DEVICES)");
    SD_CUDA(error, "counting GPUs");
    s->device = dev->which >= 0 ? dev->which % count : 0;
    SD_CUDA(cudaSetDevice(s->device), "choosing the GPU");
    return SD_OK;
}

static sd_status describe(sd_dev *dev, sd_cuda_state *s)
{
    cudaDeviceProp p;
    int at;

    SD_CUDA(cudaGetDeviceProperties(&p, s->device), "asking for the GPU's properties");
    if (p.major < 8)
        return SD_FAIL(SD_E_ENV, "device 'cuda': GPU %d, %s, has compute capability %d.%d; 8.0 or higher is needed", s->device, p.name, p.major,
                       p.minor);
    s->processors = p.multiProcessorCount;
    at = snprintf(dev->hardware, sizeof dev->hardware, "GPU-");
    for (int i = 0; i < 16; i++)
        at += snprintf(dev->hardware + at, sizeof dev->hardware - (size_t)at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                       (unsigned char)p.uuid.bytes[i]);
    snprintf(dev->describe, sizeof dev->describe, "cuda %d, %s, %.0f GiB: %.48s sm_%d%d %s", s->device, dev->hardware,
             (double)p.totalGlobalMem / (1 << 30), p.name, p.major, p.minor, sd_gemm_describe(s->gemm));
    return SD_OK;
}

static sd_status begin(sd_dev *dev, sd_cuda_state *s)
{
    SD_PASS(find_device(dev, s));
    SD_CUDA(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking), "making a stream");
    SD_CUDA(cudaStreamCreateWithFlags(&s->copies, cudaStreamNonBlocking), "making a stream");
    SD_PASS(sd_cuda_memory_begin(s));
    for (int i = 0; i < SD_STAGES; i++) {
        SD_CUDA(cudaMallocHost(&s->stage[i], SD_STAGE_BYTES), "taking pinned memory for copies");
        SD_CUDA(cudaEventCreateWithFlags(&s->staged[i], cudaEventDisableTiming), "making an event");
    }
    SD_PASS(sd_cuda_take(s, "faults", sizeof *s->fault, (void **)&s->fault));
    SD_CUDA(cudaMemsetAsync(s->fault, 0xff, sizeof *s->fault, s->stream), "clearing faults");
    SD_PASS(sd_gemm_create(&s->gemm, s));
    return describe(dev, s);
}

static void forget_times(sd_cuda_state *s)
{
    for (uint64_t i = 0; s->timed != NULL && i < s->timed->made; i++)
        (void)cudaEventDestroy(s->timed->event[i]);
    sd_free(s->timed);
    s->timed = NULL;
}

/* Failures of freeing are ignored: the memory is returned when the process ends. */
static void end(sd_cuda_state *s)
{
    forget_times(s);
    sd_gemm_destroy(&s->gemm);
    sd_cuda_give(s, s->fault);
    sd_cuda_give(s, s->scratch);
    sd_cuda_memory_end(s);
    for (int i = 0; i < SD_STAGES; i++) {
        (void)cudaFreeHost(s->stage[i]);
        if (s->staged[i] != NULL)
            (void)cudaEventDestroy(s->staged[i]);
    }
    if (s->copies != NULL)
        (void)cudaStreamDestroy(s->copies);
    if (s->stream != NULL)
        (void)cudaStreamDestroy(s->stream);
    sd_free(s);
}

static sd_status cuda_open(sd_dev *dev)
{
    sd_cuda_state *s = NULL;
    sd_status st;

    SD_PASS(SD_NEW(&s, 1));
    s->last = "opening";
    st = begin(dev, s);
    if (st != SD_OK) {
        end(s);
        return st;
    }
    dev->state = s;
    return SD_OK;
}

/* ---- waiting ---- */

static sd_status cuda_wait(sd_dev *dev)
{
    sd_cuda_state *s = sd_cuda(dev);
    sd_fault fault;

    SD_PASS(sd_cuda_finish(s));
    if (!s->may_fault)
        return SD_OK;
    s->may_fault = false;
    SD_CUDA(cudaMemcpyAsync(&fault, s->fault, sizeof fault, cudaMemcpyDeviceToHost, s->stream), "reading faults");
    SD_CUDA(cudaStreamSynchronize(s->stream), "reading faults");
    if (fault.at == ~0ull)
        return SD_OK;
    SD_CUDA(cudaMemsetAsync(s->fault, 0xff, sizeof *s->fault, s->stream), "clearing faults");
    return SD_FAIL(SD_E_INTERNAL, "invert: index[%llu, %llu] is %d; there are %llu latents", (ull)(fault.at / fault.k),
                   (ull)(fault.at % fault.k), (int)fault.value, (ull)fault.latents);
}

/* ---- profiling ---- */

sd_status sd_cuda_queueing(sd_dev *dev, const char *what)
{
    sd_cuda_state *s = sd_cuda(dev);
    sd_timed *t = s->timed;

    s->last = what;
    if (t == NULL || t->count == SD_TIMED)
        return SD_OK;
    while (t->made <= t->count + 1) {
        SD_CUDA(cudaEventCreateWithFlags(&t->event[t->made], cudaEventDefault), "making an event");
        t->made++;
    }
    t->name[t->count] = what;
    SD_CUDA(cudaEventRecord(t->event[t->count], s->stream), what);
    t->count++;
    return SD_OK;
}

static sd_status times_begin(sd_dev *dev)
{
    forget_times(sd_cuda(dev));
    return SD_NEW(&sd_cuda(dev)->timed, 1);
}

/* The time from each event to the next is attributed to the operation between them. */
static sd_status sum_times(sd_cuda_state *s, sd_dev_time *out, uint64_t most, uint64_t *count)
{
    sd_timed *t = s->timed;

    if (t->count == 0)
        return SD_OK;
    SD_CUDA(cudaEventRecord(t->event[t->count], s->stream), "taking times");
    SD_PASS(sd_cuda_await(s, t->event[t->count], "taking times"));
    for (uint64_t i = 0; i < t->count; i++) {
        uint64_t kind = 0;
        float ms = 0;

        SD_CUDA(cudaEventElapsedTime(&ms, t->event[i], t->event[i + 1]), "taking times");
        while (kind < *count && strcmp(out[kind].name, t->name[i]) != 0)
            kind++;
        if (kind == most)
            continue;
        if (kind == *count)
            out[(*count)++] = sd_dev_time{t->name[i], 0, 0};
        out[kind].seconds += 1e-3 * (double)ms;
        out[kind].times++;
    }
    for (uint64_t i = 1; i < *count; i++)
        for (uint64_t j = i; j > 0 && out[j].seconds > out[j - 1].seconds; j--) {
            sd_dev_time swap = out[j];

            out[j] = out[j - 1];
            out[j - 1] = swap;
        }
    return SD_OK;
}

static sd_status times_end(sd_dev *dev, sd_dev_time *out, uint64_t most, uint64_t *count)
{
    sd_status st = sd_cuda(dev)->timed != NULL ? sum_times(sd_cuda(dev), out, most, count) : SD_OK;

    forget_times(sd_cuda(dev));
    return st;
}

static void cuda_close(sd_dev *dev)
{
    if (cuda_wait(dev) != SD_OK)
        sd_error("the cuda device was closed with a failure that no wait had returned");
    end(sd_cuda(dev));
    dev->state = NULL;
}

/* ---- copies ---- */

/* Rows of `bytes` each that go through the staging blocks in pieces: whole rows, or parts of one where a row is longer than a block. */
struct copy {
    char *device;
    uint64_t stride, bytes, rows; /* stride in bytes */
};

static struct copy copy_of(sd_mat m)
{
    size_t size = sd_dtype_size(m.buf->type);
    struct copy c = {(char *)m.buf->data + m.offset * size, m.stride * size, m.cols * size, m.rows};

    if (c.rows > 1 && c.stride == c.bytes) {
        c.bytes *= c.rows;
        c.rows = 1;
    }
    return c;
}

/* The piece that begins at byte `at` of row `row`: rows and bytes of each. */
static void next_piece(const struct copy *c, uint64_t row, uint64_t at, uint64_t *rows, uint64_t *bytes)
{
    uint64_t fit = SD_STAGE_BYTES / c->bytes;

    if (at > 0 || fit == 0) {
        *rows = 1;
        *bytes = c->bytes - at < SD_STAGE_BYTES ? c->bytes - at : SD_STAGE_BYTES;
    } else {
        *rows = c->rows - row < fit ? c->rows - row : fit;
        *bytes = c->bytes;
    }
}

static void step(const struct copy *c, uint64_t rows, uint64_t bytes, uint64_t *row, uint64_t *at)
{
    *at += bytes;
    if (*at >= c->bytes) {
        *at = 0;
        *row += rows;
    }
}

static sd_status cuda_upload(sd_dev *dev, const void *host, sd_mat to)
{
    sd_cuda_state *s = sd_cuda(dev);
    struct copy c = copy_of(to);
    const char *from = (const char *)host;
    uint64_t row = 0, at = 0, rows, bytes;

    if (c.bytes == 0)
        return SD_OK;
    s->last = "upload";
    for (int i = 0; row < c.rows; i = (i + 1) % SD_STAGES) {
        next_piece(&c, row, at, &rows, &bytes);
        SD_PASS(sd_cuda_await(s, s->staged[i], "upload"));
        memcpy(s->stage[i], from, rows * bytes);
        SD_CUDA(cudaMemcpy2DAsync(c.device + row * c.stride + at, rows > 1 ? c.stride : bytes, s->stage[i], bytes, bytes, rows,
                                  cudaMemcpyHostToDevice, s->stream), "upload");
        SD_CUDA(cudaEventRecord(s->staged[i], s->stream), "upload");
        from += rows * bytes;
        step(&c, rows, bytes, &row, &at);
    }
    return SD_OK;
}

/* Double buffering: one staging block is filled while the other is copied. */
static sd_status cuda_download(sd_dev *dev, sd_mat from, void *host)
{
    sd_cuda_state *s = sd_cuda(dev);
    struct copy c = copy_of(from);
    char *to[SD_STAGES] = {NULL}, *next = (char *)host;
    uint64_t held[SD_STAGES] = {0}, row = 0, at = 0, rows, bytes;

    SD_PASS(cuda_wait(dev));
    for (int i = 0; c.bytes > 0; i = (i + 1) % SD_STAGES) {
        if (held[i] > 0) {
            SD_CUDA(cudaEventSynchronize(s->staged[i]), "download");
            memcpy(to[i], s->stage[i], held[i]);
            held[i] = 0;
        }
        if (row < c.rows) {
            next_piece(&c, row, at, &rows, &bytes);
            SD_CUDA(cudaMemcpy2DAsync(s->stage[i], bytes, c.device + row * c.stride + at, rows > 1 ? c.stride : bytes, bytes, rows,
                                      cudaMemcpyDeviceToHost, s->stream), "download");
            SD_CUDA(cudaEventRecord(s->staged[i], s->stream), "download");
            to[i] = next;
            held[i] = rows * bytes;
            next += held[i];
            step(&c, rows, bytes, &row, &at);
        } else if (held[(i + 1) % SD_STAGES] == 0) {
            break;
        }
    }
    return SD_OK;
}

static bool cuda_computes(const sd_dev *dev, sd_dtype type)
{
    (void)dev;
    return type == SD_BF16 || type == SD_F16;
}

/* Tables in the order of the lists. */
#define SLOT(name) sd_cuda_##name,
static const sd_dense_table dense = {SD_DENSE_OPS(SLOT)};
static const sd_dict_table dict = {SD_DICT_OPS(SLOT)};
static const sd_step_table steps = {SD_STEP_OPS(SLOT)};
static const sd_score_table score = {SD_SCORE_OPS(SLOT)};
static const sd_grad_table grad = {SD_GRAD_OPS(SLOT)};

/* In the order of struct sd_backend. */
extern "C" const sd_backend sd_backend_cuda = {
    "cuda",
    cuda_open,
    cuda_close,
    sd_cuda_create,
    sd_cuda_destroy,
    cuda_upload,
    cuda_download,
    cuda_wait,
    sd_cuda_fetch_create,
    sd_cuda_fetch_begin,
    sd_cuda_fetch_take,
    sd_cuda_fetch_destroy,
    sd_cuda_memory,
    sd_cuda_release,
    times_begin,
    times_end,
    false, /* wraps */
    cuda_computes,
    true,  /* narrow */
    false, /* checks_life */
    &dense,
    &dict,
    &steps,
    &score,
    &grad,
#ifdef SD_NCCL
    &sd_nccl_backend,
#else
    NULL, /* group */
#endif
};

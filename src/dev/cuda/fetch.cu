/* Asynchronous copies to the host: the stream of the operations rounds into device memory of the fetch, the second stream copies that to pinned
 * memory, and events order the two. */
#include "cuda.h"

struct fetch_state {
    void *workspace; /* device, [most] of the fetch's type */
    cudaEvent_t ready, copied;
};

static void end(sd_cuda_state *s, sd_fetch *fetch)
{
    fetch_state *f = (fetch_state *)fetch->state;

    sd_cuda_give(s, f->workspace);
    if (fetch->host != NULL)
        (void)cudaFreeHost(fetch->host);
    if (f->ready != NULL)
        (void)cudaEventDestroy(f->ready);
    if (f->copied != NULL)
        (void)cudaEventDestroy(f->copied);
    sd_free(f);
    fetch->state = fetch->host = NULL;
}

static sd_status begin(sd_cuda_state *s, sd_fetch *fetch, fetch_state *f)
{
    size_t size = sd_dtype_size(fetch->type), bytes;

    if (fetch->most > SIZE_MAX / 16)
        return SD_FAIL(SD_E_ENV, "cuda: a fetch of %llu elements does not fit in the address space", (unsigned long long)fetch->most);
    bytes = fetch->most > 0 ? fetch->most * size : size;
    SD_PASS(sd_cuda_take(s, "a fetch", bytes, &f->workspace));
    SD_CUDA(cudaMallocHost(&fetch->host, bytes), "taking pinned memory for a fetch");
    SD_CUDA(cudaEventCreateWithFlags(&f->ready, cudaEventDisableTiming), "making an event");
    return sd_cuda_check(cudaEventCreateWithFlags(&f->copied, cudaEventDisableTiming), "making an event");
}

sd_status sd_cuda_fetch_create(sd_dev *dev, sd_fetch *fetch)
{
    fetch_state *f = NULL;
    sd_status st;

    SD_PASS(SD_NEW(&f, 1));
    fetch->state = f;
    st = begin(sd_cuda(dev), fetch, f);
    if (st != SD_OK)
        end(sd_cuda(dev), fetch);
    return st;
}

sd_status sd_cuda_fetch_begin(sd_dev *dev, sd_fetch *fetch, sd_mat from)
{
    sd_cuda_state *s = sd_cuda(dev);
    fetch_state *f = (fetch_state *)fetch->state;
    size_t size = sd_dtype_size(fetch->type), row = from.cols * size;
    const sd_real *x = (const sd_real *)from.buf->data + from.offset;

    if (from.rows == 0 || row == 0)
        return SD_OK;
    if (fetch->type == SD_REAL) {
        SD_PASS(sd_cuda_queueing(dev, "fetch"));
        SD_CUDA(cudaMemcpy2DAsync(f->workspace, row, x, from.rows > 1 ? from.stride * size : row, row, from.rows, cudaMemcpyDeviceToDevice, s->stream),
                "fetch");
    } else {
        SD_PASS(sd_cuda_round(dev, "fetch", from, fetch->type, f->workspace, from.cols));
    }
    SD_CUDA(cudaEventRecord(f->ready, s->stream), "fetch");
    SD_CUDA(cudaStreamWaitEvent(s->copies, f->ready, 0), "fetch");
    SD_CUDA(cudaMemcpyAsync(fetch->host, f->workspace, from.rows * row, cudaMemcpyDeviceToHost, s->copies), "fetch");
    return sd_cuda_check(cudaEventRecord(f->copied, s->copies), "fetch");
}

sd_status sd_cuda_fetch_take(sd_dev *dev, sd_fetch *fetch)
{
    return sd_cuda_await(sd_cuda(dev), ((fetch_state *)fetch->state)->copied, "waiting for a fetch");
}

/* The device memory is freed in the order of the first stream, so the second must be done with it. */
void sd_cuda_fetch_destroy(sd_dev *dev, sd_fetch *fetch)
{
    (void)sd_cuda_await(sd_cuda(dev), ((fetch_state *)fetch->state)->copied, "waiting for a fetch");
    end(sd_cuda(dev), fetch);
}

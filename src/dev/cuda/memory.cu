/* Device memory: one pool (cudaMallocAsync), whose blocks are allocated and freed in stream order without waiting. Freed memory stays in the
 * pool for later allocations until it is released. */
#include "cuda.h"

typedef unsigned long long ull;

static sd_status describe_memory(const sd_cuda_state *s, size_t *left, size_t *all)
{
    uint64_t reserved = 0, used = 0;

    SD_CUDA(cudaMemGetInfo(left, all), "asking for the GPU's memory");
    SD_CUDA(cudaMemPoolGetAttribute(s->pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "asking for the GPU's memory");
    SD_CUDA(cudaMemPoolGetAttribute(s->pool, cudaMemPoolAttrUsedMemCurrent, &used), "asking for the GPU's memory");
    *left += (size_t)(reserved - used);
    return SD_OK;
}

sd_status sd_cuda_memory_begin(sd_cuda_state *s)
{
    cudaMemPoolProps properties = {};
    int has = 0;
    uint64_t kept = UINT64_MAX;

    SD_CUDA(cudaDeviceGetAttribute(&has, cudaDevAttrMemoryPoolsSupported, s->device), "asking for the GPU's properties");
    if (!has)
        return SD_FAIL(SD_E_ENV, "device 'cuda': GPU %d has no pools of memory here; it is shared out by a virtual machine that keeps them back",
                       s->device);
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = s->device;
    SD_CUDA(cudaMemPoolCreate(&s->pool, &properties), "making a pool of memory");
    return sd_cuda_check(cudaMemPoolSetAttribute(s->pool, cudaMemPoolAttrReleaseThreshold, &kept), "making a pool of memory");
}

void sd_cuda_memory_end(sd_cuda_state *s)
{
    if (s->pool != NULL)
        (void)cudaMemPoolDestroy(s->pool);
    s->pool = NULL;
}

static sd_status no_room(const sd_cuda_state *s, const char *what, size_t bytes)
{
    size_t left = 0, all = 0;

    (void)cudaGetLastError();
    SD_PASS(describe_memory(s, &left, &all));
    return SD_FAIL(SD_E_ENV, "cuda: no memory for %s of %llu bytes; %llu of the GPU's %llu are free", what, (ull)bytes, (ull)left, (ull)all);
}

static sd_status release(sd_cuda_state *s)
{
    SD_PASS(sd_cuda_finish(s));
    return sd_cuda_check(cudaMemPoolTrimTo(s->pool, 0), "releasing memory");
}

sd_status sd_cuda_release(sd_dev *dev)
{
    return release(sd_cuda(dev));
}

sd_status sd_cuda_take(sd_cuda_state *s, const char *what, size_t bytes, void **at)
{
    size_t some = bytes > 0 ? bytes : 1;
    cudaError_t error = cudaMallocFromPoolAsync(at, some, s->pool, s->stream);

    if (error == cudaErrorMemoryAllocation) {
        /* The memory cached by the pool may be fragmented: released, the GPU can coalesce it. */
        (void)cudaGetLastError();
        SD_PASS(release(s));
        error = cudaMallocFromPoolAsync(at, some, s->pool, s->stream);
    }
    if (error == cudaSuccess)
        return SD_OK;
    *at = NULL;
    return error == cudaErrorMemoryAllocation ? no_room(s, what, bytes) : sd_cuda_check(error, what);
}

/* A failure of queued work stays with the stream and is returned by the next wait. */
void sd_cuda_give(sd_cuda_state *s, void *at)
{
    if (at != NULL)
        (void)cudaFreeAsync(at, s->stream);
}

sd_status sd_cuda_create(sd_dev *dev, sd_buf *buf)
{
    if (buf->count > SIZE_MAX / 16)
        return no_room(sd_cuda(dev), "a buffer", SIZE_MAX);
    buf->base_size = buf->count * sd_dtype_size(buf->type);
    SD_PASS(sd_cuda_take(sd_cuda(dev), "a buffer", buf->base_size, &buf->base));
    buf->data = buf->base;
    return SD_OK;
}

void sd_cuda_destroy(sd_dev *dev, sd_buf *buf)
{
    sd_cuda_give(sd_cuda(dev), buf->base);
    buf->data = buf->base = NULL;
}

sd_status sd_cuda_scratch(sd_dev *dev, const char *what, size_t bytes, void **workspace)
{
    sd_cuda_state *s = sd_cuda(dev);

    if (s->scratch_bytes < bytes) {
        sd_cuda_give(s, s->scratch);
        s->scratch = NULL;
        s->scratch_bytes = 0;
        SD_PASS(sd_cuda_take(s, what, bytes, &s->scratch));
        s->scratch_bytes = bytes;
    }
    *workspace = s->scratch;
    return SD_OK;
}

sd_status sd_cuda_memory(sd_dev *dev, sd_dev_capacity *capacity)
{
    const sd_cuda_state *s = sd_cuda(dev);
    size_t left = 0, all = 0;

    SD_PASS(describe_memory(s, &left, &all));
    capacity->left = left;
    capacity->all = all;
    return SD_OK;
}

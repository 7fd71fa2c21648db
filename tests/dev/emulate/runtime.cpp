/* CUDA's run time: one device, its memory, streams and events. */
#include "emulate.h"
#include "knobs.h"

#include <map>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <utility>
#include <vector>

cudaError_t cudaGetDeviceCount(int *count)
{
    const char *bytes = getenv("EMULATED_MEMORY");

    if (bytes != nullptr)
        emulate_memory(strtoull(bytes, nullptr, 10));
    *count = 1;
    return cudaSuccess;
}

namespace
{
bool opening; /* the next stream is the first of a device */

[[noreturn]] void give_up(const char *what)
{
    fprintf(stderr, "emulated run time: %s\n", what);
    abort();
}
} // namespace

cudaError_t cudaSetDevice(int)
{
    emulate_other_order();
    opening = true;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated");
    p->major = 9;
    p->multiProcessorCount = 3;
    p->totalGlobalMem = (size_t)1 << 30;
    p->uuid.bytes[15] = (char)emulate_knobs.gpu;
    return cudaSuccess;
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t)
{
    return "emulated error";
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int)
{
    *value = 1;
    return cudaSuccess;
}

/* ---- memory ---- */

struct emulate_pool {
    std::multiset<size_t> kept; /* sizes of freed blocks */
    size_t reserved, used;
};

namespace
{
size_t memory = (size_t)1 << 30; /* of the device */
emulate_pool *pools[16];

struct block {
    emulate_pool *pool;
    size_t bytes;
};

/* Created on first use: tests open devices before constructors run. */
std::map<void *, block> &blocks()
{
    static auto *all = new std::map<void *, block>;

    return *all;
}

size_t taken()
{
    size_t sum = 0;

    for (const emulate_pool *p : pools)
        sum += p != nullptr ? p->reserved : 0;
    return sum;
}

/* posix_memalign() takes sizes that are no multiple of the alignment, so that address sanitizer sees the end. */
bool fresh(void **at, size_t bytes)
{
    if (posix_memalign(at, 256, bytes) != 0)
        return false;
    memset(*at, 0xff, bytes);
    return true;
}
} // namespace

extern "C" void emulate_memory(size_t bytes)
{
    memory = bytes;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    *all = memory;
    *left = memory > taken() ? memory - taken() : 0;
    return cudaSuccess;
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *)
{
    for (emulate_pool *&p : pools)
        if (p == nullptr) {
            *pool = p = new emulate_pool();
            return cudaSuccess;
        }
    return cudaErrorMemoryAllocation;
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool)
{
    if (pool->used > 0)
        give_up("a pool of memory ends while blocks of it are in use");
    for (emulate_pool *&p : pools)
        if (p == pool)
            p = nullptr;
    delete pool;
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *)
{
    return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr what, void *value)
{
    uint64_t bytes = what == cudaMemPoolAttrUsedMemCurrent ? pool->used : pool->reserved;

    memcpy(value, &bytes, sizeof bytes);
    return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t)
{
    pool->kept.clear();
    pool->reserved = pool->used;
    return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void **at, size_t bytes, cudaMemPool_t pool, cudaStream_t)
{
    auto kept = pool->kept.find(bytes);

    if ((kept == pool->kept.end() && (bytes > memory || taken() > memory - bytes)) || !fresh(at, bytes))
        return cudaErrorMemoryAllocation;
    if (kept != pool->kept.end())
        pool->kept.erase(kept);
    else
        pool->reserved += bytes;
    pool->used += bytes;
    blocks()[*at] = {pool, bytes};
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *at, cudaStream_t)
{
    auto found = blocks().find(at);

    emulate_settle();
    if (found == blocks().end())
        give_up("memory is freed that was not taken");
    found->second.pool->used -= found->second.bytes;
    found->second.pool->kept.insert(found->second.bytes);
    blocks().erase(found);
    free(at);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **at, size_t bytes)
{
    return fresh(at, bytes) ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *at)
{
    free(at);
    return cudaSuccess;
}

/* ---- streams and events ---- */

struct emulate_stream {
    bool first;
    size_t done; /* of what was put off */
    std::vector<std::function<void()>> put_off;
};

/* Behind the first `count` of what was put off on a stream. */
struct emulate_event {
    emulate_stream *stream;
    size_t count;
};

namespace
{
void catch_up(emulate_stream *s, size_t count)
{
    for (; s != nullptr && s->done < count; s->done++) {
        s->put_off[s->done]();
        s->put_off[s->done] = nullptr;
    }
}

void queue(emulate_stream *s, std::function<void()> f)
{
    if (s->first) {
        emulate_settle();
        f();
    } else {
        s->put_off.push_back(std::move(f));
    }
}
} // namespace

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream)
{
    queue(stream, [=] { memset(at, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream)
{
    queue(stream, [=] { memcpy(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from, size_t from_stride, size_t bytes, size_t rows, cudaMemcpyKind,
                              cudaStream_t stream)
{
    queue(stream, [=] {
        for (size_t r = 0; r < rows; r++)
            memcpy((char *)to + r * to_stride, (const char *)from + r * from_stride, bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new emulate_stream{opening, 0, {}};
    opening = false;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    catch_up(stream, stream->put_off.size());
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (emulate_busy())
        give_up("a wait without a time limit, for a stream in which other ranks have a part");
    catch_up(stream, stream->put_off.size());
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    if (emulate_busy())
        return cudaErrorNotReady;
    catch_up(stream, stream->put_off.size());
    return cudaSuccess;
}

/* What waits for another stream waits now. */
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned)
{
    catch_up(event->stream, event->count);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new emulate_event{nullptr, 0};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->stream = stream;
    event->count = stream->put_off.size();
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (emulate_busy())
        give_up("a wait without a deadline for an event that may depend on other ranks");
    catch_up(event->stream, event->count);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    if (emulate_busy())
        return cudaErrorNotReady;
    catch_up(event->stream, event->count);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t)
{
    *ms = 1;
    return cudaSuccess;
}

#include "emulate.h"

#include <stdio.h>
#include <map>
#include <set>
#include <stdlib.h>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATE_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMULATE_ASAN
#endif
#ifdef EMULATE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK = 512 * 1024 };
#else
enum { STACK = 64 * 1024 };
#endif

enum { WARP = 32, THREADS_MOST = 1024, EXCHANGED_MOST = 32 };

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{
enum state { RUNS, WAITS_FOR_WARP, WAITS_FOR_BLOCK, DONE };

struct fiber {
    void *stack;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    void *fake; /* of address sanitizer */
    enum state state;
    unsigned exchanges;
};

struct warp {
    unsigned waiting;
    alignas(32) char slot[2][WARP][EXCHANGED_MOST]; /* one exchange reads while the next one writes */
};

fiber fibers[THREADS_MOST];
warp warps[THREADS_MOST / WARP];
fiber scheduler;
unsigned current, threads, done, block_waiting;
unsigned place; /* of the current thread in the order in which they run */
int or_next, or_result;
const std::function<void()> *body;
void *dynamic;
unsigned devices_opened; /* decides the order in which threads run */
bool opening;            /* the next stream is the first of a device */
#ifdef EMULATE_ASAN
const void *scheduler_bottom;
size_t scheduler_size;
bool from_scheduler;
#endif

[[noreturn]] void give_up(const char *what)
{
    fprintf(stderr, "emulated kernel: block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
    abort();
}

#if defined(__x86_64__)
extern "C" void emulate_switch(void **save, void *load);
asm(".text\n"
    ".type emulate_switch, @function\n"
    "emulate_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulate_switch, .-emulate_switch\n");
#endif

void switch_to(fiber *from, fiber *to, bool leaves)
{
    (void)leaves;
#ifdef EMULATE_ASAN
    from_scheduler = from == &scheduler;
    if (to == &scheduler)
        __sanitizer_start_switch_fiber(leaves ? nullptr : &from->fake, scheduler_bottom, scheduler_size);
    else
        __sanitizer_start_switch_fiber(leaves ? nullptr : &from->fake, to->stack, STACK);
#endif
#if defined(__x86_64__)
    emulate_switch(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
#ifdef EMULATE_ASAN
    __sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);
#endif
}

/* The i-th thread to be looked at, in an order that depends on the device. */
unsigned turn(unsigned i)
{
    switch (devices_opened % 3) {
    case 0:
        return i;
    case 1:
        return threads - 1 - i;
    default:
        return (i * 37 + 11) % threads; /* 37 shares no factor with the threads of up to 32 warps */
    }
}

/* From a fiber that waits, or has come to its end, to the next one that can run; back to the scheduler when all are done. */
void pass_on()
{
    fiber *self = &fibers[current];
    bool leaves = self->state == DONE;

    for (unsigned i = 0; i < threads; i++) {
        place = place + 1 < threads ? place + 1 : 0;
        current = turn(place);
        if (fibers[current].state == RUNS) {
            threadIdx = dim3{current, 0, 0};
            switch_to(self, &fibers[current], leaves);
            return;
        }
    }
    if (done < threads)
        give_up("threads wait for others that have left, or that wait elsewhere");
    switch_to(self, &scheduler, leaves);
}

void enter()
{
#ifdef EMULATE_ASAN
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (from_scheduler) {
        scheduler_bottom = bottom;
        scheduler_size = size;
    }
#endif
    (*body)();
    fibers[current].state = DONE;
    done++;
    pass_on();
    abort();
}

void prepare(fiber *f)
{
    if (f->stack == nullptr && (f->stack = aligned_alloc(64, STACK)) == nullptr)
        abort();
#ifdef EMULATE_ASAN
    __asan_unpoison_memory_region(f->stack, STACK); /* what the last fiber there left */
#endif
    f->state = RUNS;
    f->exchanges = 0;
    f->fake = nullptr;
#if defined(__x86_64__)
    void **top = (void **)((char *)f->stack + STACK);

    top[-1] = nullptr;
    top[-2] = (void *)enter;
    memset(top - 8, 0, 6 * sizeof *top);
    f->sp = top - 8;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    makecontext(&f->context, enter, 0);
#endif
}

void run_block()
{
    done = 0;
    block_waiting = 0;
    or_next = 0;
    for (unsigned t = 0; t < threads; t++)
        prepare(&fibers[t]);
    for (unsigned w = 0; w < threads / WARP; w++)
        warps[w].waiting = 0;
    place = 0;
    current = turn(place);
    threadIdx = dim3{current, 0, 0};
    switch_to(&scheduler, &fibers[current], false);
}

void wait_for_block()
{
    fibers[current].state = WAITS_FOR_BLOCK;
    if (++block_waiting < threads) {
        pass_on();
        return;
    }
    block_waiting = 0;
    or_result = or_next;
    or_next = 0;
    for (unsigned t = 0; t < threads; t++)
        fibers[t].state = RUNS;
}

void wait_for_warp()
{
    warp *w = &warps[current / WARP];

    fibers[current].state = WAITS_FOR_WARP;
    if (++w->waiting < WARP) {
        pass_on();
        return;
    }
    w->waiting = 0;
    for (unsigned t = current / WARP * WARP; t < (current / WARP + 1) * WARP; t++)
        fibers[t].state = RUNS;
}
} // namespace

void emulate_launch(unsigned grid, unsigned block, size_t shared, std::function<void()> kernel)
{
    if (block == 0 || block > THREADS_MOST || block % WARP != 0)
        give_up("a block must be a whole number of warps, at most 1024 threads");
    body = &kernel;
    threads = block;
    blockDim = dim3{block, 1, 1};
    gridDim = dim3{grid, 1, 1};
    for (unsigned b = 0; b < grid; b++) {
        dynamic = malloc(shared > 0 ? shared : 1);
        if (dynamic == nullptr)
            abort();
        memset(dynamic, 0xff, shared);
        blockIdx = dim3{b, 0, 0};
        run_block();
        free(dynamic);
    }
}

void *emulate_shared()
{
    return dynamic;
}

void __syncthreads()
{
    wait_for_block();
}

int __syncthreads_or(int predicate)
{
    or_next |= predicate != 0;
    wait_for_block();
    return or_result;
}

void __syncwarp(unsigned)
{
    wait_for_warp();
}

const void *emulate_all(const void *value, size_t size)
{
    fiber *f = &fibers[current];
    warp *w = &warps[current / WARP];
    unsigned side = f->exchanges++ % 2;

    if (size > EXCHANGED_MOST)
        give_up("too much at once for a warp's exchange");
    memcpy(w->slot[side][current % WARP], value, size);
    wait_for_warp();
    return w->slot[side];
}

void emulate_exchange(void *value, size_t size, int lane)
{
    const char *all = (const char *)emulate_all(value, size);

    memcpy(value, all + lane * EXCHANGED_MOST, size);
}

/* ---- the run time ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    const char *bytes = getenv("EMULATED_MEMORY");

    if (bytes != nullptr)
        emulate_memory(strtoull(bytes, nullptr, 10));
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    devices_opened++;
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

/* Made when it is first asked for: tests open devices before constructors run. */
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
    if (s->first)
        f();
    else
        s->put_off.push_back(std::move(f));
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
    catch_up(event->stream, event->count);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t)
{
    *ms = 1;
    return cudaSuccess;
}

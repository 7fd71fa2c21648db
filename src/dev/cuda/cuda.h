/* Shared by the files of the CUDA backend: number types, views, launches, sums in a fixed order, and the backend's state.
 *
 * Kernels and host code are compiled twice: by nvcc into the module, and by a C++ compiler with SD_EMULATED against tests/dev/emulate, where
 * the threads of a block run on the CPU one after the other. Hence CUDA is called only in device.cu, memory.cu, fetch.cu,
 * gemm.cu, group.cu, nccl.cu and this header, kernels are launched by sd_launch() only, and dynamic shared memory is taken by sd_shared() only.
 *
 * Determinism: no atomics on floating-point numbers, sums in an order that follows from the shape of one row, document or tile; nothing
 * depends on the number of blocks that run at a time. Shapes fit in int, as the front ends have checked. */
#ifndef SAEDIFF_DEV_CUDA_CUDA_H
#define SAEDIFF_DEV_CUDA_CUDA_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef SD_EMULATED
#include "emulate.h"
#else
#include <cuda_runtime.h>
#endif

extern "C" {
#include "../backend.h"
#include "saediff/core/mem.h"
}

#include "gemm.h"
#include "group.h"

/* Returns a failure to the caller. */
#define SD_PASS(expr)                                                                                        \
    do {                                                                                                     \
        sd_status pass_st = (expr);                                                                          \
        if (pass_st != SD_OK)                                                                                \
            return pass_st;                                                                                  \
    } while (0)

/* A CUDA call; its failure is reported with what it was for. */
#define SD_CUDA(call, what) SD_PASS(sd_cuda_check((call), (what)))

/* ---- the backend ---- */

enum { SD_STAGES = 2 };
enum : size_t { SD_STAGE_BYTES = (size_t)8 << 20 };

/* An index outside the latents, found by sd_invert and reported by the next wait. All bytes 0xff: none. */
struct sd_fault {
    unsigned long long at; /* its flat position, the lowest of the operation */
    unsigned long long k, latents; /* of the first operation that found one; latents all ones until that operation is done */
    int32_t value;
};

enum { SD_TIMED = 4096 };

/* Profiling: an event before each queued operation and one after the last. */
struct sd_timed {
    const char *name[SD_TIMED];
    cudaEvent_t event[SD_TIMED + 1];
    uint64_t count, made; /* operations, events */
};

struct sd_cuda_state {
    int device;
    int processors; /* streaming multiprocessors */
    cudaStream_t stream; /* of the operations; all memory is taken and freed in its order */
    cudaStream_t copies; /* of fetches */
    cudaMemPool_t pool;
    void *stage[SD_STAGES]; /* pinned, SD_STAGE_BYTES each */
    cudaEvent_t staged[SD_STAGES];
    void *scratch;        /* device memory of the operation that is being queued */
    size_t scratch_bytes;
    sd_fault *fault; /* device */
    bool may_fault;  /* something was queued that may set it */
    const char *last; /* the operation queued last */
    sd_timed *timed;  /* NULL: no times are taken */
    sd_gemm *gemm;
    sd_cuda_group group;
};

static inline sd_cuda_state *sd_cuda(const sd_dev *dev)
{
    return (sd_cuda_state *)dev->state;
}

sd_status sd_cuda_check(cudaError_t error, const char *what);
/* Called before work is queued; `what` names it. */
sd_status sd_cuda_queueing(sd_dev *dev, const char *what);
/* memory.cu: `bytes` of device memory, aligned to 256, for work queued from now on (`what` is for errors); and its release after the work queued
 * so far. Other streams must be ordered with events. */
sd_status sd_cuda_take(sd_cuda_state *s, const char *what, size_t bytes, void **at);
void sd_cuda_give(sd_cuda_state *s, void *at);
sd_status sd_cuda_memory_begin(sd_cuda_state *s);
void sd_cuda_memory_end(sd_cuda_state *s);
sd_status sd_cuda_memory(sd_dev *dev, sd_dev_capacity *capacity);
sd_status sd_cuda_release(sd_dev *dev);
sd_status sd_cuda_create(sd_dev *dev, sd_buf *buf);
void sd_cuda_destroy(sd_dev *dev, sd_buf *buf);
/* fetch.cu */
sd_status sd_cuda_fetch_create(sd_dev *dev, sd_fetch *fetch);
sd_status sd_cuda_fetch_begin(sd_dev *dev, sd_fetch *fetch, sd_mat from);
sd_status sd_cuda_fetch_take(sd_dev *dev, sd_fetch *fetch);
void sd_cuda_fetch_destroy(sd_dev *dev, sd_fetch *fetch);
/* At least `bytes` of device memory, aligned to 256, for the operation that is being queued; the next one may reuse it. */
sd_status sd_cuda_scratch(sd_dev *dev, const char *what, size_t bytes, void **workspace);

/* Queues: `to`, rows of x.cols elements of `type` (bf16 or f16) that begin `stride` elements apart, becomes x, which holds real, rounded. */
sd_status sd_cuda_round(sd_dev *dev, const char *what, sd_mat x, sd_dtype type, void *to, uint64_t stride);
/* Queues the product for `what`: by cublasLt, or the plain one if that has no algorithm. */
sd_status sd_cuda_product(sd_dev *dev, const char *what, const sd_product *p);

#define SD_DECLARE_CUDA_OP(name) sd_status sd_cuda_##name(sd_dev *dev, const sd_##name *args);
SD_DENSE_OPS(SD_DECLARE_CUDA_OP)
SD_DICT_OPS(SD_DECLARE_CUDA_OP)
SD_STEP_OPS(SD_DECLARE_CUDA_OP)
SD_SCORE_OPS(SD_DECLARE_CUDA_OP)
SD_GRAD_OPS(SD_DECLARE_CUDA_OP)

extern "C" const sd_backend sd_backend_cuda;

/* Queues a kernel: `grid` blocks of `block` threads (a whole number of warps), with `shared` bytes of dynamic shared memory. */
template <typename... P, typename... A>
sd_status sd_launch(sd_dev *dev, const char *what, void (*kernel)(P...), uint64_t grid, unsigned block, size_t shared, A... args)
{
    if (grid == 0)
        return SD_OK;
    if (grid > 0x7fffffffu)
        return SD_FAIL(SD_E_ENV, "cuda: %s needs %llu thread blocks, more than a grid has", what, (unsigned long long)grid);
    SD_PASS(sd_cuda_queueing(dev, what));
#ifdef SD_EMULATED
    emulate_launch((unsigned)grid, block, shared, [=] { kernel(static_cast<P>(args)...); });
    return SD_OK;
#else
    if (shared > 48 * 1024)
        SD_CUDA(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared), what);
    kernel<<<(unsigned)grid, block, shared, sd_cuda(dev)->stream>>>(static_cast<P>(args)...);
    return sd_cuda_check(cudaGetLastError(), what);
#endif
}

/* ---- number types ---- */

struct sd_bf16 {
    uint16_t bits;
};
struct sd_f16 {
    uint16_t bits;
};

/* Calls f with a value of the element type `type`, which is real, bf16 or f16. */
template <typename F> sd_status sd_by_type(sd_dtype type, F f)
{
    if (type == SD_BF16)
        return f(sd_bf16());
    if (type == SD_F16)
        return f(sd_f16());
    return f(sd_real());
}

__device__ inline sd_real sd_wide(sd_real x)
{
    return x;
}

__device__ inline sd_real sd_wide(sd_bf16 x)
{
#ifdef __CUDA_ARCH__
    return (sd_real)__uint_as_float((unsigned)x.bits << 16);
#else
    return (sd_real)sd_f32_from_bf16(x.bits);
#endif
}

__device__ inline sd_real sd_wide(sd_f16 x)
{
#ifdef __CUDA_ARCH__
    float wide;

    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return (sd_real)wide;
#else
    return (sd_real)sd_f32_from_f16(x.bits);
#endif
}

/* To nearest, ties to even. */
__device__ inline void sd_narrow(sd_real x, sd_real *to)
{
    *to = x;
}

__device__ inline void sd_narrow(sd_real x, sd_bf16 *to)
{
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to->bits) : "f"((float)x));
#else
    to->bits = sd_bf16_from_f32((float)x);
#endif
}

__device__ inline void sd_narrow(sd_real x, sd_f16 *to)
{
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"((float)x));
#else
    to->bits = sd_f16_from_f32((float)x);
#endif
}

__device__ inline sd_real sd_exp(sd_real x)
{
#ifdef SD_REAL_IS_DOUBLE
    return exp(x);
#else
    return expf(x);
#endif
}

__device__ inline sd_real sd_nan()
{
    return (sd_real)NAN;
}

/* ---- views ---- */

template <typename T> struct sd_view {
    T *at;
    uint64_t rows, cols, stride;
    bool whole; /* every row begins at a multiple of 16 bytes */

    __device__ T *row(uint64_t r) const
    {
        return at + r * stride;
    }
};

/* NULL where m has no buffer. */
template <typename T> sd_view<T> sd_view_of(sd_mat m)
{
    sd_view<T> v = {};

    if (m.buf == NULL)
        return v;
    v.at = (T *)m.buf->data + m.offset;
    v.rows = m.rows;
    v.cols = m.cols;
    v.stride = m.stride;
    v.whole = (uintptr_t)v.at % 16 == 0 && v.stride * sizeof(T) % 16 == 0;
    return v;
}

enum { SD_WIDTH = 8 }; /* elements that a thread takes at a time */

template <typename T> union sd_pack {
    struct alignas(16) block {
        uint32_t word[4];
    };
    T element[SD_WIDTH];
    block blocks[sizeof(T) * SD_WIDTH / 16];
};

/* x = n ≤ SD_WIDTH elements from `from` on, then zeros. */
template <typename T> __device__ inline void sd_load(sd_real x[SD_WIDTH], const T *from, uint64_t n, bool whole)
{
    if (whole && n >= SD_WIDTH) {
        sd_pack<T> pack;

#pragma unroll
        for (unsigned i = 0; i < sizeof(T) * SD_WIDTH / 16; i++)
            pack.blocks[i] = ((const typename sd_pack<T>::block *)from)[i];
#pragma unroll
        for (int i = 0; i < SD_WIDTH; i++)
            x[i] = sd_wide(pack.element[i]);
    } else {
#pragma unroll
        for (int i = 0; i < SD_WIDTH; i++)
            x[i] = (uint64_t)i < n ? sd_wide(from[i]) : (sd_real)0;
    }
}

template <typename T> __device__ inline void sd_store(const sd_real x[SD_WIDTH], T *to, uint64_t n, bool whole)
{
    if (whole && n >= SD_WIDTH) {
        sd_pack<T> pack;

#pragma unroll
        for (int i = 0; i < SD_WIDTH; i++)
            sd_narrow(x[i], &pack.element[i]);
#pragma unroll
        for (unsigned i = 0; i < sizeof(T) * SD_WIDTH / 16; i++)
            ((typename sd_pack<T>::block *)to)[i] = pack.blocks[i];
    } else {
#pragma unroll
        for (int i = 0; i < SD_WIDTH; i++)
            if ((uint64_t)i < n)
                sd_narrow(x[i], &to[i]);
    }
}

__host__ __device__ inline uint64_t sd_written_spans(uint64_t count, uint64_t piece)
{
    return (count + piece - 1) / piece;
}

__host__ __device__ inline uint64_t sd_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A view whose element type, real, bf16 or f16, is known at run time: all threads take the same branch, which costs nothing in kernels bound by
 * memory, and one kernel serves all types. */
struct sd_any {
    void *at;
    uint64_t rows, cols, stride;
    sd_dtype type;
    bool whole; /* as above */
};

inline sd_any sd_any_of(sd_mat m)
{
    size_t size = sd_dtype_size(m.buf->type);
    sd_any v = {(char *)m.buf->data + m.offset * size, m.rows, m.cols, m.stride, m.buf->type, false};

    v.whole = (uintptr_t)v.at % 16 == 0 && v.stride * size % 16 == 0;
    return v;
}

/* x = n ≤ SD_WIDTH elements of row r from column c on, then zeros; `whole`: they begin at a multiple of 16 bytes. */
__device__ inline void sd_load(sd_real x[SD_WIDTH], const sd_any &m, uint64_t r, uint64_t c, uint64_t n, bool whole)
{
    uint64_t at = r * m.stride + c;

    if (m.type == SD_BF16)
        sd_load(x, (const sd_bf16 *)m.at + at, n, whole);
    else if (m.type == SD_F16)
        sd_load(x, (const sd_f16 *)m.at + at, n, whole);
    else
        sd_load(x, (const sd_real *)m.at + at, n, whole);
}

__device__ inline void sd_store(const sd_real x[SD_WIDTH], const sd_any &m, uint64_t r, uint64_t c, uint64_t n, bool whole)
{
    uint64_t at = r * m.stride + c;

    if (m.type == SD_BF16)
        sd_store(x, (sd_bf16 *)m.at + at, n, whole);
    else if (m.type == SD_F16)
        sd_store(x, (sd_f16 *)m.at + at, n, whole);
    else
        sd_store(x, (sd_real *)m.at + at, n, whole);
}

__device__ inline void sd_store_one(sd_real x, const sd_any &m, uint64_t r, uint64_t c)
{
    uint64_t at = r * m.stride + c;

    if (m.type == SD_BF16)
        sd_narrow(x, (sd_bf16 *)m.at + at);
    else if (m.type == SD_F16)
        sd_narrow(x, (sd_f16 *)m.at + at);
    else
        sd_narrow(x, (sd_real *)m.at + at);
}

/* ---- threads ---- */

/* The dynamic shared memory of a launch. */
__device__ inline sd_real *sd_shared()
{
#ifdef SD_EMULATED
    return (sd_real *)emulate_shared();
#else
    extern __shared__ sd_real sd_shared_memory[];

    return sd_shared_memory;
#endif
}

enum { SD_WARP = 32, SD_BLOCK = 256, SD_WARPS = SD_BLOCK / SD_WARP };

/* This thread's index in the launch, and the number of threads. */
__device__ inline uint64_t sd_thread()
{
    return (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

template <typename V> __device__ inline V sd_warp_sum(V x)
{
    for (int apart = SD_WARP / 2; apart > 0; apart /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, apart);
    return x;
}

template <typename V> __device__ inline V sd_warp_most(V x)
{
    for (int apart = SD_WARP / 2; apart > 0; apart /= 2) {
        V other = __shfl_xor_sync(0xffffffffu, x, apart);

        x = other > x ? other : x;
    }
    return x;
}

/* Sum over a team of TEAM threads, a warp or a block of SD_BLOCK, in one order; every thread of it gets the same. */
template <int TEAM, typename V> __device__ inline V sd_team_sum(V x)
{
    __shared__ V part[SD_WARPS];

    x = sd_warp_sum(x);
    if (TEAM == SD_WARP)
        return x;
    if (threadIdx.x % SD_WARP == 0)
        part[threadIdx.x / SD_WARP] = x;
    __syncthreads();
    x = part[0];
    for (int w = 1; w < SD_WARPS; w++)
        x += part[w];
    __syncthreads();
    return x;
}

/* Largest over a block of SD_BLOCK; no value in it is NaN. */
template <typename V> __device__ inline V sd_block_most(V x)
{
    __shared__ V part[SD_WARPS];

    x = sd_warp_most(x);
    if (threadIdx.x % SD_WARP == 0)
        part[threadIdx.x / SD_WARP] = x;
    __syncthreads();
    x = part[0];
    for (int w = 1; w < SD_WARPS; w++)
        x = part[w] > x ? part[w] : x;
    __syncthreads();
    return x;
}

/* Sum of the x of all threads before this one in a block of SD_BLOCK; *all gets the whole sum. */
__device__ inline uint32_t sd_block_before(uint32_t x, uint32_t *all)
{
    __shared__ uint32_t part[SD_WARPS];
    uint32_t lane = threadIdx.x % SD_WARP, warp = threadIdx.x / SD_WARP, sum = x, before = 0, total = 0;

    for (unsigned apart = 1; apart < SD_WARP; apart *= 2) {
        uint32_t other = __shfl_sync(0xffffffffu, sum, (int)(lane >= apart ? lane - apart : lane));

        sum += lane >= apart ? other : 0;
    }
    if (lane == SD_WARP - 1)
        part[warp] = sum;
    __syncthreads();
    for (uint32_t w = 0; w < SD_WARPS; w++) {
        before += w < warp ? part[w] : 0;
        total += part[w];
    }
    __syncthreads();
    *all = total;
    return before + sum - x;
}

#endif

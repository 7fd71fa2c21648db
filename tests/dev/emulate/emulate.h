/* A CPU emulation of the parts of CUDA that src/dev/cuda uses, so that its kernels and host code run in the test suite without a GPU.
 *
 * A launch runs its blocks one after the other. The threads of a block are fibers on one processor thread: each runs until it waits for its
 * warp or its block, then the next one does. Deadlocks of threads, and threads that leave a kernel while others still wait for
 * them, end the program with a message. The order in which threads run changes from one opened device to the next, so that a race shows as
 * different bits; fresh device memory and fresh dynamic shared memory are bytes of 0xFF, which is NaN; out-of-bounds accesses are found by
 * a build with address sanitizer, as each piece of device memory is a block of its own.
 *
 * The first stream of a device runs everything at once. Copies on its other streams are deferred until something waits for them, so that
 * reads without a wait return old data, and memory freed too early is detected. A memory pool keeps freed blocks, which serve requests of the
 * same size only, until the pool is trimmed.
 *
 * NCCL is emulated over MPI (nccl.h here). Its exchanges are the only asynchronous work: the stream is busy until the other
 * ranks have done their part, which a waiting caller must find out by polling; other work waits for it.
 *
 * Not emulated: work of the first stream that is in progress while the host continues, occupancy, and those parts of the memory model that need two
 * threads running at the same time. */
#ifndef SAEDIFF_TESTS_EMULATE_H
#define SAEDIFF_TESTS_EMULATE_H

#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
/* Blocks run one after the other, so what a block shares may be static. */
#define __shared__ static

struct dim3 {
    unsigned x, y, z;
};

/* Of the thread that is running. */
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/* For tests: sets the bytes of device memory; initially 1 GiB, or EMULATED_MEMORY. */
extern "C" void emulate_memory(size_t bytes);

void emulate_launch(unsigned grid, unsigned block, size_t shared, std::function<void()> kernel);
/* Changes the order in which the threads of a block run. */
void emulate_other_order();
/* The block's dynamic shared memory. */
void *emulate_shared();

void __syncthreads();
int __syncthreads_or(int predicate);
void __syncwarp(unsigned mask = 0xffffffffu);
/* *value becomes the value of lane `lane` of this warp at the same call; all 32 lanes call. size ≤ 32. */
void emulate_exchange(void *value, size_t size, int lane);
/* The whole table of the 32 lanes' values, valid until the next exchange but one. */
const void *emulate_all(const void *value, size_t size);

template <typename V> V __shfl_sync(unsigned, V value, int lane)
{
    emulate_exchange(&value, sizeof value, lane % 32);
    return value;
}

template <typename V> V __shfl_xor_sync(unsigned, V value, int mask)
{
    emulate_exchange(&value, sizeof value, (int)(threadIdx.x % 32) ^ mask);
    return value;
}

/* Only one fiber runs at a time. */
template <typename V> V atomicAdd(V *at, V value)
{
    V before = *at;

    *at = before + value;
    return before;
}

template <typename V> V atomicMin(V *at, V value)
{
    V before = *at;

    *at = value < before ? value : before;
    return before;
}

template <typename V> V atomicOr(V *at, V value)
{
    V before = *at;

    *at = before | value;
    return before;
}

/* ---- the run time ---- */

#define CUDART_VERSION 13000

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorInsufficientDriver, cudaErrorNoDevice, cudaErrorNotReady };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr { cudaDevAttrMemoryPoolsSupported };
enum cudaMemAllocationType { cudaMemAllocationTypePinned = 1 };
enum cudaMemLocationType { cudaMemLocationTypeDevice = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold, cudaMemPoolAttrReservedMemCurrent, cudaMemPoolAttrUsedMemCurrent };
enum { cudaEventDefault = 0, cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
typedef struct emulate_stream *cudaStream_t;
typedef struct emulate_event *cudaEvent_t;
typedef struct emulate_pool *cudaMemPool_t;

struct cudaDeviceProp {
    char name[64];
    int major, minor, multiProcessorCount;
    size_t totalGlobalMem;
    struct {
        char bytes[16];
    } uuid;
};

struct cudaMemPoolProps {
    cudaMemAllocationType allocType;
    struct {
        cudaMemLocationType type;
        int id;
    } location;
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaMemGetInfo(size_t *left, size_t *all);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int device);
cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *p);
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr what, void *value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr what, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep);
cudaError_t cudaMallocFromPoolAsync(void **at, size_t bytes, cudaMemPool_t pool, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *at, cudaStream_t stream);
cudaError_t cudaMallocHost(void **at, size_t bytes);
cudaError_t cudaFreeHost(void *at);
cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from, size_t from_stride, size_t bytes, size_t rows,
                              cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
/* A millisecond between any two. */
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end);

/* Whether an exchange is in progress; and waiting for it, before other work. */
bool emulate_busy();
void emulate_settle();

#endif

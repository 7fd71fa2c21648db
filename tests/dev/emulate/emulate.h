/* What the files of src/dev/cuda use of CUDA, on the processor, so that their kernels and host code run in the suite where there is no GPU.
 *
 * A launch runs its blocks one after the other. The threads of a block are fibers on one processor thread: each runs until it waits for its
 * warp or its block, then the next one does. Threads that wait for one another in vain, or that leave a kernel while others still wait for
 * them, end the program with a message. The order in which threads run changes from one opened device to the next, so that a race shows as
 * different bits; fresh device memory and fresh dynamic shared memory are bytes of 0xFF, which is NaN; out-of-bounds accesses are found by
 * a build with address sanitizer, as each piece of device memory is a block of its own.
 *
 * The first stream that a device makes does everything at once. Copies on its other ones are put off until somebody waits for them, so that
 * what is read before it was waited for is old, and memory freed too early is found. A pool of memory keeps freed blocks, which serve requests
 * of their own size alone until the pool is trimmed.
 *
 * NCCL is emulated over MPI (nccl.h here). What it exchanges is the only work that is not finished at once: the stream is busy until other
 * ranks have done their part, which whoever waits for it must find out by asking; other work waits for it.
 *
 * Not emulated: work of the first stream that is still under way while the host goes on, occupancy, and whatever of the memory model needs two
 * threads to run at the same time. */
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

/* For tests: from now on the device has so many bytes of memory; at first 1 GiB, or what EMULATED_MEMORY says. */
extern "C" void emulate_memory(size_t bytes);

void emulate_launch(unsigned grid, unsigned block, size_t shared, std::function<void()> kernel);
/* The threads of a block run in another order from now on. */
void emulate_other_order();
/* The block's dynamic shared memory. */
void *emulate_shared();

void __syncthreads();
int __syncthreads_or(int predicate);
void __syncwarp(unsigned mask = 0xffffffffu);
/* What lane `lane` of this warp put there at the same call; all 32 lanes call. size ≤ 32. */
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

/* Whether what was exchanged is still under way; and waiting for it, before other work. */
bool emulate_busy();
void emulate_settle();

#endif

/* Transposition of indices by a counting sort: integers are counted with atomics, whose order does not affect the result; entries of each latent
 * are then sorted. */
#include "transpose_index.h"

enum { SHORT = 256, EACH = 8 }; /* entries that one warp sorts at most; counts that a thread of the scan takes */

__global__ static void count_kernel(sd_view<int32_t> index, uint64_t things, uint32_t *begin, sd_fault *fault)
{
    uint64_t i = sd_thread();
    int32_t thing;

    if (i >= index.rows * index.cols)
        return;
    thing = index.row(i / index.cols)[i % index.cols];
    if (thing >= 0 && (uint64_t)thing < things)
        atomicAdd(&begin[thing + 1], 1u);
    else if (fault != NULL && fault->latents == ~0ull)
        atomicMin(&fault->at, (unsigned long long)i);
}

/* One thread: the operation that found the first fault is recorded with it. */
__global__ static void fault_kernel(sd_view<int32_t> index, uint64_t things, sd_fault *fault)
{
    if (threadIdx.x > 0 || fault->at == ~0ull || fault->latents != ~0ull)
        return;
    fault->k = index.cols;
    fault->latents = things;
    fault->value = index.row(fault->at / index.cols)[fault->at % index.cols];
}

/* One block: begin [count] becomes its sums up to and including each element. */
__global__ static void scan_kernel(uint32_t *begin, uint64_t count)
{
    uint32_t before = 0;

    for (uint64_t first = 0; first < count; first += SD_BLOCK * EACH) {
        uint64_t at = first + threadIdx.x * EACH;
        uint32_t own[EACH], sum = 0, all, base;

        for (int i = 0; i < EACH; i++) {
            sum += at + (uint64_t)i < count ? begin[at + (uint64_t)i] : 0;
            own[i] = sum;
        }
        base = before + sd_block_before(sum, &all);
        for (int i = 0; i < EACH; i++)
            if (at + (uint64_t)i < count)
                begin[at + (uint64_t)i] = base + own[i];
        before += all;
    }
}

__global__ static void copy_kernel(const uint32_t *from, uint32_t *to, uint64_t count)
{
    uint64_t i = sd_thread();

    if (i < count)
        to[i] = from[i];
}

__global__ static void place_kernel(sd_view<int32_t> index, uint64_t things, uint32_t *next, uint32_t *entry)
{
    uint64_t i = sd_thread();
    int32_t thing;

    if (i >= index.rows * index.cols)
        return;
    thing = index.row(i / index.cols)[i % index.cols];
    if (thing >= 0 && (uint64_t)thing < things)
        entry[atomicAdd(&next[thing], 1u)] = (uint32_t)i;
}

/* A pair of the network: the smaller goes to `low`. */
__device__ static inline void order(uint32_t *e, uint64_t low, uint64_t high, uint64_t count)
{
    if (high < count && e[high] < e[low]) {
        uint32_t swap = e[low];

        e[low] = e[high];
        e[high] = swap;
    }
}

template <int TEAM> __device__ static inline void wait()
{
    if (TEAM == SD_WARP)
        __syncwarp();
    else
        __syncthreads();
}

/* Batcher's bitonic network in the form in which every pair is ordered upwards, so that elements beyond the end need not exist. */
template <int TEAM> __device__ static inline void sort(uint32_t *e, uint64_t count)
{
    uint64_t member = threadIdx.x % TEAM;

    for (uint64_t size = 2; size < 2 * count; size *= 2) {
        for (uint64_t i = member; i < sd_written_spans(count, size) * (size / 2); i += TEAM) {
            uint64_t base = i / (size / 2) * size, j = i % (size / 2);

            order(e, base + j, base + size - 1 - j, count);
        }
        wait<TEAM>();
        for (uint64_t gap = size / 4; gap > 0; gap /= 2) {
            for (uint64_t i = member; i < sd_written_spans(count, 2 * gap) * gap; i += TEAM)
                order(e, i / gap * 2 * gap + i % gap, i / gap * 2 * gap + i % gap + gap, count);
            wait<TEAM>();
        }
    }
}

/* A warp sorts a short list, a block a long one. */
template <int TEAM> __global__ static void sort_kernel(const uint32_t *begin, uint64_t things, uint32_t *entry)
{
    for (uint64_t i = sd_thread() / TEAM; i < things; i += (uint64_t)gridDim.x * SD_BLOCK / TEAM) {
        uint64_t count = begin[i + 1] - begin[i];

        if (count > 1 && (TEAM == SD_WARP) == (count <= SHORT))
            sort<TEAM>(entry + begin[i], count);
    }
}

sd_status sd_cuda_transpose_index(sd_dev *dev, const char *what, sd_view<int32_t> index, uint64_t things, uint32_t *begin, uint32_t *entry, uint32_t *next,
                       bool faults)
{
    uint64_t entries = sd_written_spans(index.rows * index.cols, SD_BLOCK), processors = (uint64_t)sd_cuda(dev)->processors;
    sd_fault *fault = faults ? sd_cuda(dev)->fault : NULL;

    SD_CUDA(cudaMemsetAsync(begin, 0, (things + 1) * sizeof *begin, sd_cuda(dev)->stream), what);
    SD_PASS(sd_launch(dev, what, count_kernel, entries, SD_BLOCK, 0, index, things, begin, fault));
    if (faults) {
        sd_cuda(dev)->may_fault = true;
        SD_PASS(sd_launch(dev, what, fault_kernel, 1, SD_WARP, 0, index, things, fault));
    }
    SD_PASS(sd_launch(dev, what, scan_kernel, 1, SD_BLOCK, 0, begin, things + 1));
    SD_PASS(sd_launch(dev, what, copy_kernel, sd_written_spans(things, SD_BLOCK), SD_BLOCK, 0, (const uint32_t *)begin, next, things));
    SD_PASS(sd_launch(dev, what, place_kernel, entries, SD_BLOCK, 0, index, things, next, entry));
    SD_PASS(sd_launch(dev, what, sort_kernel<SD_WARP>, sd_written_spans(things, SD_WARPS), SD_BLOCK, 0, (const uint32_t *)begin, things, entry));
    return sd_launch(dev, what, sort_kernel<SD_BLOCK>, sd_least(things, 8 * processors), SD_BLOCK, 0, (const uint32_t *)begin,
                     things, entry);
}

sd_status sd_cuda_invert(sd_dev *dev, const sd_invert *a)
{
    uint64_t latents = a->begin.cols - 1;
    void *next;

    SD_PASS(sd_cuda_scratch(dev, "invert", latents * sizeof(uint32_t), &next));
    return sd_cuda_transpose_index(dev, "invert", sd_view_of<int32_t>(a->index), latents, sd_view_of<uint32_t>(a->begin).at,
                        sd_view_of<uint32_t>(a->entry).at, (uint32_t *)next, true);
}

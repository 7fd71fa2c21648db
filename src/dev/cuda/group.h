/* Operations that need other ranks are queued in the stream like all others: a wait for the stream then waits for those ranks, and must not
 * do so for ever. */
#ifndef SAEDIFF_DEV_CUDA_GROUP_H
#define SAEDIFF_DEV_CUDA_GROUP_H

#ifdef SD_EMULATED
#include "emulate.h"
#else
#include <cuda_runtime.h>
#endif

extern "C" {
#include "../backend.h"
}

struct sd_cuda_state;

/* Part of the backend's state: joining needs no memory, so that a rank does not fail there alone. */
struct sd_cuda_group {
    /* Asked again and again while the stream is not through; fails on an asynchronous error, and where `late`. NULL: no group is open. */
    sd_status (*look)(sd_cuda_state *s, bool late);
    struct ncclComm *comm; /* NULL: lost, it carries nothing more */
    int rank, size;
    double deadline;  /* seconds */
    bool pending;     /* something was exchanged since the stream was last waited for */
    uint8_t peers[8]; /* since then, a bit for each of the first ranks */
};

/* Waits for the stream, or for an event in it; within the deadline where a group is open. */
sd_status sd_cuda_finish(sd_cuda_state *s);
sd_status sd_cuda_await(sd_cuda_state *s, cudaEvent_t event, const char *what);

/* Seconds on a clock that only goes forward; and what to do between two looks, the first being 0. */
double sd_cuda_now(void);
void sd_cuda_pause(uint64_t turn);

#ifdef SD_NCCL
extern const sd_group_backend sd_nccl_backend;
#endif

#endif

/* Exchanges with other ranks are queued in the stream like all operations, so a wait for the stream also waits for those ranks and needs a
 * deadline. */
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

/* Part of the backend's state, so that joining allocates no memory and cannot fail on one rank alone. */
struct sd_cuda_group {
    /* Called repeatedly while the stream is busy; fails on an asynchronous error, and if `late`. NULL: no group is open. */
    sd_status (*look)(sd_cuda_state *s, bool late);
    struct ncclComm *comm; /* NULL: lost, no further exchange is possible */
    int rank, size;
    double deadline;  /* seconds */
    bool pending;     /* something was exchanged since the stream was last waited for */
    uint8_t peers[8]; /* since then, a bit for each of the first ranks */
};

/* Waits for the stream, or for an event in it; within the deadline if a group is open. */
sd_status sd_cuda_finish(sd_cuda_state *s);
sd_status sd_cuda_await(sd_cuda_state *s, cudaEvent_t event, const char *what);

/* Seconds on a monotonic clock; and the pause after poll `turn` = 0, 1, … */
double sd_cuda_now(void);
void sd_cuda_pause(uint64_t turn);

#ifdef SD_NCCL
extern const sd_group_backend sd_nccl_backend;
#endif

#endif

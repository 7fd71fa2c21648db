/* Operations that need other ranks stand in the stream beside all others: whoever waits for the stream then waits for them, and must not
 * do so for ever. */
#ifndef SAEDIFF_DEV_CUDA_WIRE_H
#define SAEDIFF_DEV_CUDA_WIRE_H

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
struct sd_wire {
    /* Asked again and again while the stream is not through; fails on an asynchronous error, and where `late`. NULL: no wire is open. */
    sd_status (*look)(sd_cuda_state *s, bool late);
    struct ncclComm *comm; /* NULL: lost, nothing more goes through it */
    int rank, size;
    double deadline;  /* seconds */
    bool pending;     /* something was exchanged since the stream was last waited for */
    uint8_t peers[8]; /* since then, a bit for each of the first ranks */
};

/* Waits for the stream, or for an event in it; within the deadline where a wire is open. */
sd_status sd_cuda_finish(sd_cuda_state *s);
sd_status sd_cuda_await(sd_cuda_state *s, cudaEvent_t event, const char *what);

/* Seconds on a clock that only goes forward; and what to do between two looks, the first being 0. */
double sd_wire_now(void);
void sd_wire_pause(uint64_t turn);

#ifdef SD_NCCL
extern const sd_wire_table sd_nccl_wire;
#endif

#endif

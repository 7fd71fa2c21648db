/* Waiting, with a deadline if other ranks are involved. */
#include <sched.h>
#include <time.h>

#include "cuda.h"

double sd_cuda_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* At first as fast as possible: most waits are short. */
void sd_cuda_pause(uint64_t turn)
{
    const struct timespec little = {0, 50000};

    if (turn < 10000)
        sched_yield();
    else
        nanosleep(&little, NULL);
}

/* *error: the result of the query once it is no longer "not ready". */
template <typename Q> static sd_status watch(sd_cuda_state *s, cudaError_t *error, Q query)
{
    double until = sd_cuda_now() + s->group.deadline;

    for (uint64_t turn = 0;; turn++) {
        *error = query();
        if (*error != cudaErrorNotReady)
            return SD_OK;
        (void)cudaGetLastError(); /* being busy is no error */
        SD_PASS(s->group.look(s, sd_cuda_now() > until));
        sd_cuda_pause(turn);
    }
}

sd_status sd_cuda_finish(sd_cuda_state *s)
{
    cudaError_t error;

    if (s->group.pending)
        SD_PASS(watch(s, &error, [=] { return cudaStreamQuery(s->stream); }));
    else
        error = cudaStreamSynchronize(s->stream);
    if (error != cudaSuccess)
        return SD_FAIL(SD_E_ENV, "cuda: waiting for the operations up to '%s': %s", s->last, cudaGetErrorString(error));
    if (s->group.pending)
        SD_PASS(s->group.look(s, false)); /* received data may be wrong */
    if (s->group.pending && s->group.comm == NULL) /* reported here even if it was first noticed where it could not be returned */
        return SD_FAIL(SD_E_ENV, "cuda: an exchange of rank %d was abandoned; data from other ranks is missing", s->group.rank);
    s->group.pending = false;
    return SD_OK;
}

sd_status sd_cuda_await(sd_cuda_state *s, cudaEvent_t event, const char *what)
{
    cudaError_t error;

    if (s->group.pending)
        SD_PASS(watch(s, &error, [=] { return cudaEventQuery(event); }));
    else
        error = cudaEventSynchronize(event);
    return sd_cuda_check(error, what);
}

/* Settings and counters of the emulated backend for tests. */
#ifndef SAEDIFF_TESTS_KNOBS_H
#define SAEDIFF_TESTS_KNOBS_H

#ifdef __cplusplus
extern "C" {
#endif

extern struct emulate_knobs {
    unsigned char gpu;      /* GPU of the device opened next */
    const void *ranks;      /* address of the MPI_Comm of the communicator's ranks; NULL: all */
    int nccl_missing;       /* its library is not there */
    int nccl_error;         /* the error of an exchange ... */
    int nccl_error_after;   /* ... at the n-th poll */
    int nccl_loads, nccl_aborts, nccl_ends; /* counted */
} emulate_knobs;

#ifdef __cplusplus
}
#endif

#endif

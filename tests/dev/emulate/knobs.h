/* What tests of the emulated backend set and see. */
#ifndef SAEDIFF_TESTS_KNOBS_H
#define SAEDIFF_TESTS_KNOBS_H

#ifdef __cplusplus
extern "C" {
#endif

extern struct emulate_knobs {
    unsigned char gpu;      /* which GPU the device opened next is */
    const void *ranks;      /* address of the MPI_Comm of the ranks that meet; NULL: all */
    int nccl_missing;       /* its library is not there */
    int nccl_error;         /* what an exchange fails with ... */
    int nccl_error_after;   /* ... when it was asked for the n-th time how it is */
    int nccl_loads, nccl_aborts, nccl_ends; /* counted */
} emulate_knobs;

#ifdef __cplusplus
}
#endif

#endif

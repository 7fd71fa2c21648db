/* Communication between the devices of ranks: by NCCL if every rank has a GPU of its own, through host memory and MPI if ranks share a GPU or have
 * none. Results are the same, bit for bit.
 *
 * Failures. No call waits longer than the group's deadline. A call with wrong arguments is SD_E_INTERNAL before anything is sent. After
 * any other failure (SD_E_ENV) the group is broken: all later calls fail, and active transfers cannot be cancelled, so the buffers of
 * the failed call must outlive a vote of all ranks (sd_par_agree), or the ranks must be ended (sd_par_abort). A rank that fails alone informs the
 * ranks it should have sent to where it can; otherwise their wait ends at the deadline with an error that names it. So all ranks do their
 * local work first and vote, then exchange, then vote again if the caller's next step depends on the outcome: sd_group_sum() and
 * sd_group_collect() do that themselves. */
#ifndef SAEDIFF_DEV_GROUP_H
#define SAEDIFF_DEV_GROUP_H

#include "saediff/dev/transfer.h"
#include "saediff/par/par.h"

/* Collective. Counts the ranks of par whose device is the same GPU as `dev`, for sd_dev_memory(). GPUs are compared by UUID, so this also holds
 * if the launcher shows each rank a single GPU (CUDA_VISIBLE_DEVICES). */
SD_MUST_CHECK sd_status sd_dev_count_sharers(sd_dev *dev, const sd_par *par);

typedef struct sd_group sd_group;

/* Collective. par and dev are borrowed and outlive the group; dev is this rank's own and has one group at a time. deadline in
 * seconds, usually SD_PAR_DEADLINE. Whether ranks share a GPU is determined before NCCL is loaded; an NCCL that is installed but does not start is
 * SD_E_ENV. With one rank NCCL is loaded at the first exchange. *group is NULL on failure. */
SD_MUST_CHECK sd_status sd_group_open(sd_group **group, const sd_par *par, sd_dev *dev, double deadline);
/* Collective, before the device is closed. Waits within the deadline for active transfers. Takes the address of a handle or of NULL. */
void sd_group_close(sd_group **group);
/* "one rank", "NCCL 2.28.9, 4 GPUs", "through host memory: ranks 0 and 2 share GPU-...", "through host memory: cpu". */
const char *sd_group_describe(const sd_group *group);

/* Every rank that has transfers calls it; those between two ranks match in order, type and number of elements. All transfers run at once, none
 * waits for another; empty ones are skipped. An arriving transfer overlaps no other transfer of the call. Later operations of the device see the
 * received data, and may overwrite the sent data. With NCCL the call is queued like an operation and does not wait; without, it returns when all data
 * has arrived and, on a device whose memory is host memory, has been sent. Local failures: see above. */
SD_MUST_CHECK sd_status sd_group_exchange(sd_group *group, const sd_transfer *transfers, uint64_t count);
/* Local. Waits for the device and for all transfers, within the deadline; returns their first failure. */
SD_MUST_CHECK sd_status sd_group_wait(sd_group *group);

/* Vectors cut into slices: slice[r] [size], in elements and equal on all ranks, is the part that rank r owns. Slices do not overlap, and may be empty. */

/* Elements of each slice that are exchanged at a time. It bounds the host and device memory needed besides the vectors, and is large enough for
 * full bandwidth. */
enum { SD_GROUP_CHUNK = 1 << 21 };

/* Collective. Adds the slice that this rank owns of the vectors of ranks 0 … sources−1, in their order, to the first slice[rank].count elements
 * of `sum`; with `fresh` it is overwritten instead. A reduce-scatter in a fixed order. All real. `vector` is not read on ranks from `sources` on. */
SD_MUST_CHECK sd_status sd_group_sum(sd_group *group, sd_buf *vector, int sources, const sd_span *slice, bool fresh, sd_buf *sum);
/* Collective. An all-gather in place: every rank has its own slice of `vector`, of any type, and receives those of the others. */
SD_MUST_CHECK sd_status sd_group_collect(sd_group *group, sd_buf *vector, const sd_span *slice);

#endif

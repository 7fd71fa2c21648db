/* Ranks: who there is, who does what, votes with one verdict, sums in one order, long messages.
 *
 * Rule of the house: local work, vote, collective work. A rank that fails alone casts its vote
 * like all others, and everyone leaves by the same door with the same message. */
#ifndef SAEDIFF_PAR_PAR_H
#define SAEDIFF_PAR_PAR_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_par {
    MPI_Comm comm; /* all ranks, with MPI_ERRORS_RETURN */
    int rank, size;
    int node_rank, node_size; /* among the ranks that share this machine's memory */
} sd_par;

/* Collective. Sets the defaults that must be in the environment before MPI_Init (data sieving of
 * OMPIO off: it loses data; yielding when ranks share cores), initialises MPI with
 * MPI_THREAD_FUNNELED, installs the handlers of SIGUSR1, SIGUSR2, SIGTERM and SIGINT (they only
 * set a flag). Call once, first. On failure nothing is left to close. */
SD_MUST_CHECK sd_status sd_par_begin(sd_par *par, int *argc, char ***argv);
/* Collective. Every rank must arrive; see sd_par_abort() for when one cannot. */
void sd_par_end(sd_par *par);
/* Collective. The ranks that give the same `which` ≥ 0, in their order, as ranks among themselves; one that gives −1 is in no part, and
 * its part->comm is MPI_COMM_NULL. sd_par_part_end() is Collective over the part. */
SD_MUST_CHECK sd_status sd_par_part_begin(sd_par *part, const sd_par *par, int which);
void sd_par_part_end(sd_par *part);
/* Local. Ends all ranks at once: for a failure inside a collective call, when the ranks can no
 * longer vote. Prints the last error. Does not return. */
_Noreturn void sd_par_abort(const sd_par *par, sd_status status);

/* Collective. Ends without MPI_Finalize, for when a library's own clean-up would crash in it; the launcher gets the status. Does not
 * return. */
_Noreturn void sd_par_leave(const sd_par *par, sd_status status);

/* Local, pure. The contiguous share of `count` elements that rank of size gets; the first
 * count % size ranks get one more. Ranks with an empty share are normal. */
sd_span sd_par_split(uint64_t count, int rank, int size);

/* Waiting. Every wait gives the core away: the rank tests, yields, and then sleeps for up to 1 ms at a time. Collective calls wait as long as it
 * takes, because another rank may do hours of work before it arrives, and mpirun ends the job when a rank dies. A wait for a message
 * that another rank has already begun to send or receive has a time limit, in seconds: */
#define SD_PAR_DEADLINE 600.0

/* Collective. Returns when every rank has arrived. */
SD_MUST_CHECK sd_status sd_par_barrier(const sd_par *par);

/* Local. Adds the rank (of all that mpirun started) to the location of the last failure, and rank and host to the message of an SD_E_ENV. Does
 * nothing where this has been done, or with one rank. sd_par_agree() calls it; call it before an error is sent to another rank otherwise. */
void sd_par_sign(sd_status code);

/* Collective. Hands in this rank's own result; every rank gets the same verdict: SD_OK if all
 * were well, otherwise the heaviest code cast, with the text and location of the lowest rank that cast it. */
SD_MUST_CHECK sd_status sd_par_agree(const sd_par *par, sd_status mine);

/* Collective. As sd_par_agree(), and SD_E_STOPPED on all ranks if a stop was asked for on any. */
SD_MUST_CHECK sd_status sd_par_agree_or_stop(const sd_par *par, sd_status mine);

/* Local. A signal asked this rank to stop. */
bool sd_par_stop_asked(void);

/* Collective. `text` must be equal on all ranks; SD_E_INTERNAL naming `what` otherwise. */
SD_MUST_CHECK sd_status sd_par_equal(const sd_par *par, const char *what, const char *text);

/* Collective. Copies rank root's `bytes` bytes (any 64-bit length) to all. */
SD_MUST_CHECK sd_status sd_par_bcast(const sd_par *par, void *data, uint64_t bytes, int root);

/* Collective. Rank 0 receives every rank's piece, in rank order, in `all` (it knows the total; the
 * others pass NULL). Pieces may be empty and of any 64-bit length. `all_bytes` is checked on rank 0. */
SD_MUST_CHECK sd_status sd_par_gather(const sd_par *par, const void *mine, uint64_t bytes, void *all,
                                      uint64_t all_bytes);

/* Collective, in place, exact whatever the order: element-wise sum, maximum. */
SD_MUST_CHECK sd_status sd_par_sum_u64(const sd_par *par, uint64_t *values, uint64_t count);
SD_MUST_CHECK sd_status sd_par_max_u64(const sd_par *par, uint64_t *values, uint64_t count);
/* Collective, in place. values [count]: each was set on one rank and is 0 on all others; all ranks get them, bit by bit. */
SD_MUST_CHECK sd_status sd_par_share_f64(const sd_par *par, double *values, uint64_t count);

/* Collective. *before = the sum of `mine` over the ranks below this one; *total = over all. */
SD_MUST_CHECK sd_status sd_par_prefix_u64(const sd_par *par, uint64_t mine, uint64_t *before, uint64_t *total);

/* Collective. Sum of `units` vectors of `width` doubles in one order whatever the rank count: the
 * canonical binary tree over units 0 … units−1 (leaf u is unit u; a node is left + right; a node
 * without right child is its left child). This rank holds the vectors of the contiguous units
 * `mine` [mine.count, width], as sd_par_split(units, …) deals them. Rank 0 gets sum [width]; the
 * others pass NULL. Each rank sends at most 2 log2(units) vectors. units ≥ 1. */
SD_MUST_CHECK sd_status sd_par_tree_sum(const sd_par *par, uint64_t units, sd_span mine, const double *vectors,
                                        uint64_t width, double *sum);

#endif

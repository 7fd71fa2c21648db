/* Polite waiting: the one way in which this library waits for other ranks.
 *
 * A rank that waits inside a blocking call of MPI keeps its core busy. Ranks often share cores, with one another or with the threads of the
 * numerical work, so every wait is a non-blocking call that is tested again and again, with a pause between two tests: none at first, when
 * the wait is short and latency counts, and then a sleep that grows in proportion to the time already waited. */
#ifndef SAEDIFF_PAR_WAIT_H
#define SAEDIFF_PAR_WAIT_H

#include "saediff/par/par.h"

/* Starts as {0}; one per wait. */
typedef struct par_pause {
    unsigned tests;
    long nanoseconds; /* of the next sleep */
} par_pause;

/* Local. Gives the core away between two tests. A signal ends the sleep early. */
void par_pause_next(par_pause *pause);

/* Collective. Waits for a collective request; `begun` is what the call that started it returned. False where either failed. There is no time
 * limit: a collective call waits for ranks that do long work of their own, and the launcher ends the job where a rank has died. */
bool par_wait(int begun, MPI_Request *request);
/* Collective. Returns when every rank has arrived; for what comes before a blocking call of MPI, which then waits for nobody. */
bool par_meet(const sd_par *par);
/* Local. As par_wait(), for a message between two ranks and at most `seconds`; *late says that it has not gone through by then. */
bool par_wait_within(int begun, MPI_Request *request, double seconds, bool *late);

#endif

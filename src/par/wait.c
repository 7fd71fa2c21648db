#include "wait.h"

#include <math.h>
#include <sched.h>
#include <time.h>

#include "saediff/core/log.h"

/* Measured with two and four ranks on two cores: fewer immediate tests cost latency where every rank has a core of its own, more cost the
 * other ranks their time. Sleeps are a quarter of the time waited, so that a wait is at most a quarter too long. */
enum { YIELDS = 32, FIRST_SLEEP = 20000, LAST_SLEEP = 1000000 };

void par_pause_next(par_pause *pause)
{
    struct timespec sleep = {0, pause->nanoseconds};

    if (pause->tests < YIELDS) {
        pause->tests++;
        pause->nanoseconds = FIRST_SLEEP;
        sched_yield();
        return;
    }
    nanosleep(&sleep, NULL);
    pause->nanoseconds += pause->nanoseconds / 4;
    if (pause->nanoseconds > LAST_SLEEP)
        pause->nanoseconds = LAST_SLEEP;
}

bool par_wait_within(int begun, MPI_Request *request, double seconds, bool *late)
{
    double until = sd_now() + seconds;
    par_pause pause = {0};

    *late = false;
    while (begun == MPI_SUCCESS) {
        int done = 0;

        begun = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done)
            break;
        *late = sd_now() > until;
        if (*late)
            return false;
        par_pause_next(&pause);
    }
    return begun == MPI_SUCCESS;
}

bool par_wait(int begun, MPI_Request *request)
{
    bool late;

    return par_wait_within(begun, request, INFINITY, &late);
}

bool par_meet(const sd_par *par)
{
    MPI_Request request;

    return par_wait(MPI_Ibarrier(par->comm, &request), &request);
}

sd_status sd_par_barrier(const sd_par *par)
{
    return par_meet(par) ? SD_OK : SD_FAIL(SD_E_ENV, "the ranks could not meet: MPI failed");
}

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "saediff/core/log.h"
#include "wait.h"

static volatile sig_atomic_t stop_asked;

static void on_stop(int number)
{
    (void)number;
    stop_asked = 1;
}

bool sd_par_stop_asked(void)
{
    return stop_asked != 0;
}

static void install_handlers(void)
{
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* The place among the ranks of par->comm that share this machine's memory. */
static void find_node(sd_par *par)
{
    MPI_Comm node;

    par->node_rank = 0;
    par->node_size = 1;
    if (MPI_Comm_split_type(par->comm, MPI_COMM_TYPE_SHARED, par->rank, MPI_INFO_NULL, &node) == MPI_SUCCESS) {
        MPI_Comm_rank(node, &par->node_rank);
        MPI_Comm_size(node, &par->node_size);
        MPI_Comm_free(&node);
    }
}

sd_status sd_par_begin(sd_par *par, int *argc, char ***argv)
{
    int provided = 0;

    /* Read at MPI_Init. A user's own setting stays. Data sieving of OMPIO 4.1 loses data (ompi issue 12718). */
    setenv("OMPI_MCA_fbtl_posix_write_datasieving", "0", 0);
    setenv("OMPI_MCA_fbtl_posix_read_datasieving", "0", 0);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return SD_FAIL(SD_E_ENV, "MPI could not be started");
    par->comm = MPI_COMM_WORLD;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    install_handlers(); /* after MPI_Init, which has its own */
    if (MPI_Comm_rank(par->comm, &par->rank) != MPI_SUCCESS || MPI_Comm_size(par->comm, &par->size) != MPI_SUCCESS) {
        MPI_Finalize();
        return SD_FAIL(SD_E_ENV, "MPI does not tell this process its rank");
    }
    find_node(par);
    return SD_OK;
}

void sd_par_end(sd_par *par)
{
    (void)par_meet(par); /* MPI_Finalize waits without giving the core away */
    MPI_Finalize();
    par->comm = MPI_COMM_NULL;
}

sd_status sd_par_part_begin(sd_par *part, const sd_par *par, int which)
{
    sd_status st;

    *part = (sd_par){.comm = MPI_COMM_NULL};
    SD_TRY(st, sd_par_barrier(par)); /* MPI_Comm_split has no form that does not block */
    if (MPI_Comm_split(par->comm, which >= 0 ? which : MPI_UNDEFINED, par->rank, &part->comm) != MPI_SUCCESS)
        st = SD_FAIL(SD_E_ENV, "the ranks could not be divided into groups: MPI failed");
    if (part->comm == MPI_COMM_NULL)
        goto out;
    MPI_Comm_set_errhandler(part->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(part->comm, &part->rank);
    MPI_Comm_size(part->comm, &part->size);
    find_node(part);
out:
    return st;
}

void sd_par_part_end(sd_par *part)
{
    if (part->comm != MPI_COMM_NULL)
        MPI_Comm_free(&part->comm);
}

_Noreturn void sd_par_abort(const sd_par *par, sd_status status)
{
    sd_par_sign(status);
    fprintf(stderr, "error: rank %d: %s\n", par->rank, sd_last_error());
    fflush(stderr);
    MPI_Abort(par->comm, sd_exit_code(status));
    abort();
}

_Noreturn void sd_par_leave(const sd_par *par, sd_status status)
{
    fflush(NULL);
    (void)par_meet(par);
    MPI_Abort(par->comm, sd_exit_code(status));
    abort();
}

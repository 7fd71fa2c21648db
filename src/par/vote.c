#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "saediff/core/hash.h"
#include "wait.h"

sd_span sd_par_split(uint64_t count, int rank, int size)
{
    uint64_t r = (uint64_t)rank, n = (uint64_t)size, each = count / n, more = count % n;
    sd_span share = {r * each + (r < more ? r : more), each + (r < more ? 1 : 0)};

    return share;
}

void sd_par_sign(sd_status code)
{
    char text[SD_ERROR_TEXT], location[SD_ERROR_LOCATION], host[64] = "";
    int rank = 0, size = 1;

    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size == 1 || strncmp(sd_last_error_location(), "rank ", 5) == 0)
        return;
    snprintf(text, sizeof text, "%s", sd_last_error());
    if (code == SD_E_ENV && gethostname(host, sizeof host - 1) == 0)
        snprintf(text, sizeof text, "%.*s (rank %d on %s)", SD_ERROR_TEXT - 96, sd_last_error(), rank, host);
    snprintf(location, sizeof location, "rank %d, %.*s", rank, SD_ERROR_LOCATION - 32, sd_last_error_location());
    (void)sd_fail_from(code, location, text);
}

/* MAXLOC takes the lowest rank among equals. */
static sd_status vote(const sd_par *par, sd_status mine)
{
    struct {
        int code, rank;
    } in = {(int)mine, par->rank}, worst = {0, 0};
    struct {
        char text[SD_ERROR_TEXT], location[SD_ERROR_LOCATION];
    } error = {"", ""};
    MPI_Request request;

    if (!par_wait(MPI_Iallreduce(&in, &worst, 1, MPI_2INT, MPI_MAXLOC, par->comm, &request), &request))
        return SD_FAIL(SD_E_ENV, "the ranks could not vote: MPI failed");
    if (worst.code == SD_OK)
        return SD_OK;
    if (in.rank == worst.rank) {
        if (par->size > 1)
            sd_par_sign(mine);
        snprintf(error.text, sizeof error.text, "%s", sd_last_error());
        snprintf(error.location, sizeof error.location, "%s", sd_last_error_location());
    }
    if (!par_wait(MPI_Ibcast(&error, sizeof error, MPI_CHAR, worst.rank, par->comm, &request), &request))
        return SD_FAIL(SD_E_ENV, "no word from failing rank %d: MPI failed", worst.rank);
    return sd_fail_from((sd_status)worst.code, error.location, error.text);
}

sd_status sd_par_agree(const sd_par *par, sd_status mine)
{
    return vote(par, mine);
}

sd_status sd_par_agree_or_stop(const sd_par *par, sd_status mine)
{
    if (mine == SD_OK && sd_par_stop_asked())
        mine = SD_FAIL(SD_E_STOPPED, "stopped by a signal; what was finished is saved: run the same command again");
    return vote(par, mine);
}

sd_status sd_par_equal(const sd_par *par, const char *what, const char *text)
{
    char mine[SD_SHA256_HEX], first[SD_SHA256_HEX];
    sd_sha256 sha;
    sd_status st = SD_OK;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, text);
    sd_sha256_end(&sha, mine);
    memcpy(first, mine, sizeof first);
    if (sd_par_bcast(par, first, sizeof first, 0) != SD_OK)
        return SD_FAIL(SD_E_ENV, "%s could not be compared over the ranks: MPI failed", what);
    if (strcmp(first, mine) != 0)
        st = SD_FAIL(SD_E_INTERNAL, "%s differs between ranks: that of rank %d (%.60s...) is not that of rank 0; do all nodes see the same files and "
                                    "environment?",
                     what, par->rank, text);
    return vote(par, st);
}

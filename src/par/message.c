/* Messages of any length. MPI 3 counts in int, so long ones are sent in chunks. */
#include <string.h>

#include "saediff/core/mem.h"
#include "wait.h"

enum { CHUNK = 1 << 28, SHORT = 1 << 16, TAG_GATHER = 7101 };

static int chunk_of(uint64_t left)
{
    return left < CHUNK ? (int)left : CHUNK;
}

/* A short message and a short reduction wait politely. For a long one MPI's blocking call is faster; the ranks meet before it. */
sd_status sd_par_bcast(const sd_par *par, void *data, uint64_t bytes, int root)
{
    bool well = bytes <= SHORT || par_meet(par);
    MPI_Request request;

    if (well && bytes > 0 && bytes <= SHORT)
        well = par_wait(MPI_Ibcast(data, (int)bytes, MPI_BYTE, root, par->comm, &request), &request);
    for (uint64_t at = 0; well && bytes > SHORT && at < bytes; at += CHUNK)
        well = MPI_Bcast((char *)data + at, chunk_of(bytes - at), MPI_BYTE, root, par->comm) == MPI_SUCCESS;
    return well ? SD_OK : SD_FAIL(SD_E_ENV, "a message of %llu bytes from rank %d failed in MPI", (unsigned long long)bytes, root);
}

/* Local. A chunk of the other rank's part is through, or not within the time limit: both are in sd_par_gather() by then. */
static sd_status through(const sd_par *par, int begun, MPI_Request *request, int other)
{
    bool late;

    if (par_wait_within(begun, request, SD_PAR_DEADLINE, &late))
        return SD_OK;
    if (late) /* the request and its memory stay in use: no vote, all ranks end */
        sd_par_abort(par, SD_FAIL(SD_E_ENV, "rank %d waited %g s for rank %d to gather data; that rank has died or hangs", par->rank, SD_PAR_DEADLINE,
                                  other));
    return SD_FAIL(SD_E_ENV, "a gathered message between ranks %d and %d failed in MPI", par->rank, other);
}

static sd_status receive(const sd_par *par, char *data, uint64_t bytes, int from)
{
    sd_status st = SD_OK;

    for (uint64_t at = 0; st == SD_OK && at < bytes; at += CHUNK) {
        MPI_Request request;

        st = through(par, MPI_Irecv(data + at, chunk_of(bytes - at), MPI_BYTE, from, TAG_GATHER, par->comm, &request), &request, from);
    }
    return st;
}

static sd_status send(const sd_par *par, const char *data, uint64_t bytes, int to)
{
    sd_status st = SD_OK;

    for (uint64_t at = 0; st == SD_OK && at < bytes; at += CHUNK) {
        MPI_Request request;

        st = through(par, MPI_Isend(data + at, chunk_of(bytes - at), MPI_BYTE, to, TAG_GATHER, par->comm, &request), &request, to);
    }
    return st;
}

sd_status sd_par_gather(const sd_par *par, const void *mine, uint64_t bytes, void *all, uint64_t all_bytes)
{
    uint64_t *sizes = NULL, total = 0;
    MPI_Request request;
    sd_status st;

    st = sd_par_agree(par, par->rank == 0 ? SD_NEW(&sizes, (uint64_t)par->size) : SD_OK);
    if (st != SD_OK)
        goto out;
    if (!par_wait(MPI_Igather(&bytes, 1, MPI_UINT64_T, sizes, 1, MPI_UINT64_T, 0, par->comm, &request), &request))
        st = SD_FAIL(SD_E_ENV, "the sizes of a gathered message failed in MPI");
    if (par->rank == 0 && st == SD_OK) {
        for (int r = 0; r < par->size; r++)
            total += sizes[r];
        if (total != all_bytes)
            st = SD_FAIL(SD_E_INTERNAL, "the ranks hold %llu bytes, rank 0 expects %llu", (unsigned long long)total,
                         (unsigned long long)all_bytes);
    }
    SD_TRY(st, sd_par_agree(par, st));
    if (par->rank == 0) {
        char *next = all;

        if (bytes)
            memcpy(next, mine, bytes);
        next += bytes;
        for (int r = 1; r < par->size; r++) {
            SD_TRY(st, receive(par, next, sizes[r], r));
            next += sizes[r];
        }
    } else {
        SD_TRY(st, send(par, mine, bytes, 0));
    }
out:
    sd_free(sizes);
    return st;
}

static sd_status reduce(const sd_par *par, void *values, uint64_t count, size_t size, MPI_Datatype type, MPI_Op op)
{
    uint64_t step = CHUNK / size;
    bool brief = count * size <= SHORT, well = brief || par_meet(par);
    MPI_Request request;

    if (brief && count > 0)
        well = par_wait(MPI_Iallreduce(MPI_IN_PLACE, values, (int)count, type, op, par->comm, &request), &request);
    for (uint64_t at = 0; well && !brief && at < count; at += step)
        well = MPI_Allreduce(MPI_IN_PLACE, (char *)values + at * size, (int)(count - at < step ? count - at : step), type, op, par->comm) ==
               MPI_SUCCESS;
    return well ? SD_OK : SD_FAIL(SD_E_ENV, "a reduction of %llu values failed in MPI", (unsigned long long)count);
}

sd_status sd_par_sum_u64(const sd_par *par, uint64_t *values, uint64_t count)
{
    return reduce(par, values, count, sizeof *values, MPI_UINT64_T, MPI_SUM);
}

sd_status sd_par_max_u64(const sd_par *par, uint64_t *values, uint64_t count)
{
    return reduce(par, values, count, sizeof *values, MPI_UINT64_T, MPI_MAX);
}

sd_status sd_par_prefix_u64(const sd_par *par, uint64_t mine, uint64_t *before, uint64_t *total)
{
    uint64_t up_to = 0, sum = mine;
    MPI_Request request;

    if (!par_wait(MPI_Iscan(&mine, &up_to, 1, MPI_UINT64_T, MPI_SUM, par->comm, &request), &request))
        return SD_FAIL(SD_E_ENV, "a prefix sum failed in MPI");
    *before = up_to - mine;
    *total = sum;
    return sd_par_sum_u64(par, total, 1);
}

sd_status sd_par_share_f64(const sd_par *par, double *values, uint64_t count)
{
    uint64_t *bits = NULL;
    sd_status st;

    /* A number plus zeros, all as bits: nothing is rounded, and NaN stays what it is. */
    SD_TRY(st, sd_par_agree(par, SD_NEW(&bits, count)));
    if (count > 0)
        memcpy(bits, values, count * sizeof *bits);
    SD_TRY(st, sd_par_sum_u64(par, bits, count));
    if (count > 0)
        memcpy(values, bits, count * sizeof *bits);
out:
    sd_free(bits);
    return st;
}

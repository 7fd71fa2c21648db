/* Messages of any length. MPI 3 counts in int: this is the one place that splits. */
#include <limits.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/par/par.h"

enum { PIECE = 1 << 28, TAG_GATHER = 7101 };

static int piece_of(uint64_t left)
{
    return left < PIECE ? (int)left : PIECE;
}

sd_status sd_par_bcast(const sd_par *par, void *data, uint64_t bytes, int root)
{
    for (uint64_t at = 0; at < bytes; at += PIECE)
        if (MPI_Bcast((char *)data + at, piece_of(bytes - at), MPI_BYTE, root, par->comm) != MPI_SUCCESS)
            return SD_FAIL(SD_E_ENV, "a message of %llu bytes from rank %d failed in MPI", (unsigned long long)bytes, root);
    return SD_OK;
}

static sd_status receive(const sd_par *par, void *data, uint64_t bytes, int from)
{
    for (uint64_t at = 0; at < bytes; at += PIECE)
        if (MPI_Recv((char *)data + at, piece_of(bytes - at), MPI_BYTE, from, TAG_GATHER, par->comm, MPI_STATUS_IGNORE) !=
            MPI_SUCCESS)
            return SD_FAIL(SD_E_ENV, "a message of %llu bytes from rank %d failed in MPI", (unsigned long long)bytes, from);
    return SD_OK;
}

static sd_status send(const sd_par *par, const void *data, uint64_t bytes, int to)
{
    for (uint64_t at = 0; at < bytes; at += PIECE)
        if (MPI_Send((const char *)data + at, piece_of(bytes - at), MPI_BYTE, to, TAG_GATHER, par->comm) != MPI_SUCCESS)
            return SD_FAIL(SD_E_ENV, "a message of %llu bytes to rank %d failed in MPI", (unsigned long long)bytes, to);
    return SD_OK;
}

sd_status sd_par_gather(const sd_par *par, const void *mine, uint64_t bytes, void *all, uint64_t all_bytes)
{
    uint64_t *sizes = NULL, total = 0;
    sd_status st;

    st = sd_par_agree(par, par->rank == 0 ? SD_NEW(&sizes, (uint64_t)par->size) : SD_OK);
    if (st != SD_OK)
        goto out;
    if (MPI_Gather(&bytes, 1, MPI_UINT64_T, sizes, 1, MPI_UINT64_T, 0, par->comm) != MPI_SUCCESS)
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
    uint64_t step = PIECE / size;

    for (uint64_t at = 0; at < count; at += step) {
        int piece = (int)(count - at < step ? count - at : step);

        if (MPI_Allreduce(MPI_IN_PLACE, (char *)values + at * size, piece, type, op, par->comm) != MPI_SUCCESS)
            return SD_FAIL(SD_E_ENV, "a reduction of %llu values failed in MPI", (unsigned long long)count);
    }
    return SD_OK;
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
    uint64_t through = 0, sum = mine;

    if (MPI_Scan(&mine, &through, 1, MPI_UINT64_T, MPI_SUM, par->comm) != MPI_SUCCESS)
        return SD_FAIL(SD_E_ENV, "a prefix sum failed in MPI");
    *before = through - mine;
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

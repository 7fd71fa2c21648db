#include "saediff/par/deal.h"

#include <string.h>

#include "saediff/core/mem.h"

enum { PIECE = 1 << 28, TAG = 7102 };

/* The piece of `bytes` that begins at `at`. */
static int piece_of(uint64_t bytes, uint64_t at)
{
    return at >= bytes ? 0 : bytes - at < PIECE ? (int)(bytes - at) : PIECE;
}

/* Sends to one rank what another sends here, piece by piece; either may be nothing. */
static sd_status swap(const sd_par *par, const char *out, uint64_t out_bytes, int to, char *in, uint64_t in_bytes, int from)
{
    for (uint64_t at = 0; at < out_bytes || at < in_bytes; at += PIECE) {
        MPI_Request request[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
        int ok = MPI_SUCCESS, n;

        if ((n = piece_of(in_bytes, at)) > 0)
            ok = MPI_Irecv(in + at, n, MPI_BYTE, from, TAG, par->comm, &request[0]);
        if (ok == MPI_SUCCESS && (n = piece_of(out_bytes, at)) > 0)
            ok = MPI_Isend(out + at, n, MPI_BYTE, to, TAG, par->comm, &request[1]);
        if (ok != MPI_SUCCESS || MPI_Waitall(2, request, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            return SD_FAIL(SD_E_ENV, "a message of %llu bytes to rank %d failed in MPI", (unsigned long long)out_bytes, to);
    }
    return SD_OK;
}

sd_status sd_par_deal(const sd_par *par, const void *mine, int sources, const sd_span *slice, void *received)
{
    uint64_t own = slice[par->rank].count;
    const char *vector = mine;
    char *in = received;
    sd_status st = SD_OK;

    if (par->rank < sources && own > 0)
        memcpy(in + (uint64_t)par->rank * own, vector + slice[par->rank].first, own);
    for (int shift = 1; shift < par->size; shift++) {
        int to = (par->rank + shift) % par->size, from = (par->rank + par->size - shift) % par->size;
        bool gives = par->rank < sources, gets = from < sources;

        SD_TRY(st, swap(par, gives ? vector + slice[to].first : NULL, gives ? slice[to].count : 0, to,
                        gets ? in + (uint64_t)from * own : NULL, gets ? own : 0, from));
    }
out:
    return st;
}

sd_status sd_par_collect(const sd_par *par, void *vector, const sd_span *slice)
{
    sd_status st = SD_OK;

    for (int r = 0; r < par->size; r++)
        SD_TRY(st, sd_par_bcast(par, (char *)vector + slice[r].first, slice[r].count, r));
out:
    return st;
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

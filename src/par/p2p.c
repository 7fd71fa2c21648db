#include "saediff/par/p2p.h"

#include <stdio.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "wait.h"

enum { TAG = 7102, NAMES = 256 };

typedef struct chunk {
    MPI_Request request;
    const void *message; /* where its message begins */
    int peer, bytes;
    bool arrives;
} chunk;

struct sd_p2p {
    const sd_par *par;
    MPI_Comm comm; /* its own, so that a chunk of an abandoned message is not taken for another */
    uint64_t most;
    chunk *chunks;
    uint64_t count, capacity;
    bool ended;
};

sd_status sd_p2p_open(sd_p2p **p2p, const sd_par *par, uint64_t most)
{
    sd_p2p *p = NULL;
    sd_status st;

    *p2p = NULL;
    SD_TRY(st, sd_par_agree(par, SD_NEW(&p, 1)));
    p->par = par;
    p->most = most;
    p->comm = MPI_COMM_NULL;
    if (MPI_Comm_dup(par->comm, &p->comm) != MPI_SUCCESS || MPI_Comm_set_errhandler(p->comm, MPI_ERRORS_RETURN) != MPI_SUCCESS)
        st = SD_FAIL(SD_E_ENV, "a communicator for messages between the ranks failed in MPI");
    SD_TRY(st, sd_par_agree(par, st));
    *p2p = p;
    p = NULL;
out:
    sd_p2p_close(&p);
    return st;
}

/* A request that is given up keeps its communicator, and its memory, alive inside MPI. */
static void abandon(sd_p2p *p)
{
    for (uint64_t i = 0; i < p->count; i++) {
        if (p->chunks[i].arrives)
            (void)MPI_Cancel(&p->chunks[i].request);
        (void)MPI_Request_free(&p->chunks[i].request);
    }
    p->ended = true;
}

void sd_p2p_close(sd_p2p **p2p)
{
    sd_p2p *p = *p2p;

    if (p == NULL)
        return;
    if (!p->ended)
        abandon(p);
    if (p->comm != MPI_COMM_NULL && p->count == 0)
        (void)MPI_Comm_free(&p->comm);
    sd_free(p->chunks);
    sd_free(p);
    *p2p = NULL;
}

bool sd_p2p_busy(const sd_p2p *p)
{
    return p->count > 0;
}

sd_status sd_p2p_reserve(sd_p2p *p, uint64_t messages, uint64_t bytes)
{
    uint64_t need = p->count + messages + bytes / p->most; /* each message has at most one chunk that is not full */
    chunk *larger;
    sd_status st;

    if (need <= p->capacity)
        return SD_OK;
    SD_TRY(st, SD_NEW(&larger, need));
    for (uint64_t i = 0; i < p->count; i++)
        larger[i] = p->chunks[i];
    sd_free(p->chunks);
    p->chunks = larger;
    p->capacity = need;
out:
    return st;
}

static sd_status begin(sd_p2p *p, char *data, uint64_t bytes, int peer, bool arrives)
{
    sd_status st;

    if (p->ended)
        return SD_FAIL(SD_E_INTERNAL, "a message between ranks %d and %d after a failed one", p->par->rank, peer);
    SD_TRY(st, sd_p2p_reserve(p, 1, bytes));
    for (uint64_t at = 0; at < bytes; at += p->most) {
        chunk *next = &p->chunks[p->count];
        int n = (int)(bytes - at < p->most ? bytes - at : p->most), failed;

        *next = (chunk){.message = data, .peer = peer, .bytes = n, .arrives = arrives};
        failed = arrives ? MPI_Irecv(data + at, n, MPI_BYTE, peer, TAG, p->comm, &next->request)
                         : MPI_Isend(data + at, n, MPI_BYTE, peer, TAG, p->comm, &next->request);
        if (failed != MPI_SUCCESS) {
            abandon(p);
            return SD_FAIL(SD_E_ENV, "a message of %llu bytes between ranks %d and %d failed in MPI", (unsigned long long)bytes, p->par->rank, peer);
        }
        p->count++;
    }
out:
    return st;
}

sd_status sd_p2p_expect(sd_p2p *p, void *data, uint64_t bytes, int from)
{
    return begin(p, data, bytes, from, true);
}

sd_status sd_p2p_send(sd_p2p *p, const void *data, uint64_t bytes, int to)
{
    return begin(p, (char *)(uintptr_t)data, bytes, to, false);
}

void sd_p2p_refuse(sd_p2p *p, int to)
{
    MPI_Request request;

    if (MPI_Isend(NULL, 0, MPI_BYTE, to, TAG, p->comm, &request) == MPI_SUCCESS)
        (void)MPI_Request_free(&request);
}

/* Of a chunk that is complete. */
static sd_status check(const sd_p2p *p, const chunk *of, int failed, const MPI_Status *status)
{
    int class = MPI_SUCCESS, got = of->bytes;

    if (failed != MPI_SUCCESS)
        (void)MPI_Error_class(failed, &class);
    if (class == MPI_ERR_TRUNCATE)
        return SD_FAIL(SD_E_INTERNAL, "rank %d sent more than the %d bytes that rank %d expects", of->peer, of->bytes, p->par->rank);
    if (failed != MPI_SUCCESS)
        return SD_FAIL(SD_E_ENV, "a message of %d bytes between ranks %d and %d failed in MPI", of->bytes, p->par->rank, of->peer);
    if (of->arrives)
        (void)MPI_Get_count(status, MPI_BYTE, &got);
    if (got == of->bytes)
        return SD_OK;
    if (got == 0)
        return SD_FAIL(SD_E_ENV, "rank %d failed before it could send what rank %d expects", of->peer, p->par->rank);
    return SD_FAIL(SD_E_INTERNAL, "rank %d sent %d bytes where rank %d expects %d", of->peer, got, p->par->rank, of->bytes);
}

/* Which messages a wait is for. */
typedef struct filter {
    bool arrivals;
    const void *message; /* NULL: any */
} filter;

static bool meant(const filter *f, const chunk *c)
{
    return (c->arrives || !f->arrivals) && (f->message == NULL || f->message == c->message);
}

/* Drops chunks that are complete; `waits`: some that the wait is for are not. */
static sd_status test_all(sd_p2p *p, const filter *f, bool *waits)
{
    uint64_t kept = 0, i = 0;
    sd_status st = SD_OK;

    *waits = false;
    for (; i < p->count && st == SD_OK; i++) {
        chunk *one = &p->chunks[i];
        MPI_Status status;
        int complete = 0, failed = MPI_Test(&one->request, &complete, &status);

        if (failed == MPI_SUCCESS && !complete) {
            *waits = *waits || meant(f, one);
            p->chunks[kept++] = *one;
        } else {
            st = check(p, one, failed, &status);
        }
    }
    for (; i < p->count; i++)
        p->chunks[kept++] = p->chunks[i];
    p->count = kept;
    return st;
}

/* Names the ranks, the lowest first. */
static sd_status late(const sd_p2p *p, const filter *f, double seconds)
{
    char names[NAMES] = "";
    int n = 0, at = 0;

    for (int r = 0; r < p->par->size; r++) {
        bool owes = false;

        for (uint64_t i = 0; i < p->count; i++)
            owes = owes || (p->chunks[i].peer == r && meant(f, &p->chunks[i]));
        if (owes && at < NAMES - 16)
            at += snprintf(names + at, sizeof names - (size_t)at, "%s%d", n++ > 0 ? ", " : "", r);
    }
    return SD_FAIL(SD_E_ENV, "rank %d waited %g s for rank%s %s; a rank has died or hangs, or its work takes longer than that",
                   p->par->rank, seconds, n > 1 ? "s" : "", names);
}

/* seconds < 0: tests once. */
static sd_status wait_for(sd_p2p *p, const filter *f, double seconds)
{
    double until = sd_now() + seconds;
    par_pause pause = {0};
    sd_status st;

    if (p->ended)
        return SD_FAIL(SD_E_INTERNAL, "rank %d waits for messages after a failed one", p->par->rank);
    for (;;) {
        bool waits;

        st = test_all(p, f, &waits);
        if (st == SD_OK && (!waits || seconds < 0))
            return SD_OK;
        if (st == SD_OK && sd_now() > until)
            st = late(p, f, seconds);
        if (st != SD_OK)
            break;
        par_pause_next(&pause);
    }
    abandon(p);
    return st;
}

sd_status sd_p2p_wait(sd_p2p *p, bool arrivals, double seconds)
{
    return wait_for(p, &(filter){.arrivals = arrivals}, seconds);
}

sd_status sd_p2p_wait_at(sd_p2p *p, const void *data, double seconds)
{
    return wait_for(p, &(filter){.message = data}, seconds);
}

sd_status sd_p2p_advance(sd_p2p *p)
{
    return wait_for(p, &(filter){0}, -1);
}

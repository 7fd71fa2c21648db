#include "saediff/par/post.h"

#include <sched.h>
#include <stdio.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"

enum { TAG = 7102, NAMES = 256 };

typedef struct piece {
    MPI_Request request;
    int peer, bytes;
    bool arrives;
} piece;

struct sd_post {
    const sd_par *par;
    MPI_Comm comm; /* its own, so that nothing of an abandoned message is taken for another */
    uint64_t most;
    piece *pieces;
    uint64_t count, room;
    bool ended;
};

sd_status sd_post_open(sd_post **post, const sd_par *par, uint64_t most)
{
    sd_post *p = NULL;
    sd_status st;

    *post = NULL;
    SD_TRY(st, sd_par_agree(par, SD_NEW(&p, 1)));
    p->par = par;
    p->most = most;
    p->comm = MPI_COMM_NULL;
    if (MPI_Comm_dup(par->comm, &p->comm) != MPI_SUCCESS || MPI_Comm_set_errhandler(p->comm, MPI_ERRORS_RETURN) != MPI_SUCCESS)
        st = SD_FAIL(SD_E_ENV, "a communicator for messages between the ranks failed in MPI");
    SD_TRY(st, sd_par_agree(par, st));
    *post = p;
    p = NULL;
out:
    sd_post_close(&p);
    return st;
}

/* A request that is given up keeps its communicator, and its memory, alive inside MPI. */
static void abandon(sd_post *p)
{
    for (uint64_t i = 0; i < p->count; i++) {
        if (p->pieces[i].arrives)
            (void)MPI_Cancel(&p->pieces[i].request);
        (void)MPI_Request_free(&p->pieces[i].request);
    }
    p->ended = true;
}

void sd_post_close(sd_post **post)
{
    sd_post *p = *post;

    if (p == NULL)
        return;
    if (!p->ended)
        abandon(p);
    if (p->comm != MPI_COMM_NULL && p->count == 0)
        (void)MPI_Comm_free(&p->comm);
    sd_free(p->pieces);
    sd_free(p);
    *post = NULL;
}

bool sd_post_busy(const sd_post *p)
{
    return p->count > 0;
}

sd_status sd_post_reserve(sd_post *p, uint64_t messages, uint64_t bytes)
{
    uint64_t need = p->count + messages + bytes / p->most; /* each message has at most one piece that is not full */
    piece *larger;
    sd_status st;

    if (need <= p->room)
        return SD_OK;
    SD_TRY(st, SD_NEW(&larger, need));
    for (uint64_t i = 0; i < p->count; i++)
        larger[i] = p->pieces[i];
    sd_free(p->pieces);
    p->pieces = larger;
    p->room = need;
out:
    return st;
}

static sd_status begin(sd_post *p, char *data, uint64_t bytes, int peer, bool arrives)
{
    sd_status st;

    if (p->ended)
        return SD_FAIL(SD_E_INTERNAL, "a message between ranks %d and %d after a failed one", p->par->rank, peer);
    SD_TRY(st, sd_post_reserve(p, 1, bytes));
    for (uint64_t at = 0; at < bytes; at += p->most) {
        piece *next = &p->pieces[p->count];
        int n = (int)(bytes - at < p->most ? bytes - at : p->most), failed;

        *next = (piece){.peer = peer, .bytes = n, .arrives = arrives};
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

sd_status sd_post_expect(sd_post *p, void *data, uint64_t bytes, int from)
{
    return begin(p, data, bytes, from, true);
}

sd_status sd_post_send(sd_post *p, const void *data, uint64_t bytes, int to)
{
    return begin(p, (char *)(uintptr_t)data, bytes, to, false);
}

void sd_post_refuse(sd_post *p, int to)
{
    MPI_Request request;

    if (MPI_Isend(NULL, 0, MPI_BYTE, to, TAG, p->comm, &request) == MPI_SUCCESS)
        (void)MPI_Request_free(&request);
}

/* Of a piece that is through. */
static sd_status check(const sd_post *p, const piece *of, int failed, const MPI_Status *status)
{
    int class = MPI_SUCCESS, got = of->bytes;

    if (failed != MPI_SUCCESS)
        (void)MPI_Error_class(failed, &class);
    if (class == MPI_ERR_TRUNCATE)
        return SD_FAIL(SD_E_INTERNAL, "rank %d sent more than the %d bytes that rank %d awaits", of->peer, of->bytes, p->par->rank);
    if (failed != MPI_SUCCESS)
        return SD_FAIL(SD_E_ENV, "a message of %d bytes between ranks %d and %d failed in MPI", of->bytes, p->par->rank, of->peer);
    if (of->arrives)
        (void)MPI_Get_count(status, MPI_BYTE, &got);
    if (got == of->bytes)
        return SD_OK;
    if (got == 0)
        return SD_FAIL(SD_E_ENV, "rank %d failed before it could send what rank %d awaits", of->peer, p->par->rank);
    return SD_FAIL(SD_E_INTERNAL, "rank %d sent %d bytes where rank %d awaits %d", of->peer, got, p->par->rank, of->bytes);
}

/* Drops pieces that are through; `waits`: some of those waited for are not. */
static sd_status look(sd_post *p, bool arrivals, bool *waits)
{
    uint64_t kept = 0, i = 0;
    sd_status st = SD_OK;

    *waits = false;
    for (; i < p->count && st == SD_OK; i++) {
        piece *one = &p->pieces[i];
        MPI_Status status;
        int through = 0, failed = MPI_Test(&one->request, &through, &status);

        if (failed == MPI_SUCCESS && !through) {
            *waits = *waits || one->arrives || !arrivals;
            p->pieces[kept++] = *one;
        } else {
            st = check(p, one, failed, &status);
        }
    }
    for (; i < p->count; i++)
        p->pieces[kept++] = p->pieces[i];
    p->count = kept;
    return st;
}

/* Names the ranks, the lowest first. */
static sd_status late(const sd_post *p, bool arrivals, double seconds)
{
    char names[NAMES] = "";
    int n = 0, at = 0;

    for (int r = 0; r < p->par->size; r++) {
        bool owes = false;

        for (uint64_t i = 0; i < p->count; i++)
            owes = owes || (p->pieces[i].peer == r && (p->pieces[i].arrives || !arrivals));
        if (owes && at < NAMES - 16)
            at += snprintf(names + at, sizeof names - (size_t)at, "%s%d", n++ > 0 ? ", " : "", r);
    }
    return SD_FAIL(SD_E_ENV, "rank %d waited %g s in vain for rank%s %s; a rank has died or hangs, or needs longer than that for its share",
                   p->par->rank, seconds, n > 1 ? "s" : "", names);
}

sd_status sd_post_wait(sd_post *p, bool arrivals, double seconds)
{
    double until = sd_now() + seconds;
    sd_status st;

    if (p->ended)
        return SD_FAIL(SD_E_INTERNAL, "a wait for messages of rank %d after a failed one", p->par->rank);
    for (;;) {
        bool waits;

        st = look(p, arrivals, &waits);
        if (st == SD_OK && !waits)
            return SD_OK;
        if (st == SD_OK && sd_now() > until)
            st = late(p, arrivals, seconds);
        if (st != SD_OK)
            break;
        sched_yield();
    }
    abandon(p);
    return st;
}

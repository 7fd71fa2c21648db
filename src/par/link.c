/* A letter is its length, and then its pieces, one message each. */
#include "saediff/par/link.h"

#include "saediff/core/mem.h"

enum { PIECE = 1 << 28, TAG = 7103, SHEETS = 2 };

typedef struct sheet {
    char *text;            /* [room] */
    uint64_t bytes;        /* of the letter under way */
    MPI_Request *requests; /* [pieces + 1] */
    int count;             /* of them in use */
} sheet;

struct sd_link {
    const sd_par *par;
    int other;
    uint64_t room;
    sheet sheets[SHEETS]; /* the end that reads has the first only */
    int next;
};

static _Noreturn void give_up(const sd_link *l, const char *what)
{
    sd_par_abort(l->par, SD_FAIL(SD_E_ENV, "a letter %s rank %d failed in MPI", what, l->other));
}

static int piece_of(uint64_t left)
{
    return left < PIECE ? (int)left : PIECE;
}

sd_status sd_link_open(sd_link **link, const sd_par *par, int other, sd_link_end end, uint64_t room)
{
    sd_link *l = NULL;
    sd_status st;

    *link = NULL;
    SD_TRY(st, SD_NEW(&l, 1));
    l->par = par;
    l->other = other;
    l->room = room;
    for (int i = 0; i < (end == SD_LINK_WRITES ? SHEETS : 1); i++) {
        SD_TRY(st, SD_NEW(&l->sheets[i].text, room));
        SD_TRY(st, SD_NEW(&l->sheets[i].requests, room / PIECE + 2));
    }
    *link = l;
    l = NULL;
out:
    sd_link_close(&l);
    return st;
}

void sd_link_close(sd_link **link)
{
    sd_link *l = *link;

    if (l == NULL)
        return;
    for (int i = 0; i < SHEETS; i++) {
        sd_free(l->sheets[i].text);
        sd_free(l->sheets[i].requests);
    }
    sd_free(l);
    *link = NULL;
}

static void wait_for(sd_link *l, sheet *s)
{
    if (s->count > 0 && MPI_Waitall(s->count, s->requests, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
        give_up(l, "to");
    s->count = 0;
}

void *sd_link_sheet(sd_link *l)
{
    wait_for(l, &l->sheets[l->next]);
    return l->sheets[l->next].text;
}

void sd_link_send(sd_link *l, uint64_t bytes)
{
    sheet *s = &l->sheets[l->next];

    s->bytes = bytes;
    if (MPI_Isend(&s->bytes, 1, MPI_UINT64_T, l->other, TAG, l->par->comm, &s->requests[s->count++]) != MPI_SUCCESS)
        give_up(l, "to");
    for (uint64_t at = 0; at < bytes; at += PIECE)
        if (MPI_Isend(s->text + at, piece_of(bytes - at), MPI_BYTE, l->other, TAG, l->par->comm, &s->requests[s->count++]) != MPI_SUCCESS)
            give_up(l, "to");
    l->next = (l->next + 1) % SHEETS;
}

void sd_link_poke(sd_link *l)
{
    for (int i = 0; i < SHEETS; i++) {
        sheet *s = &l->sheets[i];
        int done = 0;

        if (s->count > 0 && MPI_Testall(s->count, s->requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            give_up(l, "to");
        if (done)
            s->count = 0;
    }
}

void sd_link_wait(sd_link *l)
{
    for (int i = 0; i < SHEETS; i++)
        wait_for(l, &l->sheets[i]);
}

const void *sd_link_take(sd_link *l, uint64_t *bytes)
{
    char *text = l->sheets[0].text;
    uint64_t count = 0;

    if (MPI_Recv(&count, 1, MPI_UINT64_T, l->other, TAG, l->par->comm, MPI_STATUS_IGNORE) != MPI_SUCCESS)
        give_up(l, "from");
    if (count > l->room)
        sd_par_abort(l->par, SD_FAIL(SD_E_INTERNAL, "a letter of %llu bytes from rank %d; there is room for %llu", (unsigned long long)count,
                                     l->other, (unsigned long long)l->room));
    for (uint64_t at = 0; at < count; at += PIECE)
        if (MPI_Recv(text + at, piece_of(count - at), MPI_BYTE, l->other, TAG, l->par->comm, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            give_up(l, "from");
    *bytes = count;
    return text;
}

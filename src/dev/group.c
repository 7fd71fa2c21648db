/* Choice of the communication backend, and the exchange. */
#include "group.h"

#include <stdio.h>
#include <string.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"

typedef unsigned long long ull;

enum { NAMES = 96 };

/* ---- opening */

/* Collective. Gathers each rank's text of `width` bytes to all ranks. */
static sd_status gather(const sd_par *par, const char *mine, size_t width, char *all)
{
    uint64_t bytes = (uint64_t)par->size * width;
    sd_status st;

    SD_TRY(st, sd_par_gather(par, mine, width, par->rank == 0 ? all : NULL, par->rank == 0 ? bytes : 0));
    st = sd_par_bcast(par, all, bytes, 0);
out:
    return st;
}

sd_status sd_dev_count_sharers(sd_dev *dev, const sd_par *par)
{
    char *all = NULL;
    sd_status st;

    SD_TRY(st, sd_par_agree(par, sd_alloc_bytes((void **)&all, (uint64_t)par->size, SD_HARDWARE)));
    SD_TRY(st, gather(par, dev->hardware, SD_HARDWARE, all));
    dev->sharers = 0;
    for (int r = 0; r < par->size; r++)
        dev->sharers += strcmp(all + (size_t)r * SD_HARDWARE, dev->hardware) == 0;
out:
    sd_free(all);
    return st;
}

/* "0, 2 and 5": the ranks from `first` on whose text is that of `first`; returns how many. */
static int sharers(char names[NAMES], const char *all, int first, int size)
{
    const char *text = all + (size_t)first * SD_HARDWARE;
    int last = first, n = 1, at;

    for (int r = first + 1; r < size; r++)
        if (strcmp(all + (size_t)r * SD_HARDWARE, text) == 0) {
            last = r;
            n++;
        }
    at = snprintf(names, NAMES, "%d", first);
    for (int r = first + 1; r < last && at < NAMES - 24; r++)
        if (strcmp(all + (size_t)r * SD_HARDWARE, text) == 0)
            at += snprintf(names + at, NAMES - (size_t)at, ", %d", r);
    snprintf(names + at, NAMES - (size_t)at, " and %d", last);
    return n;
}

/* Pure, equal on all ranks. Whether the hardware requires exchange through host memory, and the reason. */
static bool all_differ(sd_group *g, const char *all)
{
    static const char through[] = "through host memory: ";
    int size = g->par->size, bare = 0, first_bare = size;
    char names[NAMES];

    for (int r = size; r-- > 0;)
        if (all[(size_t)r * SD_HARDWARE] == '\0') {
            bare++;
            first_bare = r;
        }
    if (bare == size)
        snprintf(g->describe, sizeof g->describe, "%s%s", through, g->dev->backend->name);
    else if (bare > 0)
        snprintf(g->describe, sizeof g->describe, "%srank %d has no GPU", through, first_bare);
    if (bare > 0)
        return false;
    for (int r = 0; r < size; r++)
        if (sharers(names, all, r, size) > 1) {
            snprintf(g->describe, sizeof g->describe, "%sranks %s share %s", through, names, all + (size_t)r * SD_HARDWARE);
            return false;
        }
    return true;
}

/* Local. Loads the backend; `lacks` becomes the reason why it is not available, or "". */
static void load(sd_group *g, char name[SD_GROUP_BACKEND_TEXT], char lacks[SD_ERROR_TEXT])
{
    const sd_group_backend *backend = g->dev->backend->group;

    lacks[0] = '\0';
    if (backend == NULL || backend->join == NULL)
        snprintf(lacks, SD_ERROR_TEXT, "the module was built without NCCL");
    else if (backend->load(name) != SD_OK)
        snprintf(lacks, SD_ERROR_TEXT, "%s", sd_last_error());
    else
        g->backend = backend;
}

/* Collective, with a loaded backend. */
static sd_status join(sd_group *g, const char *name)
{
    char unique_id[SD_UNIQUE_ID] = "";
    sd_status st;

    st = sd_dev_release(g->dev); /* NCCL allocates memory of its own; freed buffers would keep it */
    if (st == SD_OK && g->par->rank == 0)
        st = g->backend->unique_id(unique_id);
    SD_TRY(st, sd_par_agree(g->par, st));
    SD_TRY(st, sd_par_bcast(g->par, unique_id, sizeof unique_id, 0));
    SD_TRY(st, sd_par_agree(g->par, g->backend->join(g->dev, unique_id, g->par->rank, g->par->size, g->deadline)));
    snprintf(g->describe, sizeof g->describe, "%s, %d GPU%s", name, g->par->size, g->par->size > 1 ? "s" : "");
out:
    return st;
}

/* Collective. */
static sd_status choose(sd_group *g, char *all)
{
    char name[SD_GROUP_BACKEND_TEXT] = "", lacks[SD_ERROR_TEXT];
    uint64_t lacking;
    sd_status st;

    SD_TRY(st, gather(g->par, g->dev->hardware, SD_HARDWARE, all));
    if (!all_differ(g, all))
        goto out;
    load(g, name, lacks);
    lacking = lacks[0] != '\0' ? (uint64_t)(g->par->size - g->par->rank) : 0; /* the lowest rank that lacks it counts most */
    SD_TRY(st, sd_par_max_u64(g->par, &lacking, 1));
    if (lacking > 0) {
        int who = g->par->size - (int)lacking;

        SD_TRY(st, sd_par_bcast(g->par, lacks, sizeof lacks, who));
        snprintf(g->describe, sizeof g->describe, "through host memory: rank %d: %.256s", who, lacks);
        g->backend = NULL;
        goto out;
    }
    st = join(g, name);
out:
    return st;
}

sd_status sd_group_open(sd_group **group, const sd_par *par, sd_dev *dev, double deadline)
{
    sd_group *g = NULL;
    char *all = NULL;
    sd_status st;

    *group = NULL;
    st = SD_NEW(&g, 1);
    if (st == SD_OK) {
        *g = (sd_group){.par = par, .dev = dev, .deadline = deadline, .describe = "one rank"};
        st = SD_NEW(&g->list, 2 * (uint64_t)par->size);
    }
    if (st == SD_OK)
        st = sd_alloc_bytes((void **)&all, (uint64_t)par->size, SD_HARDWARE);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_p2p_open(&g->p2p, par, SD_P2P_CHUNK));
    if (par->size > 1)
        SD_TRY(st, choose(g, all));
    *group = g;
    g = NULL;
out:
    if (g != NULL)
        g->broken = true;
    sd_group_close(&g);
    sd_free(all);
    return st;
}

void sd_group_close(sd_group **group)
{
    sd_group *g = *group;

    if (g == NULL)
        return;
    if (g->p2p != NULL && sd_p2p_busy(g->p2p) && !g->broken && sd_p2p_wait(g->p2p, false, g->deadline) != SD_OK)
        sd_error("closing a group of devices: %s", sd_last_error());
    if (g->backend != NULL)
        g->backend->leave(g->dev, !g->broken);
    /* If another rank may still read it, the memory is kept until the process ends. */
    if (g->p2p == NULL || !sd_p2p_busy(g->p2p)) {
        sd_free(g->going.data);
        sd_free(g->coming.data);
    }
    sd_p2p_close(&g->p2p);
    sd_buf_destroy(&g->parts);
    sd_free(g->list);
    sd_free(g);
    *group = NULL;
}

const char *sd_group_describe(const sd_group *g)
{
    return g->describe;
}

/* ---- checks */

static uint64_t bytes_of(const sd_transfer *p)
{
    return p->what.rows * p->what.cols * sd_dtype_size(p->what.buf->type);
}

static sd_status check_one(const sd_group *g, const sd_transfer *transfers, uint64_t i)
{
    char name[32];
    sd_status st;

    snprintf(name, sizeof name, "transfer %llu", (ull)i);
    SD_TRY(st, sd_front_any(g->dev, "exchange", name, transfers[i].what));
    if (transfers[i].peer < 0 || transfers[i].peer >= g->par->size) {
        st = SD_FAIL(SD_E_INTERNAL, "exchange: %s is for rank %d of %d", name, transfers[i].peer, g->par->size);
        goto out;
    }
    for (uint64_t j = 0; j < i; j++) {
        char other[32];

        if (!transfers[i].arrives && !transfers[j].arrives)
            continue;
        snprintf(other, sizeof other, "transfer %llu", (ull)j);
        SD_TRY(st, sd_front_disjoint("exchange", name, transfers[i].what, other, transfers[j].what, false));
    }
out:
    return st;
}

/* The next transfer from `at` on that this rank sends to itself, or receives from itself. */
static uint64_t next_own(const sd_group *g, const sd_transfer *transfers, uint64_t count, uint64_t at, bool arrives)
{
    while (at < count && (transfers[at].peer != g->par->rank || transfers[at].arrives != arrives || bytes_of(&transfers[at]) == 0))
        at++;
    return at;
}

/* Transfers of a rank to itself must match: no other rank would report a mismatch. */
static sd_status check_own(const sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    uint64_t out = next_own(g, transfers, count, 0, false), in = next_own(g, transfers, count, 0, true);

    while (out < count && in < count && bytes_of(&transfers[out]) == bytes_of(&transfers[in])) {
        out = next_own(g, transfers, count, out + 1, false);
        in = next_own(g, transfers, count, in + 1, true);
    }
    if (out < count || in < count)
        return SD_FAIL(SD_E_INTERNAL, "exchange: rank %d sends to itself other data than it receives from itself (transfer %llu)", g->par->rank,
                       (ull)(out < count ? out : in));
    return SD_OK;
}

static sd_status check(const sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < count; i++)
        SD_TRY(st, check_one(g, transfers, i));
    st = check_own(g, transfers, count);
out:
    return st;
}

/* ---- through host memory */

/* The address that a transfer can use without staging: contiguous rows on a device whose memory is host memory. */
static char *straight(const sd_group *g, const sd_transfer *p)
{
    if (!g->dev->backend->wraps || (p->what.rows > 1 && p->what.stride != p->what.cols))
        return NULL;
    return (char *)p->what.buf->data + p->what.offset * sd_dtype_size(p->what.buf->type);
}

/* An array that is sent to several ranks is staged once. */
static bool again(const sd_transfer *transfers, uint64_t i)
{
    const sd_mat *a, *b;

    if (i == 0 || transfers[i].arrives || transfers[i - 1].arrives)
        return false;
    a = &transfers[i].what;
    b = &transfers[i - 1].what;
    return a->buf == b->buf && a->offset == b->offset && a->rows == b->rows && a->cols == b->cols && a->stride == b->stride;
}

/* Size in the staging memory, which is aligned to 64 bytes. */
static uint64_t staged_size(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static sd_status grow(group_stage *s, uint64_t bytes)
{
    sd_status st;

    if (bytes <= s->bytes)
        return SD_OK;
    sd_free(s->data);
    *s = (group_stage){0};
    SD_TRY(st, sd_alloc_bytes(&s->data, bytes, 1));
    s->bytes = bytes;
out:
    return st;
}

static sd_status prepare_staged(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    uint64_t going = 0, coming = 0, all = 0;
    sd_status st;

    SD_TRY(st, sd_p2p_wait(g->p2p, false, g->deadline)); /* sends of earlier exchanges */
    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes = bytes_of(&transfers[i]);

        all += bytes;
        if (straight(g, &transfers[i]) != NULL || again(transfers, i))
            continue;
        if (transfers[i].arrives)
            coming += staged_size(bytes);
        else
            going += staged_size(bytes);
    }
    SD_TRY(st, sd_p2p_reserve(g->p2p, count, all));
    SD_TRY(st, grow(&g->going, going));
    st = grow(&g->coming, coming);
out:
    return st;
}

static sd_status expect(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    char *next = g->coming.data;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < count; i++) {
        char *to = straight(g, &transfers[i]);
        uint64_t bytes = bytes_of(&transfers[i]);

        if (!transfers[i].arrives || bytes == 0)
            continue;
        SD_TRY(st, sd_p2p_expect(g->p2p, to != NULL ? to : next, bytes, transfers[i].peer));
        if (to == NULL)
            next += staged_size(bytes);
    }
out:
    return st;
}

/* A rank that fails here informs those that wait for its remaining sends. */
static sd_status send(sd_group *g, const sd_transfer *transfers, uint64_t count, bool *lent)
{
    char *next = g->going.data, *last = NULL;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes = bytes_of(&transfers[i]);
        char *from = straight(g, &transfers[i]);

        if (transfers[i].arrives || bytes == 0)
            continue;
        *lent = *lent || from != NULL;
        if (from == NULL && again(transfers, i) && last != NULL) {
            from = last;
        } else if (from == NULL) {
            if (st == SD_OK)
                st = sd_dev_download(g->dev, transfers[i].what, next);
            from = next;
            next += staged_size(bytes);
        }
        last = from;
        if (st == SD_OK)
            st = sd_p2p_send(g->p2p, from, bytes, transfers[i].peer);
        else
            sd_p2p_refuse(g->p2p, transfers[i].peer);
    }
    return st;
}

static sd_status unpack(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    const char *next = g->coming.data;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes = bytes_of(&transfers[i]);

        if (!transfers[i].arrives || bytes == 0 || straight(g, &transfers[i]) != NULL)
            continue;
        SD_TRY(st, sd_dev_upload(g->dev, next, transfers[i].what));
        next += staged_size(bytes);
    }
out:
    return st;
}

static sd_status go_staged(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    bool lent = false; /* the device's own memory is being sent */
    sd_status st, sent;

    st = expect(g, transfers, count);
    sent = send(g, transfers, count, &lent);
    SD_TRY(st, st != SD_OK ? st : sent);
    SD_TRY(st, sd_p2p_wait(g->p2p, !lent, g->deadline));
    st = unpack(g, transfers, count);
out:
    return st;
}

/* Fails before anything is sent. */
static void refuse(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!transfers[i].arrives && bytes_of(&transfers[i]) > 0)
            sd_p2p_refuse(g->p2p, transfers[i].peer);
}

/* ---- the exchange */

static sd_status whole(const sd_group *g)
{
    return g->broken ? SD_FAIL(SD_E_ENV, "communication between the ranks' devices has ended: an earlier exchange of rank %d failed", g->par->rank) : SD_OK;
}

sd_status group_prepare(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    sd_status st;

    SD_TRY(st, whole(g));
    SD_TRY(st, check(g, transfers, count));
    if (g->backend == NULL)
        st = prepare_staged(g, transfers, count);
out:
    return st;
}

/* A single rank needs its backend only for transfers to itself. */
static sd_status join_alone(sd_group *g)
{
    char name[SD_GROUP_BACKEND_TEXT] = "", lacks[SD_ERROR_TEXT];

    if (g->par->size > 1 || g->asked || g->dev->hardware[0] == '\0')
        return SD_OK;
    g->asked = true;
    load(g, name, lacks);
    if (lacks[0] == '\0')
        return join(g, name);
    snprintf(g->describe, sizeof g->describe, "through host memory: %.256s", lacks);
    return SD_OK;
}

sd_status sd_group_exchange(sd_group *g, const sd_transfer *transfers, uint64_t count)
{
    sd_status st;

    SD_TRY(st, whole(g));
    SD_TRY(st, check(g, transfers, count));
    SD_TRY(st, join_alone(g));
    if (g->backend != NULL) {
        st = g->backend->exchange(g->dev, transfers, count);
    } else {
        st = prepare_staged(g, transfers, count);
        if (st == SD_OK)
            st = go_staged(g, transfers, count);
        else
            refuse(g, transfers, count);
    }
    g->broken = st != SD_OK;
out:
    return st;
}

sd_status sd_group_wait(sd_group *g)
{
    sd_status st;

    SD_TRY(st, whole(g));
    st = sd_dev_wait(g->dev);
    if (st == SD_OK)
        st = sd_p2p_wait(g->p2p, false, g->deadline);
    g->broken = st != SD_OK;
out:
    return st;
}

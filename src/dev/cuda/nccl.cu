/* The wire between GPUs of several ranks: NCCL, loaded when it is first wanted.
 *
 * The communicator never blocks: whatever may take long is asked for again and again until it is through or the deadline has passed. */
#include <dlfcn.h>
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "cuda.h"

extern "C" {
#include "saediff/core/log.h"
}

static_assert(sizeof(ncclUniqueId) <= SD_TICKET, "a ticket holds NCCL's identifier");

enum { ABORT_SECONDS = 10, CLOSE_SECONDS = 60, TEXT = 256 };

static const char library[] = "libnccl.so.2";

#define CALLS(X)                                                                                             \
    X(ncclGetVersion)                                                                                        \
    X(ncclGetUniqueId)                                                                                       \
    X(ncclCommInitRankConfig)                                                                                \
    X(ncclCommGetAsyncError)                                                                                 \
    X(ncclCommFinalize)                                                                                      \
    X(ncclCommDestroy)                                                                                       \
    X(ncclCommAbort)                                                                                         \
    X(ncclGroupStart)                                                                                        \
    X(ncclGroupEnd)                                                                                          \
    X(ncclSend)                                                                                              \
    X(ncclRecv)                                                                                              \
    X(ncclGetErrorString)                                                                                    \
    X(ncclGetLastError)

#define SLOT(name) decltype(&::name) name;
static struct {
    CALLS(SLOT)
} nccl;

/* ---- the library */

static bool find(void *handle, const char *name, void *slot)
{
    void *symbol = dlsym(handle, name);

    memcpy(slot, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* It stays loaded. */
static sd_status load(char name[SD_WIRE_TEXT])
{
    static bool whole;
    int version = 0;

    if (!whole) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

        if (handle == NULL)
            return SD_FAIL(SD_E_ENV, "NCCL does not load: %s", dlerror());
        whole = true;
#define FIND(call) whole = whole && find(handle, #call, &nccl.call);
        CALLS(FIND)
        if (!whole)
            return SD_FAIL(SD_E_ENV, "%s is too old; NCCL 2.14 or later is needed", library);
    }
    if (nccl.ncclGetVersion(&version) != ncclSuccess)
        return SD_FAIL(SD_E_ENV, "%s does not say its version", library);
    snprintf(name, SD_WIRE_TEXT, "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    return SD_OK;
}

static sd_status ticket(char out[SD_TICKET])
{
    ncclUniqueId id;
    ncclResult_t result = nccl.ncclGetUniqueId(&id);

    if (result != ncclSuccess)
        return SD_FAIL(SD_E_ENV, "cuda: NCCL gives no identifier: %s (%s); NCCL_DEBUG=INFO tells more, NCCL_SOCKET_IFNAME names the network to use",
                       nccl.ncclGetErrorString(result), nccl.ncclGetLastError(NULL));
    memcpy(out, &id, sizeof id);
    return SD_OK;
}

/* ---- giving up */

static void *abort_comm(void *comm)
{
    (void)nccl.ncclCommAbort((ncclComm_t)comm);
    return NULL;
}

/* The kernels that wait for other ranks leave. NCCL's abort has been seen to hang, so it is left to itself after a while. */
static void give_up(sd_wire *w)
{
    struct timespec until;
    pthread_t thread;
    ncclComm_t comm = w->comm;

    w->comm = NULL;
    w->deadline = ABORT_SECONDS;
    if (comm == NULL || pthread_create(&thread, NULL, abort_comm, comm) != 0)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ABORT_SECONDS;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        (void)pthread_detach(thread);
}

/* What NCCL has to say is asked before it is told to abort. */
static sd_status fail(sd_wire *w, ncclResult_t result, const char *what)
{
    char word[TEXT], words[TEXT];

    snprintf(word, sizeof word, "%s", nccl.ncclGetErrorString(result));
    snprintf(words, sizeof words, "%s", nccl.ncclGetLastError(w->comm));
    give_up(w);
    return SD_FAIL(SD_E_ENV, "cuda: rank %d of %d, %s: NCCL says: %s%s%s%s; look at the other ranks' messages; NCCL_DEBUG=INFO tells more", w->rank,
                   w->size, what, word, words[0] ? " (" : "", words, words[0] ? ")" : "");
}

static sd_status fail_late(sd_wire *w, double seconds)
{
    char names[TEXT] = "";
    int n = 0, at = 0;

    for (int r = 0; r < w->size && r < 8 * (int)sizeof w->peers; r++)
        if ((w->peers[r / 8] >> (r % 8) & 1) != 0 && at < TEXT - 16)
            at += snprintf(names + at, sizeof names - (size_t)at, "%s%d", n++ > 0 ? ", " : "", r);
    give_up(w);
    return SD_FAIL(SD_E_ENV, "cuda: rank %d waited %g s in vain for %s%s; a rank has died or hangs, or needs longer than that for its share",
                   w->rank, seconds, n == 0 ? "the other ranks" : n > 1 ? "ranks " : "rank ", names);
}

/* ---- waiting */

static sd_status look(sd_cuda_state *s, bool late)
{
    sd_wire *w = &s->wire;
    ncclResult_t state = ncclSuccess, asked;

    if (w->comm == NULL)
        return late ? SD_FAIL(SD_E_ENV, "cuda: the GPU of rank %d does not end an exchange that was given up", w->rank) : SD_OK;
    asked = nccl.ncclCommGetAsyncError(w->comm, &state);
    if (asked != ncclSuccess)
        state = asked;
    if (state != ncclSuccess && state != ncclInProgress)
        return fail(w, state, "exchanging");
    return late ? fail_late(w, w->deadline) : SD_OK;
}

/* Until what was begun is through on the processor's side. */
static sd_status settle(sd_wire *w, ncclResult_t begun, const char *what)
{
    double until = sd_wire_now() + w->deadline;

    for (uint64_t turn = 0; begun == ncclInProgress || (begun == ncclSuccess && turn == 0); turn++) {
        ncclResult_t asked = nccl.ncclCommGetAsyncError(w->comm, &begun);

        if (asked != ncclSuccess)
            begun = asked;
        if (begun == ncclInProgress && sd_wire_now() > until)
            return fail_late(w, w->deadline);
        if (begun == ncclInProgress)
            sd_wire_pause(turn);
    }
    return begun == ncclSuccess ? SD_OK : fail(w, begun, what);
}

/* ---- the wire */

static sd_status join(sd_dev *dev, const char text[SD_TICKET], int rank, int size, double deadline)
{
    sd_wire *w = &sd_cuda(dev)->wire;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    ncclResult_t begun;

    if (w->look != NULL)
        return SD_FAIL(SD_E_INTERNAL, "cuda: a second group of ranks on one device");
    *w = sd_wire();
    w->look = look;
    w->rank = rank;
    w->size = size;
    w->deadline = deadline;
    memcpy(&id, text, sizeof id);
    config.blocking = 0;
    begun = nccl.ncclCommInitRankConfig(&w->comm, size, id, rank, &config);
    if (w->comm == NULL)
        return fail(w, begun == ncclInProgress || begun == ncclSuccess ? ncclInternalError : begun, "meeting the other ranks");
    return settle(w, begun, "meeting the other ranks");
}

/* Whether the stream is through with what was given up. If not, waits for this device keep their limit. */
static bool ends(const sd_cuda_state *s)
{
    double until = sd_wire_now() + s->wire.deadline;
    cudaError_t error;

    for (uint64_t turn = 0; (error = cudaStreamQuery(s->stream)) == cudaErrorNotReady && sd_wire_now() < until; turn++)
        sd_wire_pause(turn);
    (void)cudaGetLastError();
    return error != cudaErrorNotReady;
}

static void leave(sd_dev *dev, bool peace)
{
    sd_cuda_state *s = sd_cuda(dev);
    sd_wire *w = &s->wire;

    if (w->look != look)
        return;
    if (w->deadline > (double)CLOSE_SECONDS) /* all have voted before they close, so nobody has much left to do */
        w->deadline = CLOSE_SECONDS;
    if (w->comm != NULL && peace && sd_cuda_finish(s) == SD_OK &&
        settle(w, nccl.ncclCommFinalize(w->comm), "ending the wire of the ranks") == SD_OK) {
        (void)nccl.ncclCommDestroy(w->comm);
        w->comm = NULL;
    } else if (peace) {
        sd_error("the wire of rank %d did not end in peace", w->rank);
    }
    give_up(w);
    if (ends(s))
        *w = sd_wire();
}

/* ---- the exchange */

static uint64_t bytes_of(const sd_parcel *p)
{
    return p->what.rows * p->what.cols * sd_dtype_size(p->what.buf->type);
}

/* NCCL takes bytes that stand together; rows that do not go through the scratch memory. */
static uint64_t room_of(const sd_parcel *p)
{
    return p->what.rows > 1 && p->what.stride != p->what.cols ? (bytes_of(p) + 255) / 256 * 256 : 0;
}

/* Between a parcel's rows and its room. */
static sd_status pack(sd_dev *dev, const sd_parcel *p, char *room)
{
    uint64_t size = sd_dtype_size(p->what.buf->type), row = p->what.cols * size, apart = p->what.stride * size;
    char *at = (char *)p->what.buf->data + p->what.offset * size;

    if (p->arrives)
        SD_CUDA(cudaMemcpy2DAsync(at, apart, room, row, row, p->what.rows, cudaMemcpyDeviceToDevice, sd_cuda(dev)->stream), "exchange");
    else
        SD_CUDA(cudaMemcpy2DAsync(room, row, at, apart, row, p->what.rows, cudaMemcpyDeviceToDevice, sd_cuda(dev)->stream), "exchange");
    return SD_OK;
}

/* Those that go into their room, or those that arrive out of it. */
static sd_status pack_all(sd_dev *dev, const sd_parcel *parcels, uint64_t count, char *room, bool arrives)
{
    for (uint64_t i = 0; i < count; room += room_of(&parcels[i]), i++)
        if (parcels[i].arrives == arrives && room_of(&parcels[i]) > 0)
            SD_PASS(pack(dev, &parcels[i], room));
    return SD_OK;
}

/* All at once; the first failure, or what the end of the group says. */
static ncclResult_t queue(sd_dev *dev, const sd_parcel *parcels, uint64_t count, char *room)
{
    sd_cuda_state *s = sd_cuda(dev);
    ncclResult_t first = nccl.ncclGroupStart(), ended;

    if (first != ncclSuccess)
        return first;
    for (uint64_t i = 0; i < count && (first == ncclSuccess || first == ncclInProgress); room += room_of(&parcels[i]), i++) {
        const sd_parcel *p = &parcels[i];
        void *at = room_of(p) > 0 ? room : (char *)p->what.buf->data + p->what.offset * sd_dtype_size(p->what.buf->type);

        if (bytes_of(p) == 0)
            continue;
        first = p->arrives ? nccl.ncclRecv(at, bytes_of(p), ncclUint8, p->peer, s->wire.comm, s->stream)
                           : nccl.ncclSend(at, bytes_of(p), ncclUint8, p->peer, s->wire.comm, s->stream);
    }
    ended = nccl.ncclGroupEnd();
    return first == ncclSuccess || first == ncclInProgress ? ended : first;
}

static sd_status exchange(sd_dev *dev, const sd_parcel *parcels, uint64_t count)
{
    sd_cuda_state *s = sd_cuda(dev);
    sd_wire *w = &s->wire;
    uint64_t bytes = 0, rooms = 0;
    void *room = NULL;

    if (w->comm == NULL)
        return SD_FAIL(SD_E_ENV, "cuda: the wire of rank %d is lost", w->rank);
    if (!w->pending)
        memset(w->peers, 0, sizeof w->peers);
    for (uint64_t i = 0; i < count; i++) {
        bytes += bytes_of(&parcels[i]);
        rooms += room_of(&parcels[i]);
        if (bytes_of(&parcels[i]) > 0 && parcels[i].peer != w->rank && parcels[i].peer < 8 * (int)sizeof w->peers)
            w->peers[parcels[i].peer / 8] |= (uint8_t)(1 << (parcels[i].peer % 8));
    }
    if (bytes == 0)
        return SD_OK;
    if (rooms > 0)
        SD_PASS(sd_cuda_scratch(dev, "exchange", rooms, &room));
    SD_PASS(sd_cuda_queueing(dev, "exchange"));
    SD_PASS(pack_all(dev, parcels, count, (char *)room, false));
    w->pending = true;
    SD_PASS(settle(w, queue(dev, parcels, count, (char *)room), "exchanging"));
    return pack_all(dev, parcels, count, (char *)room, true);
}

extern const sd_wire_table sd_nccl_wire = {load, ticket, join, exchange, leave};

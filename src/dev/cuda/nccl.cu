/* Exchange between GPUs of several ranks through NCCL, which is loaded when it is first needed.
 *
 * The communicator never blocks: every call that may take long is polled until it has completed or the deadline has passed. */
#include <dlfcn.h>
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "cuda.h"

extern "C" {
#include "saediff/core/log.h"
}

static_assert(sizeof(ncclUniqueId) <= SD_UNIQUE_ID, "a unique_id holds NCCL's identifier");

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

/* The library stays loaded. */
static sd_status load(char name[SD_GROUP_BACKEND_TEXT])
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
        return SD_FAIL(SD_E_ENV, "the version of %s cannot be read", library);
    snprintf(name, SD_GROUP_BACKEND_TEXT, "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    return SD_OK;
}

static sd_status unique_id(char out[SD_UNIQUE_ID])
{
    ncclUniqueId id;
    ncclResult_t result = nccl.ncclGetUniqueId(&id);

    if (result != ncclSuccess)
        return SD_FAIL(SD_E_ENV, "cuda: NCCL gave no unique id: %s (%s); set NCCL_DEBUG=INFO for details and NCCL_SOCKET_IFNAME for the network to use",
                       nccl.ncclGetErrorString(result), nccl.ncclGetLastError(NULL));
    memcpy(out, &id, sizeof id);
    return SD_OK;
}

/* ---- abort */

static void *abort_comm(void *comm)
{
    (void)nccl.ncclCommAbort((ncclComm_t)comm);
    return NULL;
}

/* Ends the kernels that wait for other ranks. NCCL's abort was seen to hang, so it is abandoned after a while. */
static void give_up(sd_cuda_group *g)
{
    struct timespec until;
    pthread_t thread;
    ncclComm_t comm = g->comm;

    g->comm = NULL;
    g->deadline = ABORT_SECONDS;
    if (comm == NULL || pthread_create(&thread, NULL, abort_comm, comm) != 0)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ABORT_SECONDS;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        (void)pthread_detach(thread);
}

/* NCCL is asked for its error before it aborts. */
static sd_status fail(sd_cuda_group *g, ncclResult_t result, const char *what)
{
    char word[TEXT], words[TEXT];

    snprintf(word, sizeof word, "%s", nccl.ncclGetErrorString(result));
    snprintf(words, sizeof words, "%s", nccl.ncclGetLastError(g->comm));
    give_up(g);
    return SD_FAIL(SD_E_ENV, "cuda: rank %d of %d, %s: NCCL reports: %s%s%s%s; see the messages of the other ranks, or set NCCL_DEBUG=INFO", g->rank,
                   g->size, what, word, words[0] ? " (" : "", words, words[0] ? ")" : "");
}

static sd_status fail_late(sd_cuda_group *g, double seconds)
{
    char names[TEXT] = "";
    int n = 0, at = 0;

    for (int r = 0; r < g->size && r < 8 * (int)sizeof g->peers; r++)
        if ((g->peers[r / 8] >> (r % 8) & 1) != 0 && at < TEXT - 16)
            at += snprintf(names + at, sizeof names - (size_t)at, "%s%d", n++ > 0 ? ", " : "", r);
    give_up(g);
    return SD_FAIL(SD_E_ENV, "cuda: rank %d waited %g s for %s%s; a rank has died or hangs, or its work takes longer than that",
                   g->rank, seconds, n == 0 ? "the other ranks" : n > 1 ? "ranks " : "rank ", names);
}

/* ---- waiting */

static sd_status look(sd_cuda_state *s, bool late)
{
    sd_cuda_group *g = &s->group;
    ncclResult_t state = ncclSuccess, asked;

    if (g->comm == NULL)
        return late ? SD_FAIL(SD_E_ENV, "cuda: the GPU of rank %d has not ended an exchange that was aborted", g->rank) : SD_OK;
    asked = nccl.ncclCommGetAsyncError(g->comm, &state);
    if (asked != ncclSuccess)
        state = asked;
    if (state != ncclSuccess && state != ncclInProgress)
        return fail(g, state, "exchanging");
    return late ? fail_late(g, g->deadline) : SD_OK;
}

/* Polls until the call has completed on the CPU. */
static sd_status settle(sd_cuda_group *g, ncclResult_t begun, const char *what)
{
    double until = sd_cuda_now() + g->deadline;

    for (uint64_t turn = 0; begun == ncclInProgress || (begun == ncclSuccess && turn == 0); turn++) {
        ncclResult_t asked = nccl.ncclCommGetAsyncError(g->comm, &begun);

        if (asked != ncclSuccess)
            begun = asked;
        if (begun == ncclInProgress && sd_cuda_now() > until)
            return fail_late(g, g->deadline);
        if (begun == ncclInProgress)
            sd_cuda_pause(turn);
    }
    return begun == ncclSuccess ? SD_OK : fail(g, begun, what);
}

/* ---- the backend */

static sd_status join(sd_dev *dev, const char text[SD_UNIQUE_ID], int rank, int size, double deadline)
{
    sd_cuda_group *g = &sd_cuda(dev)->group;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    ncclResult_t begun;

    if (g->look != NULL)
        return SD_FAIL(SD_E_INTERNAL, "cuda: a second group of ranks on one device");
    *g = sd_cuda_group();
    g->look = look;
    g->rank = rank;
    g->size = size;
    g->deadline = deadline;
    memcpy(&id, text, sizeof id);
    config.blocking = 0;
    begun = nccl.ncclCommInitRankConfig(&g->comm, size, id, rank, &config);
    if (g->comm == NULL)
        return fail(g, begun == ncclInProgress || begun == ncclSuccess ? ncclInternalError : begun, "meeting the other ranks");
    return settle(g, begun, "meeting the other ranks");
}

/* Whether the stream is done with aborted exchanges. If not, waits for this device keep their deadline. */
static bool ends(const sd_cuda_state *s)
{
    double until = sd_cuda_now() + s->group.deadline;
    cudaError_t error;

    for (uint64_t turn = 0; (error = cudaStreamQuery(s->stream)) == cudaErrorNotReady && sd_cuda_now() < until; turn++)
        sd_cuda_pause(turn);
    (void)cudaGetLastError();
    return error != cudaErrorNotReady;
}

static void leave(sd_dev *dev, bool graceful)
{
    sd_cuda_state *s = sd_cuda(dev);
    sd_cuda_group *g = &s->group;

    if (g->look != look)
        return;
    if (g->deadline > (double)CLOSE_SECONDS) /* all ranks have voted before they close, so little work is left */
        g->deadline = CLOSE_SECONDS;
    if (g->comm != NULL && graceful && sd_cuda_finish(s) == SD_OK &&
        settle(g, nccl.ncclCommFinalize(g->comm), "closing the NCCL communicator") == SD_OK) {
        (void)nccl.ncclCommDestroy(g->comm);
        g->comm = NULL;
    } else if (graceful) {
        sd_error("NCCL did not close gracefully on rank %d", g->rank);
    }
    give_up(g);
    if (ends(s))
        *g = sd_cuda_group();
}

/* ---- the exchange */

static uint64_t bytes_of(const sd_transfer *p)
{
    return p->what.rows * p->what.cols * sd_dtype_size(p->what.buf->type);
}

/* NCCL sends contiguous bytes; strided rows are staged in scratch memory. */
static uint64_t staging_of(const sd_transfer *p)
{
    return p->what.rows > 1 && p->what.stride != p->what.cols ? (bytes_of(p) + 255) / 256 * 256 : 0;
}

/* Copies between a transfer's rows and its staging memory. */
static sd_status pack(sd_dev *dev, const sd_transfer *p, char *staging)
{
    uint64_t size = sd_dtype_size(p->what.buf->type), row = p->what.cols * size, apart = p->what.stride * size;
    char *at = (char *)p->what.buf->data + p->what.offset * size;

    if (p->arrives)
        SD_CUDA(cudaMemcpy2DAsync(at, apart, staging, row, row, p->what.rows, cudaMemcpyDeviceToDevice, sd_cuda(dev)->stream), "exchange");
    else
        SD_CUDA(cudaMemcpy2DAsync(staging, row, at, apart, row, p->what.rows, cudaMemcpyDeviceToDevice, sd_cuda(dev)->stream), "exchange");
    return SD_OK;
}

/* Copies sends into staging memory, or received data out of it. */
static sd_status pack_all(sd_dev *dev, const sd_transfer *transfers, uint64_t count, char *staging, bool arrives)
{
    for (uint64_t i = 0; i < count; staging += staging_of(&transfers[i]), i++)
        if (transfers[i].arrives == arrives && staging_of(&transfers[i]) > 0)
            SD_PASS(pack(dev, &transfers[i], staging));
    return SD_OK;
}

/* All as one NCCL group; returns the first failure, or that of ncclGroupEnd(). */
static ncclResult_t queue(sd_dev *dev, const sd_transfer *transfers, uint64_t count, char *staging)
{
    sd_cuda_state *s = sd_cuda(dev);
    ncclResult_t first = nccl.ncclGroupStart(), ended;

    if (first != ncclSuccess)
        return first;
    for (uint64_t i = 0; i < count && (first == ncclSuccess || first == ncclInProgress); staging += staging_of(&transfers[i]), i++) {
        const sd_transfer *p = &transfers[i];
        void *at = staging_of(p) > 0 ? staging : (char *)p->what.buf->data + p->what.offset * sd_dtype_size(p->what.buf->type);

        if (bytes_of(p) == 0)
            continue;
        first = p->arrives ? nccl.ncclRecv(at, bytes_of(p), ncclUint8, p->peer, s->group.comm, s->stream)
                           : nccl.ncclSend(at, bytes_of(p), ncclUint8, p->peer, s->group.comm, s->stream);
    }
    ended = nccl.ncclGroupEnd();
    return first == ncclSuccess || first == ncclInProgress ? ended : first;
}

static sd_status exchange(sd_dev *dev, const sd_transfer *transfers, uint64_t count)
{
    sd_cuda_state *s = sd_cuda(dev);
    sd_cuda_group *g = &s->group;
    uint64_t bytes = 0, bytes_staged = 0;
    void *staging = NULL;

    if (g->comm == NULL)
        return SD_FAIL(SD_E_ENV, "cuda: rank %d has lost its NCCL communicator", g->rank);
    if (!g->pending)
        memset(g->peers, 0, sizeof g->peers);
    for (uint64_t i = 0; i < count; i++) {
        bytes += bytes_of(&transfers[i]);
        bytes_staged += staging_of(&transfers[i]);
        if (bytes_of(&transfers[i]) > 0 && transfers[i].peer != g->rank && transfers[i].peer < 8 * (int)sizeof g->peers)
            g->peers[transfers[i].peer / 8] |= (uint8_t)(1 << (transfers[i].peer % 8));
    }
    if (bytes == 0)
        return SD_OK;
    if (bytes_staged > 0)
        SD_PASS(sd_cuda_scratch(dev, "exchange", bytes_staged, &staging));
    SD_PASS(sd_cuda_queueing(dev, "exchange"));
    SD_PASS(pack_all(dev, transfers, count, (char *)staging, false));
    g->pending = true;
    SD_PASS(settle(g, queue(dev, transfers, count, (char *)staging), "exchanging"));
    return pack_all(dev, transfers, count, (char *)staging, true);
}

extern const sd_group_backend sd_nccl_backend = {load, unique_id, join, exchange, leave};

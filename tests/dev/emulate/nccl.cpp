#include "nccl.h"
#include "knobs.h"

#define OMPI_SKIP_MPICXX
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <atomic>
#include <vector>

enum { POLLS = 3, TAG = 4711 };

struct emulate_knobs emulate_knobs;

struct ncclComm {
    MPI_Comm comm;
    MPI_Request forming;
    int polls;          /* answers of ncclInProgress still to come */
    int asked;          /* since the last exchange */
    bool exchanged, ended;
    std::atomic<bool> aborted; /* by another thread, perhaps */
};

namespace
{
struct message {
    void *data;
    size_t count;
    int peer;
    bool arrives;
};

std::vector<message> group;
std::vector<MPI_Request> requests; /* of the stream */
ncclComm *of_stream, *of_group;
int depth;

[[noreturn]] void give_up(const char *what)
{
    fprintf(stderr, "emulated NCCL: %s\n", what);
    abort();
}

ncclComm *ready(ncclComm *comm)
{
    if (comm == nullptr || comm->aborted)
        give_up("a communicator that is not there");
    if (comm->polls > 0)
        give_up("a communicator was used that is still in progress");
    return comm;
}

} // namespace

bool emulate_busy()
{
    int through = 0;

    if (of_stream == nullptr || requests.empty()) /* tests open devices before the vector is made */
        return false;
    if (of_stream->aborted) {
        for (MPI_Request &r : requests) {
            MPI_Cancel(&r);
            MPI_Request_free(&r);
        }
        requests.clear();
        return false;
    }
    if (of_stream->polls > 0)
        return true;
    MPI_Testall((int)requests.size(), requests.data(), &through, MPI_STATUSES_IGNORE);
    if (through)
        requests.clear();
    return !through;
}

void emulate_settle()
{
    enum { SECONDS = 60 };
    time_t until = time(nullptr) + SECONDS;

    while (emulate_busy())
        if (time(nullptr) > until)
            give_up("work was queued after an exchange in which other ranks do not take part");
}

static ncclResult_t add(const message &m, ncclDataType_t type, ncclComm *comm)
{
    int size;

    if (depth != 1)
        give_up("a message outside a group");
    MPI_Comm_size(ready(comm)->comm, &size);
    if (type != ncclUint8 || m.peer < 0 || m.peer >= size || m.count > 1 << 30)
        return ncclInvalidArgument;
    if (of_group != nullptr && of_group != comm)
        give_up("two communicators in one group");
    of_group = comm;
    group.push_back(m);
    return ncclSuccess;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = 22809;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 7, sizeof *id);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    ncclComm *c;
    int real_size, real_rank;
    ncclUniqueId want;
    MPI_Comm all = emulate_knobs.ranks != nullptr ? *(const MPI_Comm *)emulate_knobs.ranks : MPI_COMM_WORLD;

    MPI_Comm_size(all, &real_size);
    MPI_Comm_rank(all, &real_rank);
    ncclGetUniqueId(&want);
    if (config->magic != 4711 || config->blocking != 0 || memcmp(&id, &want, sizeof id) != 0 || size != real_size || rank != real_rank)
        return ncclInvalidArgument;
    c = new ncclComm();
    c->polls = POLLS;
    MPI_Comm_idup(all, &c->comm, &c->forming);
    *comm = c;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    int through = 1;

    if (comm == nullptr || comm->aborted)
        give_up("a communicator that is not there");
    if (comm->forming != MPI_REQUEST_NULL)
        MPI_Test(&comm->forming, &through, MPI_STATUS_IGNORE);
    *state = ncclInProgress;
    if (comm->exchanged && emulate_knobs.nccl_error != 0 && ++comm->asked >= emulate_knobs.nccl_error_after)
        *state = (ncclResult_t)emulate_knobs.nccl_error;
    else if (through && (comm->polls == 0 || --comm->polls == 0))
        *state = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    if (emulate_busy())
        give_up("a communicator was ended while it was used");
    ready(comm)->polls = POLLS;
    comm->ended = true;
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (!ready(comm)->ended)
        give_up("a communicator was destroyed before it was ended");
    emulate_knobs.nccl_ends++;
    MPI_Comm_free(&comm->comm);
    delete comm;
    return ncclSuccess;
}

/* Whoever finds it aborted cancels its messages: MPI is the main thread's. */
ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    emulate_knobs.nccl_aborts++;
    comm->aborted = true;
    return ncclInProgress;
}

ncclResult_t ncclGroupStart()
{
    depth++;
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t)
{
    return add({const_cast<void *>(data), count, peer, false}, type, comm);
}

ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t)
{
    return add({data, count, peer, true}, type, comm);
}

/* The stream takes one exchange after the other. */
ncclResult_t ncclGroupEnd()
{
    if (--depth != 0)
        give_up("groups inside one another");
    if (group.empty())
        return ncclSuccess;
    emulate_settle();
    of_stream = of_group;
    for (const message &m : group) {
        MPI_Request r;

        if (m.arrives)
            MPI_Irecv(m.data, (int)m.count, MPI_BYTE, m.peer, TAG, of_stream->comm, &r);
        else
            MPI_Isend(m.data, (int)m.count, MPI_BYTE, m.peer, TAG, of_stream->comm, &r);
        requests.push_back(r);
    }
    group.clear();
    of_group = nullptr;
    of_stream->polls = POLLS;
    of_stream->exchanged = true;
    of_stream->asked = 0;
    return ncclInProgress;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclRemoteError ? "remote process exited or there was a network error" : "emulated error";
}

const char *ncclGetLastError(ncclComm_t)
{
    return "emulated cause";
}

/* ---- the library */

void *emulate_dlopen(const char *name)
{
    emulate_knobs.nccl_loads++;
    return emulate_knobs.nccl_missing || strcmp(name, "libnccl.so.2") != 0 ? nullptr : &emulate_knobs;
}

void *emulate_dlsym(void *, const char *name)
{
    static const struct {
        const char *name;
        void *at;
    } all[] = {
#define ENTRY(call) {#call, reinterpret_cast<void *>(call)},
        ENTRY(ncclGetVersion) ENTRY(ncclGetUniqueId) ENTRY(ncclCommInitRankConfig) ENTRY(ncclCommGetAsyncError) ENTRY(ncclCommFinalize)
        ENTRY(ncclCommDestroy) ENTRY(ncclCommAbort) ENTRY(ncclGroupStart) ENTRY(ncclGroupEnd) ENTRY(ncclSend) ENTRY(ncclRecv)
        ENTRY(ncclGetErrorString) ENTRY(ncclGetLastError)};

    for (const auto &entry : all)
        if (strcmp(entry.name, name) == 0)
            return entry.at;
    return nullptr;
}

const char *emulate_dlerror()
{
    return "libnccl.so.2: emulated to be missing";
}

/* An emulation over MPI of the parts of NCCL that src/dev/cuda/nccl.cu uses. A communicator first returns ncclInProgress a few times; until it is
 * ready it must not be used, nor other work be queued. Calls that must not happen end the program with a message. */
#ifndef SAEDIFF_TESTS_NCCL_H
#define SAEDIFF_TESTS_NCCL_H

#include <stddef.h>

#include "emulate.h"

enum ncclResult_t {
    ncclSuccess,
    ncclUnhandledCudaError,
    ncclSystemError,
    ncclInternalError,
    ncclInvalidArgument,
    ncclInvalidUsage,
    ncclRemoteError,
    ncclInProgress
};
enum ncclDataType_t { ncclUint8 = 1 };
typedef struct ncclComm *ncclComm_t;
struct ncclUniqueId {
    char internal[128];
};
struct ncclConfig_t {
    int magic, blocking;
};
#define NCCL_CONFIG_INITIALIZER {4711, 1}

extern "C" {
ncclResult_t ncclGetVersion(int *version);
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank, ncclConfig_t *config);
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state);
ncclResult_t ncclCommFinalize(ncclComm_t comm);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclCommAbort(ncclComm_t comm);
ncclResult_t ncclGroupStart();
ncclResult_t ncclGroupEnd();
ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream);
ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream);
const char *ncclGetErrorString(ncclResult_t result);
const char *ncclGetLastError(ncclComm_t comm);
}

void *emulate_dlopen(const char *name);
void *emulate_dlsym(void *handle, const char *name);
const char *emulate_dlerror();
#define dlopen(name, flags) emulate_dlopen(name)
#define dlsym(handle, name) emulate_dlsym(handle, name)
#define dlerror() emulate_dlerror()

#endif

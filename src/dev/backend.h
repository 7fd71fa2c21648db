/* The interface of a backend: buffers, copies, and one table of functions per family of operations. The front ends
 * (front_*.c) have checked every argument block before a table is called: pointers, owners, types, shapes,
 * ranges inside the buffers, overlap. Values in device memory (indices) are not checked there. */
#ifndef SAEDIFF_DEV_BACKEND_H
#define SAEDIFF_DEV_BACKEND_H

#include "saediff/dev/dense.h"
#include "saediff/dev/dev.h"
#include "saediff/dev/dict.h"
#include "saediff/dev/grad.h"
#include "saediff/dev/transfer.h"
#include "saediff/dev/score.h"
#include "saediff/dev/step.h"

struct sd_buf {
    sd_dev *dev;
    sd_dtype type;
    uint64_t count;
    void *data;              /* elements, at least 64-byte aligned */
    bool wrapped;            /* they are the caller's */
    void *base;              /* start of the block that holds them, for the backend */
    uint64_t base_size;      /* bytes of that block, for the backend */
    sd_buf *next, *previous; /* list of all live buffers of the device */
};

struct sd_fetch {
    sd_dev *dev;
    sd_dtype type;
    uint64_t most;  /* maximum elements of a copy */
    void *host;     /* [most], 64-byte aligned; the backend's */
    void *state;    /* the backend's own */
    bool under_way; /* begun and not taken */
};

#define SD_TABLE_SLOT(name) sd_status (*name)(sd_dev * dev, const sd_##name *args);
typedef struct sd_dense_table {
    SD_DENSE_OPS(SD_TABLE_SLOT)
} sd_dense_table;
typedef struct sd_dict_table {
    SD_DICT_OPS(SD_TABLE_SLOT)
} sd_dict_table;
typedef struct sd_step_table {
    SD_STEP_OPS(SD_TABLE_SLOT)
} sd_step_table;
typedef struct sd_score_table {
    SD_SCORE_OPS(SD_TABLE_SLOT)
} sd_score_table;
typedef struct sd_grad_table {
    SD_GRAD_OPS(SD_TABLE_SLOT)
} sd_grad_table;

/* Communication between GPUs, one rank per GPU. The front end (group.c) has checked the transfers, and that no two ranks share a GPU. */
enum { SD_HARDWARE = 48, SD_GROUP_BACKEND_TEXT = 32, SD_UNIQUE_ID = 128 };
typedef struct sd_group_backend {
    /* Loads its library and returns its name: "NCCL 2.28.9". SD_E_ENV if it is missing. The other functions may be NULL if it always is. */
    sd_status (*load)(char name[SD_GROUP_BACKEND_TEXT]);
    /* On rank 0; the id is then sent to all ranks. */
    sd_status (*unique_id)(char unique_id[SD_UNIQUE_ID]);
    /* Creates the communicator with the other ranks. From then on no wait on this device for an exchange takes longer than `deadline` seconds. */
    sd_status (*join)(sd_dev *dev, const char unique_id[SD_UNIQUE_ID], int rank, int size, double deadline);
    /* Queued. */
    sd_status (*exchange)(sd_dev *dev, const sd_transfer *transfers, uint64_t count);
    /* graceful: all ranks leave, and exchanges in progress are completed. Otherwise, as after a failed join, they are abandoned. */
    void (*leave)(sd_dev *dev, bool graceful);
} sd_group_backend;

typedef struct sd_backend {
    const char *name;
    /* Sets dev->state and dev->describe, and dev->hardware if ranks can share it. */
    sd_status (*open)(sd_dev *dev);
    void (*close)(sd_dev *dev);
    /* Sets data, base and base_size. Contents are undefined. */
    sd_status (*create)(sd_dev *dev, sd_buf *buf);
    /* Frees the block when queued work that uses it is done. */
    void (*destroy)(sd_dev *dev, sd_buf *buf);
    /* rows·cols contiguous host elements of the buffer's type. */
    sd_status (*upload)(sd_dev *dev, const void *host, sd_mat to);
    sd_status (*download)(sd_dev *dev, sd_mat from, void *host);
    sd_status (*wait)(sd_dev *dev);
    /* fetch_create sets host and state; the others find `from` checked and under_way as it must be. */
    sd_status (*fetch_create)(sd_dev *dev, sd_fetch *fetch);
    sd_status (*fetch_begin)(sd_dev *dev, sd_fetch *fetch, sd_mat from);
    sd_status (*fetch_take)(sd_dev *dev, sd_fetch *fetch);
    void (*fetch_destroy)(sd_dev *dev, sd_fetch *fetch);
    /* Sets everything but `sharers`. NULL: buffers are host memory. */
    sd_status (*memory)(sd_dev *dev, sd_dev_capacity *capacity);
    /* NULL: freed memory is not cached. */
    sd_status (*release)(sd_dev *dev);
    /* Both NULL if the device has no timers. */
    sd_status (*times_begin)(sd_dev *dev);
    sd_status (*times_end)(sd_dev *dev, sd_dev_time *out, uint64_t most, uint64_t *count);
    /* Operations read host memory directly: a buffer may be wrapped around the caller's memory. */
    bool wraps;
    /* Whether models may compute in bf16 or f16 here. The operations take both on every backend. */
    bool (*computes)(const sd_dev *dev, sd_dtype type);
    /* Models keep their activations in the compute type. */
    bool narrow;
    /* Refuse buffers that are no longer alive; costs a walk over the buffers at each argument. */
    bool checks_life;
    /* A slot may be NULL: the backend lacks that operation, which is SD_E_ENV. */
    const sd_dense_table *dense;
    const sd_dict_table *dict;
    const sd_step_table *step;
    const sd_score_table *score;
    const sd_grad_table *grad;
    /* NULL: ranks exchange through host memory. */
    const sd_group_backend *group;
} sd_backend;

extern const sd_backend sd_backend_cpu;
extern const sd_backend sd_backend_strict;

struct sd_dev {
    const sd_backend *backend;
    int threads;
    int which; /* index among the backend's devices */
    sd_dtype compute;    /* of weight matrices */
    sd_dtype activation; /* of a model's activations between operations */
    char describe[192];
    char hardware[SD_HARDWARE]; /* "GPU-...", equal for all processes that open the same GPU; "" for a device that is not shared */
    int sharers; /* processes that use this GPU, 1 unless counted */
    void *state; /* the backend's own */
    sd_buf *buffers;
    uint64_t fetches; /* number of live fetches */
};

#endif

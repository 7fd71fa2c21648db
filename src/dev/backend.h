/* What a backend gives: buffers, copies, and one table of functions per family of operations. The front ends
 * (front_*.c) have checked every argument block before a table is called: pointers, owners, types, shapes,
 * ranges inside the buffers, overlap. Values in device memory (indices) are not checked there. */
#ifndef SAEDIFF_DEV_BACKEND_H
#define SAEDIFF_DEV_BACKEND_H

#include "saediff/dev/dense.h"
#include "saediff/dev/dev.h"
#include "saediff/dev/dict.h"
#include "saediff/dev/grad.h"
#include "saediff/dev/parcel.h"
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
    sd_buf *next, *previous; /* all living buffers of the device */
};

struct sd_fetch {
    sd_dev *dev;
    sd_dtype type;
    uint64_t most;
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

/* From GPU to GPU, each with a rank of its own. The front end (group.c) has checked the parcels, and that no hardware is there twice. */
enum { SD_HARDWARE = 48, SD_WIRE_TEXT = 32, SD_TICKET = 128 };
typedef struct sd_wire_table {
    /* Loads what it needs and names it: "NCCL 2.28.9". SD_E_ENV where that is missing. The others may be NULL if it always is. */
    sd_status (*load)(char name[SD_WIRE_TEXT]);
    /* On rank 0, for all. */
    sd_status (*ticket)(char ticket[SD_TICKET]);
    /* Meets the other ranks. From then on nothing on this device waits longer than `deadline` for what was exchanged. */
    sd_status (*join)(sd_dev *dev, const char ticket[SD_TICKET], int rank, int size, double deadline);
    /* Queued. */
    sd_status (*exchange)(sd_dev *dev, const sd_parcel *parcels, uint64_t count);
    /* In peace: all ranks leave, and what was exchanged is waited for. Otherwise, as after a failed join, nothing is. */
    void (*leave)(sd_dev *dev, bool peace);
} sd_wire_table;

typedef struct sd_backend {
    const char *name;
    /* Sets dev->state and dev->describe, and dev->hardware where there is some. */
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
    /* All but the sharers. NULL: buffers are memory of the machine. */
    sd_status (*memory)(sd_dev *dev, sd_dev_room *capacity);
    /* NULL: nothing is kept of what was freed. */
    sd_status (*release)(sd_dev *dev);
    /* Both NULL where the device cannot tell. */
    sd_status (*times_begin)(sd_dev *dev);
    sd_status (*times_end)(sd_dev *dev, sd_dev_time *out, uint64_t most, uint64_t *count);
    /* Operations read host memory as it is: a buffer may be wrapped around the caller's. */
    bool wraps;
    /* Whether models may compute in bf16 or f16 here. The operations take both on every backend. */
    bool (*computes)(const sd_dev *dev, sd_dtype type);
    /* Models keep their activations in the type they compute in. */
    bool narrow;
    /* Refuse buffers that are no longer alive; costs a walk over the buffers at each argument. */
    bool checks_life;
    /* A slot may be NULL: the operation is then refused in the backend's name. */
    const sd_dense_table *dense;
    const sd_dict_table *dict;
    const sd_step_table *step;
    const sd_score_table *score;
    const sd_grad_table *grad;
    /* NULL: ranks exchange through host memory. */
    const sd_wire_table *wire;
} sd_backend;

extern const sd_backend sd_backend_cpu;
extern const sd_backend sd_backend_strict;

struct sd_dev {
    const sd_backend *backend;
    int threads;
    int which; /* of several devices of the backend */
    sd_dtype compute;    /* of weight matrices */
    sd_dtype activation; /* of what passes between a model's operations */
    char describe[192];
    char hardware[SD_HARDWARE]; /* "GPU-...", the same for whoever opens the same piece; "" where ranks have nothing to share */
    int sharers; /* processes whose device is this hardware, as far as is known */
    void *state; /* the backend's own */
    sd_buf *buffers;
    uint64_t fetches; /* that are alive */
};

#endif

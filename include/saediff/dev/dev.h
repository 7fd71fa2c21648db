/* A device: memory for arrays, and the operations on them. Backends:
 *
 *   cpu     OpenBLAS on tiles, own kernels, a thread pool over tiles; each operation runs, and fails, in its call
 *   strict  for tests: the cpu behind the rules of a device. Operations are queued and run only when waited for, new memory is NaN, destroyed
 *           buffers are refused, and writes beyond a buffer are detected
 *   cuda    an NVIDIA GPU, through libsaediff_cuda.so, which is loaded on demand: from the path in SAEDIFF_CUDA_MODULE, else from the directory
 *           of the program, else from ../lib/saediff relative to it
 *
 * Operations (dense.h, dict.h, grad.h, score.h, step.h) are queued in order and run asynchronously, as in a CUDA stream; sd_dev_download()
 * and sd_dev_wait() wait for all of them, sd_fetch_take() for one copy. "Waits" in a comment means this. No operation takes a host pointer.
 *
 * Errors. Shapes, types and owners of buffers are checked before an operation is queued: SD_E_INTERNAL naming operation and argument. An
 * operation that the backend lacks, no memory, and failures of the device are SD_E_ENV. A failure of queued work is returned by the next call
 * that waits.
 *
 * Equal bits at any thread count: work is cut into tiles of a fixed shape, each tile is computed by one thread, and sums over tiles are taken in
 * tile order. All calls are Local. */
#ifndef SAEDIFF_DEV_DEV_H
#define SAEDIFF_DEV_DEV_H

#include <stdbool.h>

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* The element type of all arithmetic: float in the program, double where tests build the same
 * kernels once more to compare them with exact references. */
#ifdef SD_REAL_IS_DOUBLE
typedef double sd_real;
#define SD_REAL SD_F64
#else
typedef float sd_real;
#define SD_REAL SD_F32
#endif

typedef struct sd_dev sd_dev;
typedef struct sd_buf sd_buf;

/* name: "auto" (cuda if it is available, else cpu), "cpu", "strict" or "cuda"; another name is SD_E_USAGE, as is a number of threads outside
 * 1 … 1024. "cuda" without its module, a driver or a GPU is SD_E_ENV naming what is missing. With several GPUs, GPU `which` modulo their
 * number is opened (callers pass the rank on its node, so that ranks share the GPUs evenly); sd_dev_open() opens the first. The caller owns
 * *dev and closes it after destroying its buffers. *dev is NULL on failure. */
SD_MUST_CHECK sd_status sd_dev_open_at(sd_dev **dev, const char *name, int threads, int which);
SD_MUST_CHECK sd_status sd_dev_open(sd_dev **dev, const char *name, int threads);
/* Takes the address of a handle or of NULL; leaves NULL there. */
void sd_dev_close(sd_dev **dev);
/* "cpu", "strict" or "cuda". */
const char *sd_dev_name(const sd_dev *dev);
/* One line for the log and the manifest, without the thread count: backend, BLAS and its kernel; for a GPU its number, UUID and memory, then
 * after a colon its name, compute capability and BLAS. Borrowed from the device. */
const char *sd_dev_describe(const sd_dev *dev);
int sd_dev_threads(const sd_dev *dev);
/* Number of cores that this process may use, 1 … 1024: those of its affinity mask, divided by `sharers` processes if the mask is the whole
 * machine. The default of --threads. */
int sd_dev_default_threads(int sharers);

/* Memory for buffers, in bytes; `left` and `all` are 0 if the device does not report them. */
typedef struct sd_dev_capacity {
    uint64_t left, all; /* free for this process if the others on the device allocate nothing more; total */
    bool own;           /* true: memory of the device; false: of the host, where part of what is in use may be reclaimable caches */
    int sharers;        /* processes that allocate from it, this one included */
} sd_dev_capacity;
/* `processes` ≥ 1 on this host becomes `sharers` for host memory. For a GPU's memory `sharers` is what sd_dev_count_sharers() (group.h) found,
 * or 1 if it was not called. */
SD_MUST_CHECK sd_status sd_dev_memory(sd_dev *dev, int processes, sd_dev_capacity *capacity);
/* Waits. Returns the cached memory of destroyed buffers to the system, so that other processes can allocate it. */
SD_MUST_CHECK sd_status sd_dev_release(sd_dev *dev);

/* The compute type: the dtype of models' weight matrices on this device and of the products with them, SD_REAL unless set. With SD_BF16 or
 * SD_F16 both factors of a product are rounded to it and summed in fp32; everything else is computed in fp32. SD_E_ENV if the device has no
 * such products in this build. */
SD_MUST_CHECK sd_status sd_dev_set_compute(sd_dev *dev, sd_dtype type);
sd_dtype sd_dev_compute(const sd_dev *dev);
/* The dtype of models' activations between operations: SD_REAL, or on some devices the compute type. */
sd_dtype sd_dev_activation(const sd_dev *dev);
/* *type = the compute type that "f32", "bf16", "f16" or "auto" selects on this device: auto is bf16 if a medium-sized product, timed now, takes
 * less than two thirds of its time in fp32. `words` explains the choice for the log. SD_E_USAGE for another word. Whether the device
 * has products in bf16 or f16 is checked by sd_dev_set_compute(), not here. */
enum { SD_COMPUTE_WORDS = 96 };
SD_MUST_CHECK sd_status sd_dev_choose_compute(sd_dev *dev, const char *word, sd_dtype *type, char words[SD_COMPUTE_WORDS]);

/* Profiling: time by kind of operation. Begin, queue work, end; end waits and writes up to `most` kinds to out, the longest first. On a device
 * without timers *count is 0. Profiling itself costs some time. */
typedef struct sd_dev_time {
    const char *name; /* of the operation; valid as long as the device */
    double seconds;   /* total */
    uint64_t times;   /* number of calls */
} sd_dev_time;
SD_MUST_CHECK sd_status sd_dev_times_begin(sd_dev *dev);
SD_MUST_CHECK sd_status sd_dev_times_end(sd_dev *dev, sd_dev_time *out, uint64_t most, uint64_t *count);

/* Waits for all queued work; returns its first failure. */
SD_MUST_CHECK sd_status sd_dev_wait(sd_dev *dev);

/* A buffer of `count` elements with undefined contents, which sd_buf_destroy() frees. *buf is NULL on failure. */
SD_MUST_CHECK sd_status sd_buf_create(sd_buf **buf, sd_dev *dev, sd_dtype type, uint64_t count);
/* Whether the device's operations can read host memory directly. */
bool sd_dev_wraps(const sd_dev *dev);
/* For such a device, else SD_E_INTERNAL: a read-only buffer around `count` elements at `host` (64-byte aligned), which remain the caller's and
 * must outlive the buffer. */
SD_MUST_CHECK sd_status sd_buf_wrap(sd_buf **buf, sd_dev *dev, sd_dtype type, uint64_t count, const void *host);
/* Takes the address of a handle or of NULL; leaves NULL there. Queued work that uses the buffer still completes. */
void sd_buf_destroy(sd_buf **buf);
uint64_t sd_buf_count(const sd_buf *buf);
sd_dtype sd_buf_type(const sd_buf *buf);

/* A row-major matrix inside a buffer: element (r, c) is at offset + r·stride + c. Borrowed: the
 * buffer must outlive every operation queued on it. */
typedef struct sd_mat {
    sd_buf *buf;
    uint64_t offset, rows, cols, stride;
} sd_mat;

/* The first rows·cols elements of `buf` as a matrix. */
sd_mat sd_mat_of(sd_buf *buf, uint64_t rows, uint64_t cols);
/* Rows first … first+count−1, columns first … first+count−1 of m. */
sd_mat sd_mat_rows(sd_mat m, uint64_t first, uint64_t count);
sd_mat sd_mat_cols(sd_mat m, uint64_t first, uint64_t count);

/* Copies rows·cols contiguous host elements of the buffer's type. `host` may be reused at once. */
SD_MUST_CHECK sd_status sd_dev_upload(sd_dev *dev, const void *host, sd_mat to);
/* Waits, then copies to rows·cols contiguous host elements. */
SD_MUST_CHECK sd_status sd_dev_download(sd_dev *dev, sd_mat from, void *host);

/* As above with conversion between sd_real and `type` (a floating type) on the host side. */
SD_MUST_CHECK sd_status sd_dev_upload_as(sd_dev *dev, const void *host, sd_dtype type, sd_mat to);
SD_MUST_CHECK sd_status sd_dev_download_as(sd_dev *dev, sd_mat from, void *host, sd_dtype type);

/* Asynchronous copies to the host, concurrent with operations. A fetch has one copy in progress at a time; create two for double buffering. */
typedef struct sd_fetch sd_fetch;

/* For copies of up to `most` elements in `type`: SD_REAL, SD_BF16 or SD_F16. Allocates its memory now. *fetch is NULL on failure; destroy it
 * before the device is closed. */
SD_MUST_CHECK sd_status sd_fetch_create(sd_fetch **fetch, sd_dev *dev, uint64_t most, sd_dtype type);
/* Queued. Copies `from` (sd_real) as it is after the operations queued so far, rounded to the fetch's type; later operations may overwrite
 * `from`. SD_E_INTERNAL if the last copy was not taken, or if `from` has more elements than the fetch. */
SD_MUST_CHECK sd_status sd_fetch_begin(sd_fetch *fetch, sd_mat from);
/* Waits for that copy, not for what was queued after it. *host: its rows·cols elements, borrowed and valid until the next begin. A failure of
 * earlier operations may be returned here, and is returned by the next wait in any case. */
SD_MUST_CHECK sd_status sd_fetch_take(sd_fetch *fetch, const void **host);
/* Takes the address of a handle or of NULL; leaves NULL there. A copy in progress is abandoned. */
void sd_fetch_destroy(sd_fetch **fetch);

#endif

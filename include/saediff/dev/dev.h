/* A device: where arrays live and arithmetic happens. Backends:
 *
 *   cpu     OpenBLAS per tile, own kernels, threads over tiles
 *   strict  the cpu pretending to be a device: operations are queued and run only when waited for,
 *           fresh and freed memory is NaN, writing past a buffer is found
 *   cuda    an NVIDIA GPU, by libsaediff_cuda.so, which is loaded when it is asked for: from the path in SAEDIFF_CUDA_MODULE, else beside the
 *           program, else from ../lib/saediff as seen from there
 *
 * Rules. Operations are queued in order and not waited for; sd_dev_download() and sd_dev_wait()
 * wait for all of them, sd_fetch_take() for one copy. No operation takes a host pointer. The front end checks shapes, types and owners once and
 * words the error; backends trust it. An operation a backend lacks is an error naming the backend.
 *
 * Same bits at any thread count: work is cut into tiles of a fixed shape, a tile is computed by one
 * thread along one path, and sums over tiles are taken in tile order. All calls are Local. */
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

/* name: "auto" (cuda where it works, else cpu), "cpu", "strict" or "cuda"; any other is SD_E_USAGE naming them. "cuda" without its module,
 * a driver or a GPU is SD_E_ENV naming what is missing. threads ≥ 1. Where there are several GPUs it is number `which` modulo their
 * count: the rank on its node, that ranks share them evenly; sd_dev_open() takes the first. The caller owns *dev and ends it with
 * sd_dev_close() after all its buffers. */
SD_MUST_CHECK sd_status sd_dev_open_at(sd_dev **dev, const char *name, int threads, int which);
SD_MUST_CHECK sd_status sd_dev_open(sd_dev **dev, const char *name, int threads);
void sd_dev_close(sd_dev **dev);
/* "cpu", "strict" or "cuda". */
const char *sd_dev_name(const sd_dev *dev);
/* One line for people and for the manifest, without the thread count: backend, BLAS, kernel; of a GPU its number, UUID and memory, then behind
 * the colon name, compute capability and BLAS. */
const char *sd_dev_describe(const sd_dev *dev);
int sd_dev_threads(const sd_dev *dev);
/* Cores this process may use, at least 1: its affinity mask shared among `sharers` processes where
 * the mask is the whole machine. The default of --threads. */
int sd_dev_default_threads(int sharers);

/* Memory that buffers come from, in bytes; `left` and `all` are 0 where the device cannot tell. */
typedef struct sd_dev_room {
    uint64_t left, all; /* left: what this process can still take, the others on the device taking nothing more */
    bool own;           /* the device's; else the machine's, of which a part of what is not left may be caches that give way */
    int sharers;        /* processes that take theirs from it, this one included */
} sd_dev_room;
/* Of the machine's memory, `processes` on it take theirs, at least 1; of a GPU's own, those that sd_dev_count_sharers() (group.h) has found, and
 * where it was not called this one alone. */
SD_MUST_CHECK sd_status sd_dev_memory(sd_dev *dev, int processes, sd_dev_room *capacity);
/* Waits. What the device keeps of destroyed buffers, for the next ones to be faster, goes back to where other processes can take it. */
SD_MUST_CHECK sd_status sd_dev_release(sd_dev *dev);

/* The number type in which models keep their weight matrices on this device, and multiply by them: SD_REAL unless set. With SD_BF16 or
 * SD_F16 both factors of a product are rounded to it and the products summed in fp32; everything else is computed in fp32. SD_E_ENV where
 * the device of this build has no such products. */
SD_MUST_CHECK sd_status sd_dev_set_compute(sd_dev *dev, sd_dtype type);
sd_dtype sd_dev_compute(const sd_dev *dev);
/* The number type in which what passes between a model's operations is best kept here: SD_REAL, or on some devices that of the products. */
sd_dtype sd_dev_activation(const sd_dev *dev);
/* What "f32", "bf16", "f16" and "auto" mean here: auto is bf16 where a middling product, timed now, takes less than two thirds of its time in fp32.
 * `words` says what was found, for people. SD_E_USAGE for another word, SD_E_ENV where there is no such product. */
enum { SD_COMPUTE_WORDS = 96 };
SD_MUST_CHECK sd_status sd_dev_choose_compute(sd_dev *dev, const char *word, sd_dtype *type, char words[SD_COMPUTE_WORDS]);

/* Time by kind of work, where the device can tell: begin, queue work, end, which waits and gives up to `most` kinds, the longest first. Without
 * a device that can tell, *count is 0. For measuring: it costs some time itself. */
typedef struct sd_dev_time {
    const char *name; /* lives as long as the device */
    double seconds;
    uint64_t times;
} sd_dev_time;
SD_MUST_CHECK sd_status sd_dev_times_begin(sd_dev *dev);
SD_MUST_CHECK sd_status sd_dev_times_end(sd_dev *dev, sd_dev_time *out, uint64_t most, uint64_t *count);

/* Waits for everything queued; returns the first failure among it. */
SD_MUST_CHECK sd_status sd_dev_wait(sd_dev *dev);

/* `count` elements with undefined contents. *buf is NULL on failure. */
SD_MUST_CHECK sd_status sd_buf_create(sd_buf **buf, sd_dev *dev, sd_dtype type, uint64_t count);
/* Whether the device's arithmetic reads host memory as it is. */
bool sd_dev_wraps(const sd_dev *dev);
/* Such a device only: a buffer over `count` elements at `host` (64-byte aligned), which stay the caller's, outlive the buffer, and are
 * not written through it. */
SD_MUST_CHECK sd_status sd_buf_wrap(sd_buf **buf, sd_dev *dev, sd_dtype type, uint64_t count, const void *host);
/* Takes the address of a handle or of NULL; leaves NULL there. Queued work that uses it is done all the same. */
void sd_buf_destroy(sd_buf **buf);
uint64_t sd_buf_count(const sd_buf *buf);
sd_dtype sd_buf_type(const sd_buf *buf);

/* A row-major matrix inside a buffer: element (r, c) is at offset + r·stride + c. Borrowed: the
 * buffer must outlive every operation queued on it. */
typedef struct sd_mat {
    sd_buf *buf;
    uint64_t offset, rows, cols, stride;
} sd_mat;

/* The whole start of `buf` as rows × cols. */
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

/* Copies to the host beside the operations. A fetch has one copy under way; whoever wants two makes two. */
typedef struct sd_fetch sd_fetch;

/* For copies of up to `most` elements in `type`: SD_REAL, SD_BF16 or SD_F16. Takes its memory now. *fetch is NULL on failure; it ends before
 * the device. */
SD_MUST_CHECK sd_status sd_fetch_create(sd_fetch **fetch, sd_dev *dev, uint64_t most, sd_dtype type);
/* Queues a copy of `from`, which holds sd_real, as it is after what has been queued so far, rounded to the fetch's type, and does not wait:
 * what is queued later may change `from`. */
SD_MUST_CHECK sd_status sd_fetch_begin(sd_fetch *fetch, sd_mat from);
/* Waits for the copy that was begun, not for what was queued behind it. *host: its rows·cols elements, which stand there until the next
 * begin. A failure of earlier operations may be told here; it is told by the next wait in any case. */
SD_MUST_CHECK sd_status sd_fetch_take(sd_fetch *fetch, const void **host);
/* Takes the address of a handle or of NULL; leaves NULL there. A copy under way is given up. */
void sd_fetch_destroy(sd_fetch **fetch);

#endif

/* One rank of a machine makes a memory file and tells the others its process and descriptor; they open it through /proc, and look whether it
 * is that file: a rank in a container of its own may see another process under the number. The file has no name, so nothing is left behind by a killed run, and it does not depend on the size of /dev/shm. */
#define _GNU_SOURCE /* memfd_create */
#include "saediff/par/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saediff/core/mem.h"
#include "wait.h"

struct sd_shared {
    void *data;
    uint64_t bytes;
    int writers, writer;
    bool mapped;
};

typedef struct file_place {
    int64_t process, fd, device, node;
} file_place;

static void *map(int fd, uint64_t bytes)
{
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return data != MAP_FAILED ? data : NULL;
}

/* The machine's first rank: pages are reserved now, so that a lack of memory is found here and not at a write. */
static int create_file(uint64_t bytes, file_place *place)
{
    int fd = memfd_create("saediff", MFD_CLOEXEC), failed;
    struct stat is;

    if (fd < 0)
        return -1;
    do
        failed = posix_fallocate(fd, 0, (off_t)bytes);
    while (failed == EINTR);
    if (failed != 0 || fstat(fd, &is) != 0) {
        close(fd);
        return -1;
    }
    *place = (file_place){getpid(), fd, (int64_t)is.st_dev, (int64_t)is.st_ino};
    return fd;
}

/* −1 where the place leads to nothing, or to something else. */
static int open_file(const file_place *place, uint64_t bytes)
{
    char path[64];
    struct stat is;

    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)place->process, (long long)place->fd);
    if (stat(path, &is) != 0 || (int64_t)is.st_dev != place->device || (int64_t)is.st_ino != place->node || (uint64_t)is.st_size != bytes)
        return -1;
    return open(path, O_RDWR | O_CLOEXEC);
}

/* Collective over the machine's ranks. Leaves s->data NULL on all of them unless all have mapped it. */
static void share(sd_shared *s, MPI_Comm node)
{
    file_place place = {.fd = -1};
    int fd = -1, mine, all = 0;
    MPI_Request request;

    if (s->writer == 0)
        fd = create_file(s->bytes, &place);
    if (par_wait(MPI_Ibcast(&place, sizeof place / sizeof place.fd, MPI_INT64_T, 0, node, &request), &request) && place.fd >= 0) {
        if (s->writer != 0)
            fd = open_file(&place, s->bytes);
        s->data = fd >= 0 ? map(fd, s->bytes) : NULL;
    }
    mine = s->data != NULL;
    if (!par_wait(MPI_Iallreduce(&mine, &all, 1, MPI_INT, MPI_MIN, node, &request), &request))
        all = 0;
    if (fd >= 0)
        close(fd);
    if (!all && s->data != NULL) {
        munmap(s->data, s->bytes);
        s->data = NULL;
    }
    s->mapped = s->data != NULL;
}

sd_status sd_shared_create(sd_shared **shared, const sd_par *par, uint64_t bytes)
{
    MPI_Comm node = MPI_COMM_NULL;
    sd_shared *s = NULL;
    sd_status st;

    *shared = NULL;
    SD_TRY(st, sd_par_agree(par, SD_NEW(&s, 1)));
    s->bytes = bytes > 0 ? bytes : 1;
    s->writers = 1;
    if (par->size > 1) {
        if (MPI_Comm_split_type(par->comm, MPI_COMM_TYPE_SHARED, par->rank, MPI_INFO_NULL, &node) != MPI_SUCCESS) {
            st = SD_FAIL(SD_E_ENV, "the ranks of one machine could not be found");
            sd_par_abort(par, st);
        }
        MPI_Comm_size(node, &s->writers);
        MPI_Comm_rank(node, &s->writer);
        if (s->writers > 1)
            share(s, node);
        MPI_Comm_free(&node);
    }
    st = SD_OK;
    if (s->data == NULL) {
        s->writers = 1;
        s->writer = 0;
        st = sd_alloc_bytes(&s->data, s->bytes, 1);
    }
    SD_TRY(st, sd_par_agree(par, st));
    *shared = s;
    s = NULL;
out:
    sd_shared_destroy(&s);
    return st;
}

void sd_shared_destroy(sd_shared **shared)
{
    sd_shared *s = *shared;

    if (s == NULL)
        return;
    if (s->mapped)
        munmap(s->data, s->bytes);
    else
        sd_free(s->data);
    sd_free(s);
    *shared = NULL;
}

void *sd_shared_data(const sd_shared *s)
{
    return s->data;
}

int sd_shared_writers(const sd_shared *s)
{
    return s->writers;
}

int sd_shared_writer(const sd_shared *s)
{
    return s->writer;
}

/* Preloaded by faults.py and kill.py: lets the n-th call of one kind fail in this process, on files of the run folder only.
 *   SAEDIFF_FAULT=KIND:N    KIND: write (any write call, with ENOSPC), fsync (EIO), rename (EACCES), alloc (aligned_alloc gives NULL)
 *                           kill_before, kill_after: the process is killed before or after its n-th write to manifest.log
 *                           count: no fault; a byte is appended to the file SAEDIFF_FAULT_COUNT for each write to manifest.log
 *   SAEDIFF_FAULT_FOLDER    files below it count; memory counts everywhere */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic long calls;

static int in_folder(const char *path)
{
    const char *folder = getenv("SAEDIFF_FAULT_FOLDER");

    return folder != NULL && path != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

/* 1 for a file of the folder, 2 for its manifest, else 0. */
static int on_folder(int fd)
{
    static const char manifest[] = "/manifest.log";
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    if (!in_folder(path))
        return 0;
    return length >= (ssize_t)sizeof manifest && strcmp(path + length + 1 - sizeof manifest, manifest) == 0 ? 2 : 1;
}

/* Whether this call is the one. */
static int hit(const char *kind)
{
    const char *fault = getenv("SAEDIFF_FAULT");
    size_t length = strlen(kind);

    if (fault == NULL || strncmp(fault, kind, length) != 0 || fault[length] != ':')
        return 0;
    return atomic_fetch_add(&calls, 1) + 1 == atol(fault + length + 1);
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, #name))

#define WRITER(name, parameters, arguments)                                                                  \
    ssize_t name parameters;                                                                                 \
    ssize_t name parameters                                                                                  \
    {                                                                                                        \
        if (on_folder(fd) && hit("write")) {                                                                 \
            errno = ENOSPC;                                                                                  \
            return -1;                                                                                       \
        }                                                                                                    \
        return REAL(name, ssize_t(*) parameters) arguments;                                                  \
    }

static void count_write(void)
{
    const char *fault = getenv("SAEDIFF_FAULT"), *path = getenv("SAEDIFF_FAULT_COUNT");
    int fd = fault != NULL && path != NULL && strncmp(fault, "count", 5) == 0 ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;

    if (fd >= 0) {
        if (REAL(write, ssize_t(*)(int, const void *, size_t))(fd, "x", 1) != 1)
            abort();
        close(fd);
    }
}

ssize_t write(int fd, const void *data, size_t count)
{
    int where = on_folder(fd);
    ssize_t written;

    if (where && hit("write")) {
        errno = ENOSPC;
        return -1;
    }
    if (where == 2)
        count_write();
    if (where == 2 && hit("kill_before"))
        kill(getpid(), SIGKILL);
    written = REAL(write, ssize_t(*)(int, const void *, size_t))(fd, data, count);
    if (where == 2 && hit("kill_after"))
        kill(getpid(), SIGKILL);
    return written;
}

WRITER(pwrite, (int fd, const void *data, size_t count, off_t at), (fd, data, count, at))
WRITER(pwrite64, (int fd, const void *data, size_t count, off_t at), (fd, data, count, at))
WRITER(writev, (int fd, const struct iovec *data, int count), (fd, data, count))
WRITER(pwritev, (int fd, const struct iovec *data, int count, off_t at), (fd, data, count, at))
WRITER(pwritev64, (int fd, const struct iovec *data, int count, off_t at), (fd, data, count, at))

int fsync(int fd)
{
    if (on_folder(fd) && hit("fsync")) {
        errno = EIO;
        return -1;
    }
    return REAL(fsync, int (*)(int))(fd);
}

int rename(const char *from, const char *to)
{
    if (in_folder(to) && hit("rename")) {
        errno = EACCES;
        return -1;
    }
    return REAL(rename, int (*)(const char *, const char *))(from, to);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (hit("alloc"))
        return NULL;
    return REAL(aligned_alloc, void *(*)(size_t, size_t))(alignment, size);
}

#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "saediff/core/mem.h"
#include "saediff/store/file.h"

enum { HOLDER = 256 };

/* "host X, process N, Slurm job J" */
static void word_holder(char out[HOLDER])
{
    const char *job = getenv("SLURM_JOB_ID");
    char host[64] = "";

    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "unknown");
    snprintf(out, HOLDER, "host %s, process %ld%s%s", host, (long)getpid(), job ? ", Slurm job " : "", job ? job : "");
}

static void read_holder(int descriptor, char out[HOLDER])
{
    ssize_t got = pread(descriptor, out, HOLDER - 1, 0);

    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

sd_status sd_lock_take(const char *folder, int *descriptor)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *path = NULL, holder[HOLDER];
    size_t length;
    int fd = -1;
    sd_status st;

    SD_TRY(st, sd_path_join(&path, folder, "run.lock"));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        st = SD_FAIL(SD_E_ENV, "%s: cannot be opened for writing: %s", path, strerror(errno));
        goto out;
    }
    if (fcntl(fd, F_SETLK, &lock) != 0) {
        read_holder(fd, holder);
        st = errno == EACCES || errno == EAGAIN
                 ? SD_FAIL(SD_E_ENV, "%s: another run works there (%s); wait for it, or take another --out", folder,
                           holder[0] ? holder : "its name is not written yet")
                 : SD_FAIL(SD_E_ENV, "%s: cannot be locked: %s", path, strerror(errno));
        goto out;
    }
    word_holder(holder);
    length = strlen(holder);
    holder[length++] = '\n';
    if (ftruncate(fd, 0) != 0 || pwrite(fd, holder, length, 0) != (ssize_t)length) {
        st = SD_FAIL(SD_E_ENV, "%s: cannot be written: %s", path, strerror(errno));
        goto out;
    }
    *descriptor = fd;
    fd = -1;
out:
    if (fd >= 0)
        close(fd);
    sd_free(path);
    return st;
}

void sd_lock_give(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

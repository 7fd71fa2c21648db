#include "saediff/store/scratch_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

enum { BUFFER = 1 << 16 };

struct sd_scratch_file {
    char *folder; /* for messages */
    int fd;
    uint64_t size; /* written and buffered */
    uint64_t waiting;
    char buffer[BUFFER];
    void *view;
};

sd_status sd_scratch_file_create(sd_scratch_file **file, const char *folder)
{
    sd_scratch_file *s = NULL;
    char *name = NULL;
    sd_status st;

    *file = NULL;
    SD_TRY(st, SD_NEW(&s, 1));
    s->fd = -1;
    SD_TRY(st, sd_str_copy(&s->folder, folder));
    SD_TRY(st, sd_path_join(&name, folder, ".tmp-XXXXXX"));
    s->fd = mkstemp(name);
    if (s->fd < 0 || unlink(name) != 0) {
        st = SD_FAIL(SD_E_ENV, "%s: no file can be made in this folder: %s", folder, strerror(errno));
        goto out;
    }
    *file = s;
    s = NULL;
out:
    sd_free(name);
    sd_scratch_file_destroy(&s);
    return st;
}

void sd_scratch_file_destroy(sd_scratch_file **file)
{
    sd_scratch_file *s = *file;

    if (s == NULL)
        return;
    if (s->view != NULL)
        munmap(s->view, s->size);
    if (s->fd >= 0)
        close(s->fd);
    sd_free(s->folder);
    sd_free(s);
    *file = NULL;
}

static sd_status put(sd_scratch_file *s, const char *data, uint64_t size)
{
    while (size > 0) {
        ssize_t done = write(s->fd, data, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return SD_FAIL(SD_E_ENV, "%s: after %llu bytes of a temporary file no more can be written: %s", s->folder,
                           (unsigned long long)(s->size - s->waiting), strerror(done < 0 ? errno : ENOSPC));
        data += done;
        size -= (uint64_t)done;
    }
    return SD_OK;
}

static sd_status flush(sd_scratch_file *s)
{
    sd_status st = put(s, s->buffer, s->waiting);

    if (st == SD_OK)
        s->waiting = 0;
    return st;
}

sd_status sd_scratch_file_add(sd_scratch_file *s, const void *data, uint64_t size)
{
    sd_status st = SD_OK;

    if (size > BUFFER - s->waiting)
        SD_TRY(st, flush(s));
    if (size > BUFFER) {
        SD_TRY(st, put(s, data, size));
    } else if (size > 0) {
        memcpy(s->buffer + s->waiting, data, size);
        s->waiting += size;
    }
    s->size += size;
out:
    return st;
}

sd_status sd_scratch_file_view(sd_scratch_file *s, const void **data)
{
    sd_status st;

    SD_TRY(st, flush(s));
    if (s->view == NULL && s->size > 0) {
        void *at = mmap(NULL, s->size, PROT_READ, MAP_SHARED, s->fd, 0);

        if (at == MAP_FAILED) {
            st = SD_FAIL(SD_E_ENV, "%s: a temporary file of %llu bytes cannot be looked at: %s", s->folder, (unsigned long long)s->size,
                         strerror(errno));
            goto out;
        }
        s->view = at;
    }
    *data = s->view;
out:
    return st;
}

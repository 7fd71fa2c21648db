/* Plain files: reading, writing, committing, checksums. Folders and names are in path.c. */
#include "saediff/store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_io.h"
#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

enum { FILE_MODE = 0640, CALL_BYTES = 1 << 30, BUFFER_BYTES = 1 << 20 };

static sd_status fail_env(const char *path, const char *what)
{
    return SD_FAIL(SD_E_ENV, "%s: %s: %s", path, what, strerror(errno));
}

sd_status sd_file_open_read(const char *path, int *fd, uint64_t *size)
{
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    sd_status st = SD_OK;

    if (file < 0)
        return SD_FAIL(errno == ENOENT || errno == ENOTDIR ? SD_E_DATA : SD_E_ENV, "%s: cannot be opened: %s", path,
                       strerror(errno));
    if (fstat(file, &info) != 0)
        st = fail_env(path, "cannot be examined");
    else if (!S_ISREG(info.st_mode))
        st = SD_FAIL(SD_E_DATA, "%s: is not a file", path);
    if (st != SD_OK) {
        close(file);
        return st;
    }
    *fd = file;
    *size = (uint64_t)info.st_size;
    return SD_OK;
}

sd_status sd_file_begin(const char *path, int *fd)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    return *fd < 0 ? fail_env(path, "cannot be created") : SD_OK;
}

sd_status sd_file_put(int fd, const char *path, const void *data, uint64_t size)
{
    const char *bytes = data;
    uint64_t done = 0;

    while (done < size) {
        uint64_t left = size - done;
        ssize_t n = write(fd, bytes + done, left < CALL_BYTES ? (size_t)left : (size_t)CALL_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SD_FAIL(SD_E_ENV, "%s: cannot be written after %llu of %llu bytes: %s", path,
                           (unsigned long long)done, (unsigned long long)size, strerror(errno));
        done += (uint64_t)n;
    }
    return SD_OK;
}

sd_status sd_file_get(int fd, const char *path, uint64_t offset, void *data, uint64_t size)
{
    char *bytes = data;
    uint64_t done = 0;

    while (done < size) {
        uint64_t left = size - done;
        ssize_t n = pread(fd, bytes + done, left < CALL_BYTES ? (size_t)left : (size_t)CALL_BYTES,
                          (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_env(path, "cannot be read");
        if (n == 0)
            return SD_FAIL(SD_E_DATA, "%s: ends at byte %llu, before byte %llu", path,
                           (unsigned long long)(offset + done), (unsigned long long)(offset + size));
        done += (uint64_t)n;
    }
    return SD_OK;
}

sd_status sd_file_read(const char *path, uint64_t limit, char **data, uint64_t *size)
{
    char *bytes = NULL;
    uint64_t count = 0;
    int fd = -1;
    sd_status st;

    *data = NULL;
    SD_TRY(st, sd_file_open_read(path, &fd, &count));
    if (count > limit) {
        st = SD_FAIL(SD_E_DATA, "%s: has %llu bytes, more than the %llu allowed for such a file", path,
                     (unsigned long long)count, (unsigned long long)limit);
        goto out;
    }
    SD_TRY(st, SD_NEW(&bytes, count + 1));
    SD_TRY(st, sd_file_get(fd, path, 0, bytes, count));
    *data = bytes;
    *size = count;
    bytes = NULL;
out:
    sd_free(bytes);
    if (fd >= 0)
        close(fd);
    return st;
}

static sd_status sync_folder_of(const char *path)
{
    char *folder = NULL;
    int fd = -1;
    sd_status st;

    SD_TRY(st, sd_path_beside(&folder, path, "."));
    fd = open(folder, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        st = fail_env(folder, "cannot be opened");
        goto out;
    }
    /* Some network file systems cannot flush a folder and say EINVAL; nothing better is to be had there. */
    if (fsync(fd) != 0 && errno != EINVAL)
        st = fail_env(folder, "cannot be flushed to the disk");
out:
    if (fd >= 0)
        close(fd);
    sd_free(folder);
    return st;
}

sd_status sd_file_commit(const char *temporary, const char *path)
{
    struct stat info;
    int fd = open(temporary, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    sd_status st = SD_OK;

    if (fd < 0)
        return fail_env(temporary, "cannot be opened");
    /* libhdf5 creates files that all may write; take away what the project does not give. */
    if (fstat(fd, &info) != 0 || fchmod(fd, info.st_mode & FILE_MODE) != 0)
        st = fail_env(temporary, "permissions cannot be set");
    else if (fsync(fd) != 0)
        st = fail_env(temporary, "cannot be flushed to the disk");
    if (close(fd) != 0 && st == SD_OK)
        st = fail_env(temporary, "cannot be closed");
    if (st == SD_OK && rename(temporary, path) != 0)
        st = fail_env(path, "cannot be put in place");
    return st == SD_OK ? sync_folder_of(path) : st;
}

sd_status sd_file_write(const char *path, const void *data, uint64_t size)
{
    char *temporary = NULL;
    int fd = -1;
    sd_status st;

    SD_TRY(st, sd_str_format(&temporary, "%s.tmp", path));
    SD_TRY(st, sd_file_begin(temporary, &fd));
    st = sd_file_put(fd, temporary, data, size);
    close(fd);
    if (st == SD_OK)
        st = sd_file_commit(temporary, path);
    if (st != SD_OK)
        unlink(temporary);
out:
    sd_free(temporary);
    return st;
}

sd_status sd_file_append(const char *path, const void *data, uint64_t size)
{
    bool fresh = !sd_file_exists(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    sd_status st;

    if (fd < 0)
        return fail_env(path, "cannot be opened for appending");
    st = sd_file_put(fd, path, data, size);
    if (st == SD_OK && fsync(fd) != 0)
        st = fail_env(path, "cannot be flushed to the disk");
    close(fd);
    return st == SD_OK && fresh ? sync_folder_of(path) : st;
}

/* Hands the file's bytes outside `skip` to one of the two checksums. */
static sd_status digest(const char *path, sd_span skip, uint32_t *crc, sd_sha256 *sha)
{
    unsigned char *buffer = NULL;
    uint64_t at = 0, size = 0;
    int fd = -1;
    sd_status st;

    SD_TRY(st, sd_file_open_read(path, &fd, &size));
    SD_TRY(st, SD_NEW(&buffer, BUFFER_BYTES));
    while (at < size) {
        uint64_t end = size, n;

        if (skip.count != 0 && at >= skip.first && at - skip.first < skip.count) {
            at = skip.count - (at - skip.first) < size - at ? skip.first + skip.count : size;
            continue;
        }
        if (skip.count != 0 && at < skip.first && skip.first < end)
            end = skip.first;
        n = end - at < BUFFER_BYTES ? end - at : BUFFER_BYTES;
        SD_TRY(st, sd_file_get(fd, path, at, buffer, n));
        if (crc != NULL)
            *crc = sd_crc32c(*crc, buffer, n);
        else
            sd_sha256_add(sha, buffer, n);
        at += n;
    }
out:
    sd_free(buffer);
    if (fd >= 0)
        close(fd);
    return st;
}

sd_status sd_file_crc(const char *path, sd_span skip, uint32_t *crc)
{
    uint32_t value = 0;
    sd_status st = digest(path, skip, &value, NULL);

    if (st == SD_OK)
        *crc = value;
    return st;
}

sd_status sd_file_sha256(const char *path, char hex[65])
{
    sd_sha256 sha;
    sd_status st;

    sd_sha256_begin(&sha);
    st = digest(path, (sd_span){0, 0}, NULL, &sha);
    if (st == SD_OK)
        sd_sha256_end(&sha, hex);
    return st;
}

static sd_status no_room(const char *path, uint64_t need)
{
    char words[32], free_words[32];
    uint64_t bytes = 0;
    sd_status st = sd_file_space(path, &bytes);

    if (st != SD_OK)
        return st;
    return SD_FAIL(SD_E_ENV, "%s: no space on the disk: the file needs %llu bytes (%s), %llu bytes (%s) are free; make room "
                             "or choose another folder",
                   path, (unsigned long long)need, sd_str_bytes(words, sizeof words, (double)need),
                   (unsigned long long)bytes, sd_str_bytes(free_words, sizeof free_words, (double)bytes));
}

sd_status sd_file_room(const char *path, uint64_t bytes)
{
    uint64_t space = 0;
    sd_status st = sd_file_space(path, &space);

    if (st == SD_OK && space < bytes)
        st = no_room(path, bytes);
    return st;
}

sd_status sd_file_reserve(const char *temporary, const char *path)
{
    struct stat info;
    int fd = open(temporary, O_RDWR | O_NOFOLLOW | O_CLOEXEC), code = 0;
    sd_status st = SD_OK;

    if (fd < 0)
        return fail_env(temporary, "cannot be opened");
    if (fstat(fd, &info) != 0) {
        st = fail_env(temporary, "cannot be examined");
        goto out;
    }
    if (info.st_size > 0)
        do
            code = posix_fallocate(fd, 0, info.st_size);
        while (code == EINTR);
    if (code == ENOSPC || code == EDQUOT || code == EFBIG)
        st = no_room(path, (uint64_t)info.st_size);
    else if (code != 0 && code != EOPNOTSUPP && code != EINVAL) {
        errno = code;
        st = fail_env(path, "space cannot be reserved");
    }
out:
    close(fd);
    return st;
}

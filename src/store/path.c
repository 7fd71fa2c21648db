/* Folders and names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

enum { FOLDER_MODE = 0750, FOLDER_DEPTH = 64 };

static sd_status fail_env(const char *path, const char *what)
{
    return SD_FAIL(SD_E_ENV, "%s: %s: %s", path, what, strerror(errno));
}

sd_status sd_path_join(char **out, const char *folder, const char *name)
{
    size_t length = strlen(folder);

    if (length == 0)
        return sd_str_copy(out, name);
    return sd_str_format(out, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", name);
}

sd_status sd_path_beside(char **out, const char *anchor, const char *path)
{
    const char *slash = strrchr(anchor, '/');

    if (path[0] == '/' || slash == NULL)
        return sd_str_copy(out, path);
    return sd_str_format(out, "%.*s/%s", (int)(slash - anchor), anchor, path);
}

sd_status sd_file_make_dirs(const char *path)
{
    struct stat info;
    char *copy = NULL, *at;
    sd_status st;

    SD_TRY(st, sd_str_copy(&copy, path));
    for (at = copy; *at != '\0';) {
        char kept;

        at += strspn(at, "/");
        at += strcspn(at, "/");
        kept = *at;
        *at = '\0';
        if (copy[0] != '\0' && mkdir(copy, FOLDER_MODE) != 0 && errno != EEXIST) {
            /* A parent on a read-only mount says EROFS though it is there. */
            int code = errno;

            if (stat(copy, &info) != 0) {
                errno = code;
                st = fail_env(copy, "folder cannot be made");
                goto out;
            }
        }
        *at = kept;
    }
    if (stat(path, &info) != 0) {
        st = fail_env(path, "folder cannot be made");
        goto out;
    }
    if (!S_ISDIR(info.st_mode))
        st = SD_FAIL(SD_E_ENV, "%s: is there but is no folder", path);
out:
    sd_free(copy);
    return st;
}

sd_status sd_file_make_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    sd_status st;

    if (slash == NULL || slash == path)
        return SD_OK;
    SD_TRY(st, sd_str_format(&folder, "%.*s", (int)(slash - path), path));
    SD_TRY(st, sd_file_make_dirs(folder));
out:
    sd_free(folder);
    return st;
}

bool sd_file_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0;
}

sd_status sd_file_size(const char *path, uint64_t *size)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return SD_FAIL(errno == ENOENT || errno == ENOTDIR ? SD_E_DATA : SD_E_ENV, "%s: cannot be found: %s", path,
                       strerror(errno));
    *size = (uint64_t)info.st_size;
    return SD_OK;
}

sd_status sd_file_remove(const char *path)
{
    return unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR ? fail_env(path, "cannot be removed") : SD_OK;
}

static bool is_temporary(const char *name)
{
    size_t length = strlen(name);

    return strncmp(name, ".tmp-", 5) == 0 || (length >= 4 && strcmp(name + length - 4, ".tmp") == 0);
}

static sd_status remove_below(const char *folder, int depth)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char *path = NULL;
    sd_status st = SD_OK;

    if (dir == NULL)
        return fail_env(folder, "cannot be opened");
    if (depth > FOLDER_DEPTH) {
        st = SD_FAIL(SD_E_ENV, "%s: folders nested more than %d deep", folder, FOLDER_DEPTH);
        goto out;
    }
    while ((entry = readdir(dir)) != NULL) {
        struct stat info;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        sd_free(path);
        path = NULL;
        SD_TRY(st, sd_path_join(&path, folder, entry->d_name));
        if (lstat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            SD_TRY(st, remove_below(path, depth + 1));
        else if (is_temporary(entry->d_name))
            SD_TRY(st, sd_file_remove(path));
    }
out:
    sd_free(path);
    closedir(dir);
    return st;
}

sd_status sd_file_remove_temporaries(const char *folder)
{
    return remove_below(folder, 0);
}

sd_status sd_file_space(const char *path, uint64_t *bytes)
{
    struct statvfs info;
    char *probe = NULL;
    sd_status st;

    /* The file need not be there yet: ask the nearest folder above it that is. */
    SD_TRY(st, sd_str_copy(&probe, path[0] == '\0' ? "." : path));
    while (statvfs(probe, &info) != 0) {
        char *slash = strrchr(probe, '/');

        if ((errno != ENOENT && errno != ENOTDIR) || strcmp(probe, ".") == 0 || strcmp(probe, "/") == 0) {
            st = fail_env(path, "free space cannot be found out");
            goto out;
        }
        if (slash == NULL) {
            sd_free(probe);
            probe = NULL;
            SD_TRY(st, sd_str_copy(&probe, "."));
        } else {
            slash[slash == probe ? 1 : 0] = '\0';
        }
    }
    /* A file system that does not count its blocks has no limit that we could know. */
    *bytes = info.f_blocks == 0 ? UINT64_MAX : (uint64_t)info.f_bavail * (uint64_t)info.f_frsize;
out:
    sd_free(probe);
    return st;
}

sd_status sd_file_each(const char *folder, sd_status (*each)(void *self, const char *name), void *self)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    sd_status st = SD_OK;

    if (dir == NULL)
        return errno == ENOENT || errno == ENOTDIR ? SD_OK : fail_env(folder, "cannot be opened");
    while (st == SD_OK && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            st = each(self, entry->d_name);
    closedir(dir);
    return st;
}

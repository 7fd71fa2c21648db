/* A folder of its own for a test below the current one, equal on all ranks, and small helpers on files in it. */
#ifndef SAEDIFF_TESTS_SCRATCH_H
#define SAEDIFF_TESTS_SCRATCH_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "saediff/par/par.h"

/* NULL for `par` without MPI. */
static inline void scratch_begin(const sd_par *par, char folder[64])
{
    snprintf(folder, 64, "scratch-XXXXXX");
    if ((par == NULL || par->rank == 0) && mkdtemp(folder) == NULL)
        folder[0] = '\0';
    if (par != NULL)
        CHECK_OK(sd_par_bcast(par, folder, 64, 0));
    CHECK(folder[0] != '\0');
}

static inline void scratch_empty(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL) {
        char path[1024];
        struct stat info;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path)
            continue;
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            scratch_empty(path);
        else
            unlink(path);
    }
    closedir(dir);
    rmdir(folder);
}

static inline void scratch_end(const sd_par *par, const char *folder)
{
    if (par != NULL)
        CHECK_OK(sd_par_agree(par, SD_OK));
    if (par == NULL || par->rank == 0)
        scratch_empty(folder);
}

static inline const char *scratch_path(char path[256], const char *folder, const char *name)
{
    snprintf(path, 256, "%s/%s", folder, name);
    return path;
}

/* Entries of a folder. */
static inline int scratch_count(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int count = -2;

    if (dir == NULL)
        return -1;
    while ((entry = readdir(dir)) != NULL)
        count += strcmp(entry->d_name, "run.lock") != 0;
    closedir(dir);
    return count;
}

/* Changes one byte of a file. */
static inline void scratch_flip(const char *path, long offset, unsigned char bits)
{
    FILE *file = fopen(path, "r+b");
    int c;

    CHECK(file != NULL);
    if (file == NULL)
        return;
    CHECK(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET) == 0);
    c = fgetc(file);
    CHECK(c != EOF);
    CHECK(fseek(file, -1, SEEK_CUR) == 0);
    CHECK(fputc((c ^ bits) & 0xFF, file) != EOF);
    fclose(file);
}

static inline void scratch_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    CHECK(file != NULL);
    if (file == NULL)
        return;
    CHECK(fwrite(data, 1, size, file) == size);
    fclose(file);
}

/* Offset of the first occurrence of `bytes` in a file, or −1. */
static inline long scratch_find(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "rb");
    char *all;
    long length, i, found = -1;

    if (file == NULL)
        return -1;
    fseek(file, 0, SEEK_END);
    length = ftell(file);
    rewind(file);
    all = malloc((size_t)length + 1);
    if (all != NULL && fread(all, 1, (size_t)length, file) == (size_t)length)
        for (i = 0; i + (long)size <= length && found < 0; i++)
            if (memcmp(all + i, bytes, size) == 0)
                found = i;
    free(all);
    fclose(file);
    return found;
}

#endif

/* Small helpers on files in a test's folder. */
#ifndef SAEDIFF_TESTS_SCRATCH_H
#define SAEDIFF_TESTS_SCRATCH_H

#include "check.h"

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

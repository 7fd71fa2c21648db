/* Shared code of the fuzz targets that read their bytes as a file. */
#ifndef SAEDIFF_TESTS_FUZZ_FILE_H
#define SAEDIFF_TESTS_FUZZ_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "saediff/core/status.h"

/* Writes these bytes to a file, the same one at every call; the caller removes it. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    FILE *f;

    snprintf(path, sizeof path, "/tmp/saediff-fuzz-%ld", (long)getpid());
    f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    return path;
}

/* Any file content must give success or SD_E_DATA. */
static inline void fuzz_expect_data(sd_status st)
{
    if (st != SD_OK && st != SD_E_DATA) {
        fprintf(stderr, "status %d: %s\n", (int)st, sd_last_error());
        abort();
    }
}

#endif

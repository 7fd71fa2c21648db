/* Shared code of the fuzz targets of the dataset readers. */
#ifndef SAEDIFF_TESTS_FUZZ_DATASET_H
#define SAEDIFF_TESTS_FUZZ_DATASET_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "saediff/text/dataset.h"

/* Reads the bytes as a file of `format`: the result is documents within memory bounds, or SD_E_DATA. */
static inline void fuzz_dataset(const uint8_t *data, size_t size, const char *format, const char *field)
{
    enum { MOST = 2000 };
    static char path[64];
    const char *paths[1] = {path};
    sd_dataset_spec spec = {.paths = paths, .n_paths = 1, .format = format, .field = field, .separator = "\n", .limit = MOST};
    sd_dataset *d = NULL;
    sd_document doc;
    unsigned sum = 0;
    bool end = false;
    sd_status st;
    FILE *f;

    snprintf(path, sizeof path, "/tmp/saediff-fuzz-%ld", (long)getpid());
    f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    st = sd_dataset_open(&d, &spec);
    while (st == SD_OK) {
        st = sd_dataset_next(d, &doc, &end);
        if (st != SD_OK || end)
            break;
        for (uint64_t i = 0; i < doc.length; i++)
            sum += (unsigned char)doc.text[i];
    }
    if (st != SD_OK && st != SD_E_DATA) {
        fprintf(stderr, "status %d after a sum of %u: %s\n", (int)st, sum, sd_last_error());
        abort();
    }
    sd_dataset_close(&d);
    remove(path);
}

#endif

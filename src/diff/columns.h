/* Every per-latent array of a comparison: allocation, freeing, writing and reading go through this table. Private to diff. */
#ifndef SAEDIFF_DIFF_COLUMNS_H
#define SAEDIFF_DIFF_COLUMNS_H

#include "saediff/diff/diff.h"

enum { DIFF_COLUMNS = 54 };

typedef struct column {
    const char *name, *unit, *about;
    void **data; /* into the sd_diff; [latents] */
    sd_dtype type;
} column;

void columns_of(sd_diff *diff, column out[DIFF_COLUMNS]);

#endif

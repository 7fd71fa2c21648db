/* Inspecting a Parquet file; its records are read as a dataset, see dataset.h. Local. */
#ifndef SAEDIFF_TEXT_PARQUET_H
#define SAEDIFF_TEXT_PARQUET_H

#include <stdbool.h>
#include <stdio.h>

#include "saediff/core/status.h"

/* Whether the file begins with the magic number of Parquet. */
bool sd_is_parquet(const char *path);
/* Prints schema, rows, row groups and codecs for people. A damaged footer is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_parquet_inspect(const char *path, FILE *out);

#endif

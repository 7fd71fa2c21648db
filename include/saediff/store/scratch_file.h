/* Bytes that may be too many for memory: added to a file without a name, then looked at as if they were in memory. What is looked at is the
 * system's file cache, which it takes back where memory is short. All Local. */
#ifndef SAEDIFF_STORE_SCRATCH_FILE_H
#define SAEDIFF_STORE_SCRATCH_FILE_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_scratch_file sd_scratch_file;

/* The file lies in `folder`, and is gone with the process at the latest. */
SD_MUST_CHECK sd_status sd_scratch_file_create(sd_scratch_file **file, const char *folder);
void sd_scratch_file_destroy(sd_scratch_file **file);

/* Behind what was added before. A full disk is SD_E_ENV. */
SD_MUST_CHECK sd_status sd_scratch_file_add(sd_scratch_file *file, const void *data, uint64_t size);

/* All that was added, at a multiple of the page size; NULL for nothing. Stays until the spool is destroyed; nothing is added any more. */
SD_MUST_CHECK sd_status sd_scratch_file_view(sd_scratch_file *file, const void **data);

#endif

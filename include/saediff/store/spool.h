/* Bytes that may be too many for memory: added to a file without a name, then looked at as if they were in memory. What is looked at is the
 * system's file cache, which it takes back where memory is short. All Local. */
#ifndef SAEDIFF_STORE_SPOOL_H
#define SAEDIFF_STORE_SPOOL_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_spool sd_spool;

/* The file lies in `folder`, and is gone with the process at the latest. */
SD_MUST_CHECK sd_status sd_spool_create(sd_spool **spool, const char *folder);
void sd_spool_destroy(sd_spool **spool);

/* Behind what was added before. A full disk is SD_E_ENV. */
SD_MUST_CHECK sd_status sd_spool_add(sd_spool *spool, const void *data, uint64_t size);

/* All that was added, at a multiple of the page size; NULL for nothing. Stays until the spool is destroyed; nothing is added any more. */
SD_MUST_CHECK sd_status sd_spool_view(sd_spool *spool, const void **data);

#endif

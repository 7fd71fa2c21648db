/* Documents set aside in a file without a name (in $TMPDIR, else /tmp), to be taken in another order. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_SPOOL_H
#define SAEDIFF_TEXT_READ_SPOOL_H

#include "saediff/core/status.h"
#include "saediff/core/str.h"

typedef struct spool spool;

SD_MUST_CHECK sd_status spool_create(spool **s);
void spool_destroy(spool **s);
SD_MUST_CHECK sd_status spool_add(spool *s, const char *text, uint64_t length, uint64_t row);
uint64_t spool_count(const spool *s);
/* Document i of those added, into `text` (emptied first) and *row. */
SD_MUST_CHECK sd_status spool_get(spool *s, uint64_t i, sd_str *text, uint64_t *row);

#endif

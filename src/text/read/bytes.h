/* The bytes of a file in order, decompressed if its first bytes are those of gzip (RFC 1952, any number of members) or zstd (RFC 8878,
 * any number of frames). Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_BYTES_H
#define SAEDIFF_TEXT_READ_BYTES_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct bytes bytes;

/* `path` is borrowed. */
SD_MUST_CHECK sd_status bytes_open(bytes **b, const char *path);
void bytes_close(bytes **b);
/* *got ≥ 1 bytes, at most `capacity`; 0 at the end of a complete file. A truncated or damaged compressed file is SD_E_DATA. */
SD_MUST_CHECK sd_status bytes_read(bytes *b, char *into, uint64_t capacity, uint64_t *got);

#endif

/* The bytes of a file through a window that grows to the size of one record. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_FEED_H
#define SAEDIFF_TEXT_READ_FEED_H

#include "bytes.h"

typedef struct feed {
    const char *path; /* borrowed, for messages */
    bytes *source;
    char *data; /* bytes begin … end − 1 are read and not yet consumed, without a byte-order mark */
    uint64_t begin, end, capacity;
    uint64_t offset, line, column; /* of data[begin] in the decompressed file; line and column (in characters) from 1 */
    bool done;                     /* data[end − 1] is the last byte of the file */
} feed;

/* Call feed_close() on failure too. {0} may be closed. */
SD_MUST_CHECK sd_status feed_open(feed *f, const char *path);
void feed_close(feed *f);
/* Reads at least one more byte, or sets `done`. `data` may move. More than 1 GiB not consumed is SD_E_DATA: no record is so long. */
SD_MUST_CHECK sd_status feed_more(feed *f);
/* Consumes the first `count` bytes of the window. */
void feed_take(feed *f, uint64_t count);
/* The line at data[begin + at]: *length without its line end (LF or CRLF), *next where the next line begins. *any is false
 * at the end of the file. */
SD_MUST_CHECK sd_status feed_line(feed *f, uint64_t at, uint64_t *length, uint64_t *next, bool *any);

#endif

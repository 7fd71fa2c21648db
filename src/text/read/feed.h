/* The bytes of a file in a window that grows to what one record needs. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_FEED_H
#define SAEDIFF_TEXT_READ_FEED_H

#include "bytes.h"

typedef struct feed {
    const char *path; /* borrowed, for messages */
    bytes *source;
    char *data; /* bytes begin … end − 1 are read and not yet taken; a byte-order mark is not among them */
    uint64_t begin, end, capacity;
    uint64_t offset, line, column; /* of data[begin] in the unpacked file; line and column (in characters) from 1 */
    bool done;                     /* nothing comes behind data[end − 1] */
} feed;

/* On failure too, end with feed_close(). {0} may be closed. */
SD_MUST_CHECK sd_status feed_open(feed *f, const char *path);
void feed_close(feed *f);
/* At least one byte more, or `done`. `data` moves. More than 1 GiB not taken is SD_E_DATA: no record is so long. */
SD_MUST_CHECK sd_status feed_more(feed *f);
/* The first `count` bytes of the window are behind us. */
void feed_take(feed *f, uint64_t count);
/* The line at data[begin + at]: *length without its line end (LF or CRLF), *next where the following one begins. *any is false
 * where nothing is left. */
SD_MUST_CHECK sd_status feed_line(feed *f, uint64_t at, uint64_t *length, uint64_t *next, bool *any);

#endif

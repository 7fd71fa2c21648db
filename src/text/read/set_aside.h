/* Documents stored in an unnamed scratch file (in $TMPDIR, else /tmp), to be read back in another order. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_SET_ASIDE_H
#define SAEDIFF_TEXT_READ_SET_ASIDE_H

#include "saediff/core/status.h"
#include "saediff/core/str.h"

typedef struct set_aside set_aside;

SD_MUST_CHECK sd_status set_aside_create(set_aside **s);
void set_aside_destroy(set_aside **s);
SD_MUST_CHECK sd_status set_aside_add(set_aside *s, const char *text, uint64_t length, uint64_t row);
uint64_t set_aside_count(const set_aside *s);
/* Reads document i, in the order of addition, into `text` (emptied first) and *row. */
SD_MUST_CHECK sd_status set_aside_get(set_aside *s, uint64_t i, sd_str *text, uint64_t *row);

#endif

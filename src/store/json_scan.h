/* The strict walk over a JSON text that comes before cJSON sees it, and again to find a place in it. All Local. */
#ifndef SAEDIFF_STORE_JSON_SCAN_H
#define SAEDIFF_STORE_JSON_SCAN_H

#include "saediff/core/status.h"
#include "saediff/core/str.h"

/* SD_OK if `text` (NUL-terminated, no byte order mark) is one JSON value (RFC 8259) without NUL characters, duplicate
 * keys, or more than 64 levels; else SD_E_DATA with "name:line:column". With `comments`, keys that begin with // may repeat. Time is
 * length · log(members of the largest object). */
SD_MUST_CHECK sd_status sd_json_scan(const char *name, const char *text, uint64_t length, bool comments);

/* Offset of the value number `ordinal` (from 0, in the order of their beginnings) of a text that passed
 * sd_json_scan(); of its key where it is a member of an object. */
uint64_t sd_json_offset(const char *text, uint64_t length, uint64_t ordinal);

/* Line and column, both from 1, of the byte at `offset`; columns count characters. */
void sd_json_line(const char *text, uint64_t offset, uint64_t *line, uint64_t *column);


#endif

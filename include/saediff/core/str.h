/* Strings: a builder that grows, copies, and the words users see. All Local. */
#ifndef SAEDIFF_CORE_STR_H
#define SAEDIFF_CORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "saediff/core/status.h"

/* A growing text; start with {0}, end with sd_str_free(). `text` is NUL-terminated once
 * anything was added. A failed growth is remembered in `status` and adds nothing more, so
 * that a long text can be built without a check at each line; check `status` at its end. */
typedef struct sd_str {
    char *text;
    size_t length, capacity;
    sd_status status;
} sd_str;

void sd_str_add(sd_str *s, const char *format, ...) SD_PRINTF(2, 3);
void sd_str_add_bytes(sd_str *s, const void *bytes, size_t count);
void sd_str_free(sd_str *s);

/* A copy; free with sd_free(). */
SD_MUST_CHECK sd_status sd_str_copy(char **out, const char *text);
/* The formatted text; free with sd_free(). */
SD_MUST_CHECK sd_status sd_str_format(char **out, const char *format, ...) SD_PRINTF(2, 3);

/* The candidate with the smallest edit distance to `word`, or NULL if none is near
 * (distance over a third of the word's length, at least 2). candidates[i] at
 * (const char *const *)((const char *)candidates + i * stride). */
const char *sd_str_nearest(const char *word, const char *const *candidates, size_t count, size_t stride);

/* "4.1 GB", "12.3 k", "1 min 05 s" into `out`; returns out. */
const char *sd_str_bytes(char *out, size_t size, double bytes);
const char *sd_str_count(char *out, size_t size, double count);
const char *sd_str_seconds(char *out, size_t size, double seconds);

/* Whole-text conversions; false if anything is left over or out of range. */
bool sd_str_to_u64(const char *text, uint64_t *value);
bool sd_str_to_f64(const char *text, double *value);

/* Length in bytes of the UTF-8 character at `text` (limit bytes left), 0 if it is malformed. */
size_t sd_utf8_length(const char *text, size_t limit);
/* True if all of `text` is well-formed UTF-8; else *bad is the offset of the first bad byte. */
bool sd_utf8_valid(const char *text, size_t length, size_t *bad);

#endif

/* Strings: a growing buffer, copies, number formatting and parsing, UTF-8. All Local. Functions that return
 * sd_status fail with SD_E_ENV when memory runs out. */
#ifndef SAEDIFF_CORE_STR_H
#define SAEDIFF_CORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "saediff/core/status.h"

/* A growing buffer; initialise with {0}, release with sd_str_free(). `text` is NULL until something is added,
 * then NUL-terminated. If memory runs out, `status` becomes SD_E_ENV and later additions do nothing, so that
 * a long text can be built without a check at each line; check `status` at its end. */
typedef struct sd_str {
    char *text;
    size_t length, capacity; /* bytes, without and with the NUL */
    sd_status status;
} sd_str;

void sd_str_add(sd_str *s, const char *format, ...) SD_PRINTF(2, 3);
void sd_str_add_bytes(sd_str *s, const void *bytes, size_t count);
void sd_str_free(sd_str *s);

/* *out = a copy of `text`, owned by the caller; sd_free(). On failure *out is NULL. */
SD_MUST_CHECK sd_status sd_str_copy(char **out, const char *text);
/* *out = the formatted text, owned by the caller; sd_free(). On failure *out is NULL. */
SD_MUST_CHECK sd_status sd_str_format(char **out, const char *format, ...) SD_PRINTF(2, 3);

/* The candidate with the smallest edit distance (Levenshtein) to `word`, the first of several; NULL if that
 * distance exceeds max(2, a third of the word's length). Candidate i is the string pointer at `candidates` +
 * i * stride bytes, so that a member of an array of structs can be searched; nothing is copied. */
const char *sd_str_nearest(const char *word, const char *const *candidates, size_t count, size_t stride);

/* For display: writes "4.1 GB" (units of 1000), "12.3 k" or "1 min 05 s" into out [size]; returns out. */
const char *sd_str_bytes(char *out, size_t size, double bytes);
const char *sd_str_count(char *out, size_t size, double count);
const char *sd_str_seconds(char *out, size_t size, double seconds);

/* Parse a whole decimal number; false if characters remain or the value is out of range (f64: not finite).
 * *value is set on success only. */
bool sd_str_to_u64(const char *text, uint64_t *value);
bool sd_str_to_f64(const char *text, double *value);

/* Bytes of the UTF-8 character at `text`, of which `limit` bytes may be read; 0 if it is malformed or limit
 * is 0. */
size_t sd_utf8_length(const char *text, size_t limit);
/* True if all `length` bytes of `text` are well-formed UTF-8 (RFC 3629); else *bad is the offset of the first
 * malformed character. */
bool sd_utf8_valid(const char *text, size_t length, size_t *bad);

#endif

/* JSON files read strictly: position of every error, no duplicate keys, no \u0000, depth at most 64.
 * Trees are cJSON's; numbers there are doubles, so seeds and counts beyond 2^53 travel as strings. Local. */
#ifndef SAEDIFF_STORE_JSON_H
#define SAEDIFF_STORE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/str.h"

typedef struct sd_json {
    char *name; /* what messages call it: the file's path */
    char *text;
    uint64_t length;
    cJSON *root;
} sd_json;

/* From a file of at most `limit` bytes, or from text in memory that messages call `name`. Syntax errors
 * and duplicate keys are SD_E_DATA with "name:line:column". End with sd_json_close(). */
SD_MUST_CHECK sd_status sd_json_open(sd_json **json, const char *path, uint64_t limit);
SD_MUST_CHECK sd_status sd_json_parse(sd_json **json, const char *name, const char *text, uint64_t length);
/* As sd_json_open(), of a file in which members whose keys begin with // are comments: those keys may repeat. */
SD_MUST_CHECK sd_status sd_json_open_commented(sd_json **json, const char *path, uint64_t limit);
void sd_json_close(sd_json **json);

/* Line and column (from 1) of `item`: of its key where it is a member of an object, else of its value.
 * Found by walking the text again, so call it for messages only. */
void sd_json_location(const sd_json *json, const cJSON *item, uint64_t *line, uint64_t *column);

/* Members of the object `item` by name, checked. A missing member is SD_E_DATA unless a default is given
 * with the _or form; a member of another type is SD_E_DATA, both with name:line:column. null counts as missing. */
SD_MUST_CHECK sd_status sd_json_u64(const sd_json *json, const cJSON *item, const char *key, uint64_t *value);
SD_MUST_CHECK sd_status sd_json_u64_or(const sd_json *json, const cJSON *item, const char *key, uint64_t dflt,
                                       uint64_t *value);
SD_MUST_CHECK sd_status sd_json_f64_or(const sd_json *json, const cJSON *item, const char *key, double dflt,
                                       double *value);
SD_MUST_CHECK sd_status sd_json_bool_or(const sd_json *json, const cJSON *item, const char *key, bool dflt,
                                        bool *value);
/* *value points into the tree. */
SD_MUST_CHECK sd_status sd_json_text(const sd_json *json, const cJSON *item, const char *key, const char **value);
SD_MUST_CHECK sd_status sd_json_text_or(const sd_json *json, const cJSON *item, const char *key,
                                        const char *dflt, const char **value);

/* Adds `text` as a JSON string with its quotes. */
void sd_json_quote(sd_str *out, const char *text);

#endif

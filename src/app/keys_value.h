/* One value of a job: its location, its text, its parser. Private to app. */
#ifndef SAEDIFF_APP_KEYS_VALUE_H
#define SAEDIFF_APP_KEYS_VALUE_H

#include <stdbool.h>

#include "keys_table.h"
#include "saediff/core/status.h"
#include "saediff/store/json.h"

enum { KEY_NAMES = 128 }; /* more than rows and sections together */

/* Where a value comes from: a member of the file, a --set, or neither (the default). */
typedef struct key_source {
    const sd_json *json;
    const cJSON *item;
    const char *set; /* "sae.k=3" */
    char *text;      /* as written, for values that are texts; owned */
} key_source;

/* SD_E_USAGE with "file:line:column: " or "--set …: " before the message. */
sd_status key_fail(const key_source *source, const char *format, ...) SD_PRINTF(2, 3);
/* The same; with the file's path before it where the source is the default. */
sd_status key_fail_at(const key_source *source, const char *path, const char *format, ...) SD_PRINTF(3, 4);

/* "a number", "a list", ... */
const char *key_json_kind(const cJSON *item);

/* Parses what the source holds, or the row's default, into `into` as the row's type says. For a text of the file,
 * source->text becomes its copy. job_path: what paths are relative to. */
SD_MUST_CHECK sd_status key_parse(const key_row *row, const char *prefix, key_source *source, const char *job_path,
                                  void *into);
/* `text`, as written, is a list; else one value. */
bool key_is_list(const key_row *row, const char *text);
/* Frees what key_parse() allocated there. */
void key_free(const key_row *row, void *value);

#endif

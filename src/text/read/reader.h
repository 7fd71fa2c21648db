/* The interface of a format to the dataset: a sequence of records. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_READER_H
#define SAEDIFF_TEXT_READ_READER_H

#include <cjson/cJSON.h>

#include "field.h"
#include "saediff/core/status.h"
#include "saediff/core/str.h"

typedef struct record {
    const char *text; /* the document itself, `length` bytes of UTF-8 … */
    uint64_t length;
    const cJSON *value; /* … or, where text is NULL, the value to take it from; both until the next call */
} record;

typedef struct reader_options {
    const char *separator; /* for format text; NULL for none */
    const field *field;    /* the part of a record that is needed; a reader may omit the rest */
} reader_options;

typedef struct reader_format {
    const char *name;
    const char *noun; /* name of a record in messages */
    /* On failure *self is NULL. `path` is borrowed. */
    sd_status (*open)(void **self, const char *path, const reader_options *options);
    sd_status (*next)(void *self, record *r, bool *end);
    /* Adds "file:line:column" or the like of a value of the last record read, for messages. */
    void (*locate)(const void *self, const cJSON *item, sd_str *out);
    /* The columns of the file, "a, b, c"; NULL if they are taken from the records. */
    void (*columns)(const void *self, sd_str *out);
    void (*close)(void *self); /* not of NULL */
} reader_format;

extern const reader_format reader_text, reader_json, reader_jsonl, reader_csv, reader_tsv, reader_parquet;

#endif

/* What every format looks like to the dataset: records, one after another. Private to text. All Local. */
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
    const char *separator; /* of text; NULL for none */
    const field *field;    /* what of a record is needed; a reader may leave out the rest */
} reader_options;

typedef struct reader_format {
    const char *name;
    const char *noun; /* what messages call a record */
    /* On failure *self is NULL. `path` is borrowed. */
    sd_status (*open)(void **self, const char *path, const reader_options *options);
    sd_status (*next)(void *self, record *r, bool *end);
    /* "file:line:column" and the like of a value of the record last read, for messages. */
    void (*place)(const void *self, const cJSON *item, sd_str *out);
    /* The columns of the file, "a, b, c"; NULL where the records tell. */
    void (*columns)(const void *self, sd_str *out);
    void (*close)(void *self); /* not of NULL */
} reader_format;

extern const reader_format reader_text, reader_json, reader_jsonl, reader_csv, reader_tsv, reader_parquet;

#endif

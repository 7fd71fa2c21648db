/* Documents from the files people have: a JSON list, JSON lines, plain text. Local.
 *
 *   json   a list whose entries are strings, or objects with the text in `field`
 *   jsonl  one JSON value a line, string or object as above; empty lines are skipped
 *   text   one document a file, or cut at each line that equals `separator` ("" or "\n\n": at runs of empty lines;
 *          "\n": every line is a document); line ends at a cut, LF or CRLF, belong to no document
 *   auto   by the name: .json, .jsonl, .ndjson, else text
 * Text must be UTF-8; a byte-order mark is dropped. Documents without text are dropped and counted. */
#ifndef SAEDIFF_TEXT_DATASET_H
#define SAEDIFF_TEXT_DATASET_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_dataset_spec {
    const char *path;
    const char *format;    /* auto | json | jsonl | text */
    const char *field;     /* member that holds the text of an object */
    const char *separator; /* NULL for none */
    uint64_t skip, limit;  /* documents left out at the start; most documents taken, 0 for all */
    uint64_t min_chars;    /* documents of fewer bytes are dropped and counted (applied before skip and limit) */
} sd_dataset_spec;

typedef struct sd_document {
    const char *text; /* not NUL-terminated */
    uint64_t length;
    uint64_t row; /* record in the file, from 0 */
} sd_document;

typedef struct sd_dataset sd_dataset;

/* Errors name file, line or record, and what was expected there. */
SD_MUST_CHECK sd_status sd_dataset_open(sd_dataset **dataset, const sd_dataset_spec *spec);
void sd_dataset_close(sd_dataset **dataset);
uint64_t sd_dataset_count(const sd_dataset *dataset);
sd_document sd_dataset_at(const sd_dataset *dataset, uint64_t i);
/* Documents dropped: empty or too short. Records behind the last one taken are not looked at. */
uint64_t sd_dataset_dropped(const sd_dataset *dataset);

#endif

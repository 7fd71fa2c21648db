/* Documents from the files people have, one after another in constant memory. Local.
 *
 *   text     one document a file, or cut at each line that equals `separator` ("" or "\n\n": at runs of empty lines;
 *            "\n": every line is a document); line ends at a cut, LF or CRLF, belong to no document
 *   json     a list of records
 *   jsonl    one record a line; empty lines are skipped
 *   csv tsv  RFC 4180, the first line names the columns
 *   parquet  columns of strings, numbers, booleans, dates and times, structs, lists and maps of them, as the Hugging Face hub serves
 *            them; only the columns that `field` needs are read, and a file must have one of these
 *   auto     by the name, behind .gz and .zst: .json, .jsonl, .ndjson, .csv, .tsv, .parquet, else text
 * gzip (several members) and zstd (several frames) are recognised by their first bytes, whatever the name.
 *
 * A record is a JSON value: an object whose members are the columns, or a plain string. `field` says what becomes the
 * document:
 *   a name or a path   "text", "data.body", "conversations.0.value": the string there; anything else (numbers, lists of
 *                      messages) as compact JSON text. A record that is a plain string is itself the document.
 *   a template         "{title}\n{body}": every {path} is replaced so; {{ and }} are braces. Empty where all its paths are
 * A field that is absent or null makes an empty document; one that no record has is SD_E_DATA naming the columns there are.
 * Text must be UTF-8; a byte-order mark is dropped. Empty documents are dropped and counted.
 * Dates and times of Parquet become ISO 8601 texts, a map a list of {"key", "value"}; bytes that are no text are refused. A record, and so
 * a text file without separator, has at most 1 GiB. */
#ifndef SAEDIFF_TEXT_DATASET_H
#define SAEDIFF_TEXT_DATASET_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* What names and patterns mean. */
typedef struct sd_dataset_files {
    char **path;
    uint64_t count;
} sd_dataset_files;

/* `paths` as in sd_dataset_spec; at least one file. On failure there is nothing to free. */
SD_MUST_CHECK sd_status sd_dataset_find(sd_dataset_files *files, const char *const *paths, uint64_t n_paths);
void sd_dataset_files_free(sd_dataset_files *files);

typedef struct sd_dataset_spec {
    const char *const *paths; /* files, or patterns with * ? [] whose matches are taken in byte order of their names;
                                 a pattern without a match is SD_E_DATA. One sequence of records over all of them */
    uint64_t n_paths;
    const char *format;    /* auto | text | json | jsonl | csv | tsv | parquet */
    const char *field;     /* as above; not used by text */
    bool json;             /* what {path} stands for is written as JSON, texts with their quotes; a record that lacks one is an empty document */
    const char *separator; /* of text; NULL for none */
    uint64_t min_chars;    /* documents of fewer bytes are dropped and counted; the rest are the kept ones, from 0 */
    bool shuffle;          /* the kept ones are permuted: a function of seed and their number alone; they wait in a file without a
                              name in $TMPDIR, else /tmp */
    uint64_t seed;
    uint64_t skip, limit;  /* of that order: left out at the start; most taken, 0 for all */
    const char *key;       /* of the data entry that `field` comes from, for messages; NULL: "field" */
} sd_dataset_spec;

typedef struct sd_document {
    const char *text; /* not NUL-terminated; until the next call on this dataset */
    uint64_t length;
    uint64_t row; /* record over all files, from 0, in file order */
    bool plain;   /* the record is itself the document: nothing of it was chosen by `field`. Not known of shuffled ones */
} sd_document;

typedef struct sd_dataset sd_dataset;

/* Strings of the spec are copied. Errors name file, line or record (row group and column in Parquet), and what was expected there. */
SD_MUST_CHECK sd_status sd_dataset_open(sd_dataset **dataset, const sd_dataset_spec *spec);
void sd_dataset_close(sd_dataset **dataset);
/* *end where there are no more; *document is untouched then. Memory: the largest record and one page or block of the
 * file, and, to shuffle, 16 bytes a record. */
SD_MUST_CHECK sd_status sd_dataset_next(sd_dataset *dataset, sd_document *document, bool *end);
/* Documents dropped so far: empty or too short. */
uint64_t sd_dataset_dropped(const sd_dataset *dataset);

#endif

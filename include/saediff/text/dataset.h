/* Documents read from data files one after another, in constant memory. Local.
 *
 *   text     one document per file, or split at each line that equals `separator` ("" or "\n\n": at runs of empty lines;
 *            "\n": every line is a document); line ends at a split, LF or CRLF, belong to no document
 *   json     a list of records
 *   jsonl    one record per line; empty lines are skipped
 *   csv tsv  RFC 4180, the first line names the columns
 *   parquet  columns of strings, numbers, booleans, dates and times, structs, lists and maps of them, as on the Hugging Face hub;
 *            only the columns that `field` needs are read, and a file must have at least one of these
 *   auto     by the file name without .gz and .zst: .json, .jsonl, .ndjson, .csv, .tsv, .parquet, else text
 * gzip (several members) and zstd (several frames) are recognised by their first bytes, whatever the name.
 *
 * A record is a JSON value: an object whose members are the columns, or a string. `field` selects the document's text:
 *   a name or a path   "text", "data.body", "conversations.0.value": the string there; anything else (numbers, lists of
 *                      messages) as compact JSON text. A record that is a string is itself the document.
 *   a template         "{title}\n{body}": every {path} is replaced in this way; {{ and }} are braces. Empty if all its paths are
 * A field that is absent or null makes an empty document; a field that no record has is SD_E_DATA, and the message lists the columns.
 * Text must be UTF-8; a byte-order mark is dropped. Empty documents are dropped and counted.
 * Dates and times of Parquet become ISO 8601 strings, a map a list of {"key", "value"}; bytes that are not UTF-8 are SD_E_DATA. A record,
 * and thus a text file without separator, has at most 1 GiB. */
#ifndef SAEDIFF_TEXT_DATASET_H
#define SAEDIFF_TEXT_DATASET_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* The files that names and patterns match. */
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
    bool json;             /* the values of {path} are written as JSON, strings with quotes; a record without one of them is an empty document */
    const char *separator; /* for format text; NULL for none */
    uint64_t min_chars;    /* shorter documents (in bytes) are dropped and counted; the others are kept and numbered from 0 */
    bool shuffle;          /* kept documents are permuted: a function of seed and their count alone; they are buffered in an
                              unnamed file in $TMPDIR, else /tmp */
    uint64_t seed;
    uint64_t skip, limit;  /* in the resulting order: number of documents to skip; maximum to return, 0 for no limit */
    const char *key;       /* key of the data entry that holds `field`, for messages; NULL: "field" */
} sd_dataset_spec;

typedef struct sd_document {
    const char *text; /* not NUL-terminated; valid until the next call on this dataset */
    uint64_t length;
    uint64_t row; /* index of the record over all files, from 0, in file order */
    bool plain;   /* the record is a string and is itself the document; unset for shuffled documents */
} sd_document;

typedef struct sd_dataset sd_dataset;

/* Copies the strings of the spec. Errors name file, line or record (row group and column in Parquet), and what was expected. */
SD_MUST_CHECK sd_status sd_dataset_open(sd_dataset **dataset, const sd_dataset_spec *spec);
void sd_dataset_close(sd_dataset **dataset);
/* Sets *end and leaves *document unchanged after the last document. Memory: the largest record, one page or block of the
 * file, and 16 bytes per record to shuffle. */
SD_MUST_CHECK sd_status sd_dataset_next(sd_dataset *dataset, sd_document *document, bool *end);
/* Number of documents dropped so far: empty or too short. */
uint64_t sd_dataset_dropped(const sd_dataset *dataset);

#endif

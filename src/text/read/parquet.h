/* Shared declarations of the Parquet reader. The format: apache/parquet-format, README.md, Encodings.md, LogicalTypes.md and
 * parquet.thrift, which defines the numbers of the enums below. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_PARQUET_H
#define SAEDIFF_TEXT_READ_PARQUET_H

#include <cjson/cJSON.h>

#include "parquet_bits.h"
#include "saediff/core/status.h"
#include "saediff/core/str.h"
#include "saediff/core/types.h"

enum { PQ_DEPTH = 64 }; /* maximum depth of a schema */

typedef enum pq_type { PQ_BOOLEAN, PQ_INT32, PQ_INT64, PQ_INT96, PQ_FLOAT, PQ_DOUBLE, PQ_BYTES, PQ_FIXED, PQ_TYPES } pq_type;

typedef enum pq_codec {
    PQ_UNCOMPRESSED,
    PQ_SNAPPY,
    PQ_GZIP,
    PQ_LZO,
    PQ_BROTLI,
    PQ_LZ4,
    PQ_ZSTD,
    PQ_LZ4_RAW,
    PQ_CODECS
} pq_codec;

typedef enum pq_encoding {
    PQ_PLAIN = 0,
    PQ_PLAIN_DICTIONARY = 2,
    PQ_RLE,
    PQ_BIT_PACKED,
    PQ_DELTA_BINARY_PACKED,
    PQ_DELTA_LENGTH_BYTE_ARRAY,
    PQ_DELTA_BYTE_ARRAY,
    PQ_RLE_DICTIONARY,
    PQ_BYTE_STREAM_SPLIT,
    PQ_ENCODINGS
} pq_encoding;

/* Meaning of the values of a node, from converted and logical types. */
typedef enum pq_meaning {
    PQ_ITSELF,
    PQ_TEXT,
    PQ_LIST,
    PQ_MAP,
    PQ_DECIMAL,
    PQ_DATE,
    PQ_TIME,
    PQ_TIMESTAMP,
    PQ_UNSIGNED,
    PQ_FLOAT16
} pq_meaning;

typedef struct pq_node {
    char *name;
    uint32_t parent;   /* index; the root is its own */
    uint32_t children; /* 0 for a column */
    enum { PQ_REQUIRED, PQ_OPTIONAL, PQ_REPEATED } repetition;
    pq_type type;
    uint32_t length; /* bytes of a PQ_FIXED value */
    pq_meaning meaning;
    int scale; /* PQ_DECIMAL: digits after the point; PQ_TIMESTAMP: 3, 6, 9 for ms, us, ns */
    uint32_t max_def, max_rep; /* levels of a value that is not null */
    /* Target in the JSON value: a member of the parent's object; the entries of the parent's list; or the same entry as the parent,
     * which is itself such an entry. */
    enum { PQ_MEMBER, PQ_ENTRIES, PQ_SAME } target;
    uint32_t column; /* index among the columns */
} pq_node;

typedef struct pq_chunk {
    pq_codec codec;
    uint64_t values; /* including nulls */
    uint64_t first, bytes; /* in the file, including page headers */
} pq_chunk;

typedef struct pq_group {
    uint64_t rows;
    pq_chunk *chunks; /* [columns] */
} pq_group;

typedef struct pq_file {
    const char *path;
    int fd;
    uint64_t size, rows;
    pq_node *nodes; /* depth first; nodes[0] is the root */
    uint64_t n_nodes;
    uint32_t *columns; /* [n_columns] their nodes */
    uint64_t n_columns;
    pq_group *groups;
    uint64_t n_groups;
    char *writer; /* "created by", "" for unknown */
} pq_file;

/* parquet_footer.c. `path` is borrowed; call pq_file_close() on failure too. */
SD_MUST_CHECK sd_status pq_file_open(pq_file *f, const char *path);
void pq_file_close(pq_file *f);
/* "messages.list.element.content" */
void pq_node_name(const pq_file *f, const pq_node *node, sd_str *out);
const char *pq_type_name(pq_type type);
const char *pq_codec_name(pq_codec codec);

/* parquet_codec.c: decompresses exactly `size` bytes into `out`; returns an error text, or NULL on success. */
const char *pq_unpack(pq_codec codec, const uint8_t *packed, uint64_t packed_size, uint8_t *out, uint64_t size);
/* Whether `size` is more than the codec can produce from so many bytes. */
bool pq_exceeds_codec(pq_codec codec, uint64_t packed_size, uint64_t size);

typedef struct pq_value {
    uint64_t bits; /* of numbers: sign-extended, or the bits of FLOAT and DOUBLE */
    const uint8_t *bytes; /* of PQ_BYTES, PQ_FIXED, PQ_INT96 */
    uint64_t length;
} pq_value;

/* parquet_values.c: the values of one page, one after another. */
typedef struct pq_values {
    pq_encoding encoding;
    pq_type type;
    uint64_t width; /* bytes of a value of fixed size */
    const uint8_t *begin, *at, *end;
    uint64_t done;            /* values returned so far */
    pq_runs runs;             /* dictionary indices, booleans */
    pq_delta numbers, lengths; /* numbers or prefix lengths; lengths */
    const pq_value *dictionary; /* borrowed */
    uint64_t n_dictionary;
    sd_str text; /* DELTA_BYTE_ARRAY: the previous value; BYTE_STREAM_SPLIT: the value */
} pq_values;

/* Both return an error text, or NULL on success. Set `v->dictionary` before. The bytes of a value are valid until the next call. */
const char *pq_values_begin(pq_values *v, const pq_node *node, pq_encoding encoding, const uint8_t *data, uint64_t size);
const char *pq_values_next(pq_values *v, pq_value *value);
void pq_values_free(pq_values *v);

/* parquet_column.c: one column of one row group, page by page. */
typedef struct pq_column pq_column;

typedef struct pq_entry {
    uint32_t rep, def;
    pq_value value; /* if def = max_def */
} pq_entry;

SD_MUST_CHECK sd_status pq_column_open(pq_column **c, const pq_file *f, uint64_t group, uint64_t column);
void pq_column_close(pq_column **c);
/* The next value or null; *end after the last. */
SD_MUST_CHECK sd_status pq_column_next(pq_column *c, pq_entry *entry, bool *end);
/* SD_E_DATA with file, row group, column and page. */
sd_status pq_column_fail(const pq_column *c, const char *format, ...) SD_PRINTF(2, 3);

/* parquet_json.c: adds the values of one row of `c` to the object `row`; `entry` is the next one of the column on entry and on return. */
SD_MUST_CHECK sd_status pq_add_row(const pq_file *f, uint64_t column, pq_column *c, pq_entry *entry, bool *end, cJSON *row);

#endif

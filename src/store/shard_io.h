/* What the two halves of the shard share. Private. */
#ifndef SAEDIFF_STORE_SHARD_IO_H
#define SAEDIFF_STORE_SHARD_IO_H

#include "saediff/store/shard.h"

/* Rows [first, first + rows) of a dataset, inside one block, and the checksum of their bytes as `rank` wrote them.
 * Travels between ranks as bytes. */
typedef struct sd_written_span {
    uint64_t dataset, first, rows;
    uint32_t crc, rank;
} sd_written_span;

typedef struct sd_written_spans {
    sd_written_span *at;
    uint64_t count, capacity;
} sd_written_spans;

/* Rank `rank` is to read `block` of `dataset` back. */
typedef struct sd_recheck {
    uint64_t dataset, block, rank;
} sd_recheck;

uint64_t sd_shard_blocks(uint64_t rows);

/* Local. Adds the pieces of rows of one dataset that were just written. */
SD_MUST_CHECK sd_status sd_written_spans_add(sd_written_spans *spans, uint64_t dataset, int rank, sd_span rows, const void *data,
                                      uint64_t row_bytes);

/* Local. Sorts the pieces of all ranks; every row of arrays[0 … n−1] must be there once (SD_E_INTERNAL with dataset and row
 * otherwise); tables[d][block] = checksum of the block. */
SD_MUST_CHECK sd_status sd_written_spans_join(sd_written_spans *spans, const char *path, const sd_array *arrays, uint64_t n,
                                       uint32_t *const *tables);

/* Local. Of each dataset the first and the last block that each rank wrote first in, to be read by the next rank: at
 * most 2·n·ranks. `pieces` sorted. *rechecks: sd_free(). */
SD_MUST_CHECK sd_status sd_written_spans_rechecks(const sd_written_spans *spans, uint64_t n, int ranks, sd_recheck **rechecks,
                                           uint64_t *count);

/* A reader of any format, for a file just written. */
SD_MUST_CHECK sd_status sd_shard_open_any(sd_shard_reader **reader, const char *path);
/* *raw = where the bytes of the dataset lie in the file; empty if it has none. */
SD_MUST_CHECK sd_status sd_shard_raw(sd_shard_reader *reader, const char *dataset, sd_span *raw);

#endif

/* Shards: parallel HDF5 files of rows, written by all ranks, read by any.
 *
 * A shard holds rows [first, first + rows) of the canonical token stream as fixed-extent, contiguous datasets whose
 * first dimension is rows of that dataset. Layout and bytes do not depend on how many ranks wrote it.
 *
 *   <dataset>          e.g. activations [rows, d_model]
 *   <dataset>_crc32c   u32 [ceil(rows / 4096)]: CRC-32C of each block of 4096 rows of the raw bytes
 *   attributes         format, version, saediff and the caller's, first_row and rows (u64) among them; per dataset
 *                      unit, about
 *
 * Protocol: rank 0 alone lays the file out under a temporary name with all datasets at their full extent (so its bytes
 * cannot depend on the ranks, and no rank can hang in a failing create), and reserves the space with posix_fallocate so
 * that a full disk is one clean error before any computing; all ranks open it; rows are written independently in large
 * blocks (collective raw-data writes lose data silently on a full disk with Open MPI 4.1); checksums of what was
 * written are combined over the ranks; flush; another rank than the writer reads blocks back; rename; manifest. */
#ifndef SAEDIFF_STORE_SHARD_H
#define SAEDIFF_STORE_SHARD_H

#include "saediff/par/par.h"
#include "saediff/store/bundle.h"
#include "saediff/store/manifest.h"

enum { SD_BLOCK_ROWS = 4096 };

/* One dataset to be: data of the sd_array is ignored, shape[0] is its number of rows. */
typedef struct sd_shard_spec {
    const char *path; /* final name, inside the manifest's folder */
    const char *format;
    uint64_t version;
    const sd_attr *attrs; /* first_row and rows among them; no times, hosts or rank counts */
    uint64_t n_attrs;
    const sd_array *datasets;
    uint64_t n_datasets;
} sd_shard_spec;

typedef struct sd_shard sd_shard;

/* Collective. On failure *shard is NULL on all ranks and no file is left. `par` is borrowed. */
SD_MUST_CHECK sd_status sd_shard_create(sd_shard **shard, const sd_par *par, const sd_shard_spec *spec);

/* Local. Writes rows `rows` (relative to the dataset) from contiguous host memory in the dataset's type. Every row of
 * every dataset must be written exactly once, by one rank. */
SD_MUST_CHECK sd_status sd_shard_write(sd_shard *shard, uint64_t dataset, sd_span rows, const void *data);

/* Collective. `mine` is this rank's verdict on its writes. If all are well and every row was written once: checksums,
 * flush, read-back, rename, manifest record with `key`. Otherwise the temporary file is removed and all ranks get the error.
 * Always leaves *shard NULL. */
SD_MUST_CHECK sd_status sd_shard_commit(sd_shard **shard, sd_manifest *manifest, const char *key, sd_status mine);

/* Reading, Local; any number of ranks. The header part of the file was checked against the manifest by the caller
 * (sd_manifest_check()) before libhdf5 sees it. */
typedef struct sd_shard_reader sd_shard_reader;

SD_MUST_CHECK sd_status sd_shard_open(sd_shard_reader **reader, const char *path, const char *format, uint64_t newest);
void sd_shard_close(sd_shard_reader **reader);
SD_MUST_CHECK sd_status sd_shard_attr_u64(sd_shard_reader *reader, const char *name, uint64_t *value);
/* Type, dims and shape of a dataset; SD_E_DATA if there is none of this name. */
SD_MUST_CHECK sd_status sd_shard_shape(sd_shard_reader *reader, const char *dataset, sd_dtype *type, int *dims,
                                       uint64_t shape[SD_ARRAY_DIMS]);
/* Reads rows into contiguous memory in the file's own type. The checksum of every block touched is verified on its
 * first touch; a mismatch is SD_E_DATA naming file, dataset, block and rows. */
SD_MUST_CHECK sd_status sd_shard_read(sd_shard_reader *reader, const char *dataset, sd_span rows, void *data);
/* Verifies every block of every dataset. The message of a failure lists the damaged blocks. */
SD_MUST_CHECK sd_status sd_shard_verify(sd_shard_reader *reader);

/* Local. Writes `path`, a file with one virtual dataset `dataset` [Σ rows, ...] over the same dataset of `count` shards,
 * by names relative to its own folder. For readers such as h5py; the program itself reads the shards. */
SD_MUST_CHECK sd_status sd_shard_view(const char *path, const char *dataset, const char *const *shards, uint64_t count);

#endif

/* Plain files: whole reads, atomic writes, folders, checksums. All Local. Errors name the path and what
 * the system said. */
#ifndef SAEDIFF_STORE_FILE_H
#define SAEDIFF_STORE_FILE_H

#include <stdbool.h>

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* *data = the file's bytes and a closing NUL that *size does not count; free with sd_free(). Files above
 * `limit` bytes are refused with SD_E_DATA. */
SD_MUST_CHECK sd_status sd_file_read(const char *path, uint64_t limit, char **data, uint64_t *size);

/* *fd open for reading, to be closed by the caller; *size its bytes. One that is not there, or no file, is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_file_open_read(const char *path, int *fd, uint64_t *size);
/* Exactly `size` bytes from `offset`; a file that ends before is SD_E_DATA. `path` is for messages. */
SD_MUST_CHECK sd_status sd_file_get(int fd, const char *path, uint64_t offset, void *data, uint64_t size);

/* Writes path.tmp, flushes it to the disk, renames it to path, flushes the folder. */
SD_MUST_CHECK sd_status sd_file_write(const char *path, const void *data, uint64_t size);
/* The second half of it for a file that was written under `temporary`. */
SD_MUST_CHECK sd_status sd_file_commit(const char *temporary, const char *path);

/* Appends and flushes to the disk. */
SD_MUST_CHECK sd_status sd_file_append(const char *path, const void *data, uint64_t size);

/* The folder and those above it, mode 0750; fine if it is there. */
SD_MUST_CHECK sd_status sd_file_make_dirs(const char *path);
/* The folder of `path`. */
SD_MUST_CHECK sd_status sd_file_make_parent(const char *path);
bool sd_file_exists(const char *path);
SD_MUST_CHECK sd_status sd_file_size(const char *path, uint64_t *size);
/* Fine if it is not there. */
SD_MUST_CHECK sd_status sd_file_remove(const char *path);
/* Removes every file below `folder` (not following links) whose name begins with ".tmp-" or ends in ".tmp". */
SD_MUST_CHECK sd_status sd_file_remove_temporaries(const char *folder);

/* Calls `each` with every name in `folder` (not "." and ".."), in no order, until it fails; fine if there is no such folder. */
SD_MUST_CHECK sd_status sd_file_each(const char *folder, sd_status (*each)(void *self, const char *name), void *self);

/* CRC-32C of the file's bytes outside `skip` (count 0 for the whole file). */
SD_MUST_CHECK sd_status sd_file_crc(const char *path, sd_span skip, uint32_t *crc);
/* SHA-256 of the whole file, in hexadecimal. */
SD_MUST_CHECK sd_status sd_file_sha256(const char *path, char hex[65]);

/* Bytes that an unprivileged user may still write on the file system of `path`. */
SD_MUST_CHECK sd_status sd_file_space(const char *path, uint64_t *bytes);

/* libhdf5 failed on the disk (a write, a flush, a close). What it still holds would crash in MPI_Finalize: leave through
 * sd_par_leave(). */
bool sd_store_is_broken(void);

/* folder/name; free with sd_free(). */
SD_MUST_CHECK sd_status sd_path_join(char **out, const char *folder, const char *name);
/* `path` as seen from the folder of the file `anchor`: unchanged if absolute. free with sd_free(). */
SD_MUST_CHECK sd_status sd_path_beside(char **out, const char *anchor, const char *path);

#endif

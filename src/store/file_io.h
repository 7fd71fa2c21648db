/* What the writers of this room share below file.h. All Local. */
#ifndef SAEDIFF_STORE_FILE_IO_H
#define SAEDIFF_STORE_FILE_IO_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"
#include "saediff/store/file.h"

/* Creates (or empties) a file of our own, never through a symbolic link; *fd is to be closed by the caller. */
SD_MUST_CHECK sd_status sd_file_begin(const char *path, int *fd);
/* All bytes or an error that says how far it came. */
SD_MUST_CHECK sd_status sd_file_put(int fd, const char *path, const void *data, uint64_t size);

/* SD_E_ENV if fewer than `bytes` bytes are free where `path` is to be. */
SD_MUST_CHECK sd_status sd_file_room(const char *path, uint64_t bytes);
/* Reserves the disk blocks of the whole file `temporary`; messages speak of `path`. */
SD_MUST_CHECK sd_status sd_file_reserve(const char *temporary, const char *path);

#endif

/* A thread pool over tiles. Threads take the next tile when they are free, so that a slow core does not delay the others; the result must
 * therefore not depend on which thread computes a tile. */
#ifndef SAEDIFF_DEV_CPU_POOL_H
#define SAEDIFF_DEV_CPU_POOL_H

#include <stddef.h>

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_pool sd_pool;

/* Computes one tile. `scratch` belongs to the running thread; its contents are undefined. */
typedef void (*sd_tile_fn)(const void *args, uint64_t tile, void *scratch);

/* Local. threads ≥ 1; the caller of sd_pool_run() is one of them. */
SD_MUST_CHECK sd_status sd_pool_create(sd_pool **pool, int threads);
void sd_pool_destroy(sd_pool **pool);

/* Local. Calls fn for tiles 0 … tiles−1 with `scratch_bytes` of workspace (64-byte aligned) per thread; returns
 * when all are done. Not to be called from a tile. */
SD_MUST_CHECK sd_status sd_pool_run(sd_pool *pool, uint64_t tiles, size_t scratch_bytes, sd_tile_fn fn,
                                    const void *args);

/* Local. A workspace of `bytes` (64-byte aligned) that all tiles of the next run share; valid until the next call. */
SD_MUST_CHECK sd_status sd_pool_shared(sd_pool *pool, uint64_t bytes, void **workspace);

#endif

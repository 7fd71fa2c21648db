/* Memory: zeroed aligned allocations, overflow-checked sizes, and an error message when memory runs out. All
 * Local. */
#ifndef SAEDIFF_CORE_MEM_H
#define SAEDIFF_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "saediff/core/status.h"

/* Local. *out = `count` zeroed elements of `size` bytes, 64-byte aligned, owned by the caller; free with
 * sd_free(). count 0 gives a valid pointer. On failure *out is NULL and the status SD_E_ENV (out of memory,
 * or a size beyond 64 bits). */
SD_MUST_CHECK sd_status sd_alloc_bytes(void **out, uint64_t count, size_t size);
/* Local. NULL is allowed. */
void sd_free(void *memory);

/* Allocates `count` elements of the type that *out points to: SD_TRY(st, SD_NEW(&pointer, count)). */
#define SD_NEW(out, count) sd_alloc_bytes((void **)(out), (count), sizeof **(out))

/* Local. *product = a·b and *sum = a + b; SD_E_DATA, with `what` (a file or tensor) first in the message, if
 * the result exceeds 64 bits. */
SD_MUST_CHECK sd_status sd_mul_u64(uint64_t a, uint64_t b, uint64_t *product, const char *what);
SD_MUST_CHECK sd_status sd_add_u64(uint64_t a, uint64_t b, uint64_t *sum, const char *what);

/* Local. Bytes of memory available and installed on this machine (MemAvailable and MemTotal of
 * /proc/meminfo); both 0 where unknown. */
void sd_mem_machine(uint64_t *available, uint64_t *total);

/* For tests: the n-th allocation from now (1 = the next) fails with SD_E_ENV; 0 switches this off. */
void sd_mem_fail_at(uint64_t n);
/* For tests: the number of allocations attempted so far by this process. */
uint64_t sd_mem_count(void);

#endif

/* Memory: checked products, zeroed blocks, and a message when there is none left. */
#ifndef SAEDIFF_CORE_MEM_H
#define SAEDIFF_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "saediff/core/status.h"

/* Local. *out = `count` zeroed elements of `size` bytes, 64-byte aligned; free with sd_free().
 * count 0 gives a valid pointer. On failure *out is NULL and the status SD_E_ENV. */
SD_MUST_CHECK sd_status sd_alloc_bytes(void **out, uint64_t count, size_t size);
void sd_free(void *memory);

/* SD_TRY(st, SD_NEW(&pointer, count)) */
#define SD_NEW(out, count) sd_alloc_bytes((void **)(out), (count), sizeof **(out))

/* Local. a*b and a+b, or SD_E_DATA with `what` in the message when they do not fit in 64 bits. */
SD_MUST_CHECK sd_status sd_mul_u64(uint64_t a, uint64_t b, uint64_t *product, const char *what);
SD_MUST_CHECK sd_status sd_add_u64(uint64_t a, uint64_t b, uint64_t *sum, const char *what);

/* Local. Bytes of memory that this machine can still give, and that it has; both 0 where it does not tell. */
void sd_mem_machine(uint64_t *left, uint64_t *all);

/* For tests: the n-th allocation from now (1 = the next) fails; 0 switches that off. */
void sd_mem_fail_at(uint64_t n);
/* For tests: allocations made so far. */
uint64_t sd_mem_count(void);

#endif

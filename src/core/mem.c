#include "saediff/core/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static _Atomic uint64_t allocations, fail_at;

sd_status sd_alloc_bytes(void **out, uint64_t count, size_t size)
{
    uint64_t bytes, nth = atomic_fetch_add(&allocations, 1) + 1;

    *out = NULL;
    if (__builtin_mul_overflow(count, (uint64_t)size, &bytes) || bytes > UINT64_MAX - ALIGNMENT)
        return SD_FAIL(SD_E_ENV, "%llu elements of %zu bytes do not fit in the address space",
                       (unsigned long long)count, size);
    bytes = (bytes + ALIGNMENT) / ALIGNMENT *
            ALIGNMENT; /* aligned_alloc requires a multiple of the alignment; never 0 */
    if (nth != atomic_load(&fail_at))
        *out = aligned_alloc(ALIGNMENT, (size_t)bytes);
    if (*out == NULL)
        return SD_FAIL(SD_E_ENV,
                       "out of memory: an allocation of %llu bytes failed; use smaller batches, or spread "
                       "the ranks over more machines",
                       (unsigned long long)bytes);
    memset(*out, 0, (size_t)bytes);
    return SD_OK;
}

void sd_free(void *memory)
{
    free(memory);
}

sd_status sd_mul_u64(uint64_t a, uint64_t b, uint64_t *product, const char *what)
{
    if (__builtin_mul_overflow(a, b, product))
        return SD_FAIL(SD_E_DATA, "%s: %llu x %llu does not fit in 64 bits", what, (unsigned long long)a,
                       (unsigned long long)b);
    return SD_OK;
}

sd_status sd_add_u64(uint64_t a, uint64_t b, uint64_t *sum, const char *what)
{
    if (__builtin_add_overflow(a, b, sum))
        return SD_FAIL(SD_E_DATA, "%s: %llu + %llu does not fit in 64 bits", what, (unsigned long long)a,
                       (unsigned long long)b);
    return SD_OK;
}

void sd_mem_machine(uint64_t *available, uint64_t *total)
{
    FILE *file = fopen("/proc/meminfo", "r");
    unsigned long long kb, total_kb = 0, available_kb = 0;
    char line[128];

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %llu kB", &kb) == 1)
            total_kb = kb;
        else if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            available_kb = kb;
    }
    if (file != NULL)
        fclose(file);
    *available = total_kb > 0 ? 1024 * (uint64_t)available_kb : 0;
    *total = available_kb > 0 ? 1024 * (uint64_t)total_kb : 0;
}

void sd_mem_fail_at(uint64_t n)
{
    atomic_store(&fail_at, n == 0 ? 0 : atomic_load(&allocations) + n);
}

uint64_t sd_mem_count(void)
{
    return atomic_load(&allocations);
}

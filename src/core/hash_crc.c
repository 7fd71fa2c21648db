/* CRC-32C, reflected, polynomial 0x1EDC6F41: by the processor's own instruction where it has one, else by
 * table. */
#include <string.h>

#include "saediff/core/hash.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_CRC_INSTRUCTION 1
#else
#define HAVE_CRC_INSTRUCTION 0
#endif

static const uint32_t polynomial = 0x82f63b78u;

static uint32_t table_entry(uint32_t byte)
{
    for (int bit = 0; bit < 8; bit++)
        byte = byte & 1u ? byte >> 1 ^ polynomial : byte >> 1;
    return byte;
}

static uint32_t crc_by_table(uint32_t crc, const unsigned char *bytes, size_t count)
{
    static _Thread_local uint32_t table[256];

    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++)
            table[i] = table_entry(i);
    for (size_t i = 0; i < count; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xffu];
    return crc;
}

#if HAVE_CRC_INSTRUCTION
__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc, const unsigned char *bytes,
                                                                     size_t count)
{
    uint64_t wide = crc, word;

    for (; count >= sizeof word; count -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; count > 0; count--, bytes++)
        crc = _mm_crc32_u8(crc, *bytes);
    return crc;
}
#endif

uint32_t sd_crc32c(uint32_t crc, const void *bytes, size_t count)
{
    crc = ~crc;
#if HAVE_CRC_INSTRUCTION
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_by_instruction(crc, bytes, count);
#endif
    return ~crc_by_table(crc, bytes, count);
}

/* a·b modulo the polynomial; bit 31 is x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = b & 1u ? b >> 1 ^ polynomial : b >> 1;
    }
    return product;
}

uint32_t sd_crc32c_join(uint32_t crc_a, uint32_t crc_b, uint64_t length_b)
{
    uint32_t shift = 0x80000000u, power = 0x00800000u; /* x^0 and x^8 */

    for (; length_b != 0; length_b >>= 1) {
        if (length_b & 1u)
            shift = multiply(shift, power);
        power = multiply(power, power);
    }
    return multiply(crc_a, shift) ^ crc_b;
}

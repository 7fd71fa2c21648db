/* Checksums. CRC-32C (Castagnoli; RFC 3720 appendix B.4 has vectors) guards blocks, SHA-256 (FIPS 180-4)
 * identifies inputs and configurations. All Local. */
#ifndef SAEDIFF_CORE_HASH_H
#define SAEDIFF_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* CRC of `bytes` continued from `crc` (0 to begin). */
uint32_t sd_crc32c(uint32_t crc, const void *bytes, size_t count);

/* CRC of A followed by B, from the CRC of each and the length of B. */
uint32_t sd_crc32c_join(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

typedef struct sd_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} sd_sha256;

enum { SD_SHA256_HEX = 65 };

void sd_sha256_begin(sd_sha256 *sha);
void sd_sha256_add(sd_sha256 *sha, const void *bytes, size_t count);
/* Adds the text and a closing zero byte, so that neighbouring strings cannot run together. */
void sd_sha256_add_text(sd_sha256 *sha, const char *text);
/* Lower-case hexadecimal digits and a NUL. */
void sd_sha256_end(sd_sha256 *sha, char hex[SD_SHA256_HEX]);

#endif

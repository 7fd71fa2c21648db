/* Checksums: CRC-32C (Castagnoli; test vectors in RFC 3720 appendix B.4) detects damaged blocks, SHA-256
 * (FIPS 180-4) identifies inputs and configurations. All functions are Local, allocate nothing and cannot
 * fail. */
#ifndef SAEDIFF_CORE_HASH_H
#define SAEDIFF_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C of `count` bytes, continuing from `crc`, the value returned for the bytes before them (0 at the
 * start). */
uint32_t sd_crc32c(uint32_t crc, const void *bytes, size_t count);

/* CRC-32C of A followed by B, from the CRC of each and the length of B in bytes. O(log length_b). */
uint32_t sd_crc32c_join(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

/* An incremental digest: begin, any number of adds, end. The caller owns the struct; nothing needs to be
 * freed. */
typedef struct sd_sha256 {
    uint32_t state[8];
    uint64_t bytes;    /* added so far */
    uint8_t block[64]; /* the last bytes % 64 of them, not yet digested */
} sd_sha256;

enum { SD_SHA256_HEX = 65 }; /* 64 hexadecimal digits and a NUL */

void sd_sha256_begin(sd_sha256 *sha);
void sd_sha256_add(sd_sha256 *sha, const void *bytes, size_t count);
/* Adds the text and its terminating NUL, so that "ab", "c" and "a", "bc" give different digests. */
void sd_sha256_add_text(sd_sha256 *sha, const char *text);
/* Writes the digest as lower-case hexadecimal digits and a NUL. `sha` must be begun again before it is
 * reused. */
void sd_sha256_end(sd_sha256 *sha, char hex[SD_SHA256_HEX]);

#endif

/* The two packed forms of whole numbers in Parquet pages (Encodings.md): runs, for levels, dictionary indices and booleans; and
 * differences. Both are read number by number, so that what a hostile page claims costs no memory. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_PARQUET_BITS_H
#define SAEDIFF_TEXT_READ_PARQUET_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* RLE / bit-packing hybrid, or the old bit-packed levels. */
typedef struct pq_runs {
    const uint8_t *at, *end; /* behind the run at hand */
    const uint8_t *packed;   /* of a bit-packed run; NULL for a repeated value */
    unsigned width;          /* bits of a number, 0 … 32 */
    bool high_first;         /* bits of the old form */
    uint64_t left, bit;      /* of the run at hand: numbers, first bit of the next */
    uint32_t value;
} pq_runs;

void pq_runs_begin(pq_runs *r, const uint8_t *data, uint64_t size, unsigned width);
/* The old bit-packed levels: `count` numbers from the highest bit down. */
void pq_runs_begin_old(pq_runs *r, const uint8_t *data, uint64_t size, unsigned width, uint64_t count);
/* False where the bytes are used up or make no sense. */
bool pq_runs_next(pq_runs *r, uint32_t *value);

/* DELTA_BINARY_PACKED */
typedef struct pq_delta {
    const uint8_t *at, *end; /* behind the miniblock at hand */
    uint64_t per_block, minis, per_mini;
    uint64_t left;           /* numbers not yet given */
    bool first;              /* `value` is not yet given */
    uint64_t value, least;   /* the number before; the block's least difference */
    const uint8_t *widths;   /* of the block's miniblocks */
    uint64_t mini;           /* the next of them */
    const uint8_t *packed;
    unsigned width;
    uint64_t mini_left, bit; /* of the miniblock at hand */
} pq_delta;

/* Both are false where the bytes are used up or make no sense. */
bool pq_delta_begin(pq_delta *d, const uint8_t *data, uint64_t size);
bool pq_delta_next(pq_delta *d, int64_t *value);
/* Where the bytes of a sequence end that has just begun; NULL if they make no sense. */
const uint8_t *pq_delta_end(pq_delta d);

#endif

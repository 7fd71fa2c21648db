/* The two packed encodings of integers in Parquet pages (Encodings.md): runs, for levels, dictionary indices and booleans; and
 * differences. Both are decoded number by number, so that the sizes a hostile page declares cost no memory. Private to text. All Local. */
#ifndef SAEDIFF_TEXT_READ_PARQUET_BITS_H
#define SAEDIFF_TEXT_READ_PARQUET_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* RLE / bit-packing hybrid, or the old bit-packed levels. */
typedef struct pq_runs {
    const uint8_t *at, *end; /* after the current run */
    const uint8_t *packed;   /* of a bit-packed run; NULL for a repeated value */
    unsigned width;          /* bits of a number, 0 … 32 */
    bool high_first;         /* bit order of the old encoding */
    uint64_t left, bit;      /* of the current run: remaining numbers, first bit of the next */
    uint32_t value;
} pq_runs;

void pq_runs_begin(pq_runs *r, const uint8_t *data, uint64_t size, unsigned width);
/* The old bit-packed levels: `count` numbers from the highest bit down. */
void pq_runs_begin_old(pq_runs *r, const uint8_t *data, uint64_t size, unsigned width, uint64_t count);
/* False if the bytes are used up or invalid. */
bool pq_runs_next(pq_runs *r, uint32_t *value);

/* DELTA_BINARY_PACKED */
typedef struct pq_delta {
    const uint8_t *at, *end; /* after the current miniblock */
    uint64_t per_block, minis, per_mini;
    uint64_t left;           /* numbers not yet returned */
    bool first;              /* `value` is not yet returned */
    uint64_t value, min_delta;   /* the previous number; the block's minimum difference */
    const uint8_t *widths;   /* of the block's miniblocks */
    uint64_t mini;           /* index of the next one */
    const uint8_t *packed;
    unsigned width;
    uint64_t mini_left, bit; /* of the current miniblock */
} pq_delta;

/* Both return false if the bytes are used up or invalid. */
bool pq_delta_begin(pq_delta *d, const uint8_t *data, uint64_t size);
bool pq_delta_next(pq_delta *d, int64_t *value);
/* End of the bytes of a sequence that was just started; NULL if they are invalid. */
const uint8_t *pq_delta_end(pq_delta d);

#endif

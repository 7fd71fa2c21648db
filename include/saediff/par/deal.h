/* Vectors cut into slices, each slice with one owner. */
#ifndef SAEDIFF_PAR_DEAL_H
#define SAEDIFF_PAR_DEAL_H

#include "saediff/par/par.h"

/* Collective. Ranks 0 … sources−1 hold a whole vector of bytes each, in `mine` (the others pass NULL); slice[r] [size] is the part of it that
 * rank r owns, the same on all ranks. This rank gets its slice of every vector: received [sources, slice[rank].count], by source. Slices may
 * be empty and of any 64-bit length. */
SD_MUST_CHECK sd_status sd_par_deal(const sd_par *par, const void *mine, int sources, const sd_span *slice, void *received);

/* Collective. The other way: every rank holds its own slice of `vector` and gets all the others'. */
SD_MUST_CHECK sd_status sd_par_collect(const sd_par *par, void *vector, const sd_span *slice);

/* Collective, in place. values [count]: each was set on one rank and is 0 on all others; all ranks get them, bit by bit. */
SD_MUST_CHECK sd_status sd_par_share_f64(const sd_par *par, double *values, uint64_t count);

#endif

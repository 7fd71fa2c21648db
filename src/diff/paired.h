/* The paired part of a comparison: what needs both models' value of a latent on one token, and sums per document. Private to this room. */
#ifndef SAEDIFF_DIFF_PAIRED_H
#define SAEDIFF_DIFF_PAIRED_H

#include "saediff/diff/diff.h"

/* Collective. `diff` on rank 0, with sums, tokens and sizes in place and all columns allocated; NULL on the others. */
SD_MUST_CHECK sd_status paired_run(const sd_par *par, const sd_diff_spec *spec, sd_diff *diff);

#endif

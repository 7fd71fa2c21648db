/* The paired part of a comparison: statistics that need the activations of both models on one token, and sums per document. Private to diff. */
#ifndef SAEDIFF_DIFF_PAIRED_H
#define SAEDIFF_DIFF_PAIRED_H

#include "saediff/diff/diff.h"

/* Collective. `diff` on rank 0, with sums, tokens and sizes in place and all columns allocated; NULL on the others. */
SD_MUST_CHECK sd_status paired_run(const sd_par *par, const sd_diff_spec *spec, sd_diff *diff);

#endif

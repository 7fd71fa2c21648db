/* The per-latent arrays of one side of a matching. Private to diff. */
#ifndef SAEDIFF_DIFF_MATCH_COLUMNS_H
#define SAEDIFF_DIFF_MATCH_COLUMNS_H

#include "saediff/diff/match.h"

SD_MUST_CHECK sd_status match_side_allocate(sd_match_side *side);
void match_side_free(sd_match_side *side);

#endif

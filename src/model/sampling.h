/* One token from the logits of one row. Local. */
#ifndef SAEDIFF_MODEL_SAMPLING_H
#define SAEDIFF_MODEL_SAMPLING_H

#include "saediff/model/generate.h"

/* Scratch of sd_sample(): an index and a weight for each token. */
typedef struct sd_candidate {
    float logit;
    int32_t id;
} sd_candidate;

/* `uniform` in [0, 1) selects among the kept candidates; ignored at temperature 0. scratch [vocabulary]. A row with a logit that
 * is NaN or +∞, or whose logits are all −∞, is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_sample(const float *logits, uint64_t vocabulary, const sd_sampling *how, double uniform,
                                  sd_candidate *scratch, int32_t *id);

#endif

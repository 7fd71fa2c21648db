/* One token from the logits of one row. Local. */
#ifndef SAEDIFF_MODEL_SAMPLING_H
#define SAEDIFF_MODEL_SAMPLING_H

#include "saediff/model/generate.h"

/* Room for sd_sample(): an index and a weight for each token. */
typedef struct sd_candidate {
    float logit;
    int32_t id;
} sd_candidate;

/* uniform in [0, 1) draws among what the filters leave; not used where the temperature is 0. room [vocabulary]. A row with a logit that
 * is NaN or +∞, or whose logits are all −∞, is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_sample(const float *logits, uint64_t vocabulary, const sd_sampling *how, double uniform,
                                  sd_candidate *capacity, int32_t *id);

#endif

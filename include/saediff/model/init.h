/* Models with random weights, from a configuration and a seed. */
#ifndef SAEDIFF_MODEL_INIT_H
#define SAEDIFF_MODEL_INIT_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* Local. Creates the folder `out` with config.json, a copy of the file `config`, and weights: matrices normal with standard deviation
 * initializer_range (default 0.02), gains 1, biases 0, in the file's torch_dtype or dtype (float32, float16, bfloat16; default
 * float32). Every element is a function of seed, tensor and index only. One tensor is in memory at a time. SD_E_USAGE if the
 * folder already has weights or another configuration. */
SD_MUST_CHECK sd_status sd_model_init(const char *config, const char *out, uint64_t seed);

#endif

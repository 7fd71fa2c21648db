/* `saediff inspect FILE`: what is in a file, for people. Local. */
#ifndef SAEDIFF_STORE_INSPECT_H
#define SAEDIFF_STORE_INSPECT_H

#include <stdio.h>

#include "saediff/core/status.h"

/* HDF5 (groups, datasets with type, shape, attributes, first values, virtual sources), safetensors (metadata, tensors), a PyTorch checkpoint
 * (tensors), or a manifest.log, told apart by content; anything else is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_inspect(const char *path, FILE *out);

#endif

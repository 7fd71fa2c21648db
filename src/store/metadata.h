/* The __metadata__ object of a safetensors file, or NULL; for `inspect`. Local. */
#ifndef SAEDIFF_STORE_METADATA_H
#define SAEDIFF_STORE_METADATA_H

#include <cjson/cJSON.h>

#include "saediff/store/safetensors.h"

const cJSON *sd_safetensors_metadata(const sd_safetensors *file);

#endif

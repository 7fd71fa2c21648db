#ifndef SAEDIFF_STORE_INSPECT_H5_H
#define SAEDIFF_STORE_INSPECT_H5_H

#include <stdio.h>

#include "saediff/core/status.h"

/* Local. Groups, datasets and attributes of any HDF5 file, ours or not. Links to elsewhere are named, not followed. */
SD_MUST_CHECK sd_status sd_inspect_h5(const char *path, FILE *out);

#endif

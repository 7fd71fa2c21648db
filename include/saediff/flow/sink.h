/* Where activations go. The model writes to a sink and does not know whether it is a file. */
#ifndef SAEDIFF_FLOW_SINK_H
#define SAEDIFF_FLOW_SINK_H

#include "saediff/dev/dev.h"

typedef struct sd_sink {
    /* Local. Takes the rows [n, d_model] (real, on the device, valid during the call only) that belong
     * to the slab being computed. Queued work on `rows` is in order with the sink's own. */
    sd_status (*put)(void *self, sd_dev *dev, sd_mat rows);
    void *self;
} sd_sink;

#endif

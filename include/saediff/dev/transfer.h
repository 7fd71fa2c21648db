/* What goes from one rank's device to another's. */
#ifndef SAEDIFF_DEV_TRANSFER_H
#define SAEDIFF_DEV_TRANSFER_H

#include "saediff/dev/dev.h"

typedef struct sd_transfer {
    sd_mat what; /* goes, or is filled; its rows may be strided, as they need not be on the other side */
    int peer;    /* rank it goes to or comes from; may be this one */
    bool arrives;
} sd_transfer;

#endif

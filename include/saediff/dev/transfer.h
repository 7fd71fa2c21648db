/* An array sent from one rank's device to another's. */
#ifndef SAEDIFF_DEV_TRANSFER_H
#define SAEDIFF_DEV_TRANSFER_H

#include "saediff/dev/dev.h"

typedef struct sd_transfer {
    sd_mat what; /* sent, or filled; its rows may be strided, on either side alone too */
    int peer;    /* the receiving or sending rank; may be this one */
    bool arrives;
} sd_transfer;

#endif

/* One send or receive between the devices of two ranks, for sd_group_exchange(). */
#ifndef SAEDIFF_DEV_TRANSFER_H
#define SAEDIFF_DEV_TRANSFER_H

#include "saediff/dev/dev.h"

typedef struct sd_transfer {
    sd_mat what; /* the matrix to send, or to receive into; borrowed. Each side may have its own row stride */
    int peer;    /* the receiving or sending rank; may be this one */
    bool arrives; /* true: receive; false: send */
} sd_transfer;

#endif

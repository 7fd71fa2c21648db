#ifndef SAEDIFF_DEV_GROUP_PRIVATE_H
#define SAEDIFF_DEV_GROUP_PRIVATE_H

#include "front.h"
#include "saediff/dev/group.h"
#include "saediff/par/p2p.h"

enum { GROUP_DESCRIBE = 320 };

/* Staging memory of one exchange. Sends may still use it when the next exchange begins. */
typedef struct group_stage {
    void *data;
    uint64_t bytes;
} group_stage;

struct sd_group {
    const sd_par *par;
    sd_dev *dev;
    double deadline;
    const sd_group_backend *backend; /* NULL: through host memory */
    bool asked;                /* with one rank: whether the backend was looked up */
    bool broken;
    char describe[GROUP_DESCRIBE];
    sd_p2p *p2p;
    group_stage going, coming;
    sd_transfer *list; /* [2·size] transfers of a round of slices.c */
    sd_buf *parts;   /* real, the chunks of a sum received in a round */
};

/* Local. Everything in an exchange that can fail before anything is sent, except on the device. */
SD_MUST_CHECK sd_status group_prepare(sd_group *g, const sd_transfer *transfers, uint64_t count);

#endif

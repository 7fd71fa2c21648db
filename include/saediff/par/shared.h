/* Memory that the ranks of one machine share: what all of them read and none changes, such as a model's weights, is there once. */
#ifndef SAEDIFF_PAR_SHARED_H
#define SAEDIFF_PAR_SHARED_H

#include "saediff/par/par.h"

typedef struct sd_shared sd_shared;

/* Collective. `bytes` zeroed bytes per machine, at a multiple of 64; equal on all ranks. Where a machine's ranks cannot map one another's memory,
 * or there is one rank, each has memory of its own, and sd_shared_writers() says so. */
SD_MUST_CHECK sd_status sd_shared_create(sd_shared **shared, const sd_par *par, uint64_t bytes);
/* Local. The memory goes when its last rank has let it go. */
void sd_shared_destroy(sd_shared **shared);
void *sd_shared_data(const sd_shared *shared);
/* Local. How many ranks share this piece, and which of them this one is: what to fill in is dealt so. */
int sd_shared_writers(const sd_shared *shared);
int sd_shared_writer(const sd_shared *shared);

#endif

/* A way from one rank to another for letters of any length: they arrive in the order sent, and one is under way while the next is written. All
 * memory is taken when the link is opened, so that afterwards nothing but MPI itself can fail, and a letter that MPI does not carry ends
 * all ranks: the other end would wait for it for ever. */
#ifndef SAEDIFF_PAR_LINK_H
#define SAEDIFF_PAR_LINK_H

#include "saediff/par/par.h"

typedef struct sd_link sd_link;

typedef enum sd_link_end { SD_LINK_WRITES, SD_LINK_READS } sd_link_end;

/* Local. This rank's end of a link with rank `other`, for letters of up to `room` bytes; par is borrowed. The two ranks open as many links
 * with one another, and close none before its letters have arrived. */
SD_MUST_CHECK sd_status sd_link_open(sd_link **link, const sd_par *par, int other, sd_link_end end, uint64_t room);
void sd_link_close(sd_link **link);

/* Local. Where the next letter is written, room bytes at a multiple of 64. Waits until the letter before the last one has left. */
void *sd_link_sheet(sd_link *link);
/* Local. What stands on the sheet goes, `bytes` ≤ room of it; does not wait. */
void sd_link_send(sd_link *link, uint64_t bytes);
/* Local. Gives MPI, which works inside its calls only, the time to carry on what is under way. */
void sd_link_poke(sd_link *link);
/* Local. Waits until all letters have left. */
void sd_link_wait(sd_link *link);

/* Local. Waits for the next letter; it stands here until the next call. */
const void *sd_link_take(sd_link *link, uint64_t *bytes);

#endif

/* Messages between ranks, many under way at once, each wait for them within a time limit.
 *
 * Messages from one rank to another arrive in the order in which they were sent, each where the receiver's next sd_post_expect() for that
 * rank says; sizes must match, and nothing is sent for a size of 0. Memory that messages come from or go to is borrowed until a
 * wait says that they are through.
 *
 * A failed wait, or a failure of MPI, ends the post: nothing more goes through it. What is under way then cannot be called back, so its
 * memory must be there as long as another rank may still come for it: until all ranks have voted (sd_par_agree), or for good. */
#ifndef SAEDIFF_PAR_POST_H
#define SAEDIFF_PAR_POST_H

#include "saediff/par/par.h"

typedef struct sd_post sd_post;

/* Bytes of one message of MPI, which counts in int: longer ones go in pieces. */
enum { SD_POST_PIECE = 1 << 28 };

/* Collective. par is borrowed. piece: SD_POST_PIECE, or less in tests. */
SD_MUST_CHECK sd_status sd_post_open(sd_post **post, const sd_par *par, uint64_t piece);
/* Collective. What is still under way is abandoned. */
void sd_post_close(sd_post **post);

/* Local. Room for so many messages of so many bytes in all, beside those under way: the calls below then need no memory. */
SD_MUST_CHECK sd_status sd_post_reserve(sd_post *post, uint64_t messages, uint64_t bytes);
/* Local, nobody is waited for. */
SD_MUST_CHECK sd_status sd_post_expect(sd_post *post, void *data, uint64_t bytes, int from);
SD_MUST_CHECK sd_status sd_post_send(sd_post *post, const void *data, uint64_t bytes, int to);
/* Local, never fails. In place of sd_post_send() on a rank that has failed: the other's wait ends with an error. */
void sd_post_refuse(sd_post *post, int to);

/* Local. Waits for all that is under way, or with `arrivals` for what comes only. SD_E_ENV names the ranks that kept it waiting longer than
 * `seconds`, or one that refused; SD_E_INTERNAL the one that sent another size. */
SD_MUST_CHECK sd_status sd_post_wait(sd_post *post, bool arrivals, double seconds);
/* Local. Whether anything is under way, or was when the post ended. */
bool sd_post_busy(const sd_post *post);

#endif

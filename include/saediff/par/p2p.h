/* Point-to-point messages: many may be active at once, and every wait has a time limit.
 *
 * Messages from one rank to another arrive in the order in which they were sent, each in the memory named by the receiver's next
 * sd_p2p_expect() for that rank. Both sizes must be equal; a message of 0 bytes is not sent. The memory of a message is borrowed until a
 * wait reports that the message is complete.
 *
 * After a failed wait, or a failure of MPI, the sd_p2p carries nothing more. Its active messages cannot be withdrawn, so their memory must
 * stay valid as long as another rank may still access it: until all ranks have voted (sd_par_agree), or until the program ends. */
#ifndef SAEDIFF_PAR_P2P_H
#define SAEDIFF_PAR_P2P_H

#include "saediff/par/par.h"

typedef struct sd_p2p sd_p2p;

/* Bytes of one message of MPI, which counts in int: longer messages are sent in chunks. */
enum { SD_P2P_CHUNK = 1 << 28 };

/* Collective. par is borrowed. chunk: SD_P2P_CHUNK, or less in tests. */
SD_MUST_CHECK sd_status sd_p2p_open(sd_p2p **p2p, const sd_par *par, uint64_t chunk);
/* Collective. Active messages are abandoned. */
void sd_p2p_close(sd_p2p **p2p);

/* Local. Reserves capacity for so many messages of so many bytes in all, beside the active ones: the calls below then allocate nothing. */
SD_MUST_CHECK sd_status sd_p2p_reserve(sd_p2p *p2p, uint64_t messages, uint64_t bytes);
/* Local; neither waits. */
SD_MUST_CHECK sd_status sd_p2p_expect(sd_p2p *p2p, void *data, uint64_t bytes, int from);
SD_MUST_CHECK sd_status sd_p2p_send(sd_p2p *p2p, const void *data, uint64_t bytes, int to);
/* Local, never fails. A rank that has failed calls it in place of sd_p2p_send(): the receiver's wait ends with an error. */
void sd_p2p_refuse(sd_p2p *p2p, int to);

/* Local. Waits for all active messages, or with `arrivals` for the expected ones only. SD_E_ENV names the ranks that did not send or receive
 * within `seconds`, or one that refused; SD_E_INTERNAL names a rank that sent another size. Gives the core away while it waits. */
SD_MUST_CHECK sd_status sd_p2p_wait(sd_p2p *p2p, bool arrivals, double seconds);
/* Local. The same for the messages whose memory begins at `data`. */
SD_MUST_CHECK sd_status sd_p2p_wait_at(sd_p2p *p2p, const void *data, double seconds);
/* Local. Lets MPI, which works only inside its calls, advance the active messages; does not wait. */
SD_MUST_CHECK sd_status sd_p2p_advance(sd_p2p *p2p);
/* Local. Whether messages are active, or were when the sd_p2p failed. */
bool sd_p2p_busy(const sd_p2p *p2p);

#endif

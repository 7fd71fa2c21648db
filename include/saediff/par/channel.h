/* A double-buffered one-way channel between two ranks, on top of p2p: one message is sent while the next is written. Messages may have any
 * length up to the channel's capacity and arrive in the order in which they were sent.
 *
 * All memory is allocated when the channel is opened, so a later call fails only where a message does not go through: MPI has failed, or the
 * other rank has not sent or received within the time limit. The sd_p2p is then unusable and the other rank may be waiting, so the
 * caller cannot vote; it ends all ranks (sd_par_abort). */
#ifndef SAEDIFF_PAR_CHANNEL_H
#define SAEDIFF_PAR_CHANNEL_H

#include "saediff/par/p2p.h"

typedef struct sd_channel sd_channel;

typedef enum sd_channel_end { SD_CHANNEL_WRITES, SD_CHANNEL_READS } sd_channel_end;

/* Local. This rank's end of a channel with rank `other`, for messages of up to `capacity` bytes; no call waits longer than `seconds`. p2p is
 * borrowed, carries nothing else, and at most one channel that this rank writes and one that it reads. */
SD_MUST_CHECK sd_status sd_channel_open(sd_channel **channel, sd_p2p *p2p, int other, sd_channel_end end, uint64_t capacity, double seconds);
/* Local, after a writer's sd_channel_wait() or a failure. The memory of messages that failed stays allocated. */
void sd_channel_close(sd_channel **channel);

/* Local. *buffer = where the next message is written: `capacity` bytes at a multiple of 64. Waits until the message before the last has left. */
SD_MUST_CHECK sd_status sd_channel_buffer(sd_channel *channel, void **buffer);
/* Local. Sends the first `bytes` ≤ capacity bytes of the buffer; does not wait. */
SD_MUST_CHECK sd_status sd_channel_send(sd_channel *channel, uint64_t bytes);
/* Local. Advances the messages that are being sent; does not wait. */
SD_MUST_CHECK sd_status sd_channel_advance(sd_channel *channel);
/* Local. Waits until all messages have left. */
SD_MUST_CHECK sd_status sd_channel_wait(sd_channel *channel);

/* Local. Waits for the next message; *data is valid until the next call. */
SD_MUST_CHECK sd_status sd_channel_receive(sd_channel *channel, const void **data, uint64_t *bytes);

#endif

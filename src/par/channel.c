/* A message travels as its length, and then its bytes. */
#include "saediff/par/channel.h"

#include "saediff/core/mem.h"

enum { BUFFERS = 2 };

typedef struct buffer {
    char *data;      /* [capacity] */
    uint64_t *bytes; /* [1], of the message in it */
} buffer;

struct sd_channel {
    sd_p2p *p2p;
    int other;
    uint64_t capacity;
    double seconds;
    buffer buffers[BUFFERS]; /* the reading end has the first only */
    int next;
};

sd_status sd_channel_open(sd_channel **channel, sd_p2p *p2p, int other, sd_channel_end end, uint64_t capacity, double seconds)
{
    sd_channel *c = NULL;
    sd_status st;

    *channel = NULL;
    SD_TRY(st, SD_NEW(&c, 1));
    *c = (sd_channel){.p2p = p2p, .other = other, .capacity = capacity, .seconds = seconds};
    for (int i = 0; i < (end == SD_CHANNEL_WRITES ? BUFFERS : 1); i++) {
        SD_TRY(st, SD_NEW(&c->buffers[i].data, capacity));
        SD_TRY(st, SD_NEW(&c->buffers[i].bytes, 1));
    }
    /* A length and its bytes in each buffer of a writing and a reading channel. */
    SD_TRY(st, sd_p2p_reserve(p2p, 2 * (BUFFERS + 1), (BUFFERS + 1) * (capacity + sizeof(uint64_t))));
    *channel = c;
    c = NULL;
out:
    sd_channel_close(&c);
    return st;
}

void sd_channel_close(sd_channel **channel)
{
    sd_channel *c = *channel;

    if (c == NULL)
        return;
    for (int i = 0; i < BUFFERS && !sd_p2p_busy(c->p2p); i++) {
        sd_free(c->buffers[i].data);
        sd_free(c->buffers[i].bytes);
    }
    sd_free(c);
    *channel = NULL;
}

static sd_status wait_for(sd_channel *c, const buffer *b)
{
    sd_status st;

    SD_TRY(st, sd_p2p_wait_at(c->p2p, b->bytes, c->seconds));
    st = sd_p2p_wait_at(c->p2p, b->data, c->seconds);
out:
    return st;
}

sd_status sd_channel_buffer(sd_channel *c, void **data)
{
    const buffer *b = &c->buffers[c->next];

    *data = b->data;
    return wait_for(c, b);
}

sd_status sd_channel_send(sd_channel *c, uint64_t bytes)
{
    const buffer *b = &c->buffers[c->next];
    sd_status st;

    *b->bytes = bytes;
    SD_TRY(st, sd_p2p_send(c->p2p, b->bytes, sizeof *b->bytes, c->other));
    SD_TRY(st, sd_p2p_send(c->p2p, b->data, bytes, c->other));
    c->next = (c->next + 1) % BUFFERS;
out:
    return st;
}

sd_status sd_channel_advance(sd_channel *c)
{
    return sd_p2p_advance(c->p2p);
}

sd_status sd_channel_wait(sd_channel *c)
{
    sd_status st = SD_OK;

    for (int i = 0; i < BUFFERS && st == SD_OK; i++)
        st = wait_for(c, &c->buffers[i]);
    return st;
}

sd_status sd_channel_receive(sd_channel *c, const void **data, uint64_t *bytes)
{
    const buffer *b = &c->buffers[0];
    sd_status st;

    *data = b->data;
    *bytes = 0;
    SD_TRY(st, sd_p2p_expect(c->p2p, b->bytes, sizeof *b->bytes, c->other));
    SD_TRY(st, sd_p2p_wait_at(c->p2p, b->bytes, c->seconds));
    if (*b->bytes > c->capacity) {
        st = SD_FAIL(SD_E_INTERNAL, "rank %d sent a message of %llu bytes; the channel's capacity is %llu bytes", c->other,
                     (unsigned long long)*b->bytes, (unsigned long long)c->capacity);
        goto out;
    }
    SD_TRY(st, sd_p2p_expect(c->p2p, b->data, *b->bytes, c->other));
    SD_TRY(st, sd_p2p_wait_at(c->p2p, b->data, c->seconds));
    *bytes = *b->bytes;
out:
    return st;
}

#include "parquet_bits.h"

#include <stddef.h>

#include "thrift.h"

/* `width` bits from bit `at` on, lowest first. */
static uint64_t bits_at(const uint8_t *data, uint64_t at, unsigned width)
{
    uint64_t value = 0;

    for (unsigned done = 0; done < width;) {
        unsigned skip = (unsigned)(at & 7), take = 8 - skip < width - done ? 8 - skip : width - done;
        uint64_t part = ((uint64_t)data[at >> 3] >> skip) & ((1u << take) - 1);

        value |= part << done;
        done += take;
        at += take;
    }
    return value;
}

void pq_runs_begin(pq_runs *r, const uint8_t *data, uint64_t size, unsigned width)
{
    *r = (pq_runs){.at = data, .end = data + size, .width = width};
}

void pq_runs_begin_old(pq_runs *r, const uint8_t *data, uint64_t size, unsigned width, uint64_t count)
{
    *r = (pq_runs){.at = data + size, .end = data + size, .packed = data, .width = width, .high_first = true, .left = count};
    if (width > 0 && count > size * 8 / width)
        r->left = size * 8 / width;
}

/* The next non-empty run. */
static bool next_run(pq_runs *r)
{
    while (r->left == 0) {
        thrift t = {.at = r->at, .end = r->end};
        uint64_t head, size;

        if (r->at == r->end)
            return false;
        head = thrift_varint(&t);
        if (t.wrong != NULL)
            return false;
        r->at = t.at;
        size = (uint64_t)(r->end - r->at);
        if (head & 1) {
            uint64_t groups = head >> 1, bytes;

            /* The last group may be truncated after its last number. */
            bytes = r->width > 0 && groups > size / r->width ? size : groups * r->width;
            r->packed = r->at;
            r->bit = 0;
            r->left = r->width > 0 ? bytes * 8 / r->width : groups < UINT64_MAX / 8 ? groups * 8 : 0;
            r->at += bytes;
        } else {
            unsigned bytes = (r->width + 7) / 8;

            if (bytes > size)
                return false;
            r->packed = NULL;
            r->value = (uint32_t)bits_at(r->at, 0, 8 * bytes);
            r->left = head >> 1;
            r->at += bytes;
        }
    }
    return true;
}

bool pq_runs_next(pq_runs *r, uint32_t *value)
{
    if (!next_run(r))
        return false;
    r->left--;
    if (r->packed == NULL) {
        *value = r->value;
    } else if (r->high_first) {
        *value = 0;
        for (unsigned i = 0; i < r->width; i++, r->bit++)
            *value = *value << 1 | ((uint32_t)r->packed[r->bit >> 3] >> (7 - (r->bit & 7)) & 1u);
    } else {
        *value = (uint32_t)bits_at(r->packed, r->bit, r->width);
        r->bit += r->width;
    }
    return true;
}

bool pq_delta_begin(pq_delta *d, const uint8_t *data, uint64_t size)
{
    thrift t = {.at = data, .end = data + size};

    *d = (pq_delta){.end = data + size, .first = true};
    d->per_block = thrift_varint(&t);
    d->minis = thrift_varint(&t);
    d->left = thrift_varint(&t);
    d->value = (uint64_t)thrift_zigzag(&t);
    d->at = t.at;
    if (t.wrong != NULL || d->minis == 0 || d->per_block == 0 || d->per_block > 1u << 24 || d->per_block % d->minis != 0)
        return false;
    d->per_mini = d->per_block / d->minis;
    d->mini = d->minis;
    return d->per_mini % 8 == 0;
}

static bool next_mini(pq_delta *d)
{
    uint64_t bytes;

    if (d->mini == d->minis) {
        thrift t = {.at = d->at, .end = d->end};

        d->min_delta = (uint64_t)thrift_zigzag(&t);
        if (t.wrong != NULL || d->minis > (uint64_t)(t.end - t.at))
            return false;
        d->widths = t.at;
        d->at = t.at + d->minis;
        d->mini = 0;
    }
    d->width = d->widths[d->mini++];
    bytes = d->per_mini / 8 * d->width;
    if (d->width > 64 || bytes > (uint64_t)(d->end - d->at))
        return false;
    d->packed = d->at;
    d->bit = 0;
    d->mini_left = d->per_mini;
    d->at += bytes;
    return true;
}

bool pq_delta_next(pq_delta *d, int64_t *value)
{
    if (d->left == 0)
        return false;
    if (!d->first) {
        if (d->mini_left == 0 && !next_mini(d))
            return false;
        d->value += d->min_delta + bits_at(d->packed, d->bit, d->width);
        d->bit += d->width;
        d->mini_left--;
    }
    d->first = false;
    d->left--;
    *value = (int64_t)d->value;
    return true;
}

const uint8_t *pq_delta_end(pq_delta d)
{
    for (uint64_t left = d.left > 0 ? d.left - 1 : 0; left > 0; left -= left < d.per_mini ? left : d.per_mini)
        if (!next_mini(&d))
            return NULL;
    return d.at;
}

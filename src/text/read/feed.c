#include "feed.h"

#include <string.h>

#include "saediff/core/mem.h"

enum { MIN_CAPACITY = 1 << 16, MAX_CAPACITY = 1 << 30 };

sd_status feed_open(feed *f, const char *path)
{
    sd_status st;

    *f = (feed){.path = path, .line = 1, .column = 1};
    SD_TRY(st, bytes_open(&f->source, path));
    while (f->end < 3 && !f->done)
        SD_TRY(st, feed_more(f));
    if (f->end >= 3 && memcmp(f->data, "\xEF\xBB\xBF", 3) == 0) {
        f->begin = 3;
        f->offset = 3;
    }
out:
    return st;
}

void feed_close(feed *f)
{
    bytes_close(&f->source);
    sd_free(f->data);
    f->data = NULL;
}

sd_status feed_more(feed *f)
{
    uint64_t kept = f->end - f->begin, got;
    char *grown;
    sd_status st = SD_OK;

    if (f->done)
        return SD_OK;
    if (kept > MAX_CAPACITY)
        return SD_FAIL(SD_E_DATA, "%s:%llu: the record that begins here has more than %d bytes; check the data entry's \"format\"", f->path,
                       (unsigned long long)f->line, MAX_CAPACITY);
    if (f->begin > 0 && f->begin >= kept) {
        if (kept > 0)
            memcpy(f->data, f->data + f->begin, kept);
        f->begin = 0;
        f->end = kept;
    }
    if (f->end == f->capacity) {
        uint64_t capacity = f->capacity == 0 ? MIN_CAPACITY : 2 * f->capacity;

        SD_TRY(st, SD_NEW(&grown, capacity));
        if (kept > 0)
            memcpy(grown, f->data + f->begin, kept);
        sd_free(f->data);
        f->data = grown;
        f->capacity = capacity;
        f->begin = 0;
        f->end = kept;
    }
    SD_TRY(st, bytes_read(f->source, f->data + f->end, f->capacity - f->end, &got));
    f->end += got;
    f->done = got == 0;
out:
    return st;
}

void feed_take(feed *f, uint64_t count)
{
    const char *at = f->data + f->begin, *end = at + count, *newline;

    while (at < end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        f->line++;
        f->column = 1;
        at = newline + 1;
    }
    for (; at < end; at++)
        f->column += ((unsigned char)*at & 0xC0) != 0x80;
    f->begin += count;
    f->offset += count;
}

sd_status feed_line(feed *f, uint64_t at, uint64_t *length, uint64_t *next, bool *any)
{
    const char *newline = NULL;
    uint64_t searched = at, left = 0;
    sd_status st = SD_OK;

    for (;;) {
        left = f->end - f->begin;
        if (searched < left)
            newline = memchr(f->data + f->begin + searched, '\n', left - searched);
        if (newline != NULL || f->done)
            break;
        searched = left;
        SD_TRY(st, feed_more(f));
    }
    *any = at < left;
    if (!*any)
        goto out;
    *length = newline == NULL ? left - at : (uint64_t)(newline - f->data) - f->begin - at;
    *next = at + *length + (newline != NULL);
    if (newline != NULL && *length > 0 && newline[-1] == '\r')
        --*length;
out:
    return st;
}

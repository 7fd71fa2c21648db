/* Texts whose bytes are mapped to ranges of the input, and growing lists. */
#include <string.h>

#include "saediff/core/mem.h"
#include "parts.h"

void tok_text_free(tok_text *text)
{
    sd_free(text->bytes);
    sd_free(text->begin);
    sd_free(text->end);
    *text = (tok_text){0};
}

sd_status tok_text_reserve(tok_text *text, uint64_t more)
{
    tok_text grown = {.count = text->count};
    sd_status st = SD_OK;

    if (text->capacity - text->count >= more)
        return SD_OK;
    if (text->count + more >= UINT32_MAX)
        return SD_FAIL(SD_E_DATA, "a text of more than %llu bytes after normalisation is too long to be split into "
                       "tokens; split it into documents", (unsigned long long)text->count);
    grown.capacity = text->count + more + text->count / 2;
    SD_TRY(st, SD_NEW(&grown.bytes, grown.capacity + 1));
    SD_TRY(st, SD_NEW(&grown.begin, grown.capacity));
    SD_TRY(st, SD_NEW(&grown.end, grown.capacity));
    if (text->count > 0) {
        memcpy(grown.bytes, text->bytes, text->count);
        memcpy(grown.begin, text->begin, text->count * sizeof *text->begin);
        memcpy(grown.end, text->end, text->count * sizeof *text->end);
    }
    tok_text_free(text);
    *text = grown;
    grown = (tok_text){0};
out:
    tok_text_free(&grown);
    return st;
}

sd_status tok_text_add_raw(tok_text *text, const char *bytes, uint64_t count, uint64_t offset)
{
    sd_status st;

    SD_TRY(st, tok_text_reserve(text, count));
    if (count == 0)
        goto out;
    memcpy(text->bytes + text->count, bytes, count);
    for (uint64_t at = 0, length; at < count; at += length) {
        tok_code_point(bytes + at, &length);
        for (uint64_t i = at; i < at + length; i++) {
            text->begin[text->count + i] = (uint32_t)(offset + at);
            text->end[text->count + i] = (uint32_t)(offset + at + length);
        }
    }
    text->count += count;
out:
    return st;
}

sd_status tok_text_copy(tok_text *text, const tok_text *from, uint64_t first, uint64_t count)
{
    sd_status st;

    SD_TRY(st, tok_text_reserve(text, count));
    if (count == 0)
        goto out;
    memcpy(text->bytes + text->count, from->bytes + first, count);
    memcpy(text->begin + text->count, from->begin + first, count * sizeof *from->begin);
    memcpy(text->end + text->count, from->end + first, count * sizeof *from->end);
    text->count += count;
out:
    return st;
}

static void skip(tok_edit *e)
{
    uint64_t length;

    if (e->at < e->end) {
        tok_code_point(e->in->bytes + e->at, &length);
        e->at += length;
    }
}

void tok_edit_skip(tok_edit *e, uint64_t characters)
{
    for (uint64_t i = 0; i < characters; i++)
        skip(e);
}

sd_status tok_edit_put(tok_edit *e, const char *bytes, uint64_t length, int64_t change)
{
    uint32_t begin = 0, end = 0;
    tok_text *out = e->out;
    sd_status st;

    if (e->at == e->first && (change > 0 || e->at == e->end)) {
        begin = end = e->first < e->end ? e->in->begin[e->first] : 0;
    } else {
        uint64_t like = change > 0 || e->at == e->end ? e->at - 1 : e->at;

        begin = e->in->begin[like];
        end = e->in->end[like];
    }
    for (; change <= 0; change++)
        skip(e);
    SD_TRY(st, tok_text_reserve(out, length));
    for (uint64_t i = 0; i < length; i++) {
        out->bytes[out->count] = bytes[i];
        out->begin[out->count] = begin;
        out->end[out->count++] = end;
    }
out:
    return st;
}

sd_status tok_text_prepend(const tok_text *in, uint64_t first, uint64_t count, const char *content, uint64_t length, tok_text *out)
{
    tok_edit e = {in, first, first + count, first, out};
    uint64_t own, next;
    sd_status st = SD_OK;

    tok_code_point(in->bytes + first, &next);
    for (uint64_t i = 0; i < length; i += own) {
        tok_code_point(content + i, &own);
        SD_TRY(st, tok_edit_put(&e, content + i, own, i == 0 ? 0 : 1));
    }
    if (length > 0)
        SD_TRY(st, tok_edit_put(&e, in->bytes + first, next, 1));
    SD_TRY(st, tok_text_copy(out, in, e.at, e.end - e.at));
out:
    return st;
}

/* Doubles the capacity of *list, `size` bytes per element. */
static sd_status grow(void **list, uint64_t count, uint64_t *capacity, size_t size)
{
    void *grown = NULL;
    uint64_t more = *capacity > 0 ? 2 * *capacity : 64;
    sd_status st;

    SD_TRY(st, sd_alloc_bytes(&grown, more, size));
    if (count > 0)
        memcpy(grown, *list, count * size);
    sd_free(*list);
    *list = grown;
    *capacity = more;
out:
    return st;
}

sd_status tok_ranges_add(tok_ranges *ranges, uint64_t first, uint64_t end, bool match)
{
    void *list = ranges->at;
    sd_status st = SD_OK;

    if (ranges->count == ranges->capacity)
        SD_TRY(st, grow(&list, ranges->count, &ranges->capacity, sizeof *ranges->at));
    ranges->at = list;
    ranges->at[ranges->count++] = (tok_range){(uint32_t)first, (uint32_t)end, match};
out:
    return st;
}

sd_status tok_parts_add(tok_parts *parts, uint64_t first, uint64_t count, int32_t id)
{
    void *list = parts->at;
    sd_status st = SD_OK;

    if (parts->count == parts->capacity)
        SD_TRY(st, grow(&list, parts->count, &parts->capacity, sizeof *parts->at));
    parts->at = list;
    parts->at[parts->count++] = (tok_part){(uint32_t)first, (uint32_t)count, id};
out:
    return st;
}

/* Matches added tokens in a text: the leftmost, among these the longest. */
#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "parts.h"

/* Among tokens with the same content the first is used. */
static int by_byte_and_length(const void *left, const void *right)
{
    const tok_added *a = left, *b = right;
    uint8_t byte_a = (uint8_t)a->content[0], byte_b = (uint8_t)b->content[0];

    if (byte_a != byte_b)
        return byte_a < byte_b ? -1 : 1;
    if (a->length != b->length)
        return a->length < b->length ? 1 : -1;
    return (a->order > b->order) - (a->order < b->order);
}

void tok_search_arrange(tok_search *search)
{
    if (search->count > 1)
        qsort(search->tokens, search->count, sizeof *search->tokens, by_byte_and_length);
    for (uint64_t i = 0; i < search->count; i++)
        search->first[(uint8_t)search->tokens[i].content[0] + 1]++;
    for (uint64_t byte = 0; byte < TOK_BYTES; byte++)
        search->first[byte + 1] += search->first[byte];
}

void tok_search_free(tok_search *search)
{
    for (uint64_t i = 0; i < search->count; i++)
        sd_free(search->tokens[i].content);
    sd_free(search->tokens);
}

/* The longest added token at `at`, or NULL. */
static const tok_added *added_at(const tok_search *search, const char *bytes, uint64_t count, uint64_t at)
{
    uint8_t byte = (uint8_t)bytes[at];

    for (uint64_t i = search->first[byte]; i < search->first[byte + 1]; i++) {
        const tok_added *a = &search->tokens[i];

        if (count - at >= a->length && memcmp(bytes + at, a->content, a->length) == 0)
            return a;
    }
    return NULL;
}

/* Start of the character before `at`. */
static uint64_t before(const char *bytes, uint64_t at)
{
    do
        at--;
    while (((uint8_t)bytes[at] & 0xC0) == 0x80);
    return at;
}

static bool is_whole_word(const char *bytes, uint64_t count, uint64_t at, uint64_t end)
{
    uint64_t length;

    return (at == 0 || !tok_is_word(tok_code_point(bytes + before(bytes, at), &length))) &&
           (end == count || !tok_is_word(tok_code_point(bytes + end, &length)));
}

sd_status tok_search_cut(const tok_search *search, const tok_text *text, uint64_t first, uint64_t count, tok_parts *out)
{
    const char *bytes = text->bytes != NULL ? text->bytes + first : NULL; /* of an empty text */
    uint64_t gap = 0, length;
    sd_status st = SD_OK;

    for (uint64_t at = 0; at < count && search->count > 0;) {
        const tok_added *a = added_at(search, bytes, count, at);
        uint64_t begin = at, end;

        if (a == NULL) {
            at++;
            continue;
        }
        end = at += a->length;
        if (a->single_word && !is_whole_word(bytes, count, begin, end))
            continue;
        while (a->lstrip && begin > gap && tok_is_space(tok_code_point(bytes + before(bytes, begin), &length)))
            begin = before(bytes, begin);
        while (a->rstrip && end < count && tok_is_space(tok_code_point(bytes + end, &length)))
            end += length;
        if (begin > gap)
            SD_TRY(st, tok_parts_add(out, first + gap, begin - gap, -1));
        SD_TRY(st, tok_parts_add(out, first + begin, end - begin, a->id));
        gap = at = end;
    }
    if (gap < count)
        SD_TRY(st, tok_parts_add(out, first + gap, count - gap, -1));
out:
    return st;
}

/* Hand-written scanners of the patterns of byte-level tokenizers. Their alternatives, tried in the order of the regex, cover every text:
 * characters that are neither letter, number nor white space have their own. */
#include <string.h>

#include "parts.h"

/* Class and length of the character at `at`; TOK_END at the end of the text. */
#define NOTHING (-1)

static int class_at(const char *bytes, uint64_t count, uint64_t at, uint64_t *length)
{
    *length = 0;
    return at < count ? tok_class(tok_code_point(bytes + at, length)) : NOTHING;
}

/* End of the run of at most `limit` characters of `class` from `at`. */
static uint64_t run_of(const char *bytes, uint64_t count, uint64_t at, int class, uint64_t limit)
{
    uint64_t length;

    for (; limit > 0 && class_at(bytes, count, at, &length) == class; limit--)
        at += length;
    return at;
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* \s+(?!\S)|\s+ on a run that ends at `end`: all of it at the end of the text or if it is one character, else all but the last. */
static uint64_t spaces(const char *bytes, uint64_t count, uint64_t at, uint64_t end)
{
    uint64_t last = end, first;

    if (end == count)
        return end;
    do
        last--;
    while (((uint8_t)bytes[last] & 0xC0) == 0x80);
    tok_code_point(bytes + at, &first);
    return last > at ? last : at + first;
}

/* Bytes of 's, 't, 're, 've, 'm, 'll or 'd at `at`, 0 for none; `fold`: case-insensitive, including the long s. */
static uint64_t contraction(const char *bytes, uint64_t count, uint64_t at, bool fold)
{
    uint64_t left = count - at;
    char a, b;

    if (left < 2 || bytes[at] != '\'')
        return 0;
    if (fold && left >= 3 && memcmp(bytes + at + 1, "\xC5\xBF", 2) == 0)
        return 3;
    a = bytes[at + 1];
    b = left >= 3 ? bytes[at + 2] : '\0';
    if (fold && a >= 'A' && a <= 'Z')
        a = (char)(a | 0x20);
    if (fold && b >= 'A' && b <= 'Z')
        b = (char)(b | 0x20);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 3 : 0;
}

uint64_t tok_scan_gpt2(const char *bytes, uint64_t count, uint64_t at)
{
    uint64_t length, next, end = contraction(bytes, count, at, false);
    int class = class_at(bytes, count, at, &length), following;

    if (end > 0)
        return at + end;
    following = bytes[at] == ' ' ? class_at(bytes, count, at + 1, &next) : NOTHING;
    if (following != NOTHING && following != TOK_SPACE)
        return run_of(bytes, count, at + 1, following, count);
    end = run_of(bytes, count, at, class, count);
    return class == TOK_SPACE ? spaces(bytes, count, at, end) : end;
}

uint64_t tok_scan_llama3(const char *bytes, uint64_t count, uint64_t at, int digits)
{
    uint64_t length, next, end = contraction(bytes, count, at, true), newline;
    int class = class_at(bytes, count, at, &length), following;

    if (end > 0)
        return at + end;
    if (class == TOK_LETTER)
        return run_of(bytes, count, at, TOK_LETTER, count);
    following = class_at(bytes, count, at + length, &next);
    if (class != TOK_NUMBER && !is_newline(bytes[at]) && following == TOK_LETTER)
        return run_of(bytes, count, at + length, TOK_LETTER, count);
    if (class == TOK_NUMBER)
        return run_of(bytes, count, at, TOK_NUMBER, (uint64_t)digits);
    if (class == TOK_OTHER || (bytes[at] == ' ' && following == TOK_OTHER)) {
        end = run_of(bytes, count, class == TOK_OTHER ? at : at + 1, TOK_OTHER, count);
        while (end < count && is_newline(bytes[end]))
            end++;
        return end;
    }
    end = run_of(bytes, count, at, TOK_SPACE, count);
    for (newline = end; newline > at && !is_newline(bytes[newline - 1]);)
        newline--;
    return newline > at ? newline : spaces(bytes, count, at, end);
}

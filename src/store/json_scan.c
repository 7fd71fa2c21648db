#include "json_scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"

enum { DEPTH = 64, NUMBER_LENGTH = 60 };

/* A key of an object that is still open: a hash of its characters and where it stands (after the quote). */
typedef struct key {
    uint64_t hash;
    const char *text;
} key;

typedef struct scan {
    const char *name, *text, *at, *end;
    int depth;
    uint64_t values; /* begun so far */
    uint64_t wanted; /* the value whose place is looked for */
    const char *found;
    key *keys; /* of all open objects, the innermost last */
    uint64_t n_keys, capacity;
    bool collect;  /* keys are checked */
    bool comments; /* keys that begin with // may repeat */
} scan;

static sd_status scan_value(scan *s, const char *mark);

void sd_json_line(const char *text, uint64_t offset, uint64_t *line, uint64_t *column)
{
    uint64_t i, lines = 1, columns = 1;

    for (i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            lines++;
            columns = 1;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            columns++;
        }
    }
    *line = lines;
    *column = columns;
}

static sd_status fail_at(const scan *s, const char *place, const char *what)
{
    uint64_t line, column;

    sd_json_line(s->text, (uint64_t)(place - s->text), &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: %s", s->name, (unsigned long long)line, (unsigned long long)column, what);
}

static void skip_space(scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four hexadecimal digits at `at`, or −1; the text ends in a NUL, which is no digit. */
static long unit_at(const char *at)
{
    long value = 0;
    int i;

    for (i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The next character of a string that passed scan_string(), whether it is written as itself or as an escape; −1 at the
 * closing quote. */
static long next_code(const char **at)
{
    static const char plain[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    unsigned char c = (unsigned char)*(*at)++;
    long unit;

    if (c == '"')
        return -1;
    if (c >= 0xC0) {
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;

        unit = c & (0x3F >> more);
        while (more-- > 0)
            unit = unit * 64 + ((unsigned char)*(*at)++ & 0x3F);
        return unit;
    }
    if (c != '\\')
        return c;
    c = (unsigned char)*(*at)++;
    if (c != 'u')
        return meaning[strchr(plain, c) - plain];
    unit = unit_at(*at);
    *at += 4;
    if (unit >= 0xD800 && unit < 0xDC00) {
        unit = 0x10000 + (unit - 0xD800) * 0x400 + (unit_at(*at + 2) - 0xDC00);
        *at += 6;
    }
    return unit;
}

static sd_status scan_string(scan *s)
{
    const char *begin = s->at++;

    while (s->at < s->end && *s->at != '"') {
        unsigned char c = (unsigned char)*s->at;

        if (c < 0x20)
            return fail_at(s, s->at, c == '\n' ? "a string is not closed on its line" : "a control character in a string");
        if (c == '\\') {
            char escape = s->at[1];

            if (escape == 'u') {
                long unit = unit_at(s->at + 2);

                if (unit < 0)
                    return fail_at(s, s->at, "\\u needs four hexadecimal digits");
                if (unit == 0)
                    return fail_at(s, s->at, "the character \\u0000 is not allowed");
                if (unit >= 0xD800 && unit < 0xDC00) {
                    long low = s->at[6] == '\\' && s->at[7] == 'u' ? unit_at(s->at + 8) : -1;

                    if (low < 0xDC00 || low > 0xDFFF)
                        return fail_at(s, s->at, "half of a surrogate pair");
                    s->at += 6;
                } else if (unit >= 0xDC00 && unit <= 0xDFFF) {
                    return fail_at(s, s->at, "half of a surrogate pair");
                }
                s->at += 6;
                continue;
            }
            if (escape == '\0' || strchr("\"\\/bfnrt", escape) == NULL)
                return fail_at(s, s->at, "no such escape in a string");
            s->at++;
        }
        s->at++;
    }
    if (s->at >= s->end)
        return fail_at(s, begin, "a string is not closed");
    s->at++;
    return SD_OK;
}

static sd_status scan_digits(scan *s)
{
    const char *begin = s->at;

    while (*s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at == begin ? fail_at(s, s->at, "a digit is missing here") : SD_OK;
}

static sd_status scan_number(scan *s)
{
    const char *begin = s->at;
    char copy[NUMBER_LENGTH + 1];
    sd_status st;

    if (*s->at == '-')
        s->at++;
    if (*s->at == '0' && s->at[1] >= '0' && s->at[1] <= '9')
        return fail_at(s, begin, "a number may not begin with 0");
    SD_TRY(st, scan_digits(s));
    if (*s->at == '.') {
        s->at++;
        SD_TRY(st, scan_digits(s));
    }
    if (*s->at == 'e' || *s->at == 'E') {
        s->at++;
        if (*s->at == '+' || *s->at == '-')
            s->at++;
        SD_TRY(st, scan_digits(s));
    }
    if (s->at - begin > NUMBER_LENGTH) {
        st = fail_at(s, begin, "a number of more than 60 characters");
        goto out;
    }
    memcpy(copy, begin, (size_t)(s->at - begin));
    copy[s->at - begin] = '\0';
    if (!isfinite(strtod(copy, NULL)))
        st = fail_at(s, begin, "a number beyond the range of double precision");
out:
    return st;
}

static sd_status scan_word(scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t i;

    for (i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);

        if (strncmp(s->at, words[i], length) == 0) {
            s->at += length;
            return SD_OK;
        }
    }
    if (s->at >= s->end)
        return fail_at(s, s->at, "the text ends where a value should be");
    return fail_at(s, s->at, "not a JSON value (an object, list, string, number, true, false or null)");
}

static sd_status add_key(scan *s, const char *text)
{
    const char *at = text;
    uint64_t hash = 0xCBF29CE484222325u;
    key *more = NULL;
    long code;
    sd_status st = SD_OK;

    if (s->n_keys == s->capacity) {
        uint64_t capacity = s->capacity == 0 ? 64 : 2 * s->capacity;

        SD_TRY(st, SD_NEW(&more, capacity));
        if (s->n_keys > 0)
            memcpy(more, s->keys, s->n_keys * sizeof *more);
        sd_free(s->keys);
        s->keys = more;
        s->capacity = capacity;
    }
    while ((code = next_code(&at)) >= 0)
        hash = (hash ^ (uint64_t)code) * 0x100000001B3u;
    s->keys[s->n_keys++] = (key){hash, text};
out:
    return st;
}

static int compare_text(const char *a, const char *b)
{
    for (;;) {
        long ca = next_code(&a), cb = next_code(&b);

        if (ca != cb)
            return ca < cb ? -1 : 1;
        if (ca < 0)
            return 0;
    }
}

static int compare_keys(const void *left, const void *right)
{
    const key *a = left, *b = right;
    int order;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    if (a->text == b->text)
        return 0;
    order = compare_text(a->text, b->text);
    return order != 0 ? order : a->text < b->text ? -1 : 1;
}

enum { SHOWN_KEY = 64 };

/* Bytes of the key at `text` that a message shows: up to its quote, whole characters. */
static int shown_length(const char *text)
{
    int length = 0;

    while (text[length] != '"' && length < SHOWN_KEY)
        length += text[length] == '\\' ? 2 : (int)sd_utf8_length(text + length, 4);
    return length;
}

/* The keys first … n_keys−1 are those of the object that closes here. */
static sd_status check_keys(scan *s, uint64_t first)
{
    const char *worst = NULL;
    uint64_t i;

    qsort(s->keys + first, s->n_keys - first, sizeof *s->keys, compare_keys);
    for (i = first + 1; i < s->n_keys; i++)
        if (s->keys[i].hash == s->keys[i - 1].hash && compare_text(s->keys[i].text, s->keys[i - 1].text) == 0 &&
            (worst == NULL || s->keys[i].text < worst))
            worst = s->keys[i].text;
    s->n_keys = first;
    if (worst != NULL) {
        char what[SHOWN_KEY + 48];

        snprintf(what, sizeof what, "the key '%.*s' is there twice in one object", shown_length(worst), worst);
        return fail_at(s, worst - 1, what);
    }
    return SD_OK;
}

static sd_status scan_object(scan *s)
{
    uint64_t first = s->n_keys;
    sd_status st = SD_OK;

    s->at++;
    skip_space(s);
    if (*s->at == '}') {
        s->at++;
        return SD_OK;
    }
    for (;;) {
        const char *mark;

        skip_space(s);
        mark = s->at;
        if (*s->at != '"')
            return fail_at(s, s->at, "a key in double quotes is missing here");
        SD_TRY(st, scan_string(s));
        if (s->collect && !(s->comments && strncmp(mark, "\"//", 3) == 0))
            SD_TRY(st, add_key(s, mark + 1));
        skip_space(s);
        if (*s->at != ':')
            return fail_at(s, s->at, "a ':' is missing here");
        s->at++;
        SD_TRY(st, scan_value(s, mark));
        skip_space(s);
        if (*s->at == '}')
            break;
        if (*s->at != ',')
            return fail_at(s, s->at, "a ',' or '}' is missing here");
        s->at++;
    }
    s->at++;
    if (s->collect && s->n_keys - first > 1)
        SD_TRY(st, check_keys(s, first));
    s->n_keys = first;
out:
    return st;
}

static sd_status scan_list(scan *s)
{
    sd_status st = SD_OK;

    s->at++;
    skip_space(s);
    if (*s->at == ']') {
        s->at++;
        return SD_OK;
    }
    for (;;) {
        SD_TRY(st, scan_value(s, NULL));
        skip_space(s);
        if (*s->at == ']')
            break;
        if (*s->at != ',')
            return fail_at(s, s->at, "a ',' or ']' is missing here");
        s->at++;
    }
    s->at++;
out:
    return st;
}

/* `mark` is the key that the value belongs to, or NULL. */
static sd_status scan_value(scan *s, const char *mark)
{
    sd_status st;

    skip_space(s);
    if (s->values++ == s->wanted)
        s->found = mark != NULL ? mark : s->at;
    if (*s->at == '"')
        return scan_string(s);
    if (*s->at == '-' || (*s->at >= '0' && *s->at <= '9'))
        return scan_number(s);
    if (*s->at != '{' && *s->at != '[')
        return scan_word(s);
    if (s->depth == DEPTH)
        return fail_at(s, s->at, "more than 64 levels");
    s->depth++;
    st = *s->at == '{' ? scan_object(s) : scan_list(s);
    s->depth--;
    return st;
}

sd_status sd_json_scan(const char *name, const char *text, uint64_t length, bool comments)
{
    scan s = {.name = name, .text = text, .at = text, .end = text + length, .wanted = UINT64_MAX, .collect = true, .comments = comments};
    size_t bad = 0;
    sd_status st = SD_OK;

    if (!sd_utf8_valid(text, length, &bad)) {
        st = fail_at(&s, text + bad, "not UTF-8");
        goto out;
    }
    SD_TRY(st, scan_value(&s, NULL));
    skip_space(&s);
    if (s.at != s.end)
        st = fail_at(&s, s.at, "something follows the end of the JSON value");
out:
    sd_free(s.keys);
    return st;
}

uint64_t sd_json_offset(const char *text, uint64_t length, uint64_t ordinal)
{
    scan s = {.name = "", .text = text, .at = text, .end = text + length, .wanted = ordinal};

    if (scan_value(&s, NULL) != SD_OK || s.found == NULL)
        return 0;
    return (uint64_t)(s.found - text);
}

void sd_json_quote(sd_str *out, const char *text)
{
    sd_str_add_bytes(out, "\"", 1);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            sd_str_add(out, "\\%c", c);
        else if (c < 0x20)
            sd_str_add(out, "\\u%04x", c);
        else
            sd_str_add_bytes(out, text, 1);
    }
    sd_str_add_bytes(out, "\"", 1);
}

#include "saediff/core/str.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"

static bool reserve(sd_str *s, size_t more)
{
    char *grown;
    size_t capacity;

    if (s->status != SD_OK)
        return false;
    if (s->length + more + 1 <= s->capacity)
        return true;
    capacity = s->capacity ? s->capacity : 256;
    while (capacity < s->length + more + 1)
        capacity *= 2;
    s->status = SD_NEW(&grown, capacity);
    if (s->status != SD_OK)
        return false;
    if (s->length)
        memcpy(grown, s->text, s->length);
    sd_free(s->text);
    s->text = grown;
    s->capacity = capacity;
    return true;
}

void sd_str_add_bytes(sd_str *s, const void *bytes, size_t count)
{
    if (!reserve(s, count))
        return;
    if (count)
        memcpy(s->text + s->length, bytes, count);
    s->length += count;
    s->text[s->length] = '\0';
}

void sd_str_add(sd_str *s, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !reserve(s, (size_t)length))
        return;
    va_start(args, format);
    vsnprintf(s->text + s->length, (size_t)length + 1, format, args);
    va_end(args);
    s->length += (size_t)length;
}

void sd_str_free(sd_str *s)
{
    sd_free(s->text);
    *s = (sd_str){0};
}

sd_status sd_str_copy(char **out, const char *text)
{
    return sd_str_format(out, "%s", text);
}

sd_status sd_str_format(char **out, const char *format, ...)
{
    va_list args;
    int length;
    sd_status st;

    *out = NULL;
    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return SD_FAIL(SD_E_INTERNAL, "the format '%s' cannot be printed", format);
    st = SD_NEW(out, (uint64_t)length + 1);
    if (st != SD_OK)
        return st;
    va_start(args, format);
    vsnprintf(*out, (size_t)length + 1, format, args);
    va_end(args);
    return SD_OK;
}

enum { MAX_WORD = 96 }; /* bytes compared; the rest of a longer word is ignored */

static size_t edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[MAX_WORD + 1];

    n = n < MAX_WORD ? n : MAX_WORD;
    m = m < MAX_WORD ? m : MAX_WORD;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *sd_str_nearest(const char *word, const char *const *candidates, size_t count, size_t stride)
{
    const char *nearest = NULL;
    size_t limit = strlen(word) / 3 > 2 ? strlen(word) / 3 : 2, best = limit + 1;

    for (size_t i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)(const void *)((const char *)candidates + i * stride);
        size_t distance = edit_distance(word, candidate);

        if (distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}

static const char *scaled(char *out, size_t size, double value, const char *const *units, size_t n_units)
{
    size_t unit = 0;

    while (fabs(value) >= 999.5 && unit + 1 < n_units) {
        value /= 1000;
        unit++;
    }
    if (unit == 0 && fabs(value) < 9.95 && value != floor(value)) /* e.g. a rate of 0.42 per second */
        snprintf(out, size, "%.2g%s", value, units[unit]);
    else
        snprintf(out, size, unit == 0 || fabs(value) >= 99.95 ? "%.0f%s" : "%.1f%s", value, units[unit]);
    return out;
}

const char *sd_str_bytes(char *out, size_t size, double bytes)
{
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB", " PB"};

    return scaled(out, size, bytes, units, sizeof units / sizeof *units);
}

const char *sd_str_count(char *out, size_t size, double count)
{
    static const char *const units[] = {"", " k", " M", " G", " T", " P"};

    return scaled(out, size, count, units, sizeof units / sizeof *units);
}

const char *sd_str_seconds(char *out, size_t size, double seconds)
{
    uint64_t whole;

    if (!(seconds < 1e9)) {
        snprintf(out, size, "unknown");
        return out;
    }
    if (seconds < 10) {
        snprintf(out, size, "%.1f s", seconds);
        return out;
    }
    whole = (uint64_t)(seconds + 0.5);
    if (whole < 60)
        snprintf(out, size, "%llu s", (unsigned long long)whole);
    else if (whole < 3600)
        snprintf(out, size, "%llu min %02llu s", (unsigned long long)(whole / 60),
                 (unsigned long long)(whole % 60));
    else
        snprintf(out, size, "%llu h %02llu min", (unsigned long long)(whole / 3600),
                 (unsigned long long)(whole / 60 % 60));
    return out;
}

bool sd_str_to_u64(const char *text, uint64_t *value)
{
    char *end;
    unsigned long long parsed;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    parsed = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *value = parsed;
    return true;
}

bool sd_str_to_f64(const char *text, double *value)
{
    char *end;
    double parsed;

    if (strspn(text, "0123456789+-.eE") != strlen(text) || text[0] == '\0')
        return false;
    errno = 0;
    parsed = strtod(text, &end);
    if (*end != '\0' || !isfinite(parsed))
        return false;
    *value = parsed;
    return true;
}

size_t sd_utf8_length(const char *text, size_t limit)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t length;

    if (limit == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (length > limit)
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0; /* overlong */
    else if (s[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (s[0] == 0xf0)
        low = 0x90; /* overlong */
    else if (s[0] == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return length;
}

bool sd_utf8_valid(const char *text, size_t length, size_t *bad)
{
    for (size_t i = 0; i < length;) {
        size_t step = sd_utf8_length(text + i, length - i);

        if (step == 0) {
            *bad = i;
            return false;
        }
        i += step;
    }
    return true;
}

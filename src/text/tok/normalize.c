/* The normalizer. The input range of a new character follows the reference library: a replacement has that of the last character it
 * replaces, a prepended text that of the first character, a composed character that of its first part. */
#include <string.h>
#include <utf8proc.h>

#include "saediff/core/mem.h"
#include "parts.h"

enum { MAX_PARTS = 32 }; /* maximum code points in a decomposition: 18 in Unicode */

static sd_status replace(const tok_step *step, const tok_text *in, tok_text *out)
{
    tok_edit e = {in, 0, in->count, 0, out};
    tok_ranges ranges = {0};
    sd_status st;

    SD_TRY(st, tok_pattern_cut(&step->pattern, in->bytes, in->count, &ranges));
    SD_TRY(st, tok_text_reserve(out, in->count));
    for (uint64_t i = 0; i < ranges.count; i++) {
        const tok_range *r = &ranges.at[i];

        e.at = r->end;
        if (!r->match)
            SD_TRY(st, tok_text_copy(out, in, r->first, r->end - r->first));
        for (uint64_t at = 0, own; r->match && at < step->content_length; at += own) {
            tok_code_point(step->content + at, &own);
            SD_TRY(st, tok_edit_put(&e, step->content + at, own, 1));
        }
    }
out:
    sd_free(ranges.at);
    return st;
}

/* ---- Unicode normal forms */

/* A code point being normalised; change as in tok_edit_put(). */
typedef struct glyph {
    uint32_t point;
    int32_t change;
    uint8_t class; /* canonical combining class */
} glyph;

/* The reference library's normal forms are those of Unicode 9.0: code points that got a decomposition or a combining class from then
 * to 16.0 have none. */
static bool is_newer(uint32_t point)
{
    static const uint32_t ranges[][2] = {
        {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},
        {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ADD},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F1, 0xA7F4},
        {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x105C9, 0x105C9}, {0x105E4, 0x105E4}, {0x10781, 0x107BA}, {0x10D24, 0x10D27},
        {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFA, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
        {0x1133B, 0x1133B}, {0x11383, 0x11391}, {0x113C5, 0x113C8}, {0x113CE, 0x113D0}, {0x113E1, 0x113E2}, {0x1145E, 0x1145E},
        {0x11839, 0x1183A}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
        {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16121, 0x1612F},
        {0x16D68, 0x16D6A}, {0x16FF0, 0x16FF1}, {0x1CCD6, 0x1CCF9}, {0x1E030, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
        {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
    size_t low = 0, high = sizeof ranges / sizeof *ranges;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (point > ranges[middle][1])
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof ranges / sizeof *ranges && point >= ranges[low][0];
}

static uint8_t combining_class(uint32_t point)
{
    if (is_newer(point))
        return 0;
    return (uint8_t)utf8proc_get_property((utf8proc_int32_t)point)->combining_class;
}

/* Canonical ordering: sorts every run of combining characters by class, stably; a merge sort, as a text may be one run.
 * scratch [count] */
static void order(glyph *list, uint64_t count, glyph *capacity)
{
    for (uint64_t first = 0, n; first < count; first += n + 1) {
        glyph *run = list + first;

        for (n = 0; first + n < count && run[n].class > 0;)
            n++;
        for (uint64_t width = 1; width < n; width *= 2) {
            for (uint64_t left = 0; left < n; left += 2 * width) {
                uint64_t middle = left + width < n ? left + width : n, end = middle + width < n ? middle + width : n, a = left, b = middle;

                for (uint64_t to = left; to < end; to++)
                    capacity[to] = a < middle && (b == end || run[a].class <= run[b].class) ? run[a++] : run[b++];
            }
            memcpy(run, capacity, n * sizeof *run);
        }
    }
}

/* The composition of two code points, 0 if they do not compose. */
static uint32_t compose_two(uint32_t first, uint32_t second)
{
    utf8proc_int32_t two[] = {(utf8proc_int32_t)first, (utf8proc_int32_t)second};

    /* No code point below this composes with the one before it. */
    if (second < 0x300 || utf8proc_normalize_utf32(two, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE) != 1)
        return 0;
    return is_newer((uint32_t)two[0]) || is_newer(second) ? 0 : (uint32_t)two[0];
}

/* Canonical composition in place; returns the new count. `starter` is the index of the last starter plus one. */
static uint64_t compose(glyph *list, uint64_t count)
{
    uint64_t starter = 0, kept = 0;

    for (uint64_t i = 0; i < count; i++) {
        glyph g = list[i];
        bool blocked = starter == 0 || (kept > starter && list[kept - 1].class >= g.class);
        uint32_t both = blocked ? 0 : compose_two(list[starter - 1].point, g.point);

        if (both != 0) {
            list[starter - 1].point = both;
            list[starter - 1].change += g.change - 1;
            continue;
        }
        list[kept++] = g;
        if (g.class == 0)
            starter = kept;
    }
    return kept;
}

static sd_status decompose(const tok_text *in, bool compatible, glyph **list, uint64_t *count)
{
    const utf8proc_option_t options = UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    uint64_t capacity = in->count + MAX_PARTS;
    glyph *found = NULL, *sorting = NULL;
    sd_status st;

    *count = 0;
    SD_TRY(st, SD_NEW(&found, capacity));
    for (uint64_t at = 0, length; at < in->count; at += length) {
        utf8proc_int32_t parts[MAX_PARTS];
        uint32_t point = tok_code_point(in->bytes + at, &length);
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)point, parts, MAX_PARTS, options, NULL);

        if (n < 1 || n > MAX_PARTS || is_newer(point)) {
            parts[0] = (utf8proc_int32_t)point;
            n = 1;
        }
        if (*count + (uint64_t)n > capacity) {
            glyph *grown = NULL;

            capacity *= 2;
            SD_TRY(st, SD_NEW(&grown, capacity));
            memcpy(grown, found, *count * sizeof *found);
            sd_free(found);
            found = grown;
        }
        for (utf8proc_ssize_t i = 0; i < n; i++)
            found[(*count)++] = (glyph){(uint32_t)parts[i], i > 0, combining_class((uint32_t)parts[i])};
    }
    SD_TRY(st, SD_NEW(&sorting, *count));
    order(found, *count, sorting);
    *list = found;
    found = NULL;
out:
    sd_free(sorting);
    sd_free(found);
    return st;
}

static sd_status normal_form(const tok_step *step, const tok_text *in, tok_text *out)
{
    bool composed = step->kind == TOK_NFC || step->kind == TOK_NFKC;
    /* Code points below this are their own normal form. */
    uint32_t first = step->kind == TOK_NFC ? 0x300 : step->kind == TOK_NFD ? 0xC0 : 0xA0;
    tok_edit e = {in, 0, in->count, 0, out};
    glyph *list = NULL;
    uint64_t count;
    bool plain = true;
    sd_status st = SD_OK;

    for (uint64_t at = 0, length; plain && at < in->count; at += length)
        plain = tok_code_point(in->bytes + at, &length) < first;
    if (plain)
        return tok_text_copy(out, in, 0, in->count);
    SD_TRY(st, decompose(in, step->kind == TOK_NFKC || step->kind == TOK_NFKD, &list, &count));
    if (composed)
        count = compose(list, count);
    SD_TRY(st, tok_text_reserve(out, in->count));
    for (uint64_t i = 0; i < count; i++) {
        char bytes[4];
        uint64_t length = tok_write_utf8(list[i].point, bytes);

        SD_TRY(st, tok_edit_put(&e, bytes, length, list[i].change));
    }
out:
    sd_free(list);
    return st;
}

sd_status tok_normalize(const sd_tokenizer *t, const tok_text *in, uint64_t first, uint64_t count, tok_text *out)
{
    tok_text now = {0}, next = {0};
    sd_status st;

    if (t->normalizer.count == 0)
        return tok_text_copy(out, in, first, count);
    SD_TRY(st, tok_text_copy(&now, in, first, count));
    for (uint64_t i = 0; i < t->normalizer.count && now.count > 0; i++) {
        const tok_step *step = &t->normalizer.at[i];

        if (step->kind == TOK_PREPEND)
            SD_TRY(st, tok_text_prepend(&now, 0, now.count, step->content, step->content_length, &next));
        else if (step->kind == TOK_REPLACE)
            SD_TRY(st, replace(step, &now, &next));
        else
            SD_TRY(st, normal_form(step, &now, &next));
        tok_text_free(&now);
        now = next;
        next = (tok_text){0};
    }
    SD_TRY(st, tok_text_copy(out, &now, 0, now.count));
out:
    tok_text_free(&now);
    tok_text_free(&next);
    return st;
}

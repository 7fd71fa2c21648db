/* The pre-tokenizer: each step splits the parts of a text, and some steps rewrite them before or after. */
#include <string.h>

#include "saediff/core/mem.h"
#include "parts.h"

/* Converts match ranges to the parts of the behaviour; part i is in ranges[i], and match = true removes it. */
static void apply_behavior(int behavior, bool invert, tok_ranges *ranges)
{
    uint64_t kept = 0, n = ranges->count;
    tok_range *at = ranges->at;
    bool before = false, first = true;

    for (uint64_t i = 0; i < n; i++)
        at[i].match = at[i].match != invert;
    if (behavior == TOK_REMOVED)
        return;
    if (behavior == TOK_WITH_NEXT) {
        /* Backwards: a match takes the range after it, unless that is a match too. */
        uint64_t to = n;

        for (uint64_t i = n; i > 0; i--) {
            tok_range r = at[i - 1];

            if (r.match && !before && !first)
                at[to].first = r.first;
            else
                at[--to] = r;
            before = r.match;
            first = false;
        }
        memmove(at, at + to, (n - to) * sizeof *at);
        kept = n - to;
    } else {
        for (uint64_t i = 0; i < n; i++) {
            tok_range r = at[i];
            bool joins = (behavior == TOK_CONTIGUOUS && r.match == before) ||
                         (behavior == TOK_WITH_PREVIOUS && r.match && !before);

            if (joins && kept > 0)
                at[kept - 1].end = r.end;
            else
                at[kept++] = r;
            before = r.match;
        }
    }
    for (uint64_t i = 0; i < kept; i++)
        at[i].match = false;
    ranges->count = kept;
}

/* Splits text[first … first+count−1] by the step. */
static sd_status cut(const tok_step *step, const tok_text *text, uint64_t first, uint64_t count, tok_ranges *ranges, tok_parts *out)
{
    sd_status st;

    SD_TRY(st, tok_pattern_cut(&step->pattern, text->bytes + first, count, ranges));
    apply_behavior((int)step->behavior, step->invert, ranges);
    for (uint64_t i = 0; i < ranges->count; i++) {
        const tok_range *r = &ranges->at[i];

        if (!r->match && r->end > r->first)
            SD_TRY(st, tok_parts_add(out, first + r->first, r->end - r->first, -1));
    }
out:
    return st;
}

/* One part by Metaspace: a mark for each space, and one prepended. */
static sd_status mark(const tok_step *step, const tok_text *in, uint64_t first, uint64_t count, tok_text *out)
{
    const char *content = step->content;
    uint64_t length = step->content_length;
    tok_text marked = {0};
    bool prepends, starts;
    sd_status st;

    SD_TRY(st, tok_text_reserve(&marked, count + length));
    for (uint64_t at = first; at < first + count; at++) {
        if (in->bytes[at] != ' ') {
            SD_TRY(st, tok_text_copy(&marked, in, at, 1));
            continue;
        }
        SD_TRY(st, tok_text_reserve(&marked, length));
        for (uint64_t i = 0; i < length; i++) {
            marked.bytes[marked.count] = content[i];
            marked.begin[marked.count] = in->begin[at];
            marked.end[marked.count++] = in->end[at];
        }
    }
    starts = marked.count >= length && memcmp(marked.bytes, content, length) == 0;
    prepends = step->prepend == TOK_ALWAYS || (step->prepend == TOK_FIRST && in->begin[first] == 0);
    if (prepends && !starts)
        SD_TRY(st, tok_text_prepend(&marked, 0, marked.count, content, length, out));
    else
        SD_TRY(st, tok_text_copy(out, &marked, 0, marked.count));
out:
    tok_text_free(&marked);
    return st;
}

/* Replaces every byte by its byte-level character. */
static sd_status spell_bytes(const tok_text *in, uint64_t first, uint64_t count, tok_text *out)
{
    static const uint8_t lead = 0xC0;
    sd_status st;

    SD_TRY(st, tok_text_reserve(out, 2 * count));
    for (uint64_t at = first; at < first + count; at++) {
        uint32_t point = tok_byte_point((uint8_t)in->bytes[at]);
        uint64_t to = out->count, length = point < 0x80 ? 1 : 2;

        out->bytes[to] = length == 1 ? (char)point : (char)(lead | point >> 6);
        if (length == 2)
            out->bytes[to + 1] = (char)(0x80 | (point & 0x3F));
        for (uint64_t i = 0; i < length; i++) {
            out->begin[to + i] = in->begin[at];
            out->end[to + i] = in->end[at];
        }
        out->count += length;
    }
out:
    return st;
}

typedef sd_status (*rewrite)(const tok_step *step, const tok_text *in, uint64_t first, uint64_t count, tok_text *out);

static sd_status add_prefix(const tok_step *step, const tok_text *in, uint64_t first, uint64_t count, tok_text *out)
{
    if (!step->prefix || in->bytes[first] == ' ')
        return tok_text_copy(out, in, first, count);
    return tok_text_prepend(in, first, count, " ", 1, out);
}

static sd_status to_bytes(const tok_step *step, const tok_text *in, uint64_t first, uint64_t count, tok_text *out)
{
    (void)step;
    return spell_bytes(in, first, count, out);
}

/* Replaces text and parts: added tokens are copied, other parts rewritten. */
static sd_status rewrite_all(const tok_step *step, rewrite one, tok_text *text, tok_parts *parts)
{
    tok_text out = {0};
    sd_status st;

    SD_TRY(st, tok_text_reserve(&out, text->count + text->count / 4 + 16));
    for (uint64_t i = 0; i < parts->count; i++) {
        tok_part *p = &parts->at[i];
        uint64_t first = out.count;

        if (p->id >= 0)
            SD_TRY(st, tok_text_copy(&out, text, p->first, p->count));
        else
            SD_TRY(st, one(step, text, p->first, p->count, &out));
        p->first = (uint32_t)first;
        p->count = (uint32_t)(out.count - first);
    }
    tok_text_free(text);
    *text = out;
    out = (tok_text){0};
out:
    tok_text_free(&out);
    return st;
}

static sd_status cut_all(const tok_step *step, const tok_text *text, tok_parts *parts)
{
    tok_ranges ranges = {0};
    tok_parts out = {0};
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < parts->count; i++) {
        const tok_part *p = &parts->at[i];

        if (p->id >= 0)
            SD_TRY(st, tok_parts_add(&out, p->first, p->count, p->id));
        else
            SD_TRY(st, cut(step, text, p->first, p->count, &ranges, &out));
    }
    sd_free(parts->at);
    *parts = out;
    out = (tok_parts){0};
out:
    sd_free(ranges.at);
    sd_free(out.at);
    return st;
}

sd_status tok_split(const tok_step *step, tok_text *text, tok_parts *parts)
{
    sd_status st = SD_OK;

    if (step->kind == TOK_METASPACE)
        SD_TRY(st, rewrite_all(step, mark, text, parts));
    if (step->kind == TOK_BYTE_LEVEL && step->prefix)
        SD_TRY(st, rewrite_all(step, add_prefix, text, parts));
    if (step->cut)
        SD_TRY(st, cut_all(step, text, parts));
    if (step->kind == TOK_BYTE_LEVEL)
        SD_TRY(st, rewrite_all(step, to_bytes, text, parts));
out:
    return st;
}

/* From a text to ids: added tokens are matched in the raw text, each gap is normalised by itself, added tokens of normalised text are
 * matched in that, the pre-tokenizer splits the rest, and the merges are applied to each pre-token. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "parts.h"

/* A growing list of tokens. */
typedef struct tokens {
    int32_t *ids;
    uint64_t *span;
    uint32_t *lead, *trail; /* characters of white space at both ends of the token's own text; NULL if not needed */
    uint64_t count, capacity;
} tokens;

static void free_tokens(tokens *t)
{
    sd_free(t->ids);
    sd_free(t->span);
    sd_free(t->lead);
    sd_free(t->trail);
    *t = (tokens){0};
}

static sd_status reserve(tokens *t, uint64_t capacity, bool trims)
{
    tokens grown = {.count = t->count, .capacity = capacity};
    sd_status st;

    SD_TRY(st, SD_NEW(&grown.ids, capacity));
    SD_TRY(st, SD_NEW(&grown.span, 2 * capacity));
    if (trims) {
        SD_TRY(st, SD_NEW(&grown.lead, capacity));
        SD_TRY(st, SD_NEW(&grown.trail, capacity));
    }
    if (t->count > 0) {
        memcpy(grown.ids, t->ids, t->count * sizeof *t->ids);
        memcpy(grown.span, t->span, 2 * t->count * sizeof *t->span);
    }
    if (t->count > 0 && trims) {
        memcpy(grown.lead, t->lead, t->count * sizeof *t->lead);
        memcpy(grown.trail, t->trail, t->count * sizeof *t->trail);
    }
    free_tokens(t);
    *t = grown;
    grown = (tokens){0};
out:
    free_tokens(&grown);
    return st;
}

/* White space, or the mark of a space in a byte-level vocabulary. */
static bool is_blank(uint32_t point)
{
    return tok_is_space(point) || point == 256 + ' ';
}

static void measure_blanks(const char *bytes, uint64_t count, uint32_t *lead, uint32_t *trail)
{
    uint64_t length;

    *lead = *trail = 0;
    for (uint64_t at = 0; at < count && is_blank(tok_code_point(bytes + at, &length)); at += length)
        ++*lead;
    for (uint64_t at = count; at > 0;) {
        do
            at--;
        while (((uint8_t)bytes[at] & 0xC0) == 0x80);
        if (!is_blank(tok_code_point(bytes + at, &length)))
            break;
        ++*trail;
    }
}

/* Appends a token whose own text is bytes[0 … count−1]. */
static sd_status add(const sd_tokenizer *t, tokens *out, int32_t id, uint64_t begin, uint64_t end, const char *bytes, uint64_t count)
{
    uint64_t at = out->count;
    sd_status st = SD_OK;

    if (at == out->capacity)
        SD_TRY(st, reserve(out, at > 0 ? 2 * at : 64, t->trims));
    out->ids[at] = id;
    out->span[2 * at] = begin;
    out->span[2 * at + 1] = end;
    if (t->trims)
        measure_blanks(bytes, count, &out->lead[at], &out->trail[at]);
    out->count++;
out:
    return st;
}

/* End of the word that begins at `at`: marks and the characters up to the next mark; the end of the text if no split is allowed. */
static uint64_t word_end(const sd_tokenizer *t, const char *bytes, uint64_t at, uint64_t end)
{
    const uint64_t mark = strlen(TOK_MARK);
    bool marked = true;

    if (!t->words || t->ignore_merges)
        return end;
    while (at < end) {
        bool is = end - at >= mark && memcmp(bytes + at, TOK_MARK, mark) == 0;

        if (is && !marked)
            return at;
        marked = is;
        at += is ? mark : 1;
    }
    return end;
}

static sd_status add_pieces(const sd_tokenizer *t, const tok_text *text, const tok_part *part, tok_work *work, tokens *out)
{
    uint64_t end = (uint64_t)part->first + part->count;
    sd_status st = SD_OK;

    for (uint64_t first = part->first, next; first < end; first = next) {
        uint64_t at = first;

        next = word_end(t, text->bytes, first, end);
        SD_TRY(st, tok_bpe(t, text->bytes + first, next - first, work));
        for (uint32_t i = work->n_symbols > 0 ? 0 : TOK_END; i != TOK_END; i = work->symbols[i].next) {
            const tok_symbol *s = &work->symbols[i];

            SD_TRY(st, add(t, out, s->id, text->begin[at], text->end[at + s->length - 1], t->piece[s->id], t->piece_length[s->id]));
            at += s->length;
        }
    }
out:
    return st;
}

/* The parts of a text; a normalizer replaces the text. */
static sd_status cut_raw(const sd_tokenizer *t, tok_text *text, tok_parts *parts)
{
    bool keeps = t->normalizer.count == 0;
    tok_text normal = {0};
    tok_parts found = {0};
    sd_status st;

    SD_TRY(st, tok_search_cut(&t->raw, text, 0, text->count, &found));
    for (uint64_t i = 0; i < found.count; i++) {
        tok_part p = found.at[i];
        uint64_t first = keeps ? p.first : normal.count, end = (uint64_t)p.first + p.count;

        if (!keeps) {
            SD_TRY(st, p.id < 0 ? tok_normalize(t, text, p.first, p.count, &normal) : tok_text_copy(&normal, text, p.first, p.count));
            end = normal.count;
        }
        SD_TRY(st, p.id < 0 ? tok_search_cut(&t->normalized, keeps ? text : &normal, first, end - first, parts)
                            : tok_parts_add(parts, first, end - first, p.id));
    }
    if (!keeps) {
        tok_text_free(text);
        *text = normal;
        normal = (tok_text){0};
    }
out:
    tok_text_free(&normal);
    sd_free(found.at);
    return st;
}

static sd_status encode_text(const sd_tokenizer *t, const char *bytes, uint64_t length, tokens *out)
{
    tok_text text = {0};
    tok_parts parts = {0};
    tok_work work = {0};
    sd_status st;

    SD_TRY(st, tok_text_add_raw(&text, bytes, length, 0));
    SD_TRY(st, cut_raw(t, &text, &parts));
    for (uint64_t i = 0; i < t->pre.count; i++)
        SD_TRY(st, tok_split(&t->pre.at[i], &text, &parts));
    SD_TRY(st, reserve(out, length / 4 + 64, t->trims));
    for (uint64_t i = 0; i < parts.count; i++) {
        const tok_part *p = &parts.at[i];

        if (p->id < 0)
            SD_TRY(st, add_pieces(t, &text, p, &work, out));
        else
            SD_TRY(st, add(t, out, p->id, text.begin[p->first], text.end[p->first + p->count - 1], text.bytes + p->first, p->count));
    }
out:
    tok_text_free(&text);
    sd_free(parts.at);
    tok_work_free(&work);
    return st;
}

/* ---- after the model */

/* One character forward in a text, or back. */
static uint64_t next_character(const char *text, uint64_t at)
{
    uint64_t length;

    tok_code_point(text + at, &length);
    return at + length;
}

static uint64_t back(const char *text, uint64_t at)
{
    do
        at--;
    while (((uint8_t)text[at] & 0xC0) == 0x80);
    return at;
}

/* Strips the white space of tokens from their ranges. A space that the pre-tokenizer prepended to the text is not part of its range. */
static void trim(const tok_post *post, const char *text, tokens *list)
{
    for (uint64_t i = 0; i < list->count; i++) {
        uint64_t *span = &list->span[2 * i], end = span[1];
        uint32_t lead = list->lead[i], trail = list->trail[i];

        if ((i == 0 || span[0] == 0) && post->prefix && lead == 1)
            lead = 0;
        while (lead > 0 && span[0] < span[1]) {
            span[0] = next_character(text, span[0]);
            lead--;
        }
        while (trail > 0 && end > 0) {
            end = back(text, end);
            trail--;
        }
        if (trail == 0)
            span[1] = end > span[0] ? end : span[0];
    }
}

static sd_status surround(const sd_tokenizer *t, const tok_post *post, tokens *list)
{
    tokens all = {0};
    sd_status st;

    SD_TRY(st, reserve(&all, list->count + post->n_before + post->n_after + 1, t->trims));
    for (uint64_t i = 0; i < post->n_before; i++)
        SD_TRY(st, add(t, &all, post->before[i], 0, 0, NULL, 0));
    for (uint64_t i = 0; i < list->count; i++) {
        SD_TRY(st, add(t, &all, list->ids[i], list->span[2 * i], list->span[2 * i + 1], NULL, 0));
        if (t->trims) {
            all.lead[all.count - 1] = list->lead[i];
            all.trail[all.count - 1] = list->trail[i];
        }
    }
    for (uint64_t i = 0; i < post->n_after; i++)
        SD_TRY(st, add(t, &all, post->after[i], 0, 0, NULL, 0));
    free_tokens(list);
    *list = all;
    all = (tokens){0};
out:
    free_tokens(&all);
    return st;
}

sd_status sd_tokenizer_encode(const sd_tokenizer *t, const char *text, uint64_t length, bool special,
                              sd_encoding *out)
{
    tokens found = {0};
    size_t bad;
    sd_status st = SD_OK;

    *out = (sd_encoding){0};
    if (length > TOK_MAX_TEXT) {
        st = SD_FAIL(SD_E_DATA, "a text of %llu bytes exceeds the maximum of %llu per document; split it",
                     (unsigned long long)length, (unsigned long long)TOK_MAX_TEXT);
        goto out;
    }
    if (!sd_utf8_valid(text, length, &bad)) {
        st = SD_FAIL(SD_E_DATA, "the text is not UTF-8: byte 0x%02x at offset %zu; convert it first",
                     (unsigned)(uint8_t)text[bad], bad);
        goto out;
    }
    SD_TRY(st, encode_text(t, text, length, &found));
    for (uint64_t i = 0; i < t->n_post; i++) {
        if (t->post[i].trims)
            trim(&t->post[i], text, &found);
        if (special)
            SD_TRY(st, surround(t, &t->post[i], &found));
    }
    *out = (sd_encoding){found.ids, found.span, found.count};
    found.ids = NULL;
    found.span = NULL;
out:
    free_tokens(&found);
    return st;
}

void sd_encoding_free(sd_encoding *encoding)
{
    sd_free(encoding->ids);
    sd_free(encoding->span);
    *encoding = (sd_encoding){0};
}

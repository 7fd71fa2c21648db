/* From a text to ids: added tokens are cut out of the raw text, each gap is normalised by itself, added tokens that live in normalised
 * text are cut out of that, and what remains goes to the merges. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "parts.h"

void tok_text_free(tok_text *text)
{
    sd_free(text->bytes);
    sd_free(text->begin);
    sd_free(text->end);
    *text = (tok_text){0};
}

static sd_status text_create(tok_text *text, uint64_t count)
{
    sd_status st;

    if (count >= UINT32_MAX)
        return SD_FAIL(SD_E_DATA, "a text of %llu bytes after normalisation is longer than this program can cut into "
                       "tokens; split it into documents", (unsigned long long)count);
    SD_TRY(st, SD_NEW(&text->bytes, count + 1));
    SD_TRY(st, SD_NEW(&text->begin, count));
    SD_TRY(st, SD_NEW(&text->end, count));
    text->count = count;
out:
    return st;
}

/* Bytes of a text that a step puts there stand for the range begin … end of the text as given. */
static void put(tok_text *out, uint64_t at, const char *bytes, uint64_t count, uint32_t begin, uint32_t end)
{
    memcpy(out->bytes + at, bytes, count);
    for (uint64_t i = at; i < at + count; i++) {
        out->begin[i] = begin;
        out->end[i] = end;
    }
}

static void carry(tok_text *out, uint64_t at, const tok_text *in, uint64_t from, uint64_t count)
{
    memcpy(out->bytes + at, in->bytes + from, count);
    memcpy(out->begin + at, in->begin + from, count * sizeof *in->begin);
    memcpy(out->end + at, in->end + from, count * sizeof *in->end);
}

static sd_status prepend(const tok_step *step, const tok_text *in, tok_text *out)
{
    sd_status st;

    SD_TRY(st, text_create(out, in->count + step->content_length));
    put(out, 0, step->content, step->content_length, in->begin[0], in->begin[0]);
    carry(out, step->content_length, in, 0, in->count);
out:
    return st;
}

static bool stands_at(const tok_text *in, uint64_t at, const tok_step *step)
{
    return in->count - at >= step->pattern_length && memcmp(in->bytes + at, step->pattern, step->pattern_length) == 0;
}

static sd_status replace(const tok_step *step, const tok_text *in, tok_text *out)
{
    uint64_t found = 0, to = 0, cut = step->pattern_length;
    sd_status st;

    for (uint64_t at = 0; at < in->count; at += stands_at(in, at, step) ? cut : 1)
        found += stands_at(in, at, step);
    SD_TRY(st, text_create(out, in->count - found * cut + found * step->content_length));
    for (uint64_t at = 0; at < in->count;) {
        if (stands_at(in, at, step)) {
            put(out, to, step->content, step->content_length, in->begin[at], in->end[at + cut - 1]);
            to += step->content_length;
            at += cut;
        } else {
            carry(out, to++, in, at++, 1);
        }
    }
out:
    return st;
}

sd_status tok_normalize(const sd_tokenizer *t, const char *bytes, uint64_t count, uint64_t offset, tok_text *out)
{
    tok_text now = {0}, next = {0};
    sd_status st;

    *out = (tok_text){0};
    SD_TRY(st, text_create(&now, count));
    for (uint64_t i = 0; i < count; i++)
        put(&now, i, bytes + i, 1, (uint32_t)(offset + i), (uint32_t)(offset + i + 1));
    for (uint64_t i = 0; i < t->n_normalizer && now.count > 0; i++) {
        SD_TRY(st, t->normalizer[i].kind == TOK_PREPEND ? prepend(&t->normalizer[i], &now, &next)
                                                        : replace(&t->normalizer[i], &now, &next));
        tok_text_free(&now);
        now = next;
        next = (tok_text){0};
    }
    *out = now;
    now = (tok_text){0};
out:
    tok_text_free(&now);
    tok_text_free(&next);
    return st;
}

sd_status tok_out_add(tok_out *out, int32_t id, uint64_t begin, uint64_t end)
{
    int32_t *ids = NULL;
    uint64_t *span = NULL, room = out->room ? 2 * out->room : 64;
    sd_status st = SD_OK;

    if (out->count == out->room) {
        SD_TRY(st, SD_NEW(&ids, room));
        SD_TRY(st, SD_NEW(&span, 2 * room));
        if (out->count > 0) {
            memcpy(ids, out->ids, out->count * sizeof *ids);
            memcpy(span, out->span, 2 * out->count * sizeof *span);
        }
        sd_free(out->ids);
        sd_free(out->span);
        out->ids = ids;
        out->span = span;
        out->room = room;
        ids = NULL;
        span = NULL;
    }
    out->ids[out->count] = id;
    out->span[2 * out->count] = begin;
    out->span[2 * out->count + 1] = end;
    out->count++;
out:
    sd_free(ids);
    sd_free(span);
    return st;
}

/* The longest added token that stands at `at`, or NULL. */
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

static sd_status encode_normalized(const sd_tokenizer *t, const tok_text *text, tok_out *out)
{
    uint64_t gap = 0;
    sd_status st = SD_OK;

    for (uint64_t at = 0; at < text->count;) {
        const tok_added *a = t->normalized.count ? added_at(&t->normalized, text->bytes, text->count, at) : NULL;

        if (a == NULL) {
            at++;
            continue;
        }
        SD_TRY(st, tok_bpe(t, text, gap, at - gap, out));
        SD_TRY(st, tok_out_add(out, a->id, text->begin[at], text->end[at + a->length - 1]));
        gap = at += a->length;
    }
    SD_TRY(st, tok_bpe(t, text, gap, text->count - gap, out));
out:
    return st;
}

static sd_status encode_gap(const sd_tokenizer *t, const char *text, uint64_t first, uint64_t count, tok_out *out)
{
    tok_text normal = {0};
    sd_status st = SD_OK;

    if (count == 0)
        goto out;
    SD_TRY(st, tok_normalize(t, text + first, count, first, &normal));
    SD_TRY(st, encode_normalized(t, &normal, out));
out:
    tok_text_free(&normal);
    return st;
}

static sd_status encode_text(const sd_tokenizer *t, const char *text, uint64_t length, tok_out *out)
{
    uint64_t gap = 0;
    sd_status st = SD_OK;

    for (uint64_t at = 0; at < length && t->raw.count > 0;) {
        const tok_added *a = added_at(&t->raw, text, length, at);

        if (a == NULL) {
            at++;
            continue;
        }
        SD_TRY(st, encode_gap(t, text, gap, at - gap, out));
        SD_TRY(st, tok_out_add(out, a->id, at, at + a->length));
        gap = at += a->length;
    }
    SD_TRY(st, encode_gap(t, text, gap, length - gap, out));
out:
    return st;
}

sd_status sd_tokenizer_encode(const sd_tokenizer *t, const char *text, uint64_t length, bool special,
                              sd_encoding *out)
{
    tok_out found = {0};
    size_t bad;
    sd_status st = SD_OK;

    *out = (sd_encoding){0};
    if (length > TOK_LONGEST) {
        st = SD_FAIL(SD_E_DATA, "a text of %llu bytes is longer than the %llu that one document may have; split it",
                     (unsigned long long)length, (unsigned long long)TOK_LONGEST);
        goto out;
    }
    if (!sd_utf8_valid(text, length, &bad)) {
        st = SD_FAIL(SD_E_DATA, "the text is not UTF-8: byte 0x%02x at offset %zu; convert it first",
                     (unsigned)(uint8_t)text[bad], bad);
        goto out;
    }
    for (uint64_t i = 0; special && i < t->n_before; i++)
        SD_TRY(st, tok_out_add(&found, t->before[i], 0, 0));
    SD_TRY(st, encode_text(t, text, length, &found));
    for (uint64_t i = 0; special && i < t->n_after; i++)
        SD_TRY(st, tok_out_add(&found, t->after[i], length, length));
    *out = (sd_encoding){found.ids, found.span, found.count};
    found = (tok_out){0};
out:
    sd_free(found.ids);
    sd_free(found.span);
    return st;
}

void sd_encoding_free(sd_encoding *encoding)
{
    sd_free(encoding->ids);
    sd_free(encoding->span);
    *encoding = (sd_encoding){0};
}

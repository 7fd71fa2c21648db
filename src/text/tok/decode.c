/* From ids to text: the steps of the file's decoder applied to a list of pieces. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "parts.h"

/* Concatenated pieces in `bytes`; piece i ends at end[i]. */
typedef struct pieces {
    sd_str bytes;
    uint64_t *end;
    uint64_t count;
} pieces;

static void free_pieces(pieces *p)
{
    sd_str_free(&p->bytes);
    sd_free(p->end);
    *p = (pieces){0};
}

static void close_piece(pieces *p)
{
    p->end[p->count++] = p->bytes.length;
}

static sd_status replace(const tok_step *step, tok_ranges *ranges, const char *piece, uint64_t length, pieces *out)
{
    sd_status st;

    SD_TRY(st, tok_pattern_cut(&step->pattern, piece, length, ranges));
    for (uint64_t i = 0; i < ranges->count; i++) {
        const tok_range *r = &ranges->at[i];

        if (r->match)
            sd_str_add_bytes(&out->bytes, step->content, step->content_length);
        else
            sd_str_add_bytes(&out->bytes, piece + r->first, r->end - r->first);
    }
    close_piece(out);
out:
    return st;
}

/* The mark of Metaspace becomes a space, in the first piece nothing if marks are prepended to texts. */
static void unmark(const tok_step *step, bool first, const char *piece, uint64_t length, pieces *out)
{
    bool drops = first && step->prepend != TOK_NEVER;

    for (uint64_t at = 0, own; at < length; at += own) {
        tok_code_point(piece + at, &own);
        if (own != step->content_length || memcmp(piece + at, step->content, own) != 0)
            sd_str_add_bytes(&out->bytes, piece + at, own);
        else if (!drops)
            sd_str_add_bytes(&out->bytes, " ", 1);
    }
    close_piece(out);
}

/* Strips the content at most `start` times from the front, `stop` times from the back. */
static void strip(const tok_step *step, const char *piece, uint64_t length, pieces *out)
{
    uint64_t cut = step->content_length;

    for (uint64_t i = 0; i < step->start && length >= cut && memcmp(piece, step->content, cut) == 0; i++) {
        piece += cut;
        length -= cut;
    }
    for (uint64_t i = 0; i < step->stop && length >= cut && memcmp(piece + length - cut, step->content, cut) == 0; i++)
        length -= cut;
    sd_str_add_bytes(&out->bytes, piece, length);
    close_piece(out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "<0xE2>", −1 for another piece. */
static int spelled_byte(const char *piece, uint64_t length)
{
    int high, low;

    if (length != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>')
        return -1;
    high = hex_digit(piece[3]);
    low = hex_digit(piece[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens becomes one piece if it is valid UTF-8 as a whole, else U+FFFD for each byte; a zero byte is always U+FFFD,
 * because the result ends at the first zero. */
static void flush_bytes(sd_str *run, pieces *out)
{
    size_t bad;
    bool valid;

    if (run->length == 0)
        return;
    valid = sd_utf8_valid(run->text, run->length, &bad);
    for (size_t i = 0; i < run->length; i++) {
        if (valid && run->text[i] != '\0')
            sd_str_add_bytes(&out->bytes, run->text + i, 1);
        else
            sd_str_add_bytes(&out->bytes, "\xEF\xBF\xBD", 3);
        if (!valid)
            close_piece(out);
    }
    if (valid)
        close_piece(out);
    run->length = 0;
}

static void byte_fallback(const pieces *in, sd_str *run, pieces *out)
{
    uint64_t first = 0;

    for (uint64_t i = 0; i < in->count; first = in->end[i++]) {
        int byte = spelled_byte(in->bytes.text + first, in->end[i] - first);

        if (byte >= 0) {
            char c = (char)byte;

            sd_str_add_bytes(run, &c, 1);
            continue;
        }
        flush_bytes(run, out);
        sd_str_add_bytes(&out->bytes, in->bytes.text + first, in->end[i] - first);
        close_piece(out);
    }
    flush_bytes(run, out);
}

/* ---- bytes as characters */

/* Adds the bytes that a piece represents, or the piece itself if it has a character that represents none. */
static void add_spelled(const char *piece, uint64_t length, sd_str *out)
{
    bool spells = true;

    for (uint64_t at = 0, own; at < length; at += own)
        spells = spells && tok_point_byte(tok_code_point(piece + at, &own)) >= 0;
    for (uint64_t at = 0, own; spells && at < length; at += own) {
        char byte = (char)tok_point_byte(tok_code_point(piece + at, &own));

        sd_str_add_bytes(out, &byte, 1);
    }
    if (!spells)
        sd_str_add_bytes(out, piece, length);
}

/* Length of the truncated or invalid character at `at`: the part replaced by one U+FFFD, at least 1. */
static uint64_t broken_part(const uint8_t *bytes, uint64_t left)
{
    uint8_t lead = bytes[0], low = 0x80, high = 0xBF;
    uint64_t needs = lead >= 0xC2 && lead < 0xE0 ? 1 : lead >= 0xE0 && lead < 0xF0 ? 2 : lead >= 0xF0 && lead < 0xF5 ? 3 : 0, has = 1;

    low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : low;
    high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : high;
    for (; needs > 0 && has < left && bytes[has] >= low && bytes[has] <= high; needs--, has++) {
        low = 0x80;
        high = 0xBF;
    }
    return has;
}

/* Joins all pieces as UTF-8; invalid sequences and zero bytes become U+FFFD. */
static sd_status bytes_back(const pieces *in, sd_str *run, pieces *out)
{
    uint64_t first = 0;

    for (uint64_t i = 0; i < in->count; first = in->end[i++])
        add_spelled(in->bytes.text + first, in->end[i] - first, run);
    for (uint64_t at = 0, length; at < run->length; at += length) {
        length = sd_utf8_length(run->text + at, run->length - at);
        if (length > 0 && run->text[at] != '\0') {
            sd_str_add_bytes(&out->bytes, run->text + at, length);
        } else {
            length = broken_part((const uint8_t *)run->text + at, run->length - at);
            sd_str_add_bytes(&out->bytes, "\xEF\xBF\xBD", 3);
        }
    }
    close_piece(out);
    return run->status;
}

static sd_status apply(const tok_step *step, const pieces *in, pieces *out)
{
    tok_ranges ranges = {0};
    sd_str run = {0};
    uint64_t first = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&out->end, in->count + 1));
    sd_str_add_bytes(&out->bytes, "", 0);
    if (step->kind == TOK_BYTE_FALLBACK) {
        byte_fallback(in, &run, out);
    } else if (step->kind == TOK_DECODE_BYTES) {
        SD_TRY(st, bytes_back(in, &run, out));
    } else if (step->kind == TOK_FUSE) {
        sd_str_add_bytes(&out->bytes, in->bytes.text, in->bytes.length);
        close_piece(out);
    }
    for (uint64_t i = 0; i < in->count; first = in->end[i++]) {
        const char *piece = in->bytes.text + first;

        if (step->kind == TOK_REPLACE)
            SD_TRY(st, replace(step, &ranges, piece, in->end[i] - first, out));
        else if (step->kind == TOK_STRIP)
            strip(step, piece, in->end[i] - first, out);
        else if (step->kind == TOK_DECODE_METASPACE)
            unmark(step, i == 0, piece, in->end[i] - first, out);
    }
    st = run.status != SD_OK ? run.status : out->bytes.status;
out:
    sd_str_free(&run);
    sd_free(ranges.at);
    return st;
}

sd_status sd_tokenizer_decode(const sd_tokenizer *t, const int32_t *ids, uint64_t count, bool skip_special,
                              char **text)
{
    pieces now = {0}, next = {0};
    sd_status st;

    *text = NULL;
    SD_TRY(st, SD_NEW(&now.end, count + 1));
    sd_str_add_bytes(&now.bytes, "", 0);
    for (uint64_t i = 0; i < count; i++) {
        const char *piece = sd_tokenizer_piece(t, ids[i]);

        if (piece == NULL || (skip_special && sd_tokenizer_is_special(t, ids[i])))
            continue;
        if (t->decoder.count == 0 && now.count > 0)
            sd_str_add_bytes(&now.bytes, " ", 1);
        sd_str_add_bytes(&now.bytes, piece, strlen(piece));
        close_piece(&now);
    }
    SD_TRY(st, now.bytes.status);
    for (uint64_t i = 0; i < t->decoder.count; i++) {
        SD_TRY(st, apply(&t->decoder.at[i], &now, &next));
        free_pieces(&now);
        now = next;
        next = (pieces){0};
    }
    *text = now.bytes.text;
    now.bytes = (sd_str){0};
out:
    free_pieces(&now);
    free_pieces(&next);
    return st;
}

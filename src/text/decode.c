/* From ids to text, by the steps of the file's decoder on a list of pieces. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "parts.h"

/* Pieces one after another in `bytes`; piece i ends at end[i]. */
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

static void replace(const tok_step *step, const char *piece, uint64_t length, pieces *out)
{
    for (uint64_t at = 0; at < length;) {
        if (length - at >= step->pattern_length && memcmp(piece + at, step->pattern, step->pattern_length) == 0) {
            sd_str_add_bytes(&out->bytes, step->content, step->content_length);
            at += step->pattern_length;
        } else {
            sd_str_add_bytes(&out->bytes, piece + at++, 1);
        }
    }
    close_piece(out);
}

/* At most `start` times the content from the front, `stop` times from the back. */
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

/* The byte that "<0xE2>" spells, −1 for another piece. */
static int spelled_byte(const char *piece, uint64_t length)
{
    int high, low;

    if (length != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>')
        return -1;
    high = hex_digit(piece[3]);
    low = hex_digit(piece[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens is one piece if it is UTF-8 as a whole, else U+FFFD for each byte; a zero byte is U+FFFD always, because the
 * result ends at the first zero. */
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

static sd_status apply(const tok_step *step, const pieces *in, pieces *out)
{
    sd_str run = {0};
    uint64_t first = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&out->end, in->count + 1));
    sd_str_add_bytes(&out->bytes, "", 0);
    if (step->kind == TOK_BYTE_FALLBACK) {
        byte_fallback(in, &run, out);
    } else if (step->kind == TOK_FUSE) {
        sd_str_add_bytes(&out->bytes, in->bytes.text, in->bytes.length);
        close_piece(out);
    } else {
        for (uint64_t i = 0; i < in->count; first = in->end[i++])
            (step->kind == TOK_STRIP ? strip : replace)(step, in->bytes.text + first, in->end[i] - first, out);
    }
    st = run.status != SD_OK ? run.status : out->bytes.status;
out:
    sd_str_free(&run);
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
        if (t->n_decoder == 0 && now.count > 0)
            sd_str_add_bytes(&now.bytes, " ", 1);
        sd_str_add_bytes(&now.bytes, piece, strlen(piece));
        close_piece(&now);
    }
    SD_TRY(st, now.bytes.status);
    for (uint64_t i = 0; i < t->n_decoder; i++) {
        SD_TRY(st, apply(&t->decoder[i], &now, &next));
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

/* Converts a SentencePiece model of type BPE to the tokenizer.json of the reference library's conversion: pieces by their index, merges by
 * decreasing score of their result. The file is one protobuf message; only the fields below are read. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "parts.h"

#define FILE_LIMIT ((uint64_t)1 << 24)
/* Maximum bytes of a piece: splitting it is quadratic in them. Maximum bytes of all merges: some ten times those of the largest vocabularies. */
enum { LONGEST_PIECE = 512, MAX_MERGES = 1 << 26 };

enum { KIND_NORMAL = 1, KIND_UNKNOWN, KIND_CONTROL, KIND_USER, KIND_UNUSED, KIND_BYTE };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };
/* Field numbers: of the model; of a piece; of the trainer's settings; of the normalizer's. */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_KIND = 3 };
enum { TRAINER_TYPE = 3, TRAINER_BYTES = 35 };
enum { NORMALIZER_RULES = 2, NORMALIZER_PREFIX = 3 };

/* A message, or one of its fields. */
typedef struct field {
    uint64_t number, value; /* value of an integer; length of bytes */
    const uint8_t *bytes;   /* NULL for an integer */
} field;

typedef struct reader {
    const uint8_t *at, *end;
} reader;

typedef struct piece {
    const char *text;
    uint64_t length;
    float score;
    uint64_t kind;
} piece;

typedef struct model {
    const char *path;
    piece *pieces;
    uint64_t count, type, bytes, prefix, rules;
    int32_t *slot; /* open addressing by text: piece index, −1 if free */
    uint64_t slots;
} model;

static bool varint(reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;

        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* False for a field that exceeds its message or has a wire type that protobuf 3 does not write. */
static bool next_field(reader *r, field *f)
{
    uint64_t key;

    *f = (field){0};
    if (!varint(r, &key))
        return false;
    f->number = key >> 3;
    switch (key & 7) {
    case 0:
        return varint(r, &f->value);
    case 1:
        f->value = 8;
        break;
    case 2:
        if (!varint(r, &f->value))
            return false;
        break;
    case 5:
        f->value = 4;
        break;
    default:
        return false;
    }
    if (f->value > (uint64_t)(r->end - r->at))
        return false;
    f->bytes = r->at;
    r->at += f->value;
    return true;
}

static sd_status broken(const model *m)
{
    return SD_FAIL(SD_E_DATA, "%s: not a SentencePiece model (tiktoken files are not supported); convert the tokenizer to tokenizer.json, "
                   "for example with save_pretrained() of Hugging Face's transformers", m->path);
}

static sd_status read_piece(model *m, const field *message)
{
    reader r = {message->bytes, message->bytes + message->value};
    piece *p = &m->pieces[m->count++];
    size_t bad;
    field f;

    *p = (piece){.kind = KIND_NORMAL};
    while (r.at < r.end) {
        if (!next_field(&r, &f))
            return broken(m);
        if (f.number == PIECE_TEXT && f.bytes != NULL) {
            p->text = (const char *)f.bytes;
            p->length = f.value;
        } else if (f.number == PIECE_SCORE && f.bytes != NULL && f.value == 4) {
            memcpy(&p->score, f.bytes, sizeof p->score);
        } else if (f.number == PIECE_KIND && f.bytes == NULL) {
            p->kind = f.value;
        }
    }
    if (p->length == 0 || memchr(p->text, '\0', p->length) != NULL || !sd_utf8_valid(p->text, p->length, &bad) || isnan(p->score) ||
        p->length > LONGEST_PIECE)
        return SD_FAIL(SD_E_DATA, "%s: piece %llu is empty, too long, not UTF-8, or has no score", m->path, (unsigned long long)m->count - 1);
    return SD_OK;
}

/* The integer fields of a settings message. */
static sd_status read_settings(model *m, const field *message, bool trainer)
{
    reader r = {message->bytes, message->bytes + message->value};
    field f;

    while (r.at < r.end) {
        if (!next_field(&r, &f))
            return broken(m);
        if (trainer && f.number == TRAINER_TYPE && f.bytes == NULL)
            m->type = f.value;
        if (trainer && f.number == TRAINER_BYTES && f.bytes == NULL)
            m->bytes = f.value;
        if (!trainer && f.number == NORMALIZER_PREFIX && f.bytes == NULL)
            m->prefix = f.value;
        if (!trainer && f.number == NORMALIZER_RULES && f.bytes != NULL)
            m->rules = f.value;
    }
    return SD_OK;
}

static sd_status read_model(model *m, const char *data, uint64_t size)
{
    reader r = {(const uint8_t *)data, (const uint8_t *)data + size};
    field f;
    sd_status st;

    m->type = MODEL_UNIGRAM;
    m->prefix = 1;
    SD_TRY(st, SD_NEW(&m->pieces, size / 2 + 1)); /* a piece has at least two bytes */
    while (r.at < r.end) {
        if (!next_field(&r, &f))
            return broken(m);
        if (f.bytes == NULL)
            continue;
        if (f.number == MODEL_PIECE)
            SD_TRY(st, read_piece(m, &f));
        else if (f.number == MODEL_TRAINER || f.number == MODEL_NORMALIZER)
            SD_TRY(st, read_settings(m, &f, f.number == MODEL_TRAINER));
    }
    if (m->count == 0)
        st = broken(m);
    else if (m->type != MODEL_BPE)
        st = SD_FAIL(SD_E_DATA, "%s: SentencePiece models of type %s are not supported; only BPE is", m->path,
                     m->type == MODEL_UNIGRAM ? "unigram" : "word or character");
    else if (!m->bytes || !m->prefix || m->rules > 0)
        st = SD_FAIL(SD_E_DATA, "%s: only BPE with byte fallback, a dummy prefix and no normalization rules is supported; "
                     "convert the tokenizer to tokenizer.json", m->path);
out:
    return st;
}

/* ---- merges */

static uint64_t hash(const char *text, uint64_t length)
{
    uint64_t h = 0xcbf29ce484222325U;

    for (uint64_t i = 0; i < length; i++)
        h = (h ^ (uint8_t)text[i]) * 0x100000001b3U;
    return h ^ h >> 32;
}

/* The slot of the text, or the free slot for it. */
static uint64_t slot_of(const model *m, const char *text, uint64_t length)
{
    uint64_t i = hash(text, length) & (m->slots - 1);

    for (; m->slot[i] >= 0; i = (i + 1) & (m->slots - 1))
        if (m->pieces[m->slot[i]].length == length && memcmp(m->pieces[m->slot[i]].text, text, length) == 0)
            break;
    return i;
}

static sd_status index_pieces(model *m)
{
    sd_status st;

    for (m->slots = 16; m->slots < 2 * m->count;)
        m->slots *= 2;
    SD_TRY(st, SD_NEW(&m->slot, m->slots));
    for (uint64_t i = 0; i < m->slots; i++)
        m->slot[i] = -1;
    for (uint64_t i = 0; i < m->count; i++) {
        uint64_t at = slot_of(m, m->pieces[i].text, m->pieces[i].length);

        if (m->slot[at] >= 0) {
            st = SD_FAIL(SD_E_DATA, "%s: piece %llu, '%.*s', is repeated", m->path, (unsigned long long)i, (int)m->pieces[i].length,
                         m->pieces[i].text);
            goto out;
        }
        m->slot[at] = (int32_t)i;
    }
out:
    return st;
}

/* A split of a piece into two pieces. */
typedef struct pair {
    float score;
    uint32_t left_characters, right_characters, order; /* order: by result, then by the ids of the halves */
    int32_t left, right;
} pair;

static int by_ids(const void *a, const void *b)
{
    const pair *x = a, *y = b;

    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

/* By decreasing score, then by the characters of both halves; stable. */
static int by_score(const void *a, const void *b)
{
    const pair *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_characters != y->left_characters)
        return x->left_characters > y->left_characters ? -1 : 1;
    if (x->right_characters != y->right_characters)
        return x->right_characters > y->right_characters ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* All splits of piece `which` into two pieces. */
static void halve(const model *m, uint64_t which, pair *pairs, uint64_t *count)
{
    const piece *p = &m->pieces[which];
    uint64_t first = *count, length;
    uint32_t characters = 0, before = 0;

    for (uint64_t at = 0; at < p->length; at += length, characters++)
        tok_code_point(p->text + at, &length);
    for (uint64_t at = 0; at < p->length; at += length, before++) {
        int32_t left, right;

        tok_code_point(p->text + at, &length);
        if (at == 0)
            continue;
        left = m->slot[slot_of(m, p->text, at)];
        right = m->slot[slot_of(m, p->text + at, p->length - at)];
        if (left >= 0 && right >= 0)
            pairs[(*count)++] = (pair){p->score, before, characters - before, 0, left, right};
    }
    qsort(pairs + first, *count - first, sizeof *pairs, by_ids);
}

static sd_status find_merges(const model *m, pair **pairs, uint64_t *count)
{
    uint64_t max_pairs = 0, bytes = 0;
    sd_status st;

    *count = 0;
    for (uint64_t i = 0; i < m->count; i++)
        max_pairs += m->pieces[i].length;
    SD_TRY(st, SD_NEW(pairs, max_pairs + 1));
    for (uint64_t i = 0; i < m->count; i++)
        halve(m, i, *pairs, count);
    for (uint64_t i = 0; i < *count; i++)
        bytes += m->pieces[(*pairs)[i].left].length + m->pieces[(*pairs)[i].right].length;
    if (bytes > MAX_MERGES) {
        st = SD_FAIL(SD_E_DATA, "%s: its %llu merges have %llu bytes; the maximum is %d; convert the tokenizer to tokenizer.json",
                     m->path, (unsigned long long)*count, (unsigned long long)bytes, (int)MAX_MERGES);
        goto out;
    }
    for (uint64_t i = 0; i < *count; i++)
        (*pairs)[i].order = (uint32_t)i;
    qsort(*pairs, *count, sizeof **pairs, by_score);
out:
    return st;
}

/* ---- JSON output */

static void quote(sd_str *s, const piece *p)
{
    sd_str_add(s, "\"");
    for (uint64_t i = 0; i < p->length; i++) {
        uint8_t c = (uint8_t)p->text[i];

        if (c < 0x20 || c == '"' || c == '\\')
            sd_str_add(s, "\\u%04x", c);
        else
            sd_str_add_bytes(s, &c, 1);
    }
    sd_str_add(s, "\"");
}

static void write_added(sd_str *s, const model *m)
{
    bool some = false;

    sd_str_add(s, "\"added_tokens\":[");
    for (uint64_t i = 0; i < m->count; i++) {
        const piece *p = &m->pieces[i];
        bool user = p->kind == KIND_USER;

        if (p->kind != KIND_UNKNOWN && p->kind != KIND_CONTROL && !user)
            continue;
        sd_str_add(s, "%s{\"id\":%llu,\"normalized\":%s,\"special\":%s,\"content\":", some ? "," : "", (unsigned long long)i,
                   user ? "true" : "false", user ? "false" : "true");
        quote(s, p);
        sd_str_add(s, "}");
        some = true;
    }
    sd_str_add(s, "],\n");
}

static void write_model(sd_str *s, const model *m, const pair *pairs, uint64_t n_pairs)
{
    const piece *unknown = NULL;

    sd_str_add(s, "\"model\":{\"type\":\"BPE\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{");
    for (uint64_t i = 0; i < m->count; i++) {
        if (m->pieces[i].kind == KIND_UNKNOWN && unknown == NULL)
            unknown = &m->pieces[i];
        sd_str_add(s, i ? "," : "");
        quote(s, &m->pieces[i]);
        sd_str_add(s, ":%llu", (unsigned long long)i);
    }
    sd_str_add(s, "},\n\"merges\":[");
    for (uint64_t i = 0; i < n_pairs; i++) {
        sd_str_add(s, i ? ",[" : "[");
        quote(s, &m->pieces[pairs[i].left]);
        sd_str_add(s, ",");
        quote(s, &m->pieces[pairs[i].right]);
        sd_str_add(s, "]");
    }
    sd_str_add(s, "],\n\"unk_token\":");
    if (unknown != NULL)
        quote(s, unknown);
    else
        sd_str_add(s, "null");
    sd_str_add(s, "}}");
}

/* BOS is the second piece if it has that name: the template adds it. */
static void write_steps(sd_str *s, const model *m)
{
    const char *mark = "\xE2\x96\x81";

    sd_str_add(s, "{\"version\":\"1.0\",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"%s\"},"
               "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"%s\"}]},\n", mark, mark);
    sd_str_add(s, "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"%s\"},\"content\":\" \"},"
               "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\n", mark);
    for (uint64_t i = 0; i < m->count; i++)
        if (m->pieces[i].kind == KIND_CONTROL && m->pieces[i].length == 3 && memcmp(m->pieces[i].text, "<s>", 3) == 0)
            sd_str_add(s, "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
                       "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[%llu]}}},\n", (unsigned long long)i);
}

sd_status tok_from_sentencepiece(const char *path, char **text, uint64_t *length)
{
    model m = {.path = path};
    pair *pairs = NULL;
    char *data = NULL;
    uint64_t size, n_pairs;
    sd_str s = {0};
    sd_status st;

    SD_TRY(st, sd_file_read(path, FILE_LIMIT, &data, &size));
    SD_TRY(st, read_model(&m, data, size));
    SD_TRY(st, index_pieces(&m));
    SD_TRY(st, find_merges(&m, &pairs, &n_pairs));
    write_steps(&s, &m);
    write_added(&s, &m);
    write_model(&s, &m, pairs, n_pairs);
    SD_TRY(st, s.status);
    *text = s.text;
    *length = s.length;
    s = (sd_str){0};
out:
    sd_str_free(&s);
    sd_free(pairs);
    sd_free(m.pieces);
    sd_free(m.slot);
    sd_free(data);
    return st;
}

/* Shared declarations of the tokenizer. Private to this folder. Encoding a text: unicode.c and text.c (bytes with their ranges in the input),
 * normalize.c, search.c (added tokens), split.c (pre-tokenizers, by pattern.c and scan.c), bpe.c; encode.c runs these, decode.c is the
 * inverse. open.c, model.c, added.c, steps.c and post.c read tokenizer.json; spm.c makes one from tokenizer.model. */
#ifndef SAEDIFF_TEXT_TOK_PARTS_H
#define SAEDIFF_TEXT_TOK_PARTS_H

#include <oniguruma.h>

#include "saediff/store/json.h"
#include "saediff/text/tokenizer.h"

enum {
    TOK_STEPS = 32,    /* maximum steps of a normalizer, pre-tokenizer, post-processor or decoder, and maximum ids of a template */
    TOK_BYTES = 256,
    TOK_DIRECT = 0x800,       /* code points below this are looked up in tables */
    TOK_PIECES = 1 << 24 /* ids are below this */
};
#define TOK_MARK "\xE2\x96\x81" /* SentencePiece's mark for a space, U+2581 */
#define TOK_MAX_TEXT ((uint64_t)1 << 30) /* maximum bytes of one text: offsets into normalised text fit 32 bits */

/* ---- characters (unicode.c) */

enum { TOK_OTHER, TOK_LETTER, TOK_NUMBER, TOK_SPACE };

/* The code point at `bytes`, which are well-formed, and its length in bytes. */
uint32_t tok_code_point(const char *bytes, uint64_t *length);
/* Writes the code point as UTF-8 and returns its length. */
uint64_t tok_write_utf8(uint32_t point, char bytes[4]);
/* \p{L}, \p{N}, \s of the regex engine, or neither. */
int tok_class(uint32_t point);
bool tok_is_numeric(uint32_t point);     /* for step Digits */
bool tok_is_punctuation(uint32_t point); /* for step Punctuation */
bool tok_is_space(uint32_t point);
bool tok_is_word(uint32_t point); /* \w of single_word and of step Whitespace */
/* The code point that represents a byte in a byte-level vocabulary; and the inverse, −1 for other code points. */
uint32_t tok_byte_point(uint8_t byte);
int tok_point_byte(uint32_t point);

/* ---- texts (text.c) */

/* A text during encoding: byte i comes from bytes begin[i] … end[i]−1 of the input text. */
typedef struct tok_text {
    char *bytes;
    uint32_t *begin, *end;
    uint64_t count, capacity;
} tok_text;

void tok_text_free(tok_text *text);
/* Reserves capacity for `more` bytes. */
SD_MUST_CHECK sd_status tok_text_reserve(tok_text *text, uint64_t more);
/* Appends well-formed bytes at `offset` of the input text; each is mapped to its whole character. */
SD_MUST_CHECK sd_status tok_text_add_raw(tok_text *text, const char *bytes, uint64_t count, uint64_t offset);
SD_MUST_CHECK sd_status tok_text_copy(tok_text *text, const tok_text *from, uint64_t first, uint64_t count);

/* Rewrites in[first … end−1] to the end of `out`, character by character, with the reference library's rule for the input range of
 * each new character. */
typedef struct tok_edit {
    const tok_text *in;
    uint64_t first, end, at;
    tok_text *out;
} tok_edit;
/* Writes one character of `length` bytes: inserted (change 1: with the range of the previous character of `in`), replacing the next one
 * (change 0), or replacing that and −change more. */
SD_MUST_CHECK sd_status tok_edit_put(tok_edit *edit, const char *bytes, uint64_t length, int64_t change);
void tok_edit_skip(tok_edit *edit, uint64_t characters);

/* Appends `content` and in[first … first+count−1] to `out`; count > 0. */
SD_MUST_CHECK sd_status tok_text_prepend(const tok_text *in, uint64_t first, uint64_t count, const char *content,
                                         uint64_t length, tok_text *out);

/* ---- patterns (pattern.c, scan.c) */

typedef struct tok_range {
    uint32_t first, end;
    bool match;
} tok_range;

/* Ranges that cover a text without gaps. */
typedef struct tok_ranges {
    tok_range *at;
    uint64_t count, capacity;
} tok_ranges;
SD_MUST_CHECK sd_status tok_ranges_add(tok_ranges *ranges, uint64_t first, uint64_t end, bool match);

typedef struct tok_pattern {
    enum { TOK_GPT2, TOK_LLAMA3, TOK_QWEN, TOK_REGEX, TOK_STRING, TOK_PREDICATE, TOK_WORDS } kind;
    const char *text;
    uint64_t length;                /* of TOK_STRING */
    OnigRegex regex;                /* of TOK_REGEX; freed by tok_pattern_close() */
    bool (*is)(uint32_t point);     /* of TOK_PREDICATE: each character that satisfies it is a match */
} tok_pattern;

/* {"Regex": …} or {"String": …}. */
SD_MUST_CHECK sd_status tok_pattern_read(const sd_json *json, const cJSON *item, const cJSON *parent, tok_pattern *pattern);
void tok_pattern_close(tok_pattern *pattern);
/* Splits bytes[0 … count−1]. */
SD_MUST_CHECK sd_status tok_pattern_cut(const tok_pattern *pattern, const char *bytes, uint64_t count, tok_ranges *out);
/* End of the match that begins at `at`, for the kinds whose matches cover every text. */
uint64_t tok_scan_gpt2(const char *bytes, uint64_t count, uint64_t at);
/* `digits`: maximum numbers in one match. */
uint64_t tok_scan_llama3(const char *bytes, uint64_t count, uint64_t at, int digits);

/* ---- the model */

/* Piece → id, by open addressing; slots hold id + 1, 0 for none. */
typedef struct tok_pieces {
    uint32_t *slot;
    uint64_t slots; /* a power of two */
} tok_pieces;

/* (left id, right id) → rank of the merge and the resulting id, by open addressing. */
typedef struct tok_merge {
    uint64_t pair; /* left · 2^32 + right, UINT64_MAX where free */
    uint32_t rank;
    int32_t result;
} tok_merge;

typedef struct tok_merges {
    tok_merge *slot;
    uint64_t slots;  /* a power of two */
    int32_t *result; /* [count] id produced by the merge of this rank */
    uint64_t count;
} tok_merges;

/* ---- added tokens */

/* A token that is matched in the text before the model is applied. */
typedef struct tok_added {
    char *content; /* normalised, for a token of sd_tokenizer.normalized */
    uint64_t length, order;
    int32_t id;
    bool single_word, lstrip, rstrip;
} tok_added;

/* Added tokens by first byte; within a byte by decreasing length, so that the first match is the longest. */
typedef struct tok_search {
    tok_added *tokens;
    uint64_t count, first[TOK_BYTES + 1];
} tok_search;

/* ---- steps */

typedef struct tok_step {
    enum {
        TOK_PREPEND, TOK_REPLACE, TOK_NFC, TOK_NFD, TOK_NFKC, TOK_NFKD,                                /* normalizer */
        TOK_SPLIT, TOK_BYTE_LEVEL, TOK_METASPACE,                                                      /* pre-tokenizer */
        TOK_BYTE_FALLBACK, TOK_FUSE, TOK_STRIP, TOK_DECODE_BYTES, TOK_DECODE_METASPACE /* decoder, with TOK_REPLACE */
    } kind;
    tok_pattern pattern;
    const char *content;
    uint64_t content_length, start, stop;
    enum { TOK_REMOVED, TOK_ISOLATED, TOK_WITH_PREVIOUS, TOK_WITH_NEXT, TOK_CONTIGUOUS } behavior;
    enum { TOK_ALWAYS, TOK_FIRST, TOK_NEVER } prepend;
    bool invert, cut, prefix; /* TOK_SPLIT; TOK_METASPACE and TOK_BYTE_LEVEL: split after rewriting, prepend a space to the text */
} tok_step;

typedef struct tok_steps {
    tok_step at[TOK_STEPS];
    uint64_t count;
} tok_steps;

/* A step after the model: strips white space from the ranges of tokens, or adds ids around them. */
typedef struct tok_post {
    bool trims, prefix;
    int32_t before[TOK_STEPS], after[TOK_STEPS];
    uint64_t n_before, n_after;
} tok_post;

struct sd_tokenizer {
    sd_json *json; /* pieces and steps point into its tree */
    char sha256[SD_SHA256_HEX];
    uint64_t vocabulary;
    const char **piece;     /* [vocabulary], NULL for an id without a piece */
    uint32_t *piece_length; /* [vocabulary] bytes */
    uint8_t *special;       /* [vocabulary] */
    uint8_t *whole; /* [vocabulary] the merges produce this piece from its own text, so that it needs none */
    tok_pieces pieces, extra; /* the model's; added tokens outside of it */
    tok_merges merges;
    int32_t byte_id[TOK_BYTES];  /* of <0x00> … <0xFF>, −1 if absent */
    int32_t direct_id[TOK_DIRECT];   /* of one character, −1 if absent */
    int32_t unk;                 /* −1 for none */
    bool byte_fallback, fuse_unk, ignore_merges;
    bool words; /* no merge crosses the beginning of a run of TOK_MARK, so that a text can be split there */
    tok_search raw, normalized;
    tok_steps normalizer, pre, decoder;
    tok_post post[TOK_STEPS];
    uint64_t n_post;
    bool trims; /* any of `post` */
    int32_t bos;
};

/* ---- reading tokenizer.json */

/* SD_E_DATA with "file:line:column: " before the message. */
sd_status tok_fail(const sd_json *json, const cJSON *item, const char *format, ...) SD_PRINTF(3, 4);
/* SD_E_DATA for members of `object` that are not among `known`. */
SD_MUST_CHECK sd_status tok_check_members(const sd_json *json, const cJSON *object, const char *what,
                                          const char *const *known, uint64_t count);
/* `item` as an id below `limit`; errors point to `parent` if `item` is NULL. */
SD_MUST_CHECK sd_status tok_id(const sd_json *json, const cJSON *item, const cJSON *parent, const char *what,
                               uint64_t limit, int32_t *id);

/* The member "model": vocabulary, merges, unknown token, byte fallback. Reserves `spare` ids beyond the vocabulary's.
 * *entries = pieces of the vocabulary. */
SD_MUST_CHECK sd_status tok_read_model(sd_tokenizer *t, const cJSON *model, uint64_t spare, uint64_t *entries);
/* Finds the pieces that the merges produce from their own text; call after the steps are read. */
SD_MUST_CHECK sd_status tok_find_whole(sd_tokenizer *t);
/* The member "added_tokens"; after the normalizer. */
SD_MUST_CHECK sd_status tok_read_added(sd_tokenizer *t, const cJSON *list, uint64_t entries);
/* The other members; NULL and null for none. */
SD_MUST_CHECK sd_status tok_read_normalizer(sd_tokenizer *t, const cJSON *item);
SD_MUST_CHECK sd_status tok_read_pre(sd_tokenizer *t, const cJSON *item);
SD_MUST_CHECK sd_status tok_read_decoder(sd_tokenizer *t, const cJSON *item);
SD_MUST_CHECK sd_status tok_read_post(sd_tokenizer *t, const cJSON *item);
/* A tokenizer.json equivalent to the SentencePiece file `path`; `text` starts as {0}. */
SD_MUST_CHECK sd_status tok_from_sentencepiece(const char *path, char **text, uint64_t *length);

void tok_search_arrange(tok_search *search);
void tok_search_free(tok_search *search);

/* The id of a piece of the model's vocabulary, −1 if there is none. */
int32_t tok_find(const sd_tokenizer *t, const char *bytes, uint64_t length);
int32_t tok_find_in(const sd_tokenizer *t, const tok_pieces *pieces, const char *bytes, uint64_t length);
void tok_pieces_add(const sd_tokenizer *t, tok_pieces *pieces, int32_t id);
/* The merge of two ids, NULL if there is none. */
const tok_merge *tok_merge_of(const sd_tokenizer *t, int32_t left, int32_t right);

/* ---- encoding */

/* A part of a text: an added token, or (id −1) text still to be split. */
typedef struct tok_part {
    uint32_t first, count;
    int32_t id;
} tok_part;

typedef struct tok_parts {
    tok_part *at;
    uint64_t count, capacity;
} tok_parts;
SD_MUST_CHECK sd_status tok_parts_add(tok_parts *parts, uint64_t first, uint64_t count, int32_t id);

/* Adds the parts of text[first … first+count−1]. */
SD_MUST_CHECK sd_status tok_search_cut(const tok_search *search, const tok_text *text, uint64_t first, uint64_t count,
                                       tok_parts *out);
/* Appends in[first … first+count−1], normalised, to `out`. */
SD_MUST_CHECK sd_status tok_normalize(const sd_tokenizer *t, const tok_text *in, uint64_t first, uint64_t count,
                                      tok_text *out);
/* Applies one step of the pre-tokenizer to all parts that are not added tokens; text and parts are replaced. */
SD_MUST_CHECK sd_status tok_split(const tok_step *step, tok_text *text, tok_parts *parts);

typedef struct tok_symbol {
    int32_t id; /* −1 once merged into its left neighbour */
    uint32_t prev, next, length;
} tok_symbol;

/* Buffers of the merges, reused for every pre-token; start with {0}. */
typedef struct tok_work {
    tok_symbol *symbols;
    uint64_t *heap; /* rank · 2^32 + position */
    uint64_t n_symbols, n_heap, capacity;
} tok_work;
void tok_work_free(tok_work *work);
/* Returns the tokens of bytes[0 … count−1] in work->symbols, a list from 0 by `next`; none if n_symbols is 0. */
SD_MUST_CHECK sd_status tok_bpe(const sd_tokenizer *t, const char *bytes, uint64_t count, tok_work *work);

#define TOK_END UINT32_MAX /* no next symbol */

#endif

/* What the files of the tokenizer share. Private to this room. */
#ifndef SAEDIFF_TEXT_PARTS_H
#define SAEDIFF_TEXT_PARTS_H

#include "saediff/store/json.h"
#include "saediff/text/tokenizer.h"

enum {
    TOK_STEPS = 32,    /* most steps of a normalizer or decoder, most ids of a template */
    TOK_BYTES = 256,
    TOK_PIECES = 1 << 24 /* ids are below this */
};
#define TOK_LONGEST ((uint64_t)1 << 30) /* bytes of one text: offsets into normalised text fit 32 bits */

/* Piece → id, by open addressing; slots hold id + 1, 0 for none. */
typedef struct tok_pieces {
    uint32_t *slot;
    uint64_t slots; /* a power of two */
} tok_pieces;

/* (left id, right id) → rank of the merge, by open addressing. */
typedef struct tok_merges {
    uint64_t *pair; /* left · 2^32 + right, UINT64_MAX where free */
    uint32_t *rank;
    uint64_t slots; /* a power of two */
    int32_t *result; /* [count] id that the merge of this rank makes */
    uint64_t count;
} tok_merges;

typedef struct tok_step {
    enum { TOK_PREPEND, TOK_REPLACE, TOK_BYTE_FALLBACK, TOK_FUSE, TOK_STRIP } kind;
    const char *pattern, *content;
    uint64_t pattern_length, content_length, start, stop;
} tok_step;

/* A token found in the text before the model sees it. */
typedef struct tok_added {
    char *content; /* normalised, for a token of tok_search.normalized */
    uint64_t length;
    int32_t id;
} tok_added;

/* Added tokens by first byte; within a byte by falling length, so that the first that fits is the longest. */
typedef struct tok_search {
    tok_added *tokens;
    uint64_t count, first[TOK_BYTES + 1];
} tok_search;

struct sd_tokenizer {
    sd_json *json; /* pieces and steps point into its tree */
    char sha256[SD_SHA256_HEX];
    uint64_t vocabulary;
    const char **piece; /* [vocabulary], NULL where an id has none */
    uint8_t *special;   /* [vocabulary] */
    tok_pieces pieces;
    tok_merges merges;
    int32_t byte_id[TOK_BYTES]; /* of <0x00> … <0xFF>, −1 where there is none */
    int32_t unk;                /* −1 for none */
    bool byte_fallback, fuse_unk;
    tok_search raw, normalized;
    tok_step normalizer[TOK_STEPS], decoder[TOK_STEPS];
    uint64_t n_normalizer, n_decoder;
    int32_t before[TOK_STEPS], after[TOK_STEPS]; /* what the template adds */
    uint64_t n_before, n_after;
};

/* A text on its way through the normalizer: byte i stands for bytes begin[i] … end[i]−1 of the text as given. */
typedef struct tok_text {
    char *bytes;
    uint32_t *begin, *end;
    uint64_t count;
} tok_text;

/* SD_E_DATA with "file:line:column: " before the message. */
sd_status tok_refuse(const sd_json *json, const cJSON *item, const char *format, ...) SD_PRINTF(3, 4);
/* Refuses members of `object` that are not among `known`. */
SD_MUST_CHECK sd_status tok_only(const sd_json *json, const cJSON *object, const char *what,
                                 const char *const *known, uint64_t count);
/* `item` as an id below `limit`; messages point to `place` if `item` is NULL. */
SD_MUST_CHECK sd_status tok_id(const sd_json *json, const cJSON *item, const cJSON *place, const char *what,
                               uint64_t limit, int32_t *id);

/* The member "model": vocabulary, merges, unknown token, byte fallback. `spare` more ids than the vocabulary's are
 * made room for. *entries = pieces of the vocabulary. */
SD_MUST_CHECK sd_status tok_read_model(sd_tokenizer *t, const cJSON *model, uint64_t spare, uint64_t *entries);
/* The members "normalizer", "decoder" and "post_processor"; NULL and null for none. */
SD_MUST_CHECK sd_status tok_read_normalizer(sd_tokenizer *t, const cJSON *item);
SD_MUST_CHECK sd_status tok_read_decoder(sd_tokenizer *t, const cJSON *item);
SD_MUST_CHECK sd_status tok_read_template(sd_tokenizer *t, const cJSON *item);

/* The id of a piece of the model's vocabulary, −1 if there is none. */
int32_t tok_find(const sd_tokenizer *t, const char *bytes, uint64_t length);
/* The rank of the merge of two ids; UINT32_MAX if there is none. */
uint32_t tok_rank(const sd_tokenizer *t, int32_t left, int32_t right);

/* bytes[0 … count−1] of a text, which begin at `offset` of it, normalised. */
SD_MUST_CHECK sd_status tok_normalize(const sd_tokenizer *t, const char *bytes, uint64_t count, uint64_t offset,
                                      tok_text *out);
void tok_text_free(tok_text *text);

/* Ids and spans that grow. */
typedef struct tok_out {
    int32_t *ids;
    uint64_t *span;
    uint64_t count, room;
} tok_out;

SD_MUST_CHECK sd_status tok_out_add(tok_out *out, int32_t id, uint64_t begin, uint64_t end);
/* The tokens of bytes first … first+count−1 of a normalised text. */
SD_MUST_CHECK sd_status tok_bpe(const sd_tokenizer *t, const tok_text *text, uint64_t first, uint64_t count,
                                tok_out *out);

#endif

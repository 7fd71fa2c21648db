/* Tokenised documents: the canonical token stream of a run, in memory and as tokens.h5.
 *
 * tokens.h5, format "saediff.tokens" version 1 (a bundle, see bundle.h):
 *   ids        i32 [tokens]      token ids, documents one after another
 *   position   i32 [tokens]      position inside the document, from 0
 *   mask       u8  [tokens]      1 = counted in training, statistics and evaluation; 0 = context only (BOS, special)
 *   role       u8  [tokens]      0 text
 *   span       u64 [tokens, 2]   byte range of the token in its document's text; begin = end for a token without text
 *   doc_start  u64 [docs + 1]    first token of each document; the last entry is the number of tokens
 *   doc_source u32 [docs]        which entry of the job's data the document comes from
 *   doc_row    u64 [docs]        which record of that entry, from 0
 *   doc_length u64 [docs]        tokens before cutting to the context, BOS included
 * attributes: text_sha256, tokenizer_sha256, context, vocabulary, sources (JSON list of names). */
#ifndef SAEDIFF_STORE_TOKENS_H
#define SAEDIFF_STORE_TOKENS_H

#include "saediff/core/hash.h"
#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_tokens {
    uint64_t docs, tokens;
    int32_t *ids, *position;
    uint8_t *mask, *role;
    uint64_t *span; /* [tokens, 2] */
    uint64_t *doc_start, *doc_row, *doc_length;
    uint32_t *doc_source;
    char text_sha256[SD_SHA256_HEX], tokenizer_sha256[SD_SHA256_HEX];
    char *sources; /* JSON list of the names of the data entries */
    uint64_t context, vocabulary;
} sd_tokens;

/* Local. Everything is allocated, doc_start[docs] = tokens set. End with sd_tokens_destroy(). */
SD_MUST_CHECK sd_status sd_tokens_create(sd_tokens **tokens, uint64_t docs, uint64_t count);
void sd_tokens_destroy(sd_tokens **tokens);

/* Local. The file is committed (temporary name, fsync, rename) before this returns. */
SD_MUST_CHECK sd_status sd_tokens_write(const sd_tokens *tokens, const char *path);
/* Local. Every array's length, every offset, id and position is checked against the others. */
SD_MUST_CHECK sd_status sd_tokens_read(sd_tokens **tokens, const char *path);

/* The document that token `row` belongs to. */
uint64_t sd_tokens_doc(const sd_tokens *tokens, uint64_t row);

#endif

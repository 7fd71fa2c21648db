/* Tokenised documents: the canonical token stream of a run, in memory and as tokens.h5. It may be larger than memory: it is written in
 * pieces, and what is read is the file itself, looked at as memory.
 *
 * tokens.h5, format "saediff.tokens" version 2 (a bundle, see bundle.h):
 *   ids        i32 [tokens]      token ids, documents one after another
 *   ids_base   i32 [tokens]      what the base model reads instead: ids, but for documents of the condition "substituted"
 *   position   i32 [tokens]      position inside the document, from 0
 *   mask       u8  [tokens]      1 = counted in training, statistics and evaluation; 0 = context only (BOS, special)
 *   role       u8  [tokens]      of chats: low 4 bits whose message it is (0 no message's, 1 system, 2 user, 3 assistant, 4 tool,
 *                                5 another's), high 4 bits which part (1 header, 2 content, 3 trailer); 0 in documents that are no chats
 *   span       u64 [tokens, 2]   byte range of the token in its document's text (of a chat as its template writes it);
 *                                begin = end for a token without text
 *   doc_start  u64 [docs + 1]    first token of each document; the last entry is the number of tokens
 *   doc_source u32 [docs]        which entry of the job's data the document comes from
 *   doc_row    u64 [docs]        which record of that entry, from 0
 *   doc_length u64 [docs]        tokens before cutting to the context, BOS included
 *   doc_position  i32 [docs, 6]     named positions in a chat, from its first token; −1 where there is none. Of the last answer, given or
 *                                asked for: asst, endheader, newline are the last but two, last but one and last token of its header (for
 *                                Llama 3 "assistant", end of header, "\n\n"); question_last the last token of what the user said before;
 *                                answer_first, answer_last of its content: position p of a reasoning is answer_first + p
 * attributes: text_sha256 (of the documents as read), tokenizer_sha256, template_sha256 ("" without chats), date (what templates were
 * told), context (0: no limit), vocabulary, sources (JSON list of names), places (JSON list of the columns of doc_position). */
#ifndef SAEDIFF_STORE_TOKENS_H
#define SAEDIFF_STORE_TOKENS_H

#include "saediff/core/hash.h"
#include "saediff/core/status.h"
#include "saediff/core/types.h"

enum { SD_ROLE_NONE, SD_ROLE_SYSTEM, SD_ROLE_USER, SD_ROLE_ASSISTANT, SD_ROLE_TOOL, SD_ROLE_OTHER, SD_ROLES, SD_PART_SHIFT = 4, SD_PARTS = 4 };
enum {
    SD_POSITION_ASST,
    SD_POSITION_ENDHEADER,
    SD_POSITION_NEWLINE,
    SD_POSITION_QUESTION_LAST,
    SD_POSITION_ANSWER_FIRST,
    SD_POSITION_ANSWER_LAST,
    SD_POSITIONS
};

typedef struct sd_tokens {
    uint64_t docs, tokens;
    int32_t *ids, *ids_base, *position;
    uint8_t *mask, *role;
    uint64_t *span; /* [tokens, 2] */
    uint64_t *doc_start, *doc_row, *doc_length;
    uint32_t *doc_source;
    int32_t *doc_position; /* [docs, SD_POSITIONS] */
    char template_sha256[SD_SHA256_HEX], date[11];
    char text_sha256[SD_SHA256_HEX], tokenizer_sha256[SD_SHA256_HEX];
    char *sources; /* JSON list of the names of the data entries */
    uint64_t context, vocabulary;
    struct sd_bundle *file; /* whose arrays these are, which must not be written then; NULL: they are the stream's own */
} sd_tokens;

/* Local. Everything is allocated, doc_start[docs] = tokens set, doc_position all −1. End with sd_tokens_destroy(). */
SD_MUST_CHECK sd_status sd_tokens_create(sd_tokens **tokens, uint64_t docs, uint64_t count);
void sd_tokens_destroy(sd_tokens **tokens);

/* A stream on its way into a file. */
typedef struct sd_tokens_writer sd_tokens_writer;

/* Local. What is added waits in files without a name beside `path`. */
SD_MUST_CHECK sd_status sd_tokens_writer_open(sd_tokens_writer **writer, const char *path);
void sd_tokens_writer_close(sd_tokens_writer **writer);
/* Local. The documents of `piece` behind those added before; every offset, id and position is checked against the others, context, vocabulary
 * and sources. */
SD_MUST_CHECK sd_status sd_tokens_writer_add(sd_tokens_writer *writer, const sd_tokens *piece);
/* Local. The file with the attributes of `head` is committed (temporary name, fsync, rename) before this returns. */
SD_MUST_CHECK sd_status sd_tokens_writer_finish(sd_tokens_writer *writer, const sd_tokens *head);

/* Local. Every array's length, every offset, id and position is checked against the others. */
SD_MUST_CHECK sd_status sd_tokens_read(sd_tokens **tokens, const char *path);

/* The document that token `row` belongs to. */
uint64_t sd_tokens_doc(const sd_tokens *tokens, uint64_t row);

#endif

/* tokenizer.json as Hugging Face's `tokenizers` understands it, to the same ids and ranges (0.20 and later; checked against 0.23.3): BPE
 * models, byte-level or with byte fallback, with
 *   normalizers      NFC, NFD, NFKC, NFKD, Prepend, Replace
 *   pre-tokenizers   Split, ByteLevel, Digits, Metaspace, Punctuation, Whitespace, WhitespaceSplit
 *   post-processors  TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing
 *   decoders         ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace
 * each also in a Sequence, and added tokens with all their flags. Anything else in the file is refused by its name. Local. */
#ifndef SAEDIFF_TEXT_TOKENIZER_H
#define SAEDIFF_TEXT_TOKENIZER_H

#include "saediff/core/hash.h"
#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_tokenizer sd_tokenizer;

/* From model_dir/tokenizer.json; without it from the SentencePiece model (BPE with byte fallback) tokenizer.model, as the
 * reference library's conversion has it. */
SD_MUST_CHECK sd_status sd_tokenizer_open(sd_tokenizer **tokenizer, const char *model_dir);
void sd_tokenizer_close(sd_tokenizer **tokenizer);

/* Ids of one text; arrays belong to the caller (sd_free()). span [count, 2] is the byte range of each token in the
 * text as given, whole characters always: the tokens of a character's bytes have the same range, a mark put before a text that of
 * the first character, BOS and what else the post-processor adds 0, 0. Where characters outside the vocabulary are dropped, later
 * ranges of their piece lie as far to the left: so they do in the reference library. */
typedef struct sd_encoding {
    int32_t *ids;
    uint64_t *span;
    uint64_t count;
} sd_encoding;
void sd_encoding_free(sd_encoding *encoding);

/* special: add what the post-processor adds (BOS). Text that is not UTF-8 is SD_E_DATA with the byte offset.
 * O(n log n) for any text. */
SD_MUST_CHECK sd_status sd_tokenizer_encode(const sd_tokenizer *tokenizer, const char *text, uint64_t length,
                                            bool special, sd_encoding *out);

/* Text of the ids, by the file's decoder; special tokens left out if skip_special, ids without a piece always. Added tokens read as
 * the file spells them, also where the normalizer changes them. Byte tokens that are no UTF-8 together, and zero bytes, become
 * U+FFFD. *text: sd_free(). */
SD_MUST_CHECK sd_status sd_tokenizer_decode(const sd_tokenizer *tokenizer, const int32_t *ids, uint64_t count,
                                            bool skip_special, char **text);
/* The piece of one id as the file spells it, NULL if there is none. */
const char *sd_tokenizer_piece(const sd_tokenizer *tokenizer, int32_t id);
/* The id of a token by its spelling in the file, added ones first; −1 if there is none. */
int32_t sd_tokenizer_find(const sd_tokenizer *tokenizer, const char *bytes, uint64_t length);

uint64_t sd_tokenizer_vocabulary(const sd_tokenizer *tokenizer); /* highest id + 1 */
bool sd_tokenizer_is_special(const sd_tokenizer *tokenizer, int32_t id);
int32_t sd_tokenizer_bos(const sd_tokenizer *tokenizer); /* first id the template adds before a text; −1 if none */
const char *sd_tokenizer_sha256(const sd_tokenizer *tokenizer); /* of tokenizer.json */

#endif

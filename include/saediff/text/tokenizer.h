/* Reads tokenizer.json with the ids and ranges of Hugging Face's `tokenizers` (0.20 and later; checked against 0.23.3): BPE
 * models, byte-level or with byte fallback, with
 *   normalizers      NFC, NFD, NFKC, NFKD, Prepend, Replace
 *   pre-tokenizers   Split, ByteLevel, Digits, Metaspace, Punctuation, Whitespace, WhitespaceSplit
 *   post-processors  TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing
 *   decoders         ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace
 * each also in a Sequence, and added tokens with all their flags. Anything else in the file is an error that names it. Local. */
#ifndef SAEDIFF_TEXT_TOKENIZER_H
#define SAEDIFF_TEXT_TOKENIZER_H

#include "saediff/core/hash.h"
#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_tokenizer sd_tokenizer;

/* From model_dir/tokenizer.json; if absent, from the SentencePiece model (BPE with byte fallback) tokenizer.model, with the result of the
 * reference library's conversion. */
SD_MUST_CHECK sd_status sd_tokenizer_open(sd_tokenizer **tokenizer, const char *model_dir);
void sd_tokenizer_close(sd_tokenizer **tokenizer);

/* SHA-256 of the file that sd_tokenizer_open() would read, without reading it as a tokenizer. SD_E_DATA if there is none. */
SD_MUST_CHECK sd_status sd_tokenizer_digest(const char *model_dir, char hex[SD_SHA256_HEX]);

/* Ids of one text; the caller owns the arrays (sd_free()). span [count, 2] is the byte range of each token in the input text, always
 * whole characters: all byte tokens of a character have its range, a mark prepended to a text has that of the first character, and BOS
 * and other ids of the post-processor have 0, 0. If characters outside the vocabulary are dropped, later ranges of their pre-token
 * shift to the left by as much, as in the reference library. */
typedef struct sd_encoding {
    int32_t *ids;
    uint64_t *span;
    uint64_t count;
} sd_encoding;
void sd_encoding_free(sd_encoding *encoding);

/* special: add the ids of the post-processor (BOS). Text that is not UTF-8 is SD_E_DATA with the byte offset.
 * O(n log n) for any text. */
SD_MUST_CHECK sd_status sd_tokenizer_encode(const sd_tokenizer *tokenizer, const char *text, uint64_t length,
                                            bool special, sd_encoding *out);

/* Text of the ids, by the file's decoder; special tokens are omitted if skip_special, ids without a piece always. Added tokens have
 * the file's spelling, even if the normalizer changes them. Byte tokens that do not form UTF-8, and zero bytes, become U+FFFD.
 * *text: sd_free(). */
SD_MUST_CHECK sd_status sd_tokenizer_decode(const sd_tokenizer *tokenizer, const int32_t *ids, uint64_t count,
                                            bool skip_special, char **text);
/* The piece of one id as spelled in the file, NULL if there is none. */
const char *sd_tokenizer_piece(const sd_tokenizer *tokenizer, int32_t id);
/* The id of a token by its spelling in the file, added tokens first; −1 if there is none. */
int32_t sd_tokenizer_find(const sd_tokenizer *tokenizer, const char *bytes, uint64_t length);

uint64_t sd_tokenizer_vocabulary(const sd_tokenizer *tokenizer); /* highest id + 1 */
bool sd_tokenizer_is_special(const sd_tokenizer *tokenizer, int32_t id);
int32_t sd_tokenizer_bos(const sd_tokenizer *tokenizer); /* first id the template prepends to a text; −1 if none */
const char *sd_tokenizer_sha256(const sd_tokenizer *tokenizer); /* as sd_tokenizer_digest() */

#endif

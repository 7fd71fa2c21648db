/* Supervised fine-tuning data: tokenized documents and their loss mask. */
#ifndef SAEDIFF_TUNE_SFT_DATA_H
#define SAEDIFF_TUNE_SFT_DATA_H

#include "saediff/par/par.h"
#include "saediff/text/chat.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

typedef struct sd_sft_data {
    uint64_t docs, tokens;
    uint64_t *start;     /* [docs + 1] first token of each document; the last entry is tokens */
    int32_t *ids;        /* [tokens] */
    uint8_t *supervised; /* [tokens] loss mask: 1 if the prediction of this token counts in the loss; 0 for the first of a document */
} sd_sft_data;

/* Local. Allocates all arrays, zeroed, and sets start[docs] = tokens. SD_E_ENV without memory; *sft_data is then NULL. */
SD_MUST_CHECK sd_status sd_sft_data_create(sd_sft_data **sft_data, uint64_t docs, uint64_t tokens);
/* Local. Takes the address of a handle or of NULL; leaves NULL there. */
void sd_sft_data_destroy(sd_sft_data **sft_data);

/* One entry of `finetune.data`. Strings are borrowed.
 *   text: prompt and completion NULL. The field of `data` is the text, and all of it is supervised.
 *   prompt and completion: each a column, a path or a template. The text is their concatenation; tokens that begin after the prompt are
 *     supervised.
 *   chat: the field is a list of messages as JSON, and the text is what the chat template makes of it. Supervised are the content of each
 *     message of the assistant and the tokens after it up to the special token that ends the turn (the first but BOS), if there is one;
 *     with supervise_all every token. */
typedef struct sd_sft_entry {
    const char *name; /* for messages */
    sd_dataset_spec data;
    const char *prompt, *completion;
    bool chat, supervise_all;
} sd_sft_entry;

typedef struct sd_sft_spec {
    const sd_sft_entry *entries; /* [n_entries] */
    uint64_t n_entries;
    const sd_chat_encoder *encoder; /* of chats; NULL if there are none */
    uint64_t context; /* maximum tokens of a document; longer ones are truncated */
    int32_t end;      /* id appended to every document that was not truncated, and supervised; −1: none. Not appended to a chat whose last
                       * turn already has an end token, or is not the assistant's */
} sd_sft_spec;

/* Collective. Rank 0 reads and tokenizes; every rank gets the same data, which sd_sft_data_destroy() frees. Documents without a supervised
 * token (of one token, with a prompt that fills the context, or without a message of the assistant) are dropped and counted in the log.
 * SD_E_DATA if none remains, if a text holds U+FFFF, or as the data set, tokenizer and chat template report. */
SD_MUST_CHECK sd_status sd_sft_data_read(sd_sft_data **sft_data, const sd_par *par, const sd_tokenizer *tokenizer,
                                        const sd_sft_spec *spec);

#endif

/* What a model is tuned on: documents as tokens, and which of these it is to learn to predict. */
#ifndef SAEDIFF_TUNE_SFT_DATA_H
#define SAEDIFF_TUNE_SFT_DATA_H

#include "saediff/par/par.h"
#include "saediff/text/chat.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

typedef struct sd_sft_data {
    uint64_t docs, tokens;
    uint64_t *start;  /* [docs + 1] first token of each document; the last entry is tokens */
    int32_t *ids;     /* [tokens] */
    uint8_t *trainable; /* [tokens] 1: predicting this token from those before it counts; never the first of a document */
} sd_sft_data;

/* Local. Everything is allocated, start[docs] = tokens set. */
SD_MUST_CHECK sd_status sd_sft_data_create(sd_sft_data **sft_data, uint64_t docs, uint64_t tokens);
void sd_sft_data_destroy(sd_sft_data **sft_data);

/* One entry of the data. prompt and completion NULL: the data's own field is the text, and all of it is learned. Else they say, each as
 * a column, a path or a template, what of a record is read and what is learned: tokens that begin behind the prompt. With `chat` the
 * field is a list of messages as JSON, and its text that of the chat template: what is learned is what the assistant says, the content
 * of each of its messages and what follows up to the first special token but BOS, which ends its turn (nothing of it where there is
 * none), or with supervise_all every token. */
typedef struct sd_sft_entry {
    const char *name;
    sd_dataset_spec data;
    const char *prompt, *completion;
    bool chat, supervise_all;
} sd_sft_entry;

typedef struct sd_sft_spec {
    const sd_sft_entry *entries;
    uint64_t n_entries;
    const sd_chat_encoder *encoder; /* of chats; NULL where there are none */
    uint64_t context; /* most tokens of a document; what is behind them is cut */
    int32_t end;      /* id put behind every document that was not cut, and learned; −1: none. Not behind a chat whose last turn
                       * has an end of its own, or is not the assistant's */
} sd_sft_spec;

/* Collective: rank 0 reads. On every rank the same. Documents without anything to learn (one token, the prompt fills the context, or the
 * assistant says nothing) are left out and counted; none left is SD_E_DATA. What was found is said with sd_say(). */
SD_MUST_CHECK sd_status sd_sft_data_read(sd_sft_data **sft_data, const sd_par *par, const sd_tokenizer *tokenizer,
                                        const sd_sft_spec *spec);

#endif

/* What a model is tuned on: documents as tokens, and which of these it is to learn to predict. */
#ifndef SAEDIFF_TUNE_LESSONS_H
#define SAEDIFF_TUNE_LESSONS_H

#include "saediff/par/par.h"
#include "saediff/text/chat.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

typedef struct sd_lessons {
    uint64_t docs, tokens;
    uint64_t *start;  /* [docs + 1] first token of each document; the last entry is tokens */
    int32_t *ids;     /* [tokens] */
    uint8_t *learned; /* [tokens] 1: predicting this token from those before it counts; never the first of a document */
} sd_lessons;

/* Local. Everything is allocated, start[docs] = tokens set. */
SD_MUST_CHECK sd_status sd_lessons_create(sd_lessons **lessons, uint64_t docs, uint64_t tokens);
void sd_lessons_destroy(sd_lessons **lessons);

/* One entry of the data. prompt and completion NULL: the data's own field is the text, and all of it is learned. Else they say, each as
 * a column, a path or a template, what of a record is read and what is learned: tokens that begin behind the prompt. With `chat` the
 * field is a list of messages as JSON, and its text that of the chat template: what is learned is what the assistant says, the content
 * of each of its messages and what follows up to the first special token but BOS, which ends its turn (nothing of it where there is
 * none), or with learn_all every token. */
typedef struct sd_lessons_entry {
    const char *name;
    sd_dataset_spec data;
    const char *prompt, *completion;
    bool chat, learn_all;
} sd_lessons_entry;

typedef struct sd_lessons_spec {
    const sd_lessons_entry *entries;
    uint64_t n_entries;
    const sd_chat_encoder *encoder; /* of chats; NULL where there are none */
    uint64_t context; /* most tokens of a document; what is behind them is cut */
    int32_t end;      /* id put behind every document that was not cut, and learned; −1: none. Not behind a chat whose last turn
                       * has an end of its own, or is not the assistant's */
} sd_lessons_spec;

/* Collective: rank 0 reads. On every rank the same. Documents without anything to learn (one token, the prompt fills the context, or the
 * assistant says nothing) are left out and counted; none left is SD_E_DATA. What was found is said with sd_say(). */
SD_MUST_CHECK sd_status sd_lessons_read(sd_lessons **lessons, const sd_par *par, const sd_tokenizer *tokenizer,
                                        const sd_lessons_spec *spec);

#endif

/* From datasets to the canonical token stream: documents in the order of the job, cut to the context, packed without
 * padding. Ranks share the documents; the result does not depend on how many there are. */
#ifndef SAEDIFF_TEXT_TOKENIZE_H
#define SAEDIFF_TEXT_TOKENIZE_H

#include "saediff/par/par.h"
#include "saediff/store/tokens.h"
#include "saediff/text/chat.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

/* How an entry's documents become tokens. */
typedef struct sd_tokenize_entry {
    bool chat; /* they are lists of messages (see chat.h) */
    sd_prompt_format prompt_format;
    uint64_t max_tokens; /* stop taking documents of this entry once this many tokens of it are there; 0 for no limit */
} sd_tokenize_entry;

typedef struct sd_tokenize_spec {
    const sd_dataset_spec *data;
    const char *const *names; /* of the data entries */
    uint64_t n_data;
    const sd_tokenize_entry *entries; /* [n_data]; NULL: no chats, no limits */
    const sd_chat_encoder *encoder;   /* of chats; NULL where there are none */
    const int32_t *substitute;        /* [n_substitute, 2] ids: from, to; for the base model, in documents of the condition "substituted" */
    uint64_t n_substitute;
    uint64_t context;  /* most tokens of a document, BOS included; the rest is cut; 0 for no limit */
    uint64_t max_tokens; /* stop taking documents once this many tokens are there; 0 for no limit */
    bool mask_special; /* BOS and special tokens are context only (the default of the product) */
} sd_tokenize_spec;

/* Collective. Writes the stream as `path` (store/tokens.h), whose folder is there, on rank 0, in memory that does not grow with the texts. Chats
 * without a question, and those that the context cuts before one of their named places, are dropped. Counts of documents dropped, cut and of
 * second BOS tokens are reported with sd_say()/sd_warn(). No document at all is SD_E_DATA; SD_E_STOPPED on all
 * ranks after a signal, once the round of documents under way is done. */
SD_MUST_CHECK sd_status sd_tokenize(const sd_par *par, const sd_tokenizer *tokenizer, const sd_tokenize_spec *spec, const char *path);

#endif

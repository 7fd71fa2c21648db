/* From datasets to the token stream: documents in the order of the job, truncated to the context, packed without padding. Documents are
 * distributed over the ranks; the result does not depend on the number of ranks. */
#ifndef SAEDIFF_TEXT_TOKENIZE_H
#define SAEDIFF_TEXT_TOKENIZE_H

#include "saediff/par/par.h"
#include "saediff/store/tokens.h"
#include "saediff/text/chat.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

/* How the documents of a data entry become tokens. */
typedef struct sd_tokenize_entry {
    bool chat; /* documents are lists of messages (see chat.h) */
    sd_prompt_format prompt_format;
    uint64_t max_tokens; /* stop reading this entry once it has given this many tokens; 0 for no limit */
} sd_tokenize_entry;

typedef struct sd_tokenize_spec {
    const sd_dataset_spec *data;
    const char *const *names; /* names of the data entries */
    uint64_t n_data;
    const sd_tokenize_entry *entries; /* [n_data]; NULL: no chats, no limits */
    const sd_chat_encoder *encoder;   /* for chats; NULL if there are none */
    const int32_t *substitute;        /* [n_substitute, 2] ids (from, to) for the base model, in documents of the prompt format "substituted" */
    uint64_t n_substitute;
    uint64_t context;  /* maximum tokens per document, BOS included; longer ones are truncated; 0 for no limit */
    uint64_t max_tokens; /* stop reading documents once there are this many tokens; 0 for no limit */
    bool mask_special; /* BOS and special tokens are context only and not evaluated (the default of the program) */
} sd_tokenize_spec;

/* Collective. Writes the stream to `path` (store/tokens.h), whose folder must exist, on rank 0, in memory that does not grow with the texts.
 * Chats without a question, and chats that the context truncates before one of their named positions, are dropped. Counts of dropped and
 * truncated documents and of second BOS tokens are reported with sd_say()/sd_warn(). SD_E_DATA if there is no document; SD_E_STOPPED on all
 * ranks after a signal, once the current round of documents is done. */
SD_MUST_CHECK sd_status sd_tokenize(const sd_par *par, const sd_tokenizer *tokenizer, const sd_tokenize_spec *spec, const char *path);

#endif

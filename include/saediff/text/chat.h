/* Chats as tokens: what a model reads of a list of messages, with the role of every token and the named places. Local.
 *
 * A chat is a JSON list of {"role": …, "content": …}; {"from": …, "value": …} with human, gpt and so on is understood as the same. Where
 * the last message is not the assistant's, the header of its answer is asked for (add_generation_prompt), as for a model that would answer.
 *
 * Conditions, to tell what a model does with a text from what it does with marks it never saw:
 *   templated    C0  the template's text for both models
 *   substituted  C1  the same ids, but for the base model some replaced (pairs of the job): marks it was never trained on
 *   plain        C2  "User: …\n\nAssistant: …" for both
 *   raw          C3  the contents, with an empty line between them
 * Templated text is encoded as it is (the template writes BOS, where it has one); plain and raw text gets the tokenizer's BOS. */
#ifndef SAEDIFF_TEXT_CHAT_H
#define SAEDIFF_TEXT_CHAT_H

#include "saediff/store/tokens.h"
#include "saediff/text/template.h"
#include "saediff/text/tokenizer.h"

typedef enum sd_prompt_format { SD_TEMPLATED, SD_SUBSTITUTED, SD_PLAIN, SD_RAW } sd_prompt_format;

/* From "templated" … "raw" or "C0" … "C3"; false for another word. */
bool sd_prompt_format_parse(const char *words, sd_prompt_format *condition);

typedef struct sd_chat_encoder sd_chat_encoder;

typedef struct sd_chat_spec {
    const char *model_dir; /* whose template and special tokens are taken */
    const char *file;      /* a template instead of the model's; NULL or "" for none */
    const char *date;      /* YYYY-MM-DD, what the template is told */
    bool templates;        /* a template is needed: some chat is templated or substituted */
} sd_chat_spec;

/* The tokenizer is borrowed. A date that is none is SD_E_USAGE. */
SD_MUST_CHECK sd_status sd_chat_open(sd_chat_encoder **encoder, const sd_tokenizer *tokenizer, const sd_chat_spec *spec);
void sd_chat_close(sd_chat_encoder **encoder);
const char *sd_chat_date(const sd_chat_encoder *encoder);
const char *sd_chat_template_sha256(const sd_chat_encoder *encoder); /* "" without a template */

typedef struct sd_chat {
    char *text; /* that was encoded, `length` bytes; the spans are of it */
    uint64_t length;
    sd_encoding tokens;
    uint8_t *role; /* [tokens.count] as in tokens.h */
    int32_t place[SD_POSITIONS]; /* as in tokens.h: positions in the document, −1 for none */
} sd_chat;
void sd_chat_free(sd_chat *chat);

/* `name` is what messages call the JSON text. A message without role or content, and what the template refuses, is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_chat_encode_text(const sd_chat_encoder *encoder, sd_prompt_format prompt_format, const char *name, const char *json,
                                            uint64_t length, sd_chat *out);
SD_MUST_CHECK sd_status sd_chat_encode(const sd_chat_encoder *encoder, sd_prompt_format prompt_format, const cJSON *messages, sd_chat *out);

/* A chat cut to `kept` tokens can be used: there is a question, and no place lies behind the cut. */
bool sd_chat_whole(const sd_chat *chat, uint64_t kept);

#endif

/* Chats as tokens: a list of messages encoded for a model, with the role of every token and the named positions. Local.
 *
 * A chat is a JSON list of {"role": …, "content": …}; {"from": …, "value": …} with human, gpt and so on is equivalent. If the last message
 * is not the assistant's, the header of the assistant's answer is appended (add_generation_prompt).
 *
 * Prompt formats, which separate the effect of a text from that of special tokens the base model never saw:
 *   templated    C0  the chat template's text for both models
 *   substituted  C1  the same ids, but some are replaced for the base model (pairs of the job): special tokens it was never trained on
 *   plain        C2  "User: …\n\nAssistant: …" for both models
 *   raw          C3  the contents, separated by an empty line
 * Templated text is encoded as it is (the template writes BOS, if any); plain and raw text gets the tokenizer's BOS. */
#ifndef SAEDIFF_TEXT_CHAT_H
#define SAEDIFF_TEXT_CHAT_H

#include "saediff/store/tokens.h"
#include "saediff/text/template.h"
#include "saediff/text/tokenizer.h"

typedef enum sd_prompt_format { SD_TEMPLATED, SD_SUBSTITUTED, SD_PLAIN, SD_RAW } sd_prompt_format;

/* From "templated" … "raw" or "C0" … "C3"; false for any other word. */
bool sd_prompt_format_parse(const char *words, sd_prompt_format *prompt_format);

typedef struct sd_chat_encoder sd_chat_encoder;

typedef struct sd_chat_spec {
    const char *model_dir; /* source of the chat template and the special tokens */
    const char *file;      /* template file that replaces the model's; NULL or "" for none */
    const char *date;      /* YYYY-MM-DD, the date the template sees */
    bool templates;        /* a template is required: some chats are templated or substituted */
} sd_chat_spec;

/* The tokenizer is borrowed. An invalid date is SD_E_USAGE. */
SD_MUST_CHECK sd_status sd_chat_open(sd_chat_encoder **encoder, const sd_tokenizer *tokenizer, const sd_chat_spec *spec);
void sd_chat_close(sd_chat_encoder **encoder);
const char *sd_chat_date(const sd_chat_encoder *encoder);
const char *sd_chat_template_sha256(const sd_chat_encoder *encoder); /* "" without a template */

typedef struct sd_chat {
    char *text; /* the encoded text, `length` bytes; spans refer to it */
    uint64_t length;
    sd_encoding tokens;
    uint8_t *role; /* [tokens.count] as in tokens.h */
    int32_t position[SD_POSITIONS]; /* positions in the document as in tokens.h, −1 for none */
} sd_chat;
void sd_chat_free(sd_chat *chat);

/* `name`: the JSON text in messages. A message without role or content, or one that the template rejects, is SD_E_DATA. */
SD_MUST_CHECK sd_status sd_chat_encode_text(const sd_chat_encoder *encoder, sd_prompt_format prompt_format, const char *name, const char *json,
                                            uint64_t length, sd_chat *out);
SD_MUST_CHECK sd_status sd_chat_encode(const sd_chat_encoder *encoder, sd_prompt_format prompt_format, const cJSON *messages, sd_chat *out);

/* Whether a chat truncated to `kept` tokens is usable: it has a question, and no named position is beyond the cut. */
bool sd_chat_is_usable(const sd_chat *chat, uint64_t kept);

#endif

/* Chat templates: render a list of messages to the text a chat model was trained on, with the origin (message and part) of every byte.
 *
 * The language is that of Jinja2 as the `transformers` library configures it (trim_blocks, lstrip_blocks, loop controls, tojson without
 * HTML escapes, raise_exception, strftime_now, {% generation %}): if, for, set, macro, break, continue; expressions with Python's semantics;
 * the filters and tests that models' templates use. Anything else (include, import, block, call, filter, with, raw, recursive loops, methods
 * that modify a value …) is an error with the template's name and line, at compile time where it can be detected. Differences: numbers are
 * 64 bits wide; a JSON number without fraction is an int; case mapping is per code point. A template with an endless loop or unbounded
 * output fails. Local. */
#ifndef SAEDIFF_TEXT_TEMPLATE_H
#define SAEDIFF_TEXT_TEMPLATE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/hash.h"
#include "saediff/core/status.h"

typedef struct sd_template sd_template;

/* `name`: the template in messages. SD_E_DATA "name:line: 'word' is not supported". */
SD_MUST_CHECK sd_status sd_template_compile(sd_template **t, const char *name, const char *source, uint64_t length);

/* Reads `file`, or if that is NULL or "" the model's folder: chat_template.jinja, else "chat_template" of tokenizer_config.json (a
 * string, or a list of named ones, of which "default" is used). SD_E_DATA if there is no template. The special tokens of
 * model_dir/tokenizer_config.json become the template's variables bos_token, eos_token, and so on. */
SD_MUST_CHECK sd_status sd_template_open(sd_template **t, const char *model_dir, const char *file);
/* *found: whether the folder has a template. */
SD_MUST_CHECK sd_status sd_template_exists(const char *model_dir, bool *found);
void sd_template_close(sd_template **t);
const char *sd_template_sha256(const sd_template *t); /* of the template's text */

/* Origin of a byte. */
enum { SD_PART_NONE, SD_PART_HEADER, SD_PART_CONTENT, SD_PART_TRAILER };
enum { SD_NO_MESSAGE = 0xffff };
typedef struct sd_origin {
    uint16_t message; /* index into the messages; their count for the generation prompt; SD_NO_MESSAGE for none */
    uint8_t part;
} sd_origin;

typedef struct sd_rendering {
    char *text; /* `length` bytes of UTF-8, NUL-terminated */
    uint64_t length;
    sd_origin *origin; /* [length] */
} sd_rendering;
void sd_rendering_free(sd_rendering *r);

/* `messages`: a list of objects with "role" and "content", at most 65000; `variables`: an object of further names, or NULL. `date`:
 * "YYYY-MM-DD", the date of strftime_now. `prompt`: append the header of an assistant's answer (add_generation_prompt).
 *
 * Bytes of a message's own members (all but "role" and "from") are its content, wherever they are written, also through filters. Other
 * bytes written while the template processes that message (inside a loop over messages, or after a name was set to one) are its header if
 * they precede the first byte of its content, else its trailer; bytes written outside of any message are assigned to the message whose
 * content they adjoin, by the same rule. The generation prompt is what the text with it has beyond the text without it.
 *
 * raise_exception in the template is SD_E_DATA with the template's message. */
SD_MUST_CHECK sd_status sd_template_render(const sd_template *t, const cJSON *messages, const cJSON *variables, const char *date,
                                           bool prompt, sd_rendering *out);

/* Whether `date` is "YYYY-MM-DD" and exists in the calendar. */
bool sd_template_date_valid(const char *date);

#endif

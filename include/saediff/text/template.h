/* Chat templates: lists of messages as the text a chat model was trained on, byte by byte with the message it comes from.
 *
 * The language is that of Jinja2 as the `transformers` library sets it up (trim_blocks, lstrip_blocks, loop controls, tojson without
 * escapes for HTML, raise_exception, strftime_now, {% generation %}): if, for, set, macro, break, continue; expressions with the meaning
 * Python gives them; the filters and tests that templates of models use. What is beyond it (include, import, block, call, filter, with,
 * raw, recursive loops, methods that change a value …) is refused with the template's name and line, when the template is read where
 * that can be seen. Differences: numbers are 64 bits wide; a JSON number without fraction is an int; letters change case one by one. A
 * template that makes no end of its loops, or of its text, ends in an error. Local. */
#ifndef SAEDIFF_TEXT_TEMPLATE_H
#define SAEDIFF_TEXT_TEMPLATE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/hash.h"
#include "saediff/core/status.h"

typedef struct sd_template sd_template;

/* `name` is what messages call it. SD_E_DATA "name:line: 'word' is not understood". */
SD_MUST_CHECK sd_status sd_template_compile(sd_template **t, const char *name, const char *source, uint64_t length);

/* From `file`, or where that is NULL or "" from the model's folder: chat_template.jinja, else "chat_template" of tokenizer_config.json (a
 * text, or a list of named ones, of which "default" is taken). No template there is SD_E_DATA. The special tokens of
 * model_dir/tokenizer_config.json are the template's variables bos_token, eos_token, and so on. */
SD_MUST_CHECK sd_status sd_template_open(sd_template **t, const char *model_dir, const char *file);
/* *found: the folder holds a template. */
SD_MUST_CHECK sd_status sd_template_exists(const char *model_dir, bool *found);
void sd_template_close(sd_template **t);
const char *sd_template_sha256(const sd_template *t); /* of the template's text */

/* Where a byte comes from. */
enum { SD_PART_NONE, SD_PART_HEADER, SD_PART_CONTENT, SD_PART_TRAILER };
enum { SD_NO_MESSAGE = 0xffff };
typedef struct sd_origin {
    uint16_t message; /* index into the messages; their number for the header of the answer asked for; SD_NO_MESSAGE for none */
    uint8_t part;
} sd_origin;

typedef struct sd_rendering {
    char *text; /* `length` bytes of UTF-8, and a zero byte */
    uint64_t length;
    sd_origin *origin; /* [length] */
} sd_rendering;
void sd_rendering_free(sd_rendering *r);

/* `messages`: a list of objects with "role" and "content", at most 65000; `variables`: an object of further names, or NULL. `date`
 * "YYYY-MM-DD" is what strftime_now tells. `prompt`: the text ends with the header of an answer (add_generation_prompt).
 *
 * Bytes of a message's own members (all but "role" and "from") are its content, wherever they come out, also through filters. The other
 * bytes that come out while the template is at that message (a loop over messages, or a name set to one, is there) are its header before
 * the first byte of its content, its trailer behind; of those that come out at no message, the ones that stand with the content of one
 * belong to it likewise. The header of the answer asked for is what the text with it has beyond the text without it.
 *
 * raise_exception of the template is SD_E_DATA with the template's words. */
SD_MUST_CHECK sd_status sd_template_render(const sd_template *t, const cJSON *messages, const cJSON *variables, const char *date,
                                           bool prompt, sd_rendering *out);

/* "YYYY-MM-DD" of a day there is. */
bool sd_template_date_valid(const char *date);

#endif

#include "saediff/text/chat.h"

#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/json.h"

/* The prompt formats without the model's template are templates too, so that roles are found in one way. */
static const char plain[] = "{%- for m in messages %}{{ '' if loop.first else '\\n\\n' }}"
                            "{{ {'system': '', 'user': 'User: ', 'assistant': 'Assistant: '}.get(m.role, m.role ~ ': ') }}{{ m.content }}"
                            "{% endfor %}{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}";
static const char raw[] = "{%- for m in messages %}{{ m.content }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}";

struct sd_chat_encoder {
    const sd_tokenizer *tokenizer;
    sd_template *own, *plain, *raw; /* own: NULL if not needed */
    char date[11];
};

bool sd_prompt_format_parse(const char *words, sd_prompt_format *prompt_format)
{
    static const char *const names[] = {"templated", "substituted", "plain", "raw"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(words, names[i]) == 0) {
            *prompt_format = (sd_prompt_format)i;
            return true;
        }
    return false;
}

sd_status sd_chat_open(sd_chat_encoder **encoder, const sd_tokenizer *tokenizer, const sd_chat_spec *spec)
{
    sd_chat_encoder *e = NULL;
    sd_status st;

    *encoder = NULL;
    if (!sd_template_date_valid(spec->date))
        return SD_FAIL(SD_E_USAGE, "the date of chat templates is '%s'; it must be a valid date as YYYY-MM-DD", spec->date);
    SD_TRY(st, SD_NEW(&e, 1));
    e->tokenizer = tokenizer;
    memcpy(e->date, spec->date, sizeof e->date);
    if (spec->templates)
        SD_TRY(st, sd_template_open(&e->own, spec->model_dir, spec->file));
    SD_TRY(st, sd_template_compile(&e->plain, "prompt format plain", plain, sizeof plain - 1));
    SD_TRY(st, sd_template_compile(&e->raw, "prompt format raw", raw, sizeof raw - 1));
    *encoder = e;
    e = NULL;
out:
    sd_chat_close(&e);
    return st;
}

void sd_chat_close(sd_chat_encoder **encoder)
{
    sd_chat_encoder *e = *encoder;

    *encoder = NULL;
    if (e == NULL)
        return;
    sd_template_close(&e->own);
    sd_template_close(&e->plain);
    sd_template_close(&e->raw);
    sd_free(e);
}

const char *sd_chat_template_sha256(const sd_chat_encoder *encoder)
{
    return encoder->own != NULL ? sd_template_sha256(encoder->own) : "";
}

const char *sd_chat_date(const sd_chat_encoder *encoder)
{
    return encoder->date;
}

void sd_chat_free(sd_chat *chat)
{
    sd_free(chat->text);
    sd_encoding_free(&chat->tokens);
    sd_free(chat->role);
    *chat = (sd_chat){0};
}

/* ---- messages */

/* Aliases of the roles that templates use. */
static const char *role_name(const char *word)
{
    static const char *const names[][2] = {{"human", "user"}, {"gpt", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
                                           {"bard", "assistant"}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], word) == 0)
            return names[i][1];
    return word;
}

static uint8_t role_code(const char *role)
{
    static const struct {
        const char *name;
        uint8_t code;
    } roles[] = {{"system", SD_ROLE_SYSTEM}, {"developer", SD_ROLE_SYSTEM}, {"user", SD_ROLE_USER},     {"assistant", SD_ROLE_ASSISTANT},
                 {"model", SD_ROLE_ASSISTANT}, {"tool", SD_ROLE_TOOL},      {"ipython", SD_ROLE_TOOL}, {"function", SD_ROLE_TOOL}};

    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i].name, role) == 0)
            return roles[i].code;
    return SD_ROLE_OTHER;
}

static const cJSON *member(const cJSON *item, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(item, name);
}

/* The message in the form that templates expect, with its members in order: {"from", "value"} becomes {"role", "content"}. */
static sd_status add_message(cJSON *list, const cJSON *item, int index)
{
    const char *role_key = member(item, "role") != NULL ? "role" : "from", *content_key = member(item, "content") != NULL ? "content" : "value";
    const char *role = cJSON_GetStringValue(member(item, role_key));
    const cJSON *field;
    cJSON *copy;

    if (!cJSON_IsObject(item) || role == NULL)
        return SD_FAIL(SD_E_DATA, "message %d has no role; a chat must be a list of {\"role\": …, \"content\": …}", index);
    if (member(item, content_key) == NULL && member(item, "tool_calls") == NULL)
        return SD_FAIL(SD_E_DATA, "message %d (%s) has no content", index, role);
    copy = cJSON_CreateObject();
    cJSON_ArrayForEach(field, item) {
        bool is_role = strcmp(field->string, role_key) == 0, is_content = strcmp(field->string, content_key) == 0;
        cJSON *value = is_role ? cJSON_CreateString(role_name(role)) : cJSON_Duplicate(field, true);

        if (!cJSON_AddItemToObject(copy, is_role ? "role" : is_content ? "content" : field->string, value)) {
            cJSON_Delete(value);
            goto no_memory;
        }
    }
    if (cJSON_AddItemToArray(list, copy))
        return SD_OK;
no_memory:
    cJSON_Delete(copy);
    return SD_FAIL(SD_E_ENV, "out of memory for message %d", index);
}

static sd_status read_messages(const cJSON *messages, cJSON **out)
{
    cJSON *list = cJSON_CreateArray();
    const cJSON *item;
    int index = 0;
    sd_status st = list != NULL ? SD_OK : SD_FAIL(SD_E_ENV, "out of memory for messages");

    *out = NULL;
    if (st == SD_OK && (!cJSON_IsArray(messages) || messages->child == NULL))
        st = SD_FAIL(SD_E_DATA, "a chat must be a non-empty list of {\"role\": …, \"content\": …}");
    SD_TRY(st, st);
    cJSON_ArrayForEach(item, messages)
        SD_TRY(st, add_message(list, item, index++));
    *out = list;
    list = NULL;
out:
    cJSON_Delete(list);
    return st;
}

/* ---- tokens */

/* Origin of a token: that of its first byte of content, else of its first byte. */
static sd_origin token_origin(const sd_rendering *r, const uint64_t span[2])
{
    for (uint64_t i = span[0]; i < span[1]; i++)
        if (r->origin[i].part == SD_PART_CONTENT)
            return r->origin[i];
    return span[0] < span[1] ? r->origin[span[0]] : (sd_origin){SD_NO_MESSAGE, SD_PART_NONE};
}

/* Index of the last message of the assistant; the generation prompt, `count`, is one. −1 for none. */
static int64_t last_answer(const sd_origin *origin, uint64_t tokens, const uint8_t *codes)
{
    int64_t last = -1;

    for (uint64_t i = 0; i < tokens; i++)
        if (origin[i].message != SD_NO_MESSAGE && codes[origin[i].message] == SD_ROLE_ASSISTANT && origin[i].message > last)
            last = origin[i].message;
    return last;
}

static void find_positions(const sd_origin *origin, uint64_t tokens, const uint8_t *codes, int32_t position[SD_POSITIONS])
{
    int64_t answer = last_answer(origin, tokens, codes), header = -1, run = 0;

    for (int i = 0; i < SD_POSITIONS; i++)
        position[i] = -1;
    for (int64_t i = 0; i < (int64_t)tokens; i++) {
        sd_origin o = origin[i];

        if (o.message == SD_NO_MESSAGE)
            continue;
        if (o.part == SD_PART_HEADER && o.message == answer) {
            run = header == i - 1 ? run + 1 : 1;
            header = i;
        }
        if (o.part != SD_PART_CONTENT)
            continue;
        if (codes[o.message] == SD_ROLE_USER && (answer < 0 || o.message < answer))
            position[SD_POSITION_QUESTION_LAST] = (int32_t)i;
        if (o.message == answer) {
            if (position[SD_POSITION_ANSWER_FIRST] < 0)
                position[SD_POSITION_ANSWER_FIRST] = (int32_t)i;
            position[SD_POSITION_ANSWER_LAST] = (int32_t)i;
        }
    }
    if (header < 0)
        return;
    position[SD_POSITION_NEWLINE] = (int32_t)header;
    position[SD_POSITION_ENDHEADER] = run > 1 ? (int32_t)header - 1 : -1;
    position[SD_POSITION_ASST] = run > 2 ? (int32_t)header - 2 : -1;
}

static sd_status place_tokens(const sd_rendering *r, const cJSON *messages, sd_chat *chat)
{
    uint64_t count = chat->tokens.count, n = 0;
    sd_origin *origin = NULL;
    uint8_t *codes = NULL;
    const cJSON *item;
    sd_status st;

    SD_TRY(st, SD_NEW(&origin, count));
    SD_TRY(st, SD_NEW(&chat->role, count));
    SD_TRY(st, SD_NEW(&codes, (uint64_t)cJSON_GetArraySize(messages) + 1));
    cJSON_ArrayForEach(item, messages)
        codes[n++] = role_code(member(item, "role")->valuestring);
    codes[n] = SD_ROLE_ASSISTANT;
    for (uint64_t i = 0; i < count; i++) {
        origin[i] = token_origin(r, &chat->tokens.span[2 * i]);
        if (origin[i].message != SD_NO_MESSAGE)
            chat->role[i] = (uint8_t)(codes[origin[i].message] | origin[i].part << SD_PART_SHIFT);
    }
    find_positions(origin, count, codes, chat->position);
out:
    sd_free(origin);
    sd_free(codes);
    return st;
}

sd_status sd_chat_encode(const sd_chat_encoder *e, sd_prompt_format prompt_format, const cJSON *messages, sd_chat *out)
{
    const sd_template *t = prompt_format == SD_PLAIN ? e->plain : prompt_format == SD_RAW ? e->raw : e->own;
    const cJSON *last;
    cJSON *list = NULL;
    sd_rendering r = {0};
    sd_chat chat = {0};
    sd_status st;

    SD_TRY(st, read_messages(messages, &list));
    last = cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1);
    SD_TRY(st, sd_template_render(t, list, NULL, e->date, role_code(member(last, "role")->valuestring) != SD_ROLE_ASSISTANT, &r));
    SD_TRY(st, sd_tokenizer_encode(e->tokenizer, r.text, r.length, prompt_format == SD_PLAIN || prompt_format == SD_RAW, &chat.tokens));
    SD_TRY(st, place_tokens(&r, list, &chat));
    chat.text = r.text;
    chat.length = r.length;
    r.text = NULL;
    *out = chat;
    chat = (sd_chat){0};
out:
    sd_rendering_free(&r);
    sd_chat_free(&chat);
    cJSON_Delete(list);
    return st;
}

sd_status sd_chat_encode_text(const sd_chat_encoder *e, sd_prompt_format prompt_format, const char *name, const char *json, uint64_t length,
                              sd_chat *out)
{
    sd_json *read = NULL;
    sd_status st;

    SD_TRY(st, sd_json_parse(&read, name, json, length));
    st = sd_chat_encode(e, prompt_format, read->root, out);
    if (st != SD_OK)
        st = sd_fail_in(st, name);
out:
    sd_json_close(&read);
    return st;
}

bool sd_chat_is_usable(const sd_chat *chat, uint64_t kept)
{
    for (int i = 0; i < SD_POSITIONS; i++)
        if (chat->position[i] >= 0 && (uint64_t)chat->position[i] >= kept)
            return false;
    return chat->position[SD_POSITION_QUESTION_LAST] >= 0;
}

#include "saediff/text/template.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { MAX_MESSAGES = 65000, MEMORY = 64 << 20 };
#define SOURCE_LIMIT ((uint64_t)4 << 20)

struct sd_template {
    machine compiler; /* memory of tree and tokens */
    node *tree;
    char *name;
    sd_json *config; /* tokenizer_config.json, or NULL */
    char sha256[SD_SHA256_HEX];
};

sd_status sd_template_compile(sd_template **out, const char *name, const char *source, uint64_t length)
{
    sd_template *t = NULL;
    tokens words = {0};
    sd_sha256 sha;
    sd_status st;

    *out = NULL;
    if (length > SOURCE_LIMIT)
        return SD_FAIL(SD_E_DATA, "%s: a template of %llu bytes is larger than 4 MiB", name, (unsigned long long)length);
    SD_TRY(st, SD_NEW(&t, 1));
    SD_TRY(st, sd_str_copy(&t->name, name));
    t->compiler = (machine){.name = t->name, .memory.limit = 64 * length + MEMORY, .steps = CHAT_STEPS};
    SD_TRY(st, chat_lex(&t->compiler, source, length, &words));
    SD_TRY(st, chat_parse(&t->compiler, &words, &t->tree));
    sd_sha256_begin(&sha);
    sd_sha256_add(&sha, source, length);
    sd_sha256_end(&sha, t->sha256);
    *out = t;
    t = NULL;
out:
    sd_template_close(&t);
    return st;
}

void sd_template_close(sd_template **out)
{
    sd_template *t = *out;

    *out = NULL;
    if (t == NULL)
        return;
    chat_arena_free(&t->compiler.memory);
    sd_json_close(&t->config);
    sd_free(t->name);
    sd_free(t);
}

const char *sd_template_sha256(const sd_template *t)
{
    return t->sha256;
}

static bool is_readable(const char *path)
{
    return access(path, R_OK) == 0;
}

/* The text of "chat_template": the string, or the entry named "default" of a list; NULL for none. */
static const cJSON *template_of(const cJSON *config)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, "chat_template"), *entry;

    if (cJSON_IsString(item))
        return item;
    if (!cJSON_IsArray(item))
        return NULL;
    cJSON_ArrayForEach(entry, item) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "name"));
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(entry, "template");

        if (name != NULL && strcmp(name, "default") == 0 && cJSON_IsString(text))
            return text;
    }
    return NULL;
}

static sd_status compile_file(sd_template **t, const char *path)
{
    char *source = NULL;
    uint64_t length;
    sd_status st;

    SD_TRY(st, sd_file_read(path, SOURCE_LIMIT, &source, &length));
    st = sd_template_compile(t, path, source, length);
out:
    sd_free(source);
    return st;
}

sd_status sd_template_open(sd_template **out, const char *model_dir, const char *file)
{
    char *config_path = NULL, *own = NULL;
    sd_json *config = NULL;
    const cJSON *text = NULL;
    sd_template *t = NULL;
    sd_status st;

    *out = NULL;
    SD_TRY(st, sd_str_format(&config_path, "%s/tokenizer_config.json", model_dir));
    SD_TRY(st, sd_str_format(&own, "%s/chat_template.jinja", model_dir));
    if (is_readable(config_path)) {
        SD_TRY(st, sd_json_open(&config, config_path, (uint64_t)64 << 20));
        text = template_of(config->root);
    }
    if (file != NULL && file[0] != '\0')
        st = compile_file(&t, file);
    else if (is_readable(own))
        st = compile_file(&t, own);
    else if (text != NULL)
        st = sd_template_compile(&t, config_path, text->valuestring, strlen(text->valuestring));
    else
        st = SD_FAIL(SD_E_DATA, "%s: no chat template: there is neither chat_template.jinja nor chat_template in tokenizer_config.json; "
                     "set tokenize.template to one, or set prompt_format to plain or raw", model_dir);
    if (st != SD_OK)
        goto out;
    t->config = config;
    config = NULL;
    *out = t;
    t = NULL;
out:
    sd_template_close(&t);
    sd_json_close(&config);
    sd_free(config_path);
    sd_free(own);
    return st;
}

sd_status sd_template_exists(const char *model_dir, bool *found)
{
    char *path = NULL, *own = NULL;
    sd_json *config = NULL;
    sd_status st;

    SD_TRY(st, sd_str_format(&path, "%s/tokenizer_config.json", model_dir));
    SD_TRY(st, sd_str_format(&own, "%s/chat_template.jinja", model_dir));
    *found = is_readable(own);
    if (!*found && is_readable(path)) {
        SD_TRY(st, sd_json_open(&config, path, (uint64_t)64 << 20));
        *found = template_of(config->root) != NULL;
    }
out:
    sd_json_close(&config);
    sd_free(path);
    sd_free(own);
    return st;
}

bool sd_template_date_valid(const char *date)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d;

    if (strlen(date) != 10 || strspn(date, "0123456789") != 4 || date[4] != '-' || strspn(date + 5, "0123456789") != 2 ||
        date[7] != '-' || strspn(date + 8, "0123456789") != 2 || sscanf(date, "%d-%d-%d", &y, &m, &d) != 3)
        return false;
    return y >= 1 && m >= 1 && m <= 12 && d >= 1 && d <= days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

/* ---- JSON to values */

static sd_status from_json(machine *m, const cJSON *item, uint32_t mark, value *out)
{
    const cJSON *member;
    value made, key;
    sd_status st;

    if (cJSON_IsString(item))
        return chat_text(m, item->valuestring, strlen(item->valuestring), mark, out);
    if (cJSON_IsNumber(item)) {
        *out = (value){.kind = V_FLOAT, .as.real = item->valuedouble};
        if (fabs(item->valuedouble) < 9007199254740992.0 && floor(item->valuedouble) == item->valuedouble)
            *out = chat_int((int64_t)item->valuedouble);
        return SD_OK;
    }
    if (!cJSON_IsArray(item) && !cJSON_IsObject(item)) {
        *out = cJSON_IsBool(item) ? chat_bool(cJSON_IsTrue(item)) : chat_none();
        return SD_OK;
    }
    if (m->depth++ >= CHAT_DEPTH)
        return CHAT_FAIL(m, "the messages are nested too deeply");
    if (cJSON_IsArray(item)) {
        uint64_t n = 0;

        SD_TRY(st, chat_list(m, (uint64_t)cJSON_GetArraySize(item), &made));
        cJSON_ArrayForEach(member, item)
            SD_TRY(st, from_json(m, member, mark, &made.as.list->item[n++]));
    } else {
        SD_TRY(st, chat_dict(m, (uint64_t)cJSON_GetArraySize(item), &made));
        cJSON_ArrayForEach(member, item) {
            value v;

            SD_TRY(st, chat_text(m, member->string, strlen(member->string), 0, &key));
            SD_TRY(st, from_json(m, member, mark, &v));
            SD_TRY(st, chat_dict_set(m, made.as.dict, key, v));
        }
    }
    m->depth--;
    *out = made;
out:
    return st;
}

static sd_status read_message(machine *m, const cJSON *item, uint32_t mark, value *out)
{
    const cJSON *member;
    value key, v;
    sd_status st;

    SD_TRY(st, chat_dict(m, (uint64_t)cJSON_GetArraySize(item), out));
    out->as.dict->message = mark;
    cJSON_ArrayForEach(member, item) {
        bool names = strcmp(member->string, "role") == 0 || strcmp(member->string, "from") == 0;

        SD_TRY(st, chat_text(m, member->string, strlen(member->string), 0, &key));
        SD_TRY(st, from_json(m, member, names ? 0 : mark, &v));
        SD_TRY(st, chat_dict_set(m, out->as.dict, key, v));
    }
out:
    return st;
}

static sd_status read_messages(machine *m, const cJSON *messages, value *out)
{
    const cJSON *item;
    uint32_t n = 0;
    value made;
    sd_status st;

    if (!cJSON_IsArray(messages))
        return SD_FAIL(SD_E_DATA, "a chat must be a list of messages");
    if (cJSON_GetArraySize(messages) > MAX_MESSAGES)
        return SD_FAIL(SD_E_DATA, "a chat has %d messages; the maximum is %d", cJSON_GetArraySize(messages), (int)MAX_MESSAGES);
    SD_TRY(st, chat_list(m, (uint64_t)cJSON_GetArraySize(messages), &made));
    cJSON_ArrayForEach(item, messages) {
        if (!cJSON_IsObject(item))
            return SD_FAIL(SD_E_DATA, "message %u of a chat is not an object with role and content", (unsigned)n);
        SD_TRY(st, read_message(m, item, MARK_MESSAGE + n, &made.as.list->item[n]));
        n++;
    }
    *out = made;
out:
    return st;
}

/* Binds the special tokens, "</s>" or {"content": "</s>"}, by name. */
static sd_status bind_special(machine *m, const sd_json *config)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof names / sizeof *names && config != NULL; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(config->root, names[i]);
        const char *text;
        value v;

        if (cJSON_IsObject(item))
            item = cJSON_GetObjectItemCaseSensitive(item, "content");
        text = cJSON_GetStringValue(item);
        if (text == NULL)
            continue;
        SD_TRY(st, chat_text(m, text, strlen(text), i == 0 ? MARK_BOS : 0, &v));
        SD_TRY(st, chat_bind(m, names[i], v));
    }
out:
    return st;
}

static uint64_t bytes_of(const cJSON *item)
{
    uint64_t bytes = 64;

    if (cJSON_IsString(item))
        bytes += strlen(item->valuestring);
    for (const cJSON *child = item != NULL ? item->child : NULL; child != NULL; child = child->next)
        bytes += bytes_of(child);
    return bytes;
}

static sd_status render_once(const sd_template *t, const cJSON *messages, const cJSON *variables, const char *date, bool prompt,
                             machine *m, buffer *out)
{
    const cJSON *item;
    value v;
    sd_status st;

    *m = (machine){.name = t->name, .line = 1, .steps = CHAT_STEPS, .date = date, .out = out};
    m->memory.limit = MEMORY + 128 * (bytes_of(messages) + bytes_of(variables));
    SD_TRY(st, chat_push(m));
    SD_TRY(st, bind_special(m, t->config));
    cJSON_ArrayForEach(item, variables) {
        SD_TRY(st, from_json(m, item, 0, &v));
        SD_TRY(st, chat_bind(m, item->string, v));
    }
    SD_TRY(st, read_messages(m, messages, &v));
    SD_TRY(st, chat_bind(m, "messages", v));
    SD_TRY(st, chat_bind(m, "add_generation_prompt", chat_bool(prompt)));
    SD_TRY(st, chat_push(m));
    st = chat_run(m, t->tree);
out:
    return st;
}

/* ---- marks to origins */

enum { STRETCH_NONE = SD_NO_MESSAGE };

/* first[i]: start of the content of message i; length for none. */
static void first_bytes(const buffer *b, uint64_t *first, uint64_t messages)
{
    for (uint64_t i = 0; i < messages; i++)
        first[i] = b->length;
    for (uint64_t i = b->length; i-- > 0;)
        if ((b->mark[i] & MARK_LOW) >= MARK_MESSAGE)
            first[(b->mark[i] & MARK_LOW) - MARK_MESSAGE] = i;
}

/* Bytes first … end−1 were written outside of any message: before a content they are its header, after the last content its trailer. */
static void place_stretch(const buffer *b, uint64_t first, uint64_t end, sd_origin *origin)
{
    uint16_t next = STRETCH_NONE, last = STRETCH_NONE;

    for (uint64_t i = end; i-- > first;) {
        uint32_t from = b->mark[i] & MARK_LOW;

        if (from >= MARK_MESSAGE)
            next = (uint16_t)(from - MARK_MESSAGE);
        else if (from != MARK_BOS && next != STRETCH_NONE)
            origin[i] = (sd_origin){next, SD_PART_HEADER};
    }
    for (uint64_t i = first; i < end; i++) {
        uint32_t from = b->mark[i] & MARK_LOW;

        if (from >= MARK_MESSAGE)
            last = (uint16_t)(from - MARK_MESSAGE);
        else if (from != MARK_BOS && origin[i].part == SD_PART_NONE && last != STRETCH_NONE)
            origin[i] = (sd_origin){last, SD_PART_TRAILER};
    }
}

static sd_status place_bytes(machine *m, const buffer *b, uint64_t messages, sd_origin *origin)
{
    uint64_t *first;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &first, messages));
    first_bytes(b, first, messages);
    for (uint64_t i = 0; i < b->length; i++) {
        uint32_t from = b->mark[i] & MARK_LOW, at = b->mark[i] >> MARK_SHIFT;

        origin[i] = (sd_origin){SD_NO_MESSAGE, SD_PART_NONE};
        if (from >= MARK_MESSAGE)
            origin[i] = (sd_origin){(uint16_t)(from - MARK_MESSAGE), SD_PART_CONTENT};
        else if (from != MARK_BOS && at >= MARK_MESSAGE)
            origin[i] = (sd_origin){(uint16_t)(at - MARK_MESSAGE), i < first[at - MARK_MESSAGE] ? SD_PART_HEADER : SD_PART_TRAILER};
    }
    for (uint64_t i = 0, end; i < b->length; i = end) {
        for (end = i; end < b->length && b->mark[end] >> MARK_SHIFT == 0; end++)
            ;
        if (end > i)
            place_stretch(b, i, end, origin);
        else
            end++;
    }
out:
    return st;
}

sd_status sd_template_render(const sd_template *t, const cJSON *messages, const cJSON *variables, const char *date, bool prompt,
                             sd_rendering *out)
{
    machine with = {0}, without = {0};
    buffer b = {0}, shorter = {0};
    uint64_t n = cJSON_IsArray(messages) ? (uint64_t)cJSON_GetArraySize(messages) : 0;
    sd_rendering r = {0};
    sd_status st;

    SD_TRY(st, render_once(t, messages, variables, date, false, &without, &shorter));
    if (prompt)
        SD_TRY(st, render_once(t, messages, variables, date, true, &with, &b));
    else
        b = shorter;
    SD_TRY(st, SD_NEW(&r.text, b.length + 1));
    SD_TRY(st, SD_NEW(&r.origin, b.length));
    if (b.length > 0)
        memcpy(r.text, b.bytes, b.length);
    r.length = b.length;
    SD_TRY(st, place_bytes(&without, &b, n, r.origin));
    if (prompt && (shorter.length == 0 || (b.length >= shorter.length && memcmp(b.bytes, shorter.bytes, shorter.length) == 0)))
        for (uint64_t i = shorter.length; i < b.length; i++)
            r.origin[i] = (sd_origin){(uint16_t)n, SD_PART_HEADER};
    *out = r;
    r = (sd_rendering){0};
out:
    sd_rendering_free(&r);
    chat_arena_free(&with.memory);
    chat_arena_free(&without.memory);
    return st;
}

void sd_rendering_free(sd_rendering *r)
{
    sd_free(r->text);
    sd_free(r->origin);
    *r = (sd_rendering){0};
}

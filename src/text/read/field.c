#include "field.h"

#include <string.h>

#include "saediff/core/mem.h"

typedef struct segment {
    char *text; /* a path, or literal characters */
    bool is_path, found;
} segment;

struct field {
    segment *pieces;
    uint64_t count;
    bool json;
};

static sd_status add_piece(field *f, const char *text, size_t length, bool is_path)
{
    segment *p = &f->pieces[f->count];
    sd_status st;

    if (length == 0 && !is_path)
        return SD_OK;
    SD_TRY(st, SD_NEW(&p->text, length + 1));
    memcpy(p->text, text, length);
    p->is_path = is_path;
    f->count++;
out:
    return st;
}

/* Up to the next brace that is not doubled. */
static sd_status add_literal(field *f, const char **at)
{
    sd_str text = {0};
    sd_status st;

    while (**at != '\0') {
        bool brace = **at == '{' || **at == '}', pair = brace && (*at)[1] == **at;

        if (brace && !pair)
            break;
        sd_str_add_bytes(&text, *at, 1);
        *at += pair ? 2 : 1;
    }
    SD_TRY(st, text.status);
    SD_TRY(st, add_piece(f, text.text, text.length, false));
out:
    sd_str_free(&text);
    return st;
}

static sd_status parse_template(field *f, const char *words)
{
    sd_status st = SD_OK;

    for (const char *at = words; *at != '\0';) {
        const char *close;

        SD_TRY(st, add_literal(f, &at));
        if (*at == '\0')
            break;
        close = *at == '{' ? strpbrk(at + 1, "{}") : NULL;
        if (close == NULL || *close == '{' || close == at + 1) {
            st = SD_FAIL(SD_E_USAGE, "field '%s': the brace at character %zu is not part of a {path}; write {{ and }} for literal braces", words,
                         (size_t)(at - words) + 1);
            goto out;
        }
        SD_TRY(st, add_piece(f, at + 1, (size_t)(close - at - 1), true));
        at = close + 1;
    }
out:
    return st;
}

sd_status field_create(field **out, const char *words, bool json)
{
    field *f = NULL;
    sd_status st;

    *out = NULL;
    SD_TRY(st, SD_NEW(&f, 1));
    f->json = json;
    SD_TRY(st, SD_NEW(&f->pieces, strlen(words) + 1));
    SD_TRY(st, strpbrk(words, "{}") == NULL ? add_piece(f, words, strlen(words), true) : parse_template(f, words));
    *out = f;
    f = NULL;
out:
    field_destroy(&f);
    return st;
}

void field_destroy(field **out)
{
    field *f = *out;

    *out = NULL;
    if (f == NULL)
        return;
    for (uint64_t i = 0; i < f->count; i++)
        sd_free(f->pieces[i].text);
    sd_free(f->pieces);
    sd_free(f);
}

bool field_needs(const field *f, const char *column)
{
    size_t length = strlen(column);

    for (uint64_t i = 0; i < f->count; i++)
        if (f->pieces[i].is_path && strncmp(f->pieces[i].text, column, length) == 0 &&
            (f->pieces[i].text[length] == '\0' || f->pieces[i].text[length] == '.'))
            return true;
    return false;
}

/* The entry of `list` whose index the digits before `end` give. */
static const cJSON *entry_of(const cJSON *list, const char *digits, size_t length)
{
    const cJSON *entry = list->child;
    uint64_t index = 0;

    if (length == 0 || length > 9 || strspn(digits, "0123456789") < length)
        return NULL;
    for (size_t i = 0; i < length; i++)
        index = index * 10 + (uint64_t)(digits[i] - '0');
    while (entry != NULL && index-- > 0)
        entry = entry->next;
    return entry;
}

static const cJSON *member_of(const cJSON *object, const char *name, size_t length)
{
    for (const cJSON *member = object->child; member != NULL; member = member->next)
        if (strlen(member->string) == length && memcmp(member->string, name, length) == 0)
            return member;
    return NULL;
}

/* The longest member name wins: "a.b" may be a column. */
static const cJSON *find(const cJSON *value, const char *path)
{
    for (size_t length = strlen(path); value != NULL && length > 0; length--) {
        const cJSON *found = NULL;

        if (path[length] != '\0' && path[length] != '.')
            continue;
        if (cJSON_IsObject(value))
            found = member_of(value, path, length);
        else if (cJSON_IsArray(value) && memchr(path, '.', length) == NULL)
            found = entry_of(value, path, length);
        if (found != NULL && path[length] == '.')
            found = find(found, path + length + 1);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static sd_status add_value(const cJSON *value, bool json, sd_str *out)
{
    const char *text = json ? NULL : cJSON_GetStringValue(value);
    char *printed = NULL;

    if (text == NULL)
        text = printed = cJSON_PrintUnformatted(value);
    if (text == NULL)
        return SD_FAIL(SD_E_ENV, "out of memory for the JSON text of a record");
    sd_str_add_bytes(out, text, strlen(text));
    cJSON_free(printed);
    return out->status;
}

sd_status field_add(field *f, const cJSON *object, sd_str *out)
{
    size_t before = out->length, literal = 0;
    bool missing = false;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < f->count; i++) {
        segment *p = &f->pieces[i];
        const cJSON *value = p->is_path ? find(object, p->text) : NULL;

        p->found |= value != NULL;
        if (!p->is_path) {
            sd_str_add_bytes(out, p->text, strlen(p->text));
            literal += strlen(p->text);
        } else if (value != NULL && !cJSON_IsNull(value)) {
            SD_TRY(st, add_value(value, f->json, out));
        } else {
            missing = true;
        }
    }
    st = out->status;
    if (st == SD_OK && (out->length == before + literal || (f->json && missing)))
        out->length = before;
out:
    return st;
}

const char *field_missing(const field *f)
{
    for (uint64_t i = 0; i < f->count; i++)
        if (f->pieces[i].is_path && !f->pieces[i].found)
            return f->pieces[i].text;
    return NULL;
}

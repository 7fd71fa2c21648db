#include "keys_value.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys_alias.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

#define WHOLE 9007199254740992.0 /* 2^53: doubles below it hold every whole number */

static sd_status fail_text(const key_source *source, const char *path, const char *what)
{
    uint64_t line, column;

    if (source->set != NULL)
        return SD_FAIL(SD_E_USAGE, "--set %s: %s", source->set, what);
    if (source->item == NULL)
        return SD_FAIL(SD_E_USAGE, "%s: %s", path, what);
    sd_json_location(source->json, source->item, &line, &column);
    return SD_FAIL(SD_E_USAGE, "%s:%llu:%llu: %s", source->json->name, (unsigned long long)line,
                   (unsigned long long)column, what);
}

sd_status key_fail(const key_source *source, const char *format, ...)
{
    char what[SD_ERROR_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail_text(source, "job", what);
}

sd_status key_fail_at(const key_source *source, const char *path, const char *format, ...)
{
    char what[SD_ERROR_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail_text(source, path, what);
}

const char *key_json_kind(const cJSON *item)
{
    if (cJSON_IsString(item))
        return "a text";
    if (cJSON_IsNumber(item))
        return "a number";
    if (cJSON_IsBool(item))
        return cJSON_IsTrue(item) ? "true" : "false";
    if (cJSON_IsArray(item))
        return "a list";
    return cJSON_IsObject(item) ? "an object" : "null";
}

static const char *const wanted[KEY_TYPES] = {"a whole number", "a number", "true or false", "a text", "a path",
                                              "a path or a list of them", "a text", "a whole number", "a list of texts",
                                              "a whole number or a list of them"};

/* ${NAME} and ${NAME:-other}; "other" ends at the next brace. */
static sd_status expand(const key_row *row, const char *prefix, const key_source *source, const char *text, sd_str *out)
{
    sd_str_add(out, "%s", "");
    for (const char *at = text; *at != '\0';) {
        const char *open = strstr(at, "${"), *close = open == NULL ? NULL : strchr(open, '}'), *other;
        char name[KEY_NAME];
        const char *value;
        size_t length;

        if (open == NULL) {
            sd_str_add(out, "%s", at);
            break;
        }
        if (close == NULL)
            return key_fail(source, "'%s%s': '${' without '}' in '%s'", prefix, row->name, text);
        sd_str_add_bytes(out, at, (size_t)(open - at));
        for (other = open + 2; isalnum((unsigned char)*other) || *other == '_';)
            other++;
        length = (size_t)(other - open - 2);
        if (length == 0 || length >= sizeof name || (other != close && strncmp(other, ":-", 2) != 0))
            return key_fail(source, "'%s%s': '%.*s' is neither ${NAME} nor ${NAME:-default}", prefix, row->name,
                            (int)(close - open + 1), open);
        snprintf(name, sizeof name, "%.*s", (int)length, open + 2);
        value = getenv(name);
        if (value != NULL && value[0] != '\0')
            sd_str_add(out, "%s", value);
        else if (other != close)
            sd_str_add_bytes(out, other + 2, (size_t)(close - other - 2));
        else
            return key_fail(source, "'%s%s': the environment variable %s is not set; set it, or write ${%s:-default}",
                            prefix, row->name, name, name);
        at = close + 1;
    }
    return out->status;
}

static sd_status wrong_kind(const key_row *row, const char *prefix, const key_source *source)
{
    return key_fail(source, "'%s%s' must be %s, not %s", prefix, row->name, wanted[row->type],
                    key_json_kind(source->item));
}

/* A whole number of the file; large ones travel as strings. */
static sd_status number_text(const key_row *row, const char *prefix, const key_source *source, char **text)
{
    const cJSON *item = source->item;

    if (cJSON_IsString(item))
        return sd_str_copy(text, item->valuestring);
    if (!cJSON_IsNumber(item))
        return wrong_kind(row, prefix, source);
    if (fabs(item->valuedouble) > WHOLE)
        return key_fail(source, "'%s%s' is beyond 2^53, where numbers in JSON lose digits; write it as a string", prefix,
                        row->name);
    return sd_str_format(text, item->valuedouble == floor(item->valuedouble) ? "%.0f" : "%.17g", item->valuedouble);
}

/* The text of a member of the file, checked against the kind of value the row takes. Lists keep their JSON form. */
static sd_status text_of_item(const key_row *row, const char *prefix, const key_source *source, char **text)
{
    const cJSON *item = source->item;
    const char *string = cJSON_GetStringValue(item);
    char *printed;
    sd_status st;

    switch (row->type) {
    case KEY_NUMBERS:
    case KEY_LIST:
    case KEY_PATHS:
        if (row->type == KEY_NUMBERS && !cJSON_IsArray(item))
            return number_text(row, prefix, source, text);
        if (row->type == KEY_PATHS && string != NULL)
            return sd_str_copy(text, string);
        if (!cJSON_IsArray(item))
            break;
        printed = cJSON_PrintUnformatted(item);
        if (printed == NULL)
            return SD_FAIL(SD_E_ENV, "out of memory while '%s%s' was read", prefix, row->name);
        st = sd_str_copy(text, printed);
        cJSON_free(printed);
        return st;
    case KEY_U64:
    case KEY_SEED:
        return number_text(row, prefix, source, text);
    case KEY_F64:
        if (cJSON_IsNumber(item))
            return sd_str_format(text, "%.17g", item->valuedouble);
        break;
    case KEY_BOOL:
        if (cJSON_IsBool(item))
            return sd_str_copy(text, cJSON_IsTrue(item) ? "true" : "false");
        break;
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_CHOICE:
    case KEY_TYPES:
        if (string != NULL)
            return sd_str_copy(text, string);
        break;
    }
    return wrong_kind(row, prefix, source);
}

static sd_status not_understood(const key_row *row, const char *prefix, const key_source *source, const char *text)
{
    return key_fail(source, "'%s%s' must be %s, not '%s'", prefix, row->name, wanted[row->type], text);
}

static sd_status out_of_range(const key_row *row, const char *prefix, const key_source *source, const char *text)
{
    return key_fail(source, "'%s%s' is %s, outside %.10g to %.10g", prefix, row->name, text, row->lo, row->hi);
}

static sd_status parse_u64(const key_row *row, const char *prefix, const key_source *source, const char *text,
                           uint64_t *value)
{
    double number;

    if (!sd_str_to_u64(text, value)) {
        if (!sd_str_to_f64(text, &number) || number != floor(number) || !isfinite(number))
            return not_understood(row, prefix, source, text);
        if (number < 0 || number > WHOLE)
            return out_of_range(row, prefix, source, text);
        *value = (uint64_t)number;
    }
    if ((double)*value < row->lo || (double)*value > row->hi)
        return out_of_range(row, prefix, source, text);
    return SD_OK;
}

static sd_status parse_f64(const key_row *row, const char *prefix, const key_source *source, const char *text,
                           double *value)
{
    if (!sd_str_to_f64(text, value) || isnan(*value))
        return not_understood(row, prefix, source, text);
    if (*value < row->lo || *value > row->hi)
        return out_of_range(row, prefix, source, text);
    return SD_OK;
}

/* The present name of a value, with a warning if `text` is an old one. */
static const char *present_value(const key_row *row, const char *prefix, const char *text)
{
    char key[2 * KEY_NAME];
    const char *now;

    snprintf(key, sizeof key, "%s", prefix);
    key[strcspn(key, "0123456789")] = '\0'; /* "data.3." is an entry of data */
    snprintf(key + strlen(key), sizeof key - strlen(key), "%s", row->name);
    now = key_value_alias(key, text);
    if (now == NULL)
        return text;
    key_warn_alias(text, now);
    return now;
}

static sd_status parse_choice(const key_row *row, const char *prefix, const key_source *source, const char *text,
                              char **value)
{
    size_t length;

    text = present_value(row, prefix, text);
    length = strlen(text);
    for (const char *word = row->choices; word != NULL; word = strchr(word, '|')) {
        word += *word == '|';
        if (length > 0 && strncmp(word, text, length) == 0 && (word[length] == '|' || word[length] == '\0'))
            return sd_str_copy(value, text);
    }
    return key_fail(source, "'%s%s' is '%s', not one of %s", prefix, row->name, text, row->choices);
}

static sd_status add_item(sd_job_list *list, const key_row *row, const char *prefix, const key_source *source,
                          const char *text)
{
    sd_str expanded = {0};
    sd_status st;

    SD_TRY(st, expand(row, prefix, source, text, &expanded));
    SD_TRY(st, sd_str_copy(&list->item[list->count], present_value(row, prefix, expanded.text)));
    list->count++;
out:
    sd_str_free(&expanded);
    return st;
}

static void free_list(sd_job_list *list)
{
    for (uint64_t i = 0; i < list->count; i++)
        sd_free(list->item[i]);
    sd_free(list->item);
}

/* Parts of `text` between commas, without the spaces around them. */
static sd_status parse_commas(const key_row *row, const char *prefix, const key_source *source, const char *text,
                              sd_job_list *list)
{
    uint64_t capacity = 1;
    char *copy = NULL;
    sd_status st;

    for (const char *at = text; *at != '\0'; at++)
        capacity += *at == ',';
    SD_TRY(st, sd_str_copy(&copy, text));
    SD_TRY(st, SD_NEW(&list->item, capacity));
    for (char *part = text[0] == '\0' ? NULL : copy, *next; part != NULL; part = next) {
        size_t length;

        next = strchr(part, ',');
        if (next != NULL)
            *next++ = '\0';
        part += strspn(part, " ");
        length = strlen(part);
        while (length > 0 && part[length - 1] == ' ')
            part[--length] = '\0';
        if (length == 0) {
            st = key_fail(source, "'%s%s': an empty entry in '%s'", prefix, row->name, text);
            goto out;
        }
        SD_TRY(st, add_item(list, row, prefix, source, part));
    }
out:
    sd_free(copy);
    return st;
}

/* A JSON list of texts and whole numbers. */
static sd_status parse_json_list(const key_row *row, const char *prefix, const key_source *source, const char *text,
                                 sd_job_list *list)
{
    cJSON *array = cJSON_ParseWithOpts(text, NULL, true);
    const cJSON *entry;
    sd_status st;

    if (!cJSON_IsArray(array)) {
        st = not_understood(row, prefix, source, text);
        goto out;
    }
    SD_TRY(st, SD_NEW(&list->item, (uint64_t)cJSON_GetArraySize(array)));
    cJSON_ArrayForEach(entry, array) {
        char digits[32];
        bool whole = cJSON_IsNumber(entry) && entry->valuedouble == floor(entry->valuedouble);

        if (!cJSON_IsString(entry) && !whole) {
            st = key_fail(source, "'%s%s' must be %s, but entry %llu is %s", prefix, row->name, wanted[row->type],
                          (unsigned long long)list->count, key_json_kind(entry));
            goto out;
        }
        snprintf(digits, sizeof digits, "%.0f", whole ? entry->valuedouble : 0);
        SD_TRY(st, add_item(list, row, prefix, source, whole ? digits : entry->valuestring));
    }
out:
    cJSON_Delete(array);
    return st;
}

/* A list of texts, each a whole number in the row's range, all different. */
static sd_status parse_numbers(const key_row *row, const char *prefix, const key_source *source, const char *text,
                               sd_job_numbers *numbers)
{
    sd_job_list list = {0};
    sd_status st;

    SD_TRY(st, text[0] == '[' ? parse_json_list(row, prefix, source, text, &list)
                              : parse_commas(row, prefix, source, text, &list));
    if (list.count == 0) {
        st = not_understood(row, prefix, source, text);
        goto out;
    }
    SD_TRY(st, SD_NEW(&numbers->item, list.count));
    for (uint64_t i = 0; i < list.count; i++) {
        SD_TRY(st, parse_u64(row, prefix, source, list.item[i], &numbers->item[i]));
        for (uint64_t before = 0; before < i; before++)
            if (numbers->item[before] == numbers->item[i]) {
                st = key_fail(source, "'%s%s' names %s twice", prefix, row->name, list.item[i]);
                goto out;
            }
    }
    numbers->count = list.count;
out:
    free_list(&list);
    return st;
}

bool key_is_list(const key_row *row, const char *text)
{
    switch (row->type) {
    case KEY_LIST:
        return true;
    case KEY_NUMBERS:
        return text[0] == '[';
    case KEY_PATHS: /* "[ab]*.txt" is a pattern */
        return strncmp(text, "[\"", 2) == 0 || strcmp(text, "[]") == 0;
    default:
        return false;
    }
}

/* One path, or a JSON list of them. */
static sd_status parse_paths(const key_row *row, const char *prefix, const key_source *source, const char *text,
                             const char *job_path, sd_job_list *list)
{
    sd_status st;

    if (key_is_list(row, text)) {
        SD_TRY(st, parse_json_list(row, prefix, source, text, list));
    } else {
        SD_TRY(st, SD_NEW(&list->item, 1));
        SD_TRY(st, sd_str_copy(&list->item[0], text));
        list->count = 1;
    }
    if (list->count == 0)
        st = key_fail(source, "'%s%s' is empty: %s", prefix, row->name, row->help);
    for (uint64_t i = 0; st == SD_OK && i < list->count; i++) {
        char *written = list->item[i];

        if (written[0] == '\0') {
            st = key_fail(source, "'%s%s' is empty: %s", prefix, row->name, row->help);
            goto out;
        }
        list->item[i] = NULL;
        st = sd_path_beside(&list->item[i], job_path, written);
        sd_free(written);
    }
out:
    return st;
}

static sd_status parse_text(const key_row *row, const char *prefix, const key_source *source, const char *text,
                            const char *job_path, void *into)
{
    uint64_t whole;

    switch (row->type) {
    case KEY_U64:
        return parse_u64(row, prefix, source, text, into);
    case KEY_F64:
        return parse_f64(row, prefix, source, text, into);
    case KEY_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return not_understood(row, prefix, source, text);
        *(bool *)into = text[0] == 't';
        return SD_OK;
    case KEY_SEED:
        if (!sd_str_to_u64(text, &whole))
            return not_understood(row, prefix, source, text);
        return sd_str_format(into, "%llu", (unsigned long long)whole);
    case KEY_CHOICE:
        return parse_choice(row, prefix, source, text, into);
    case KEY_PATH:
        if (text[0] == '\0' && row->dflt == NULL)
            return key_fail(source, "'%s%s' is empty: %s", prefix, row->name, row->help);
        return text[0] == '\0' ? sd_str_copy(into, "") : sd_path_beside(into, job_path, text);
    case KEY_PATHS:
        return parse_paths(row, prefix, source, text, job_path, into);
    case KEY_LIST:
        return text[0] == '[' ? parse_json_list(row, prefix, source, text, into)
                              : parse_commas(row, prefix, source, text, into);
    case KEY_NUMBERS:
        return parse_numbers(row, prefix, source, text, into);
    case KEY_TEXT:
    case KEY_TYPES:
        break;
    }
    return sd_str_copy(into, text);
}

sd_status key_parse(const key_row *row, const char *prefix, key_source *source, const char *job_path, void *into)
{
    sd_str expanded = {0};
    sd_status st = SD_OK;

    if (source->item != NULL)
        SD_TRY(st, text_of_item(row, prefix, source, &source->text));
    if (source->text == NULL) {
        SD_TRY(st, parse_text(row, prefix, source, row->dflt, job_path, into));
        goto out;
    }
    if (key_is_list(row, source->text)) { /* its entries are expanded one by one */
        SD_TRY(st, parse_text(row, prefix, source, source->text, job_path, into));
        goto out;
    }
    SD_TRY(st, expand(row, prefix, source, source->text, &expanded));
    SD_TRY(st, parse_text(row, prefix, source, expanded.text, job_path, into));
out:
    sd_str_free(&expanded);
    return st;
}

void key_free(const key_row *row, void *value)
{
    switch (row->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_CHOICE:
    case KEY_SEED:
        sd_free(*(char **)value);
        return;
    case KEY_LIST:
    case KEY_PATHS:
        free_list(value);
        return;
    case KEY_NUMBERS:
        sd_free(((sd_job_numbers *)value)->item);
        return;
    case KEY_U64:
    case KEY_F64:
    case KEY_BOOL:
    case KEY_TYPES:
        return;
    }
}

#include "saediff/store/json.h"

#include <math.h>
#include <string.h>

#include "json_scan.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

/* Counts and offsets are exact in a double up to here. */
static const double EXACT = 9007199254740992.0;

static sd_status parse(sd_json **json, const char *name, const char *text, uint64_t length, bool comments)
{
    sd_json *j = NULL;
    sd_status st;

    *json = NULL;
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        length -= 3;
    }
    SD_TRY(st, SD_NEW(&j, 1));
    SD_TRY(st, sd_str_copy(&j->name, name));
    SD_TRY(st, SD_NEW(&j->text, length + 1));
    memcpy(j->text, text, length);
    j->length = length;
    SD_TRY(st, sd_json_scan(j->name, j->text, length, comments));
    j->root = cJSON_ParseWithLength(j->text, length + 1);
    if (j->root == NULL) {
        st = SD_FAIL(SD_E_ENV, "%s: no memory for the tree of a JSON text of %llu bytes", name, (unsigned long long)length);
        goto out;
    }
    *json = j;
    j = NULL;
out:
    sd_json_close(&j);
    return st;
}

sd_status sd_json_parse(sd_json **json, const char *name, const char *text, uint64_t length)
{
    return parse(json, name, text, length, false);
}

static sd_status open_file(sd_json **json, const char *path, uint64_t limit, bool comments)
{
    char *text = NULL;
    uint64_t length = 0;
    sd_status st;

    *json = NULL;
    SD_TRY(st, sd_file_read(path, limit, &text, &length));
    SD_TRY(st, parse(json, path, text, length, comments));
out:
    sd_free(text);
    return st;
}

sd_status sd_json_open(sd_json **json, const char *path, uint64_t limit)
{
    return open_file(json, path, limit, false);
}

sd_status sd_json_open_commented(sd_json **json, const char *path, uint64_t limit)
{
    return open_file(json, path, limit, true);
}

void sd_json_close(sd_json **json)
{
    sd_json *j = *json;

    if (j == NULL)
        return;
    cJSON_Delete(j->root);
    sd_free(j->text);
    sd_free(j->name);
    sd_free(j);
    *json = NULL;
}

/* Counts values in the order of the text until `item`; true once it was met. */
static bool count_to(const cJSON *at, const cJSON *item, uint64_t *count)
{
    const cJSON *child;

    if (at == item)
        return true;
    (*count)++;
    for (child = at->child; child != NULL; child = child->next)
        if (count_to(child, item, count))
            return true;
    return false;
}

void sd_json_location(const sd_json *json, const cJSON *item, uint64_t *line, uint64_t *column)
{
    uint64_t ordinal = 0, offset = 0;

    if (item != NULL && count_to(json->root, item, &ordinal))
        offset = sd_json_offset(json->text, json->length, ordinal);
    sd_json_line(json->text, offset, line, column);
}

static sd_status fail_at(const sd_json *json, const cJSON *item, const char *key, const char *what)
{
    uint64_t line, column;

    sd_json_location(json, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: '%s' %s", json->name, (unsigned long long)line, (unsigned long long)column, key,
                   what);
}

/* *member = NULL if there is none or it is null. */
static sd_status member_of(const sd_json *json, const cJSON *item, const char *key, bool needed, const cJSON **member)
{
    const cJSON *found;

    *member = NULL;
    if (!cJSON_IsObject(item))
        return fail_at(json, item, key, "is looked for in a value that is not an object");
    found = cJSON_GetObjectItemCaseSensitive(item, key);
    if (found == NULL || cJSON_IsNull(found))
        return needed ? fail_at(json, item, key, "is missing in this object") : SD_OK;
    *member = found;
    return SD_OK;
}

static sd_status to_u64(const sd_json *json, const cJSON *member, const char *key, uint64_t *value)
{
    if (cJSON_IsString(member) && member->valuestring[0] >= '0' && member->valuestring[0] <= '9' &&
        sd_str_to_u64(member->valuestring, value))
        return SD_OK;
    if (!cJSON_IsNumber(member) || !(member->valuedouble >= 0) || member->valuedouble != floor(member->valuedouble))
        return fail_at(json, member, key, "must be a whole number from 0");
    if (member->valuedouble > EXACT)
        return fail_at(json, member, key, "is above 2^53; write it as a string, \"18446744073709551615\"");
    *value = (uint64_t)member->valuedouble;
    return SD_OK;
}

sd_status sd_json_u64(const sd_json *json, const cJSON *item, const char *key, uint64_t *value)
{
    const cJSON *member;
    sd_status st = member_of(json, item, key, true, &member);

    return st == SD_OK ? to_u64(json, member, key, value) : st;
}

sd_status sd_json_u64_or(const sd_json *json, const cJSON *item, const char *key, uint64_t dflt, uint64_t *value)
{
    const cJSON *member;
    sd_status st = member_of(json, item, key, false, &member);

    if (st == SD_OK && member == NULL)
        *value = dflt;
    return st == SD_OK && member != NULL ? to_u64(json, member, key, value) : st;
}

sd_status sd_json_f64_or(const sd_json *json, const cJSON *item, const char *key, double dflt, double *value)
{
    const cJSON *member;
    sd_status st = member_of(json, item, key, false, &member);

    if (st != SD_OK)
        return st;
    if (member != NULL && !cJSON_IsNumber(member))
        return fail_at(json, member, key, "must be a number");
    *value = member != NULL ? member->valuedouble : dflt;
    return SD_OK;
}

sd_status sd_json_bool_or(const sd_json *json, const cJSON *item, const char *key, bool dflt, bool *value)
{
    const cJSON *member;
    sd_status st = member_of(json, item, key, false, &member);

    if (st != SD_OK)
        return st;
    if (member != NULL && !cJSON_IsBool(member))
        return fail_at(json, member, key, "must be true or false");
    *value = member != NULL ? cJSON_IsTrue(member) != 0 : dflt;
    return SD_OK;
}

static sd_status to_text(const sd_json *json, const cJSON *member, const char *key, const char **value)
{
    if (!cJSON_IsString(member))
        return fail_at(json, member, key, "must be a string");
    *value = member->valuestring;
    return SD_OK;
}

sd_status sd_json_text(const sd_json *json, const cJSON *item, const char *key, const char **value)
{
    const cJSON *member;
    sd_status st = member_of(json, item, key, true, &member);

    return st == SD_OK ? to_text(json, member, key, value) : st;
}

sd_status sd_json_text_or(const sd_json *json, const cJSON *item, const char *key, const char *dflt, const char **value)
{
    const cJSON *member;
    sd_status st = member_of(json, item, key, false, &member);

    if (st == SD_OK && member == NULL)
        *value = dflt;
    return st == SD_OK && member != NULL ? to_text(json, member, key, value) : st;
}

/* Assembles rows from columns (Melnik et al., "Dremel: Interactive Analysis of Web-Scale Datasets", VLDB 2010, section 4): an entry's
 * repetition level says which list continues, its definition level how many levels of its path are not null. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parquet.h"

enum { MAX_ENTRIES = 1 << 22, MAX_BYTES = 1 << 30, JULIAN_OF_1970 = 2440588 };

static const char no_memory[] = "";

/* The path of one column's values in one row. */
typedef struct row_path {
    const pq_file *f;
    const pq_node *path[PQ_DEPTH]; /* from below the root to the column */
    int depth;
    cJSON *at[PQ_DEPTH]; /* current entry of the list of each repetition level, from 1 */
} row_path;

static void find_path(row_path *p, const pq_file *f, uint64_t column)
{
    uint32_t node = f->columns[column];

    *p = (row_path){.f = f};
    for (uint32_t i = node; i != 0; i = f->nodes[i].parent)
        p->depth++;
    for (int i = p->depth; i-- > 0; node = f->nodes[node].parent)
        p->path[i] = &f->nodes[node];
}

/* Whether this is the first column of node i of the path. */
static bool leads(const row_path *p, int i)
{
    return p->path[p->depth - 1] - p->path[i] == p->depth - 1 - i;
}

/* Turns an empty value into a list or an object. */
static bool become(cJSON *slot, int type)
{
    if (slot->type == cJSON_NULL)
        slot->type = type;
    return slot->type == type;
}

static const char *set_text(cJSON *slot, int type, const char *text, size_t length)
{
    char *copy = cJSON_malloc(length + 1);

    if (copy == NULL)
        return no_memory;
    if (length > 0)
        memcpy(copy, text, length);
    copy[length] = '\0';
    slot->type = type;
    slot->valuestring = copy;
    return NULL;
}

/* The fewest digits that read back as the same number; `single`: the same 32-bit number. */
static const char *set_number(cJSON *slot, double value, bool single)
{
    char digits[40];
    int length = 0;

    if (isnan(value))
        return set_text(slot, cJSON_Raw, "NaN", 3);
    if (isinf(value))
        return value > 0 ? set_text(slot, cJSON_Raw, "Infinity", 8) : set_text(slot, cJSON_Raw, "-Infinity", 9);
    for (int precision = single ? 6 : 15; precision <= (single ? 9 : 17); precision++) {
        length = snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (single ? strtof(digits, NULL) == (float)value : strtod(digits, NULL) == value)
            break;
    }
    return set_text(slot, cJSON_Raw, digits, (size_t)length);
}

/* unscaled · 10^−scale */
static const char *set_decimal(cJSON *slot, int64_t unscaled, int scale)
{
    uint64_t size = unscaled < 0 ? -(uint64_t)unscaled : (uint64_t)unscaled;
    char digits[128], text[160];
    int length = snprintf(digits, sizeof digits, "%0*llu", scale + 1, (unsigned long long)size);

    snprintf(text, sizeof text, "%s%.*s%s%s", unscaled < 0 ? "-" : "", length - scale, digits, scale > 0 ? "." : "", digits + length - scale);
    return set_text(slot, cJSON_Raw, text, strlen(text));
}

/* Day of the Gregorian calendar, counted from 1970-01-01, as year, month and day: whole 400-year cycles, then years that begin in March. */
static void add_date(sd_str *out, int64_t day)
{
    int64_t shifted = day + 719468, cycle = (shifted >= 0 ? shifted : shifted - 146096) / 146097, of_cycle = shifted - cycle * 146097;
    int64_t year = (of_cycle - of_cycle / 1460 + of_cycle / 36524 - of_cycle / 146096) / 365;
    int64_t of_year = of_cycle - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;

    sd_str_add(out, "%04lld-%02lld-%02lld", (long long)(year + cycle * 400 + (month >= 10)), (long long)(month < 10 ? month + 3 : month - 9),
               (long long)(of_year - (153 * month + 2) / 5 + 1));
}

/* `count` of 10^−digits seconds after midnight of `day`. */
static const char *set_time(cJSON *slot, int64_t day, int64_t count, int digits)
{
    int64_t unit = digits == 3 ? 1000 : digits == 6 ? 1000000 : 1000000000, seconds;
    const char *wrong = no_memory;
    sd_str text = {0};

    day += count / (86400 * unit);
    count %= 86400 * unit;
    if (count < 0) {
        count += 86400 * unit;
        day--;
    }
    seconds = count / unit;
    add_date(&text, day);
    sd_str_add(&text, "T%02lld:%02lld:%02lld", (long long)(seconds / 3600), (long long)(seconds / 60 % 60), (long long)(seconds % 60));
    if (count % unit != 0)
        sd_str_add(&text, ".%0*lld", digits, (long long)(count % unit));
    if (text.status == SD_OK)
        wrong = set_text(slot, cJSON_String, text.text, text.length);
    sd_str_free(&text);
    return wrong;
}

static const char *set_date(cJSON *slot, int64_t day)
{
    const char *wrong = no_memory;
    sd_str text = {0};

    add_date(&text, day);
    if (text.status == SD_OK)
        wrong = set_text(slot, cJSON_String, text.text, text.length);
    sd_str_free(&text);
    return wrong;
}

static const char *set_whole(cJSON *slot, const pq_node *n, uint64_t bits)
{
    char digits[32];

    if (n->meaning == PQ_DECIMAL)
        return set_decimal(slot, (int64_t)bits, n->scale);
    if (n->meaning == PQ_DATE)
        return set_date(slot, (int64_t)bits);
    if (n->meaning == PQ_TIMESTAMP)
        return set_time(slot, 0, (int64_t)bits, n->scale);
    if (n->meaning == PQ_UNSIGNED)
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)(n->type == PQ_INT32 ? bits & UINT32_MAX : bits));
    else
        snprintf(digits, sizeof digits, "%lld", (long long)bits);
    return set_text(slot, cJSON_Raw, digits, strlen(digits));
}

static const char *set_bytes(cJSON *slot, const pq_node *n, const uint8_t *bytes, uint64_t length)
{
    size_t bad;

    if (n->meaning == PQ_FLOAT16 && length == 2)
        return set_number(slot, (double)sd_f32_from_f16((uint16_t)(bytes[0] | bytes[1] << 8)), true);
    if (n->meaning == PQ_DECIMAL) {
        uint64_t unscaled = length > 0 && bytes[0] >= 0x80 ? UINT64_MAX : 0;

        if (length > 8)
            return "a decimal of more than 64 bits is not supported";
        for (uint64_t i = 0; i < length; i++)
            unscaled = unscaled << 8 | bytes[i];
        return set_decimal(slot, (int64_t)unscaled, n->scale);
    }
    if (length > 0 && memchr(bytes, '\0', length) != NULL)
        return "a string with a NUL character, or binary data";
    if (!sd_utf8_valid((const char *)bytes, length, &bad))
        return "bytes that are not UTF-8";
    return set_text(slot, cJSON_String, (const char *)bytes, length);
}

/* Nanoseconds of the day, then the Julian day, both little-endian. */
static const char *set_int96(cJSON *slot, const uint8_t *bytes)
{
    uint64_t count = 0, day = 0;

    for (int i = 0; i < 8; i++)
        count |= (uint64_t)bytes[i] << 8 * i;
    for (int i = 0; i < 4; i++)
        day |= (uint64_t)bytes[8 + i] << 8 * i;
    return set_time(slot, (int64_t)(int32_t)(uint32_t)day - JULIAN_OF_1970, (int64_t)count, 9);
}

static const char *set_value(cJSON *slot, const pq_node *n, const pq_value *value)
{
    uint32_t low = (uint32_t)value->bits;
    float single;
    double wide;

    if (slot->type != cJSON_NULL)
        return "two columns of the schema have the same name";
    switch (n->type) {
    case PQ_BOOLEAN:
        slot->type = value->bits ? cJSON_True : cJSON_False;
        return NULL;
    case PQ_INT32:
    case PQ_INT64:
        return set_whole(slot, n, value->bits);
    case PQ_INT96:
        return set_int96(slot, value->bytes);
    case PQ_FLOAT:
        memcpy(&single, &low, sizeof single);
        return set_number(slot, (double)single, true);
    case PQ_DOUBLE:
        memcpy(&wide, &value->bits, sizeof wide);
        return set_number(slot, wide, false);
    case PQ_BYTES:
    case PQ_FIXED:
    case PQ_TYPES:
        break;
    }
    return set_bytes(slot, n, value->bytes, value->length);
}

static const char lists_differ[] = "a list has another length here than in the columns beside it";

/* Ends the lists of repetition levels above `rep`. */
static const char *leave_lists(row_path *p, uint32_t rep)
{
    for (uint32_t level = rep + 1; level < PQ_DEPTH && p->at[level] != NULL; level++) {
        if (p->at[level]->next != NULL)
            return lists_differ;
        p->at[level] = NULL;
    }
    return NULL;
}

/* The entry of `list` after `before` (NULL: the first), created if this column is the first of the list. */
static const char *next_entry(const row_path *p, int i, cJSON *list, const cJSON *before, cJSON **entry)
{
    *entry = before != NULL ? before->next : list->child;
    if (*entry != NULL)
        return NULL;
    if (!leads(p, i))
        return lists_differ;
    *entry = cJSON_CreateNull();
    if (*entry == NULL || !cJSON_AddItemToArray(list, *entry)) {
        cJSON_Delete(*entry);
        return no_memory;
    }
    return NULL;
}

static const char *member_of(cJSON *object, const char *name, cJSON **member)
{
    *member = cJSON_GetObjectItemCaseSensitive(object, name);
    if (*member == NULL)
        *member = cJSON_AddNullToObject(object, name);
    return *member == NULL ? no_memory : NULL;
}

/* Descends the path down to the first null. */
static const char *put(row_path *p, const pq_entry *entry, cJSON *row)
{
    const char *wrong = leave_lists(p, entry->rep);
    cJSON *slot = row;
    uint32_t level = 0;

    for (int i = 0; wrong == NULL && i < p->depth; i++) {
        const pq_node *n = p->path[i];

        if (n->target == PQ_MEMBER) {
            if (!become(slot, cJSON_Object))
                return "two columns of the schema have the same name";
            wrong = member_of(slot, n->name, &slot);
        }
        if (wrong == NULL && n->repetition == PQ_REPEATED) {
            level++;
            if (!become(slot, cJSON_Array))
                return "two columns of the schema have the same name";
            if (entry->def < n->max_def)
                return slot->child != NULL ? lists_differ : NULL;
            if (entry->rep <= level)
                wrong = next_entry(p, i, slot, entry->rep == level ? p->at[level] : NULL, &p->at[level]);
            slot = p->at[level];
        } else if (n->repetition == PQ_OPTIONAL && entry->def < n->max_def) {
            return wrong;
        }
    }
    return wrong != NULL ? wrong : set_value(slot, p->path[p->depth - 1], &entry->value);
}

sd_status pq_add_row(const pq_file *f, uint64_t column, pq_column *c, pq_entry *entry, bool *end, cJSON *row)
{
    uint64_t entries = 0, bytes = 0;
    const char *wrong = NULL;
    row_path p;
    sd_status st = SD_OK;

    find_path(&p, f, column);
    if (*end)
        wrong = "the column ends before the rows of the row group";
    else if (entry->rep != 0)
        wrong = "a row begins inside a list";
    while (wrong == NULL) {
        bytes += entry->value.length;
        if (++entries > MAX_ENTRIES || bytes > MAX_BYTES)
            wrong = "one row has more than 4 million values or 1 GiB";
        else
            wrong = put(&p, entry, row);
        if (wrong == NULL) {
            SD_TRY(st, pq_column_next(c, entry, end));
            if (*end || entry->rep == 0)
                break;
        }
    }
    if (wrong == NULL)
        wrong = leave_lists(&p, 0);
    if (wrong == no_memory)
        st = SD_FAIL(SD_E_ENV, "%s: out of memory for a row", f->path);
    else if (wrong != NULL)
        st = pq_column_fail(c, "%s", wrong);
out:
    return st;
}

/* Output of the table of keys: help, and the effective configuration of a job. */
#include <stdbool.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "keys.h"
#include "keys_value.h"
#include "saediff/core/str.h"

enum { WIDTH = 100, HELP_AT = 65, COLUMN = 48 };

/* "sae.k" belongs to "sae", "name" to "". */
static bool belongs(const char *key, const char *section)
{
    const char *dot = strchr(key, '.');
    size_t length = dot == NULL ? 0 : (size_t)(dot - key);

    return strlen(section) == length && strncmp(key, section, length) == 0;
}

/* A power of two from 2^20 on as such. */
static void limit_text(char *out, size_t size, double limit)
{
    for (int power = 20; power <= 53; power++)
        if (limit == (double)((uint64_t)1 << power)) {
            snprintf(out, size, "2^%d", power);
            return;
        }
    snprintf(out, size, "%.10g", limit);
}

static void range_text(char out[COLUMN], const key_row *row)
{
    char hi[COLUMN];

    out[0] = '\0';
    if (row->type == KEY_U64 || row->type == KEY_F64 || row->type == KEY_NUMBERS) {
        limit_text(hi, sizeof hi, row->hi);
        snprintf(out, COLUMN, "%.6g to %.13s", row->lo, hi);
    } else if (row->type == KEY_CHOICE) {
        snprintf(out, COLUMN, "%s", row->choices);
    }
}

/* `text` from column HELP_AT on, broken at spaces. */
static void print_wrapped(FILE *out, const char *text)
{
    size_t columns = WIDTH - HELP_AT;

    while (strlen(text) > columns) {
        size_t cut = columns;

        while (cut > 0 && text[cut] != ' ')
            cut--;
        cut = cut == 0 ? columns : cut;
        fprintf(out, "%.*s\n%*s", (int)cut, text, HELP_AT, "");
        text += cut + (text[cut] == ' ');
    }
    fprintf(out, "%s\n", text);
}

static void print_row(FILE *out, const key_row *row, const char *prefix)
{
    static const char *const types[KEY_TYPES] = {"count", "number", "boolean", "text", "path", "paths", "word", "seed", "list", "counts"};
    char range[COLUMN], name[COLUMN];

    range_text(range, row);
    snprintf(name, sizeof name, "%s%.24s", prefix, row->name);
    fprintf(out, "  %-28s%-8s%-10s%-*s", name, types[row->type],
            row->dflt == NULL ? "required" : row->dflt[0] == '\0' ? "empty" : row->dflt, strlen(range) > 16 ? 0 : 17, range);
    if (strlen(range) > 16)
        fprintf(out, "\n%*s", HELP_AT, "");
    print_wrapped(out, row->help);
}

void sd_keys_help(FILE *out)
{
    fprintf(out, "A job file is a JSON object of sections. A stage runs when its section is present. Members whose\n"
                 "name begins with \"//\" are comments. ${NAME} in a text is the environment variable NAME;\n"
                 "${NAME:-other} has a default. Paths are relative to the job file. --set section.key=value changes\n"
                 "one key.\n");
    for (size_t s = 0; s < sd_job_section_count; s++) {
        const section_row *section = &sd_job_sections[s];

        fprintf(out, "\n%s%s%s%s\n", section->name, section->name[0] ? ": " : "", section->help,
                section->stage >= 0 ? " (stage)" : "");
        if (sd_job_list_of(section->name) != NULL) {
            const list_row *list = sd_job_list_of(section->name);
            char prefix[KEY_NAME];

            snprintf(prefix, sizeof prefix, "%s.N.", list->name);
            for (size_t i = 0; i < list->n_keys; i++)
                print_row(out, &list->keys[i], prefix);
        }
        for (size_t i = 0; i < sd_job_key_count; i++)
            if (belongs(sd_job_keys[i].name, section->name))
                print_row(out, &sd_job_keys[i], "");
    }
}

static cJSON *whole_value(uint64_t value)
{
    char digits[32];

    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    return cJSON_CreateRaw(digits);
}

/* One number as such, several as a list. */
static cJSON *numbers_value(const sd_job_numbers *numbers)
{
    cJSON *array;
    bool whole;

    if (numbers->count == 1)
        return whole_value(numbers->item[0]);
    array = cJSON_CreateArray();
    whole = array != NULL;
    for (uint64_t i = 0; whole && i < numbers->count; i++)
        whole = cJSON_AddItemToArray(array, whole_value(numbers->item[i]));
    if (!whole) {
        cJSON_Delete(array);
        array = NULL;
    }
    return array;
}

static cJSON *list_value(const sd_job_list *list)
{
    cJSON *array = cJSON_CreateArray();
    bool whole = array != NULL;

    for (uint64_t i = 0; whole && i < list->count; i++)
        whole = cJSON_AddItemToArray(array, cJSON_CreateString(list->item[i]));
    if (!whole) {
        cJSON_Delete(array);
        array = NULL;
    }
    return array;
}

/* The value of a row as JSON; NULL without memory. raw_path: the value of a path. */
static cJSON *value_of(const key_row *row, const void *value, const char *raw_path)
{
    switch (row->type) {
    case KEY_U64:
        return whole_value(*(const uint64_t *)value);
    case KEY_NUMBERS:
        return numbers_value(value);
    case KEY_F64:
        return cJSON_CreateNumber(*(const double *)value);
    case KEY_BOOL:
        return cJSON_CreateBool(*(const bool *)value);
    case KEY_LIST:
        return list_value(value);
    case KEY_PATHS:
        if (raw_path != NULL && key_is_list(row, raw_path))
            return cJSON_Parse(raw_path);
        return cJSON_CreateString(raw_path == NULL ? "" : raw_path);
    case KEY_PATH:
        return cJSON_CreateString(raw_path == NULL ? "" : raw_path);
    case KEY_TEXT:
    case KEY_CHOICE:
    case KEY_SEED:
    case KEY_TYPES:
        break;
    }
    return cJSON_CreateString(*(char *const *)value);
}

/* Adds `value` to `object`; false without memory, `value` then is freed. */
static bool add(cJSON *object, const char *name, cJSON *value)
{
    if (value != NULL && cJSON_AddItemToObject(object, name, value))
        return true;
    cJSON_Delete(value);
    return false;
}

static bool add_section(const read_job *job, const section_row *section, cJSON *object)
{
    for (size_t i = 0; i < sd_job_key_count; i++) {
        const key_row *row = &sd_job_keys[i];
        const char *dot = strchr(row->name, '.');

        if (!belongs(row->name, section->name) || strcmp(row->name, "out") == 0)
            continue;
        if (!add(object, dot == NULL ? row->name : dot + 1,
                 value_of(row, (const char *)&job->job + row->offset, job->raw_path[i])))
            return false;
    }
    return true;
}

static bool add_list(const read_job *job, const list_row *of, cJSON *list)
{
    const sd_job_data *entries = *(sd_job_data *const *)(const void *)((const char *)&job->job + of->entries);
    uint64_t count = *(const uint64_t *)(const void *)((const char *)&job->job + of->count);

    for (uint64_t i = 0; i < count; i++) {
        cJSON *entry = cJSON_CreateObject();

        if (entry == NULL || !cJSON_AddItemToArray(list, entry)) {
            cJSON_Delete(entry);
            return false;
        }
        for (size_t k = 0; k < of->n_keys; k++) {
            const key_row *row = &of->keys[k];

            if (!add(entry, row->name, value_of(row, (const char *)&entries[i] + row->offset, job->list_path[of - sd_job_lists][i])))
                return false;
        }
    }
    return true;
}

/* The sections a job file would have: those that are no stage, and the stages of this job. */
static bool add_sections(const read_job *job, cJSON *root)
{
    bool whole = true;

    for (size_t s = 0; whole && s < sd_job_section_count; s++) {
        const section_row *section = &sd_job_sections[s];
        const list_row *list = sd_job_list_of(section->name);
        cJSON *into = root;
        const char *dot = strchr(section->name, '.'); /* a list inside the section before it, if that is there */
        cJSON *outer = dot == NULL ? root : cJSON_GetObjectItemCaseSensitive(root, sd_job_sections[s - 1].name);

        if ((section->stage >= 0 && !job->job.has[section->stage]) || outer == NULL)
            continue;
        if (section->name[0] != '\0') {
            into = list != NULL ? cJSON_CreateArray() : cJSON_CreateObject();
            whole = add(outer, dot == NULL ? section->name : dot + 1, into);
        }
        whole = whole && (list != NULL ? add_list(job, list, into) : add_section(job, section, into));
    }
    return whole;
}

sd_status sd_job_effective(const sd_job *job, char **json)
{
    cJSON *root = cJSON_CreateObject();
    char *text = NULL;
    sd_status st;

    *json = NULL;
    if (root != NULL && add_sections((const read_job *)(const void *)job, root))
        text = cJSON_Print(root);
    st = text == NULL ? SD_FAIL(SD_E_ENV, "out of memory while the job was written") : sd_str_copy(json, text);
    cJSON_free(text);
    cJSON_Delete(root);
    return st;
}

#include "manifest_text.h"

#include <string.h>

#include "json_scan.h"
#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "saediff/store/json.h"

enum { CRC_DIGITS = 8 };

static void free_record(sd_record *record)
{
    char *path = (char *)(uintptr_t)record->path, *key = (char *)(uintptr_t)record->key;

    sd_free(path);
    sd_free(key);
}

void sd_records_free(sd_records *records)
{
    uint64_t i;

    for (i = 0; i < records->count; i++)
        free_record(&records->at[i]);
    sd_free(records->at);
    *records = (sd_records){0};
}

/* Index of the first record that is not before `path`. */
static uint64_t place_of(const sd_records *records, const char *path)
{
    uint64_t low = 0, high = records->count;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (strcmp(records->at[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const sd_records *records, uint64_t i, const char *path)
{
    return i < records->count && strcmp(records->at[i].path, path) == 0;
}

const sd_record *sd_records_find(const sd_records *records, const char *path)
{
    uint64_t i = place_of(records, path);

    return is_at(records, i, path) ? &records->at[i] : NULL;
}

static void drop(sd_records *records, const char *path)
{
    uint64_t i = place_of(records, path);

    if (!is_at(records, i, path))
        return;
    free_record(&records->at[i]);
    memmove(&records->at[i], &records->at[i + 1], (records->count - i - 1) * sizeof *records->at);
    records->count--;
}

static sd_status insert(sd_records *records, const sd_record *record)
{
    sd_record *more = NULL;
    char *path = NULL, *key = NULL;
    uint64_t i;
    sd_status st;

    SD_TRY(st, sd_str_copy(&path, record->path));
    SD_TRY(st, sd_str_copy(&key, record->key));
    if (records->count == records->capacity) {
        uint64_t capacity = records->capacity == 0 ? 16 : 2 * records->capacity;

        SD_TRY(st, SD_NEW(&more, capacity));
        if (records->count > 0)
            memcpy(more, records->at, records->count * sizeof *more);
        sd_free(records->at);
        records->at = more;
        records->capacity = capacity;
    }
    drop(records, record->path);
    i = place_of(records, path);
    memmove(&records->at[i + 1], &records->at[i], (records->count - i) * sizeof *records->at);
    records->at[i] = *record;
    records->at[i].path = path;
    records->at[i].key = key;
    records->count++;
    path = key = NULL;
out:
    sd_free(path);
    sd_free(key);
    return st;
}

static void put_line(sd_str *text, const sd_str *object)
{
    if (object->status != SD_OK)
        text->status = object->status;
    else
        sd_str_add(text, "%08lx %s\n", (unsigned long)sd_crc32c(0, object->text, object->length), object->text);
}

void sd_records_put(sd_str *text, const sd_record *record, uint64_t more)
{
    sd_str object = {0};

    sd_str_add(&object, "{\"path\":");
    sd_json_quote(&object, record->path);
    sd_str_add(&object, ",\"bytes\":%llu,\"crc32c\":%lu,\"skip_first\":%llu,\"skip_bytes\":%llu,\"key\":",
               (unsigned long long)record->bytes, (unsigned long)record->crc32c, (unsigned long long)record->skip.first,
               (unsigned long long)record->skip.count);
    sd_json_quote(&object, record->key);
    if (more > 0)
        sd_str_add(&object, ",\"more\":%llu", (unsigned long long)more);
    sd_str_add(&object, "}");
    put_line(text, &object);
    sd_str_free(&object);
}

void sd_records_put_gone(sd_str *text, const char *path)
{
    sd_str object = {0};

    sd_str_add(&object, "{\"path\":");
    sd_json_quote(&object, path);
    sd_str_add(&object, ",\"gone\":true}");
    put_line(text, &object);
    sd_str_free(&object);
}

/* The checksum in front of the line is that of the rest. */
static bool is_whole(const char *line, uint64_t length)
{
    uint32_t stored = 0;
    int i;

    if (length < CRC_DIGITS + 3 || line[CRC_DIGITS] != ' ')
        return false;
    for (i = 0; i < CRC_DIGITS; i++) {
        const char *digits = "0123456789abcdef", *digit = line[i] == '\0' ? NULL : strchr(digits, line[i]);

        if (digit == NULL)
            return false;
        stored = stored << 4 | (uint32_t)(digit - digits);
    }
    return stored == sd_crc32c(0, line + CRC_DIGITS + 1, length - CRC_DIGITS - 1);
}

bool sd_records_inside(const char *path)
{
    const char *at;

    if (path[0] == '\0' || path[0] == '/')
        return false;
    for (at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
            return false;
    }
    return true;
}

/* Reads the object of a whole line; what it points to lives in *json. */
static sd_status parse_line(sd_json **json, const char *place, const char *text, uint64_t length, sd_record *record,
                            bool *gone, uint64_t *more)
{
    uint64_t crc = 0;
    sd_status st;

    SD_TRY(st, sd_json_parse(json, place, text, length));
    SD_TRY(st, sd_json_text(*json, (*json)->root, "path", &record->path));
    SD_TRY(st, sd_json_bool_or(*json, (*json)->root, "gone", false, gone));
    SD_TRY(st, sd_json_u64_or(*json, (*json)->root, "more", 0, more));
    if (!sd_records_inside(record->path)) {
        st = SD_FAIL(SD_E_DATA, "%s: the path '%s' leads out of the run's folder", place, record->path);
        goto out;
    }
    if (*gone)
        goto out;
    SD_TRY(st, sd_json_u64(*json, (*json)->root, "bytes", &record->bytes));
    SD_TRY(st, sd_json_u64(*json, (*json)->root, "crc32c", &crc));
    SD_TRY(st, sd_json_u64(*json, (*json)->root, "skip_first", &record->skip.first));
    SD_TRY(st, sd_json_u64(*json, (*json)->root, "skip_bytes", &record->skip.count));
    SD_TRY(st, sd_json_text(*json, (*json)->root, "key", &record->key));
    record->crc32c = (uint32_t)crc;
out:
    return st;
}

/* Applies the lines of one whole commit. */
static sd_status apply_commit(sd_records *records, const char *name, uint64_t number, const char *at, const char *end)
{
    sd_json *json = NULL;
    char *place = NULL;
    sd_status st = SD_OK;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        sd_record record = {0};
        bool gone = false;
        uint64_t more = 0;

        sd_free(place);
        place = NULL;
        SD_TRY(st, sd_str_format(&place, "%s line %llu", name, (unsigned long long)number));
        SD_TRY(st, parse_line(&json, place, at + CRC_DIGITS + 1, (uint64_t)(stop - at) - CRC_DIGITS - 1, &record, &gone,
                              &more));
        if (gone)
            drop(records, record.path);
        else
            SD_TRY(st, insert(records, &record));
        sd_json_close(&json);
        at = stop + 1;
        number++;
    }
out:
    sd_json_close(&json);
    sd_free(place);
    return st;
}

/* *more of a whole line. */
static sd_status peek_more(const char *name, const char *line, uint64_t length, uint64_t *more)
{
    sd_json *json = NULL;
    sd_record record = {0};
    bool gone = false;
    sd_status st = parse_line(&json, name, line + CRC_DIGITS + 1, length - CRC_DIGITS - 1, &record, &gone, more);

    sd_json_close(&json);
    return st;
}

sd_status sd_records_apply(sd_records *records, const char *name, const char *text, uint64_t length, uint64_t *good)
{
    const char *at = text, *end = text + length, *commit = text;
    uint64_t number = 1, first = 1, more;
    sd_status st = SD_OK;

    *good = 0;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        if (stop == NULL || !is_whole(at, (uint64_t)(stop - at))) {
            if (stop != NULL && stop + 1 != end)
                st = SD_FAIL(SD_E_DATA, "%s: line %llu of the log is damaged (its checksum does not hold) and more lines "
                                        "follow; restore the file, or remove it to make everything anew",
                             name, (unsigned long long)number);
            break;
        }
        SD_TRY(st, peek_more(name, at, (uint64_t)(stop - at), &more));
        at = stop + 1;
        number++;
        if (more == 0) {
            SD_TRY(st, apply_commit(records, name, first, commit, at));
            commit = at;
            first = number;
            *good = (uint64_t)(at - text);
        }
    }
out:
    return st;
}

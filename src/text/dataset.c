#include "saediff/text/dataset.h"

#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

#define FILE_LIMIT ((uint64_t)1 << 38)

typedef struct place {
    uint64_t offset, length, row; /* of `base` */
} place;

struct sd_dataset {
    char *file;    /* as read */
    uint64_t size; /* without the byte-order mark */
    const char *content; /* of the file behind the byte-order mark */
    sd_str decoded;      /* texts that stand in the file in another form */
    bool is_decoded;
    place *places;
    uint64_t count, room, dropped, skipped, records;
};

/* What the readers need; `full` once the limit is reached. */
typedef struct reader {
    sd_dataset *d;
    const sd_dataset_spec *spec;
    bool full;
} reader;

static sd_status add_place(sd_dataset *d, place p)
{
    place *grown;
    uint64_t room = d->room ? 2 * d->room : 256;
    sd_status st = SD_OK;

    if (d->count == d->room) {
        SD_TRY(st, SD_NEW(&grown, room));
        if (d->count > 0)
            memcpy(grown, d->places, d->count * sizeof *grown);
        sd_free(d->places);
        d->places = grown;
        d->room = room;
    }
    d->places[d->count++] = p;
out:
    return st;
}

/* The next record of the file. `text` lies in the file's content, or is copied. */
static sd_status take(reader *r, const char *text, uint64_t length)
{
    sd_dataset *d = r->d;
    uint64_t row = d->records++, offset;
    sd_status st = SD_OK;

    if (length == 0 || length < r->spec->min_chars) {
        d->dropped++;
        goto out;
    }
    if (d->skipped < r->spec->skip) {
        d->skipped++;
        goto out;
    }
    if (d->is_decoded) {
        offset = d->decoded.length;
        sd_str_add_bytes(&d->decoded, text, length);
        SD_TRY(st, d->decoded.status);
    } else {
        offset = (uint64_t)(text - d->content);
    }
    SD_TRY(st, add_place(d, (place){offset, length, row}));
    r->full = d->count == r->spec->limit;
out:
    return st;
}

static sd_status refuse(const sd_json *json, const cJSON *item, const char *what)
{
    uint64_t line, column;

    sd_json_place(json, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: %s", json->name, (unsigned long long)line, (unsigned long long)column,
                   what);
}

/* The names of an object's members, for the message that misses one. */
static void list_members(const cJSON *object, sd_str *names)
{
    const cJSON *member;
    int count = 0;

    cJSON_ArrayForEach(member, object) {
        sd_str_add(names, "%s%s", count ? ", " : "", count < 12 ? member->string : "...");
        if (++count == 13)
            break;
    }
    if (count == 0)
        sd_str_add(names, "none");
}

/* A string, or an object with the text in `field`. `what`: "entry", "record". */
static sd_status take_json(reader *r, const sd_json *json, const cJSON *item, const char *what)
{
    const char *field = r->spec->field, *text = cJSON_GetStringValue(item);
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(item, field);
    sd_str wrong = {0}, names = {0};
    size_t bad;
    sd_status st;

    if (text == NULL)
        text = cJSON_GetStringValue(member);
    if (text == NULL) {
        if (cJSON_IsObject(item))
            list_members(item, &names);
        sd_str_add(&wrong, "%s %llu ", what, (unsigned long long)r->d->records);
        if (!cJSON_IsObject(item))
            sd_str_add(&wrong, "is neither a string nor an object with the text in '%s'", field);
        else if (member == NULL)
            sd_str_add(&wrong, "has no member '%s' to take the text from; it has: %s; set the data entry's \"field\"",
                       field, names.text);
        else
            sd_str_add(&wrong, "has a member '%s' that is not a string", field);
        st = refuse(json, member != NULL ? member : item, wrong.text == NULL ? "no text" : wrong.text);
        goto out;
    }
    if (!sd_utf8_valid(text, strlen(text), &bad)) {
        sd_str_add(&wrong, "%s %llu is not UTF-8: byte 0x%02x at offset %zu of its text", what,
                   (unsigned long long)r->d->records, (unsigned)(uint8_t)text[bad], bad);
        st = refuse(json, item, wrong.text == NULL ? "not UTF-8" : wrong.text);
        goto out;
    }
    SD_TRY(st, take(r, text, strlen(text)));
out:
    sd_str_free(&wrong);
    sd_str_free(&names);
    return st;
}

static sd_status read_json(reader *r)
{
    sd_json *json = NULL;
    const cJSON *entry;
    sd_status st;

    r->d->is_decoded = true;
    SD_TRY(st, sd_json_parse(&json, r->spec->path, r->d->content, r->d->size));
    if (!cJSON_IsArray(json->root)) {
        st = refuse(json, json->root, "expected a list of texts; for one JSON value a line set the format to \"jsonl\"");
        goto out;
    }
    cJSON_ArrayForEach(entry, json->root) {
        if (r->full)
            break;
        SD_TRY(st, take_json(r, json, entry, "entry"));
    }
out:
    sd_json_close(&json);
    return st;
}

/* The end of the line at `at` without its line end; *next is where the following line begins. */
static uint64_t line_end(const sd_dataset *d, uint64_t at, uint64_t *next)
{
    const char *newline = memchr(d->content + at, '\n', d->size - at);
    uint64_t end = newline == NULL ? d->size : (uint64_t)(newline - d->content);

    *next = newline == NULL ? d->size : end + 1;
    return newline != NULL && end > at && d->content[end - 1] == '\r' ? end - 1 : end;
}

static bool is_blank(const char *text, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        if (strchr(" \t\r", text[i]) == NULL || text[i] == '\0')
            return false;
    return true;
}

/* The parser counted lines from 1 in a text of one line; the user's line is another. */
static sd_status reword(const char *path, uint64_t line, sd_status st)
{
    char heard[SD_ERROR_TEXT];
    size_t head = strlen(path) + strlen(":1:");

    snprintf(heard, sizeof heard, "%s", sd_last_error());
    if (strncmp(heard, path, strlen(path)) != 0 || strlen(heard) < head ||
        strncmp(heard + strlen(path), ":1:", 3) != 0)
        return st;
    return SD_FAIL(st, "%s:%llu:%s", path, (unsigned long long)line, heard + head);
}

static sd_status take_line(reader *r, uint64_t line, const char *text, uint64_t length)
{
    sd_json *json = NULL;
    sd_status st;

    SD_TRY(st, sd_json_parse(&json, r->spec->path, text, length));
    SD_TRY(st, take_json(r, json, json->root, "record"));
out:
    sd_json_close(&json);
    return st == SD_E_DATA ? reword(r->spec->path, line, st) : st;
}

static sd_status read_jsonl(reader *r)
{
    const sd_dataset *d = r->d;
    uint64_t line = 1;
    sd_status st = SD_OK;

    r->d->is_decoded = true;
    for (uint64_t at = 0, next; at < d->size && !r->full; at = next, line++) {
        uint64_t end = line_end(d, at, &next);

        if (!is_blank(d->content + at, end - at))
            SD_TRY(st, take_line(r, line, d->content + at, end - at));
    }
out:
    return st;
}

/* The line of byte `at`, from 1. */
static uint64_t line_of(const sd_dataset *d, uint64_t at)
{
    uint64_t line = 1;

    for (uint64_t i = 0; i < at; i++)
        line += d->content[i] == '\n';
    return line;
}

/* Cut at each line that equals `separator`; a cut at empty lines takes all of a run. */
static sd_status read_parts(reader *r, const char *separator)
{
    const sd_dataset *d = r->d;
    uint64_t first = 0, last = 0, length = strlen(separator);
    bool runs = length == 0;
    sd_status st = SD_OK;

    for (uint64_t at = 0, next; at < d->size && !r->full; at = next) {
        uint64_t end = line_end(d, at, &next);

        if (end - at != length || memcmp(d->content + at, separator, length) != 0) {
            last = end;
            continue;
        }
        if (!runs || last > first)
            SD_TRY(st, take(r, d->content + first, last > first ? last - first : 0));
        first = last = next;
    }
    if (first < d->size && !r->full && last > first)
        SD_TRY(st, take(r, d->content + first, last - first));
out:
    return st;
}

static sd_status read_text(reader *r)
{
    const sd_dataset *d = r->d;
    const char *separator = r->spec->separator;
    size_t bad;
    sd_status st = SD_OK;

    if (!sd_utf8_valid(d->content, d->size, &bad)) {
        st = SD_FAIL(SD_E_DATA, "%s:%llu: not UTF-8: byte 0x%02x at offset %zu of the file; convert it, e.g. with iconv",
                     r->spec->path, (unsigned long long)line_of(d, bad), (unsigned)(uint8_t)d->content[bad], bad);
        goto out;
    }
    if (separator == NULL) {
        SD_TRY(st, take(r, d->content, d->size));
    } else if (strcmp(separator, "\n") == 0) {
        for (uint64_t at = 0, next; at < d->size && !r->full; at = next) {
            uint64_t end = line_end(d, at, &next);

            SD_TRY(st, take(r, d->content + at, end - at));
        }
    } else if (strcmp(separator, "\n\n") == 0) {
        SD_TRY(st, read_parts(r, ""));
    } else if (strchr(separator, '\n') != NULL) {
        st = SD_FAIL(SD_E_USAGE, "%s: no line can equal a separator that holds a line break; write the line without it, "
                     "\"\\n\" for one document a line, \"\\n\\n\" to cut at empty lines", r->spec->path);
    } else {
        SD_TRY(st, read_parts(r, separator));
    }
out:
    return st;
}

static bool ends_in(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);

    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static const struct {
    const char *name;
    sd_status (*read)(reader *r);
} formats[] = {{"json", read_json}, {"jsonl", read_jsonl}, {"text", read_text}};

static const char *format_of(const sd_dataset_spec *spec)
{
    if (strcmp(spec->format, "auto") != 0)
        return spec->format;
    if (ends_in(spec->path, ".json"))
        return "json";
    return ends_in(spec->path, ".jsonl") || ends_in(spec->path, ".ndjson") ? "jsonl" : "text";
}

sd_status sd_dataset_open(sd_dataset **dataset, const sd_dataset_spec *spec)
{
    const char *format = format_of(spec);
    reader r = {.spec = spec};
    size_t i = 0;
    sd_status st;

    *dataset = NULL;
    while (i < sizeof formats / sizeof *formats && strcmp(format, formats[i].name) != 0)
        i++;
    if (i == sizeof formats / sizeof *formats) {
        st = SD_FAIL(SD_E_USAGE, "%s: format '%s' is not understood; known are auto, json, jsonl and text", spec->path,
                     format);
        goto out;
    }
    SD_TRY(st, SD_NEW(&r.d, 1));
    SD_TRY(st, sd_file_read(spec->path, FILE_LIMIT, &r.d->file, &r.d->size));
    r.d->content = r.d->file;
    if (r.d->size >= 3 && memcmp(r.d->content, "\xEF\xBB\xBF", 3) == 0) {
        r.d->content += 3;
        r.d->size -= 3;
    }
    SD_TRY(st, formats[i].read(&r));
    if (r.d->is_decoded) {
        sd_free(r.d->file);
        r.d->file = NULL;
    }
    *dataset = r.d;
    r.d = NULL;
out:
    sd_dataset_close(&r.d);
    return st;
}

void sd_dataset_close(sd_dataset **dataset)
{
    sd_dataset *d = *dataset;

    *dataset = NULL;
    if (d == NULL)
        return;
    sd_free(d->file);
    sd_str_free(&d->decoded);
    sd_free(d->places);
    sd_free(d);
}

uint64_t sd_dataset_count(const sd_dataset *dataset)
{
    return dataset->count;
}

sd_document sd_dataset_at(const sd_dataset *d, uint64_t i)
{
    const char *base = d->is_decoded ? d->decoded.text : d->content;

    return (sd_document){base + d->places[i].offset, d->places[i].length, d->places[i].row};
}

uint64_t sd_dataset_dropped(const sd_dataset *dataset)
{
    return dataset->dropped;
}

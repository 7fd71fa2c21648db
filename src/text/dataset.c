#include "saediff/text/dataset.h"

#include <stdio.h>
#include <string.h>

#include "read/reader.h"
#include "read/set_aside.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"

struct sd_dataset {
    sd_dataset_spec spec; /* paths unused: resolved in `files` */
    char *format, *selector, *separator; /* of the spec, owned */
    sd_dataset_files files;
    field *field;
    const reader_format *kind; /* of the open file */
    void *reader;              /* NULL between files */
    uint64_t file;             /* index of the next file to open */
    uint64_t records, objects, dropped, kept, taken;
    sd_str text, columns; /* the current document; the columns of the first record */
    set_aside *shuffled;
};

static bool ends_in(const char *name, size_t length, const char *end)
{
    size_t tail = strlen(end);

    return length >= tail && memcmp(name + length - tail, end, tail) == 0;
}

static const reader_format *const formats[] = {&reader_text, &reader_json, &reader_jsonl, &reader_csv, &reader_tsv, &reader_parquet};

static const reader_format *by_name(const char *path)
{
    static const struct {
        const char *end;
        const reader_format *format;
    } ends[] = {{".json", &reader_json}, {".jsonl", &reader_jsonl}, {".ndjson", &reader_jsonl},
                {".csv", &reader_csv},   {".tsv", &reader_tsv},     {".parquet", &reader_parquet}};
    size_t length = strlen(path);

    if (ends_in(path, length, ".gz"))
        length -= 3;
    else if (ends_in(path, length, ".zst"))
        length -= 4;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_in(path, length, ends[i].end))
            return ends[i].format;
    return &reader_text;
}

/* NULL for an unknown format. */
static const reader_format *format_of(const char *format, const char *path)
{
    if (strcmp(format, "auto") == 0)
        return by_name(path);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(format, formats[i]->name) == 0)
            return formats[i];
    return NULL;
}

static sd_status open_next_file(sd_dataset *d)
{
    const char *path = d->files.path[d->file];

    d->kind = format_of(d->format, path);
    return d->kind->open(&d->reader, path, &(reader_options){d->separator, d->field});
}

static void close_file(sd_dataset *d)
{
    if (d->reader != NULL)
        d->kind->close(d->reader);
    d->reader = NULL;
}

static sd_status copy_spec(sd_dataset *d, const sd_dataset_spec *spec)
{
    sd_status st;

    d->spec = *spec;
    d->spec.paths = NULL;
    SD_TRY(st, sd_str_copy(&d->format, spec->format));
    SD_TRY(st, sd_str_copy(&d->selector, spec->field != NULL ? spec->field : ""));
    if (spec->separator != NULL)
        SD_TRY(st, sd_str_copy(&d->separator, spec->separator));
    SD_TRY(st, field_create(&d->field, d->selector, spec->json));
out:
    return st;
}

sd_status sd_dataset_open(sd_dataset **dataset, const sd_dataset_spec *spec)
{
    sd_dataset *d = NULL;
    sd_status st;

    *dataset = NULL;
    SD_TRY(st, SD_NEW(&d, 1));
    SD_TRY(st, copy_spec(d, spec));
    SD_TRY(st, sd_dataset_find(&d->files, spec->paths, spec->n_paths));
    if (format_of(d->format, d->files.path[0]) == NULL) {
        st = SD_FAIL(SD_E_USAGE, "%s: format '%s' is not supported; use auto, json, jsonl, csv, tsv, parquet and text",
                     d->files.path[0], d->format);
        goto out;
    }
    SD_TRY(st, open_next_file(d));
    *dataset = d;
    d = NULL;
out:
    sd_dataset_close(&d);
    return st;
}

void sd_dataset_close(sd_dataset **dataset)
{
    sd_dataset *d = *dataset;

    *dataset = NULL;
    if (d == NULL)
        return;
    close_file(d);
    sd_dataset_files_free(&d->files);
    sd_free(d->format);
    sd_free(d->selector);
    sd_free(d->separator);
    field_destroy(&d->field);
    sd_str_free(&d->text);
    sd_str_free(&d->columns);
    set_aside_destroy(&d->shuffled);
    sd_free(d);
}

static sd_status fail_record(const sd_dataset *d, const cJSON *item, const char *what)
{
    sd_str location = {0};
    sd_status st;

    d->kind->locate(d->reader, item, &location);
    st = SD_FAIL(SD_E_DATA, "%s: %s %llu %s", location.text != NULL ? location.text : d->files.path[d->file], d->kind->noun,
                 (unsigned long long)d->records, what);
    sd_str_free(&location);
    return st;
}

/* Records the names of an object's members, for the message about a missing one. */
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

static sd_status take_value(sd_dataset *d, const cJSON *value, sd_document *document)
{
    const char *text = cJSON_GetStringValue(value);
    char what[160];
    size_t bad;
    sd_status st = SD_OK;

    if (cJSON_IsObject(value)) {
        if (d->objects++ == 0 && d->kind->columns != NULL)
            d->kind->columns(d->reader, &d->columns);
        else if (d->objects == 1)
            list_members(value, &d->columns);
        d->text.length = 0;
        SD_TRY(st, field_add(d->field, value, &d->text));
        *document = (sd_document){.text = d->text.text != NULL ? d->text.text : "", .length = d->text.length};
    } else if (text != NULL) {
        *document = (sd_document){.text = text, .length = strlen(text), .plain = true};
    } else {
        snprintf(what, sizeof what, "is neither a string nor an object with the field '%.80s'", d->selector);
        st = fail_record(d, value, what);
        goto out;
    }
    if (!sd_utf8_valid(document->text, document->length, &bad)) {
        snprintf(what, sizeof what, "is not UTF-8: byte 0x%02x at offset %zu of its text", (unsigned)(uint8_t)document->text[bad],
                 bad);
        st = fail_record(d, value, what);
    }
out:
    return st;
}

/* The next record of all files; *end after the last. */
static sd_status next_record(sd_dataset *d, sd_document *document, bool *end)
{
    record r;
    sd_status st;

    for (;;) {
        if (d->reader == NULL && d->file == d->files.count) {
            *end = true;
            return SD_OK;
        }
        if (d->reader == NULL)
            SD_TRY(st, open_next_file(d));
        SD_TRY(st, d->kind->next(d->reader, &r, end));
        if (!*end)
            break;
        close_file(d);
        d->file++;
    }
    if (r.text != NULL)
        *document = (sd_document){.text = r.text, .length = r.length, .plain = true};
    else
        SD_TRY(st, take_value(d, r.value, document));
    document->row = d->records++;
out:
    return st;
}

/* The next kept document, in file order. */
static sd_status next_kept(sd_dataset *d, sd_document *document, bool *end)
{
    sd_document found;
    sd_status st;

    for (;;) {
        SD_TRY(st, next_record(d, &found, end));
        if (*end)
            goto out;
        if (found.length > 0 && found.length >= d->spec.min_chars)
            break;
        d->dropped++;
    }
    d->kept++;
    *document = found;
out:
    return st;
}

/* At the end: whether any record had the field. */
static sd_status finish(const sd_dataset *d)
{
    const char *path = field_missing(d->field);

    if (d->objects == 0 || path == NULL)
        return SD_OK;
    return SD_FAIL(SD_E_DATA, "%s: none of the %llu records has a member '%s' for %s; the first has: %s; set the data "
                   "entry's \"%s\"", d->files.path[0], (unsigned long long)d->objects, path,
                   d->spec.key != NULL ? d->spec.key : "the text", d->columns.text != NULL ? d->columns.text : "none",
                   d->spec.key != NULL ? d->spec.key : "field");
}

static sd_status next_in_order(sd_dataset *d, sd_document *document, bool *end)
{
    uint64_t location = d->spec.skip + d->taken;
    sd_status st = SD_OK;

    while (d->kept < location) {
        SD_TRY(st, next_kept(d, document, end));
        if (*end)
            goto out;
    }
    st = next_kept(d, document, end);
out:
    return st;
}

static sd_status next_shuffled(sd_dataset *d, sd_document *document, bool *end)
{
    sd_document found;
    uint64_t location = d->spec.skip + d->taken, count;
    sd_status st = SD_OK;

    if (d->shuffled == NULL) {
        SD_TRY(st, set_aside_create(&d->shuffled));
        for (;;) {
            SD_TRY(st, next_kept(d, &found, end));
            if (*end)
                break;
            SD_TRY(st, set_aside_add(d->shuffled, found.text, found.length, found.row));
        }
    }
    count = set_aside_count(d->shuffled);
    *end = d->spec.skip >= count || location >= count;
    if (*end)
        goto out;
    location = sd_random_permute(sd_key_make(d->spec.seed, SD_STREAM_TEXTS, 0), count, location);
    SD_TRY(st, set_aside_get(d->shuffled, location, &d->text, &found.row));
    *document = (sd_document){.text = d->text.text, .length = d->text.length, .row = found.row};
out:
    return st;
}

sd_status sd_dataset_next(sd_dataset *d, sd_document *document, bool *end)
{
    sd_document found;
    sd_status st = SD_OK;

    *end = d->spec.limit > 0 && d->taken == d->spec.limit;
    if (!*end)
        SD_TRY(st, d->spec.shuffle ? next_shuffled(d, &found, end) : next_in_order(d, &found, end));
    if (*end) {
        st = finish(d);
        goto out;
    }
    d->taken++;
    *document = found;
out:
    return st;
}

uint64_t sd_dataset_dropped(const sd_dataset *dataset)
{
    return dataset->dropped;
}

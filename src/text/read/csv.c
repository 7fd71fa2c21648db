/* Comma- and tab-separated values by RFC 4180: quotes around values with separators, line breaks or doubled quotes; CRLF or LF ends
 * a record; the first record names the columns. */
#include <string.h>

#include "feed.h"
#include "reader.h"
#include "saediff/core/mem.h"

enum { COLUMNS = 1 << 16 };

typedef struct csv_reader {
    feed in;
    char separator;
    sd_str values;   /* of one record, each NUL-terminated */
    uint64_t n_values;
    char **columns;
    uint64_t n_columns;
    uint64_t line; /* of the last record read */
    cJSON *row;
} csv_reader;

static void close_csv(void *self)
{
    csv_reader *r = self;

    feed_close(&r->in);
    sd_str_free(&r->values);
    for (uint64_t i = 0; i < r->n_columns; i++)
        sd_free(r->columns[i]);
    sd_free(r->columns);
    cJSON_Delete(r->row);
    sd_free(r);
}

static sd_status fail_at(const csv_reader *r, uint64_t line, const char *what)
{
    return SD_FAIL(SD_E_DATA, "%s:%llu: %s", r->in.path, (unsigned long long)line, what);
}

/* *c = byte data[begin + at], −1 at the end of the file. */
static sd_status peek(csv_reader *r, uint64_t at, int *c)
{
    sd_status st = SD_OK;

    while (r->in.begin + at >= r->in.end && !r->in.done)
        SD_TRY(st, feed_more(&r->in));
    *c = r->in.begin + at < r->in.end ? (unsigned char)r->in.data[r->in.begin + at] : -1;
out:
    return st;
}

/* Adds the quoted value whose opening quote is at *at; advances *at past the closing quote. */
static sd_status add_quoted(csv_reader *r, uint64_t *at)
{
    int c;
    sd_status st;

    for (++*at;; ++*at) {
        SD_TRY(st, peek(r, *at, &c));
        if (c < 0) {
            st = fail_at(r, r->in.line, "the record that begins here has an unclosed quote");
            goto out;
        }
        if (c == '"') {
            SD_TRY(st, peek(r, ++*at, &c));
            if (c != '"')
                break;
        }
        sd_str_add_bytes(&r->values, &(char){(char)c}, 1);
    }
out:
    return st;
}

/* The value at *at; *last if a line end follows. Advances *at past the separator or line end. */
static sd_status add_value(csv_reader *r, uint64_t *at, bool *last)
{
    size_t first = r->values.length;
    int c, after;
    bool quoted;
    sd_status st;

    SD_TRY(st, peek(r, *at, &c));
    quoted = c == '"';
    if (quoted)
        SD_TRY(st, add_quoted(r, at));
    for (;; ++*at) {
        SD_TRY(st, peek(r, *at, &c));
        SD_TRY(st, c == '\r' ? peek(r, *at + 1, &after) : SD_OK);
        if (c < 0 || c == '\n' || c == r->separator || (c == '\r' && (after == '\n' || after < 0)))
            break;
        if (quoted) {
            st = fail_at(r, r->in.line, "the record that begins here has text after a closing quote; a quote inside a value "
                         "must be doubled");
            goto out;
        }
        sd_str_add_bytes(&r->values, &(char){(char)c}, 1);
    }
    *last = c != r->separator;
    *at += c < 0 ? 0 : c == '\r' && after == '\n' ? 2 : 1;
    SD_TRY(st, r->values.status);
    if (memchr(r->values.text == NULL ? "" : r->values.text + first, '\0', r->values.length - first) != NULL) {
        st = fail_at(r, r->in.line, "the record that begins here has a NUL character; check that the file is text");
        goto out;
    }
    sd_str_add_bytes(&r->values, "", 1);
    st = r->values.status;
out:
    return st;
}

static void clear(sd_str *s)
{
    s->length = 0;
}

/* The next record that is not an empty line; empty lines are records if there is one column. */
static sd_status read_values(csv_reader *r, bool *end)
{
    uint64_t at;
    int c;
    sd_status st;

    for (;;) {
        bool last = false;

        SD_TRY(st, peek(r, 0, &c));
        *end = c < 0;
        if (*end)
            goto out;
        clear(&r->values);
        r->n_values = 0;
        r->line = r->in.line;
        for (at = 0; !last; r->n_values++) {
            if (r->n_values == COLUMNS) {
                st = fail_at(r, r->line, "more than 65536 values in one record; check the data entry's \"format\"");
                goto out;
            }
            SD_TRY(st, add_value(r, &at, &last));
        }
        feed_take(&r->in, at);
        if (r->n_values > 1 || r->values.length > 1 || r->n_columns == 1)
            break;
    }
out:
    return st;
}

static sd_status read_columns(csv_reader *r)
{
    const char *value;
    bool end;
    sd_status st;

    SD_TRY(st, read_values(r, &end));
    if (end)
        goto out;
    SD_TRY(st, SD_NEW(&r->columns, r->n_values));
    value = r->values.text;
    for (uint64_t i = 0; i < r->n_values; i++, value += strlen(value) + 1) {
        SD_TRY(st, sd_str_copy(&r->columns[r->n_columns], value));
        r->n_columns++;
    }
out:
    return st;
}

static sd_status open_csv(void **self, const char *path, char separator)
{
    csv_reader *r = NULL;
    sd_status st;

    *self = NULL;
    SD_TRY(st, SD_NEW(&r, 1));
    r->separator = separator;
    SD_TRY(st, feed_open(&r->in, path));
    SD_TRY(st, read_columns(r));
    *self = r;
    r = NULL;
out:
    if (r != NULL)
        close_csv(r);
    return st;
}

static sd_status open_commas(void **self, const char *path, const reader_options *options)
{
    (void)options;
    return open_csv(self, path, ',');
}

static sd_status open_tabs(void **self, const char *path, const reader_options *options)
{
    (void)options;
    return open_csv(self, path, '\t');
}

static sd_status next_csv(void *self, record *out, bool *end)
{
    csv_reader *r = self;
    const char *value;
    bool whole;
    sd_status st;

    SD_TRY(st, read_values(r, end));
    if (*end)
        goto out;
    if (r->n_values != r->n_columns) {
        st = SD_FAIL(SD_E_DATA, "%s:%llu: the record that begins here has %llu values, but the first line has %llu columns", r->in.path,
                     (unsigned long long)r->line, (unsigned long long)r->n_values, (unsigned long long)r->n_columns);
        goto out;
    }
    cJSON_Delete(r->row);
    r->row = cJSON_CreateObject();
    whole = r->row != NULL;
    value = r->values.text;
    for (uint64_t i = 0; whole && i < r->n_columns; i++, value += strlen(value) + 1)
        whole = cJSON_AddStringToObject(r->row, r->columns[i], value) != NULL;
    if (!whole)
        st = SD_FAIL(SD_E_ENV, "%s:%llu: out of memory for a record of %llu values", r->in.path, (unsigned long long)r->line,
                     (unsigned long long)r->n_values);
    *out = (record){.value = r->row};
out:
    return st;
}

static void locate(const void *self, const cJSON *item, sd_str *out)
{
    const csv_reader *r = self;

    (void)item;
    sd_str_add(out, "%s:%llu", r->in.path, (unsigned long long)r->line);
}

static void columns(const void *self, sd_str *out)
{
    const csv_reader *r = self;

    for (uint64_t i = 0; i < r->n_columns; i++)
        sd_str_add(out, "%s%s", i > 0 ? ", " : "", r->columns[i]);
}

const reader_format reader_csv = {"csv", "record", open_commas, next_csv, locate, columns, close_csv};
const reader_format reader_tsv = {"tsv", "record", open_tabs, next_csv, locate, columns, close_csv};

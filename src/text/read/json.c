/* Records that are JSON values: the entries of a list, or the lines of a file. The extent of an entry is found first, from its brackets
 * and quotes alone; the parser reports errors inside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "reader.h"
#include "saediff/core/mem.h"
#include "saediff/store/json.h"

typedef struct json_reader {
    feed in;
    sd_json *json;
    uint64_t line, column; /* where the record's text begins */
    bool began, ended;     /* state of the list */
} json_reader;

static void close_json(void *self)
{
    json_reader *r = self;

    feed_close(&r->in);
    sd_json_close(&r->json);
    sd_free(r);
}

static sd_status open_json(void **self, const char *path, const reader_options *options)
{
    json_reader *r = NULL;
    sd_status st;

    (void)options;
    *self = NULL;
    SD_TRY(st, SD_NEW(&r, 1));
    SD_TRY(st, feed_open(&r->in, path));
    *self = r;
    r = NULL;
out:
    if (r != NULL)
        close_json(r);
    return st;
}

/* Converts a position in the record's text to one in the file. */
static void shift(const json_reader *r, uint64_t *line, uint64_t *column)
{
    if (*line == 1)
        *column += r->column - 1;
    *line += r->line - 1;
}

/* Rewrites the parser's "path:line:column: …" from the record's text to the file. */
static sd_status reword(const json_reader *r, sd_status st)
{
    char message[SD_ERROR_TEXT], *rest;
    size_t head = strlen(r->in.path);
    unsigned long long line, column;
    uint64_t file_line, file_column;

    snprintf(message, sizeof message, "%s", sd_last_error());
    if (strncmp(message, r->in.path, head) != 0 || message[head] != ':')
        return st;
    line = strtoull(message + head + 1, &rest, 10);
    if (*rest != ':')
        return st;
    column = strtoull(rest + 1, &rest, 10);
    if (*rest != ':')
        return st;
    file_line = line;
    file_column = column;
    shift(r, &file_line, &file_column);
    return SD_FAIL(st, "%s:%llu:%llu%s", r->in.path, (unsigned long long)file_line, (unsigned long long)file_column, rest);
}

/* Parses the first `length` bytes of the window; the window advances to `next`. */
static sd_status parse(json_reader *r, uint64_t length, uint64_t next, record *out)
{
    sd_status st;

    sd_json_close(&r->json);
    r->line = r->in.line;
    r->column = r->in.column;
    st = sd_json_parse(&r->json, r->in.path, r->in.data + r->in.begin, length);
    if (st == SD_E_DATA)
        return reword(r, st);
    if (st == SD_OK) {
        *out = (record){.value = r->json->root};
        feed_take(&r->in, next);
    }
    return st;
}

static sd_status next_line(void *self, record *out, bool *end)
{
    json_reader *r = self;
    sd_status st;

    for (;;) {
        uint64_t length, next;
        bool any;

        SD_TRY(st, feed_line(&r->in, 0, &length, &next, &any));
        *end = !any;
        if (!any)
            goto out;
        if (strspn(r->in.data + r->in.begin, " \t\r") < length) {
            st = parse(r, length, next, out);
            goto out;
        }
        feed_take(&r->in, next);
    }
out:
    return st;
}

/* *at = the byte after the leading white space of the window, not consumed; '\0' at the end of the file. */
static sd_status next_byte(json_reader *r, char *at)
{
    feed *in = &r->in;
    sd_status st = SD_OK;

    for (;;) {
        uint64_t blank = 0, left = in->end - in->begin;

        while (blank < left && memchr(" \t\r\n", in->data[in->begin + blank], 4) != NULL)
            blank++;
        feed_take(in, blank);
        if (blank < left) {
            *at = in->data[in->begin];
            return SD_OK;
        }
        if (in->done)
            break;
        SD_TRY(st, feed_more(in));
    }
    *at = '\0';
out:
    return st;
}

static sd_status fail_here(const json_reader *r, const char *what)
{
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: %s", r->in.path, (unsigned long long)r->in.line, (unsigned long long)r->in.column, what);
}

/* Length of the value at the start of the window. A value truncated by the end of the file is all that is left. */
static sd_status extent(json_reader *r, uint64_t *length)
{
    feed *in = &r->in;
    uint64_t at = 0, depth = 0;
    bool quoted = false, escaped = false;
    sd_status st = SD_OK;

    for (;;) {
        for (; at < in->end - in->begin; at++) {
            char c = in->data[in->begin + at];

            if (quoted) {
                quoted = escaped || c != '"';
                escaped = !escaped && c == '\\';
            } else if (c == '"') {
                quoted = true;
            } else if (c == '[' || c == '{') {
                depth++;
            } else if (depth > 0) {
                depth -= c == ']' || c == '}';
            } else if (memchr(",]} \t\r\n", c, 7) != NULL) {
                *length = at;
                goto out;
            }
        }
        if (in->done)
            break;
        SD_TRY(st, feed_more(in));
    }
    *length = at;
out:
    return st;
}

static sd_status begin_list(json_reader *r)
{
    char at;
    sd_status st;

    SD_TRY(st, next_byte(r, &at));
    r->began = true;
    if (at != '[') {
        st = fail_here(r, "expected a list of records; for one JSON value per line set the format to \"jsonl\"");
        goto out;
    }
    feed_take(&r->in, 1);
    SD_TRY(st, next_byte(r, &at));
    r->ended = at == ']';
    if (r->ended)
        feed_take(&r->in, 1);
out:
    return st;
}

/* After an entry: another, or the end of the list. */
static sd_status end_entry(json_reader *r)
{
    char at;
    sd_status st;

    SD_TRY(st, next_byte(r, &at));
    if (at != ',' && at != ']') {
        st = fail_here(r, at == '\0' ? "the file ends inside the list" : "expected ',' or ']' after an entry of the list");
        goto out;
    }
    r->ended = at == ']';
    feed_take(&r->in, 1);
out:
    return st;
}

static sd_status next_entry(void *self, record *out, bool *end)
{
    json_reader *r = self;
    bool first = !r->began;
    uint64_t length;
    char at;
    sd_status st = SD_OK;

    if (first)
        SD_TRY(st, begin_list(r));
    else if (!r->ended)
        SD_TRY(st, end_entry(r));
    *end = r->ended;
    SD_TRY(st, next_byte(r, &at));
    if (r->ended) {
        if (r->in.begin < r->in.end)
            st = fail_here(r, "unexpected text after the end of the list; for one JSON value per line set the format to \"jsonl\"");
        goto out;
    }
    if (r->in.begin == r->in.end) {
        st = fail_here(r, "the file ends inside the list");
        goto out;
    }
    SD_TRY(st, extent(r, &length));
    st = parse(r, length, length, out);
out:
    return st;
}

static void locate(const void *self, const cJSON *item, sd_str *out)
{
    const json_reader *r = self;
    uint64_t line, column;

    sd_json_location(r->json, item, &line, &column);
    shift(r, &line, &column);
    sd_str_add(out, "%s:%llu:%llu", r->in.path, (unsigned long long)line, (unsigned long long)column);
}

const reader_format reader_json = {"json", "entry", open_json, next_entry, locate, NULL, close_json};
const reader_format reader_jsonl = {"jsonl", "record", open_json, next_line, locate, NULL, close_json};

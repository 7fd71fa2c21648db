/* Plain text: one document per file, or split at lines. */
#include <string.h>

#include "feed.h"
#include "reader.h"
#include "saediff/core/mem.h"

typedef struct text_reader {
    feed in;
    char *separator; /* separator line; NULL for none */
    bool lines;      /* every line is a document */
    bool started;    /* some bytes were read */
} text_reader;

static void close_text(void *self)
{
    text_reader *r = self;

    feed_close(&r->in);
    sd_free(r->separator);
    sd_free(r);
}

static sd_status open_text(void **self, const char *path, const reader_options *options)
{
    const char *separator = options->separator;
    text_reader *r = NULL;
    sd_status st;

    *self = NULL;
    SD_TRY(st, SD_NEW(&r, 1));
    r->lines = separator != NULL && strcmp(separator, "\n") == 0;
    if (separator != NULL && strcmp(separator, "\n\n") == 0)
        separator = "";
    if (separator != NULL && !r->lines) {
        if (strchr(separator, '\n') != NULL) {
            st = SD_FAIL(SD_E_USAGE, "%s: a separator must not contain a line break; write the separator line without it, "
                         "\"\\n\" for one document per line, \"\\n\\n\" to split at empty lines", path);
            goto out;
        }
        SD_TRY(st, sd_str_copy(&r->separator, separator));
    }
    SD_TRY(st, feed_open(&r->in, path));
    *self = r;
    r = NULL;
out:
    if (r != NULL)
        close_text(r);
    return st;
}

/* The first `length` bytes of the window are a document; the window advances to `next`. */
static sd_status take(text_reader *r, uint64_t length, uint64_t next, record *document)
{
    const char *text = r->in.data + r->in.begin;
    uint64_t line = r->in.line;
    size_t bad;

    if (!sd_utf8_valid(text, length, &bad)) {
        for (size_t i = 0; i < bad; i++)
            line += text[i] == '\n';
        return SD_FAIL(SD_E_DATA, "%s:%llu: not UTF-8: byte 0x%02x at offset %llu of the file; convert it, e.g. with iconv",
                       r->in.path, (unsigned long long)line, (unsigned)(uint8_t)text[bad],
                       (unsigned long long)(r->in.offset + bad));
    }
    *document = (record){.text = text, .length = length};
    feed_take(&r->in, next);
    return SD_OK;
}

static sd_status next_file(text_reader *r, record *document, bool *end)
{
    sd_status st = SD_OK;

    *end = r->started;
    r->started = true;
    if (*end)
        return SD_OK;
    while (!r->in.done)
        SD_TRY(st, feed_more(&r->in));
    st = take(r, r->in.end - r->in.begin, r->in.end - r->in.begin, document);
out:
    return st;
}

static sd_status next_line(text_reader *r, record *document, bool *end)
{
    uint64_t length, next;
    bool any;
    sd_status st;

    SD_TRY(st, feed_line(&r->in, 0, &length, &next, &any));
    *end = !any;
    if (any)
        st = take(r, length, next, document);
out:
    return st;
}

/* Up to the next line that equals the separator; a split at empty lines consumes a whole run. */
static sd_status next_part(text_reader *r, record *document, bool *end)
{
    uint64_t size = strlen(r->separator), at = 0, last = 0;
    sd_status st;

    for (;;) {
        uint64_t length, next;
        bool any;

        SD_TRY(st, feed_line(&r->in, at, &length, &next, &any));
        if (!any)
            break;
        if (length != size || memcmp(r->in.data + r->in.begin + at, r->separator, size) != 0) {
            last = at + length;
            at = next;
            continue;
        }
        if (size > 0 || last > 0) {
            *end = false;
            st = take(r, last, next, document);
            goto out;
        }
        feed_take(&r->in, next);
        at = 0;
    }
    *end = last == 0;
    if (!*end)
        st = take(r, last, at, document);
out:
    return st;
}

static sd_status next_text(void *self, record *document, bool *end)
{
    text_reader *r = self;

    if (r->lines)
        return next_line(r, document, end);
    return r->separator != NULL ? next_part(r, document, end) : next_file(r, document, end);
}

static void locate(const void *self, const cJSON *item, sd_str *out)
{
    const text_reader *r = self;

    (void)item;
    sd_str_add(out, "%s:%llu", r->in.path, (unsigned long long)r->in.line);
}

const reader_format reader_text = {"text", "document", open_text, next_text, locate, NULL, close_text};

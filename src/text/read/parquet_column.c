/* The pages of one column of one row group: header, checksum, decompression, levels. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "parquet.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "thrift.h"

enum { HEADER = 1 << 12, MAX_HEADER = 1 << 24, MAX_PAGE = 1 << 30 };

typedef enum page_kind { PAGE_DATA, PAGE_INDEX, PAGE_DICTIONARY, PAGE_DATA_2 } page_kind;

typedef struct page_header {
    int64_t kind, size, packed_size, crc;
    bool has_crc;
    int64_t values, encoding, def_encoding, rep_encoding; /* from the header of the page type */
    int64_t def_bytes, rep_bytes;                         /* version 2 */
    bool is_packed;
} page_header;

/* A buffer that is reused from page to page. */
typedef struct block {
    uint8_t *data;
    uint64_t capacity;
} block;

struct pq_column {
    const pq_file *f;
    const pq_node *node;
    const pq_chunk *chunk;
    uint64_t group, page; /* numbers from 0 */
    uint64_t page_offset;       /* offset of the page's header in the file */
    uint64_t at, end;     /* range of the chunk that is not yet read */
    uint64_t left, page_left; /* values and nulls left in the chunk and in the page */
    block packed, plain, dictionary_plain;
    pq_value *dictionary;
    pq_runs rep, def;
    pq_values values;
};

sd_status pq_column_fail(const pq_column *c, const char *format, ...)
{
    char what[512];
    sd_str name = {0};
    sd_status st;
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    pq_node_name(c->f, c->node, &name);
    st = SD_FAIL(SD_E_DATA, "%s: row group %llu, column '%s', page %llu at byte %llu: %s", c->f->path, (unsigned long long)c->group,
                 name.text != NULL ? name.text : "", (unsigned long long)c->page, (unsigned long long)c->page_offset, what);
    sd_str_free(&name);
    return st;
}

sd_status pq_column_open(pq_column **out, const pq_file *f, uint64_t group, uint64_t column)
{
    pq_column *c = NULL;
    sd_status st;

    *out = NULL;
    SD_TRY(st, SD_NEW(&c, 1));
    c->f = f;
    c->node = &f->nodes[f->columns[column]];
    c->chunk = &f->groups[group].chunks[column];
    c->group = group;
    c->page_offset = c->at = c->chunk->first;
    c->end = c->at + c->chunk->bytes;
    c->left = c->chunk->values;
    if (c->chunk->codec == PQ_LZO || c->chunk->codec == PQ_BROTLI || c->chunk->codec == PQ_LZ4) {
        st = pq_column_fail(c, "the codec %s is not supported; use UNCOMPRESSED, SNAPPY, GZIP, ZSTD or LZ4_RAW", pq_codec_name(c->chunk->codec));
        goto out;
    }
    *out = c;
    c = NULL;
out:
    pq_column_close(&c);
    return st;
}

void pq_column_close(pq_column **out)
{
    pq_column *c = *out;

    *out = NULL;
    if (c == NULL)
        return;
    sd_free(c->packed.data);
    sd_free(c->plain.data);
    sd_free(c->dictionary_plain.data);
    sd_free(c->dictionary);
    pq_values_free(&c->values);
    sd_free(c);
}

static sd_status reserve(block *b, uint64_t capacity)
{
    sd_status st = SD_OK;

    if (capacity <= b->capacity && b->data != NULL)
        return SD_OK;
    sd_free(b->data);
    b->data = NULL;
    b->capacity = 0;
    SD_TRY(st, SD_NEW(&b->data, capacity));
    b->capacity = capacity;
out:
    return st;
}

/* ---- headers */

/* Members 5 (data), 7 (dictionary) and 8 (data, version 2) of a page header; their own members are numbered differently. */
static void read_own_header(thrift *t, page_header *h, int member)
{
    enum { ENCODING = 2, ENCODING_2 = 4, PACKED_2 = 7 };

    for (thrift_field f = {0}; thrift_next(t, &f);) {
        int64_t *into = NULL;

        if (f.id == 1)
            into = &h->values;
        else if (f.id == (member == 8 ? ENCODING_2 : ENCODING))
            into = &h->encoding;
        else if (member == 5 && (f.id == 3 || f.id == 4))
            into = f.id == 3 ? &h->def_encoding : &h->rep_encoding;
        else if (member == 8 && (f.id == 5 || f.id == 6))
            into = f.id == 5 ? &h->def_bytes : &h->rep_bytes;
        if (into != NULL)
            *into = thrift_int(t, &f);
        else if (member == 8 && f.id == PACKED_2)
            h->is_packed = thrift_bool(t, &f);
        else
            thrift_skip(t, &f);
    }
}

static void read_header(thrift *t, page_header *h)
{
    *h = (page_header){.kind = -1, .size = -1, .packed_size = -1, .values = -1, .encoding = -1, .is_packed = true};
    for (thrift_field f = {0}; thrift_next(t, &f);) {
        switch (f.id) {
        case 1:
            h->kind = thrift_int(t, &f);
            break;
        case 2:
            h->size = thrift_int(t, &f);
            break;
        case 3:
            h->packed_size = thrift_int(t, &f);
            break;
        case 4:
            h->crc = thrift_int(t, &f);
            h->has_crc = true;
            break;
        case 5:
        case 7:
        case 8:
            if (thrift_struct(t, &f))
                read_own_header(t, h, f.id);
            break;
        default:
            thrift_skip(t, &f);
        }
    }
}

/* Reads the header at c->at and advances past it. Its length is not known in advance. */
static sd_status next_header(pq_column *c, page_header *h)
{
    uint64_t left = c->end - c->at;
    sd_status st = SD_OK;

    c->page_offset = c->at;
    for (uint64_t size = HEADER;; size *= 16) {
        uint64_t part = size < left ? size : left;
        thrift t;

        SD_TRY(st, reserve(&c->packed, part));
        SD_TRY(st, sd_file_get(c->f->fd, c->f->path, c->at, c->packed.data, part));
        t = (thrift){.at = c->packed.data, .end = c->packed.data + part};
        read_header(&t, h);
        if (t.wrong == NULL) {
            c->at += (uint64_t)(t.at - c->packed.data);
            break;
        }
        if (part == left || size >= MAX_HEADER) {
            st = pq_column_fail(c, "the header is damaged: %s", t.wrong);
            goto out;
        }
    }
    if (h->packed_size < 0 || (uint64_t)h->packed_size > c->end - c->at || h->size < 0)
        st = pq_column_fail(c, "the header declares %lld bytes, but the column has %llu left", (long long)h->packed_size,
                            (unsigned long long)(c->end - c->at));
    else if (h->size > MAX_PAGE || pq_exceeds_codec(c->chunk->codec, (uint64_t)h->packed_size, (uint64_t)h->size))
        st = pq_column_fail(c, "the header declares that %lld bytes decompress to %lld", (long long)h->packed_size, (long long)h->size);
out:
    return st;
}

/* Reads the page's bytes as stored and verifies their checksum. */
static sd_status load_packed(pq_column *c, const page_header *h)
{
    uint64_t size = (uint64_t)h->packed_size;
    uint32_t crc;
    sd_status st;

    SD_TRY(st, reserve(&c->packed, size));
    SD_TRY(st, sd_file_get(c->f->fd, c->f->path, c->at, c->packed.data, size));
    c->at += size;
    if (h->has_crc) {
        crc = (uint32_t)crc32(crc32(0, Z_NULL, 0), c->packed.data, (uInt)size);
        if (crc != (uint32_t)h->crc)
            st = pq_column_fail(c, "the stored checksum is %08lx, but its bytes have %08lx", (unsigned long)(uint32_t)h->crc, (unsigned long)crc);
    }
out:
    return st;
}

/* Decompresses the page into `plain`, after `head` bytes that are stored uncompressed. */
static sd_status unpack(pq_column *c, const page_header *h, block *plain, uint64_t head)
{
    uint64_t packed = (uint64_t)h->packed_size - head, size;
    pq_codec codec = h->is_packed ? c->chunk->codec : PQ_UNCOMPRESSED;
    const char *wrong;
    sd_status st;

    if ((uint64_t)h->size < head)
        return pq_column_fail(c, "its levels are longer than the page");
    size = (uint64_t)h->size - head;
    SD_TRY(st, reserve(plain, (uint64_t)h->size));
    if (head > 0)
        memcpy(plain->data, c->packed.data, head);
    /* A page of nulls may have no bytes to decompress. */
    wrong = size == 0 && packed == 0 ? NULL : pq_unpack(codec, c->packed.data + head, packed, plain->data + head, size);
    if (wrong != NULL)
        st = pq_column_fail(c, "%s", wrong);
out:
    return st;
}

/* ---- pages */

static sd_status load_dictionary(pq_column *c, const page_header *h)
{
    pq_values values = {0};
    uint64_t min_bytes, count = h->values < 0 ? 0 : (uint64_t)h->values;
    const char *wrong = NULL;
    sd_status st;

    if (c->dictionary != NULL)
        return pq_column_fail(c, "a second dictionary");
    if (h->values < 0 || (h->encoding != PQ_PLAIN && h->encoding != PQ_PLAIN_DICTIONARY) || c->node->type == PQ_BOOLEAN)
        return pq_column_fail(c, "a dictionary of %lld values in encoding %lld is invalid", (long long)h->values, (long long)h->encoding);
    SD_TRY(st, load_packed(c, h));
    SD_TRY(st, unpack(c, h, &c->dictionary_plain, 0));
    min_bytes = c->node->type == PQ_FIXED ? c->node->length : 4;
    if (count > (uint64_t)h->size / min_bytes) {
        st = pq_column_fail(c, "a dictionary of %llu values does not fit in %lld bytes", (unsigned long long)count, (long long)h->size);
        goto out;
    }
    SD_TRY(st, SD_NEW(&c->dictionary, count));
    wrong = pq_values_begin(&values, c->node, PQ_PLAIN, c->dictionary_plain.data, (uint64_t)h->size);
    for (uint64_t i = 0; i < count && wrong == NULL; i++)
        wrong = pq_values_next(&values, &c->dictionary[i]);
    if (wrong != NULL)
        st = pq_column_fail(c, "the dictionary: %s", wrong);
    c->values.dictionary = c->dictionary;
    c->values.n_dictionary = count;
out:
    pq_values_free(&values);
    return st;
}

static unsigned bits_for(uint32_t max)
{
    unsigned bits = 0;

    while (bits < 32 && max >> bits != 0)
        bits++;
    return bits;
}

/* The levels of a page of version 1 at *at; advances *at past them. */
static const char *begin_levels(pq_runs *runs, int64_t encoding, uint32_t max, uint64_t count, const uint8_t **at, const uint8_t *end)
{
    unsigned width = bits_for(max);
    uint64_t left = (uint64_t)(end - *at), size;

    if (max == 0)
        return NULL;
    if (encoding == PQ_RLE) {
        if (left < 4)
            return "it is shorter than its levels";
        size = (uint64_t)(*at)[0] | (uint64_t)(*at)[1] << 8 | (uint64_t)(*at)[2] << 16 | (uint64_t)(*at)[3] << 24;
        if (size > left - 4)
            return "its levels are longer than the page";
        pq_runs_begin(runs, *at + 4, size, width);
        *at += 4 + size;
        return NULL;
    }
    if (encoding != PQ_BIT_PACKED)
        return "the encoding of its levels is not supported";
    size = (count * width + 7) / 8;
    if (size > left)
        return "its levels are longer than the page";
    pq_runs_begin_old(runs, *at, size, width, count);
    *at += size;
    return NULL;
}

static sd_status load_data(pq_column *c, const page_header *h)
{
    bool second = h->kind == PAGE_DATA_2;
    uint64_t head = 0;
    const uint8_t *at, *end;
    const char *wrong = NULL;
    sd_status st;

    if (h->values < 0 || (uint64_t)h->values > c->left)
        return pq_column_fail(c, "it has %lld values, but the column has %llu left", (long long)h->values, (unsigned long long)c->left);
    if (h->def_bytes < 0 || h->rep_bytes < 0 || h->def_bytes > h->packed_size || h->rep_bytes > h->packed_size - h->def_bytes)
        return pq_column_fail(c, "its levels are longer than the page");
    if (second)
        head = (uint64_t)h->def_bytes + (uint64_t)h->rep_bytes;
    SD_TRY(st, load_packed(c, h));
    SD_TRY(st, unpack(c, h, &c->plain, head));
    at = c->plain.data;
    end = at + h->size;
    if (second) {
        pq_runs_begin(&c->rep, at, (uint64_t)h->rep_bytes, bits_for(c->node->max_rep));
        pq_runs_begin(&c->def, at + h->rep_bytes, (uint64_t)h->def_bytes, bits_for(c->node->max_def));
        at += head;
    } else {
        wrong = begin_levels(&c->rep, h->rep_encoding, c->node->max_rep, (uint64_t)h->values, &at, end);
        if (wrong == NULL)
            wrong = begin_levels(&c->def, h->def_encoding, c->node->max_def, (uint64_t)h->values, &at, end);
    }
    if (wrong == NULL)
        wrong = h->encoding < 0 || h->encoding >= PQ_ENCODINGS
                    ? "its encoding is not supported"
                    : pq_values_begin(&c->values, c->node, (pq_encoding)h->encoding, at, (uint64_t)(end - at));
    if (wrong != NULL)
        st = pq_column_fail(c, "%s", wrong);
    c->page_left = (uint64_t)h->values;
out:
    return st;
}

static sd_status next_page(pq_column *c)
{
    page_header h;
    sd_status st;

    if (c->at == c->end)
        return pq_column_fail(c, "the column ends with %llu of %llu values missing", (unsigned long long)c->left,
                              (unsigned long long)c->chunk->values);
    SD_TRY(st, next_header(c, &h));
    if (h.kind == PAGE_DICTIONARY)
        st = load_dictionary(c, &h);
    else if (h.kind == PAGE_DATA || h.kind == PAGE_DATA_2)
        st = load_data(c, &h);
    else if (h.kind == PAGE_INDEX)
        c->at += (uint64_t)h.packed_size;
    else
        st = pq_column_fail(c, "page type %lld is not supported", (long long)h.kind);
    c->page++;
out:
    return st;
}

sd_status pq_column_next(pq_column *c, pq_entry *entry, bool *end)
{
    const pq_node *n = c->node;
    const char *wrong = NULL;
    sd_status st = SD_OK;

    *end = c->left == 0;
    if (*end)
        goto out;
    while (c->page_left == 0)
        SD_TRY(st, next_page(c));
    *entry = (pq_entry){0};
    if ((n->max_rep > 0 && !pq_runs_next(&c->rep, &entry->rep)) || (n->max_def > 0 && !pq_runs_next(&c->def, &entry->def)))
        wrong = "it has fewer levels than values";
    else if (entry->rep > n->max_rep || entry->def > n->max_def)
        wrong = "a level is higher than the schema allows";
    else if (entry->def == n->max_def)
        wrong = pq_values_next(&c->values, &entry->value);
    if (wrong != NULL) {
        c->page--; /* the current page was counted when it was read */
        st = pq_column_fail(c, "value %llu of the column: %s", (unsigned long long)(c->chunk->values - c->left), wrong);
        goto out;
    }
    c->left--;
    c->page_left--;
out:
    return st;
}

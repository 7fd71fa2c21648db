#include "saediff/store/tokens.h"

#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/bundle.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/scratch_file.h"

static const char FORMAT[] = "saediff.tokens";
static const char PLACES[] = "[\"asst\",\"endheader\",\"newline\",\"question_last\",\"answer_first\",\"answer_last\"]";

enum { VERSION = 2, ARRAYS = 11, ATTRS = 8 };

sd_status sd_tokens_create(sd_tokens **tokens, uint64_t docs, uint64_t count)
{
    sd_tokens *t = NULL;
    uint64_t ends, spans, places;
    sd_status st;

    *tokens = NULL;
    SD_TRY(st, sd_add_u64(docs, 1, &ends, "documents"));
    SD_TRY(st, sd_mul_u64(count, 2, &spans, "tokens"));
    SD_TRY(st, sd_mul_u64(docs, SD_POSITIONS, &places, "documents"));
    SD_TRY(st, SD_NEW(&t, 1));
    t->docs = docs;
    t->tokens = count;
    SD_TRY(st, SD_NEW(&t->ids, count));
    SD_TRY(st, SD_NEW(&t->ids_base, count));
    SD_TRY(st, SD_NEW(&t->position, count));
    SD_TRY(st, SD_NEW(&t->mask, count));
    SD_TRY(st, SD_NEW(&t->role, count));
    SD_TRY(st, SD_NEW(&t->span, spans));
    SD_TRY(st, SD_NEW(&t->doc_start, ends));
    SD_TRY(st, SD_NEW(&t->doc_row, docs));
    SD_TRY(st, SD_NEW(&t->doc_length, docs));
    SD_TRY(st, SD_NEW(&t->doc_source, docs));
    SD_TRY(st, SD_NEW(&t->doc_position, places));
    for (uint64_t i = 0; i < places; i++)
        t->doc_position[i] = -1;
    t->doc_start[docs] = count;
    *tokens = t;
    t = NULL;
out:
    sd_tokens_destroy(&t);
    return st;
}

void sd_tokens_destroy(sd_tokens **tokens)
{
    sd_tokens *t = *tokens;

    if (t == NULL)
        return;
    sd_free(t->sources);
    if (t->file != NULL) {
        sd_bundle_close(&t->file);
        sd_free(t);
        *tokens = NULL;
        return;
    }
    sd_free(t->ids);
    sd_free(t->ids_base);
    sd_free(t->position);
    sd_free(t->mask);
    sd_free(t->role);
    sd_free(t->span);
    sd_free(t->doc_start);
    sd_free(t->doc_row);
    sd_free(t->doc_length);
    sd_free(t->doc_source);
    sd_free(t->doc_position);
    sd_free(t);
    *tokens = NULL;
}

/* Entries of the list of sources. */
static sd_status count_sources(const char *path, const char *sources, uint64_t *count)
{
    sd_json *json = NULL;
    sd_status st;

    SD_TRY(st, sd_json_parse(&json, path, sources, strlen(sources)));
    if (!cJSON_IsArray(json->root))
        st = SD_FAIL(SD_E_DATA, "%s: attribute 'sources' is not a JSON list", path);
    else
        *count = (uint64_t)cJSON_GetArraySize(json->root);
out:
    sd_json_close(&json);
    return st;
}

static sd_status check_doc(const sd_tokens *t, const char *path, uint64_t doc, uint64_t sources)
{
    uint64_t first = t->doc_start[doc], end = t->doc_start[doc + 1], i;

    if (end < first || end > t->tokens)
        return SD_FAIL(SD_E_DATA, "%s: document %llu goes from token %llu to %llu of %llu", path, (unsigned long long)doc,
                       (unsigned long long)first, (unsigned long long)end, (unsigned long long)t->tokens);
    if ((t->context > 0 && end - first > t->context) || end - first > t->doc_length[doc])
        return SD_FAIL(SD_E_DATA, "%s: document %llu has %llu tokens, more than its length %llu or the context %llu", path,
                       (unsigned long long)doc, (unsigned long long)(end - first), (unsigned long long)t->doc_length[doc],
                       (unsigned long long)t->context);
    if (t->doc_source[doc] >= sources)
        return SD_FAIL(SD_E_DATA, "%s: document %llu comes from source %lu; there are %llu", path, (unsigned long long)doc,
                       (unsigned long)t->doc_source[doc], (unsigned long long)sources);
    for (i = 0; i < SD_POSITIONS; i++) {
        int32_t place = t->doc_position[doc * SD_POSITIONS + i];

        if (place < -1 || (place >= 0 && (uint64_t)place >= end - first))
            return SD_FAIL(SD_E_DATA, "%s: document %llu has %llu tokens, and position %ld a name", path, (unsigned long long)doc,
                           (unsigned long long)(end - first), (long)place);
    }
    for (i = first; i < end; i++) {
        int32_t id = t->ids[i] < 0 || (uint64_t)t->ids[i] >= t->vocabulary ? t->ids[i] : t->ids_base[i];

        if (id < 0 || (uint64_t)id >= t->vocabulary)
            return SD_FAIL(SD_E_DATA, "%s: token %llu has the id %ld; the vocabulary has %llu", path, (unsigned long long)i,
                           (long)id, (unsigned long long)t->vocabulary);
        if (t->role[i] % (1 << SD_PART_SHIFT) >= SD_ROLES || t->role[i] >> SD_PART_SHIFT >= SD_PARTS)
            return SD_FAIL(SD_E_DATA, "%s: token %llu has the role %u, which has no meaning", path, (unsigned long long)i,
                           (unsigned)t->role[i]);
        if (t->position[i] < 0 || (uint64_t)t->position[i] != i - first)
            return SD_FAIL(SD_E_DATA, "%s: token %llu has position %ld in document %llu, not %llu", path,
                           (unsigned long long)i, (long)t->position[i], (unsigned long long)doc,
                           (unsigned long long)(i - first));
        if (t->mask[i] > 1 || t->span[2 * i] > t->span[2 * i + 1])
            return SD_FAIL(SD_E_DATA, "%s: token %llu has a mask other than 0 and 1, or a span that ends before it begins",
                           path, (unsigned long long)i);
    }
    return SD_OK;
}

static sd_status check_tokens(const sd_tokens *t, const char *path)
{
    uint64_t doc, sources = 0;
    sd_status st;

    SD_TRY(st, count_sources(path, t->sources != NULL ? t->sources : "[]", &sources));
    if (t->doc_start[0] != 0 || t->doc_start[t->docs] != t->tokens) {
        st = SD_FAIL(SD_E_DATA, "%s: the documents go from token %llu to %llu, not from 0 to %llu", path,
                     (unsigned long long)t->doc_start[0], (unsigned long long)t->doc_start[t->docs],
                     (unsigned long long)t->tokens);
        goto out;
    }
    for (doc = 0; doc < t->docs; doc++)
        SD_TRY(st, check_doc(t, path, doc, sources));
out:
    return st;
}

/* ---- writing */

enum array { IDS, IDS_BASE, POSITION, MASK, ROLE, SPAN, DOC_START, DOC_SOURCE, DOC_ROW, DOC_LENGTH, DOC_PLACE };

struct sd_tokens_writer {
    char *path;
    sd_scratch_file *file[ARRAYS];
    uint64_t docs, tokens;
};

sd_status sd_tokens_writer_open(sd_tokens_writer **writer, const char *path)
{
    sd_tokens_writer *w = NULL;
    char *folder = NULL;
    sd_status st;

    *writer = NULL;
    SD_TRY(st, SD_NEW(&w, 1));
    SD_TRY(st, sd_str_copy(&w->path, path));
    SD_TRY(st, sd_path_beside(&folder, path, "."));
    for (int i = 0; i < ARRAYS; i++)
        SD_TRY(st, sd_scratch_file_create(&w->file[i], folder));
    *writer = w;
    w = NULL;
out:
    sd_free(folder);
    sd_tokens_writer_close(&w);
    return st;
}

void sd_tokens_writer_close(sd_tokens_writer **writer)
{
    sd_tokens_writer *w = *writer;

    if (w == NULL)
        return;
    for (int i = 0; i < ARRAYS; i++)
        sd_scratch_file_destroy(&w->file[i]);
    sd_free(w->path);
    sd_free(w);
    *writer = NULL;
}

sd_status sd_tokens_writer_add(sd_tokens_writer *w, const sd_tokens *t)
{
    sd_status st;

    SD_TRY(st, check_tokens(t, w->path));
    SD_TRY(st, sd_scratch_file_add(w->file[IDS], t->ids, t->tokens * sizeof *t->ids));
    SD_TRY(st, sd_scratch_file_add(w->file[IDS_BASE], t->ids_base, t->tokens * sizeof *t->ids_base));
    SD_TRY(st, sd_scratch_file_add(w->file[POSITION], t->position, t->tokens * sizeof *t->position));
    SD_TRY(st, sd_scratch_file_add(w->file[MASK], t->mask, t->tokens * sizeof *t->mask));
    SD_TRY(st, sd_scratch_file_add(w->file[ROLE], t->role, t->tokens * sizeof *t->role));
    SD_TRY(st, sd_scratch_file_add(w->file[SPAN], t->span, t->tokens * 2 * sizeof *t->span));
    for (uint64_t d = 0; d < t->docs; d++) {
        uint64_t start = w->tokens + t->doc_start[d];

        SD_TRY(st, sd_scratch_file_add(w->file[DOC_START], &start, sizeof start));
    }
    SD_TRY(st, sd_scratch_file_add(w->file[DOC_SOURCE], t->doc_source, t->docs * sizeof *t->doc_source));
    SD_TRY(st, sd_scratch_file_add(w->file[DOC_ROW], t->doc_row, t->docs * sizeof *t->doc_row));
    SD_TRY(st, sd_scratch_file_add(w->file[DOC_LENGTH], t->doc_length, t->docs * sizeof *t->doc_length));
    SD_TRY(st, sd_scratch_file_add(w->file[DOC_PLACE], t->doc_position, t->docs * SD_POSITIONS * sizeof *t->doc_position));
    w->docs += t->docs;
    w->tokens += t->tokens;
out:
    return st;
}

sd_status sd_tokens_writer_finish(sd_tokens_writer *w, const sd_tokens *head)
{
    const sd_tokens *t = head;
    sd_array arrays[ARRAYS] = {
        {"ids", SD_I32, 1, {w->tokens}, NULL, "1", "token ids, documents one after another"},
        {"ids_base", SD_I32, 1, {w->tokens}, NULL, "1", "what the base model reads instead"},
        {"position", SD_I32, 1, {w->tokens}, NULL, "1", "position inside the document, from 0"},
        {"mask", SD_U8, 1, {w->tokens}, NULL, "1", "1 = counted, 0 = context only"},
        {"role", SD_U8, 1, {w->tokens}, NULL, "1",
         "low 4 bits: 0 none, 1 system, 2 user, 3 assistant, 4 tool, 5 other; high 4 bits: 1 header, 2 content, 3 trailer"},
        {"span", SD_U64, 2, {w->tokens, 2}, NULL, "byte", "byte range of the token in its document's text"},
        {"doc_start", SD_U64, 1, {w->docs + 1}, NULL, "1", "first token of each document; at the end their number"},
        {"doc_source", SD_U32, 1, {w->docs}, NULL, "1", "entry of 'sources' the document comes from"},
        {"doc_row", SD_U64, 1, {w->docs}, NULL, "1", "record of that entry, from 0"},
        {"doc_length", SD_U64, 1, {w->docs}, NULL, "1", "tokens before cutting to the context, BOS included"},
        {"doc_position", SD_I32, 2, {w->docs, SD_POSITIONS}, NULL, "1", "named positions of a chat, see attribute 'places'; -1: none"}};
    const sd_attr attrs[ATTRS] = {{.name = "text_sha256", .kind = SD_ATTR_TEXT, .text = t->text_sha256},
                                  {.name = "tokenizer_sha256", .kind = SD_ATTR_TEXT, .text = t->tokenizer_sha256},
                                  {.name = "template_sha256", .kind = SD_ATTR_TEXT, .text = t->template_sha256},
                                  {.name = "date", .kind = SD_ATTR_TEXT, .text = t->date},
                                  {.name = "places", .kind = SD_ATTR_TEXT, .text = PLACES},
                                  {.name = "context", .kind = SD_ATTR_U64, .u64 = t->context},
                                  {.name = "vocabulary", .kind = SD_ATTR_U64, .u64 = t->vocabulary},
                                  {.name = "sources", .kind = SD_ATTR_TEXT, .text = t->sources != NULL ? t->sources : "[]"}};
    sd_status st;

    SD_TRY(st, sd_scratch_file_add(w->file[DOC_START], &w->tokens, sizeof w->tokens));
    for (int i = 0; i < ARRAYS; i++)
        SD_TRY(st, sd_scratch_file_view(w->file[i], &arrays[i].data));
    SD_TRY(st, sd_bundle_write(w->path, FORMAT, VERSION, attrs, ATTRS, arrays, ARRAYS));
out:
    return st;
}

/* ---- reading */

/* A short text into its `room` bytes. */
static sd_status read_word(sd_bundle *bundle, const char *path, const char *name, char *word, size_t capacity)
{
    char *text = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_text(bundle, name, &text));
    if (strlen(text) >= capacity)
        st = SD_FAIL(SD_E_DATA, "%s: attribute '%s' is longer than %zu bytes", path, name, capacity - 1);
    else
        memcpy(word, text, strlen(text) + 1);
out:
    sd_free(text);
    return st;
}

/* The members of sd_tokens are written while a stream is made, and only looked at in one that was read. */
static sd_status view(sd_bundle *bundle, const char *name, sd_dtype type, int dims, uint64_t *shape, void **data)
{
    const void *seen = NULL;
    sd_status st = sd_bundle_view(bundle, name, type, dims, shape, &seen);

    *data = (void *)(uintptr_t)seen;
    return st;
}

/* A list whose length must be *count where it is known, and is put there otherwise. */
static sd_status read_list(sd_bundle *bundle, const char *path, const char *name, sd_dtype type, bool known, uint64_t *count,
                           void **data)
{
    uint64_t shape[1] = {0};
    sd_status st;

    SD_TRY(st, view(bundle, name, type, 1, shape, data));
    if (known && shape[0] != *count)
        st = SD_FAIL(SD_E_DATA, "%s: dataset '%s' has %llu entries, not %llu", path, name, (unsigned long long)shape[0],
                     (unsigned long long)*count);
    *count = shape[0];
out:
    return st;
}

sd_status sd_tokens_read(sd_tokens **tokens, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_tokens *t = NULL;
    uint64_t starts = 0, span[2] = {0, 2}, places[2] = {0, SD_POSITIONS};
    sd_status st;

    *tokens = NULL;
    SD_TRY(st, SD_NEW(&t, 1));
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    t->file = bundle;
    SD_TRY(st, read_word(bundle, path, "text_sha256", t->text_sha256, sizeof t->text_sha256));
    SD_TRY(st, read_word(bundle, path, "tokenizer_sha256", t->tokenizer_sha256, sizeof t->tokenizer_sha256));
    SD_TRY(st, read_word(bundle, path, "template_sha256", t->template_sha256, sizeof t->template_sha256));
    SD_TRY(st, read_word(bundle, path, "date", t->date, sizeof t->date));
    SD_TRY(st, sd_bundle_u64(bundle, "context", &t->context));
    SD_TRY(st, sd_bundle_u64(bundle, "vocabulary", &t->vocabulary));
    SD_TRY(st, sd_bundle_text(bundle, "sources", &t->sources));
    SD_TRY(st, read_list(bundle, path, "ids", SD_I32, false, &t->tokens, (void **)&t->ids));
    SD_TRY(st, read_list(bundle, path, "ids_base", SD_I32, true, &t->tokens, (void **)&t->ids_base));
    SD_TRY(st, read_list(bundle, path, "position", SD_I32, true, &t->tokens, (void **)&t->position));
    SD_TRY(st, read_list(bundle, path, "mask", SD_U8, true, &t->tokens, (void **)&t->mask));
    SD_TRY(st, read_list(bundle, path, "role", SD_U8, true, &t->tokens, (void **)&t->role));
    SD_TRY(st, view(bundle, "span", SD_U64, 2, span, (void **)&t->span));
    SD_TRY(st, read_list(bundle, path, "doc_start", SD_U64, false, &starts, (void **)&t->doc_start));
    if (span[0] != t->tokens || starts == 0) {
        st = SD_FAIL(SD_E_DATA, "%s: %llu spans for %llu tokens, or no document starts", path, (unsigned long long)span[0],
                     (unsigned long long)t->tokens);
        goto out;
    }
    t->docs = starts - 1;
    SD_TRY(st, read_list(bundle, path, "doc_source", SD_U32, true, &t->docs, (void **)&t->doc_source));
    SD_TRY(st, read_list(bundle, path, "doc_row", SD_U64, true, &t->docs, (void **)&t->doc_row));
    SD_TRY(st, read_list(bundle, path, "doc_length", SD_U64, true, &t->docs, (void **)&t->doc_length));
    SD_TRY(st, view(bundle, "doc_position", SD_I32, 2, places, (void **)&t->doc_position));
    if (places[0] != t->docs) {
        st = SD_FAIL(SD_E_DATA, "%s: dataset 'doc_position' has %llu rows for %llu documents", path, (unsigned long long)places[0],
                     (unsigned long long)t->docs);
        goto out;
    }
    SD_TRY(st, check_tokens(t, path));
    *tokens = t;
    t = NULL;
out:
    sd_tokens_destroy(&t);
    return st;
}

uint64_t sd_tokens_doc(const sd_tokens *tokens, uint64_t row)
{
    uint64_t low = 0, high = tokens->docs;

    /* The last document that begins at or before the row; of empty ones at the same token, the last is the one with it. */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (tokens->doc_start[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Opening tokenizer.json: the whole file is checked here, so that encoding meets nothing unforeseen. */
#include "saediff/text/tokenizer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "parts.h"

#define FILE_LIMIT ((uint64_t)1 << 30)

sd_status tok_refuse(const sd_json *json, const cJSON *item, const char *format, ...)
{
    char what[SD_ERROR_TEXT];
    uint64_t line, column;
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    sd_json_place(json, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: %s", json->name, (unsigned long long)line, (unsigned long long)column,
                   what);
}

sd_status tok_only(const sd_json *json, const cJSON *object, const char *what, const char *const *known,
                   uint64_t count)
{
    const cJSON *member;

    if (!cJSON_IsObject(object))
        return tok_refuse(json, object, "%s is not an object", what);
    cJSON_ArrayForEach(member, object) {
        uint64_t i = 0;

        while (i < count && strcmp(member->string, known[i]) != 0)
            i++;
        if (i == count)
            return tok_refuse(json, member, "%s: member '%s' is not understood, and could change the ids; remove it "
                              "if it has no effect", what, member->string);
    }
    return SD_OK;
}

sd_status tok_id(const sd_json *json, const cJSON *item, const cJSON *place, const char *what, uint64_t limit,
                 int32_t *id)
{
    double value = cJSON_IsNumber(item) ? item->valuedouble : -1;

    if (!(value >= 0 && value < (double)limit) || value != (double)(uint64_t)value)
        return tok_refuse(json, item != NULL ? item : place, "%s: the id must be a whole number from 0 to %llu", what,
                          (unsigned long long)(limit - 1));
    *id = (int32_t)value;
    return SD_OK;
}

static int by_byte_and_length(const void *left, const void *right)
{
    const tok_added *a = left, *b = right;
    uint8_t byte_a = (uint8_t)a->content[0], byte_b = (uint8_t)b->content[0];

    if (byte_a != byte_b)
        return byte_a < byte_b ? -1 : 1;
    return (a->length < b->length) - (a->length > b->length);
}

static void arrange(tok_search *search)
{
    if (search->count > 1)
        qsort(search->tokens, search->count, sizeof *search->tokens, by_byte_and_length);
    for (uint64_t i = 0; i < search->count; i++)
        search->first[(uint8_t)search->tokens[i].content[0] + 1]++;
    for (uint64_t byte = 0; byte < TOK_BYTES; byte++)
        search->first[byte + 1] += search->first[byte];
}

/* `content` as the text has it where it is looked for. */
static sd_status add_to(const sd_tokenizer *t, tok_search *search, const char *content, bool normalize, int32_t id)
{
    tok_text text = {0};
    tok_added *added = &search->tokens[search->count];
    sd_status st = SD_OK;

    if (!normalize) {
        SD_TRY(st, sd_str_copy(&added->content, content));
        added->length = strlen(content);
    } else {
        SD_TRY(st, tok_normalize(t, content, strlen(content), 0, &text));
        if (text.count == 0)
            goto out;
        SD_TRY(st, SD_NEW(&added->content, text.count + 1));
        memcpy(added->content, text.bytes, text.count);
        added->length = text.count;
    }
    added->id = id;
    search->count++;
out:
    tok_text_free(&text);
    return st;
}

/* One entry of "added_tokens". *next: the id a content outside the vocabulary gets. As in the reference library, the id in the
 * entry does not count. */
static sd_status read_added(sd_tokenizer *t, const cJSON *entry, int32_t *next)
{
    static const char *const known[] = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"};
    static const char *const refused[] = {"single_word", "lstrip", "rstrip"};
    const char *content;
    bool flag, normalized, special;
    int32_t id, stated = -1;
    sd_status st;

    SD_TRY(st, tok_only(t->json, entry, "added token", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_text(t->json, entry, "content", &content));
    SD_TRY(st, tok_id(t->json, cJSON_GetObjectItemCaseSensitive(entry, "id"), entry, "added token", TOK_PIECES,
                      &stated));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        SD_TRY(st, sd_json_bool_or(t->json, entry, refused[i], false, &flag));
        if (flag) {
            st = tok_refuse(t->json, entry, "added token '%s' has '%s', which is not understood", content, refused[i]);
            goto out;
        }
    }
    SD_TRY(st, sd_json_bool_or(t->json, entry, "special", false, &special));
    SD_TRY(st, sd_json_bool_or(t->json, entry, "normalized", !special, &normalized));
    if (content[0] == '\0')
        goto out;
    id = tok_find(t, content, strlen(content));
    if (id < 0) {
        id = *next;
        if (t->piece[id] != NULL) {
            st = tok_refuse(t->json, entry, "added token '%s' would get id %d, which is piece '%s' of the vocabulary",
                            content, (int)id, t->piece[id]);
            goto out;
        }
        t->piece[id] = content;
        t->vocabulary = (uint64_t)id + 1 > t->vocabulary ? (uint64_t)id + 1 : t->vocabulary;
    }
    *next = id >= *next ? id + 1 : *next;
    if (id != stated)
        sd_warn("%s: added token '%s' says id %d but gets %d, as in Hugging Face's tokenizers", t->json->name, content,
                (int)stated, (int)id);
    t->special[id] = special;
    SD_TRY(st, add_to(t, normalized ? &t->normalized : &t->raw, content, normalized, id));
out:
    return st;
}

static const char *content_of(const cJSON *entry)
{
    const char *content = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "content"));

    return content == NULL ? "" : content;
}

static int by_content(const void *left, const void *right)
{
    return strcmp(content_of(*(const cJSON *const *)left), content_of(*(const cJSON *const *)right));
}

static sd_status refuse_twins(const sd_json *json, const cJSON *list, uint64_t count)
{
    const cJSON **entries = NULL, *entry;
    uint64_t n = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&entries, count));
    cJSON_ArrayForEach(entry, list)
        entries[n++] = entry;
    if (n > 1)
        qsort(entries, n, sizeof *entries, by_content);
    for (uint64_t i = 1; i < n; i++)
        if (by_content(&entries[i - 1], &entries[i]) == 0) {
            st = tok_refuse(json, entries[i], "added token '%s' is there twice", content_of(entries[i]));
            goto out;
        }
out:
    sd_free(entries);
    return st;
}

static sd_status read_all_added(sd_tokenizer *t, const cJSON *list, uint64_t entries)
{
    const cJSON *entry;
    uint64_t count = list == NULL ? 0 : (uint64_t)cJSON_GetArraySize(list);
    int32_t next = (int32_t)entries;
    sd_status st;

    SD_TRY(st, SD_NEW(&t->raw.tokens, count));
    SD_TRY(st, SD_NEW(&t->normalized.tokens, count));
    cJSON_ArrayForEach(entry, list)
        SD_TRY(st, read_added(t, entry, &next));
    SD_TRY(st, refuse_twins(t->json, list, count));
    arrange(&t->raw);
    arrange(&t->normalized);
out:
    return st;
}

static sd_status read_file(sd_tokenizer *t)
{
    static const char *const known[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                        "pre_tokenizer", "post_processor", "decoder", "model"};
    const sd_json *json = t->json;
    const cJSON *root = json->root, *item, *added;
    const char *version, *type;
    uint64_t entries;
    sd_status st;

    SD_TRY(st, tok_only(json, root, "tokenizer.json", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_text(json, root, "version", &version));
    if (strcmp(version, "1.0") != 0) {
        st = tok_refuse(json, cJSON_GetObjectItemCaseSensitive(root, "version"),
                        "version '%s' is not understood; known is '1.0'", version);
        goto out;
    }
    item = cJSON_GetObjectItemCaseSensitive(root, "truncation");
    if (item != NULL && !cJSON_IsNull(item))
        sd_warn("%s: its 'truncation' is not applied; documents are cut by tokenize.context", json->name);
    item = cJSON_GetObjectItemCaseSensitive(root, "pre_tokenizer");
    if (item != NULL && !cJSON_IsNull(item)) {
        SD_TRY(st, sd_json_text_or(json, item, "type", "?", &type));
        st = tok_refuse(json, item, "pre_tokenizer '%s' is not understood; this version reads SentencePiece-style BPE, "
                        "which has none", type);
        goto out;
    }
    added = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    if (cJSON_IsNull(added))
        added = NULL;
    if (added != NULL && !cJSON_IsArray(added)) {
        st = tok_refuse(json, added, "'added_tokens' is not a list");
        goto out;
    }
    SD_TRY(st, tok_read_model(t, cJSON_GetObjectItemCaseSensitive(root, "model"),
                              added == NULL ? 0 : (uint64_t)cJSON_GetArraySize(added), &entries));
    SD_TRY(st, tok_read_normalizer(t, cJSON_GetObjectItemCaseSensitive(root, "normalizer")));
    SD_TRY(st, read_all_added(t, added, entries));
    SD_TRY(st, tok_read_decoder(t, cJSON_GetObjectItemCaseSensitive(root, "decoder")));
    SD_TRY(st, tok_read_template(t, cJSON_GetObjectItemCaseSensitive(root, "post_processor")));
out:
    return st;
}

sd_status sd_tokenizer_open(sd_tokenizer **tokenizer, const char *model_dir)
{
    sd_tokenizer *t = NULL;
    char *path = NULL;
    sd_status st;

    *tokenizer = NULL;
    SD_TRY(st, sd_path_join(&path, model_dir, "tokenizer.json"));
    SD_TRY(st, SD_NEW(&t, 1));
    SD_TRY(st, sd_json_open(&t->json, path, FILE_LIMIT));
    SD_TRY(st, sd_file_sha256(path, t->sha256));
    SD_TRY(st, read_file(t));
    *tokenizer = t;
    t = NULL;
out:
    sd_tokenizer_close(&t);
    sd_free(path);
    return st;
}

static void free_search(tok_search *search)
{
    for (uint64_t i = 0; i < search->count; i++)
        sd_free(search->tokens[i].content);
    sd_free(search->tokens);
}

void sd_tokenizer_close(sd_tokenizer **tokenizer)
{
    sd_tokenizer *t = *tokenizer;

    *tokenizer = NULL;
    if (t == NULL)
        return;
    sd_free(t->piece);
    sd_free(t->special);
    sd_free(t->pieces.slot);
    sd_free(t->merges.pair);
    sd_free(t->merges.rank);
    sd_free(t->merges.result);
    free_search(&t->raw);
    free_search(&t->normalized);
    sd_json_close(&t->json);
    sd_free(t);
}

const char *sd_tokenizer_piece(const sd_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint64_t)id < t->vocabulary ? t->piece[id] : NULL;
}

uint64_t sd_tokenizer_vocabulary(const sd_tokenizer *t)
{
    return t->vocabulary;
}

bool sd_tokenizer_is_special(const sd_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint64_t)id < t->vocabulary && t->special[id];
}

int32_t sd_tokenizer_bos(const sd_tokenizer *t)
{
    return t->n_before > 0 ? t->before[0] : -1;
}

const char *sd_tokenizer_sha256(const sd_tokenizer *t)
{
    return t->sha256;
}

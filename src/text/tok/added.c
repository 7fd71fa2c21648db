/* The member "added_tokens" of tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "parts.h"

/* Sets the content of `token` in the form in which it is searched: raw or normalised. */
static sd_status add_to(sd_tokenizer *t, const cJSON *entry, bool normalize, const char *content, tok_added token)
{
    tok_search *search = normalize ? &t->normalized : &t->raw;
    tok_text text = {0}, normal = {0};
    sd_status st;

    SD_TRY(st, tok_text_add_raw(&text, content, strlen(content), 0));
    if (normalize)
        SD_TRY(st, tok_normalize(t, &text, 0, text.count, &normal));
    else
        SD_TRY(st, tok_text_copy(&normal, &text, 0, text.count));
    if (normal.count == 0) {
        st = tok_fail(t->json, entry, "the normalizer reduces added token '%s' to an empty text", content);
        goto out;
    }
    SD_TRY(st, SD_NEW(&token.content, normal.count + 1));
    memcpy(token.content, normal.bytes, normal.count);
    token.length = normal.count;
    token.order = search->count + (t->special[token.id] ? 0 : TOK_PIECES);
    search->tokens[search->count++] = token;
out:
    tok_text_free(&text);
    tok_text_free(&normal);
    return st;
}

/* One entry of "added_tokens". *next: the id given to a content outside the vocabulary. As in the reference library, the id in the
 * entry is ignored. */
static sd_status read_added(sd_tokenizer *t, const cJSON *entry, int32_t *next)
{
    static const char *const known[] = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"};
    const char *content;
    bool normalized, special;
    tok_added token = {0};
    int32_t id, stated = -1;
    sd_status st;

    SD_TRY(st, tok_check_members(t->json, entry, "added token", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_text(t->json, entry, "content", &content));
    SD_TRY(st, tok_id(t->json, cJSON_GetObjectItemCaseSensitive(entry, "id"), entry, "added token", TOK_PIECES,
                      &stated));
    SD_TRY(st, sd_json_bool_or(t->json, entry, "single_word", false, &token.single_word));
    SD_TRY(st, sd_json_bool_or(t->json, entry, "lstrip", false, &token.lstrip));
    SD_TRY(st, sd_json_bool_or(t->json, entry, "rstrip", false, &token.rstrip));
    SD_TRY(st, sd_json_bool_or(t->json, entry, "special", false, &special));
    SD_TRY(st, sd_json_bool_or(t->json, entry, "normalized", !special, &normalized));
    if (content[0] == '\0')
        goto out;
    id = tok_find(t, content, strlen(content));
    if (id < 0) {
        id = *next;
        if (t->piece[id] != NULL) {
            st = tok_fail(t->json, entry, "added token '%s' would get id %d, which is piece '%s' of the vocabulary",
                          content, (int)id, t->piece[id]);
            goto out;
        }
        t->piece[id] = content;
        t->piece_length[id] = (uint32_t)strlen(content);
        tok_pieces_add(t, &t->extra, id);
        t->vocabulary = (uint64_t)id + 1 > t->vocabulary ? (uint64_t)id + 1 : t->vocabulary;
    }
    *next = id >= *next ? id + 1 : *next;
    if (id != stated)
        sd_warn("%s: added token '%s' has id %d in the file but gets %d, as in Hugging Face's tokenizers", t->json->name, content,
                (int)stated, (int)id);
    t->special[id] = special;
    token.id = id;
    SD_TRY(st, add_to(t, entry, normalized, content, token));
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

static sd_status reject_duplicates(const sd_json *json, const cJSON *list, uint64_t count)
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
            st = tok_fail(json, entries[i], "added token '%s' is repeated", content_of(entries[i]));
            goto out;
        }
out:
    sd_free(entries);
    return st;
}

/* A token that takes the white space after it, and one that begins with white space: where both claim the same characters, the
 * reference library's result is not a sequence of tokens. */
static sd_status reject_overlap(const sd_json *json, const cJSON *list, const tok_search *search)
{
    const tok_added *takes = NULL, *begins = NULL;
    uint64_t length;

    for (uint64_t i = 0; i < search->count; i++) {
        const tok_added *a = &search->tokens[i];

        takes = a->rstrip ? a : takes;
        begins = tok_is_space(tok_code_point(a->content, &length)) ? a : begins;
    }
    if (takes == NULL || begins == NULL)
        return SD_OK;
    return tok_fail(json, list, "added token '%s' has 'rstrip' and '%s' begins with white space; the white space between them would be in "
                    "both", takes->content, begins->content);
}

sd_status tok_read_added(sd_tokenizer *t, const cJSON *list, uint64_t entries)
{
    const cJSON *entry;
    uint64_t count = list == NULL ? 0 : (uint64_t)cJSON_GetArraySize(list);
    int32_t next = (int32_t)entries;
    sd_status st;

    SD_TRY(st, SD_NEW(&t->raw.tokens, count));
    SD_TRY(st, SD_NEW(&t->normalized.tokens, count));
    cJSON_ArrayForEach(entry, list)
        SD_TRY(st, read_added(t, entry, &next));
    SD_TRY(st, reject_duplicates(t->json, list, count));
    tok_search_arrange(&t->raw);
    tok_search_arrange(&t->normalized);
    SD_TRY(st, reject_overlap(t->json, list, &t->raw));
    SD_TRY(st, reject_overlap(t->json, list, &t->normalized));
out:
    return st;
}

/* The member "model" of tokenizer.json: vocabulary and merges, checked, in two tables of open addressing. */
#include <string.h>

#include "saediff/core/mem.h"
#include "parts.h"

/* FNV-1a, 64 bits, with the high half folded in. */
static uint64_t hash_bytes(const char *bytes, uint64_t length)
{
    uint64_t h = 0xcbf29ce484222325U;

    for (uint64_t i = 0; i < length; i++)
        h = (h ^ (uint8_t)bytes[i]) * 0x100000001b3U;
    return h ^ h >> 32;
}

static uint64_t hash_pair(uint64_t pair)
{
    pair *= 0x9e3779b97f4a7c15U;
    return pair ^ pair >> 29;
}

/* A power of two that stays at most half full. */
static uint64_t slots_for(uint64_t entries)
{
    uint64_t slots = 16;

    while (slots < 2 * entries)
        slots *= 2;
    return slots;
}

static bool is_piece(const char *piece, const char *bytes, uint64_t length)
{
    return strlen(piece) == length && memcmp(piece, bytes, length) == 0;
}

int32_t tok_find(const sd_tokenizer *t, const char *bytes, uint64_t length)
{
    uint64_t mask = t->pieces.slots - 1, i = hash_bytes(bytes, length) & mask;

    for (; t->pieces.slot[i] != 0; i = (i + 1) & mask)
        if (is_piece(t->piece[t->pieces.slot[i] - 1], bytes, length))
            return (int32_t)(t->pieces.slot[i] - 1);
    return -1;
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

uint32_t tok_rank(const sd_tokenizer *t, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right), mask = t->merges.slots - 1, i = hash_pair(pair) & mask;

    for (; t->merges.pair[i] != UINT64_MAX; i = (i + 1) & mask)
        if (t->merges.pair[i] == pair)
            return t->merges.rank[i];
    return UINT32_MAX;
}

static sd_status read_vocabulary(sd_tokenizer *t, const cJSON *vocab, uint64_t spare, uint64_t *entries)
{
    const cJSON *entry;
    uint64_t count = (uint64_t)cJSON_GetArraySize(vocab), highest = 0, room;
    int32_t id;
    sd_status st;

    cJSON_ArrayForEach(entry, vocab) {
        SD_TRY(st, tok_id(t->json, entry, vocab, "vocabulary", TOK_PIECES, &id));
        highest = (uint64_t)id > highest ? (uint64_t)id : highest;
    }
    if (count == 0 || spare > TOK_PIECES) {
        st = tok_refuse(t->json, vocab, "the vocabulary has %llu pieces and %llu added tokens",
                        (unsigned long long)count, (unsigned long long)spare);
        goto out;
    }
    t->vocabulary = highest + 1;
    room = t->vocabulary + spare + 1;
    t->pieces.slots = slots_for(count);
    SD_TRY(st, SD_NEW(&t->piece, room));
    SD_TRY(st, SD_NEW(&t->special, room));
    SD_TRY(st, SD_NEW(&t->pieces.slot, t->pieces.slots));
    cJSON_ArrayForEach(entry, vocab) {
        uint64_t mask = t->pieces.slots - 1, i = hash_bytes(entry->string, strlen(entry->string)) & mask;

        id = (int32_t)entry->valuedouble;
        if (t->piece[id] != NULL) {
            st = tok_refuse(t->json, entry, "pieces '%s' and '%s' have the same id %d", t->piece[id], entry->string,
                            (int)id);
            goto out;
        }
        t->piece[id] = entry->string;
        while (t->pieces.slot[i] != 0)
            i = (i + 1) & mask;
        t->pieces.slot[i] = (uint32_t)id + 1;
    }
    *entries = count;
out:
    return st;
}

/* The two halves of a merge, "a b" or ["a", "b"]; not NUL-terminated. */
static sd_status merge_halves(const sd_json *json, const cJSON *entry, const char *half[2], uint64_t length[2])
{
    const char *text = cJSON_GetStringValue(entry), *space;

    if (text != NULL) {
        space = strchr(text, ' ');
        if (space == NULL || space == text || space[1] == '\0' || strchr(space + 1, ' ') != NULL)
            return tok_refuse(json, entry, "merge '%s' is not two pieces with one space between them", text);
        half[0] = text;
        half[1] = space + 1;
        length[0] = (uint64_t)(space - text);
        length[1] = strlen(space + 1);
        return SD_OK;
    }
    for (int i = 0; i < 2; i++) {
        half[i] = cJSON_IsArray(entry) ? cJSON_GetStringValue(cJSON_GetArrayItem(entry, i)) : NULL;
        if (half[i] == NULL || half[i][0] == '\0' || cJSON_GetArraySize(entry) != 2)
            return tok_refuse(json, entry, "a merge is neither \"a b\" nor [\"a\", \"b\"]");
        length[i] = strlen(half[i]);
    }
    return SD_OK;
}

/* `both` has room for the product of any two pieces. */
static sd_status add_merge(sd_tokenizer *t, const cJSON *entry, uint32_t rank, char *both)
{
    const char *half[2];
    uint64_t length[2], mask = t->merges.slots - 1, pair, i;
    int32_t id[2], product;
    sd_status st;

    SD_TRY(st, merge_halves(t->json, entry, half, length));
    for (int h = 0; h < 2; h++) {
        id[h] = tok_find(t, half[h], length[h]);
        if (id[h] < 0) {
            st = tok_refuse(t->json, entry, "merge %lu: '%.*s' is not in the vocabulary", (unsigned long)rank,
                            (int)length[h], half[h]);
            goto out;
        }
        memcpy(both + (h ? length[0] : 0), half[h], length[h]);
    }
    product = tok_find(t, both, length[0] + length[1]);
    if (product < 0) {
        st = tok_refuse(t->json, entry, "merge %lu: its product '%.*s' is not in the vocabulary", (unsigned long)rank,
                        (int)(length[0] + length[1]), both);
        goto out;
    }
    pair = pair_of(id[0], id[1]);
    for (i = hash_pair(pair) & mask; t->merges.pair[i] != UINT64_MAX; i = (i + 1) & mask)
        if (t->merges.pair[i] == pair) {
            st = tok_refuse(t->json, entry, "merge %lu: '%s' + '%s' is merge %lu already", (unsigned long)rank,
                            t->piece[id[0]], t->piece[id[1]], (unsigned long)t->merges.rank[i]);
            goto out;
        }
    t->merges.pair[i] = pair;
    t->merges.rank[i] = rank;
    t->merges.result[rank] = product;
out:
    return st;
}

static sd_status read_merges(sd_tokenizer *t, const cJSON *list)
{
    const cJSON *entry;
    uint64_t longest = 0;
    uint32_t rank = 0;
    char *both = NULL;
    sd_status st;

    t->merges.count = (uint64_t)cJSON_GetArraySize(list);
    t->merges.slots = slots_for(t->merges.count);
    SD_TRY(st, SD_NEW(&t->merges.pair, t->merges.slots));
    SD_TRY(st, SD_NEW(&t->merges.rank, t->merges.slots));
    SD_TRY(st, SD_NEW(&t->merges.result, t->merges.count));
    for (uint64_t i = 0; i < t->merges.slots; i++)
        t->merges.pair[i] = UINT64_MAX;
    for (uint64_t i = 0; i < t->vocabulary; i++) {
        uint64_t length = t->piece[i] == NULL ? 0 : strlen(t->piece[i]);

        longest = length > longest ? length : longest;
    }
    SD_TRY(st, SD_NEW(&both, 2 * longest + 1));
    cJSON_ArrayForEach(entry, list)
        SD_TRY(st, add_merge(t, entry, rank++, both));
out:
    sd_free(both);
    return st;
}

/* Affixes change which pieces are looked up; only absent ones are understood. */
static sd_status refuse_text(const sd_json *json, const cJSON *model, const char *key)
{
    const char *value;
    sd_status st;

    SD_TRY(st, sd_json_text_or(json, model, key, "", &value));
    if (value[0] != '\0')
        st = tok_refuse(json, cJSON_GetObjectItemCaseSensitive(model, key), "model: %s '%s' is not understood", key,
                        value);
out:
    return st;
}

static sd_status read_switches(sd_tokenizer *t, const cJSON *model)
{
    const char *unk;
    double dropout;
    bool ignore_merges;
    sd_status st;

    SD_TRY(st, sd_json_f64_or(t->json, model, "dropout", 0, &dropout));
    if (dropout != 0) {
        st = tok_refuse(t->json, cJSON_GetObjectItemCaseSensitive(model, "dropout"),
                        "model: dropout %g would make the ids random; set it to null", dropout);
        goto out;
    }
    SD_TRY(st, refuse_text(t->json, model, "continuing_subword_prefix"));
    SD_TRY(st, refuse_text(t->json, model, "end_of_word_suffix"));
    SD_TRY(st, sd_json_bool_or(t->json, model, "ignore_merges", false, &ignore_merges));
    if (ignore_merges) {
        st = tok_refuse(t->json, cJSON_GetObjectItemCaseSensitive(model, "ignore_merges"),
                        "model: ignore_merges is not understood");
        goto out;
    }
    SD_TRY(st, sd_json_bool_or(t->json, model, "byte_fallback", false, &t->byte_fallback));
    SD_TRY(st, sd_json_bool_or(t->json, model, "fuse_unk", false, &t->fuse_unk));
    SD_TRY(st, sd_json_text_or(t->json, model, "unk_token", "", &unk));
    t->unk = unk[0] == '\0' ? -1 : tok_find(t, unk, strlen(unk));
    if (unk[0] != '\0' && t->unk < 0)
        st = tok_refuse(t->json, cJSON_GetObjectItemCaseSensitive(model, "unk_token"),
                        "model: unk_token '%s' is not in the vocabulary", unk);
out:
    return st;
}

sd_status tok_read_model(sd_tokenizer *t, const cJSON *model, uint64_t spare, uint64_t *entries)
{
    static const char *const known[] = {
        "type",     "dropout",       "unk_token",     "continuing_subword_prefix", "end_of_word_suffix",
        "fuse_unk", "byte_fallback", "ignore_merges", "vocab",                     "merges"};
    static const char digits[] = "0123456789ABCDEF";
    const cJSON *vocab, *merges;
    const char *type;
    sd_status st;

    if (!cJSON_IsObject(model)) {
        st = tok_refuse(t->json, model == NULL ? t->json->root : model, "there is no object 'model'");
        goto out;
    }
    SD_TRY(st, sd_json_text(t->json, model, "type", &type));
    if (strcmp(type, "BPE") != 0) {
        st = tok_refuse(t->json, model, "model '%s' is not understood; this version reads BPE", type);
        goto out;
    }
    SD_TRY(st, tok_only(t->json, model, "model", known, sizeof known / sizeof *known));
    vocab = cJSON_GetObjectItemCaseSensitive(model, "vocab");
    merges = cJSON_GetObjectItemCaseSensitive(model, "merges");
    if (!cJSON_IsObject(vocab) || !cJSON_IsArray(merges)) {
        st = tok_refuse(t->json, model, "model: 'vocab' must be an object and 'merges' a list");
        goto out;
    }
    SD_TRY(st, read_vocabulary(t, vocab, spare, entries));
    SD_TRY(st, read_merges(t, merges));
    SD_TRY(st, read_switches(t, model));
    for (int byte = 0; byte < TOK_BYTES; byte++) {
        const char name[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};

        t->byte_id[byte] = tok_find(t, name, sizeof name);
    }
out:
    return st;
}

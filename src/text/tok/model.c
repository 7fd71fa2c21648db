/* The member "model" of tokenizer.json: vocabulary and merges, validated, in two open-addressing tables. */
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

/* The next power of two that is at most half full. */
static uint64_t slots_for(uint64_t entries)
{
    uint64_t slots = 16;

    while (slots < 2 * entries)
        slots *= 2;
    return slots;
}

int32_t tok_find_in(const sd_tokenizer *t, const tok_pieces *pieces, const char *bytes, uint64_t length)
{
    uint64_t mask = pieces->slots - 1, i = hash_bytes(bytes, length) & mask;

    for (; pieces->slot[i] != 0; i = (i + 1) & mask) {
        uint32_t id = pieces->slot[i] - 1;

        if (t->piece_length[id] == length && memcmp(t->piece[id], bytes, length) == 0)
            return (int32_t)id;
    }
    return -1;
}

int32_t tok_find(const sd_tokenizer *t, const char *bytes, uint64_t length)
{
    return tok_find_in(t, &t->pieces, bytes, length);
}

void tok_pieces_add(const sd_tokenizer *t, tok_pieces *pieces, int32_t id)
{
    uint64_t mask = pieces->slots - 1, i = hash_bytes(t->piece[id], t->piece_length[id]) & mask;

    while (pieces->slot[i] != 0)
        i = (i + 1) & mask;
    pieces->slot[i] = (uint32_t)id + 1;
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

const tok_merge *tok_merge_of(const sd_tokenizer *t, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right), mask = t->merges.slots - 1, i = hash_pair(pair) & mask;

    for (; t->merges.slot[i].pair != UINT64_MAX; i = (i + 1) & mask)
        if (t->merges.slot[i].pair == pair)
            return &t->merges.slot[i];
    return NULL;
}

static sd_status read_vocabulary(sd_tokenizer *t, const cJSON *vocab, uint64_t spare, uint64_t *entries)
{
    const cJSON *entry;
    uint64_t count = (uint64_t)cJSON_GetArraySize(vocab), highest = 0, capacity;
    int32_t id;
    sd_status st;

    cJSON_ArrayForEach(entry, vocab) {
        SD_TRY(st, tok_id(t->json, entry, vocab, "vocabulary", TOK_PIECES, &id));
        highest = (uint64_t)id > highest ? (uint64_t)id : highest;
    }
    if (count == 0 || spare > TOK_PIECES) {
        st = tok_fail(t->json, vocab, "the vocabulary has %llu pieces and %llu added tokens",
                      (unsigned long long)count, (unsigned long long)spare);
        goto out;
    }
    t->vocabulary = highest + 1;
    capacity = t->vocabulary + spare + 1;
    t->pieces.slots = slots_for(count);
    t->extra.slots = slots_for(spare);
    SD_TRY(st, SD_NEW(&t->piece, capacity));
    SD_TRY(st, SD_NEW(&t->piece_length, capacity));
    SD_TRY(st, SD_NEW(&t->special, capacity));
    SD_TRY(st, SD_NEW(&t->pieces.slot, t->pieces.slots));
    SD_TRY(st, SD_NEW(&t->extra.slot, t->extra.slots));
    cJSON_ArrayForEach(entry, vocab) {
        id = (int32_t)entry->valuedouble;
        if (t->piece[id] != NULL) {
            st = tok_fail(t->json, entry, "pieces '%s' and '%s' have the same id %d", t->piece[id], entry->string,
                          (int)id);
            goto out;
        }
        t->piece[id] = entry->string;
        t->piece_length[id] = (uint32_t)strlen(entry->string);
        tok_pieces_add(t, &t->pieces, id);
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
            return tok_fail(json, entry, "merge '%s' is not two pieces with one space between them", text);
        half[0] = text;
        half[1] = space + 1;
        length[0] = (uint64_t)(space - text);
        length[1] = strlen(space + 1);
        return SD_OK;
    }
    for (int i = 0; i < 2; i++) {
        half[i] = cJSON_IsArray(entry) ? cJSON_GetStringValue(cJSON_GetArrayItem(entry, i)) : NULL;
        if (half[i] == NULL || half[i][0] == '\0' || cJSON_GetArraySize(entry) != 2)
            return tok_fail(json, entry, "a merge is neither \"a b\" nor [\"a\", \"b\"]");
        length[i] = strlen(half[i]);
    }
    return SD_OK;
}

static bool begins_with_mark(const char *text, uint64_t length)
{
    return length >= strlen(TOK_MARK) && memcmp(text, TOK_MARK, strlen(TOK_MARK)) == 0;
}

static bool ends_with_mark(const char *text, uint64_t length)
{
    return length >= strlen(TOK_MARK) && begins_with_mark(text + length - strlen(TOK_MARK), strlen(TOK_MARK));
}

/* `both` has capacity for the concatenation of any two pieces. If a pair is repeated the last merge is used, as in the reference library. */
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
            st = tok_fail(t->json, entry, "merge %lu: '%.*s' is not in the vocabulary", (unsigned long)rank,
                          (int)length[h], half[h]);
            goto out;
        }
        memcpy(both + (h ? length[0] : 0), half[h], length[h]);
    }
    product = tok_find(t, both, length[0] + length[1]);
    if (product < 0) {
        st = tok_fail(t->json, entry, "merge %lu: its result '%.*s' is not in the vocabulary", (unsigned long)rank,
                      (int)(length[0] + length[1]), both);
        goto out;
    }
    pair = pair_of(id[0], id[1]);
    for (i = hash_pair(pair) & mask; t->merges.slot[i].pair != UINT64_MAX && t->merges.slot[i].pair != pair;)
        i = (i + 1) & mask;
    t->merges.slot[i] = (tok_merge){pair, rank, product};
    t->merges.result[rank] = product;
    if (begins_with_mark(half[1], length[1]) && !ends_with_mark(half[0], length[0]))
        t->words = false;
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
    SD_TRY(st, SD_NEW(&t->merges.slot, t->merges.slots));
    SD_TRY(st, SD_NEW(&t->merges.result, t->merges.count));
    for (uint64_t i = 0; i < t->merges.slots; i++)
        t->merges.slot[i].pair = UINT64_MAX;
    for (uint64_t i = 0; i < t->vocabulary; i++)
        longest = t->piece_length[i] > longest ? t->piece_length[i] : longest;
    SD_TRY(st, SD_NEW(&both, 2 * longest + 1));
    t->words = tok_find(t, TOK_MARK, strlen(TOK_MARK)) >= 0;
    cJSON_ArrayForEach(entry, list)
        SD_TRY(st, add_merge(t, entry, rank++, both));
out:
    sd_free(both);
    return st;
}

/* Affixes change the pieces that are looked up; only absent ones are supported. */
static sd_status reject_text(const sd_json *json, const cJSON *model, const char *key)
{
    const char *value;
    sd_status st;

    SD_TRY(st, sd_json_text_or(json, model, key, "", &value));
    if (value[0] != '\0')
        st = tok_fail(json, cJSON_GetObjectItemCaseSensitive(model, key), "model: %s '%s' is not supported", key,
                      value);
out:
    return st;
}

static sd_status read_switches(sd_tokenizer *t, const cJSON *model)
{
    const char *unk;
    double dropout;
    sd_status st;

    SD_TRY(st, sd_json_f64_or(t->json, model, "dropout", 0, &dropout));
    if (dropout != 0) {
        st = tok_fail(t->json, cJSON_GetObjectItemCaseSensitive(model, "dropout"),
                      "model: dropout %g would make the ids random; set it to null", dropout);
        goto out;
    }
    SD_TRY(st, reject_text(t->json, model, "continuing_subword_prefix"));
    SD_TRY(st, reject_text(t->json, model, "end_of_word_suffix"));
    SD_TRY(st, sd_json_bool_or(t->json, model, "ignore_merges", false, &t->ignore_merges));
    SD_TRY(st, sd_json_bool_or(t->json, model, "byte_fallback", false, &t->byte_fallback));
    SD_TRY(st, sd_json_bool_or(t->json, model, "fuse_unk", false, &t->fuse_unk));
    SD_TRY(st, sd_json_text_or(t->json, model, "unk_token", "", &unk));
    t->unk = unk[0] == '\0' ? -1 : tok_find(t, unk, strlen(unk));
    if (unk[0] != '\0' && t->unk < 0)
        st = tok_fail(t->json, cJSON_GetObjectItemCaseSensitive(model, "unk_token"),
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
    bool every;
    sd_status st;

    if (!cJSON_IsObject(model)) {
        st = tok_fail(t->json, model == NULL ? t->json->root : model, "the object 'model' is missing");
        goto out;
    }
    SD_TRY(st, sd_json_text(t->json, model, "type", &type));
    if (strcmp(type, "BPE") != 0) {
        st = tok_fail(t->json, model, "model '%s' is not supported; only BPE is", type);
        goto out;
    }
    SD_TRY(st, tok_check_members(t->json, model, "model", known, sizeof known / sizeof *known));
    vocab = cJSON_GetObjectItemCaseSensitive(model, "vocab");
    merges = cJSON_GetObjectItemCaseSensitive(model, "merges");
    if (!cJSON_IsObject(vocab) || !cJSON_IsArray(merges)) {
        st = tok_fail(t->json, model, "model: 'vocab' must be an object and 'merges' a list");
        goto out;
    }
    SD_TRY(st, read_vocabulary(t, vocab, spare, entries));
    SD_TRY(st, read_merges(t, merges));
    SD_TRY(st, read_switches(t, model));
    every = t->byte_fallback;
    for (int byte = 0; byte < TOK_BYTES; byte++) {
        const char name[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};

        t->byte_id[byte] = tok_find(t, name, sizeof name);
        every = every && t->byte_id[byte] >= 0;
    }
    /* A dropped character would shift the ranges of what follows it in its pre-token: a split would change the result. */
    t->words = t->words && (every || t->unk >= 0);
    for (uint32_t point = 0; point < TOK_DIRECT; point++) {
        char bytes[4];
        uint64_t length = tok_write_utf8(point, bytes);

        t->direct_id[point] = tok_find(t, bytes, length);
    }
out:
    return st;
}

/* Where nothing cuts a text no piece is in the vocabulary. */
sd_status tok_find_whole(sd_tokenizer *t)
{
    tok_work work = {0};
    uint8_t *whole = NULL;
    sd_status st = SD_OK;

    if (t->pre.count == 0 && !t->words && !t->ignore_merges)
        return SD_OK;
    SD_TRY(st, SD_NEW(&whole, t->vocabulary));
    for (uint64_t id = 0; id < t->vocabulary; id++) {
        if (t->piece[id] == NULL || t->ignore_merges) {
            whole[id] = 1;
            continue;
        }
        SD_TRY(st, tok_bpe(t, t->piece[id], t->piece_length[id], &work));
        whole[id] = work.n_symbols > 0 && work.symbols[0].next == TOK_END && work.symbols[0].id == (int32_t)id;
    }
    t->whole = whole;
    whole = NULL;
out:
    sd_free(whole);
    tok_work_free(&work);
    return st;
}

/* The member "post_processor" of tokenizer.json. */
#include <string.h>

#include "parts.h"

/* `item` as the id of an existing token. */
static sd_status token_id(const sd_tokenizer *t, const cJSON *item, const cJSON *parent, int32_t *id)
{
    sd_status st;

    SD_TRY(st, tok_id(t->json, item, parent, "post_processor", t->vocabulary, id));
    if (t->piece[*id] == NULL)
        st = tok_fail(t->json, item, "post_processor adds the id %d, which is not a token", (int)*id);
out:
    return st;
}

/* Appends the ids of a SpecialToken of the template to `ids`. */
static sd_status template_ids(const sd_tokenizer *t, const cJSON *post, const cJSON *piece, int32_t *ids,
                              uint64_t *count)
{
    const cJSON *list, *id;
    const char *name;
    sd_status st;

    SD_TRY(st, sd_json_text(t->json, piece, "id", &name));
    list = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(post, "special_tokens"), name);
    list = cJSON_GetObjectItemCaseSensitive(list, "ids");
    if (!cJSON_IsArray(list)) {
        st = tok_fail(t->json, piece, "post_processor: '%s' has no list of ids in 'special_tokens'", name);
        goto out;
    }
    cJSON_ArrayForEach(id, list) {
        if (*count == TOK_STEPS) {
            st = tok_fail(t->json, piece, "post_processor adds more than %d ids", TOK_STEPS);
            goto out;
        }
        SD_TRY(st, token_id(t, id, list, &ids[*count]));
        ++*count;
    }
out:
    return st;
}

static sd_status read_template(const sd_tokenizer *t, const cJSON *item, tok_post *post)
{
    static const char *const known[] = {"type", "single", "pair", "special_tokens"};
    const cJSON *single, *piece, *special, *sequence;
    const char *name;
    bool text_seen = false;
    sd_status st;

    SD_TRY(st, tok_check_members(t->json, item, "post_processor", known, sizeof known / sizeof *known));
    single = cJSON_GetObjectItemCaseSensitive(item, "single");
    if (!cJSON_IsArray(single)) {
        st = tok_fail(t->json, item, "post_processor: the list 'single' is missing");
        goto out;
    }
    cJSON_ArrayForEach(piece, single) {
        special = cJSON_GetObjectItemCaseSensitive(piece, "SpecialToken");
        sequence = cJSON_GetObjectItemCaseSensitive(piece, "Sequence");
        if (cJSON_IsObject(special)) {
            SD_TRY(st, template_ids(t, item, special, text_seen ? post->after : post->before,
                                    text_seen ? &post->n_after : &post->n_before));
            continue;
        }
        if (!cJSON_IsObject(sequence) || text_seen) {
            st = tok_fail(t->json, piece, "post_processor: 'single' must hold SpecialToken entries and the Sequence "
                          "A once");
            goto out;
        }
        SD_TRY(st, sd_json_text(t->json, sequence, "id", &name));
        if (strcmp(name, "A") != 0) {
            st = tok_fail(t->json, sequence, "post_processor: 'single' names Sequence '%s', not A", name);
            goto out;
        }
        text_seen = true;
    }
    if (!text_seen)
        st = tok_fail(t->json, single, "post_processor: 'single' has no Sequence A, so the text would be lost");
out:
    return st;
}

/* ["</s>", 2] */
static sd_status read_pair(const sd_tokenizer *t, const cJSON *item, const char *key, int32_t *id)
{
    const cJSON *pair = cJSON_GetObjectItemCaseSensitive(item, key);

    if (cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(cJSON_GetArrayItem(pair, 0)))
        return tok_fail(t->json, pair != NULL ? pair : item, "post_processor: '%s' must be a token and its id", key);
    return token_id(t, cJSON_GetArrayItem(pair, 1), pair, id);
}

/* RobertaProcessing and BertProcessing: `cls` before the text, `sep` after it. */
static sd_status read_cls_sep(const sd_tokenizer *t, const cJSON *item, const char *type, tok_post *post)
{
    static const char *const known[] = {"type", "sep", "cls", "trim_offsets", "add_prefix_space"};
    bool roberta = strcmp(type, "RobertaProcessing") == 0;
    sd_status st;

    SD_TRY(st, tok_check_members(t->json, item, type, known, roberta ? 5 : 3));
    SD_TRY(st, read_pair(t, item, "cls", &post->before[0]));
    SD_TRY(st, read_pair(t, item, "sep", &post->after[0]));
    post->n_before = post->n_after = 1;
    if (roberta) {
        SD_TRY(st, sd_json_bool_or(t->json, item, "trim_offsets", true, &post->trims));
        SD_TRY(st, sd_json_bool_or(t->json, item, "add_prefix_space", true, &post->prefix));
    }
out:
    return st;
}

static sd_status read_byte_level(const sd_tokenizer *t, const cJSON *item, tok_post *post)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex"};
    sd_status st;

    SD_TRY(st, tok_check_members(t->json, item, "ByteLevel", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_bool_or(t->json, item, "trim_offsets", true, &post->trims));
    SD_TRY(st, sd_json_bool_or(t->json, item, "add_prefix_space", true, &post->prefix));
out:
    return st;
}

static sd_status read_post(sd_tokenizer *t, const cJSON *item)
{
    const cJSON *entry, *list;
    const char *type;
    tok_post *post = &t->post[t->n_post];
    sd_status st;

    if (!cJSON_IsObject(item))
        return tok_fail(t->json, item, "post_processor is not an object");
    SD_TRY(st, sd_json_text(t->json, item, "type", &type));
    if (strcmp(type, "Sequence") == 0) {
        list = cJSON_GetObjectItemCaseSensitive(item, "processors");
        if (!cJSON_IsArray(list)) {
            st = tok_fail(t->json, item, "post_processor: a Sequence without the list 'processors'");
            goto out;
        }
        cJSON_ArrayForEach(entry, list)
            SD_TRY(st, read_post(t, entry));
        goto out;
    }
    if (t->n_post == TOK_STEPS) {
        st = tok_fail(t->json, item, "post_processor has more than %d steps", TOK_STEPS);
        goto out;
    }
    if (strcmp(type, "TemplateProcessing") == 0)
        SD_TRY(st, read_template(t, item, post));
    else if (strcmp(type, "ByteLevel") == 0)
        SD_TRY(st, read_byte_level(t, item, post));
    else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        SD_TRY(st, read_cls_sep(t, item, type, post));
    else {
        st = tok_fail(t->json, item, "post_processor '%s' is not supported; supported: TemplateProcessing, ByteLevel, "
                      "RobertaProcessing, BertProcessing and Sequence", type);
        goto out;
    }
    t->n_post++;
    t->trims = t->trims || post->trims;
    if (post->n_before > 0)
        t->bos = post->before[0];
out:
    return st;
}

sd_status tok_read_post(sd_tokenizer *t, const cJSON *item)
{
    t->bos = -1;
    return item == NULL || cJSON_IsNull(item) ? SD_OK : read_post(t, item);
}

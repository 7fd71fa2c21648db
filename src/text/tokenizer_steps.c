/* The members "normalizer", "decoder" and "post_processor" of tokenizer.json. */
#include <string.h>

#include "parts.h"

/* {"type": "Replace", "pattern": {"String": ...}, "content": ...} */
static sd_status read_replace(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "pattern", "content"};
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(item, "pattern");
    sd_status st;

    step->kind = TOK_REPLACE;
    SD_TRY(st, tok_only(json, item, "Replace", known, sizeof known / sizeof *known));
    if (!cJSON_IsObject(pattern) || pattern->child == NULL || strcmp(pattern->child->string, "String") != 0 ||
        pattern->child->next != NULL) {
        st = tok_refuse(json, pattern == NULL ? item : pattern,
                        "Replace: pattern '%s' is not understood; known is a String",
                        cJSON_IsObject(pattern) && pattern->child != NULL ? pattern->child->string : "?");
        goto out;
    }
    SD_TRY(st, sd_json_text(json, pattern, "String", &step->pattern));
    SD_TRY(st, sd_json_text(json, item, "content", &step->content));
    step->pattern_length = strlen(step->pattern);
    step->content_length = strlen(step->content);
    if (step->pattern_length == 0)
        st = tok_refuse(json, pattern, "Replace: the pattern is empty");
out:
    return st;
}

static sd_status read_strip(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "content", "start", "stop"};
    sd_status st;

    step->kind = TOK_STRIP;
    SD_TRY(st, tok_only(json, item, "Strip", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_text(json, item, "content", &step->content));
    SD_TRY(st, sd_json_u64(json, item, "start", &step->start));
    SD_TRY(st, sd_json_u64(json, item, "stop", &step->stop));
    step->content_length = strlen(step->content);
    if (step->content_length == 0)
        st = tok_refuse(json, item, "Strip: the content is empty");
out:
    return st;
}

/* A step list is a tree of Sequences; `list` names their member, `leaf` reads what is not one. */
static sd_status read_steps(const sd_json *json, const cJSON *item, const char *what, const char *list,
                            sd_status (*leaf)(const sd_json *, const cJSON *, const char *, tok_step *), tok_step *steps,
                            uint64_t *count)
{
    const cJSON *entry;
    const char *type;
    sd_status st;

    if (item == NULL || cJSON_IsNull(item))
        return SD_OK;
    if (!cJSON_IsObject(item))
        return tok_refuse(json, item, "%s is not an object", what);
    SD_TRY(st, sd_json_text(json, item, "type", &type));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *children = cJSON_GetObjectItemCaseSensitive(item, list);

        if (!cJSON_IsArray(children)) {
            st = tok_refuse(json, item, "%s: a Sequence without the list '%s'", what, list);
            goto out;
        }
        cJSON_ArrayForEach(entry, children)
            SD_TRY(st, read_steps(json, entry, what, list, leaf, steps, count));
        goto out;
    }
    if (*count == TOK_STEPS) {
        st = tok_refuse(json, item, "%s has more than %d steps", what, TOK_STEPS);
        goto out;
    }
    SD_TRY(st, leaf(json, item, type, &steps[*count]));
    ++*count;
out:
    return st;
}

static sd_status normalizer_leaf(const sd_json *json, const cJSON *item, const char *type, tok_step *step)
{
    static const char *const known[] = {"type", "prepend"};
    sd_status st;

    if (strcmp(type, "Replace") == 0)
        return read_replace(json, item, step);
    if (strcmp(type, "Prepend") != 0)
        return tok_refuse(json, item, "normalizer '%s' is not understood; known are Prepend, Replace and Sequence",
                          type);
    step->kind = TOK_PREPEND;
    SD_TRY(st, tok_only(json, item, "Prepend", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_text(json, item, "prepend", &step->content));
    step->content_length = strlen(step->content);
out:
    return st;
}

static sd_status decoder_leaf(const sd_json *json, const cJSON *item, const char *type, tok_step *step)
{
    static const char *const known[] = {"type"};

    if (strcmp(type, "Replace") == 0)
        return read_replace(json, item, step);
    if (strcmp(type, "Strip") == 0)
        return read_strip(json, item, step);
    if (strcmp(type, "ByteFallback") == 0)
        step->kind = TOK_BYTE_FALLBACK;
    else if (strcmp(type, "Fuse") == 0)
        step->kind = TOK_FUSE;
    else
        return tok_refuse(json, item, "decoder '%s' is not understood; known are Replace, ByteFallback, Fuse, Strip "
                          "and Sequence", type);
    return tok_only(json, item, type, known, 1);
}

sd_status tok_read_normalizer(sd_tokenizer *t, const cJSON *item)
{
    return read_steps(t->json, item, "normalizer", "normalizers", normalizer_leaf, t->normalizer, &t->n_normalizer);
}

sd_status tok_read_decoder(sd_tokenizer *t, const cJSON *item)
{
    return read_steps(t->json, item, "decoder", "decoders", decoder_leaf, t->decoder, &t->n_decoder);
}

/* The ids of a SpecialToken of the template, to the end of `ids`. */
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
        st = tok_refuse(t->json, piece, "post_processor: '%s' has no list of ids in 'special_tokens'", name);
        goto out;
    }
    cJSON_ArrayForEach(id, list) {
        if (*count == TOK_STEPS) {
            st = tok_refuse(t->json, piece, "post_processor adds more than %d ids", TOK_STEPS);
            goto out;
        }
        SD_TRY(st, tok_id(t->json, id, list, "post_processor", t->vocabulary, &ids[*count]));
        ++*count;
    }
out:
    return st;
}

sd_status tok_read_template(sd_tokenizer *t, const cJSON *post)
{
    static const char *const known[] = {"type", "single", "pair", "special_tokens"};
    const cJSON *single, *piece, *special, *sequence;
    const char *type, *name;
    bool text_seen = false;
    sd_status st;

    if (post == NULL || cJSON_IsNull(post))
        return SD_OK;
    if (!cJSON_IsObject(post))
        return tok_refuse(t->json, post, "post_processor is not an object");
    SD_TRY(st, sd_json_text(t->json, post, "type", &type));
    if (strcmp(type, "TemplateProcessing") != 0) {
        st = tok_refuse(t->json, post, "post_processor '%s' is not understood; known is TemplateProcessing", type);
        goto out;
    }
    SD_TRY(st, tok_only(t->json, post, "post_processor", known, sizeof known / sizeof *known));
    single = cJSON_GetObjectItemCaseSensitive(post, "single");
    if (!cJSON_IsArray(single)) {
        st = tok_refuse(t->json, post, "post_processor: there is no list 'single'");
        goto out;
    }
    cJSON_ArrayForEach(piece, single) {
        special = cJSON_GetObjectItemCaseSensitive(piece, "SpecialToken");
        sequence = cJSON_GetObjectItemCaseSensitive(piece, "Sequence");
        if (cJSON_IsObject(special)) {
            SD_TRY(st, template_ids(t, post, special, text_seen ? t->after : t->before,
                                    text_seen ? &t->n_after : &t->n_before));
            continue;
        }
        if (!cJSON_IsObject(sequence) || text_seen) {
            st = tok_refuse(t->json, piece, "post_processor: 'single' must hold SpecialToken entries and the Sequence "
                            "A once");
            goto out;
        }
        SD_TRY(st, sd_json_text(t->json, sequence, "id", &name));
        if (strcmp(name, "A") != 0) {
            st = tok_refuse(t->json, sequence, "post_processor: 'single' names Sequence '%s', not A", name);
            goto out;
        }
        text_seen = true;
    }
    if (!text_seen)
        st = tok_refuse(t->json, single, "post_processor: 'single' has no Sequence A, so no text would be left");
out:
    return st;
}

/* The members "normalizer", "pre_tokenizer" and "decoder" of tokenizer.json: lists of steps, each validated and read. */
#include <string.h>

#include "saediff/core/str.h"
#include "parts.h"

static sd_status take_text(const sd_json *json, const cJSON *item, const char *key, tok_step *step)
{
    sd_status st;

    SD_TRY(st, sd_json_text(json, item, key, &step->content));
    step->content_length = strlen(step->content);
out:
    return st;
}

static sd_status one_character(const sd_json *json, const cJSON *item, const tok_step *step, const char *type)
{
    if (step->content_length == 0 || sd_utf8_length(step->content, step->content_length) != step->content_length)
        return tok_fail(json, item, "%s: '%s' is not one character", type, step->content);
    return SD_OK;
}

/* The index of a word among `words`. */
static sd_status choose(const sd_json *json, const cJSON *item, const char *type, const char *key, const char *dflt,
                        const char *const *words, int count, int *which)
{
    const char *word;
    sd_status st;

    SD_TRY(st, sd_json_text_or(json, item, key, dflt, &word));
    for (*which = 0; *which < count; ++*which)
        if (strcmp(word, words[*which]) == 0)
            return SD_OK;
    st = tok_fail(json, item, "%s: %s '%s' is not supported", type, key, word);
out:
    return st;
}

/* Replace, in a normalizer or a decoder. */
static sd_status read_replace(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "pattern", "content"};
    sd_status st;

    step->kind = TOK_REPLACE;
    SD_TRY(st, tok_check_members(json, item, "Replace", known, sizeof known / sizeof *known));
    SD_TRY(st, take_text(json, item, "content", step));
    SD_TRY(st, tok_pattern_read(json, cJSON_GetObjectItemCaseSensitive(item, "pattern"), item, &step->pattern));
out:
    return st;
}

/* Metaspace, in a pre-tokenizer or a decoder; old files have add_prefix_space instead of prepend_scheme. */
static sd_status read_metaspace(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"};
    static const char *const schemes[] = {"always", "first", "never"};
    bool prefix;
    int which;
    sd_status st;

    step->kind = TOK_METASPACE;
    SD_TRY(st, tok_check_members(json, item, "Metaspace", known, sizeof known / sizeof *known));
    SD_TRY(st, take_text(json, item, "replacement", step));
    SD_TRY(st, one_character(json, item, step, "Metaspace"));
    SD_TRY(st, choose(json, item, "Metaspace", "prepend_scheme", "always", schemes, 3, &which));
    SD_TRY(st, sd_json_bool_or(json, item, "add_prefix_space", true, &prefix));
    SD_TRY(st, sd_json_bool_or(json, item, "split", true, &step->cut));
    if (!prefix && which != TOK_NEVER && cJSON_GetObjectItemCaseSensitive(item, "prepend_scheme") != NULL) {
        st = tok_fail(json, item, "Metaspace: add_prefix_space is false but prepend_scheme is '%s'", schemes[which]);
        goto out;
    }
    step->prepend = prefix ? (unsigned)which : TOK_NEVER;
    step->pattern = (tok_pattern){.kind = TOK_STRING, .text = step->content, .length = step->content_length};
    step->behavior = TOK_WITH_NEXT;
out:
    return st;
}

/* ---- normalizer */

static sd_status normalizer_leaf(const sd_json *json, const cJSON *item, const char *type, tok_step *step)
{
    static const char *const known[] = {"type", "prepend"};
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    sd_status st;

    if (strcmp(type, "Replace") == 0)
        return read_replace(json, item, step);
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(type, forms[i]) == 0) {
            step->kind = TOK_NFC + i;
            return tok_check_members(json, item, type, known, 1);
        }
    if (strcmp(type, "Prepend") != 0)
        return tok_fail(json, item, "normalizer '%s' is not supported; supported: NFC, NFD, NFKC, NFKD, Prepend, Replace and "
                        "Sequence", type);
    step->kind = TOK_PREPEND;
    SD_TRY(st, tok_check_members(json, item, "Prepend", known, sizeof known / sizeof *known));
    SD_TRY(st, take_text(json, item, "prepend", step));
out:
    return st;
}

/* ---- pre-tokenizer */

static const char *const behaviors[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
enum { BEHAVIORS = sizeof behaviors / sizeof *behaviors };

static sd_status read_split(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert"};
    int which;
    sd_status st;

    SD_TRY(st, tok_check_members(json, item, "Split", known, sizeof known / sizeof *known));
    SD_TRY(st, tok_pattern_read(json, cJSON_GetObjectItemCaseSensitive(item, "pattern"), item, &step->pattern));
    SD_TRY(st, choose(json, item, "Split", "behavior", "", behaviors, BEHAVIORS, &which));
    SD_TRY(st, sd_json_bool_or(json, item, "invert", false, &step->invert));
    step->behavior = (unsigned)which;
out:
    return st;
}

static sd_status read_digits(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "individual_digits"};
    bool each;
    sd_status st;

    SD_TRY(st, tok_check_members(json, item, "Digits", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_bool_or(json, item, "individual_digits", false, &each));
    step->pattern = (tok_pattern){.kind = TOK_PREDICATE, .is = tok_is_numeric};
    step->behavior = each ? TOK_ISOLATED : TOK_CONTIGUOUS;
out:
    return st;
}

static sd_status read_punctuation(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "behavior"};
    int which;
    sd_status st;

    SD_TRY(st, tok_check_members(json, item, "Punctuation", known, sizeof known / sizeof *known));
    SD_TRY(st, choose(json, item, "Punctuation", "behavior", "Isolated", behaviors, BEHAVIORS, &which));
    step->pattern = (tok_pattern){.kind = TOK_PREDICATE, .is = tok_is_punctuation};
    step->behavior = (unsigned)which;
out:
    return st;
}

static sd_status read_byte_level(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex"};
    sd_status st;

    step->kind = TOK_BYTE_LEVEL;
    SD_TRY(st, tok_check_members(json, item, "ByteLevel", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_bool_or(json, item, "add_prefix_space", true, &step->prefix));
    SD_TRY(st, sd_json_bool_or(json, item, "use_regex", true, &step->cut));
    step->pattern.kind = TOK_GPT2;
    step->behavior = TOK_ISOLATED;
out:
    return st;
}

static sd_status pre_leaf(const sd_json *json, const cJSON *item, const char *type, tok_step *step)
{
    static const char *const known[] = {"type"};

    step->kind = TOK_SPLIT;
    step->cut = true;
    if (strcmp(type, "Split") == 0)
        return read_split(json, item, step);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(json, item, step);
    if (strcmp(type, "Digits") == 0)
        return read_digits(json, item, step);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(json, item, step);
    if (strcmp(type, "Punctuation") == 0)
        return read_punctuation(json, item, step);
    step->behavior = TOK_REMOVED;
    if (strcmp(type, "Whitespace") == 0) {
        step->pattern.kind = TOK_WORDS;
        step->invert = true;
    } else if (strcmp(type, "WhitespaceSplit") == 0) {
        step->pattern = (tok_pattern){.kind = TOK_PREDICATE, .is = tok_is_space};
    } else {
        return tok_fail(json, item, "pre_tokenizer '%s' is not supported; supported: Split, ByteLevel, Digits, Metaspace, "
                        "Punctuation, Whitespace, WhitespaceSplit and Sequence", type);
    }
    return tok_check_members(json, item, type, known, 1);
}

/* ---- decoder */

static sd_status read_strip(const sd_json *json, const cJSON *item, tok_step *step)
{
    static const char *const known[] = {"type", "content", "start", "stop"};
    sd_status st;

    step->kind = TOK_STRIP;
    SD_TRY(st, tok_check_members(json, item, "Strip", known, sizeof known / sizeof *known));
    SD_TRY(st, take_text(json, item, "content", step));
    SD_TRY(st, one_character(json, item, step, "Strip"));
    SD_TRY(st, sd_json_u64(json, item, "start", &step->start));
    SD_TRY(st, sd_json_u64(json, item, "stop", &step->stop));
out:
    return st;
}

static sd_status decoder_leaf(const sd_json *json, const cJSON *item, const char *type, tok_step *step)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex"};
    sd_status st;

    if (strcmp(type, "Replace") == 0)
        return read_replace(json, item, step);
    if (strcmp(type, "Strip") == 0)
        return read_strip(json, item, step);
    if (strcmp(type, "Metaspace") == 0) {
        st = read_metaspace(json, item, step);
        step->kind = TOK_DECODE_METASPACE;
        return st;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        step->kind = TOK_DECODE_BYTES;
        return tok_check_members(json, item, type, known, sizeof known / sizeof *known);
    }
    if (strcmp(type, "ByteFallback") == 0)
        step->kind = TOK_BYTE_FALLBACK;
    else if (strcmp(type, "Fuse") == 0)
        step->kind = TOK_FUSE;
    else
        return tok_fail(json, item, "decoder '%s' is not supported; supported: ByteLevel, Replace, ByteFallback, Fuse, Strip, "
                        "Metaspace and Sequence", type);
    return tok_check_members(json, item, type, known, 1);
}

/* ---- lists */

typedef struct list {
    const char *what, *children; /* its name, and the key of a Sequence's list */
    sd_status (*leaf)(const sd_json *json, const cJSON *item, const char *type, tok_step *step);
} list;

static sd_status read_steps(const sd_json *json, const cJSON *item, const list *l, tok_steps *steps)
{
    const cJSON *entry;
    const char *type;
    sd_status st;

    if (item == NULL || cJSON_IsNull(item))
        return SD_OK;
    if (!cJSON_IsObject(item))
        return tok_fail(json, item, "%s is not an object", l->what);
    SD_TRY(st, sd_json_text(json, item, "type", &type));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *children = cJSON_GetObjectItemCaseSensitive(item, l->children);

        if (!cJSON_IsArray(children)) {
            st = tok_fail(json, item, "%s: a Sequence without the list '%s'", l->what, l->children);
            goto out;
        }
        cJSON_ArrayForEach(entry, children)
            SD_TRY(st, read_steps(json, entry, l, steps));
        goto out;
    }
    if (steps->count == TOK_STEPS) {
        st = tok_fail(json, item, "%s has more than %d steps", l->what, TOK_STEPS);
        goto out;
    }
    SD_TRY(st, l->leaf(json, item, type, &steps->at[steps->count]));
    steps->count++;
out:
    return st;
}

sd_status tok_read_normalizer(sd_tokenizer *t, const cJSON *item)
{
    return read_steps(t->json, item, &(list){"normalizer", "normalizers", normalizer_leaf}, &t->normalizer);
}

sd_status tok_read_pre(sd_tokenizer *t, const cJSON *item)
{
    return read_steps(t->json, item, &(list){"pre_tokenizer", "pretokenizers", pre_leaf}, &t->pre);
}

sd_status tok_read_decoder(sd_tokenizer *t, const cJSON *item)
{
    return read_steps(t->json, item, &(list){"decoder", "decoders", decoder_leaf}, &t->decoder);
}

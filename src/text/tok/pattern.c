/* Matches of a pattern: known regexes by hand-written scanners (scan.c), others by Oniguruma as in the reference library, strings,
 * characters. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "parts.h"

/* Backtracking steps in one match, and in one search, after which matching fails. */
enum { MAX_RETRIES = 10 * 1000 * 1000 };

static const struct {
    const char *text;
    int kind;
} known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", TOK_GPT2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+", TOK_LLAMA3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+", TOK_QWEN},
};

static sd_status compile(const sd_json *json, const cJSON *parent, tok_pattern *pattern)
{
    const OnigUChar *text = (const OnigUChar *)pattern->text;
    OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN] = "";
    OnigErrorInfo info;
    int code;

    tok_class('a'); /* initialises the engine */
    code = onig_new(&pattern->regex, text, text + pattern->length, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_ONIGURUMA,
                    &info);
    if (code == ONIG_NORMAL)
        return SD_OK;
    pattern->regex = NULL;
    onig_error_code_to_str(why, code, &info);
    return tok_fail(json, parent, "the pattern '%s' is not supported: %s", pattern->text, (const char *)why);
}

sd_status tok_pattern_read(const sd_json *json, const cJSON *item, const cJSON *parent, tok_pattern *pattern)
{
    const cJSON *member = cJSON_IsObject(item) ? item->child : NULL;
    const char *kind = member != NULL ? member->string : "?";
    sd_status st;

    if (member == NULL || member->next != NULL || (strcmp(kind, "Regex") != 0 && strcmp(kind, "String") != 0))
        return tok_fail(json, item != NULL ? item : parent, "pattern '%s' is not supported; supported: Regex and String", kind);
    SD_TRY(st, sd_json_text(json, item, kind, &pattern->text));
    pattern->length = strlen(pattern->text);
    pattern->kind = strcmp(kind, "Regex") == 0 ? TOK_REGEX : TOK_STRING;
    if (pattern->length == 0) {
        st = tok_fail(json, member, "the pattern is empty");
        goto out;
    }
    for (size_t i = 0; pattern->kind == TOK_REGEX && i < sizeof known / sizeof *known; i++)
        if (strcmp(pattern->text, known[i].text) == 0)
            pattern->kind = (unsigned)known[i].kind;
    if (pattern->kind == TOK_REGEX)
        st = compile(json, member, pattern);
out:
    return st;
}

void tok_pattern_close(tok_pattern *pattern)
{
    if (pattern->regex != NULL)
        onig_free(pattern->regex);
    pattern->regex = NULL;
}

/* Adds the match and the range before it, from *done on. */
static sd_status add_match(tok_ranges *out, uint64_t *done, uint64_t first, uint64_t end)
{
    sd_status st = SD_OK;

    if (*done != first)
        SD_TRY(st, tok_ranges_add(out, *done, first, false));
    SD_TRY(st, tok_ranges_add(out, first, end, true));
    *done = end;
out:
    return st;
}

static sd_status search(const tok_pattern *p, OnigMatchParam *limits, OnigRegion *region, const char *bytes, uint64_t count,
                        uint64_t from, bool *found)
{
    const OnigUChar *text = (const OnigUChar *)bytes;
    OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN] = "";
    int at = onig_search_with_param(p->regex, text, text + count, text + from, text + count, region, ONIG_OPTION_NONE, limits);

    *found = at >= 0;
    if (at >= 0 || at == ONIG_MISMATCH)
        return SD_OK;
    onig_error_code_to_str(why, at);
    return SD_FAIL(SD_E_DATA, "the pattern '%s' fails at byte %llu of a text of %llu bytes: %s", p->text, (unsigned long long)from,
                   (unsigned long long)count, (const char *)why);
}

/* An empty match right after a match is ignored, and the search continues one character later. */
static sd_status cut_by_regex(const tok_pattern *p, const char *bytes, uint64_t count, tok_ranges *out, uint64_t *done)
{
    OnigMatchParam *limits = onig_new_match_param();
    OnigRegion *region = onig_region_new();
    uint64_t at = 0, last = UINT64_MAX, length;
    bool found = true;
    sd_status st = SD_OK;

    if (limits == NULL || region == NULL) {
        st = SD_FAIL(SD_E_ENV, "out of memory for a pattern search");
        goto out;
    }
    onig_set_retry_limit_in_match_of_match_param(limits, MAX_RETRIES);
    onig_set_retry_limit_in_search_of_match_param(limits, MAX_RETRIES);
    while (found && at <= count) {
        SD_TRY(st, search(p, limits, region, bytes, count, at, &found));
        if (!found)
            break;
        if (region->beg[0] == region->end[0] && (uint64_t)region->end[0] == last) {
            length = 1;
            if (at < count)
                tok_code_point(bytes + at, &length);
            at += length;
            continue;
        }
        at = last = (uint64_t)region->end[0];
        SD_TRY(st, add_match(out, done, (uint64_t)region->beg[0], at));
    }
out:
    if (limits != NULL)
        onig_free_match_param(limits);
    if (region != NULL)
        onig_region_free(region, 1);
    return st;
}

static sd_status cut_by_string(const tok_pattern *p, const char *bytes, uint64_t count, tok_ranges *out, uint64_t *done)
{
    sd_status st = SD_OK;

    for (uint64_t at = 0; at < count;) {
        const char *found = memchr(bytes + at, p->text[0], count - at);

        if (found == NULL)
            break;
        at = (uint64_t)(found - bytes);
        if (count - at < p->length || memcmp(found, p->text, p->length) != 0) {
            at++;
            continue;
        }
        SD_TRY(st, add_match(out, done, at, at + p->length));
        at += p->length;
    }
out:
    return st;
}

/* One range for each character that satisfies the predicate. */
static sd_status cut_by_predicate(const tok_pattern *p, const char *bytes, uint64_t count, tok_ranges *out, uint64_t *done)
{
    sd_status st = SD_OK;

    for (uint64_t at = 0, length; at < count; at += length)
        if (p->is(tok_code_point(bytes + at, &length)))
            SD_TRY(st, add_match(out, done, at, at + length));
out:
    return st;
}

/* \w+|[^\w\s]+ */
static sd_status cut_by_words(const char *bytes, uint64_t count, tok_ranges *out, uint64_t *done)
{
    enum { NO, WORD, SIGNS } now = NO, next;
    uint64_t first = 0, length;
    sd_status st = SD_OK;

    for (uint64_t at = 0; at <= count; at += length) {
        uint32_t point = ' ';

        length = 1;
        if (at < count)
            point = tok_code_point(bytes + at, &length);
        next = tok_is_word(point) ? WORD : tok_is_space(point) ? NO : SIGNS;
        if (next == now)
            continue;
        if (now != NO)
            SD_TRY(st, add_match(out, done, first, at));
        first = at;
        now = next;
    }
out:
    return st;
}

static sd_status cut_by_scan(const tok_pattern *p, const char *bytes, uint64_t count, tok_ranges *out, uint64_t *done)
{
    sd_status st = SD_OK;

    for (uint64_t at = 0, end; at < count; at = end) {
        end = p->kind == TOK_GPT2 ? tok_scan_gpt2(bytes, count, at) : tok_scan_llama3(bytes, count, at, p->kind == TOK_QWEN ? 1 : 3);
        SD_TRY(st, add_match(out, done, at, end));
    }
out:
    return st;
}

sd_status tok_pattern_cut(const tok_pattern *p, const char *bytes, uint64_t count, tok_ranges *out)
{
    uint64_t done = 0;
    sd_status st = SD_OK;

    out->count = 0;
    switch (p->kind) {
    case TOK_REGEX:
        st = cut_by_regex(p, bytes, count, out, &done);
        break;
    case TOK_STRING:
        st = cut_by_string(p, bytes, count, out, &done);
        break;
    case TOK_PREDICATE:
        st = cut_by_predicate(p, bytes, count, out, &done);
        break;
    case TOK_WORDS:
        st = cut_by_words(bytes, count, out, &done);
        break;
    case TOK_GPT2:
    case TOK_LLAMA3:
    case TOK_QWEN:
        st = cut_by_scan(p, bytes, count, out, &done);
        break;
    }
    if (st == SD_OK && done != count)
        st = tok_ranges_add(out, done, count, false);
    return st;
}

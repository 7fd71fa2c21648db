/* Opens tokenizer.json: the whole file is validated here, so that encoding meets no unexpected value. */
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

sd_status tok_fail(const sd_json *json, const cJSON *item, const char *format, ...)
{
    char what[SD_ERROR_TEXT];
    uint64_t line, column;
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    sd_json_location(json, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: %s", json->name, (unsigned long long)line, (unsigned long long)column,
                   what);
}

sd_status tok_check_members(const sd_json *json, const cJSON *object, const char *what, const char *const *known,
                            uint64_t count)
{
    const cJSON *member;

    if (!cJSON_IsObject(object))
        return tok_fail(json, object, "%s is not an object", what);
    cJSON_ArrayForEach(member, object) {
        uint64_t i = 0;

        while (i < count && strcmp(member->string, known[i]) != 0)
            i++;
        if (i == count)
            return tok_fail(json, member, "%s: member '%s' is not supported, and could change the ids; remove it "
                            "if it has no effect", what, member->string);
    }
    return SD_OK;
}

sd_status tok_id(const sd_json *json, const cJSON *item, const cJSON *parent, const char *what, uint64_t limit,
                 int32_t *id)
{
    double value = cJSON_IsNumber(item) ? item->valuedouble : -1;

    if (!(value >= 0 && value < (double)limit) || value != (double)(uint64_t)value)
        return tok_fail(json, item != NULL ? item : parent, "%s: the id must be a whole number from 0 to %llu", what,
                        (unsigned long long)(limit - 1));
    *id = (int32_t)value;
    return SD_OK;
}

static sd_status read_file(sd_tokenizer *t)
{
    static const char *const known[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                        "pre_tokenizer", "post_processor", "decoder", "model"};
    const sd_json *json = t->json;
    const cJSON *root = json->root, *item, *added;
    const char *version;
    uint64_t entries;
    sd_status st;

    SD_TRY(st, tok_check_members(json, root, "tokenizer.json", known, sizeof known / sizeof *known));
    SD_TRY(st, sd_json_text(json, root, "version", &version));
    if (strcmp(version, "1.0") != 0) {
        st = tok_fail(json, cJSON_GetObjectItemCaseSensitive(root, "version"),
                      "version '%s' is not supported; it must be '1.0'", version);
        goto out;
    }
    item = cJSON_GetObjectItemCaseSensitive(root, "truncation");
    if (item != NULL && !cJSON_IsNull(item))
        sd_warn("%s: its 'truncation' is ignored; tokenize.context truncates documents", json->name);
    added = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    if (cJSON_IsNull(added))
        added = NULL;
    if (added != NULL && !cJSON_IsArray(added)) {
        st = tok_fail(json, added, "'added_tokens' is not a list");
        goto out;
    }
    SD_TRY(st, tok_read_model(t, cJSON_GetObjectItemCaseSensitive(root, "model"),
                              added == NULL ? 0 : (uint64_t)cJSON_GetArraySize(added), &entries));
    SD_TRY(st, tok_read_normalizer(t, cJSON_GetObjectItemCaseSensitive(root, "normalizer")));
    SD_TRY(st, tok_read_pre(t, cJSON_GetObjectItemCaseSensitive(root, "pre_tokenizer")));
    SD_TRY(st, tok_find_whole(t));
    SD_TRY(st, tok_read_added(t, added, entries));
    SD_TRY(st, tok_read_decoder(t, cJSON_GetObjectItemCaseSensitive(root, "decoder")));
    SD_TRY(st, tok_read_post(t, cJSON_GetObjectItemCaseSensitive(root, "post_processor")));
out:
    return st;
}

/* The file that sd_tokenizer_open() reads: tokenizer.json, or tokenizer.model where only that exists. *path: sd_free(). */
static sd_status find_source(const char *model_dir, char **path, bool *sentencepiece)
{
    char *other = NULL;
    sd_status st;

    SD_TRY(st, sd_path_join(path, model_dir, "tokenizer.json"));
    SD_TRY(st, sd_path_join(&other, model_dir, "tokenizer.model"));
    *sentencepiece = !sd_file_exists(*path) && sd_file_exists(other);
    if (*sentencepiece) {
        sd_free(*path);
        *path = other;
        other = NULL;
    }
out:
    sd_free(other);
    return st;
}

static sd_status read_source(sd_tokenizer *t, const char *model_dir)
{
    char *path = NULL, *text = NULL;
    bool sentencepiece;
    uint64_t length;
    sd_status st;

    SD_TRY(st, find_source(model_dir, &path, &sentencepiece));
    if (sentencepiece) {
        SD_TRY(st, tok_from_sentencepiece(path, &text, &length));
        SD_TRY(st, sd_json_parse(&t->json, path, text, length));
    } else {
        SD_TRY(st, sd_json_open(&t->json, path, FILE_LIMIT));
    }
    SD_TRY(st, sd_file_sha256(path, t->sha256));
out:
    sd_free(path);
    sd_free(text);
    return st;
}

sd_status sd_tokenizer_digest(const char *model_dir, char hex[SD_SHA256_HEX])
{
    char *path = NULL;
    bool sentencepiece;
    sd_status st;

    SD_TRY(st, find_source(model_dir, &path, &sentencepiece));
    SD_TRY(st, sd_file_sha256(path, hex));
out:
    sd_free(path);
    return st;
}

/* tokenizer_config.json belongs to transformers and is not used; its BOS setting is only compared. */
static sd_status compare_config(const sd_tokenizer *t, const char *model_dir)
{
    sd_json *config = NULL;
    const cJSON *adds;
    char *path = NULL;
    sd_status st;

    SD_TRY(st, sd_path_join(&path, model_dir, "tokenizer_config.json"));
    if (!sd_file_exists(path) || sd_json_open(&config, path, FILE_LIMIT) != SD_OK)
        goto out;
    adds = cJSON_GetObjectItemCaseSensitive(config->root, "add_bos_token");
    if (cJSON_IsBool(adds) && (bool)cJSON_IsTrue(adds) != (t->bos >= 0))
        sd_warn("%s: add_bos_token is %s, but %s adds %s%s; the latter is used", path, cJSON_IsTrue(adds) ? "true" : "false", t->json->name,
                t->bos >= 0 ? "" : "none", t->bos >= 0 ? t->piece[t->bos] : "");
out:
    sd_json_close(&config);
    sd_free(path);
    return st;
}

sd_status sd_tokenizer_open(sd_tokenizer **tokenizer, const char *model_dir)
{
    sd_tokenizer *t = NULL;
    sd_status st;

    *tokenizer = NULL;
    SD_TRY(st, SD_NEW(&t, 1));
    SD_TRY(st, read_source(t, model_dir));
    SD_TRY(st, read_file(t));
    SD_TRY(st, compare_config(t, model_dir));
    *tokenizer = t;
    t = NULL;
out:
    sd_tokenizer_close(&t);
    return st;
}

static void close_steps(tok_steps *steps)
{
    for (uint64_t i = 0; i < TOK_STEPS; i++)
        tok_pattern_close(&steps->at[i].pattern);
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
    sd_free(t->extra.slot);
    sd_free(t->piece_length);
    sd_free(t->whole);
    sd_free(t->merges.slot);
    sd_free(t->merges.result);
    tok_search_free(&t->raw);
    tok_search_free(&t->normalized);
    close_steps(&t->normalizer);
    close_steps(&t->pre);
    close_steps(&t->decoder);
    sd_json_close(&t->json);
    sd_free(t);
}

int32_t sd_tokenizer_find(const sd_tokenizer *t, const char *bytes, uint64_t length)
{
    int32_t id = tok_find_in(t, &t->extra, bytes, length);

    return id >= 0 ? id : tok_find(t, bytes, length);
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
    return t->bos;
}

const char *sd_tokenizer_sha256(const sd_tokenizer *t)
{
    return t->sha256;
}

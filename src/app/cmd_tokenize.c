/* `saediff tokenize --model DIR`: ids of texts, texts of ids. One rank works. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/text/tokenizer.h"

#define FILE_LIMIT ((uint64_t)1 << 32)

static sd_status print_ids(const sd_tokenizer *tokenizer, const char *text, uint64_t length, bool special)
{
    sd_encoding encoding = {0};
    sd_status st;

    SD_TRY(st, sd_tokenizer_encode(tokenizer, text, length, special, &encoding));
    putchar('[');
    for (uint64_t i = 0; i < encoding.count; i++)
        printf("%s%d", i ? ", " : "", encoding.ids[i]);
    puts("]");
out:
    sd_encoding_free(&encoding);
    return st;
}

/* Every line is a document, also an empty one, so that output lines match input lines. */
static sd_status print_lines(const sd_tokenizer *tokenizer, const app_options *o)
{
    static const char mark[] = "\xef\xbb\xbf";
    char *text = NULL;
    uint64_t size, at = 0;
    sd_status st;

    SD_TRY(st, sd_file_read(o->lines, (uint64_t)1 << 34, &text, &size));
    if (size >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0)
        at = sizeof mark - 1;
    while (at < size) {
        const char *end = memchr(text + at, '\n', size - at);
        uint64_t length = end != NULL ? (uint64_t)(end - text) - at : size - at;

        SD_TRY(st, print_ids(tokenizer, text + at, length - (length > 0 && text[at + length - 1] == '\r'), !o->no_special));
        at += length + 1;
    }
out:
    sd_free(text);
    return st;
}

/* ---- JSON in, JSON out */

static sd_status print_encoding(const sd_tokenizer *tokenizer, const sd_json *json, const cJSON *item, bool special)
{
    const char *text = cJSON_GetStringValue(item);
    uint64_t line, column;
    sd_encoding e = {0};
    sd_status st;

    if (text == NULL) {
        sd_json_location(json, item, &line, &column);
        return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: not a string", json->name, (unsigned long long)line, (unsigned long long)column);
    }
    SD_TRY(st, sd_tokenizer_encode(tokenizer, text, strlen(text), special, &e));
    printf("{\"ids\":[");
    for (uint64_t i = 0; i < e.count; i++)
        printf("%s%d", i ? "," : "", e.ids[i]);
    printf("],\"spans\":[");
    for (uint64_t i = 0; i < e.count; i++)
        printf("%s[%llu,%llu]", i ? "," : "", (unsigned long long)e.span[2 * i], (unsigned long long)e.span[2 * i + 1]);
    puts("]}");
out:
    sd_encoding_free(&e);
    return st;
}

static sd_status print_decoded(const sd_tokenizer *tokenizer, const sd_json *json, const cJSON *list)
{
    uint64_t count = 0, line, column;
    int32_t *ids = NULL;
    char *text = NULL, *quoted = NULL;
    const cJSON *item;
    cJSON *value = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&ids, (uint64_t)cJSON_GetArraySize(list) + 1));
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsArray(list) || !cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= INT32_MAX)) {
            sd_json_location(json, item, &line, &column);
            st = SD_FAIL(SD_E_DATA, "%s:%llu:%llu: not a token id", json->name, (unsigned long long)line, (unsigned long long)column);
            goto out;
        }
        ids[count++] = (int32_t)item->valuedouble;
    }
    SD_TRY(st, sd_tokenizer_decode(tokenizer, ids, count, true, &text));
    value = cJSON_CreateString(text);
    quoted = value != NULL ? cJSON_PrintUnformatted(value) : NULL;
    if (quoted == NULL)
        st = SD_FAIL(SD_E_ENV, "out of memory for a text of %zu bytes", strlen(text));
    else
        puts(quoted);
out:
    cJSON_Delete(value);
    cJSON_free(quoted);
    sd_free(text);
    sd_free(ids);
    return st;
}

static sd_status print_json(const sd_tokenizer *tokenizer, const app_options *o)
{
    sd_json *json = NULL;
    const cJSON *item;
    sd_status st;

    SD_TRY(st, sd_json_open(&json, o->json != NULL ? o->json : o->decode, FILE_LIMIT));
    if (!cJSON_IsArray(json->root)) {
        st = SD_FAIL(SD_E_DATA, "%s: not a JSON list", json->name);
        goto out;
    }
    cJSON_ArrayForEach(item, json->root)
        SD_TRY(st, o->json != NULL ? print_encoding(tokenizer, json, item, !o->no_special) : print_decoded(tokenizer, json, item));
out:
    sd_json_close(&json);
    return st;
}

/* ---- chats */

sd_status app_chats_open(const app_options *o, const sd_tokenizer *tokenizer, app_chats *chats)
{
    const cJSON *item;
    sd_status st;

    SD_TRY(st, sd_json_open(&chats->json, o->chat, FILE_LIMIT));
    SD_TRY(st, SD_NEW(&chats->chat, (uint64_t)cJSON_GetArraySize(chats->json->root) + 1));
    if (!cJSON_IsArray(chats->json->root)) {
        st = SD_FAIL(SD_E_DATA, "%s: neither a JSON list of messages nor a list of such lists", o->chat);
        goto out;
    }
    if (cJSON_IsObject(chats->json->root->child))
        chats->chat[chats->n++] = chats->json->root;
    else
        cJSON_ArrayForEach(item, chats->json->root)
            chats->chat[chats->n++] = item;
    st = sd_chat_open(&chats->encoder, tokenizer,
                      &(sd_chat_spec){.model_dir = o->model, .file = o->template_file, .date = o->date ? o->date : "2024-07-26", .templates = true});
out:
    return st;
}

void app_chats_close(app_chats *chats)
{
    sd_chat_close(&chats->encoder);
    sd_free(chats->chat);
    sd_json_close(&chats->json);
}

static sd_status print_chat(const sd_chat *chat)
{
    sd_str s = {0};
    sd_status st;

    sd_str_add(&s, "{\"text\":");
    sd_json_quote(&s, chat->text);
    sd_str_add(&s, ",\"ids\":[");
    for (uint64_t i = 0; i < chat->tokens.count; i++)
        sd_str_add(&s, "%s%d", i ? "," : "", chat->tokens.ids[i]);
    sd_str_add(&s, "],\"roles\":[");
    for (uint64_t i = 0; i < chat->tokens.count; i++)
        sd_str_add(&s, "%s%u", i ? "," : "", chat->role[i]);
    sd_str_add(&s, "],\"positions\":[");
    for (int i = 0; i < SD_POSITIONS; i++)
        sd_str_add(&s, "%s%d", i ? "," : "", chat->position[i]);
    sd_str_add(&s, "]}");
    st = s.status;
    if (st == SD_OK)
        puts(s.text);
    sd_str_free(&s);
    return st;
}

/* A chat that the template rejects gives an error line; the others are printed. */
static sd_status print_chats(const sd_tokenizer *tokenizer, const app_options *o)
{
    app_chats chats = {0};
    sd_status st;

    SD_TRY(st, app_chats_open(o, tokenizer, &chats));
    for (uint64_t i = 0; i < chats.n; i++) {
        sd_chat chat = {0};
        sd_str s = {0};

        st = sd_chat_encode(chats.encoder, SD_TEMPLATED, chats.chat[i], &chat);
        if (st == SD_E_DATA) {
            sd_str_add(&s, "{\"error\":");
            sd_json_quote(&s, sd_last_error());
            sd_str_add(&s, "}");
            st = s.status;
            if (st == SD_OK)
                puts(s.text);
            sd_str_free(&s);
        } else if (st == SD_OK) {
            st = print_chat(&chat);
        }
        sd_chat_free(&chat);
        SD_TRY(st, st);
    }
out:
    app_chats_close(&chats);
    return st;
}

static sd_status tokenize_here(const app_options *o)
{
    sd_tokenizer *tokenizer = NULL;
    char *text = NULL;
    uint64_t length;
    sd_status st;

    if ((o->text != NULL) + (o->file != NULL) + (o->lines != NULL) + (o->json != NULL) + (o->decode != NULL) + (o->chat != NULL) != 1)
        return SD_FAIL(SD_E_USAGE, "tokenize --model needs one of --text, --file, --lines, --json, --decode and --chat");
    SD_TRY(st, sd_tokenizer_open(&tokenizer, o->model));
    if (o->text != NULL) {
        st = print_ids(tokenizer, o->text, strlen(o->text), !o->no_special);
    } else if (o->file != NULL) {
        SD_TRY(st, sd_file_read(o->file, FILE_LIMIT, &text, &length));
        st = print_ids(tokenizer, text, length, !o->no_special);
    } else if (o->chat != NULL) {
        st = print_chats(tokenizer, o);
    } else if (o->lines != NULL) {
        st = print_lines(tokenizer, o);
    } else {
        st = print_json(tokenizer, o);
    }
out:
    sd_free(text);
    sd_tokenizer_close(&tokenizer);
    return st;
}

sd_status cmd_tokenize(const sd_par *par, const app_command *command, const app_options *options)
{
    if (options->operand != NULL && options->model != NULL)
        return SD_FAIL(SD_E_USAGE, "tokenize takes a job file or --model, not both");
    if (options->operand != NULL)
        return cmd_job(par, command, options);
    if (options->model == NULL)
        return SD_FAIL(SD_E_USAGE, "tokenize needs a job file, or --model DIR and a text");
    return sd_par_agree(par, par->rank == 0 ? tokenize_here(options) : SD_OK);
}

/* `saediff tokenize --model DIR`: ids of texts, texts of ids. One rank works. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/text/dataset.h"
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

static sd_status print_lines(const sd_tokenizer *tokenizer, const app_options *o)
{
    sd_dataset *dataset = NULL;
    sd_document doc;
    bool end;
    sd_status st;

    SD_TRY(st, sd_dataset_open(&dataset, &(sd_dataset_spec){.paths = &o->lines, .n_paths = 1, .format = "text", .separator = "\n"}));
    for (;;) {
        SD_TRY(st, sd_dataset_next(dataset, &doc, &end));
        if (end)
            break;
        SD_TRY(st, print_ids(tokenizer, doc.text, doc.length, !o->no_special));
    }
out:
    sd_dataset_close(&dataset);
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
        sd_json_place(json, item, &line, &column);
        return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: not a text", json->name, (unsigned long long)line, (unsigned long long)column);
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
            sd_json_place(json, item, &line, &column);
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

static sd_status tokenize_here(const app_options *o)
{
    sd_tokenizer *tokenizer = NULL;
    char *text = NULL;
    uint64_t length;
    sd_status st;

    if ((o->text != NULL) + (o->file != NULL) + (o->lines != NULL) + (o->json != NULL) + (o->decode != NULL) != 1)
        return SD_FAIL(SD_E_USAGE, "tokenize --model wants one of --text, --file, --lines, --json and --decode");
    SD_TRY(st, sd_tokenizer_open(&tokenizer, o->model));
    if (o->text != NULL) {
        st = print_ids(tokenizer, o->text, strlen(o->text), !o->no_special);
    } else if (o->file != NULL) {
        SD_TRY(st, sd_file_read(o->file, FILE_LIMIT, &text, &length));
        st = print_ids(tokenizer, text, length, !o->no_special);
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
        return SD_FAIL(SD_E_USAGE, "tokenize wants a job file, or --model DIR and a text");
    return sd_par_agree(par, par->rank == 0 ? tokenize_here(options) : SD_OK);
}

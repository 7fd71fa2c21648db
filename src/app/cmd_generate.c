/* generate: prompts continued by a model. One rank works. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/model/generate.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/text/tokenizer.h"

typedef struct texts {
    sd_json *json;     /* of --prompts */
    const char **text; /* [n] */
    uint64_t n;
} texts;

static sd_status read_texts(const app_options *o, texts *t)
{
    const cJSON *item;
    sd_status st = SD_OK;

    if ((o->prompt != NULL) + (o->prompts != NULL) + (o->chat != NULL) != 1)
        return SD_FAIL(SD_E_USAGE, "generate needs one of --prompt TEXT, --prompts FILE and --chat FILE");
    if (o->chat != NULL)
        return SD_OK;
    if (o->prompt != NULL) {
        SD_TRY(st, SD_NEW(&t->text, 1));
        t->text[t->n++] = o->prompt;
        goto out;
    }
    SD_TRY(st, sd_json_open(&t->json, o->prompts, (uint64_t)1 << 30));
    if (!cJSON_IsArray(t->json->root)) {
        st = SD_FAIL(SD_E_DATA, "%s is not a JSON list of prompts", o->prompts);
        goto out;
    }
    SD_TRY(st, SD_NEW(&t->text, (uint64_t)cJSON_GetArraySize(t->json->root)));
    cJSON_ArrayForEach(item, t->json->root)
    {
        uint64_t line, column;

        if (!cJSON_IsString(item)) {
            sd_json_location(t->json, item, &line, &column);
            st = SD_FAIL(SD_E_DATA, "%s:%llu:%llu: a prompt must be a string", o->prompts, (unsigned long long)line, (unsigned long long)column);
            goto out;
        }
        t->text[t->n++] = item->valuestring;
    }
out:
    return st;
}

static sd_status number(const char *option, const char *text, double dflt, double *out)
{
    *out = dflt;
    if (text != NULL && (!sd_str_to_f64(text, out) || !isfinite(*out)))
        return SD_FAIL(SD_E_USAGE, "%s is '%s'; it must be a number", option, text);
    return SD_OK;
}

static sd_status count(const char *option, const char *text, uint64_t dflt, uint64_t *out)
{
    *out = dflt;
    if (text != NULL && !sd_str_to_u64(text, out))
        return SD_FAIL(SD_E_USAGE, "%s is '%s'; it must be a whole number, 0 or more", option, text);
    return SD_OK;
}

static sd_status read_sampling(const app_options *o, sd_sampling *how, uint64_t *max_tokens)
{
    sd_status st;

    SD_TRY(st, number("--temperature", o->temperature, 0, &how->temperature));
    SD_TRY(st, number("--top-p", o->top_p, 1, &how->top_p));
    SD_TRY(st, number("--min-p", o->min_p, 0, &how->min_p));
    SD_TRY(st, count("--top-k", o->top_k, 0, &how->top_k));
    SD_TRY(st, count("--seed", o->seed, 0, &how->seed));
    SD_TRY(st, count("--max-tokens", o->max_tokens, 128, max_tokens));
    if (how->temperature == 0 && (o->top_k != NULL || o->top_p != NULL || o->min_p != NULL))
        st = SD_FAIL(SD_E_USAGE, "--top-k, --top-p and --min-p apply to sampling only; add --temperature");
out:
    return st;
}

/* Prompt and continuation are decoded as one text, since decoding a token depends on the tokens before it. */
static sd_status decode(const sd_tokenizer *tokenizer, const sd_prompt *prompt, const sd_continuation *c, char **text)
{
    int32_t *ids = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&ids, prompt->count + c->count));
    memcpy(ids, prompt->ids, prompt->count * sizeof *ids);
    memcpy(ids + prompt->count, c->ids, c->count * sizeof *ids);
    st = sd_tokenizer_decode(tokenizer, ids, prompt->count + c->count, true, text);
out:
    sd_free(ids);
    return st;
}

/* One JSON object per line: the new ids, the whole text, and the stop reason. */
static sd_status print_line(const sd_continuation *c, const char *text)
{
    sd_str s = {0};
    sd_status st;

    sd_str_add(&s, "{\"ids\": [");
    for (uint64_t i = 0; i < c->count; i++)
        sd_str_add(&s, "%s%d", i > 0 ? ", " : "", c->ids[i]);
    sd_str_add(&s, "], \"text\": ");
    sd_json_quote(&s, text);
    sd_str_add(&s, ", \"stop\": ");
    if (c->stop >= 0)
        sd_str_add(&s, "%d}", c->stop);
    else
        sd_str_add(&s, "null}");
    st = s.status;
    if (st == SD_OK)
        puts(s.text);
    sd_str_free(&s);
    return st;
}

static sd_status print_all(const sd_tokenizer *tokenizer, const sd_prompt *prompts, const sd_continuation *out, uint64_t n, bool lines)
{
    char *text = NULL;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < n; i++) {
        SD_TRY(st, decode(tokenizer, &prompts[i], &out[i], &text));
        if (lines)
            SD_TRY(st, print_line(&out[i], text));
        else
            puts(text);
        sd_free(text);
        text = NULL;
    }
out:
    sd_free(text);
    return st;
}

/* The ids of prompts; of chats up to the header of the answer. */
static sd_status encode_all(const app_options *o, const sd_tokenizer *tokenizer, texts *t, app_chats *chats, sd_encoding **encodings)
{
    sd_status st;

    if (o->chat != NULL) {
        SD_TRY(st, app_chats_open(o, tokenizer, chats));
        t->n = chats->n;
    }
    SD_TRY(st, SD_NEW(encodings, t->n));
    for (uint64_t i = 0; i < t->n; i++) {
        sd_chat chat = {0};

        if (o->chat == NULL) {
            SD_TRY(st, sd_tokenizer_encode(tokenizer, t->text[i], strlen(t->text[i]), true, &(*encodings)[i]));
            continue;
        }
        SD_TRY(st, sd_chat_encode(chats->encoder, SD_TEMPLATED, chats->chat[i], &chat));
        (*encodings)[i] = chat.tokens;
        chat.tokens = (sd_encoding){0};
        sd_chat_free(&chat);
    }
out:
    return st;
}

static sd_status generate_here(const sd_par *par, const app_options *o)
{
    sd_tokenizer *tokenizer = NULL;
    sd_encoding *encodings = NULL;
    sd_prompt *prompts = NULL;
    sd_continuation *out = NULL;
    sd_sampling how;
    sd_model_config config;
    sd_model *model = NULL;
    int32_t *stop = NULL;
    sd_dev *dev = NULL;
    texts t = {0};
    app_chats chats = {0};
    uint64_t n_stop = 0, max_tokens = 0, longest = 1;
    int threads;
    sd_status st;

    if (o->model == NULL)
        return SD_FAIL(SD_E_USAGE, "generate needs --model DIR");
    SD_TRY(st, read_sampling(o, &how, &max_tokens));
    SD_TRY(st, read_texts(o, &t));
    SD_TRY(st, sd_tokenizer_open(&tokenizer, o->model));
    SD_TRY(st, encode_all(o, tokenizer, &t, &chats, &encodings));
    SD_TRY(st, SD_NEW(&prompts, t.n));
    SD_TRY(st, SD_NEW(&out, t.n));
    for (uint64_t i = 0; i < t.n; i++) {
        prompts[i] = (sd_prompt){encodings[i].ids, encodings[i].count};
        longest = prompts[i].count > longest ? prompts[i].count : longest;
    }
    SD_TRY(st, sd_model_config_read(&config, o->model));
    longest = longest < config.context ? longest : config.context; /* no memory for rows of a prompt that is refused */
    SD_TRY(st, sd_generate_stops(o->model, &stop, &n_stop));
    SD_TRY(st, app_open_device(par, o, &dev, &threads));
    SD_TRY(st, sd_model_open(&model, dev, o->model, longest > 16 ? longest : 16));
    SD_TRY(st, sd_generate(model, prompts, t.n, max_tokens, stop, n_stop, &how, out));
    st = print_all(tokenizer, prompts, out, t.n, o->prompts != NULL || o->chat != NULL);
out:
    for (uint64_t i = 0; i < t.n; i++) {
        if (encodings != NULL)
            sd_encoding_free(&encodings[i]);
        if (out != NULL)
            sd_free(out[i].ids);
    }
    sd_free(encodings);
    sd_free(prompts);
    sd_free(out);
    sd_free(stop);
    app_chats_close(&chats);
    sd_free(t.text);
    sd_json_close(&t.json);
    sd_model_close(&model);
    sd_dev_close(&dev);
    sd_tokenizer_close(&tokenizer);
    return st;
}

sd_status cmd_generate(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? generate_here(par, options) : SD_OK);
}

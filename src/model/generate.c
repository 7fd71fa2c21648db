/* Generation: a free slot takes the next prompt. */
#include "saediff/model/generate.h"

#include <string.h>

#include "sampling.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

typedef unsigned long long ull;

enum { SLOTS = 16, CONFIG_LIMIT = 1 << 20 };

typedef struct slot {
    uint64_t prompt; /* UINT64_MAX: free */
    int32_t next;    /* token to read in the next step */
} slot;

typedef struct writer {
    sd_model *model;
    sd_dev *dev;
    const sd_prompt *prompts;
    uint64_t n, max_tokens, taken; /* taken: prompts started */
    const int32_t *stop;
    uint64_t n_stop;
    const sd_sampling *how;
    sd_continuation *out;
    sd_cache *cache;
    slot slots[SLOTS];
    uint64_t n_slots, busy;
    sd_buf *logits; /* [n_slots, vocabulary] */
    float *host;
    sd_candidate *candidates;
} writer;

/* Maximum length of the sequence of prompt i. */
static uint64_t planned(const writer *w, uint64_t i)
{
    uint64_t context = sd_model_config_of(w->model)->context, count = w->prompts[i].count;

    return w->max_tokens < context - count ? count + w->max_tokens : context;
}

static bool stops(const writer *w, int32_t id)
{
    for (uint64_t i = 0; i < w->n_stop; i++)
        if (w->stop[i] == id)
            return true;
    return false;
}

/* Samples the next token of slot s from row `row` of the host logits; keeps it, or ends the sequence. */
static sd_status advance(writer *w, uint64_t s, uint64_t row)
{
    slot *at = &w->slots[s];
    sd_continuation *c = &w->out[at->prompt];
    sd_key key = sd_key_make(w->how->seed, SD_STREAM_SAMPLING, at->prompt);
    uint64_t vocabulary = sd_model_config_of(w->model)->vocabulary;
    int32_t id = 0;
    sd_status st;

    SD_TRY(st, sd_sample(w->host + row * vocabulary, vocabulary, w->how, sd_random_uniform(key, c->count), w->candidates, &id));
    if (stops(w, id)) {
        c->stop = id;
    } else {
        c->ids[c->count++] = id;
        at->next = id;
    }
    if (c->stop >= 0 || w->prompts[at->prompt].count + c->count == planned(w, at->prompt)) {
        at->prompt = UINT64_MAX;
        w->busy--;
    }
out:
    return st;
}

/* Reads one prompt into a free slot, and samples its first token. */
static sd_status begin(writer *w, uint64_t s)
{
    uint64_t i = w->taken++, count = w->prompts[i].count, vocabulary = sd_model_config_of(w->model)->vocabulary;
    uint64_t start[2] = {0, count};
    sd_mat one = sd_mat_of(w->logits, 1, vocabulary);
    sd_status st;

    SD_TRY(st, SD_NEW(&w->out[i].ids, planned(w, i) - count + 1));
    w->out[i].stop = -1;
    if (planned(w, i) == count)
        goto out;
    sd_cache_clear(w->cache, s, planned(w, i));
    SD_TRY(st, sd_model_forward(w->model, &(sd_pass){.ids = w->prompts[i].ids,
                                                     .doc_start = start,
                                                     .docs = 1,
                                                     .to_logits = true,
                                                     .cache = w->cache,
                                                     .slot = &s}));
    SD_TRY(st, sd_model_logits(w->model, (sd_span){count - 1, 1}, one));
    SD_TRY(st, sd_dev_download_as(w->dev, one, w->host, SD_F32));
    w->slots[s].prompt = i;
    w->busy++;
    st = advance(w, s, 0);
out:
    return st;
}

/* One step of every busy slot. */
static sd_status step(writer *w)
{
    uint64_t vocabulary = sd_model_config_of(w->model)->vocabulary, rows = 0, slots[SLOTS], start[SLOTS + 1] = {0};
    int32_t ids[SLOTS];
    sd_mat logits;
    sd_status st;

    for (uint64_t s = 0; s < w->n_slots; s++)
        if (w->slots[s].prompt != UINT64_MAX) {
            slots[rows] = s;
            ids[rows++] = w->slots[s].next;
            start[rows] = rows;
        }
    logits = sd_mat_of(w->logits, rows, vocabulary);
    SD_TRY(st, sd_model_forward(w->model, &(sd_pass){.ids = ids,
                                                     .doc_start = start,
                                                     .docs = rows,
                                                     .to_logits = true,
                                                     .cache = w->cache,
                                                     .slot = slots}));
    SD_TRY(st, sd_model_logits(w->model, (sd_span){0, rows}, logits));
    SD_TRY(st, sd_dev_download_as(w->dev, logits, w->host, SD_F32));
    for (uint64_t r = 0; r < rows; r++)
        SD_TRY(st, advance(w, slots[r], r));
out:
    return st;
}

static sd_status check(const writer *w, const sd_sampling *how)
{
    uint64_t context = sd_model_config_of(w->model)->context;

    if (!(how->temperature >= 0) || !(how->top_p > 0 && how->top_p <= 1) || !(how->min_p >= 0 && how->min_p <= 1))
        return SD_FAIL(SD_E_USAGE, "temperature is %g, top-p %g, min-p %g; they must be at least 0, above 0 and at most 1, and from 0 to 1", how->temperature,
                       how->top_p, how->min_p);
    for (uint64_t i = 0; i < w->n; i++)
        if (w->prompts[i].count < 1 || w->prompts[i].count >= context)
            return SD_FAIL(SD_E_DATA, "prompt %llu has %llu tokens; it must have 1 to %llu, so that the context has space for a next one", (ull)i,
                           (ull)w->prompts[i].count, (ull)context - 1);
    return SD_OK;
}

static sd_status prepare(writer *w)
{
    uint64_t vocabulary = sd_model_config_of(w->model)->vocabulary, longest = 1;
    sd_status st;

    w->n_slots = w->n < SLOTS ? w->n : SLOTS;
    w->n_slots = w->n_slots < sd_model_max_tokens(w->model) ? w->n_slots : sd_model_max_tokens(w->model);
    for (uint64_t i = 0; i < w->n; i++)
        longest = planned(w, i) > longest ? planned(w, i) : longest;
    for (uint64_t s = 0; s < w->n_slots; s++)
        w->slots[s].prompt = UINT64_MAX;
    SD_TRY(st, sd_cache_create(&w->cache, w->model, w->n_slots, longest));
    SD_TRY(st, sd_buf_create(&w->logits, w->dev, SD_REAL, w->n_slots * vocabulary));
    SD_TRY(st, SD_NEW(&w->host, w->n_slots * vocabulary));
    SD_TRY(st, SD_NEW(&w->candidates, vocabulary));
out:
    return st;
}

sd_status sd_generate(sd_model *model, const sd_prompt *prompts, uint64_t n, uint64_t max_tokens, const int32_t *stop, uint64_t n_stop,
                      const sd_sampling *sampling, sd_continuation *out)
{
    writer w = {.model = model,
                .dev = sd_model_dev(model),
                .prompts = prompts,
                .n = n,
                .max_tokens = max_tokens,
                .stop = stop,
                .n_stop = n_stop,
                .how = sampling,
                .out = out};
    sd_status st;

    memset(out, 0, n * sizeof *out);
    SD_TRY(st, check(&w, sampling));
    if (n == 0)
        goto out;
    SD_TRY(st, prepare(&w));
    while (w.taken < n || w.busy > 0) {
        for (uint64_t s = 0; s < w.n_slots && w.taken < n; s++)
            while (w.slots[s].prompt == UINT64_MAX && w.taken < n)
                SD_TRY(st, begin(&w, s));
        if (w.busy > 0)
            SD_TRY(st, step(&w));
    }
out:
    sd_cache_destroy(&w.cache);
    sd_buf_destroy(&w.logits);
    sd_free(w.host);
    sd_free(w.candidates);
    for (uint64_t i = 0; st != SD_OK && i < n; i++) {
        sd_free(out[i].ids);
        out[i].ids = NULL;
    }
    return st;
}

/* ---- stop tokens ---- */

static sd_status add_id(const sd_json *json, const cJSON *item, int32_t *ids, uint64_t *count)
{
    uint64_t line, column;

    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= INT32_MAX) ||
        item->valuedouble != (double)(int32_t)item->valuedouble) {
        sd_json_location(json, item, &line, &column);
        return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: eos_token_id must be a token id or a list of them", json->name, (ull)line, (ull)column);
    }
    ids[(*count)++] = (int32_t)item->valuedouble;
    return SD_OK;
}

static sd_status read_stops(const char *path, int32_t **ids, uint64_t *count)
{
    sd_json *json = NULL;
    const cJSON *item, *one;
    sd_status st;

    SD_TRY(st, sd_json_open(&json, path, CONFIG_LIMIT));
    item = cJSON_GetObjectItemCaseSensitive(json->root, "eos_token_id");
    if (item == NULL || cJSON_IsNull(item))
        goto out;
    SD_TRY(st, SD_NEW(ids, cJSON_IsArray(item) ? (uint64_t)cJSON_GetArraySize(item) : 1));
    if (!cJSON_IsArray(item)) {
        st = add_id(json, item, *ids, count);
        goto out;
    }
    cJSON_ArrayForEach(one, item) SD_TRY(st, add_id(json, one, *ids, count));
out:
    sd_json_close(&json);
    return st;
}

sd_status sd_generate_stops(const char *dir, int32_t **ids, uint64_t *count)
{
    static const char *const files[] = {"generation_config.json", "config.json"};
    char *path = NULL;
    sd_status st = SD_OK;

    *ids = NULL;
    *count = 0;
    for (int i = 0; i < 2 && *ids == NULL; i++) {
        sd_free(path);
        path = NULL;
        SD_TRY(st, sd_path_join(&path, dir, files[i]));
        if (sd_file_exists(path))
            SD_TRY(st, read_stops(path, ids, count));
    }
out:
    sd_free(path);
    if (st != SD_OK) {
        sd_free(*ids);
        *ids = NULL;
        *count = 0;
    }
    return st;
}

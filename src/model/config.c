#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"

typedef unsigned long long ull;

enum { CONFIG_LIMIT = 1 << 20 };

/* What a model type of transformers has where config.json is silent, and what no key decides. */
typedef struct family {
    const char *name;
    uint64_t kv_heads, d_head, window; /* 0: as many as heads; d_model / heads; none */
    bool bias_qkv, qk_norm;
    bool says_bias;        /* attention_bias and mlp_bias are read */
    bool window_by_choice; /* only where use_sliding_window is true */
} family;

static const family families[] = {
    {.name = "llama", .says_bias = true},
    {.name = "mistral", .kv_heads = 8, .window = 4096},
    {.name = "qwen2", .kv_heads = 32, .window = 4096, .bias_qkv = true, .window_by_choice = true},
    {.name = "qwen3", .kv_heads = 32, .d_head = 128, .window = 4096, .qk_norm = true, .says_bias = true, .window_by_choice = true},
};

sd_status sd_config_refuse(const sd_json *json, const cJSON *item, const char *key, const char *found, const char *know)
{
    uint64_t line, column;

    sd_json_location(json, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: '%s' is %s; this program computes %s", json->name, (ull)line,
                   (ull)column, key, found, know);
}

bool sd_config_has(const cJSON *item)
{
    return item != NULL && !cJSON_IsNull(item);
}

/* A member that must be absent or null, because it changes what the model computes. */
static sd_status must_lack(const sd_json *json, const char *key, const char *know)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json->root, key);

    return sd_config_has(item) ? sd_config_refuse(json, item, key, "set", know) : SD_OK;
}

static sd_status must_be_false(const sd_json *json, const char *key, const char *know)
{
    bool value;
    sd_status st;

    SD_TRY(st, sd_json_bool_or(json, json->root, key, false, &value));
    if (value)
        st = sd_config_refuse(json, cJSON_GetObjectItemCaseSensitive(json->root, key), key, "true", know);
out:
    return st;
}

static sd_status must_be(const sd_json *json, const char *key, const char *dflt, const char *want,
                         const char *know)
{
    const char *text;
    char found[128];
    sd_status st;

    if (dflt == NULL)
        SD_TRY(st, sd_json_text(json, json->root, key, &text));
    else
        SD_TRY(st, sd_json_text_or(json, json->root, key, dflt, &text));
    if (strcmp(text, want) != 0) {
        snprintf(found, sizeof found, "'%.100s'", text);
        st = sd_config_refuse(json, cJSON_GetObjectItemCaseSensitive(json->root, key), key, found, know);
    }
out:
    return st;
}

static sd_status find_family(const sd_json *json, const family **found)
{
    const char *type;
    char text[128];
    sd_status st;

    SD_TRY(st, sd_json_text(json, json->root, "model_type", &type));
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(type, families[i].name) == 0) {
            *found = &families[i];
            goto out;
        }
    snprintf(text, sizeof text, "'%.100s'", type);
    st = sd_config_refuse(json, cJSON_GetObjectItemCaseSensitive(json->root, "model_type"), "model_type", text,
                          "models of type llama, mistral, qwen2 and qwen3");
out:
    return st;
}

static sd_status check_kind(const sd_json *json)
{
    static const char *const experts[] = {"num_local_experts", "num_experts", "n_routed_experts"};
    uint64_t parts;
    sd_status st;

    SD_TRY(st, must_be(json, "hidden_act", "silu", "silu", "the activation 'silu'"));
    SD_TRY(st, must_be_false(json, "rope_interleaved", "rotary embeddings of the pairs (i, i + head_dim/2)"));
    SD_TRY(st, must_lack(json, "quantization_config", "weights that are not quantised"));
    for (size_t i = 0; i < sizeof experts / sizeof experts[0]; i++)
        SD_TRY(st, must_lack(json, experts[i], "one MLP per layer"));
    SD_TRY(st, sd_json_u64_or(json, json->root, "pretraining_tp", 1, &parts));
    if (parts != 1)
        sd_say("%s: 'pretraining_tp' is %llu; products are computed whole here, which differs in rounding only", json->name,
               (ull)parts);
out:
    return st;
}

static sd_status read_biases(sd_model_config *c, const sd_json *json, const family *f)
{
    sd_status st = SD_OK;

    c->bias_qkv = f->bias_qkv;
    c->qk_norm = f->qk_norm;
    if (!f->says_bias)
        goto out;
    SD_TRY(st, sd_json_bool_or(json, json->root, "attention_bias", false, &c->bias_qkv));
    c->bias_o = c->bias_qkv;
    if (!f->qk_norm)
        SD_TRY(st, sd_json_bool_or(json, json->root, "mlp_bias", false, &c->bias_mlp));
out:
    return st;
}

/* layer_types, where it is there, says which layers have the window; else those from max_window_layers on, or all. */
static sd_status read_window(sd_model_config *c, const sd_json *json, const family *f)
{
    const cJSON *window = cJSON_GetObjectItemCaseSensitive(json->root, "sliding_window"), *item;
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(json->root, "layer_types");
    bool on = !f->window_by_choice;
    uint64_t from = 0, layer = 0;
    sd_status st = SD_OK;

    if (f->window == 0)
        goto out;
    if (f->window_by_choice) {
        SD_TRY(st, sd_json_bool_or(json, json->root, "use_sliding_window", false, &on));
        SD_TRY(st, sd_json_u64_or(json, json->root, "max_window_layers", 28, &from));
    }
    if (!on || cJSON_IsNull(window))
        goto out;
    SD_TRY(st, sd_json_u64_or(json, json->root, "sliding_window", f->window, &c->window));
    if (c->window < 1) {
        st = sd_config_refuse(json, window, "sliding_window", "0", "windows of 1 token or more");
        goto out;
    }
    for (uint64_t l = sd_config_has(types) ? c->n_layers : from; l < c->n_layers; l++)
        c->windowed[l / 8] |= (uint8_t)(1u << l % 8);
    if (!sd_config_has(types))
        goto out;
    if (!cJSON_IsArray(types) || (uint64_t)cJSON_GetArraySize(types) != c->n_layers) {
        st = sd_config_refuse(json, types, "layer_types", "not a list of num_hidden_layers words",
                              "layers of type full_attention and sliding_attention");
        goto out;
    }
    cJSON_ArrayForEach(item, types)
    {
        const char *word = cJSON_IsString(item) ? item->valuestring : "";
        char found[128];

        if (strcmp(word, "sliding_attention") == 0) {
            c->windowed[layer / 8] |= (uint8_t)(1u << layer % 8);
        } else if (strcmp(word, "full_attention") != 0) {
            snprintf(found, sizeof found, "'%.80s' for layer %llu", word, (ull)layer);
            st = sd_config_refuse(json, types, "layer_types", found, "layers of type full_attention and sliding_attention");
            goto out;
        }
        layer++;
    }
out:
    return st;
}

static sd_status read_sizes(sd_model_config *c, const sd_json *json, const family *f)
{
    /* Far above every model there is; below it, no product of two sizes leaves 64 bits. */
    const struct {
        const char *key;
        uint64_t *to, most;
    } sizes[] = {
        {"hidden_size", &c->d_model, 1u << 20},
        {"intermediate_size", &c->d_mlp, 1u << 22},
        {"num_hidden_layers", &c->n_layers, SD_LAYERS_MOST},
        {"num_attention_heads", &c->n_heads, 1u << 14},
        {"num_key_value_heads", &c->n_kv_heads, 1u << 14},
        {"head_dim", &c->d_head, 1u << 14},
        {"vocab_size", &c->vocabulary, 1u << 26},
        {"max_position_embeddings", &c->context, 1u << 26},
    };
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json->root, sizes[i].key);
        uint64_t dflt = 0;

        /* A class's own default stands for a key that is absent, not for one that is null. */
        if (sizes[i].to == &c->n_kv_heads)
            dflt = f->kv_heads > 0 && item == NULL ? f->kv_heads : c->n_heads;
        if (sizes[i].to == &c->d_head && f->d_head > 0 && item == NULL)
            dflt = f->d_head;
        else if (sizes[i].to == &c->d_head && c->n_heads > 0 && c->d_model % c->n_heads == 0)
            dflt = c->d_model / c->n_heads;
        if (dflt > 0)
            SD_TRY(st, sd_json_u64_or(json, json->root, sizes[i].key, dflt, sizes[i].to));
        else
            SD_TRY(st, sd_json_u64(json, json->root, sizes[i].key, sizes[i].to));
        if (*sizes[i].to < 1 || *sizes[i].to > sizes[i].most) {
            st = SD_FAIL(SD_E_DATA, "%s: '%s' is %llu; it must be 1 to %llu", json->name, sizes[i].key,
                         (ull)*sizes[i].to, (ull)sizes[i].most);
            goto out;
        }
    }
    if (c->n_heads % c->n_kv_heads != 0)
        st = SD_FAIL(SD_E_DATA, "%s: %llu attention heads cannot share %llu key/value heads evenly",
                     json->name, (ull)c->n_heads, (ull)c->n_kv_heads);
    else if (c->d_head % 2 != 0)
        st = SD_FAIL(SD_E_DATA, "%s: 'head_dim' is %llu; rotary embeddings need an even number", json->name,
                     (ull)c->d_head);
out:
    return st;
}

static sd_status read_numbers(sd_model_config *c, const sd_json *json)
{
    sd_status st;

    SD_TRY(st, sd_json_f64_or(json, json->root, "rms_norm_eps", 1e-6, &c->norm_eps));
    SD_TRY(st, sd_json_bool_or(json, json->root, "tie_word_embeddings", false, &c->tied));
    if (!isfinite(c->norm_eps) || c->norm_eps < 0 || c->norm_eps > 1)
        st = SD_FAIL(SD_E_DATA, "%s: 'rms_norm_eps' is %g; it must be 0 to 1", json->name, c->norm_eps);
out:
    return st;
}

sd_status sd_model_config_read_file(sd_model_config *config, const char *path)
{
    sd_model_config c = {0};
    const family *f = NULL;
    sd_json *json = NULL;
    sd_status st;

    SD_TRY(st, sd_json_open(&json, path, CONFIG_LIMIT));
    if (!cJSON_IsObject(json->root)) {
        st = SD_FAIL(SD_E_DATA, "%s: not a JSON object", path);
        goto out;
    }
    SD_TRY(st, find_family(json, &f));
    SD_TRY(st, check_kind(json));
    SD_TRY(st, read_sizes(&c, json, f));
    SD_TRY(st, read_biases(&c, json, f));
    SD_TRY(st, read_window(&c, json, f));
    SD_TRY(st, read_numbers(&c, json));
    SD_TRY(st, sd_config_read_rotary(&c, json));
    *config = c;
out:
    sd_json_close(&json);
    return st;
}

sd_status sd_model_config_read(sd_model_config *config, const char *dir)
{
    char *path = NULL;
    sd_status st;

    SD_TRY(st, sd_path_join(&path, dir, "config.json"));
    st = sd_model_config_read_file(config, path);
out:
    sd_free(path);
    return st;
}

uint64_t sd_model_window(const sd_model_config *c, uint64_t layer)
{
    return c->windowed[layer / 8] >> layer % 8 & 1 ? c->window : 0;
}

double sd_model_flops(const sd_model_config *c, uint64_t layers, double context)
{
    double d = (double)c->d_model, q = (double)(c->n_heads * c->d_head),
           kv = (double)(c->n_kv_heads * c->d_head);

    return 2 * (double)layers * (2 * d * q + 2 * d * kv + 3 * d * (double)c->d_mlp + 2 * q * context);
}

uint64_t sd_model_part_parameters(const sd_model_config *c, sd_span blocks)
{
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head, words = c->vocabulary * d;
    uint64_t biases = (c->bias_qkv ? q + 2 * kv : 0) + (c->bias_o ? d : 0) + (c->bias_mlp ? 2 * c->d_mlp + d : 0);
    bool first = blocks.first == 0, last = blocks.first + blocks.count == c->n_layers;

    return (first ? words : 0) + (last ? d : 0) + (last && !(first && c->tied) ? words : 0) +
           blocks.count * (2 * d * q + 2 * d * kv + 3 * d * c->d_mlp + 2 * d + biases + (c->qk_norm ? 2 * c->d_head : 0));
}

uint64_t sd_model_parameters(const sd_model_config *c)
{
    return sd_model_part_parameters(c, (sd_span){0, c->n_layers});
}

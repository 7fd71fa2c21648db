#include "saediff/model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

typedef unsigned long long ull;

enum { CONFIG_LIMIT = 1 << 20 };

/* Words what stands at a member of the file, and what would be understood there. */
static sd_status refuse(const sd_json *json, const cJSON *item, const char *key, const char *found,
                        const char *know)
{
    uint64_t line, column;

    sd_json_place(json, item, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: '%s' is %s; this program computes %s", json->name, (ull)line,
                   (ull)column, key, found, know);
}

static bool present(const cJSON *item)
{
    return item != NULL && !cJSON_IsNull(item);
}

/* A member that must be absent or null, because it changes what the model computes. */
static sd_status must_lack(const sd_json *json, const char *key, const char *know)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json->root, key);

    return present(item) ? refuse(json, item, key, "set", know) : SD_OK;
}

static sd_status must_be_false(const sd_json *json, const char *key, const char *know)
{
    bool value;
    sd_status st;

    SD_TRY(st, sd_json_bool_or(json, json->root, key, false, &value));
    if (value)
        st = refuse(json, cJSON_GetObjectItemCaseSensitive(json->root, key), key, "true", know);
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
        st = refuse(json, cJSON_GetObjectItemCaseSensitive(json->root, key), key, found, know);
    }
out:
    return st;
}

/* rope_scaling of older files, rope_parameters of newer ones (where rope_theta has moved too). A type named
 * "default" means no scaling. */
static sd_status check_rope(const sd_json *json, const char *key)
{
    const cJSON *rope = cJSON_GetObjectItemCaseSensitive(json->root, key);
    const char *type = "default";
    char found[128];
    sd_status st = SD_OK;

    if (!present(rope))
        goto out;
    if (!cJSON_IsObject(rope)) {
        st = refuse(json, rope, key, "not an object", "rotary embeddings without scaling");
        goto out;
    }
    SD_TRY(st, sd_json_text_or(json, rope, "type", strcmp(key, "rope_scaling") == 0 ? "unnamed" : "default",
                               &type));
    SD_TRY(st, sd_json_text_or(json, rope, "rope_type", type, &type));
    if (strcmp(type, "default") != 0) {
        snprintf(found, sizeof found, "of type '%.100s'", type);
        st = refuse(json, rope, key, found, "rotary embeddings without scaling");
    }
out:
    return st;
}

static sd_status check_kind(const sd_json *json)
{
    static const char *const experts[] = {"num_local_experts", "num_experts", "n_routed_experts"};
    const char *plain = "layers without biases";
    sd_status st;

    SD_TRY(st, must_be(json, "model_type", NULL, "llama", "models of type 'llama'"));
    SD_TRY(st, must_be(json, "hidden_act", "silu", "silu", "the activation 'silu'"));
    SD_TRY(st, must_be_false(json, "attention_bias", plain));
    SD_TRY(st, must_be_false(json, "mlp_bias", plain));
    SD_TRY(st, check_rope(json, "rope_scaling"));
    SD_TRY(st, check_rope(json, "rope_parameters"));
    SD_TRY(st, must_lack(json, "quantization_config", "weights that are not quantised"));
    for (size_t i = 0; i < sizeof experts / sizeof experts[0]; i++)
        SD_TRY(st, must_lack(json, experts[i], "one MLP per layer"));
out:
    return st;
}

static sd_status read_sizes(sd_model_config *c, const sd_json *json)
{
    /* Far above every model there is; below it, no product of two sizes leaves 64 bits. */
    const struct {
        const char *key;
        uint64_t *to, most;
    } sizes[] = {
        {"hidden_size", &c->d_model, 1u << 20},
        {"intermediate_size", &c->d_mlp, 1u << 22},
        {"num_hidden_layers", &c->n_layers, 1u << 12},
        {"num_attention_heads", &c->n_heads, 1u << 14},
        {"num_key_value_heads", &c->n_kv_heads, 1u << 14},
        {"head_dim", &c->d_head, 1u << 14},
        {"vocab_size", &c->vocabulary, 1u << 26},
        {"max_position_embeddings", &c->context, 1u << 26},
    };
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t dflt = 0;

        if (sizes[i].to == &c->n_kv_heads)
            dflt = c->n_heads;
        if (sizes[i].to == &c->d_head && c->n_heads > 0 && c->d_model % c->n_heads == 0)
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
    const cJSON *rope = cJSON_GetObjectItemCaseSensitive(json->root, "rope_parameters");
    sd_status st;

    SD_TRY(st, sd_json_f64_or(json, json->root, "rms_norm_eps", 1e-6, &c->norm_eps));
    SD_TRY(st, sd_json_f64_or(json, json->root, "rope_theta", 10000, &c->rope_theta));
    if (present(rope))
        SD_TRY(st, sd_json_f64_or(json, rope, "rope_theta", c->rope_theta, &c->rope_theta));
    SD_TRY(st, sd_json_bool_or(json, json->root, "tie_word_embeddings", false, &c->tied));
    if (!isfinite(c->norm_eps) || c->norm_eps < 0 || c->norm_eps > 1)
        st = SD_FAIL(SD_E_DATA, "%s: 'rms_norm_eps' is %g; it must be 0 to 1", json->name, c->norm_eps);
    else if (!isfinite(c->rope_theta) || c->rope_theta <= 0)
        st = SD_FAIL(SD_E_DATA, "%s: 'rope_theta' is %g; it must be above 0", json->name, c->rope_theta);
out:
    return st;
}

sd_status sd_model_config_read(sd_model_config *config, const char *dir)
{
    sd_model_config c = {0};
    sd_json *json = NULL;
    char *path = NULL;
    sd_status st;

    SD_TRY(st, sd_path_join(&path, dir, "config.json"));
    SD_TRY(st, sd_json_open(&json, path, CONFIG_LIMIT));
    if (!cJSON_IsObject(json->root)) {
        st = SD_FAIL(SD_E_DATA, "%s: not a JSON object", path);
        goto out;
    }
    SD_TRY(st, check_kind(json));
    SD_TRY(st, read_sizes(&c, json));
    SD_TRY(st, read_numbers(&c, json));
    *config = c;
out:
    sd_json_close(&json);
    sd_free(path);
    return st;
}

double sd_model_flops(const sd_model_config *c, uint64_t layers, double context)
{
    double d = (double)c->d_model, q = (double)(c->n_heads * c->d_head),
           kv = (double)(c->n_kv_heads * c->d_head);

    return 2 * (double)layers * (2 * d * q + 2 * d * kv + 3 * d * (double)c->d_mlp + 2 * q * context);
}

uint64_t sd_model_parameters(const sd_model_config *c)
{
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;

    return c->vocabulary * d * (c->tied ? 1 : 2) + d +
           c->n_layers * (2 * d * q + 2 * d * kv + 3 * d * c->d_mlp + 2 * d);
}

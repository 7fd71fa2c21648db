/* Rotary embeddings: what config.json says of them, and the frequencies that follow. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config_private.h"

typedef unsigned long long ull;

#define TWO_PI 6.283185307179586476925286766559

static const char *const known_kinds = "rotary embeddings of type default, linear, dynamic, llama3, yarn and longrope";

typedef struct reader {
    const sd_json *json;
    const cJSON *rope; /* the object that describes them, NULL for none */
    const char *key;   /* its name */
    sd_model_config *c;
} reader;

static sd_status wrong(const reader *r, const char *member, const char *what)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(r->rope, member);
    uint64_t line, column;

    sd_json_location(r->json, item != NULL ? item : r->rope, &line, &column);
    return SD_FAIL(SD_E_DATA, "%s:%llu:%llu: '%s' of '%s' %s", r->json->name, (ull)line, (ull)column, member, r->key, what);
}

/* A positive number; missing: `dflt`, or refused where dflt is 0. */
static sd_status number(const reader *r, const char *member, double dflt, double *out)
{
    sd_status st;

    if (dflt == 0 && !sd_config_has(cJSON_GetObjectItemCaseSensitive(r->rope, member))) {
        st = wrong(r, member, "is missing");
        goto out;
    }
    SD_TRY(st, sd_json_f64_or(r->json, r->rope, member, dflt, out));
    if (!isfinite(*out) || *out <= 0)
        st = wrong(r, member, "must be a number above 0");
out:
    return st;
}

static sd_status only_known(const reader *r)
{
    static const char *const known[] = {"type", "rope_type", "rope_theta", "factor", "original_max_position_embeddings",
                                        "low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow",
                                        "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor",
                                        "partial_rotary_factor", "finetuned"};

    for (const cJSON *m = r->rope->child; m != NULL; m = m->next) {
        bool found = false;

        for (size_t i = 0; i < sizeof known / sizeof known[0] && !found; i++)
            found = strcmp(m->string, known[i]) == 0;
        if (!found)
            return wrong(r, m->string, "is not known; rotary embeddings of one kind for all layers are");
    }
    return SD_OK;
}

static sd_status read_original(const reader *r)
{
    uint64_t dflt = r->c->context;
    sd_status st;

    SD_TRY(st, sd_json_u64_or(r->json, r->json->root, "original_max_position_embeddings", dflt, &dflt));
    SD_TRY(st, sd_json_u64_or(r->json, r->rope, "original_max_position_embeddings", dflt, &r->c->rotary.original));
    if (r->c->rotary.original < 1)
        st = wrong(r, "original_max_position_embeddings", "must be above 0");
out:
    return st;
}

static sd_status read_llama3(const reader *r)
{
    sd_rotary *o = &r->c->rotary;
    sd_status st;

    SD_TRY(st, number(r, "factor", 0, &o->factor));
    SD_TRY(st, number(r, "low_freq_factor", 0, &o->low));
    SD_TRY(st, number(r, "high_freq_factor", 0, &o->high));
    if (o->high <= o->low)
        st = wrong(r, "high_freq_factor", "must be above low_freq_factor");
    else if (!sd_config_has(cJSON_GetObjectItemCaseSensitive(r->rope, "original_max_position_embeddings")))
        st = wrong(r, "original_max_position_embeddings", "is missing");
out:
    return st;
}

static double magnitude(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

static sd_status read_yarn(const reader *r)
{
    sd_rotary *o = &r->c->rotary;
    double mscale = 0, all = 0, dflt;
    sd_status st;

    SD_TRY(st, number(r, "factor", sd_config_has(cJSON_GetObjectItemCaseSensitive(r->rope, "original_max_position_embeddings"))
                                       ? (double)r->c->context / (double)o->original
                                       : 0,
                      &o->factor));
    SD_TRY(st, number(r, "beta_fast", 32, &o->beta_fast));
    SD_TRY(st, number(r, "beta_slow", 1, &o->beta_slow));
    SD_TRY(st, sd_json_bool_or(r->json, r->rope, "truncate", true, &o->truncate));
    SD_TRY(st, sd_json_f64_or(r->json, r->rope, "mscale", 0, &mscale));
    SD_TRY(st, sd_json_f64_or(r->json, r->rope, "mscale_all_dim", 0, &all));
    dflt = mscale != 0 && all != 0 ? magnitude(o->factor, mscale) / magnitude(o->factor, all) : magnitude(o->factor, 1);
    SD_TRY(st, number(r, "attention_factor", dflt, &o->attention));
    if (r->c->rope_theta == 1)
        st = wrong(r, "rope_theta", "must not be 1");
out:
    return st;
}

static sd_status read_list(const reader *r, const char *member, double *out)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(r->rope, member);
    uint64_t half = r->c->d_head / 2, i = 0;
    char what[160];

    if (half > SD_ROTARY_MOST) {
        snprintf(what, sizeof what, "is understood for heads of at most %d components; these have %llu", 2 * (int)SD_ROTARY_MOST,
                 (ull)r->c->d_head);
        return wrong(r, member, what);
    }
    if (!cJSON_IsArray(list) || (uint64_t)cJSON_GetArraySize(list) != half) {
        snprintf(what, sizeof what, "must be a list of %llu numbers, half of head_dim", (ull)half);
        return wrong(r, member, what);
    }
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) || item->valuedouble <= 0)
            return wrong(r, member, "must be a list of numbers above 0");
        out[i++] = item->valuedouble;
    }
    return SD_OK;
}

static sd_status read_long(const reader *r)
{
    sd_rotary *o = &r->c->rotary;
    double dflt = 1;
    sd_status st;

    SD_TRY(st, read_list(r, "short_factor", o->shorter));
    SD_TRY(st, read_list(r, "long_factor", o->longer));
    SD_TRY(st, number(r, "factor", (double)r->c->context / (double)o->original, &o->factor));
    if (o->factor > 1 && o->original > 1)
        dflt = sqrt(1 + log(o->factor) / log((double)o->original));
    SD_TRY(st, number(r, "attention_factor", dflt, &o->attention));
out:
    return st;
}

/* A type named "default" means no scaling; rope_scaling without a type is refused. */
static sd_status read_kind(const reader *r)
{
    static const struct {
        const char *name;
        sd_rotary_kind kind;
    } kinds[] = {{"default", SD_ROTARY_DEFAULT}, {"dynamic", SD_ROTARY_DEFAULT}, {"linear", SD_ROTARY_LINEAR},
                 {"llama3", SD_ROTARY_LLAMA3},   {"yarn", SD_ROTARY_YARN},       {"longrope", SD_ROTARY_LONG}};
    const char *type;
    char found[128];
    sd_status st;

    SD_TRY(st, sd_json_text_or(r->json, r->rope, "type", strcmp(r->key, "rope_scaling") == 0 ? "unnamed" : "default", &type));
    SD_TRY(st, sd_json_text_or(r->json, r->rope, "rope_type", type, &type));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(type, kinds[i].name) == 0) {
            r->c->rotary.kind = kinds[i].kind;
            goto out;
        }
    snprintf(found, sizeof found, "of type '%.100s'", type);
    st = sd_config_refuse(r->json, r->rope, r->key, found, known_kinds);
out:
    return st;
}

/* Part of a head's components, from either place. */
static sd_status whole_heads(const reader *r, const cJSON *object)
{
    double part;
    sd_status st;

    SD_TRY(st, sd_json_f64_or(r->json, object, "partial_rotary_factor", 1, &part));
    if (part != 1)
        st = sd_config_refuse(r->json, cJSON_GetObjectItemCaseSensitive(object, "partial_rotary_factor"), "partial_rotary_factor",
                              "not 1", "rotary embeddings of whole heads");
out:
    return st;
}

sd_status sd_config_read_rotary(sd_model_config *c, const sd_json *json)
{
    reader r = {.json = json, .key = "rope_parameters", .c = c};
    sd_rotary *o = &c->rotary;
    sd_status st;

    *o = (sd_rotary){.kind = SD_ROTARY_DEFAULT, .factor = 1, .attention = 1, .original = c->context};
    SD_TRY(st, sd_json_f64_or(json, json->root, "rope_theta", 10000, &c->rope_theta));
    SD_TRY(st, whole_heads(&r, json->root));
    r.rope = cJSON_GetObjectItemCaseSensitive(json->root, "rope_parameters");
    if (!sd_config_has(r.rope)) {
        r.key = "rope_scaling";
        r.rope = cJSON_GetObjectItemCaseSensitive(json->root, "rope_scaling");
    }
    if (sd_config_has(r.rope)) {
        if (!cJSON_IsObject(r.rope)) {
            st = sd_config_refuse(json, r.rope, r.key, "not an object", known_kinds);
            goto out;
        }
        SD_TRY(st, only_known(&r));
        SD_TRY(st, read_kind(&r));
        SD_TRY(st, whole_heads(&r, r.rope));
        SD_TRY(st, sd_json_f64_or(json, r.rope, "rope_theta", c->rope_theta, &c->rope_theta));
    }
    if (!isfinite(c->rope_theta) || c->rope_theta <= 0) {
        st = SD_FAIL(SD_E_DATA, "%s: 'rope_theta' is %g; it must be above 0", json->name, c->rope_theta);
        goto out;
    }
    if (o->kind == SD_ROTARY_DEFAULT)
        goto out;
    SD_TRY(st, read_original(&r));
    if (o->kind == SD_ROTARY_LINEAR)
        SD_TRY(st, number(&r, "factor", 0, &o->factor));
    else if (o->kind == SD_ROTARY_LLAMA3)
        SD_TRY(st, read_llama3(&r));
    else if (o->kind == SD_ROTARY_YARN)
        SD_TRY(st, read_yarn(&r));
    else
        SD_TRY(st, read_long(&r));
out:
    return st;
}

/* Between the two wavelengths the stretch sets in evenly with the number of turns within the original context. */
static double llama3(const sd_rotary *o, double f)
{
    double turns = (double)o->original * f / TWO_PI, s = (turns - o->low) / (o->high - o->low);

    if (turns < o->low)
        return f / o->factor;
    return turns > o->high ? f : (1 - s) * f / o->factor + s * f;
}

/* The pair, as a real number, that makes `turns` turns within the original context. */
static double pair_of(const sd_model_config *c, double turns)
{
    return (double)c->d_head * log((double)c->rotary.original / (turns * TWO_PI)) / (2 * log(c->rope_theta));
}

/* How far pair i is stretched: 0 not at all, 1 by the whole factor. */
static double ramp(const sd_model_config *c, uint64_t i)
{
    double low = pair_of(c, c->rotary.beta_fast), high = pair_of(c, c->rotary.beta_slow), at;

    if (c->rotary.truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)c->d_head - 1);
    if (low == high)
        high += 0.001;
    at = ((double)i - low) / (high - low);
    return fmin(fmax(at, 0), 1);
}

void sd_rotary_frequencies(const sd_model_config *c, bool beyond, double *out)
{
    const sd_rotary *o = &c->rotary;

    for (uint64_t i = 0; i < c->d_head / 2; i++) {
        double f = pow(c->rope_theta, -2.0 * (double)i / (double)c->d_head);

        switch (o->kind) {
        case SD_ROTARY_DEFAULT:
            out[i] = f;
            break;
        case SD_ROTARY_LINEAR:
            out[i] = f / o->factor;
            break;
        case SD_ROTARY_LLAMA3:
            out[i] = llama3(o, f);
            break;
        case SD_ROTARY_YARN:
            out[i] = ramp(c, i) * f / o->factor + (1 - ramp(c, i)) * f;
            break;
        case SD_ROTARY_LONG:
            out[i] = f / (beyond ? o->longer[i] : o->shorter[i]);
            break;
        }
    }
}

/* Tiny random Llama models that the tests write themselves, and their forward pass in double, in plain loops
 * that share nothing with the program. */
#ifndef SAEDIFF_TESTS_MODEL_TINY_H
#define SAEDIFF_TESTS_MODEL_TINY_H

#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "devices.h"

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/dev/dense.h"
#include "saediff/model/model.h"
#include "saediff/store/safetensors.h"

enum { TINY_TENSORS = 64, TINY_NAME = 128 };

/* A configuration without biases, windows and scaling, in the order of sd_model_config. */
#define TINY_SHAPE(d, layers, heads, kv, head, mlp, words, length, eps, theta, tie)                          \
    {                                                                                                        \
        .d_model = d, .n_layers = layers, .n_heads = heads, .n_kv_heads = kv, .d_head = head, .d_mlp = mlp,  \
        .vocabulary = words, .context = length, .norm_eps = eps, .rope_theta = theta, .tied = tie            \
    }

typedef struct tiny {
    sd_model_config c;     /* of it the reference reads sizes, biases, qk_norm, tied; not windows and rotary */
    const char *family;    /* model_type; NULL: llama */
    uint64_t window;       /* of the layers from window_from on; 0: none */
    uint64_t window_from;
    const double *frequency[2]; /* of each pair, for documents up to and beyond `original` tokens; NULL: powers of theta */
    uint64_t original;     /* 0: frequency[1] is not used */
    double attention;      /* cosines and sines are multiplied by it; 0: not */
    bool rounds;           /* the reference rounds to bf16 wherever transformers does (models in bf16, scaled dot product attention) */
    sd_dtype type;     /* of the weights in the file */
    bool say_head_dim; /* head_dim stands in config.json */
    const char *extra; /* more members of config.json, each with a comma behind it */

    char dir[64];
    uint64_t count;
    char names[TINY_TENSORS][TINY_NAME];
    sd_tensor tensors[TINY_TENSORS];
    double *values[TINY_TENSORS]; /* as the file holds them */
} tiny;

static inline uint64_t tiny_size(const sd_tensor *t)
{
    return t->dims == 2 ? t->shape[0] * t->shape[1] : t->shape[0];
}

/* rows 0: a vector. */
static inline void tiny_add(tiny *m, const char *name, uint64_t rows, uint64_t cols, double base,
                            double spread)
{
    sd_tensor *t = &m->tensors[m->count];
    uint64_t size = (rows > 0 ? rows : 1) * cols;
    sd_key key = sd_key_make(m->c.d_model, SD_STREAM_TEST, m->count);
    void *packed;

    *t = (sd_tensor){.name = m->names[m->count], .type = m->type, .dims = rows > 0 ? 2 : 1};
    t->shape[0] = rows > 0 ? rows : cols;
    t->shape[1] = rows > 0 ? cols : 0;
    snprintf(m->names[m->count], TINY_NAME, "%s", name);
    CHECK_OK(SD_NEW(&m->values[m->count], size));
    for (uint64_t i = 0; i < size; i++)
        m->values[m->count][i] = base + spread * sd_random_normal(key, i);
    CHECK_OK(sd_alloc_bytes(&packed, size, sizeof(double)));
    sd_convert(packed, m->type, m->values[m->count], SD_F64, size);
    sd_convert(m->values[m->count], SD_F64, packed, m->type, size);
    sd_free(packed);
    m->count++;
}

static inline uint64_t tiny_find(const tiny *m, const char *name)
{
    uint64_t i = 0;

    while (i + 1 < m->count && strcmp(m->names[i], name) != 0)
        i++;
    CHECK(strcmp(m->names[i], name) == 0);
    return i;
}

static inline const double *tiny_weight(const tiny *m, uint64_t layer, const char *part)
{
    char name[TINY_NAME];

    snprintf(name, sizeof name, "model.layers.%llu.%s.weight", (unsigned long long)layer, part);
    return m->values[tiny_find(m, name)];
}

static inline const double *tiny_bias(const tiny *m, bool has, uint64_t layer, const char *part)
{
    char name[TINY_NAME];

    snprintf(name, sizeof name, "model.layers.%llu.%s.bias", (unsigned long long)layer, part);
    return has ? m->values[tiny_find(m, name)] : NULL;
}

static inline void tiny_path(const tiny *m, const char *file, char out[128])
{
    snprintf(out, 128, "%s/%s", m->dir, file);
}

static inline void tiny_write_text(const tiny *m, const char *file, const char *text)
{
    char path[128];
    FILE *f;

    tiny_path(m, file, path);
    f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static inline void tiny_write_config(const tiny *m)
{
    const sd_model_config *c = &m->c;
    char head_dim[64] = "", text[2048];

    if (m->say_head_dim)
        snprintf(head_dim, sizeof head_dim, "\"head_dim\": %llu, ", (unsigned long long)c->d_head);
    snprintf(
        text, sizeof text,
        "{%s%s\"model_type\": \"%s\", \"hidden_act\": \"silu\", \"hidden_size\": %llu,\n "
        "\"intermediate_size\": "
        "%llu, \"num_hidden_layers\": %llu, \"num_attention_heads\": %llu, \"num_key_value_heads\": %llu,\n "
        "\"vocab_size\": %llu, \"max_position_embeddings\": %llu, \"rms_norm_eps\": %.17g, \"rope_theta\": "
        "%.17g,\n "
        "\"tie_word_embeddings\": %s}\n",
        m->extra != NULL ? m->extra : "", head_dim, m->family != NULL ? m->family : "llama", (unsigned long long)c->d_model,
        (unsigned long long)c->d_mlp, (unsigned long long)c->n_layers, (unsigned long long)c->n_heads,
        (unsigned long long)c->n_kv_heads, (unsigned long long)c->vocabulary, (unsigned long long)c->context,
        c->norm_eps, c->rope_theta, c->tied ? "true" : "false");
    tiny_write_text(m, "config.json", text);
}

static inline void tiny_write_weights(const tiny *m)
{
    void *data[TINY_TENSORS];
    char path[128];

    for (uint64_t i = 0; i < m->count; i++) {
        uint64_t size = tiny_size(&m->tensors[i]);

        CHECK_OK(sd_alloc_bytes(&data[i], size, sizeof(double)));
        sd_convert(data[i], m->tensors[i].type, m->values[i], SD_F64, size);
    }
    tiny_path(m, "model.safetensors", path);
    CHECK_OK(sd_safetensors_write(path, m->tensors, (const void *const *)data, m->count, NULL));
    for (uint64_t i = 0; i < m->count; i++)
        sd_free(data[i]);
}

/* Makes the folder with config.json and model.safetensors from c, type and say_head_dim. */
static inline void tiny_make(tiny *m)
{
    const sd_model_config *c = &m->c;
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    char name[TINY_NAME];

    test_folder(m->dir);
    m->count = 0;
    tiny_add(m, "model.embed_tokens.weight", c->vocabulary, d, 0, 0.7);
    for (uint64_t l = 0; l < c->n_layers; l++) {
        const struct {
            const char *part;
            uint64_t rows, cols;
        } parts[] = {
            {"input_layernorm", 0, d},          {"self_attn.q_proj", q, d},   {"self_attn.k_proj", kv, d},
            {"self_attn.v_proj", kv, d},        {"self_attn.o_proj", d, q},   {"mlp.gate_proj", c->d_mlp, d},
            {"post_attention_layernorm", 0, d}, {"mlp.up_proj", c->d_mlp, d}, {"mlp.down_proj", d, c->d_mlp}};

        for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
            snprintf(name, sizeof name, "model.layers.%llu.%s.weight", (unsigned long long)l, parts[p].part);
            tiny_add(m, name, parts[p].rows, parts[p].cols, parts[p].rows > 0 ? 0 : 1,
                     parts[p].rows > 0 ? 1.5 / sqrt((double)parts[p].cols) : 0.2);
        }
        {
            const struct {
                const char *part;
                bool has;
                uint64_t cols;
                double base;
            } rows[] = {{"self_attn.q_proj.bias", c->bias_qkv, q, 0},    {"self_attn.k_proj.bias", c->bias_qkv, kv, 0},
                        {"self_attn.v_proj.bias", c->bias_qkv, kv, 0},   {"self_attn.o_proj.bias", c->bias_o, d, 0},
                        {"self_attn.q_norm.weight", c->qk_norm, c->d_head, 1}, {"self_attn.k_norm.weight", c->qk_norm, c->d_head, 1},
                        {"mlp.gate_proj.bias", c->bias_mlp, c->d_mlp, 0}, {"mlp.up_proj.bias", c->bias_mlp, c->d_mlp, 0},
                        {"mlp.down_proj.bias", c->bias_mlp, d, 0}};

            for (size_t p = 0; p < sizeof rows / sizeof rows[0]; p++) {
                snprintf(name, sizeof name, "model.layers.%llu.%s", (unsigned long long)l, rows[p].part);
                if (rows[p].has)
                    tiny_add(m, name, 0, rows[p].cols, rows[p].base, 0.4);
            }
        }
    }
    tiny_add(m, "model.norm.weight", 0, d, 1, 0.2);
    if (!c->tied)
        tiny_add(m, "lm_head.weight", c->vocabulary, d, 0, 0.7);
    tiny_write_config(m);
    tiny_write_weights(m);
}

static inline void tiny_remove(tiny *m)
{
    test_folder_done(m->dir);
    for (uint64_t i = 0; i < m->count; i++)
        sd_free(m->values[i]);
}

/* ---- sites by number, in the order of a pass ---- */

static inline uint64_t tiny_sites(const sd_model_config *c)
{
    return 2 + 5 * c->n_layers;
}

static inline sd_site tiny_site(const sd_model_config *c, uint64_t i)
{
    static const sd_site_kind kinds[] = {SD_SITE_RESID_PRE, SD_SITE_ATTN_OUT, SD_SITE_RESID_MID,
                                         SD_SITE_MLP_OUT, SD_SITE_RESID_POST};

    if (i == 0)
        return (sd_site){SD_SITE_EMBED, 0};
    if (i == tiny_sites(c) - 1)
        return (sd_site){SD_SITE_NORMALIZED, 0};
    return (sd_site){kinds[(i - 1) % 5], (i - 1) / 5};
}

/* ---- the reference ---- */

static inline double ref_round(const tiny *m, double x)
{
    return m->rounds ? (double)sd_f32_from_bf16(sd_bf16_from_f32((float)x)) : x;
}

static inline void ref_norm(const tiny *m, double *y, const double *x, const double *gain, uint64_t d, double eps)
{
    double sum = 0;

    for (uint64_t i = 0; i < d; i++)
        sum += x[i] * x[i];
    for (uint64_t i = 0; i < d; i++)
        y[i] = ref_round(m, gain[i] * ref_round(m, x[i] / sqrt(sum / (double)d + eps)));
}

/* bias NULL: none. */
static inline void ref_linear(const tiny *m, double *y, const double *x, const double *w, const double *bias, uint64_t out,
                              uint64_t in)
{
    for (uint64_t o = 0; o < out; o++) {
        y[o] = bias != NULL ? bias[o] : 0;
        for (uint64_t i = 0; i < in; i++)
            y[o] += w[o * in + i] * x[i];
        y[o] = ref_round(m, y[o]);
    }
}

/* length: tokens of the document. */
static inline void ref_rotate(const tiny *m, double *x, uint64_t heads, uint64_t position, uint64_t length)
{
    uint64_t head = m->c.d_head;
    const double *frequency = m->frequency[m->original > 0 && length > m->original];
    double factor = m->attention > 0 ? m->attention : 1;

    for (uint64_t h = 0; h < heads; h++)
        for (uint64_t i = 0; i < head / 2; i++) {
            double plain = pow(m->c.rope_theta, -2.0 * (double)i / (double)head);
            double angle = (double)position * (frequency != NULL ? frequency[i] : plain);
            double *low = &x[h * head + i], *high = low + head / 2, l = *low, g = *high;

            double c = ref_round(m, factor * cos(angle)), s = ref_round(m, factor * sin(angle));

            *low = ref_round(m, ref_round(m, l * c) - ref_round(m, g * s));
            *high = ref_round(m, ref_round(m, g * c) + ref_round(m, l * s));
        }
}

static inline void ref_norm_heads(const tiny *m, double *x, const double *gain, uint64_t heads, uint64_t head, double eps)
{
    for (uint64_t h = 0; h < heads; h++)
        ref_norm(m, x + h * head, x + h * head, gain, head, eps);
}

/* One document of n ids. out[site] + row·d for every site, and logits [n, vocabulary]. */
static inline void ref_document(const tiny *m, const int32_t *ids, uint64_t n, double *const *out,
                                double *logits)
{
    const sd_model_config *c = &m->c;
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head, e = c->d_head,
             site = 0;
    const double *embed = m->values[tiny_find(m, "model.embed_tokens.weight")];
    const double *head = c->tied ? embed : m->values[tiny_find(m, "lm_head.weight")];
    double *x = calloc(n * d, sizeof *x), *normed = calloc(d, sizeof *x), *qs = calloc(n * q, sizeof *x);
    double *ks = calloc(n * kv, sizeof *x), *vs = calloc(n * kv, sizeof *x), *mixed = calloc(q, sizeof *x);
    double *score = calloc(n, sizeof *x), *gate = calloc(c->d_mlp, sizeof *x),
           *up = calloc(c->d_mlp, sizeof *x);

    for (uint64_t t = 0; t < n; t++)
        memcpy(x + t * d, embed + (uint64_t)ids[t] * d, d * sizeof *x);
    memcpy(out[site++], x, n * d * sizeof *x);
    for (uint64_t l = 0; l < c->n_layers; l++) {
        memcpy(out[site++], x, n * d * sizeof *x);
        for (uint64_t t = 0; t < n; t++) {
            ref_norm(m, normed, x + t * d, tiny_weight(m, l, "input_layernorm"), d, c->norm_eps);
            ref_linear(m, qs + t * q, normed, tiny_weight(m, l, "self_attn.q_proj"), tiny_bias(m, c->bias_qkv, l, "self_attn.q_proj"), q, d);
            ref_linear(m, ks + t * kv, normed, tiny_weight(m, l, "self_attn.k_proj"), tiny_bias(m, c->bias_qkv, l, "self_attn.k_proj"), kv, d);
            ref_linear(m, vs + t * kv, normed, tiny_weight(m, l, "self_attn.v_proj"), tiny_bias(m, c->bias_qkv, l, "self_attn.v_proj"), kv, d);
            if (c->qk_norm) {
                ref_norm_heads(m, qs + t * q, tiny_weight(m, l, "self_attn.q_norm"), c->n_heads, e, c->norm_eps);
                ref_norm_heads(m, ks + t * kv, tiny_weight(m, l, "self_attn.k_norm"), c->n_kv_heads, e, c->norm_eps);
            }
            ref_rotate(m, qs + t * q, c->n_heads, t, n);
            ref_rotate(m, ks + t * kv, c->n_kv_heads, t, n);
        }
        for (uint64_t t = 0; t < n; t++) {
            double *added = out[site] + t * d;

            for (uint64_t h = 0; h < c->n_heads; h++) {
                uint64_t g = h / (c->n_heads / c->n_kv_heads), low = 0;
                double sum = 0;

                for (uint64_t i = 0; i < e; i++)
                    mixed[h * e + i] = 0;
                if (m->window > 0 && l >= m->window_from && t + 1 > m->window)
                    low = t + 1 - m->window;
                for (uint64_t s = low; s <= t; s++) {
                    score[s] = 0;
                    for (uint64_t i = 0; i < e; i++)
                        score[s] += qs[t * q + h * e + i] * ks[s * kv + g * e + i];
                    score[s] = exp(score[s] / sqrt((double)e));
                    sum += score[s];
                }
                for (uint64_t s = low; s <= t; s++)
                    for (uint64_t i = 0; i < e; i++)
                        mixed[h * e + i] += score[s] / sum * vs[s * kv + g * e + i];
                for (uint64_t i = 0; i < e; i++)
                    mixed[h * e + i] = ref_round(m, mixed[h * e + i]);
            }
            ref_linear(m, added, mixed, tiny_weight(m, l, "self_attn.o_proj"), tiny_bias(m, c->bias_o, l, "self_attn.o_proj"), d, q);
            for (uint64_t i = 0; i < d; i++)
                x[t * d + i] = ref_round(m, x[t * d + i] + added[i]);
        }
        site++;
        memcpy(out[site++], x, n * d * sizeof *x);
        for (uint64_t t = 0; t < n; t++) {
            double *added = out[site] + t * d;

            ref_norm(m, normed, x + t * d, tiny_weight(m, l, "post_attention_layernorm"), d, c->norm_eps);
            ref_linear(m, gate, normed, tiny_weight(m, l, "mlp.gate_proj"), tiny_bias(m, c->bias_mlp, l, "mlp.gate_proj"), c->d_mlp, d);
            ref_linear(m, up, normed, tiny_weight(m, l, "mlp.up_proj"), tiny_bias(m, c->bias_mlp, l, "mlp.up_proj"), c->d_mlp, d);
            for (uint64_t i = 0; i < c->d_mlp; i++)
                gate[i] = ref_round(m, ref_round(m, gate[i] / (1 + exp(-gate[i]))) * up[i]);
            ref_linear(m, added, gate, tiny_weight(m, l, "mlp.down_proj"), tiny_bias(m, c->bias_mlp, l, "mlp.down_proj"), d, c->d_mlp);
            for (uint64_t i = 0; i < d; i++)
                x[t * d + i] = ref_round(m, x[t * d + i] + added[i]);
        }
        site++;
        memcpy(out[site++], x, n * d * sizeof *x);
    }
    for (uint64_t t = 0; t < n; t++) {
        ref_norm(m, out[site] + t * d, x + t * d, m->values[tiny_find(m, "model.norm.weight")], d, c->norm_eps);
        ref_linear(m, logits + t * c->vocabulary, out[site] + t * d, head, NULL, c->vocabulary, d);
    }
    free(x), free(normed), free(qs), free(ks), free(vs), free(mixed), free(score), free(gate), free(up);
}

/* ---- reading a pass ---- */

/* ‖a − b‖ / ‖b‖ */
static inline double relative(const float *a, const double *b, uint64_t count)
{
    double apart = 0, size = 0;

    for (uint64_t i = 0; i < count; i++) {
        apart += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(apart / size);
}

/* A sink that copies what comes, once. */
typedef struct catcher {
    float *rows;
    uint64_t capacity, count; /* elements */
    int calls;
} catcher;

static inline sd_status catch_rows(void *self, sd_dev *dev, sd_mat rows)
{
    catcher *c = self;

    c->calls++;
    c->count = rows.rows * rows.cols;
    CHECK(c->count <= c->capacity);
    return sd_dev_download(dev, rows, c->rows);
}

static inline sd_tap read_tap(sd_site site, catcher *c)
{
    return (sd_tap){.site = site, .kind = SD_TAP_READ, .sink = {catch_rows, c}};
}

/* Every site of a pass over `ids`, and the logits of all rows, as raw floats. */
typedef struct readings {
    uint64_t sites, n;
    catcher at[64];
    float *logits;
} readings;

static inline void readings_make(readings *r, const sd_model_config *c, uint64_t n)
{
    memset(r, 0, sizeof *r);
    r->sites = tiny_sites(c);
    r->n = n;
    for (uint64_t i = 0; i < r->sites; i++) {
        r->at[i].capacity = n * c->d_model;
        CHECK_OK(SD_NEW(&r->at[i].rows, r->at[i].capacity));
    }
    CHECK_OK(SD_NEW(&r->logits, n * c->vocabulary));
}

static inline void readings_free(readings *r)
{
    for (uint64_t i = 0; i < r->sites; i++)
        sd_free(r->at[i].rows);
    sd_free(r->logits);
}

/* Runs `pass` with READ taps at every site from its beginning on, behind the `extra` taps given, and takes
 * the logits of all rows in two parts. */
static inline void readings_take(readings *r, sd_model *model, sd_dev *dev, sd_pass pass, const sd_tap *extra,
                                 uint64_t n_extra)
{
    const sd_model_config *c = sd_model_config_of(model);
    uint64_t n = pass.doc_start[pass.docs], v = c->vocabulary, half = n / 2;
    sd_tap taps[80];
    sd_buf *buf;

    pass.n_taps = 0;
    for (uint64_t i = 0; i < n_extra; i++)
        taps[pass.n_taps++] = extra[i];
    for (uint64_t i = 0; i < r->sites; i++)
        if (pass.from == NULL || sd_site_compare(tiny_site(c, i), *pass.from) >= 0)
            taps[pass.n_taps++] = read_tap(tiny_site(c, i), &r->at[i]);
    pass.taps = taps;
    pass.to_logits = true;
    CHECK_OK(sd_model_forward(model, &pass));
    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, n * v));
    CHECK_OK(sd_model_logits(model, (sd_span){0, half}, sd_mat_of(buf, half, v)));
    CHECK_OK(
        sd_model_logits(model, (sd_span){half, n - half}, sd_mat_rows(sd_mat_of(buf, n, v), half, n - half)));
    CHECK_OK(sd_dev_download(dev, sd_mat_of(buf, n, v), r->logits));
    sd_buf_destroy(&buf);
}

static inline bool same_readings(const readings *a, const readings *b, const sd_model_config *c,
                                 uint64_t from)
{
    bool same = memcmp(a->logits, b->logits, a->n * c->vocabulary * sizeof(float)) == 0;

    for (uint64_t i = from; i < a->sites; i++)
        same = same && memcmp(a->at[i].rows, b->at[i].rows, a->n * c->d_model * sizeof(float)) == 0;
    return same;
}

/* n ids that depend on their place. */
static inline void tiny_ids(int32_t *ids, uint64_t n, uint64_t vocabulary)
{
    for (uint64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(sd_random_u64(sd_key_make(3, SD_STREAM_TEST, 0), i) % vocabulary);
}

#endif

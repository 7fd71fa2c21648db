/* The tensors of a model: names, shapes and destinations. */
#include <stdio.h>

#include "model_private.h"
#include "saediff/core/mem.h"

enum { LAYER_PARTS = 18 };

static void want(sd_wanted_list *l, const sd_model *m, bool here, const char *name, uint64_t rows, uint64_t cols, sd_buf **to, uint64_t first,
                 uint64_t all)
{
    sd_wanted *w = &l->items[l->count++];

    *w = (sd_wanted){.rows = rows, .cols = cols, .to = to, .first = first, .all = all, .here = here};
    w->type = rows > 0 && m->dev != NULL ? sd_dev_compute(m->dev) : SD_REAL;
    snprintf(w->name, sizeof w->name, "%s", name);
}

static void want_layer(sd_wanted_list *l, sd_model *m, uint64_t i)
{
    const sd_model_config *c = &m->config;
    sd_layer *layer = &m->layers[i];
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head, mlp = c->d_mlp;
    bool here = sd_span_intersect(m->blocks, (sd_span){i, 1}).count > 0;
    const struct {
        const char *name;
        uint64_t rows, cols;
        sd_buf **to;
        uint64_t first, all;
        bool lacks;
    } parts[LAYER_PARTS] = {
        {"input_layernorm.weight", 0, d, &layer->attn_gain, 0, d, false},
        {"self_attn.q_proj.weight", q, d, &layer->qkv, 0, (q + 2 * kv) * d, false},
        {"self_attn.k_proj.weight", kv, d, &layer->qkv, q * d, (q + 2 * kv) * d, false},
        {"self_attn.v_proj.weight", kv, d, &layer->qkv, (q + kv) * d, (q + 2 * kv) * d, false},
        {"self_attn.q_proj.bias", 0, q, &layer->qkv_bias, 0, q + 2 * kv, !c->bias_qkv},
        {"self_attn.k_proj.bias", 0, kv, &layer->qkv_bias, q, q + 2 * kv, !c->bias_qkv},
        {"self_attn.v_proj.bias", 0, kv, &layer->qkv_bias, q + kv, q + 2 * kv, !c->bias_qkv},
        {"self_attn.q_norm.weight", 0, c->d_head, &layer->q_gain, 0, c->d_head, !c->qk_norm},
        {"self_attn.k_norm.weight", 0, c->d_head, &layer->k_gain, 0, c->d_head, !c->qk_norm},
        {"self_attn.o_proj.weight", d, q, &layer->o, 0, d * q, false},
        {"self_attn.o_proj.bias", 0, d, &layer->o_bias, 0, d, !c->bias_o},
        {"post_attention_layernorm.weight", 0, d, &layer->mlp_gain, 0, d, false},
        {"mlp.gate_proj.weight", mlp, d, &layer->gate_up, 0, 2 * mlp * d, false},
        {"mlp.up_proj.weight", mlp, d, &layer->gate_up, mlp * d, 2 * mlp * d, false},
        {"mlp.gate_proj.bias", 0, mlp, &layer->gate_up_bias, 0, 2 * mlp, !c->bias_mlp},
        {"mlp.up_proj.bias", 0, mlp, &layer->gate_up_bias, mlp, 2 * mlp, !c->bias_mlp},
        {"mlp.down_proj.weight", d, mlp, &layer->down, 0, d * mlp, false},
        {"mlp.down_proj.bias", 0, d, &layer->down_bias, 0, d, !c->bias_mlp},
    };

    for (int p = 0; p < LAYER_PARTS; p++) {
        char name[SD_WANTED_NAME];

        if (parts[p].lacks)
            continue;
        snprintf(name, sizeof name, "model.layers.%llu.%s", (unsigned long long)i, parts[p].name);
        want(l, m, here, name, parts[p].rows, parts[p].cols, parts[p].to, parts[p].first, parts[p].all);
    }
}

sd_status sd_model_list(sd_wanted_list *l, sd_model *m)
{
    const sd_model_config *c = &m->config;
    sd_status st;

    SD_TRY(st, SD_NEW(&l->items, 3 + (uint64_t)LAYER_PARTS * c->n_layers));
    want(l, m, sd_model_begins(m) || (c->tied && sd_model_ends(m)), "model.embed_tokens.weight", c->vocabulary, c->d_model, &m->embed, 0,
         c->vocabulary * c->d_model);
    for (uint64_t i = 0; i < c->n_layers; i++)
        want_layer(l, m, i);
    want(l, m, sd_model_ends(m), "model.norm.weight", 0, c->d_model, &m->gain, 0, c->d_model);
    if (!c->tied)
        want(l, m, sd_model_ends(m), "lm_head.weight", c->vocabulary, c->d_model, &m->head, 0, c->vocabulary * c->d_model);
out:
    return st;
}


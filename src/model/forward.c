/* The forward pass, with taps. attn_out and mlp_out are always computed separately and then added,
 * tapped or not, so that a tap that changes nothing changes no bit. */
#include <stdio.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/dev/dense.h"

typedef unsigned long long ull;

/* The current pass. */
typedef struct walk {
    sd_model *m;
    const sd_pass *pass;
    uint64_t n;
    sd_site last; /* the pass ends here */
    bool empty;   /* there is nothing to compute */
    bool continues; /* each row attends to its own cache slot */
    sd_mat x, normed, delta;
} walk;

/* ---- checks ---- */

static sd_status check_documents(const sd_model *m, const sd_pass *p)
{
    for (uint64_t d = 0; d < p->docs; d++) {
        uint64_t length = p->doc_start[d + 1] - p->doc_start[d];

        if (p->doc_start[d + 1] < p->doc_start[d] || p->doc_start[d + 1] > m->max_tokens)
            return SD_FAIL(SD_E_INTERNAL,
                           "document %llu of a pass ends at row %llu; it begins at row %llu, and the maximum is %llu rows",
                           (ull)d, (ull)p->doc_start[d + 1], (ull)p->doc_start[d], (ull)m->max_tokens);
        if (length > m->config.context)
            return SD_FAIL(SD_E_DATA, "document %llu of a pass has %llu tokens; the model's context is %llu",
                           (ull)d, (ull)length, (ull)m->config.context);
    }
    return SD_OK;
}

static sd_status check_ids(const sd_model *m, const int32_t *ids, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint64_t)ids[i] >= m->config.vocabulary)
            return SD_FAIL(SD_E_DATA,
                           "token %llu of a pass is id %d; the model's vocabulary has ids 0 to %llu", (ull)i,
                           ids[i], (ull)(m->config.vocabulary - 1));
    return SD_OK;
}

static bool residual(sd_site_kind kind)
{
    return kind == SD_SITE_RESID_PRE || kind == SD_SITE_RESID_MID || kind == SD_SITE_RESID_POST;
}

static sd_status check_site(const sd_model_config *c, sd_site site)
{
    char name[SD_SITE_NAME];

    if (site.kind != SD_SITE_EMBED && site.kind != SD_SITE_NORMALIZED && site.layer >= c->n_layers)
        return SD_FAIL(SD_E_INTERNAL, "a pass names %s; the model has %llu layers", sd_site_name(site, name), (ull)c->n_layers);
    return SD_OK;
}

static sd_status check_from(const sd_model_config *c, sd_site from)
{
    char name[SD_SITE_NAME];
    sd_status st;

    SD_TRY(st, check_site(c, from));
    if (!residual(from.kind))
        st = SD_FAIL(SD_E_INTERNAL, "a pass cannot begin at %s, only at resid_pre, resid_mid or resid_post", sd_site_name(from, name));
out:
    return st;
}

sd_status sd_pass_reach(const sd_model_config *c, const sd_pass *p, sd_site *last, bool *empty)
{
    char name[SD_SITE_NAME], from[SD_SITE_NAME];
    sd_status st = SD_OK;

    if (p->from != NULL)
        SD_TRY(st, check_from(c, *p->from));
    *empty = !p->to_logits && p->n_taps == 0;
    *last = (sd_site){p->to_logits ? SD_SITE_NORMALIZED : SD_SITE_EMBED, 0};
    for (uint64_t i = 0; i < p->n_taps; i++) {
        sd_site site = p->taps[i].site;

        SD_TRY(st, check_site(c, site));
        if (p->from != NULL && sd_site_compare(site, *p->from) < 0) {
            st = SD_FAIL(SD_E_INTERNAL, "a tap at %s in a pass that begins at %s", sd_site_name(site, name),
                         sd_site_name(*p->from, from));
            goto out;
        }
        if (sd_site_compare(site, *last) > 0)
            *last = site;
    }
out:
    return st;
}

static bool has(const sd_model *m, sd_site site)
{
    return site.kind == SD_SITE_EMBED        ? sd_model_begins(m)
           : site.kind == SD_SITE_NORMALIZED ? sd_model_ends(m)
                                             : sd_span_intersect(m->blocks, (sd_span){site.layer, 1}).count > 0;
}

/* Checks that the pass lies within the model's part. */
static sd_status check_part(const walk *w)
{
    sd_site from = w->pass->from != NULL ? *w->pass->from : (sd_site){SD_SITE_EMBED, 0};
    char a[SD_SITE_NAME], b[SD_SITE_NAME], what[2 * SD_SITE_NAME + 40];

    if (w->empty || (has(w->m, from) && has(w->m, w->last)))
        return SD_OK;
    snprintf(what, sizeof what, "a pass from %s to %s needs", sd_site_name(from, a), sd_site_name(w->last, b));
    return sd_model_need_whole(w->m, what);
}

static sd_status check_pass(walk *w)
{
    const sd_pass *p = w->pass;
    sd_status st = SD_OK;

    if (p->docs == 0 || p->doc_start[0] != 0 || p->doc_start[p->docs] == 0) {
        st = SD_FAIL(SD_E_INTERNAL, "a pass without rows, or whose first document does not begin at row 0");
        goto out;
    }
    SD_TRY(st, check_documents(w->m, p));
    w->n = p->doc_start[p->docs];
    if (p->from == NULL)
        SD_TRY(st, check_ids(w->m, p->ids, w->n));
    SD_TRY(st, sd_pass_reach(&w->m->config, p, &w->last, &w->empty));
    SD_TRY(st, check_part(w));
out:
    return st;
}

/* Positions (rows of the rotary tables: long documents use the second table, if there are two) and document
 * starts of all rows, and their ids if the pass begins at the embeddings. */
static sd_status upload_rows(walk *w)
{
    const sd_pass *p = w->pass;
    int32_t *position = NULL, *start = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&position, w->n));
    SD_TRY(st, SD_NEW(&start, w->n));
    for (uint64_t d = 0; d < p->docs; d++) {
        uint64_t first = p->doc_start[d], length = p->doc_start[d + 1] - first;

        for (uint64_t r = 0; r < length; r++) {
            position[first + r] = (int32_t)sd_model_position(w->m, r, length);
            start[first + r] = (int32_t)first;
        }
    }
    if (p->cache != NULL)
        SD_TRY(st, sd_cache_slots(p->cache, p, position));
    SD_TRY(st, sd_dev_upload(w->m->dev, position, sd_mat_of(w->m->position, 1, w->n)));
    SD_TRY(st, sd_dev_upload(w->m->dev, start, sd_mat_of(w->m->start, 1, w->n)));
    if (p->from == NULL)
        SD_TRY(st, sd_dev_upload(w->m->dev, p->ids, sd_mat_of(w->m->ids, 1, w->n)));
out:
    sd_free(start);
    sd_free(position);
    return st;
}

/* ---- sites ---- */

/* Whether the pass reaches `site`. */
static bool reaches(const walk *w, sd_site_kind kind, uint64_t layer)
{
    return sd_site_compare((sd_site){kind, layer}, w->last) <= 0;
}

/* Whether the pass began after `site`. */
static bool skips(const walk *w, sd_site_kind kind, uint64_t layer)
{
    return w->pass->from != NULL && sd_site_compare((sd_site){kind, layer}, *w->pass->from) < 0;
}

/* All taps at a site, in the order given, on its rows. */
static sd_status tap(walk *w, sd_site_kind kind, uint64_t layer, sd_mat rows)
{
    sd_dev *dev = w->m->dev;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < w->pass->n_taps; i++) {
        const sd_tap *t = &w->pass->taps[i];

        if (sd_site_compare(t->site, (sd_site){kind, layer}) != 0)
            continue;
        if (t->kind == SD_TAP_READ)
            SD_TRY(st, t->sink.put(t->sink.self, dev, rows));
        else if (t->kind == SD_TAP_REPLACE)
            SD_TRY(st, sd_dev_scale(dev, &(sd_scale){.x = t->value, .y = rows, .scale = 1}));
        else if (t->value.rows != rows.rows)
            SD_TRY(st, SD_FAIL(SD_E_INTERNAL, "a tap adds %llu rows to %llu", (ull)t->value.rows,
                               (ull)rows.rows));
        else
            SD_TRY(st, sd_dev_axpy(dev, &(sd_axpy){.x = t->value, .y = rows, .scale = 1}));
    }
out:
    return st;
}

/* A residual-stream site: loads the state if the pass begins there; then its taps. */
static sd_status stream(walk *w, sd_site_kind kind, uint64_t layer)
{
    sd_site here = {kind, layer};
    sd_status st;

    if (w->pass->from != NULL && sd_site_compare(here, *w->pass->from) == 0)
        SD_TRY(st, sd_dev_scale(w->m->dev, &(sd_scale){.x = w->pass->state, .y = w->x, .scale = 1}));
    SD_TRY(st, tap(w, kind, layer, w->x));
out:
    return st;
}

/* ---- arithmetic ---- */

/* y [n, out] = x [n, in] · weightᵀ + bias, if there is one */
static sd_status linear(walk *w, sd_mat x, sd_buf *weight, sd_buf *bias, sd_mat y)
{
    sd_status st;

    if (w->continues)
        SD_TRY(st, sd_dev_rowwise(w->m->dev, &(sd_rowwise){.x = x, .w = sd_mat_of(weight, y.cols, x.cols), .y = y}));
    else
        SD_TRY(st, sd_dev_matmul(w->m->dev, &(sd_matmul){.a = x,
                                                         .b = sd_mat_of(weight, y.cols, x.cols),
                                                         .y = y,
                                                         .trans_b = true,
                                                         .alpha = 1}));
    if (bias != NULL)
        SD_TRY(st, sd_dev_axpy(w->m->dev, &(sd_axpy){.x = sd_mat_of(bias, 1, y.cols), .y = y, .scale = 1}));
out:
    return st;
}

static sd_status norm(walk *w, sd_buf *gain, sd_mat y)
{
    return sd_dev_rmsnorm(w->m->dev, &(sd_rmsnorm){.x = w->x,
                                                   .gain = sd_mat_of(gain, 1, w->x.cols),
                                                   .y = y,
                                                   .eps = w->m->config.norm_eps});
}

/* Each head of x to length sqrt(d_head), times the gain. */
static sd_status norm_heads(walk *w, sd_mat x, sd_buf *gain)
{
    return sd_dev_rmsnorm(w->m->dev, &(sd_rmsnorm){.x = x,
                                                   .gain = sd_mat_of(gain, 1, w->m->config.d_head),
                                                   .y = x,
                                                   .eps = w->m->config.norm_eps});
}

/* Writes the keys and values of the pass's rows to the cache. */
static sd_status keep(walk *w, uint64_t l, sd_mat k, sd_mat v)
{
    const sd_cache *cache = w->pass->cache;
    uint64_t rows = cache->slots * cache->length;
    sd_mat slots_row = sd_mat_of(cache->slots_row, 1, w->n);
    sd_status st;

    SD_TRY(st, sd_dev_put_rows(w->m->dev, &(sd_put_rows){.x = k, .index = slots_row, .y = sd_mat_of(cache->k[l], rows, k.cols)}));
    SD_TRY(st, sd_dev_put_rows(w->m->dev, &(sd_put_rows){.x = v, .index = slots_row, .y = sd_mat_of(cache->v[l], rows, v.cols)}));
out:
    return st;
}

static sd_status recall(walk *w, uint64_t l, sd_mat q, sd_mat y)
{
    const sd_model_config *c = &w->m->config;
    const sd_cache *cache = w->pass->cache;
    uint64_t rows = cache->slots * cache->length, kv = c->n_kv_heads * c->d_head;
    sd_buf *first = sd_model_window(c, l) > 0 ? cache->first_window : cache->first;

    return sd_dev_attention_cached(w->m->dev, &(sd_attention_cached){.q = q,
                                                 .k = sd_mat_of(cache->k[l], rows, kv),
                                                 .v = sd_mat_of(cache->v[l], rows, kv),
                                                 .first = sd_mat_of(first, 1, w->n),
                                                 .last = sd_mat_of(cache->slots_row, 1, w->n),
                                                 .y = y,
                                                 .head = c->d_head});
}

/* delta = output of attention. */
static sd_status attention(walk *w, uint64_t l)
{
    const sd_layer *layer = &w->m->layers[l];
    const sd_model_config *c = &w->m->config;
    sd_dev *dev = w->m->dev;
    uint64_t q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head, half = c->d_head / 2;
    sd_mat qkv = sd_mat_of(w->m->wide, w->n, q + 2 * kv), mixed = sd_mat_of(w->m->mixed, w->n, q);
    sd_status st;

    SD_TRY(st, norm(w, layer->attn_gain, w->normed));
    SD_TRY(st, linear(w, w->normed, layer->qkv, layer->qkv_bias, qkv));
    if (c->qk_norm) {
        SD_TRY(st, norm_heads(w, sd_mat_cols(qkv, 0, q), layer->q_gain));
        SD_TRY(st, norm_heads(w, sd_mat_cols(qkv, q, kv), layer->k_gain));
    }
    /* q and k are adjacent: one call rotates the heads of both. */
    SD_TRY(st, sd_dev_rope(dev, &(sd_rope){.x = sd_mat_cols(qkv, 0, q + kv),
                                           .position = sd_mat_of(w->m->position, 1, w->n),
                                           .cos = sd_mat_of(w->m->cos, w->m->tables * w->m->positions, half),
                                           .sin = sd_mat_of(w->m->sin, w->m->tables * w->m->positions, half),
                                           .head = c->d_head}));
    if (w->pass->cache != NULL)
        SD_TRY(st, keep(w, l, sd_mat_cols(qkv, q, kv), sd_mat_cols(qkv, q + kv, kv)));
    if (w->continues)
        SD_TRY(st, recall(w, l, sd_mat_cols(qkv, 0, q), mixed));
    else
        SD_TRY(st, sd_dev_attention(dev, &(sd_attention){.q = sd_mat_cols(qkv, 0, q),
                                                         .k = sd_mat_cols(qkv, q, kv),
                                                         .v = sd_mat_cols(qkv, q + kv, kv),
                                                         .start = sd_mat_of(w->m->start, 1, w->n),
                                                         .y = mixed,
                                                         .head = c->d_head,
                                                         .window = sd_model_window(c, l)}));
    SD_TRY(st, linear(w, mixed, layer->o, layer->o_bias, w->delta));
out:
    return st;
}

/* delta = output of the MLP. */
static sd_status mlp(walk *w, const sd_layer *layer)
{
    uint64_t width = w->m->config.d_mlp;
    sd_mat both = sd_mat_of(w->m->wide, w->n, 2 * width);
    sd_mat gate = sd_mat_cols(both, 0, width), up = sd_mat_cols(both, width, width);
    sd_status st;

    SD_TRY(st, norm(w, layer->mlp_gain, w->normed));
    SD_TRY(st, linear(w, w->normed, layer->gate_up, layer->gate_up_bias, both));
    SD_TRY(st, sd_dev_silu_mul(w->m->dev, &(sd_silu_mul){.gate = gate, .up = up, .y = gate}));
    SD_TRY(st, linear(w, gate, layer->down, layer->down_bias, w->delta));
out:
    return st;
}

static sd_status add_delta(walk *w)
{
    return sd_dev_axpy(w->m->dev, &(sd_axpy){.x = w->delta, .y = w->x, .scale = 1});
}

static sd_status embed(walk *w)
{
    const sd_model_config *c = &w->m->config;
    sd_status st;

    SD_TRY(st, sd_dev_gather(w->m->dev, &(sd_gather){.x = sd_mat_of(w->m->embed, c->vocabulary, c->d_model),
                                                     .index = sd_mat_of(w->m->ids, 1, w->n),
                                                     .y = w->x}));
    SD_TRY(st, tap(w, SD_SITE_EMBED, 0, w->x));
out:
    return st;
}

/* The part of one block between the start and the end of the pass. */
static sd_status block(walk *w, uint64_t l)
{
    const sd_layer *layer = &w->m->layers[l];
    sd_status st = SD_OK;

    if (!skips(w, SD_SITE_RESID_PRE, l))
        SD_TRY(st, stream(w, SD_SITE_RESID_PRE, l));
    if (!skips(w, SD_SITE_ATTN_OUT, l) && reaches(w, SD_SITE_ATTN_OUT, l)) {
        SD_TRY(st, attention(w, l));
        SD_TRY(st, tap(w, SD_SITE_ATTN_OUT, l, w->delta));
        SD_TRY(st, add_delta(w));
    }
    if (!skips(w, SD_SITE_RESID_MID, l) && reaches(w, SD_SITE_RESID_MID, l))
        SD_TRY(st, stream(w, SD_SITE_RESID_MID, l));
    if (!skips(w, SD_SITE_MLP_OUT, l) && reaches(w, SD_SITE_MLP_OUT, l)) {
        SD_TRY(st, mlp(w, layer));
        SD_TRY(st, tap(w, SD_SITE_MLP_OUT, l, w->delta));
        SD_TRY(st, add_delta(w));
    }
    if (!skips(w, SD_SITE_RESID_POST, l) && reaches(w, SD_SITE_RESID_POST, l))
        SD_TRY(st, stream(w, SD_SITE_RESID_POST, l));
out:
    return st;
}

sd_status sd_model_forward(sd_model *m, const sd_pass *pass)
{
    walk w = {.m = m, .pass = pass};
    uint64_t d = m->config.d_model, layers = m->config.n_layers;
    sd_status st;

    m->ready = 0;
    SD_TRY(st, check_pass(&w));
    if (w.empty)
        goto out;
    w.x = sd_mat_of(m->x, w.n, d);
    w.normed = sd_mat_of(m->normed, w.n, d);
    w.delta = sd_mat_of(m->delta, w.n, d);
    w.continues = pass->cache != NULL && pass->cache->held[pass->slot[0]] > 0;
    SD_TRY(st, upload_rows(&w));

    if (pass->from == NULL)
        SD_TRY(st, embed(&w));
    for (uint64_t l = pass->from == NULL ? 0 : pass->from->layer;
         l < layers && reaches(&w, SD_SITE_RESID_PRE, l); l++)
        SD_TRY(st, block(&w, l));
    if (reaches(&w, SD_SITE_NORMALIZED, 0)) {
        sd_mat last = sd_mat_of(m->last, w.n, d);

        SD_TRY(st, norm(&w, m->gain, last));
        SD_TRY(st, tap(&w, SD_SITE_NORMALIZED, 0, last));
    }
    m->ready = pass->to_logits ? w.n : 0;
    m->one_by_one = w.continues;
    if (pass->cache != NULL)
        sd_cache_hold(pass->cache, pass);
out:
    return st;
}

sd_status sd_model_rows(sd_model *m, const sd_pass *pass)
{
    walk w = {.m = m, .pass = pass};
    sd_status st;

    SD_TRY(st, check_pass(&w));
    st = upload_rows(&w);
out:
    return st;
}

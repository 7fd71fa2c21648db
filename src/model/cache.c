/* Keys and values of sequences under way. */
#include "model_private.h"
#include "saediff/core/mem.h"

typedef unsigned long long ull;

uint64_t sd_model_position(const sd_model *m, uint64_t p, uint64_t length)
{
    return m->tables > 1 && length > m->config.rotary.original ? m->positions + p : p;
}

sd_status sd_cache_create(sd_cache **cache, sd_model *model, uint64_t slots, uint64_t length)
{
    const sd_model_config *c = &model->config;
    uint64_t kv = c->n_kv_heads * c->d_head, rows;
    sd_cache *k = NULL;
    sd_status st;

    *cache = NULL;
    SD_TRY(st, sd_mul_u64(slots, length, &rows, "the rows of a cache"));
    if (slots < 1 || length < 1 || length > c->context || rows > INT32_MAX) {
        st = SD_FAIL(SD_E_INTERNAL, "a cache of %llu sequences of %llu tokens for a model with a context of %llu", (ull)slots, (ull)length,
                     (ull)c->context);
        goto out;
    }
    SD_TRY(st, sd_model_reach(model, length));
    SD_TRY(st, SD_NEW(&k, 1));
    k->model = model;
    k->slots = slots;
    k->length = length;
    SD_TRY(st, SD_NEW(&k->k, c->n_layers));
    SD_TRY(st, SD_NEW(&k->v, c->n_layers));
    SD_TRY(st, SD_NEW(&k->held, slots));
    SD_TRY(st, SD_NEW(&k->planned, slots));
    for (uint64_t l = 0; l < c->n_layers; l++) {
        SD_TRY(st, sd_buf_create(&k->k[l], model->dev, sd_dev_activation(model->dev), rows * kv));
        SD_TRY(st, sd_buf_create(&k->v[l], model->dev, sd_dev_activation(model->dev), rows * kv));
    }
    SD_TRY(st, sd_buf_create(&k->place, model->dev, SD_I32, model->max_tokens));
    SD_TRY(st, sd_buf_create(&k->first, model->dev, SD_I32, model->max_tokens));
    SD_TRY(st, sd_buf_create(&k->first_window, model->dev, SD_I32, model->max_tokens));
    *cache = k;
    k = NULL;
out:
    sd_cache_destroy(&k);
    return st;
}

void sd_cache_destroy(sd_cache **cache)
{
    sd_cache *k = *cache;

    if (k == NULL)
        return;
    for (uint64_t l = 0; l < k->model->config.n_layers; l++) {
        if (k->k != NULL)
            sd_buf_destroy(&k->k[l]);
        if (k->v != NULL)
            sd_buf_destroy(&k->v[l]);
    }
    sd_buf_destroy(&k->place);
    sd_buf_destroy(&k->first);
    sd_buf_destroy(&k->first_window);
    sd_free(k->k);
    sd_free(k->v);
    sd_free(k->held);
    sd_free(k->planned);
    sd_free(k);
    *cache = NULL;
}

void sd_cache_clear(sd_cache *cache, uint64_t slot, uint64_t planned)
{
    cache->held[slot] = 0;
    cache->planned[slot] = planned;
}

static sd_status check(const sd_cache *k, const sd_pass *p)
{
    bool fresh = true, single = true;

    for (uint64_t d = 0; d < p->docs; d++) {
        uint64_t slot = p->slot[d], length = p->doc_start[d + 1] - p->doc_start[d];

        if (slot >= k->slots || k->held[slot] + length > k->planned[slot] || k->planned[slot] > k->length)
            return SD_FAIL(SD_E_INTERNAL, "%llu tokens for slot %llu of a cache; there are %llu slots, and it was planned for fewer", (ull)length,
                           (ull)slot, (ull)k->slots);
        for (uint64_t e = 0; e < d; e++)
            if (p->slot[e] == slot)
                return SD_FAIL(SD_E_INTERNAL, "slot %llu of a cache twice in one pass", (ull)slot);
        fresh = fresh && k->held[slot] == 0;
        single = single && length == 1;
    }
    if (!fresh && !single)
        return SD_FAIL(SD_E_INTERNAL, "a pass that continues sequences by more than one token each");
    if (p->from != NULL)
        return SD_FAIL(SD_E_INTERNAL, "a pass with a cache begins at the embeddings");
    return SD_OK;
}

sd_status sd_cache_slots(sd_cache *k, const sd_pass *p, int32_t *position)
{
    uint64_t n = p->doc_start[p->docs], window = k->model->config.window;
    int32_t *place = NULL, *first = NULL, *first_window = NULL;
    sd_dev *dev = k->model->dev;
    sd_status st;

    SD_TRY(st, check(k, p));
    SD_TRY(st, SD_NEW(&place, n));
    SD_TRY(st, SD_NEW(&first, n));
    SD_TRY(st, SD_NEW(&first_window, n));
    for (uint64_t d = 0; d < p->docs; d++) {
        uint64_t slot = p->slot[d], base = slot * k->length;

        for (uint64_t r = p->doc_start[d]; r < p->doc_start[d + 1]; r++) {
            uint64_t at = k->held[slot] + r - p->doc_start[d];

            position[r] = (int32_t)sd_model_position(k->model, at, k->planned[slot]);
            place[r] = (int32_t)(base + at);
            first[r] = (int32_t)base;
            first_window[r] = (int32_t)(base + (window > 0 && at >= window ? at + 1 - window : 0));
        }
    }
    SD_TRY(st, sd_dev_upload(dev, place, sd_mat_of(k->place, 1, n)));
    SD_TRY(st, sd_dev_upload(dev, first, sd_mat_of(k->first, 1, n)));
    SD_TRY(st, sd_dev_upload(dev, first_window, sd_mat_of(k->first_window, 1, n)));
out:
    sd_free(place);
    sd_free(first);
    sd_free(first_window);
    return st;
}

void sd_cache_hold(sd_cache *k, const sd_pass *p)
{
    for (uint64_t d = 0; d < p->docs; d++)
        k->held[p->slot[d]] += p->doc_start[d + 1] - p->doc_start[d];
}

/* Opening and closing: configuration, weights, tables, work space. */
#include <math.h>
#include <string.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/dev/dense.h"

/* Rows whose logits exist at one time in sd_model_score(). */
enum { SCORE_ROWS = 256 };

/* One table: cosines and sines of position · frequency, times the attention factor, computed in double. */
static void fill_rope(const sd_model *m, bool beyond, double *frequency, double *cosines, double *sines)
{
    uint64_t half = m->config.d_head / 2;

    sd_rotary_frequencies(&m->config, beyond, frequency);
    for (uint64_t p = 0; p < m->positions; p++)
        for (uint64_t i = 0; i < half; i++) {
            cosines[p * half + i] = m->config.rotary.attention * cos((double)p * frequency[i]);
            sines[p * half + i] = m->config.rotary.attention * sin((double)p * frequency[i]);
        }
}

sd_status sd_model_reach(sd_model *m, uint64_t positions)
{
    const sd_model_config *c = &m->config;
    uint64_t half = c->d_head / 2, count;
    double *frequency = NULL, *cosines = NULL, *sines = NULL;
    sd_status st = SD_OK;

    if (m->positions >= positions)
        goto out;
    sd_buf_destroy(&m->cos);
    sd_buf_destroy(&m->sin);
    m->positions = positions;
    m->tables = c->rotary.kind == SD_ROTARY_LONG ? 2 : 1;
    count = m->positions * half;
    SD_TRY(st, SD_NEW(&frequency, half));
    SD_TRY(st, SD_NEW(&cosines, m->tables * count));
    SD_TRY(st, SD_NEW(&sines, m->tables * count));
    for (uint64_t t = 0; t < m->tables; t++)
        fill_rope(m, t == 1, frequency, cosines + t * count, sines + t * count);
    SD_TRY(st, sd_buf_create(&m->cos, m->dev, SD_REAL, m->tables * count));
    SD_TRY(st, sd_buf_create(&m->sin, m->dev, SD_REAL, m->tables * count));
    SD_TRY(st, sd_dev_upload_as(m->dev, cosines, SD_F64, sd_mat_of(m->cos, m->tables * m->positions, half)));
    SD_TRY(st, sd_dev_upload_as(m->dev, sines, SD_F64, sd_mat_of(m->sin, m->tables * m->positions, half)));
out:
    if (st != SD_OK)
        m->positions = 0;
    sd_free(sines);
    sd_free(cosines);
    sd_free(frequency);
    return st;
}

static sd_status make_room(sd_model *m)
{
    const sd_model_config *c = &m->config;
    uint64_t n = m->max_tokens, q = c->n_heads * c->d_head, qkv = q + 2 * c->n_kv_heads * c->d_head;
    uint64_t wide = qkv > 2 * c->d_mlp ? qkv : 2 * c->d_mlp;
    sd_dtype type = sd_dev_activation(m->dev);
    sd_status st = SD_OK;

    m->score_rows = n < SCORE_ROWS ? n : SCORE_ROWS;
    SD_TRY(st, sd_buf_create(&m->x, m->dev, SD_REAL, n * c->d_model));
    SD_TRY(st, sd_buf_create(&m->normed, m->dev, type, n * c->d_model));
    SD_TRY(st, sd_buf_create(&m->wide, m->dev, type, n * wide));
    SD_TRY(st, sd_buf_create(&m->mixed, m->dev, type, n * q));
    SD_TRY(st, sd_buf_create(&m->delta, m->dev, SD_REAL, n * c->d_model));
    m->last = type == SD_REAL ? m->normed : m->delta;
    SD_TRY(st, sd_buf_create(&m->ids, m->dev, SD_I32, n));
    SD_TRY(st, sd_buf_create(&m->position, m->dev, SD_I32, n));
    SD_TRY(st, sd_buf_create(&m->start, m->dev, SD_I32, n));
    if (!sd_model_ends(m))
        goto out;
    SD_TRY(st, sd_buf_create(&m->logits, m->dev, SD_REAL, m->score_rows * c->vocabulary));
    SD_TRY(st, sd_buf_create(&m->target, m->dev, SD_I32, n));
    SD_TRY(st, sd_buf_create(&m->best, m->dev, SD_I32, n));
    SD_TRY(st, sd_buf_create(&m->logp, m->dev, SD_F64, n));
out:
    return st;
}

/* blocks NULL: all. */
static sd_status begin(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens, const sd_span *blocks)
{
    sd_model *m = NULL;
    sd_status st;

    *model = NULL;
    if (max_tokens < 1 || max_tokens > INT32_MAX) {
        st = SD_FAIL(SD_E_INTERNAL, "a model for passes of %llu tokens was asked for; 1 to %d are possible",
                     (unsigned long long)max_tokens, INT32_MAX);
        goto out;
    }
    SD_TRY(st, SD_NEW(&m, 1));
    m->dev = dev;
    m->max_tokens = max_tokens;
    SD_TRY(st, sd_model_config_read(&m->config, dir));
    m->blocks = blocks != NULL ? *blocks : (sd_span){0, m->config.n_layers};
    if (m->blocks.count < 1 || m->blocks.first >= m->config.n_layers || m->blocks.count > m->config.n_layers - m->blocks.first) {
        st = SD_FAIL(SD_E_INTERNAL, "%s: %llu blocks from block %llu on were asked for; there are %llu", dir,
                     (unsigned long long)m->blocks.count, (unsigned long long)m->blocks.first, (unsigned long long)m->config.n_layers);
        goto out;
    }
    *model = m;
    m = NULL;
out:
    sd_model_close(&m);
    return st;
}

/* What follows from configuration and max_tokens. */
static sd_status finish(sd_model *m)
{
    sd_status st;

    SD_TRY(st, sd_model_reach(m, m->config.context < m->max_tokens ? m->config.context : m->max_tokens));
    SD_TRY(st, make_room(m));
out:
    return st;
}

static sd_status open_here(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens, const sd_span *blocks)
{
    sd_status st;

    SD_TRY(st, begin(model, dev, dir, max_tokens, blocks));
    SD_TRY(st, sd_model_load(*model, dir));
    st = finish(*model);
out:
    if (st != SD_OK)
        sd_model_close(model);
    return st;
}

sd_status sd_model_open(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens)
{
    return open_here(model, dev, dir, max_tokens, NULL);
}

sd_status sd_model_open_part(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens, sd_span blocks)
{
    return open_here(model, dev, dir, max_tokens, &blocks);
}

/* One tensor: uniform numbers, 0.02·√3 of which is the largest; or what a vector is where training begins. */
static sd_status make_noise(sd_model *m, const sd_wanted *w, uint64_t number)
{
    uint64_t count = (w->rows > 0 ? w->rows : 1) * w->cols, length = strlen(w->name);
    bool bias = length >= 5 && strcmp(w->name + length - 5, ".bias") == 0;
    sd_mat to;
    sd_status st = SD_OK;

    if (*w->to == NULL)
        SD_TRY(st, sd_buf_create(w->to, m->dev, w->type, w->all));
    to = sd_mat_cols(sd_mat_of(*w->to, 1, w->all), w->first, count);
    if (w->rows > 0)
        SD_TRY(st, sd_dev_noise(m->dev, &(sd_noise){.y = to, .key = sd_key_make(1, SD_STREAM_BENCH, number), .scale = 0.02 * sqrt(3)}));
    else
        SD_TRY(st, sd_dev_fill(m->dev, &(sd_fill){.y = to, .value = bias ? 0 : 1}));
out:
    return st;
}

sd_status sd_model_open_noise(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens)
{
    sd_wanted_list l = {0};
    sd_status st;

    SD_TRY(st, begin(model, dev, dir, max_tokens, NULL));
    SD_TRY(st, SD_NEW(&(*model)->layers, (*model)->config.n_layers));
    SD_TRY(st, sd_model_list(&l, *model));
    for (uint64_t i = 0; i < l.count; i++)
        SD_TRY(st, make_noise(*model, &l.items[i], i));
    st = finish(*model);
out:
    sd_free(l.items);
    if (st != SD_OK)
        sd_model_close(model);
    return st;
}

static sd_status open_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens, const sd_span *blocks)
{
    sd_status st;

    if (!sd_dev_wraps(dev)) {
        st = open_here(model, dev, dir, max_tokens, blocks);
        goto out;
    }
    SD_TRY(st, sd_par_agree(par, begin(model, dev, dir, max_tokens, blocks)));
    SD_TRY(st, sd_model_load_shared(*model, par, dir));
    st = finish(*model);
out:
    st = sd_par_agree(par, st);
    if (st != SD_OK)
        sd_model_close(model);
    return st;
}

sd_status sd_model_open_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens)
{
    return open_shared(model, par, dev, dir, max_tokens, NULL);
}

sd_status sd_model_open_part_shared(sd_model **model, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens, sd_span blocks)
{
    return open_shared(model, par, dev, dir, max_tokens, &blocks);
}

void sd_model_close(sd_model **model)
{
    sd_model *m = *model;

    if (m == NULL)
        return;
    for (uint64_t i = 0; m->layers != NULL && i < m->config.n_layers; i++) {
        sd_layer *layer = &m->layers[i];
        sd_buf **bufs[] = {&layer->attn_gain, &layer->qkv,      &layer->qkv_bias, &layer->q_gain,
                           &layer->k_gain,    &layer->o,        &layer->o_bias,   &layer->mlp_gain,
                           &layer->gate_up,   &layer->gate_up_bias, &layer->down, &layer->down_bias};

        for (size_t b = 0; b < sizeof bufs / sizeof bufs[0]; b++)
            sd_buf_destroy(bufs[b]);
    }
    {
        sd_buf **bufs[] = {&m->embed,  &m->gain,   &m->head,  &m->cos,   &m->sin,      &m->x,
                           &m->normed, &m->wide,   &m->mixed, &m->delta, &m->position, &m->start,
                           &m->logits, &m->target, &m->best,  &m->logp,  &m->ids};

        for (size_t b = 0; b < sizeof bufs / sizeof bufs[0]; b++)
            sd_buf_destroy(bufs[b]);
    }
    sd_shared_destroy(&m->memory);
    sd_free(m->layers);
    sd_free(m);
    *model = NULL;
}

const sd_model_config *sd_model_config_of(const sd_model *model)
{
    return &model->config;
}

sd_dev *sd_model_dev(const sd_model *model)
{
    return model->dev;
}

uint64_t sd_model_max_tokens(const sd_model *model)
{
    return model->max_tokens;
}

sd_span sd_model_blocks(const sd_model *model)
{
    return model->blocks;
}

sd_status sd_model_need_whole(const sd_model *m, const char *what)
{
    if (m->blocks.count == m->config.n_layers)
        return SD_OK;
    return SD_FAIL(SD_E_INTERNAL, "%s a model of which blocks %llu to %llu of %llu are here", what, (unsigned long long)m->blocks.first,
                   (unsigned long long)(m->blocks.first + m->blocks.count - 1), (unsigned long long)m->config.n_layers);
}

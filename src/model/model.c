/* Opening and closing: configuration, weights, tables, workspace. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/dev/dense.h"

/* Rows of logits per chunk in sd_model_score(). */
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

enum { WORKSPACE_PARTS = 12, SCORE_PARTS = 8 }; /* those from SCORE_PARTS on are for scores, which only the last pipeline stage has */

/* One buffer of the workspace. */
typedef struct part {
    sd_buf **to;
    sd_dtype type;
    uint64_t count;
} part;

/* Lists the buffers, returns their number. */
static int list_workspace(sd_model *m, part parts[WORKSPACE_PARTS])
{
    const sd_model_config *c = &m->config;
    uint64_t n = m->max_tokens, q = c->n_heads * c->d_head, qkv = q + 2 * c->n_kv_heads * c->d_head;
    uint64_t wide = qkv > 2 * c->d_mlp ? qkv : 2 * c->d_mlp;
    sd_dtype type = sd_dev_activation(m->dev);
    const part all[WORKSPACE_PARTS] = {
        {&m->x, SD_REAL, n * c->d_model}, {&m->normed, type, n * c->d_model}, {&m->wide, type, n * wide},
        {&m->mixed, type, n * q},         {&m->delta, SD_REAL, n * c->d_model}, {&m->ids, SD_I32, n},
        {&m->position, SD_I32, n},        {&m->start, SD_I32, n},             {&m->logits, SD_REAL, m->score_rows * c->vocabulary},
        {&m->target, SD_I32, n},          {&m->best, SD_I32, n},              {&m->logp, SD_F64, n},
    };

    memcpy(parts, all, sizeof all);
    return sd_model_ends(m) ? WORKSPACE_PARTS : SCORE_PARTS;
}

static sd_status create_workspace(sd_model *m)
{
    part parts[WORKSPACE_PARTS];
    int count = list_workspace(m, parts);
    sd_status st = SD_OK;

    for (int i = 0; i < count; i++)
        SD_TRY(st, sd_buf_create(parts[i].to, m->dev, parts[i].type, parts[i].count));
    m->last = sd_dev_activation(m->dev) == SD_REAL ? m->normed : m->delta;
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
        st = SD_FAIL(SD_E_INTERNAL, "the number of tokens per pass is %llu; it must be 1 to %d",
                     (unsigned long long)max_tokens, INT32_MAX);
        goto out;
    }
    SD_TRY(st, SD_NEW(&m, 1));
    m->dev = dev;
    m->max_tokens = max_tokens;
    m->score_rows = max_tokens < SCORE_ROWS ? max_tokens : SCORE_ROWS;
    SD_TRY(st, sd_model_config_read(&m->config, dir));
    m->blocks = blocks != NULL ? *blocks : (sd_span){0, m->config.n_layers};
    if (m->blocks.count < 1 || m->blocks.first >= m->config.n_layers || m->blocks.count > m->config.n_layers - m->blocks.first) {
        st = SD_FAIL(SD_E_INTERNAL, "%s: %llu blocks from block %llu on were requested; the model has %llu", dir,
                     (unsigned long long)m->blocks.count, (unsigned long long)m->blocks.first, (unsigned long long)m->config.n_layers);
        goto out;
    }
    *model = m;
    m = NULL;
out:
    sd_model_close(&m);
    return st;
}

/* Positions of the initial rotary tables. */
static uint64_t first_reach(const sd_model *m)
{
    return m->config.context < m->max_tokens ? m->config.context : m->max_tokens;
}

/* After begin(). */
static sd_status measure(sd_model *m, sd_model_need *need)
{
    uint64_t tables = m->config.rotary.kind == SD_ROTARY_LONG ? 2 : 1;
    sd_wanted_list l = {0};
    part parts[WORKSPACE_PARTS];
    int count;
    sd_status st;

    *need = (sd_model_need){.workspace = 2 * tables * first_reach(m) * (m->config.d_head / 2) * sizeof(sd_real)};
    count = list_workspace(m, parts);
    for (int i = 0; i < count; i++)
        need->workspace += parts[i].count * sd_dtype_size(parts[i].type);
    SD_TRY(st, SD_NEW(&m->layers, m->config.n_layers));
    SD_TRY(st, sd_model_list(&l, m));
    for (uint64_t i = 0; i < l.count; i++)
        if (l.items[i].here && (i == 0 || l.items[i].to != l.items[i - 1].to))
            need->weights += l.items[i].all * sd_dtype_size(l.items[i].type);
out:
    sd_free(l.items);
    sd_free(m->layers);
    m->layers = NULL;
    return st;
}

sd_status sd_model_measure(const sd_model_config *config, sd_dev *dev, uint64_t max_tokens, sd_span blocks, sd_model_need *need)
{
    sd_model *m = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&m, 1));
    m->dev = dev;
    m->config = *config;
    m->blocks = blocks;
    m->max_tokens = max_tokens;
    m->score_rows = max_tokens < SCORE_ROWS ? max_tokens : SCORE_ROWS;
    SD_TRY(st, measure(m, need));
out:
    sd_free(m);
    return st;
}

/* Before anything is read; `processes` on this machine are opening the model. Host memory is refused only beyond the machine's total, since used
 * memory may be caches, and ranks may share the weights. */
static sd_status check_fits(sd_model *m, const char *dir, int processes)
{
    const char *name = sd_dev_name(m->dev);
    char weights[32], workspace[32], left[32], all[32], shared[64] = "";
    sd_model_need need;
    sd_dev_capacity memory;
    double share;
    sd_status st;

    SD_TRY(st, measure(m, &need));
    SD_TRY(st, sd_dev_memory(m->dev, processes, &memory));
    share = memory.own ? (double)memory.left / memory.sharers : (double)memory.all;
    if (memory.all == 0 || (double)need.weights + (double)need.workspace <= share)
        goto out;
    if (memory.own && memory.sharers > 1)
        snprintf(shared, sizeof shared, ", which %d processes share", memory.sharers);
    st = SD_FAIL(SD_E_ENV, "%s: the weights need %s in %s and the workspace of passes of %llu tokens %s, but device '%s' has %s of %s free%s: use "
                           "shorter passes (extract.batch_tokens), products in bf16 (models.compute), fewer ranks per device, or a larger device",
                 dir, sd_str_bytes(weights, sizeof weights, (double)need.weights), sd_dtype_name(sd_dev_compute(m->dev)),
                 (unsigned long long)m->max_tokens, sd_str_bytes(workspace, sizeof workspace, (double)need.workspace), name,
                 sd_str_bytes(left, sizeof left, (double)memory.left), sd_str_bytes(all, sizeof all, (double)memory.all), shared);
out:
    return st;
}

/* Allocations that depend on configuration and max_tokens. */
static sd_status finish(sd_model *m)
{
    sd_status st;

    SD_TRY(st, sd_model_reach(m, first_reach(m)));
    SD_TRY(st, create_workspace(m));
out:
    return st;
}

static sd_status open_here(sd_model **model, sd_dev *dev, const char *dir, uint64_t max_tokens, const sd_span *blocks)
{
    sd_status st;

    SD_TRY(st, begin(model, dev, dir, max_tokens, blocks));
    SD_TRY(st, check_fits(*model, dir, 1));
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

/* One tensor: uniform in ±0.02·√3, or the initial value of a vector. */
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
    SD_TRY(st, check_fits(*model, dir, 1));
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

    st = begin(model, dev, dir, max_tokens, blocks);
    if (st == SD_OK)
        st = sd_dev_release(dev);
    SD_TRY(st, sd_par_agree(par, st)); /* no rank may keep memory that others need */
    SD_TRY(st, sd_par_agree(par, check_fits(*model, dir, par->node_size))); /* all check free memory before any allocates */
    if (sd_dev_wraps(dev))
        SD_TRY(st, sd_model_load_shared(*model, par, dir));
    else
        SD_TRY(st, sd_model_load(*model, dir));
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
    return SD_FAIL(SD_E_INTERNAL, "%s the whole model, but this rank has blocks %llu to %llu of %llu", what, (unsigned long long)m->blocks.first,
                   (unsigned long long)(m->blocks.first + m->blocks.count - 1), (unsigned long long)m->config.n_layers);
}

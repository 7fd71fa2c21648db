/* The forward pass of a training batch, keeping what its backward pass needs, and the backward pass. The forward operations are those of
 * sd_model_forward(), in its order. */
#include <string.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/dev/dict.h"
#include "saediff/dev/grad.h"
#include "saediff/model/train.h"

/* What is kept of a block besides the residual stream that goes into it; rows as in the comments beside sd_model's work space. */
typedef struct inner {
    sd_buf *normed;  /* d: after the attention's norm */
    sd_buf *raw;     /* (heads + kv_heads)·head: q and k before the norm of their heads; NULL where they have none */
    sd_buf *qkv;     /* (heads + 2 kv_heads)·head: rotated */
    sd_buf *mixed;   /* heads·head */
    sd_buf *mid;     /* d: the residual stream behind attention */
    sd_buf *normed2; /* d: after the MLP's norm */
    sd_buf *gate_up; /* 2·mlp; its gradient later */
    sd_buf *act;     /* mlp */
} inner;

enum { INNER = sizeof(inner) / sizeof(sd_buf *) };

struct sd_backward {
    sd_model *m;
    bool recompute;
    sd_wanted_list list;
    uint64_t *place;  /* [list.count] where the tensor stands in the vector of all weights */
    uint64_t weights; /* elements of that vector */
    sd_buf **stream;  /* [n_layers + 1] d: into each block, and out of the last */
    inner *inner;     /* [n_layers], or one with recompute */
    sd_buf *counted;  /* [max_tokens] i32: rows that are counted */
    sd_buf *rows;     /* d: what these rows are after the final norm */

    /* of the pass under way */
    uint64_t n;
    sd_mat grad;
};

/* Columns of each buffer of `inner`, in its order. */
static void inner_columns(const sd_model_config *c, uint64_t cols[INNER])
{
    uint64_t q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    const uint64_t all[INNER] = {c->d_model, c->qk_norm ? q + kv : 0, q + 2 * kv, q, c->d_model, c->d_model, 2 * c->d_mlp, c->d_mlp};

    memcpy(cols, all, sizeof all);
}

uint64_t sd_backward_bytes(const sd_model_config *c, uint64_t max_tokens, bool recompute)
{
    uint64_t cols[INNER], row = 0;

    inner_columns(c, cols);
    for (int i = 0; i < INNER; i++)
        row += cols[i];
    return max_tokens * sizeof(sd_real) * ((c->n_layers + 2) * c->d_model + (recompute ? 1 : c->n_layers) * row);
}

sd_status sd_backward_create(sd_backward **backward, sd_model *m, bool recompute)
{
    uint64_t cols[INNER], kept = recompute ? 1 : m->config.n_layers, n = m->max_tokens, d = m->config.d_model;
    sd_backward *b = NULL;
    sd_status st;

    *backward = NULL;
    SD_TRY(st, SD_NEW(&b, 1));
    b->m = m;
    b->recompute = recompute;
    SD_TRY(st, sd_model_list(&b->list, m));
    SD_TRY(st, SD_NEW(&b->place, b->list.count));
    for (uint64_t i = 0; i < b->list.count; i++) {
        b->place[i] = b->weights;
        b->weights += (b->list.items[i].rows > 0 ? b->list.items[i].rows : 1) * b->list.items[i].cols;
    }
    SD_TRY(st, SD_NEW(&b->stream, m->config.n_layers + 1));
    for (uint64_t l = 0; l <= m->config.n_layers; l++)
        SD_TRY(st, sd_buf_create(&b->stream[l], m->dev, SD_REAL, n * d));
    inner_columns(&m->config, cols);
    SD_TRY(st, SD_NEW(&b->inner, kept));
    for (uint64_t l = 0; l < kept; l++)
        for (int i = 0; i < INNER; i++)
            if (cols[i] > 0)
                SD_TRY(st, sd_buf_create((sd_buf **)&b->inner[l] + i, m->dev, SD_REAL, n * cols[i]));
    SD_TRY(st, sd_buf_create(&b->counted, m->dev, SD_I32, n));
    SD_TRY(st, sd_buf_create(&b->rows, m->dev, SD_REAL, n * d));
    *backward = b;
    b = NULL;
out:
    sd_backward_destroy(&b);
    return st;
}

void sd_backward_destroy(sd_backward **backward)
{
    sd_backward *b = *backward;

    if (b == NULL)
        return;
    for (uint64_t l = 0; b->stream != NULL && l <= b->m->config.n_layers; l++)
        sd_buf_destroy(&b->stream[l]);
    for (uint64_t l = 0; b->inner != NULL && l < (b->recompute ? 1 : b->m->config.n_layers); l++)
        for (int i = 0; i < INNER; i++)
            sd_buf_destroy((sd_buf **)&b->inner[l] + i);
    sd_buf_destroy(&b->counted);
    sd_buf_destroy(&b->rows);
    sd_free(b->stream);
    sd_free(b->inner);
    sd_free(b->place);
    sd_free(b->list.items);
    sd_free(b);
    *backward = NULL;
}

/* The first rows of a buffer, as many as the pass has. */
static sd_mat rows_of(const sd_backward *b, sd_buf *buf, uint64_t cols)
{
    return sd_mat_of(buf, b->n, cols);
}

/* The gradient of the weights in *weight, which may be several tensors: these follow one another in the vector as they do in the buffer. */
static sd_mat gradient_of(const sd_backward *b, sd_buf *const *weight, uint64_t rows, uint64_t cols)
{
    sd_mat at = b->grad;
    uint64_t i = 0;

    while (i + 1 < b->list.count && b->list.items[i].to != weight)
        i++;
    at.offset += b->place[i];
    at.rows = rows;
    at.cols = at.stride = cols;
    return at;
}

/* ---- forward */

static sd_status norm(const sd_backward *b, sd_mat x, sd_buf *gain, uint64_t group, sd_mat y)
{
    return sd_dev_rmsnorm(b->m->dev, &(sd_rmsnorm){.x = x, .gain = sd_mat_of(gain, 1, group), .y = y, .eps = b->m->config.norm_eps});
}

/* y = x · weightᵀ + bias */
static sd_status linear(const sd_backward *b, sd_mat x, sd_buf *weight, sd_buf *bias, sd_mat y)
{
    sd_status st;

    SD_TRY(st, sd_dev_matmul(b->m->dev,
                             &(sd_matmul){.a = x, .b = sd_mat_of(weight, y.cols, x.cols), .y = y, .trans_b = true, .alpha = 1}));
    if (bias != NULL)
        SD_TRY(st, sd_dev_axpy(b->m->dev, &(sd_axpy){.x = sd_mat_of(bias, 1, y.cols), .y = y, .scale = 1}));
out:
    return st;
}

static sd_status add(const sd_backward *b, sd_mat x, sd_mat y)
{
    return sd_dev_axpy(b->m->dev, &(sd_axpy){.x = x, .y = y, .scale = 1});
}

static sd_rope rotation(const sd_backward *b, sd_mat x, bool back)
{
    const sd_model *m = b->m;
    uint64_t half = m->config.d_head / 2;

    return (sd_rope){.x = x,
                     .position = sd_mat_of(m->position, 1, b->n),
                     .cos = sd_mat_of(m->cos, m->tables * m->positions, half),
                     .sin = sd_mat_of(m->sin, m->tables * m->positions, half),
                     .head = m->config.d_head,
                     .back = back};
}

static sd_status forward_block(const sd_backward *b, uint64_t l, const inner *in)
{
    const sd_layer *layer = &b->m->layers[l];
    const sd_model_config *c = &b->m->config;
    sd_dev *dev = b->m->dev;
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head, mlp = c->d_mlp;
    sd_mat x = rows_of(b, b->stream[l], d), y = rows_of(b, b->stream[l + 1], d), mid = rows_of(b, in->mid, d);
    sd_mat normed = rows_of(b, in->normed, d), normed2 = rows_of(b, in->normed2, d);
    sd_mat qkv = rows_of(b, in->qkv, q + 2 * kv), turned = sd_mat_cols(qkv, 0, q + kv), mixed = rows_of(b, in->mixed, q);
    sd_mat both = rows_of(b, in->gate_up, 2 * mlp), act = rows_of(b, in->act, mlp);
    sd_rope rope = rotation(b, turned, false);
    sd_status st;

    SD_TRY(st, norm(b, x, layer->attn_gain, d, normed));
    SD_TRY(st, linear(b, normed, layer->qkv, layer->qkv_bias, qkv));
    if (c->qk_norm) {
        SD_TRY(st, sd_dev_scale(dev, &(sd_scale){.x = turned, .y = rows_of(b, in->raw, q + kv), .scale = 1}));
        SD_TRY(st, norm(b, sd_mat_cols(qkv, 0, q), layer->q_gain, c->d_head, sd_mat_cols(qkv, 0, q)));
        SD_TRY(st, norm(b, sd_mat_cols(qkv, q, kv), layer->k_gain, c->d_head, sd_mat_cols(qkv, q, kv)));
    }
    SD_TRY(st, sd_dev_rope(dev, &rope));
    SD_TRY(st, sd_dev_attention(dev, &(sd_attention){.q = sd_mat_cols(qkv, 0, q),
                                                     .k = sd_mat_cols(qkv, q, kv),
                                                     .v = sd_mat_cols(qkv, q + kv, kv),
                                                     .start = sd_mat_of(b->m->start, 1, b->n),
                                                     .y = mixed,
                                                     .head = c->d_head,
                                                     .window = sd_model_window(c, l)}));
    SD_TRY(st, linear(b, mixed, layer->o, layer->o_bias, mid));
    SD_TRY(st, add(b, x, mid));
    SD_TRY(st, norm(b, mid, layer->mlp_gain, d, normed2));
    SD_TRY(st, linear(b, normed2, layer->gate_up, layer->gate_up_bias, both));
    SD_TRY(st, sd_dev_silu_mul(dev, &(sd_silu_mul){.gate = sd_mat_cols(both, 0, mlp), .up = sd_mat_cols(both, mlp, mlp), .y = act}));
    SD_TRY(st, linear(b, act, layer->down, layer->down_bias, y));
    SD_TRY(st, add(b, mid, y));
out:
    return st;
}

/* ---- backward: dx is what the loss's gradient is so far with respect to the residual stream, [n, d] in the model's x */

/* Of y = x · weightᵀ + bias: the gradients of weight and bias, and of x into dx. */
static sd_status linear_back(const sd_backward *b, sd_mat x, sd_buf *const *weight, sd_buf *const *bias, sd_mat dy, sd_mat dx)
{
    sd_status st;

    SD_TRY(st, sd_dev_matmul(b->m->dev,
                             &(sd_matmul){.a = dy, .b = x, .y = gradient_of(b, weight, dy.cols, x.cols), .trans_a = true, .alpha = 1}));
    if (*bias != NULL)
        SD_TRY(st, sd_dev_colsum(b->m->dev, &(sd_colsum){.x = dy, .y = gradient_of(b, bias, 1, dy.cols)}));
    SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = dy, .b = sd_mat_of(*weight, dy.cols, x.cols), .y = dx, .alpha = 1}));
out:
    return st;
}

static sd_status norm_back(const sd_backward *b, sd_mat x, sd_buf *const *gain, uint64_t group, sd_mat dy, sd_mat dx)
{
    return sd_dev_rmsnorm_grad(b->m->dev, &(sd_rmsnorm_grad){.x = x,
                                                            .gain = sd_mat_of(*gain, 1, group),
                                                            .dy = dy,
                                                            .dx = dx,
                                                            .dgain = gradient_of(b, gain, 1, group),
                                                            .eps = b->m->config.norm_eps});
}

static sd_status mlp_back(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx)
{
    const sd_layer *layer = &b->m->layers[l];
    uint64_t d = dx.cols, mlp = b->m->config.d_mlp;
    sd_mat both = rows_of(b, in->gate_up, 2 * mlp), gate = sd_mat_cols(both, 0, mlp), up = sd_mat_cols(both, mlp, mlp);
    sd_mat dact = rows_of(b, b->m->wide, mlp), dnormed = rows_of(b, b->m->delta, d);
    sd_status st;

    SD_TRY(st, linear_back(b, rows_of(b, in->act, mlp), &layer->down, &layer->down_bias, dx, dact));
    SD_TRY(st, sd_dev_silu_mul_grad(b->m->dev, &(sd_silu_mul_grad){.gate = gate, .up = up, .dy = dact, .dgate = gate, .dup = up}));
    SD_TRY(st, linear_back(b, rows_of(b, in->normed2, d), &layer->gate_up, &layer->gate_up_bias, both, dnormed));
    SD_TRY(st, norm_back(b, rows_of(b, in->mid, d), &layer->mlp_gain, d, dnormed, dnormed));
    SD_TRY(st, add(b, dnormed, dx));
out:
    return st;
}

static sd_status attention_back(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx)
{
    const sd_layer *layer = &b->m->layers[l];
    const sd_model_config *c = &b->m->config;
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    sd_mat qkv = rows_of(b, in->qkv, q + 2 * kv), dqkv = rows_of(b, b->m->wide, q + 2 * kv), dmixed = rows_of(b, b->m->mixed, q);
    sd_mat dnormed = rows_of(b, b->m->delta, d), dq = sd_mat_cols(dqkv, 0, q), dk = sd_mat_cols(dqkv, q, kv);
    sd_rope back = rotation(b, sd_mat_cols(dqkv, 0, q + kv), true);
    sd_status st;

    SD_TRY(st, linear_back(b, rows_of(b, in->mixed, q), &layer->o, &layer->o_bias, dx, dmixed));
    SD_TRY(st, sd_dev_attention_grad(b->m->dev, &(sd_attention_grad){.q = sd_mat_cols(qkv, 0, q),
                                                                    .k = sd_mat_cols(qkv, q, kv),
                                                                    .v = sd_mat_cols(qkv, q + kv, kv),
                                                                    .dy = dmixed,
                                                                    .dq = dq,
                                                                    .dk = dk,
                                                                    .dv = sd_mat_cols(dqkv, q + kv, kv),
                                                                    .start = sd_mat_of(b->m->start, 1, b->n),
                                                                    .head = c->d_head,
                                                                    .window = sd_model_window(c, l)}));
    SD_TRY(st, sd_dev_rope(b->m->dev, &back));
    if (c->qk_norm) {
        sd_mat raw = rows_of(b, in->raw, q + kv);

        SD_TRY(st, norm_back(b, sd_mat_cols(raw, 0, q), &layer->q_gain, c->d_head, dq, dq));
        SD_TRY(st, norm_back(b, sd_mat_cols(raw, q, kv), &layer->k_gain, c->d_head, dk, dk));
    }
    SD_TRY(st, linear_back(b, rows_of(b, in->normed, d), &layer->qkv, &layer->qkv_bias, dqkv, dnormed));
    SD_TRY(st, norm_back(b, rows_of(b, b->stream[l], d), &layer->attn_gain, d, dnormed, dnormed));
    SD_TRY(st, add(b, dnormed, dx));
out:
    return st;
}

/* ---- the loss */

/* From the last residual stream to log-probabilities of `count` rows, and back to dx and the gradient of the output matrix. */
static sd_status loss(const sd_backward *b, uint64_t count, double scale, sd_mat dx)
{
    sd_model *m = b->m;
    uint64_t d = m->config.d_model, v = m->config.vocabulary, last = m->config.n_layers;
    sd_buf *const *matrix = m->config.tied ? &m->embed : &m->head;
    sd_mat normed = rows_of(b, m->normed, d), rows = sd_mat_of(b->rows, count, d), drows = sd_mat_of(m->delta, count, d);
    sd_mat counted = sd_mat_of(b->counted, 1, count), head = sd_mat_of(*matrix, v, d), dhead = gradient_of(b, matrix, v, d);
    sd_status st;

    SD_TRY(st, norm(b, rows_of(b, b->stream[last], d), m->gain, d, normed));
    SD_TRY(st, sd_dev_gather(m->dev, &(sd_gather){.x = normed, .index = counted, .y = rows}));
    for (uint64_t first = 0; first < count; first += m->score_rows) {
        uint64_t some = count - first < m->score_rows ? count - first : m->score_rows;
        sd_mat x = sd_mat_rows(rows, first, some), logits = sd_mat_of(m->logits, some, v);
        sd_mat target = sd_mat_cols(sd_mat_of(m->target, 1, count), first, some);
        sd_mat logp = sd_mat_cols(sd_mat_of(m->logp, 1, count), first, some);

        SD_TRY(st, sd_model_unembed(m, x, logits));
        SD_TRY(st, sd_dev_logprob(m->dev, &(sd_logprob){.logits = logits,
                                                        .target = target,
                                                        .logp = logp,
                                                        .best = sd_mat_cols(sd_mat_of(m->best, 1, count), first, some)}));
        SD_TRY(st, sd_dev_logprob_grad(m->dev, &(sd_logprob_grad){.logits = logits, .target = target, .logp = logp, .scale = scale}));
        SD_TRY(st, sd_dev_matmul(m->dev, &(sd_matmul){.a = logits,
                                                      .b = x,
                                                      .y = dhead,
                                                      .trans_a = true,
                                                      .alpha = 1,
                                                      .beta = first > 0 ? 1 : 0}));
        SD_TRY(st, sd_dev_matmul(m->dev, &(sd_matmul){.a = logits, .b = head, .y = sd_mat_rows(drows, first, some), .alpha = 1}));
    }
    SD_TRY(st, sd_dev_fill(m->dev, &(sd_fill){.y = normed}));
    SD_TRY(st, sd_dev_place(m->dev, &(sd_place){.x = drows, .index = counted, .y = normed}));
    SD_TRY(st, norm_back(b, rows_of(b, b->stream[last], d), &m->gain, d, normed, dx));
out:
    return st;
}

/* The gradient of the embedding is added where the tied output matrix has one already. */
static sd_status embed_back(const sd_backward *b, sd_mat dx)
{
    sd_model *m = b->m;
    sd_mat to = gradient_of(b, &m->embed, m->config.vocabulary, dx.cols);
    sd_status st;

    if (!m->config.tied)
        SD_TRY(st, sd_dev_fill(m->dev, &(sd_fill){.y = to}));
    SD_TRY(st, sd_dev_scatter_rows(m->dev, &(sd_scatter_rows){.x = dx, .map = sd_mat_of(m->ids, 1, b->n), .y = to, .scale = 1}));
out:
    return st;
}

static sd_status whole_pass(const sd_backward *b, uint64_t count, double scale)
{
    const sd_model *m = b->m;
    uint64_t layers = m->config.n_layers, d = m->config.d_model;
    sd_mat dx = rows_of(b, m->x, d);
    sd_status st;

    SD_TRY(st, sd_dev_gather(m->dev, &(sd_gather){.x = sd_mat_of(m->embed, m->config.vocabulary, d),
                                                  .index = sd_mat_of(m->ids, 1, b->n),
                                                  .y = rows_of(b, b->stream[0], d)}));
    for (uint64_t l = 0; l < layers; l++)
        SD_TRY(st, forward_block(b, l, &b->inner[b->recompute ? 0 : l]));
    SD_TRY(st, loss(b, count, scale, dx));
    for (uint64_t l = layers; l-- > 0;) {
        const inner *in = &b->inner[b->recompute ? 0 : l];

        if (b->recompute && l + 1 < layers)
            SD_TRY(st, forward_block(b, l, in));
        SD_TRY(st, mlp_back(b, l, in, dx));
        SD_TRY(st, attention_back(b, l, in, dx));
    }
    SD_TRY(st, embed_back(b, dx));
out:
    return st;
}

/* The counted rows and their targets, on the device; row[0 … *count−1]. */
static sd_status upload_targets(const sd_backward *b, const int32_t *target, int32_t *row, uint64_t *count)
{
    uint64_t v = b->m->config.vocabulary;
    int32_t *wanted = NULL;
    sd_status st;

    *count = 0;
    SD_TRY(st, SD_NEW(&wanted, b->n));
    for (uint64_t i = 0; i < b->n; i++) {
        if (target[i] < -1 || target[i] >= (int64_t)v) {
            st = SD_FAIL(SD_E_DATA, "target %llu of a batch is id %d; the model's vocabulary has ids 0 to %llu", (unsigned long long)i,
                         target[i], (unsigned long long)(v - 1));
            goto out;
        }
        if (target[i] >= 0) {
            row[*count] = (int32_t)i;
            wanted[(*count)++] = target[i];
        }
    }
    SD_TRY(st, sd_dev_upload(b->m->dev, row, sd_mat_of(b->counted, 1, *count)));
    SD_TRY(st, sd_dev_upload(b->m->dev, wanted, sd_mat_of(b->m->target, 1, *count)));
out:
    sd_free(wanted);
    return st;
}

/* What the pass found at its counted rows, at their places among all rows. */
static sd_status spread(const sd_backward *b, const int32_t *row, uint64_t count, double *logp, int32_t *best)
{
    double *some_logp = NULL;
    int32_t *some_best = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&some_logp, count));
    SD_TRY(st, SD_NEW(&some_best, count));
    SD_TRY(st, sd_dev_download(b->m->dev, sd_mat_of(b->m->logp, 1, count), some_logp));
    SD_TRY(st, sd_dev_download(b->m->dev, sd_mat_of(b->m->best, 1, count), some_best));
    for (uint64_t i = 0; i < b->n; i++) {
        if (logp != NULL)
            logp[i] = 0;
        if (best != NULL)
            best[i] = -1;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (logp != NULL)
            logp[row[i]] = some_logp[i];
        if (best != NULL)
            best[row[i]] = some_best[i];
    }
out:
    sd_free(some_logp);
    sd_free(some_best);
    return st;
}

sd_status sd_backward_run(sd_backward *b, const sd_lesson *lesson, sd_mat grad, double *logp, int32_t *best)
{
    const sd_pass pass = {.ids = lesson->ids, .doc_start = lesson->doc_start, .docs = lesson->docs, .to_logits = true};
    int32_t *row = NULL;
    uint64_t count;
    sd_status st;

    b->m->ready = 0;
    if (grad.rows != 1 || grad.cols != b->weights) {
        st = SD_FAIL(SD_E_INTERNAL, "a gradient of [%llu, %llu] was given for %llu weights", (unsigned long long)grad.rows,
                     (unsigned long long)grad.cols, (unsigned long long)b->weights);
        goto out;
    }
    SD_TRY(st, sd_model_place(b->m, &pass));
    b->n = lesson->doc_start[lesson->docs];
    b->grad = grad;
    SD_TRY(st, SD_NEW(&row, b->n));
    SD_TRY(st, upload_targets(b, lesson->target, row, &count));
    if (count > 0)
        SD_TRY(st, whole_pass(b, count, lesson->scale));
    else
        SD_TRY(st, sd_dev_fill(b->m->dev, &(sd_fill){.y = grad}));
    SD_TRY(st, spread(b, row, count, logp, best));
    st = sd_dev_wait(b->m->dev);
out:
    sd_free(row);
    return st;
}

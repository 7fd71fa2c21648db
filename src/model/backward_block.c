/* A block of a training batch: forward, keeping what its backward pass needs, and backward. The forward operations are those of
 * sd_model_forward(), in its order. */
#include "backward.h"
#include "saediff/dev/grad.h"

sd_mat backward_rows(const sd_backward *b, sd_buf *buf, uint64_t cols)
{
    return sd_mat_of(buf, b->n, cols);
}

sd_mat backward_gradient(const sd_backward *b, uint64_t i, uint64_t rows, uint64_t cols)
{
    return (sd_mat){.buf = b->grad, .offset = b->set.place[i], .rows = rows, .cols = cols, .stride = cols};
}

/* How the tensors of a buffer are learned, where that is the same for all; else −1. */
static int trainable_alike(const sd_backward *b, sd_span tensors)
{
    for (uint64_t i = 1; i < tensors.count; i++)
        if (b->set.how[tensors.first + i] != b->set.how[tensors.first])
            return -1;
    return b->set.how[tensors.first];
}

bool backward_goes_on(const sd_backward *b, sd_buf *const *buffer)
{
    return b->set.lowest < trainable_tensors(&b->set, buffer).first;
}

/* ---- forward */

sd_status backward_norm(const sd_backward *b, sd_mat x, sd_buf *gain, uint64_t group, sd_mat y)
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

sd_status backward_forward(const sd_backward *b, uint64_t l, const inner *in)
{
    const sd_layer *layer = &b->m->layers[l];
    const sd_model_config *c = &b->m->config;
    sd_dev *dev = b->m->dev;
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head, mlp = c->d_mlp;
    sd_mat x = backward_rows(b, b->stream[l], d), y = backward_rows(b, b->stream[l + 1], d), mid = backward_rows(b, in->mid, d);
    sd_mat normed = backward_rows(b, in->normed, d), normed2 = backward_rows(b, in->normed2, d);
    sd_mat qkv = backward_rows(b, in->qkv, q + 2 * kv), turned = sd_mat_cols(qkv, 0, q + kv), mixed = backward_rows(b, in->mixed, q);
    sd_mat both = backward_rows(b, in->gate_up, 2 * mlp), act = backward_rows(b, in->act, mlp);
    sd_rope rope = rotation(b, turned, false);
    sd_status st;

    SD_TRY(st, backward_norm(b, x, layer->attn_gain, d, normed));
    SD_TRY(st, linear(b, normed, layer->qkv, layer->qkv_bias, qkv));
    if (c->qk_norm) {
        SD_TRY(st, sd_dev_scale(dev, &(sd_scale){.x = turned, .y = backward_rows(b, in->raw, q + kv), .scale = 1}));
        SD_TRY(st, backward_norm(b, sd_mat_cols(qkv, 0, q), layer->q_gain, c->d_head, sd_mat_cols(qkv, 0, q)));
        SD_TRY(st, backward_norm(b, sd_mat_cols(qkv, q, kv), layer->k_gain, c->d_head, sd_mat_cols(qkv, q, kv)));
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
    SD_TRY(st, backward_norm(b, mid, layer->mlp_gain, d, normed2));
    SD_TRY(st, linear(b, normed2, layer->gate_up, layer->gate_up_bias, both));
    SD_TRY(st, sd_dev_silu_mul(dev, &(sd_silu_mul){.gate = sd_mat_cols(both, 0, mlp), .up = sd_mat_cols(both, mlp, mlp), .y = act}));
    SD_TRY(st, linear(b, act, layer->down, layer->down_bias, y));
    SD_TRY(st, add(b, mid, y));
out:
    return st;
}

/* ---- backward: dx is what the loss's gradient is so far with respect to the residual stream, [n, d] in the model's x */

/* Of y = x · (W0 + scale · B·A)ᵀ: dA = scale · (dy·B)ᵀ·x, dB = scale · dyᵀ·(x·Aᵀ), for tensor i. */
static sd_status factors_back(const sd_backward *b, uint64_t i, sd_mat x, sd_mat dy)
{
    const trainable_set *s = &b->set;
    sd_mat low = sd_mat_of(b->low, x.rows, s->rank);
    sd_mat da = backward_gradient(b, i, s->rank, x.cols), db = backward_gradient(b, i, dy.cols, s->rank);
    sd_status st;

    db.offset += s->rank * x.cols;
    SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = x, .b = trainable_a(s, i), .y = low, .trans_b = true, .alpha = 1}));
    SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = dy, .b = low, .y = db, .trans_a = true, .alpha = s->scale}));
    SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = dy, .b = trainable_b(s, i), .y = low, .alpha = 1}));
    SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = low, .b = x, .y = da, .trans_a = true, .alpha = s->scale}));
out:
    return st;
}

/* The gradients of what is learned of the matrices in *weight: one product for all where all are learned whole. */
static sd_status matrices_back(const sd_backward *b, sd_mat x, sd_buf *const *weight, sd_mat dy)
{
    sd_span in = trainable_tensors(&b->set, weight);
    sd_status st = SD_OK;

    if (trainable_alike(b, in) == SD_TRAIN_WHOLE)
        return sd_dev_matmul(b->m->dev, &(sd_matmul){.a = dy, .b = x, .y = backward_gradient(b, in.first, dy.cols, x.cols),
                                                     .trans_a = true, .alpha = 1});
    for (uint64_t i = in.first; i < in.first + in.count; i++) {
        const sd_wanted *w = &b->set.list.items[i];
        sd_mat part = sd_mat_cols(dy, w->first / w->cols, w->rows);

        if (b->set.how[i] == SD_TRAIN_WHOLE)
            SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = part, .b = x, .y = backward_gradient(b, i, w->rows, w->cols),
                                                             .trans_a = true, .alpha = 1}));
        else if (b->set.how[i] == SD_TRAIN_FACTORS)
            SD_TRY(st, factors_back(b, i, x, part));
    }
out:
    return st;
}

static sd_status biases_back(const sd_backward *b, sd_buf *const *bias, sd_mat dy)
{
    sd_span in = trainable_tensors(&b->set, bias);
    sd_status st = SD_OK;

    for (uint64_t i = in.first; i < in.first + in.count; i++) {
        const sd_wanted *w = &b->set.list.items[i];

        if (b->set.how[i] == SD_TRAIN_WHOLE)
            SD_TRY(st, sd_dev_colsum(b->m->dev, &(sd_colsum){.x = sd_mat_cols(dy, w->first, w->cols),
                                                             .y = backward_gradient(b, i, 1, w->cols)}));
    }
out:
    return st;
}

/* Of y = x · weightᵀ + bias: the gradients of weight and bias, and of x into dx where it goes on. */
static sd_status linear_back(const sd_backward *b, sd_mat x, sd_buf *const *weight, sd_buf *const *bias, sd_mat dy, sd_mat dx)
{
    sd_status st;

    SD_TRY(st, matrices_back(b, x, weight, dy));
    if (*bias != NULL)
        SD_TRY(st, biases_back(b, bias, dy));
    if (backward_goes_on(b, weight))
        SD_TRY(st, sd_dev_matmul(b->m->dev, &(sd_matmul){.a = dy, .b = sd_mat_of(*weight, dy.cols, x.cols), .y = dx, .alpha = 1}));
out:
    return st;
}

sd_status backward_norm_back(const sd_backward *b, sd_mat x, sd_buf *const *gain, uint64_t group, sd_mat dy, sd_mat dx)
{
    uint64_t i = trainable_tensors(&b->set, gain).first;

    return sd_dev_rmsnorm_grad(b->m->dev, &(sd_rmsnorm_grad){.x = x,
                                                            .gain = sd_mat_of(*gain, 1, group),
                                                            .dy = dy,
                                                            .dx = dx,
                                                            .dgain = b->set.how[i] == SD_TRAIN_WHOLE ? backward_gradient(b, i, 1, group)
                                                                                                   : sd_mat_of(b->spare, 1, group),
                                                            .eps = b->m->config.norm_eps});
}

static sd_status mlp_back(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx)
{
    const sd_layer *layer = &b->m->layers[l];
    uint64_t d = dx.cols, mlp = b->m->config.d_mlp;
    sd_mat both = backward_rows(b, in->gate_up, 2 * mlp), gate = sd_mat_cols(both, 0, mlp), up = sd_mat_cols(both, mlp, mlp);
    sd_mat dact = backward_rows(b, b->m->wide, mlp), dnormed = backward_rows(b, b->m->delta, d);
    sd_status st;

    SD_TRY(st, linear_back(b, backward_rows(b, in->act, mlp), &layer->down, &layer->down_bias, dx, dact));
    if (!backward_goes_on(b, &layer->down))
        goto out;
    SD_TRY(st, sd_dev_silu_mul_grad(b->m->dev, &(sd_silu_mul_grad){.gate = gate, .up = up, .dy = dact, .dgate = gate, .dup = up}));
    SD_TRY(st, linear_back(b, backward_rows(b, in->normed2, d), &layer->gate_up, &layer->gate_up_bias, both, dnormed));
    if (!backward_goes_on(b, &layer->gate_up))
        goto out;
    SD_TRY(st, backward_norm_back(b, backward_rows(b, in->mid, d), &layer->mlp_gain, d, dnormed, dnormed));
    SD_TRY(st, add(b, dnormed, dx));
out:
    return st;
}

static sd_status attention_back(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx)
{
    const sd_layer *layer = &b->m->layers[l];
    const sd_model_config *c = &b->m->config;
    uint64_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    sd_mat qkv = backward_rows(b, in->qkv, q + 2 * kv), dqkv = backward_rows(b, b->m->wide, q + 2 * kv);
    sd_mat dmixed = backward_rows(b, b->m->mixed, q);
    sd_mat dnormed = backward_rows(b, b->m->delta, d), dq = sd_mat_cols(dqkv, 0, q), dk = sd_mat_cols(dqkv, q, kv);
    sd_rope back = rotation(b, sd_mat_cols(dqkv, 0, q + kv), true);
    sd_status st;

    SD_TRY(st, linear_back(b, backward_rows(b, in->mixed, q), &layer->o, &layer->o_bias, dx, dmixed));
    if (!backward_goes_on(b, &layer->o))
        goto out;
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
        sd_mat raw = backward_rows(b, in->raw, q + kv);

        SD_TRY(st, backward_norm_back(b, sd_mat_cols(raw, 0, q), &layer->q_gain, c->d_head, dq, dq));
        SD_TRY(st, backward_norm_back(b, sd_mat_cols(raw, q, kv), &layer->k_gain, c->d_head, dk, dk));
    }
    SD_TRY(st, linear_back(b, backward_rows(b, in->normed, d), &layer->qkv, &layer->qkv_bias, dqkv, dnormed));
    if (!backward_goes_on(b, &layer->qkv))
        goto out;
    SD_TRY(st, backward_norm_back(b, backward_rows(b, b->stream[l], d), &layer->attn_gain, d, dnormed, dnormed));
    SD_TRY(st, add(b, dnormed, dx));
out:
    return st;
}

sd_status backward_block(const sd_backward *b, uint64_t l, const inner *in, sd_mat dx)
{
    sd_status st;

    SD_TRY(st, mlp_back(b, l, in, dx));
    if (backward_goes_on(b, &b->m->layers[l].mlp_gain))
        st = attention_back(b, l, in, dx);
out:
    return st;
}

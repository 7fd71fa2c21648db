/* The forward pass of a training batch and the backward pass: the loss, and all blocks. */
#include <string.h>

#include "backward.h"
#include "saediff/core/mem.h"
#include "saediff/dev/dict.h"
#include "saediff/dev/grad.h"

/* Columns of each buffer of `inner`, in its order. */
static void inner_columns(const sd_model_config *c, uint64_t cols[INNER])
{
    uint64_t q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    const uint64_t all[INNER] = {c->d_model, c->qk_norm ? q + kv : 0, q + 2 * kv, q, c->d_model, c->d_model, 2 * c->d_mlp, c->d_mlp};

    memcpy(cols, all, sizeof all);
}

static uint64_t gain_size(const sd_model_config *c)
{
    return c->d_model > c->d_head ? c->d_model : c->d_head;
}

uint64_t sd_backward_bytes(const sd_model_config *c, const sd_trainable_spec *learning, uint64_t max_tokens, bool recompute)
{
    uint64_t cols[INNER], row = 0, kept = 0, count = 0;
    sd_model_tensor *tensors = NULL;

    inner_columns(c, cols);
    for (int i = 0; i < INNER; i++)
        row += cols[i];
    row = (c->n_layers + 2) * c->d_model + (recompute ? 1 : c->n_layers) * row;
    if (learning != NULL && learning->how != NULL && sd_model_tensors(c, &tensors, &count) == SD_OK)
        for (uint64_t i = 0; i < count; i++)
            if (learning->how[i] == SD_TRAIN_FACTORS)
                kept += tensors[i].count + learning->rank * (tensors[i].rows + tensors[i].cols);
    sd_free(tensors);
    return sizeof(sd_real) * (max_tokens * (row + (kept > 0 ? learning->rank : 0)) + kept + gain_size(c));
}

sd_status sd_backward_create(sd_backward **backward, sd_model *m, const sd_trainable_spec *learning, bool recompute)
{
    uint64_t cols[INNER], kept = recompute ? 1 : m->config.n_layers, n = m->max_tokens, d = m->config.d_model;
    sd_backward *b = NULL;
    sd_status st;

    *backward = NULL;
    SD_TRY(st, sd_model_need_whole(m, "a backward pass was asked for of"));
    SD_TRY(st, SD_NEW(&b, 1));
    b->m = m;
    b->recompute = recompute;
    SD_TRY(st, trainable_create(&b->set, m, learning));
    SD_TRY(st, SD_NEW(&b->stream, m->config.n_layers + 1));
    for (uint64_t l = 0; l <= m->config.n_layers; l++)
        SD_TRY(st, sd_buf_create(&b->stream[l], m->dev, SD_REAL, n * d));
    inner_columns(&m->config, cols);
    SD_TRY(st, SD_NEW(&b->inner, kept));
    for (uint64_t l = 0; l < kept; l++)
        for (int i = 0; i < INNER; i++)
            if (cols[i] > 0)
                SD_TRY(st, sd_buf_create((sd_buf **)&b->inner[l] + i, m->dev, SD_REAL, n * cols[i]));
    SD_TRY(st, sd_buf_create(&b->evaluated, m->dev, SD_I32, n));
    SD_TRY(st, sd_buf_create(&b->rows, m->dev, SD_REAL, n * d));
    SD_TRY(st, sd_buf_create(&b->spare, m->dev, SD_REAL, gain_size(&m->config)));
    if (b->set.factors != NULL)
        SD_TRY(st, sd_buf_create(&b->low, m->dev, SD_REAL, n * b->set.rank));
    *backward = b;
    b = NULL;
out:
    sd_backward_destroy(&b);
    return st;
}

const sd_trainable *sd_backward_trainable(const sd_backward *b, uint64_t *count)
{
    *count = b->set.count;
    return b->set.items;
}

sd_status sd_backward_factor(const sd_backward *b, uint64_t i, sd_real *host)
{
    return trainable_factor(&b->set, b->m, i, host);
}

sd_status sd_backward_put(sd_backward *b, sd_buf *trainable)
{
    return trainable_put(&b->set, b->m, trainable);
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
    sd_buf_destroy(&b->evaluated);
    sd_buf_destroy(&b->rows);
    sd_buf_destroy(&b->low);
    sd_buf_destroy(&b->spare);
    trainable_free(&b->set);
    sd_free(b->stream);
    sd_free(b->inner);
    sd_free(b);
    *backward = NULL;
}

/* ---- the loss */

/* From the last residual stream to log-probabilities of `count` rows, and back to dx and the gradient of the output matrix. */
static sd_status loss(const sd_backward *b, uint64_t count, double scale, sd_mat dx)
{
    sd_model *m = b->m;
    uint64_t d = m->config.d_model, v = m->config.vocabulary, last = m->config.n_layers;
    sd_buf *const *matrix = m->config.tied ? &m->embed : &m->head;
    sd_mat normed = backward_rows(b, m->normed, d), rows = sd_mat_of(b->rows, count, d), drows = sd_mat_of(m->delta, count, d);
    sd_mat evaluated = sd_mat_of(b->evaluated, 1, count), head = sd_mat_of(*matrix, v, d);
    uint64_t tensor = trainable_tensors(&b->set, matrix).first;
    bool only = b->set.lowest == tensor && !m->config.tied; /* nothing but the output matrix is learned */
    sd_status st;

    SD_TRY(st, backward_norm(b, backward_rows(b, b->stream[last], d), m->gain, d, normed));
    SD_TRY(st, sd_dev_gather(m->dev, &(sd_gather){.x = normed, .index = evaluated, .y = rows}));
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
        if (b->set.how[tensor] == SD_TRAIN_WHOLE)
            SD_TRY(st, sd_dev_matmul(m->dev, &(sd_matmul){.a = logits,
                                                          .b = x,
                                                          .y = backward_gradient(b, tensor, v, d),
                                                          .trans_a = true,
                                                          .alpha = 1,
                                                          .beta = first > 0 ? 1 : 0}));
        if (!only)
            SD_TRY(st, sd_dev_matmul(m->dev, &(sd_matmul){.a = logits, .b = head, .y = sd_mat_rows(drows, first, some), .alpha = 1}));
    }
    if (only)
        goto out;
    SD_TRY(st, sd_dev_fill(m->dev, &(sd_fill){.y = normed}));
    SD_TRY(st, sd_dev_put_rows(m->dev, &(sd_put_rows){.x = drows, .index = evaluated, .y = normed}));
    SD_TRY(st, backward_norm_back(b, backward_rows(b, b->stream[last], d), &m->gain, d, normed, dx));
out:
    return st;
}

/* The gradient of the embedding is added where the tied output matrix has one already. */
static sd_status embed_back(const sd_backward *b, sd_mat dx)
{
    sd_model *m = b->m;
    sd_mat to = backward_gradient(b, 0, m->config.vocabulary, dx.cols);
    sd_status st = SD_OK;

    if (b->set.how[0] != SD_TRAIN_WHOLE)
        goto out;
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
    sd_mat dx = backward_rows(b, m->x, d);
    sd_status st;

    SD_TRY(st, sd_dev_gather(m->dev, &(sd_gather){.x = sd_mat_of(m->embed, m->config.vocabulary, d),
                                                  .index = sd_mat_of(m->ids, 1, b->n),
                                                  .y = backward_rows(b, b->stream[0], d)}));
    for (uint64_t l = 0; l < layers; l++)
        SD_TRY(st, backward_forward(b, l, &b->inner[b->recompute ? 0 : l]));
    SD_TRY(st, loss(b, count, scale, dx));
    for (uint64_t l = layers; l-- > 0;) {
        const inner *in = &b->inner[b->recompute ? 0 : l];

        if (!backward_goes_on(b, l + 1 < layers ? &m->layers[l + 1].attn_gain : &m->gain))
            break;
        if (b->recompute && l + 1 < layers)
            SD_TRY(st, backward_forward(b, l, in));
        SD_TRY(st, backward_block(b, l, in, dx));
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
    SD_TRY(st, sd_dev_upload(b->m->dev, row, sd_mat_of(b->evaluated, 1, *count)));
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

sd_status sd_backward_run(sd_backward *b, const sd_train_batch *batch, sd_buf *grad, double *logp, int32_t *best)
{
    const sd_pass pass = {.ids = batch->ids, .doc_start = batch->doc_start, .docs = batch->docs, .to_logits = true};
    int32_t *row = NULL;
    uint64_t count;
    sd_status st;

    b->m->ready = 0;
    if (sd_buf_count(grad) < b->set.elements || sd_buf_type(grad) != SD_REAL) {
        st = SD_FAIL(SD_E_INTERNAL, "a gradient of %llu %s was given for %llu weights", (unsigned long long)sd_buf_count(grad),
                     sd_dtype_name(sd_buf_type(grad)), (unsigned long long)b->set.elements);
        goto out;
    }
    SD_TRY(st, sd_model_rows(b->m, &pass));
    b->n = batch->doc_start[batch->docs];
    b->grad = grad;
    SD_TRY(st, SD_NEW(&row, b->n));
    SD_TRY(st, upload_targets(b, batch->target, row, &count));
    if (count > 0)
        SD_TRY(st, whole_pass(b, count, batch->scale));
    for (uint64_t i = 0; count == 0 && i < b->set.count; i++) {
        const sd_trainable *item = &b->set.items[i];

        SD_TRY(st, sd_dev_fill(b->m->dev, &(sd_fill){.y = {.buf = grad, .offset = item->first, .rows = 1, .cols = item->count, .stride = item->count}}));
    }
    SD_TRY(st, spread(b, row, count, logp, best));
    st = sd_dev_wait(b->m->dev);
out:
    sd_free(row);
    return st;
}

/* Two models side by side. The passes go layer by layer, each from where it stopped, so that only two residual streams are held. */
#include <math.h>

#include "splice_private.h"
#include "saediff/core/mem.h"
#include "saediff/dev/score.h"
#include "saediff/splice/splice.h"

enum { A, B, BOTH };

struct sd_pair {
    sd_dev *dev;
    sd_model *model[BOTH];
    uint64_t max_tokens, chunk, layers, d, v;
    sd_buf *state[BOTH], *normed[BOTH]; /* [max_tokens, d] */
    sd_buf *logits[BOTH];               /* [chunk, vocabulary] */
    sd_buf *best[BOTH], *none;          /* [max_tokens] i32; none: −1 everywhere */
    sd_buf *kl[BOTH];                   /* [max_tokens] f64 */
    sd_buf *logp, *xx, *yy, *xy, *sse; /* [max_tokens] f64 */
    double *host[4];                    /* [max_tokens] */
    int32_t *host_best[BOTH];
};

static sd_status check_alike(const sd_model_config *a, const sd_model_config *b)
{
    if (a->d_model == b->d_model && a->n_layers == b->n_layers && a->vocabulary == b->vocabulary)
        return SD_OK;
    return SD_FAIL(SD_E_DATA, "two models to compare have d_model %llu and %llu, %llu and %llu layers, %llu and %llu tokens",
                   (unsigned long long)a->d_model, (unsigned long long)b->d_model, (unsigned long long)a->n_layers,
                   (unsigned long long)b->n_layers, (unsigned long long)a->vocabulary, (unsigned long long)b->vocabulary);
}

sd_status sd_pair_create(sd_pair **pair, sd_dev *dev, sd_model *a, sd_model *b, uint64_t max_tokens)
{
    const sd_model_config *c = sd_model_config_of(a);
    sd_pair *p = NULL;
    sd_buf **sums[5];
    uint64_t rows;
    sd_status st;

    *pair = NULL;
    SD_TRY(st, check_alike(c, sd_model_config_of(b)));
    SD_TRY(st, sd_mul_u64(max_tokens, c->d_model, &rows, "rows of a pair of models"));
    SD_TRY(st, SD_NEW(&p, 1));
    *p = (sd_pair){.dev = dev,
                   .model = {a, b},
                   .max_tokens = max_tokens,
                   .chunk = splice_chunk(c->vocabulary),
                   .layers = c->n_layers,
                   .d = c->d_model,
                   .v = c->vocabulary};
    for (int m = A; m < BOTH; m++) {
        SD_TRY(st, sd_buf_create(&p->state[m], dev, SD_REAL, rows));
        SD_TRY(st, sd_buf_create(&p->normed[m], dev, SD_REAL, rows));
        SD_TRY(st, sd_buf_create(&p->logits[m], dev, SD_REAL, p->chunk * p->v));
        SD_TRY(st, sd_buf_create(&p->best[m], dev, SD_I32, max_tokens));
        SD_TRY(st, sd_buf_create(&p->kl[m], dev, SD_F64, max_tokens));
        SD_TRY(st, SD_NEW(&p->host_best[m], max_tokens));
    }
    sums[0] = &p->xx;
    sums[1] = &p->yy;
    sums[2] = &p->xy;
    sums[3] = &p->sse;
    sums[4] = &p->logp;
    for (int i = 0; i < 5; i++)
        SD_TRY(st, sd_buf_create(sums[i], dev, SD_F64, max_tokens));
    for (int i = 0; i < 4; i++)
        SD_TRY(st, SD_NEW(&p->host[i], max_tokens));
    SD_TRY(st, sd_buf_create(&p->none, dev, SD_I32, max_tokens));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){sd_mat_of(p->none, 1, max_tokens), -1}));
    *pair = p;
    p = NULL;
out:
    sd_pair_destroy(&p);
    return st;
}

void sd_pair_destroy(sd_pair **pair)
{
    sd_pair *p = *pair;

    *pair = NULL;
    if (p == NULL)
        return;
    for (int m = A; m < BOTH; m++) {
        sd_buf_destroy(&p->state[m]);
        sd_buf_destroy(&p->normed[m]);
        sd_buf_destroy(&p->logits[m]);
        sd_buf_destroy(&p->best[m]);
        sd_buf_destroy(&p->kl[m]);
        sd_free(p->host_best[m]);
    }
    for (int i = 0; i < 4; i++)
        sd_free(p->host[i]);
    sd_buf_destroy(&p->none);
    sd_buf_destroy(&p->logp);
    sd_buf_destroy(&p->xx);
    sd_buf_destroy(&p->yy);
    sd_buf_destroy(&p->xy);
    sd_buf_destroy(&p->sse);
    sd_free(p);
}

/* Model m through block `layer`, from the embeddings or the previous block; after the last block also through the final norm. */
static sd_status through_layer(sd_pair *p, int m, const sd_pass *batch, uint64_t layer)
{
    uint64_t n = batch->doc_start[batch->docs];
    sd_mat state = sd_mat_of(p->state[m], n, p->d), normed = sd_mat_of(p->normed[m], n, p->d);
    sd_site before = {SD_SITE_RESID_POST, layer - 1};
    const sd_tap taps[] = {
        {.site = {SD_SITE_RESID_POST, layer}, .kind = SD_TAP_READ, .sink = {splice_keep, &state}},
        {.site = {SD_SITE_NORMALIZED, 0}, .kind = SD_TAP_READ, .sink = {splice_keep, &normed}},
    };
    sd_pass pass = *batch;

    pass.taps = taps;
    pass.n_taps = layer + 1 == p->layers ? 2 : 1;
    pass.from = layer == 0 ? NULL : &before;
    pass.state = state;
    return sd_model_forward(p->model[m], &pass);
}

/* xy / sqrt(xx·yy) rather than two roots: of equal rows that is exactly 1. */
static sd_status compare_layer(sd_pair *p, uint64_t n, double *cosine, double *relative)
{
    const sd_mat out[] = {sd_mat_of(p->xx, 1, n), sd_mat_of(p->yy, 1, n), sd_mat_of(p->xy, 1, n), sd_mat_of(p->sse, 1, n)};
    sd_status st;

    SD_TRY(st, sd_dev_row_pair(p->dev, &(sd_row_pair){.x = sd_mat_of(p->state[A], n, p->d),
                                                      .y = sd_mat_of(p->state[B], n, p->d),
                                                      .xx = out[0],
                                                      .yy = out[1],
                                                      .xy = out[2],
                                                      .sse = out[3]}));
    for (int i = 0; i < 4; i++)
        SD_TRY(st, sd_dev_download(p->dev, out[i], p->host[i]));
    for (uint64_t r = 0; r < n; r++) {
        cosine[r] = p->host[2][r] / sqrt(p->host[0][r] * p->host[1][r]);
        relative[r] = sqrt(p->host[3][r] / p->host[0][r]);
    }
out:
    return st;
}

static sd_status compare_predictions(sd_pair *p, uint64_t n, const sd_pair_scores *out)
{
    sd_status st = SD_OK;

    for (uint64_t first = 0; first < n; first += p->chunk) {
        uint64_t rows = n - first < p->chunk ? n - first : p->chunk;
        sd_mat logits[BOTH];

        for (int m = A; m < BOTH; m++) {
            logits[m] = sd_mat_of(p->logits[m], rows, p->v);
            SD_TRY(st, sd_model_unembed(p->model[m], sd_mat_rows(sd_mat_of(p->normed[m], n, p->d), first, rows), logits[m]));
            SD_TRY(st, sd_dev_logprob(p->dev, &(sd_logprob){.logits = logits[m],
                                                            .target = sd_mat_of(p->none, 1, rows),
                                                            .logp = sd_mat_of(p->logp, 1, rows),
                                                            .best = sd_mat_cols(sd_mat_of(p->best[m], 1, n), first, rows)}));
        }
        for (int m = A; m < BOTH; m++)
            SD_TRY(st, sd_dev_kl(p->dev, &(sd_kl){.p = logits[m],
                                                  .q = logits[m == A ? B : A],
                                                  .kl = sd_mat_cols(sd_mat_of(p->kl[m], 1, n), first, rows)}));
    }
    SD_TRY(st, sd_dev_download(p->dev, sd_mat_of(p->kl[A], 1, n), out->kl_ab));
    SD_TRY(st, sd_dev_download(p->dev, sd_mat_of(p->kl[B], 1, n), out->kl_ba));
    for (int m = A; m < BOTH; m++)
        SD_TRY(st, sd_dev_download(p->dev, sd_mat_of(p->best[m], 1, n), p->host_best[m]));
    for (uint64_t r = 0; r < n; r++)
        out->agree[r] = p->host_best[A][r] == p->host_best[B][r];
out:
    return st;
}

sd_status sd_pair_score(sd_pair *p, const int32_t *ids_a, const int32_t *ids_b, const uint64_t *doc_start, uint64_t docs,
                        const sd_pair_scores *out)
{
    const sd_pass batch[BOTH] = {{.ids = ids_a, .doc_start = doc_start, .docs = docs}, {.ids = ids_b, .doc_start = doc_start, .docs = docs}};
    uint64_t n = doc_start[docs];
    sd_status st = SD_OK;

    if (n > p->max_tokens)
        return SD_FAIL(SD_E_INTERNAL, "%llu rows for a pair of models of at most %llu", (unsigned long long)n,
                       (unsigned long long)p->max_tokens);
    for (uint64_t l = 0; l < p->layers; l++) {
        for (int m = A; m < BOTH; m++)
            SD_TRY(st, through_layer(p, m, &batch[m], l));
        SD_TRY(st, compare_layer(p, n, out->cosine + l * n, out->relative_l2 + l * n));
    }
    SD_TRY(st, compare_predictions(p, n, out));
out:
    return st;
}

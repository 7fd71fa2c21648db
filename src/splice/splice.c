#include "saediff/splice/splice.h"

#include "splice_private.h"
#include "saediff/core/mem.h"
#include "saediff/dev/score.h"

struct sd_splice {
    sd_dev *dev;
    sd_model *model;
    uint64_t max_tokens, chunk;
    sd_splice_batch batch;
    uint64_t n;
    sd_buf *state;         /* [max_tokens, d] */
    sd_buf *clean, *other; /* [max_tokens, d] after the final norm */
    sd_buf *p, *q;         /* [chunk, vocabulary] logits */
    sd_buf *logp, *kl;     /* [max_tokens] f64 */
    sd_buf *target, *best; /* [max_tokens] i32 */
    sd_buf *zeros;         /* [max_tokens] i32: row 0 of a state of one row */
};

bool sd_splice_can(sd_site site)
{
    return site.kind == SD_SITE_RESID_PRE || site.kind == SD_SITE_RESID_MID || site.kind == SD_SITE_RESID_POST;
}

/* Rows whose logits are made at once: by the vocabulary alone, so that results do not depend on the caller. */
uint64_t splice_chunk(uint64_t vocabulary)
{
    enum { ELEMENTS = 1 << 24, MAX_ROWS = 512 };
    uint64_t rows = ELEMENTS / vocabulary;

    return rows < 1 ? 1 : rows > MAX_ROWS ? MAX_ROWS : rows;
}

sd_status sd_splice_create(sd_splice **splice, sd_dev *dev, sd_model *model, uint64_t max_tokens)
{
    const sd_model_config *c = sd_model_config_of(model);
    sd_splice *p = NULL;
    uint64_t rows;
    sd_status st;

    *splice = NULL;
    SD_TRY(st, SD_NEW(&p, 1));
    *p = (sd_splice){.dev = dev, .model = model, .max_tokens = max_tokens, .chunk = splice_chunk(c->vocabulary)};
    SD_TRY(st, sd_mul_u64(max_tokens, c->d_model, &rows, "rows of a probe"));
    SD_TRY(st, sd_buf_create(&p->state, dev, SD_REAL, rows));
    SD_TRY(st, sd_buf_create(&p->clean, dev, SD_REAL, rows));
    SD_TRY(st, sd_buf_create(&p->other, dev, SD_REAL, rows));
    SD_TRY(st, sd_buf_create(&p->p, dev, SD_REAL, p->chunk * c->vocabulary));
    SD_TRY(st, sd_buf_create(&p->q, dev, SD_REAL, p->chunk * c->vocabulary));
    SD_TRY(st, sd_buf_create(&p->logp, dev, SD_F64, max_tokens));
    SD_TRY(st, sd_buf_create(&p->kl, dev, SD_F64, max_tokens));
    SD_TRY(st, sd_buf_create(&p->target, dev, SD_I32, max_tokens));
    SD_TRY(st, sd_buf_create(&p->best, dev, SD_I32, max_tokens));
    SD_TRY(st, sd_buf_create(&p->zeros, dev, SD_I32, max_tokens));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){sd_mat_of(p->zeros, 1, max_tokens), 0}));
    *splice = p;
    p = NULL;
out:
    sd_splice_destroy(&p);
    return st;
}

void sd_splice_destroy(sd_splice **splice)
{
    sd_splice *p = *splice;

    *splice = NULL;
    if (p == NULL)
        return;
    sd_buf_destroy(&p->state);
    sd_buf_destroy(&p->clean);
    sd_buf_destroy(&p->other);
    sd_buf_destroy(&p->p);
    sd_buf_destroy(&p->q);
    sd_buf_destroy(&p->logp);
    sd_buf_destroy(&p->kl);
    sd_buf_destroy(&p->target);
    sd_buf_destroy(&p->best);
    sd_buf_destroy(&p->zeros);
    sd_free(p);
}

/* A sink that keeps the rows in the matrix `self`. */
sd_status splice_keep(void *self, sd_dev *dev, sd_mat rows)
{
    const sd_mat *to = self;

    return sd_dev_scale(dev, &(sd_scale){.x = rows, .y = *to, .scale = 1});
}

/* A pass from the site on with `state`; `normed` gets the output of the final norm. */
static sd_status pass_from(sd_splice *p, sd_mat state, sd_mat normed)
{
    const sd_tap tap = {.site = {SD_SITE_NORMALIZED, 0}, .kind = SD_TAP_READ, .sink = {splice_keep, &normed}};

    return sd_model_forward(p->model, &(sd_pass){.doc_start = p->batch.doc_start,
                                                 .docs = p->batch.docs,
                                                 .taps = &tap,
                                                 .n_taps = 1,
                                                 .from = &p->batch.site,
                                                 .state = state});
}

/* The probability of the targets after `normed`, chunk by chunk; with `kl`, the divergence from the clean pass too. */
static sd_status score(sd_splice *p, sd_mat normed, bool kl)
{
    uint64_t v = sd_model_config_of(p->model)->vocabulary;
    sd_mat clean = sd_mat_of(p->clean, p->n, normed.cols), target = sd_mat_of(p->target, 1, p->n);
    sd_mat logp = sd_mat_of(p->logp, 1, p->n), best = sd_mat_of(p->best, 1, p->n), out = sd_mat_of(p->kl, 1, p->n);
    sd_status st = SD_OK;

    for (uint64_t first = 0; first < p->n; first += p->chunk) {
        uint64_t rows = p->n - first < p->chunk ? p->n - first : p->chunk;
        sd_mat q = sd_mat_of(p->q, rows, v), clean_logits = sd_mat_of(p->p, rows, v);

        SD_TRY(st, sd_model_unembed(p->model, sd_mat_rows(normed, first, rows), q));
        SD_TRY(st, sd_dev_logprob(p->dev, &(sd_logprob){.logits = q,
                                                        .target = sd_mat_cols(target, first, rows),
                                                        .logp = sd_mat_cols(logp, first, rows),
                                                        .best = sd_mat_cols(best, first, rows)}));
        if (!kl)
            continue;
        SD_TRY(st, sd_model_unembed(p->model, sd_mat_rows(clean, first, rows), clean_logits));
        SD_TRY(st, sd_dev_kl(p->dev, &(sd_kl){.p = clean_logits, .q = q, .kl = sd_mat_cols(out, first, rows)}));
    }
out:
    return st;
}

static sd_status fetch_nll(sd_splice *p, double *nll)
{
    sd_status st;

    SD_TRY(st, sd_dev_download(p->dev, sd_mat_of(p->logp, 1, p->n), nll));
    for (uint64_t i = 0; i < p->n; i++)
        nll[i] = p->batch.target[i] < 0 ? 0 : 0 - nll[i]; /* a certain token costs 0, not -0 */
out:
    return st;
}

sd_status sd_splice_begin(sd_splice *p, const sd_splice_batch *batch, double *nll)
{
    sd_mat clean;
    sd_status st;

    p->batch = *batch;
    p->n = batch->x.rows;
    if (p->n == 0 || p->n > p->max_tokens || batch->doc_start[batch->docs] != p->n) {
        st = SD_FAIL(SD_E_INTERNAL, "a batch of %llu rows, but at most %llu are allowed; its documents end at row %llu",
                     (unsigned long long)p->n, (unsigned long long)p->max_tokens,
                     (unsigned long long)batch->doc_start[batch->docs]);
        goto out;
    }
    clean = sd_mat_of(p->clean, p->n, batch->x.cols);
    SD_TRY(st, sd_dev_upload(p->dev, batch->target, sd_mat_of(p->target, 1, p->n)));
    SD_TRY(st, pass_from(p, batch->x, clean));
    SD_TRY(st, score(p, clean, false));
    SD_TRY(st, fetch_nll(p, nll));
out:
    return st;
}

/* What the residual stream becomes: `state`, and the batch's own rows where mask is 0. */
static sd_status make_state(sd_splice *p, sd_mat state, sd_mat y)
{
    const uint8_t *mask = p->batch.mask;
    sd_status st;

    if (state.buf == NULL)
        SD_TRY(st, sd_dev_fill(p->dev, &(sd_fill){y, 0}));
    else if (state.rows == 1 && p->n > 1)
        SD_TRY(st, sd_dev_gather(p->dev, &(sd_gather){.x = state, .index = sd_mat_of(p->zeros, 1, p->n), .y = y}));
    else
        SD_TRY(st, sd_dev_scale(p->dev, &(sd_scale){.x = state, .y = y, .scale = 1}));
    for (uint64_t r = 0, end; r < p->n; r = end) {
        for (end = r + 1; end < p->n && !mask[end] == !mask[r]; end++)
            ;
        if (!mask[r])
            SD_TRY(st, sd_dev_scale(p->dev, &(sd_scale){.x = sd_mat_rows(p->batch.x, r, end - r),
                                                        .y = sd_mat_rows(y, r, end - r),
                                                        .scale = 1}));
    }
out:
    return st;
}

sd_status sd_splice_score(sd_splice *p, sd_mat state, double *nll, double *kl)
{
    sd_mat y = sd_mat_of(p->state, p->n, p->batch.x.cols), normed = sd_mat_of(p->other, p->n, p->batch.x.cols);
    sd_status st;

    SD_TRY(st, make_state(p, state, y));
    SD_TRY(st, pass_from(p, y, normed));
    SD_TRY(st, score(p, normed, true));
    SD_TRY(st, fetch_nll(p, nll));
    SD_TRY(st, sd_dev_download(p->dev, sd_mat_of(p->kl, 1, p->n), kl));
out:
    return st;
}

/* Evaluates all SAEs of one site on one model. They share the clean pass and those with zero and mean ablation. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "evaluate.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/dev/score.h"
#include "saediff/eval/decoder.h"
#include "saediff/eval/eval.h"
#include "saediff/splice/splice.h"
#include "saediff/store/file.h"

enum { FIXED = 65536, PAIR = 4, LATENTS = 1024 };

/* One of the SAEs. */
typedef struct member {
    const run_sae *s;
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_sae *sae;
    uint64_t k;
    double scale;                /* its input scale */
    double *column[SD_EVAL_WIDTH]; /* [docs of this rank] */
    uint64_t *fires, *strength;  /* [sources, latents]; strength in units of 1/FIXED, since sums of integers do not depend on the order */
    sd_buf *index, *value;       /* [most_rows, k] */
    int32_t *host_index;
    float *host_value;
    sd_overlap overlap; /* three doubles */
} member;

typedef struct site_work {
    run *r;
    const eval_share *share;
    int m;
    uint64_t site, d, sources;
    eval_rows rows;
    member *member;
    uint64_t n_members;
    bool passes; /* passes can continue from this site */
    sd_splice *splice;
    double *mean;   /* [2, 1 + sources, d]: over evaluated rows, over all rows; over all texts, then per data entry */
    sd_buf *x, *y, *mean_row, *sum[PAIR];
    sd_buf *before, *positive; /* [most_rows, LATENTS] pre-activations of some latents, [most_rows] u64 how many are positive */
    uint64_t *host_positive;
    double *pair[PAIR];  /* Σx², Σy², Σxy, Σ(x − y)² of each row, host */
    double *nll, *kl;    /* [most_rows] */
    int32_t *target;
    uint64_t *doc_of;    /* [most_rows] document of each row, relative to this rank's first */
    uint64_t *start;     /* [docs + 1] */
    eval_partial partial;
    double *shared[SD_EVAL_WIDTH]; /* [docs]: columns that are the same for all members */
} site_work;

/* Whether a column depends on the SAE. */
static bool of_member(int column)
{
    switch (column) {
    case SD_EVAL_sse:
    case SD_EVAL_x2:
    case SD_EVAL_y2:
    case SD_EVAL_xy:
    case SD_EVAL_cosine:
    case SD_EVAL_ratio:
    case SD_EVAL_l0:
    case SD_EVAL_l1:
    case SD_EVAL_all_sse:
    case SD_EVAL_all_l0_before:
    case SD_EVAL_ce_sae:
    case SD_EVAL_kl_sae:
        return true;
    default:
        return false;
    }
}

/* ---- one batch */

static double distance(const double *x, const double *mean, uint64_t d)
{
    double sum = 0;

    for (uint64_t c = 0; c < d; c++)
        sum += (x[c] - mean[c]) * (x[c] - mean[c]);
    return sum;
}

/* Counts and distances from the means, which do not depend on the SAE. */
static void add_spreads(site_work *w, const run_batch *batch)
{
    uint64_t all = (1 + w->sources) * w->d;

    for (uint64_t i = 0; i < batch->rows; i++) {
        uint64_t row = batch->row + i, doc = w->doc_of[i];
        uint64_t source = (1 + w->r->tokens->doc_source[w->share->first_doc + doc]) * w->d;
        const double *x = eval_rows_at(&w->rows, i);

        w->shared[SD_EVAL_all_tokens][doc]++;
        w->shared[SD_EVAL_all_spread][doc] += distance(x, w->mean + all, w->d);
        w->shared[SD_EVAL_all_spread_source][doc] += distance(x, w->mean + all + source, w->d);
        if (w->target[i] >= 0 && eval_counts(w->r, row))
            w->shared[SD_EVAL_predictions][doc]++;
        if (!w->r->tokens->mask[row])
            continue;
        w->shared[SD_EVAL_tokens][doc]++;
        w->shared[SD_EVAL_spread][doc] += distance(x, w->mean, w->d);
        w->shared[SD_EVAL_spread_source][doc] += distance(x, w->mean + source, w->d);
    }
}

/* Losses and divergences at the evaluated predictions. kl may be NULL. */
static void add_passes(site_work *w, const run_batch *batch, double *ce, double *kl)
{
    for (uint64_t i = 0; i < batch->rows; i++)
        if (w->target[i] >= 0 && eval_counts(w->r, batch->row + i)) {
            ce[w->doc_of[i]] += w->nll[i];
            if (kl != NULL)
                kl[w->doc_of[i]] += w->kl[i];
        }
}

static sd_status run_passes(site_work *w, const run_batch *batch, sd_mat x)
{
    sd_status st;

    SD_TRY(st, sd_splice_begin(w->splice,
                              &(sd_splice_batch){.site = w->r->sites[w->site],
                                               .doc_start = w->start,
                                               .docs = batch->docs,
                                               .x = x,
                                               .mask = w->r->tokens->mask + batch->row,
                                               .target = w->target},
                              w->nll));
    add_passes(w, batch, w->shared[SD_EVAL_ce_clean], NULL);
    SD_TRY(st, sd_splice_score(w->splice, (sd_mat){0}, w->nll, w->kl));
    add_passes(w, batch, w->shared[SD_EVAL_ce_zero], w->shared[SD_EVAL_kl_zero]);
    SD_TRY(st, sd_splice_score(w->splice, sd_mat_of(w->mean_row, 1, w->d), w->nll, w->kl));
    add_passes(w, batch, w->shared[SD_EVAL_ce_mean], w->shared[SD_EVAL_kl_mean]);
out:
    return st;
}

/* Latent activations of one row. */
static sd_status add_codes(site_work *w, member *b, uint64_t i, uint64_t doc)
{
    uint64_t cells = (uint64_t)w->r->tokens->doc_source[w->share->first_doc + doc] * b->s->latents;
    double l1 = 0;
    uint64_t l0 = 0;

    for (uint64_t j = 0; j < b->k; j++) {
        double value = (double)b->host_value[i * b->k + j], fixed;
        uint64_t cell = cells + (uint64_t)b->host_index[i * b->k + j];

        if (!(value > 0))
            continue;
        fixed = value / b->scale * FIXED + 0.5;
        if (!(fixed < 1e18))
            return SD_FAIL(SD_E_DATA, "%s: a latent activation is %g: the SAE or the activations overflow", b->path, value);
        l0++;
        l1 += value;
        b->fires[cell]++;
        b->strength[cell] += (uint64_t)fixed;
    }
    b->column[SD_EVAL_l0][doc] += (double)l0;
    b->column[SD_EVAL_l1][doc] += l1;
    return SD_OK;
}

/* Number of positive pre-activations of each row, before TopK. y is scratch for the encoder's input. */
static sd_status count_before(site_work *w, member *b, uint64_t n, sd_mat x)
{
    sd_dev *dev = w->r->dev;
    sd_mat xs = sd_mat_of(w->y, n, w->d), count = sd_mat_of(w->positive, 1, n), w_enc, b_enc, b_dec;
    sd_status st;

    SD_TRY(st, sd_sae_array(b->sae, "W_enc", &w_enc));
    SD_TRY(st, sd_sae_array(b->sae, "b_enc", &b_enc));
    SD_TRY(st, sd_sae_array(b->sae, "b_dec", &b_dec));
    SD_TRY(st, sd_dev_scale(dev, &(sd_scale){.x = x, .y = xs, .scale = b->scale}));
    SD_TRY(st, sd_dev_axpy(dev, &(sd_axpy){.x = b_dec, .y = xs, .scale = -1}));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){count, 0}));
    for (uint64_t first = 0; first < b->s->latents; first += LATENTS) {
        uint64_t some = b->s->latents - first < LATENTS ? b->s->latents - first : LATENTS;
        sd_mat h = sd_mat_of(w->before, n, some);

        SD_TRY(st, sd_dev_matmul(dev, &(sd_matmul){.a = xs, .b = sd_mat_rows(w_enc, first, some), .y = h, .trans_b = true, .alpha = 1}));
        SD_TRY(st, sd_dev_count_positive(dev, &(sd_count_positive){.x = h, .shift = sd_mat_cols(b_enc, first, some), .count = count}));
    }
    SD_TRY(st, sd_dev_download(dev, count, w->host_positive));
    for (uint64_t i = 0; i < n; i++)
        b->column[SD_EVAL_all_l0_before][w->doc_of[i]] += (double)w->host_positive[i];
out:
    return st;
}

static sd_status add_member(site_work *w, member *b, const run_batch *batch, sd_mat x)
{
    sd_dev *dev = w->r->dev;
    uint64_t n = batch->rows;
    sd_mat y = sd_mat_of(w->y, n, w->d), index = sd_mat_of(b->index, n, b->k), value = sd_mat_of(b->value, n, b->k);
    sd_mat out[PAIR];
    sd_status st;

    for (int i = 0; i < PAIR; i++)
        out[i] = sd_mat_of(w->sum[i], 1, n);
    SD_TRY(st, count_before(w, b, n, x));
    SD_TRY(st, sd_sae_encode(b->sae, x, index, value));
    SD_TRY(st, sd_sae_reconstruct(b->sae, x, index, value, y, out[0]));
    SD_TRY(st, sd_dev_row_pair(dev, &(sd_row_pair){.x = x, .y = y, .xx = out[0], .yy = out[1], .xy = out[2], .sse = out[3]}));
    for (int i = 0; i < PAIR; i++)
        SD_TRY(st, sd_dev_download(dev, out[i], w->pair[i]));
    SD_TRY(st, sd_dev_download(dev, index, b->host_index));
    SD_TRY(st, sd_dev_download_as(dev, value, b->host_value, SD_F32));
    for (uint64_t i = 0; i < n; i++) {
        double xx = w->pair[0][i], yy = w->pair[1][i], xy = w->pair[2][i], sse = w->pair[3][i];
        uint64_t doc = w->doc_of[i];

        b->column[SD_EVAL_all_sse][doc] += sse;
        if (!w->r->tokens->mask[batch->row + i])
            continue;
        b->column[SD_EVAL_sse][doc] += sse;
        b->column[SD_EVAL_x2][doc] += xx;
        b->column[SD_EVAL_y2][doc] += yy;
        b->column[SD_EVAL_xy][doc] += xy;
        b->column[SD_EVAL_cosine][doc] += xy / sqrt(xx * yy);
        b->column[SD_EVAL_ratio][doc] += sqrt(yy / xx);
        SD_TRY(st, add_codes(w, b, i, doc));
    }
    if (w->passes) {
        SD_TRY(st, sd_splice_score(w->splice, y, w->nll, w->kl));
        add_passes(w, batch, b->column[SD_EVAL_ce_sae], b->column[SD_EVAL_kl_sae]);
    }
out:
    return st;
}

static sd_status run_one_batch(void *self, const run_batch *batch)
{
    site_work *w = self;
    const int32_t *ids = run_ids(w->r, w->m);
    sd_mat x = sd_mat_of(w->x, batch->rows, w->d);
    sd_status st;

    eval_doc_starts(w->r, batch, w->start);
    for (uint64_t d = 0; d < batch->docs; d++)
        for (uint64_t i = w->start[d]; i < w->start[d + 1]; i++) {
            w->doc_of[i] = batch->doc + d - w->share->first_doc;
            w->target[i] = i + 1 < w->start[d + 1] ? ids[batch->row + i + 1] : -1;
        }
    SD_TRY(st, eval_rows_read(&w->rows, batch->row, batch->rows));
    SD_TRY(st, sd_dev_upload_as(w->r->dev, w->rows.stored, w->r->dtype, x));
    add_spreads(w, batch);
    if (w->passes)
        SD_TRY(st, run_passes(w, batch, x));
    for (uint64_t i = 0; i < w->n_members; i++)
        SD_TRY(st, add_member(w, &w->member[i], batch, x));
out:
    return st;
}

/* ---- all batches */

static sd_status open_member(site_work *w, member *b)
{
    run *r = w->r;
    uint64_t rows = w->share->most_rows, cells;
    char relative[RUN_PATH], *path = NULL;
    sd_status st;

    run_sae_path(relative, r, b->s, "sae.h5");
    SD_TRY(st, run_full_path(r, relative, &path));
    SD_TRY(st, sd_sae_open(&b->sae, r->dev, path, rows));
    b->k = sd_sae_spec_of(b->sae)->k;
    b->scale = sd_sae_input_scale(b->sae);
    SD_TRY(st, sd_mul_u64(w->sources, b->s->latents, &cells, "latent counts per data entry"));
    SD_TRY(st, SD_NEW(&b->fires, cells));
    SD_TRY(st, SD_NEW(&b->strength, cells));
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        if (of_member(c))
            SD_TRY(st, SD_NEW(&b->column[c], w->share->docs));
    SD_TRY(st, SD_NEW(&b->host_index, rows * b->k));
    SD_TRY(st, SD_NEW(&b->host_value, rows * b->k));
    SD_TRY(st, sd_buf_create(&b->index, r->dev, SD_I32, rows * b->k));
    SD_TRY(st, sd_buf_create(&b->value, r->dev, SD_REAL, rows * b->k));
out:
    sd_free(path);
    return st;
}

static sd_status open_work(site_work *w, sd_model **loaded)
{
    run *r = w->r;
    uint64_t rows = w->share->most_rows;
    sd_status st;

    w->passes = sd_splice_can(r->sites[w->site]);
    if (w->passes && *loaded == NULL)
        SD_TRY(st, sd_model_open(loaded, r->dev, r->model_dir[w->m], rows));
    if (w->passes)
        SD_TRY(st, sd_splice_create(&w->splice, r->dev, *loaded, rows));
    SD_TRY(st, eval_rows_open(&w->rows, r, w->m, w->site, rows));
    SD_TRY(st, SD_NEW(&w->mean, 2 * (1 + w->sources) * w->d));
    SD_TRY(st, sd_buf_create(&w->x, r->dev, SD_REAL, rows * w->d));
    SD_TRY(st, sd_buf_create(&w->y, r->dev, SD_REAL, rows * w->d));
    SD_TRY(st, sd_buf_create(&w->mean_row, r->dev, SD_REAL, w->d));
    SD_TRY(st, sd_buf_create(&w->before, r->dev, SD_REAL, rows * LATENTS));
    SD_TRY(st, sd_buf_create(&w->positive, r->dev, SD_U64, rows));
    SD_TRY(st, SD_NEW(&w->host_positive, rows));
    for (int i = 0; i < PAIR; i++) {
        SD_TRY(st, sd_buf_create(&w->sum[i], r->dev, SD_F64, rows));
        SD_TRY(st, SD_NEW(&w->pair[i], rows));
    }
    SD_TRY(st, SD_NEW(&w->nll, rows));
    SD_TRY(st, SD_NEW(&w->kl, rows));
    SD_TRY(st, SD_NEW(&w->target, rows));
    SD_TRY(st, SD_NEW(&w->doc_of, rows));
    SD_TRY(st, SD_NEW(&w->start, rows + 1));
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        if (!of_member(c))
            SD_TRY(st, SD_NEW(&w->shared[c], w->share->docs));
    for (uint64_t i = 0; i < w->n_members; i++)
        SD_TRY(st, open_member(w, &w->member[i]));
out:
    return st;
}

static void close_work(site_work *w)
{
    for (uint64_t i = 0; w->member != NULL && i < w->n_members; i++) {
        member *b = &w->member[i];

        sd_sae_destroy(&b->sae);
        for (int c = 0; c < SD_EVAL_WIDTH; c++)
            sd_free(b->column[c]);
        sd_free(b->fires);
        sd_free(b->strength);
        sd_free(b->host_index);
        sd_free(b->host_value);
        sd_buf_destroy(&b->index);
        sd_buf_destroy(&b->value);
    }
    sd_free(w->member);
    eval_partial_free(&w->partial);
    sd_splice_destroy(&w->splice);
    eval_rows_close(&w->rows);
    sd_free(w->mean);
    sd_buf_destroy(&w->x);
    sd_buf_destroy(&w->y);
    sd_buf_destroy(&w->mean_row);
    sd_buf_destroy(&w->before);
    sd_buf_destroy(&w->positive);
    sd_free(w->host_positive);
    for (int i = 0; i < PAIR; i++) {
        sd_buf_destroy(&w->sum[i]);
        sd_free(w->pair[i]);
    }
    sd_free(w->nll);
    sd_free(w->kl);
    sd_free(w->target);
    sd_free(w->doc_of);
    sd_free(w->start);
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        sd_free(w->shared[c]);
}

static bool needs_pass(int column)
{
    return column >= SD_EVAL_ce_clean && column <= SD_EVAL_kl_mean;
}

/* Rank 0: attributes of the artefact; its arrays are filled later. */
static sd_status create_eval(site_work *w, const member *b, sd_eval **eval)
{
    run *r = w->r;
    sd_eval *e;
    sd_status st;

    SD_TRY(st, sd_eval_create(eval, r->tokens->docs, w->sources, b->s->latents));
    e = *eval;
    SD_TRY(st, sd_str_copy(&e->model, run_model_label(w->m)));
    SD_TRY(st, sd_str_copy(&e->site, r->site_names[w->site]));
    SD_TRY(st, sd_str_copy(&e->sae, b->s->name));
    if (w->passes)
        SD_TRY(st, sd_str_copy(&e->no_passes, ""));
    else
        SD_TRY(st, sd_str_format(&e->no_passes, "no pass can continue from %s; from resid_pre, resid_mid and resid_post it can",
                                 r->site_names[w->site]));
    e->count_bos = r->job->evaluate.count_bos;
    e->k = b->k;
    e->d_model = w->d;
    e->redundancy = b->overlap.redundancy;
    e->max_cosine = b->overlap.max_cosine;
    e->compat_absorption = b->overlap.compat;
    memcpy(e->doc_source, r->tokens->doc_source, r->tokens->docs * sizeof *e->doc_source);
out:
    return st;
}

/* Collective. */
static sd_status write_member(site_work *w, member *b)
{
    run *r = w->r;
    uint64_t cells = w->sources * b->s->latents, bytes = w->share->docs * sizeof(double), all = r->tokens->docs * sizeof(double);
    const char *relative = b->path;
    char *path = NULL;
    sd_eval *e = NULL;
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? create_eval(w, b, &e) : SD_OK));
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        SD_TRY(st, sd_par_gather(r->par, of_member(c) ? b->column[c] : w->shared[c], bytes, e ? e->column[c] : NULL, all));
    SD_TRY(st, sd_par_sum_u64(r->par, b->fires, cells));
    SD_TRY(st, sd_par_sum_u64(r->par, b->strength, cells));
    if (r->par->rank == 0) {
        for (int c = 0; c < SD_EVAL_WIDTH; c++)
            for (uint64_t d = 0; !w->passes && needs_pass(c) && d < e->docs; d++)
                e->column[c][d] = (double)NAN;
        for (uint64_t i = 0; i < cells; i++) {
            e->fires[i] = b->fires[i];
            e->strength[i] = (double)b->strength[i] / FIXED;
        }
        st = run_full_path(r, relative, &path);
        if (st == SD_OK)
            st = sd_file_make_parent(path);
        if (st == SD_OK)
            st = sd_eval_write(e, path);
    }
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_manifest_add(r->manifest, &relative, NULL, 1, b->key));
    r->made++;
out:
    sd_eval_destroy(&e);
    sd_free(path);
    return st;
}

/* Collective. The SAEs of the site that are not evaluated yet; their inputs must exist. */
static sd_status find_members(site_work *w)
{
    run *r = w->r;
    char path[RUN_PATH], key[SD_SHA256_HEX];
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, SD_NEW(&w->member, r->n_saes)));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        member *b = &w->member[w->n_members];
        bool has;

        if (r->saes[i].site != w->site || r->saes[i].on_error) /* error SAEs are not spliced into the model */
            continue;
        b->s = &r->saes[i];
        run_eval_path(b->path, r, w->m, b->s);
        run_eval_key(r, w->m, b->s, b->key);
        SD_TRY(st, sd_manifest_has(r->manifest, b->path, b->key, &has));
        if (has)
            continue;
        run_sae_path(path, r, b->s, "sae.h5");
        SD_TRY(st, run_need(r, path, b->s->key, SD_STAGE_TRAIN));
        w->n_members++;
    }
    run_acts_key(r, w->m, r->site_names[w->site], key);
    for (uint64_t i = 0; w->n_members > 0 && i < r->shards; i++) {
        run_acts_path(path, w->m, r->site_names[w->site], i);
        SD_TRY(st, run_need(r, path, key, SD_STAGE_EXTRACT));
    }
out:
    return st;
}

/* Local. Allocates the arrays that batches add to, and the shared ones. */
static sd_status list_partial(site_work *w)
{
    eval_partial *p = &w->partial;
    sd_sha256 sha;
    sd_status st;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "site checkpoint 1");
    SD_TRY(st, eval_partial_add(p, EVAL_SAME, w->mean, 2 * (1 + w->sources) * w->d));
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        if (!of_member(c))
            SD_TRY(st, eval_partial_add(p, EVAL_PER_DOCUMENT, w->shared[c], 0));
    for (uint64_t i = 0; i < w->n_members; i++) {
        member *b = &w->member[i];
        uint64_t cells = w->sources * b->s->latents;

        sd_sha256_add_text(&sha, b->key);
        SD_TRY(st, eval_partial_add(p, EVAL_SAME, &b->overlap, sizeof b->overlap / sizeof(double)));
        SD_TRY(st, eval_partial_add(p, EVAL_SUM, b->fires, cells));
        SD_TRY(st, eval_partial_add(p, EVAL_SUM, b->strength, cells));
        for (int c = 0; c < SD_EVAL_WIDTH; c++)
            if (of_member(c))
                SD_TRY(st, eval_partial_add(p, EVAL_PER_DOCUMENT, b->column[c], 0));
    }
    sd_sha256_end(&sha, p->key);
out:
    return st;
}

/* Collective. Values shared by all batches. */
static sd_status prepare(site_work *w)
{
    run *r = w->r;
    sd_status st;

    for (uint64_t i = 0; i < w->n_members; i++) {
        sd_mat w_dec;

        SD_TRY(st, sd_par_agree(r->par, sd_sae_array(w->member[i].sae, "W_dec", &w_dec)));
        SD_TRY(st, sd_decoder_overlap(r->par, r->dev, w_dec, &w->member[i].overlap));
    }
    SD_TRY(st, eval_means(&w->rows, w->share, w->mean));
out:
    return st;
}

sd_status eval_site(run *r, const eval_share *share, int m, uint64_t site, sd_model **loaded, sd_progress *progress,
                    uint64_t *done)
{
    site_work w = {.r = r, .share = share, .m = m, .site = site, .d = r->config[m].d_model, .sources = r->job->n_data};
    bool there;
    sd_status st;

    SD_TRY(st, find_members(&w));
    snprintf(w.partial.folder, sizeof w.partial.folder, "eval/%s/%s", run_model_label(m), r->site_names[site]);
    if (w.n_members == 0) {
        st = eval_partial_end(r, w.partial.folder);
        goto out;
    }
    st = open_work(&w, loaded);
    if (st == SD_OK)
        st = list_partial(&w);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, eval_partial_load(r, share, &w.partial, &there));
    if (!there)
        SD_TRY(st, prepare(&w));
    if (w.passes)
        st = sd_dev_upload_as(r->dev, w.mean, SD_F64, sd_mat_of(w.mean_row, 1, w.d));
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, eval_batches(r, share, &w.partial, run_one_batch, &w, progress, *done));
    for (uint64_t i = 0; i < w.n_members; i++)
        SD_TRY(st, write_member(&w, &w.member[i]));
    SD_TRY(st, eval_partial_end(r, w.partial.folder));
    *done += r->tokens->tokens;
out:
    close_work(&w);
    return st;
}

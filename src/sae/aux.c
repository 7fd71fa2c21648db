/* The aux-k term: dead latents are trained to predict the reconstruction error. Their rows are gathered first, so the cost grows with the
 * number of dead latents, not with that of all latents. */
#include "sae_private.h"
#include "saediff/core/mem.h"

static void free_compact(sae_aux *a)
{
    sd_buf **compact[] = {&a->dead, &a->w_enc, &a->w_dec, &a->b_enc, &a->g_enc, &a->g_dec, &a->g_bias, &a->begin};

    for (size_t i = 0; i < sizeof compact / sizeof *compact; i++)
        sd_buf_destroy(compact[i]);
    a->capacity = 0;
}

void sae_aux_free(sae_aux *a)
{
    sd_buf **fixed[] = {&a->index, &a->value, &a->grad,   &a->entry, &a->error,
                        &a->centred, &a->row_sse, &a->mean, &a->spread};

    free_compact(a);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        sd_buf_destroy(fixed[i]);
}

static sd_status create_fixed(sd_sae *sae)
{
    uint64_t n = sae->spec.batch, d = sae->spec.d_model, k = sae->spec.k_aux;
    sae_aux *a = &sae->aux;
    sd_status st;

    SD_TRY(st, sd_buf_create(&a->index, sae->dev, SD_I32, n * k));
    SD_TRY(st, sd_buf_create(&a->value, sae->dev, SD_REAL, n * k));
    SD_TRY(st, sd_buf_create(&a->grad, sae->dev, SD_REAL, n * k));
    SD_TRY(st, sd_buf_create(&a->entry, sae->dev, SD_U32, n * k));
    SD_TRY(st, sd_buf_create(&a->error, sae->dev, SD_REAL, n * d));
    SD_TRY(st, sd_buf_create(&a->centred, sae->dev, SD_REAL, n * d));
    SD_TRY(st, sd_buf_create(&a->row_sse, sae->dev, SD_F64, n));
    SD_TRY(st, sd_buf_create(&a->mean, sae->dev, SD_REAL, d));
    SD_TRY(st, sd_buf_create(&a->spread, sae->dev, SD_F64, 1));
out:
    return st;
}

static sd_status grow_workspace(sd_sae *sae, uint64_t dead)
{
    uint64_t d = sae->spec.d_model, capacity = 2 * dead < sae->spec.n_latents ? 2 * dead : sae->spec.n_latents;
    sae_aux *a = &sae->aux;
    sd_status st;

    if (dead <= a->capacity)
        return SD_OK;
    if (a->index == NULL)
        SD_TRY(st, create_fixed(sae));
    free_compact(a);
    SD_TRY(st, sd_buf_create(&a->dead, sae->dev, SD_I32, capacity));
    SD_TRY(st, sd_buf_create(&a->w_enc, sae->dev, SD_REAL, capacity * d));
    SD_TRY(st, sd_buf_create(&a->w_dec, sae->dev, SD_REAL, capacity * d));
    SD_TRY(st, sd_buf_create(&a->b_enc, sae->dev, SD_REAL, capacity));
    SD_TRY(st, sd_buf_create(&a->g_enc, sae->dev, SD_REAL, capacity * d));
    SD_TRY(st, sd_buf_create(&a->g_dec, sae->dev, SD_REAL, capacity * d));
    SD_TRY(st, sd_buf_create(&a->g_bias, sae->dev, SD_REAL, capacity));
    SD_TRY(st, sd_buf_create(&a->begin, sae->dev, SD_U32, capacity + 1));
    a->capacity = capacity;
out:
    return st;
}

static sd_status find_dead(sd_sae *sae)
{
    sd_status st;

    sae->dead = 0;
    sae->aux_spread = 0;
    sae->aux_weight = 0;
    SD_TRY(st, sd_dev_download(sae->dev, sd_mat_of(sae->since, 1, sae->spec.n_latents), sae->since_host));
    for (uint64_t i = 0; i < sae->spec.n_latents; i++)
        if (sae->since_host[i] >= sae->spec.dead_tokens)
            sae->dead_host[sae->dead++] = (int32_t)i;
out:
    return st;
}

/* Σ ‖e − ē‖² over the batch. */
static sd_status error_spread(sd_sae *sae, sd_mat e, double *spread)
{
    sae_aux *a = &sae->aux;
    sd_mat mean = sd_mat_of(a->mean, 1, e.cols), centred = sd_mat_of(a->centred, e.rows, e.cols);
    sd_mat sum = sd_mat_of(a->spread, 1, 1);
    sd_status st;

    SD_TRY(st, sd_dev_colsum(sae->dev, &(sd_colsum){.x = e, .y = mean}));
    SD_TRY(st, sd_dev_scale(sae->dev, &(sd_scale){.x = e, .y = centred, .scale = 1}));
    SD_TRY(st, sd_dev_axpy(sae->dev, &(sd_axpy){.x = mean, .y = centred, .scale = -1.0 / (double)e.rows}));
    SD_TRY(st, sd_dev_sumsq(sae->dev, &(sd_sumsq){.x = centred, .sum = sum, .slot = 0}));
    SD_TRY(st, sd_dev_download(sae->dev, sum, spread));
out:
    return st;
}

sd_status sae_aux_gradient(sd_sae *sae)
{
    const sd_sae_spec *spec = &sae->spec;
    uint64_t n = spec->batch, d = spec->d_model, dead, k;
    sd_dev *dev = sae->dev;
    sae_aux *a = &sae->aux;
    double spread, scale;
    sd_status st;

    SD_TRY(st, find_dead(sae));
    dead = sae->dead;
    k = spec->k_aux < dead ? spec->k_aux : dead;
    if (k == 0 || !(spec->aux_coef > 0))
        goto out;
    SD_TRY(st, grow_workspace(sae, dead));
    SD_TRY(st, error_spread(sae, sd_mat_of(sae->e, n, d), &spread));
    if (!(spread > 0))
        goto out; /* no reconstruction error to predict */
    sae->aux_weight = spec->aux_coef * (dead < spec->k_aux ? (double)dead / (double)spec->k_aux : 1);
    scale = -2 * sae->aux_weight / spread;
    {
        sd_mat xs = sd_mat_of(sae->xs, n, d), e = sd_mat_of(sae->e, n, d), b_dec = sae_param(sae, B_DEC, sae->w[B_DEC]);
        sd_mat list = sd_mat_of(a->dead, 1, dead), none = {0};
        sd_mat w_enc = sd_mat_of(a->w_enc, dead, d), w_dec = sd_mat_of(a->w_dec, dead, d);
        sd_mat b_enc = sd_mat_of(a->b_enc, dead, 1), b_enc_row = sd_mat_of(a->b_enc, 1, dead);
        sd_mat g_enc = sd_mat_of(a->g_enc, dead, d), g_dec = sd_mat_of(a->g_dec, dead, d);
        sd_mat index = sd_mat_of(a->index, n, k), value = sd_mat_of(a->value, n, k), grad = sd_mat_of(a->grad, n, k);
        sd_mat begin = sd_mat_of(a->begin, 1, dead + 1), entry = sd_mat_of(a->entry, 1, n * k);
        sd_mat error = sd_mat_of(a->error, n, d);
        sd_mat all_bias = sd_mat_of(sae->w[B_ENC], spec->n_latents, 1);

        SD_TRY(st, sd_dev_upload(dev, sae->dead_host, list));
        SD_TRY(st, sd_dev_gather(dev, &(sd_gather){sae_param(sae, W_ENC, sae->w[W_ENC]), list, w_enc}));
        SD_TRY(st, sd_dev_gather(dev, &(sd_gather){sae_param(sae, W_DEC, sae->w[W_DEC]), list, w_dec}));
        SD_TRY(st, sd_dev_gather(dev, &(sd_gather){all_bias, list, b_enc}));
        SD_TRY(st, sd_dev_encode_topk(dev, &(sd_encode_topk){xs, w_enc, b_enc_row, b_dec, index, value}));
        SD_TRY(st, sd_dev_decode(dev, &(sd_decode){index, value, w_dec, none, error, false}));
        SD_TRY(st, sd_dev_recon_error(dev, &(sd_recon_error){e, error, error, sd_mat_of(a->row_sse, 1, n)}));
        SD_TRY(st, sd_dev_code_grad(dev, &(sd_code_grad){error, w_dec, index, value, grad, scale, false}));
        SD_TRY(st, sd_dev_invert(dev, &(sd_invert){index, begin, entry}));
        SD_TRY(st, sd_dev_scatter(dev, &(sd_scatter){.coef = value,
                                                     .begin = begin,
                                                     .entry = entry,
                                                     .x = error,
                                                     .y = g_dec,
                                                     .scale = scale}));
        SD_TRY(st, sd_dev_scatter(dev, &(sd_scatter){.coef = grad,
                                                     .begin = begin,
                                                     .entry = entry,
                                                     .x = xs,
                                                     .shift = b_dec,
                                                     .y = g_enc,
                                                     .sum = sd_mat_of(a->g_bias, 1, dead),
                                                     .scale = 1}));
        SD_TRY(st, sd_dev_scatter_rows(dev, &(sd_scatter_rows){g_dec, list, sae_param(sae, W_DEC, sae->g[W_DEC]), 1}));
        SD_TRY(st, sd_dev_scatter_rows(dev, &(sd_scatter_rows){g_enc, list, sae_param(sae, W_ENC, sae->g[W_ENC]), 1}));
        SD_TRY(st, sd_dev_scatter_rows(dev, &(sd_scatter_rows){sd_mat_of(a->g_bias, dead, 1), list,
                                                               sd_mat_of(sae->g[B_ENC], spec->n_latents, 1), 1}));
    }
    sae->aux_spread = spread;
out:
    return st;
}

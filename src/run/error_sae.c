/* Error SAEs: their input is the base SAE's reconstruction error, x − x̂. */
#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/dev/dense.h"

sd_status run_error_sae_open(const run *r, const run_sae *underlying, uint64_t rows, run_error_sae *error)
{
    uint64_t d = r->config[BASE].d_model, k = underlying->k;
    char relative[RUN_PATH], *path = NULL;
    sd_status st;

    *error = (run_error_sae){.rows = rows};
    run_sae_path(relative, r, underlying, "sae.h5");
    SD_TRY(st, run_full_path(r, relative, &path));
    SD_TRY(st, sd_sae_open(&error->sae, r->dev, path, rows));
    SD_TRY(st, sd_buf_create(&error->index, r->dev, SD_I32, rows * k));
    SD_TRY(st, sd_buf_create(&error->value, r->dev, SD_REAL, rows * k));
    SD_TRY(st, sd_buf_create(&error->y, r->dev, SD_REAL, rows * d));
    SD_TRY(st, sd_buf_create(&error->sse, r->dev, SD_F64, rows));
out:
    sd_free(path);
    return st;
}

void run_error_sae_close(run_error_sae *error)
{
    sd_sae_destroy(&error->sae);
    sd_buf_destroy(&error->index);
    sd_buf_destroy(&error->value);
    sd_buf_destroy(&error->y);
    sd_buf_destroy(&error->sse);
}

sd_status run_error_sae_apply(void *self, sd_dev *dev, sd_mat x)
{
    run_error_sae *q = self;
    uint64_t k = sd_sae_spec_of(q->sae)->k;
    sd_status st = SD_OK;

    for (uint64_t first = 0; first < x.rows; first += q->rows) {
        uint64_t n = x.rows - first < q->rows ? x.rows - first : q->rows;
        sd_mat rows = sd_mat_rows(x, first, n), y = sd_mat_of(q->y, n, x.cols);
        sd_mat index = sd_mat_of(q->index, n, k), value = sd_mat_of(q->value, n, k);

        SD_TRY(st, sd_sae_encode(q->sae, rows, index, value));
        SD_TRY(st, sd_sae_reconstruct(q->sae, rows, index, value, y, sd_mat_of(q->sse, 1, n)));
        SD_TRY(st, sd_dev_axpy(dev, &(sd_axpy){.x = y, .y = rows, .scale = -1}));
    }
out:
    return st;
}

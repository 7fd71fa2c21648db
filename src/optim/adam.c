#include "saediff/optim/adam.h"

#include "saediff/core/mem.h"
#include "saediff/dev/step.h"

sd_status sd_adam_create(sd_adam **adam, sd_dev *dev, const sd_adam_spec *spec, const sd_param *params, uint64_t count)
{
    sd_adam *a = NULL;
    sd_status st;

    *adam = NULL;
    if (count > SD_ADAM_PARAMS)
        return SD_FAIL(SD_E_INTERNAL, "an optimiser over %llu parameter tensors; the limit is %d", (unsigned long long)count,
                       (int)SD_ADAM_PARAMS);
    SD_TRY(st, SD_NEW(&a, 1));
    a->dev = dev;
    a->spec = *spec;
    a->count = count;
    SD_TRY(st, sd_buf_create(&a->sums, dev, SD_F64, count));
    SD_TRY(st, sd_buf_create(&a->norm, dev, SD_F64, 1));
    SD_TRY(st, sd_buf_create(&a->factor, dev, SD_F64, 1));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){.y = sd_mat_of(a->norm, 1, 1)}));
    for (uint64_t i = 0; i < count; i++) {
        sd_param *p = &a->params[i];

        *p = params[i];
        for (uint64_t j = 0; j < 2; j++) {
            sd_buf **moment = &a->moments[2 * i + j];
            sd_mat *view = j == 0 ? &p->m : &p->v;

            SD_TRY(st, sd_buf_create(moment, dev, SD_REAL, p->w.rows * p->w.cols));
            *view = sd_mat_of(*moment, p->w.rows, p->w.cols);
            SD_TRY(st, sd_dev_fill(dev, &(sd_fill){.y = *view}));
        }
    }
    *adam = a;
    a = NULL;
out:
    sd_adam_destroy(&a);
    return st;
}

void sd_adam_destroy(sd_adam **adam)
{
    if (*adam == NULL)
        return;
    for (uint64_t i = 0; i < 2 * SD_ADAM_PARAMS; i++)
        sd_buf_destroy(&(*adam)->moments[i]);
    sd_buf_destroy(&(*adam)->sums);
    sd_buf_destroy(&(*adam)->norm);
    sd_buf_destroy(&(*adam)->factor);
    sd_free(*adam);
    *adam = NULL;
}

sd_status sd_adam_step(sd_adam *adam, uint64_t t, double lr)
{
    sd_mat sums = sd_mat_of(adam->sums, 1, adam->count), norm = sd_mat_of(adam->norm, 1, 1);
    sd_mat factor = sd_mat_of(adam->factor, 1, 1);
    const sd_adam_spec *spec = &adam->spec;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < adam->count; i++) {
        sd_param *p = &adam->params[i];

        if (p->unit_rows)
            SD_TRY(st, sd_dev_project_rows(adam->dev, &(sd_project_rows){.g = p->g, .w = p->w}));
        SD_TRY(st, sd_dev_sumsq(adam->dev, &(sd_sumsq){.x = p->g, .sum = sums, .slot = i}));
    }
    SD_TRY(st, sd_dev_clip(adam->dev, &(sd_clip){.sum = sums, .norm = norm, .factor = factor, .limit = spec->clip}));
    for (uint64_t i = 0; i < adam->count; i++) {
        sd_param *p = &adam->params[i];

        SD_TRY(st, sd_dev_adamw(adam->dev, &(sd_adamw){.w = p->w,
                                                        .g = p->g,
                                                        .m = p->m,
                                                        .v = p->v,
                                                        .factor = factor,
                                                        .lr = lr,
                                                        .beta1 = spec->beta1,
                                                        .beta2 = spec->beta2,
                                                        .eps = spec->eps,
                                                        .decay = spec->decay,
                                                        .t = t}));
        if (p->unit_rows)
            SD_TRY(st, sd_dev_unit_rows(adam->dev, &(sd_unit_rows){.w = p->w}));
    }
out:
    return st;
}

sd_status sd_adam_norm(sd_adam *adam, double *norm)
{
    return sd_dev_download(adam->dev, sd_mat_of(adam->norm, 1, 1), norm);
}

/* The optimiser, sharded over the ranks as in ZeRO: each owns a slice of the vector of trainable parameters, with its moments. Sums are taken
 * over blocks of a fixed size, so their bits do not depend on the number of ranks. */
#include <math.h>

#include "saediff/core/mem.h"
#include "saediff/dev/step.h"
#include "tune_private.h"

/* A vector may have more elements than a matrix may have columns: a whole vector is viewed as rows of one block each. */

static sd_mat own_part(const sd_tuner *t, sd_buf *buf, sd_span elements)
{
    return (sd_mat){.buf = buf, .offset = elements.first - t->own.mine.first, .rows = 1, .cols = elements.count, .stride = elements.count};
}

sd_mat tune_owner_all(const sd_tuner *t, sd_buf *buf)
{
    return sd_mat_of(buf, t->own.mine.count / TUNE_BLOCK, TUNE_BLOCK);
}

static sd_mat whole(const sd_tuner *t)
{
    return sd_mat_of(t->grad, t->own.blocks, TUNE_BLOCK);
}

/* This rank's slice of `grad`, which is padded with zeros at its end. */
static sd_mat own_of_whole(const sd_tuner *t)
{
    return sd_mat_rows(whole(t), t->own.mine.first / TUNE_BLOCK, t->own.mine.count / TUNE_BLOCK);
}

sd_status tune_owner_take(sd_tuner *t, const sd_real *host, sd_buf *slice)
{
    uint64_t full = t->elements / TUNE_BLOCK, rest = t->elements % TUNE_BLOCK;
    sd_status st;

    SD_TRY(st, sd_dev_upload(t->dev, host, sd_mat_rows(whole(t), 0, full)));
    if (rest > 0)
        SD_TRY(st, sd_dev_upload(t->dev, host + full * TUNE_BLOCK, sd_mat_cols(sd_mat_rows(whole(t), full, 1), 0, rest)));
    if (t->own.mine.count > 0)
        st = sd_dev_scale(t->dev, &(sd_scale){.x = own_of_whole(t), .y = tune_owner_all(t, slice), .scale = 1});
out:
    return st;
}

sd_status tune_owner_create(sd_tuner *t)
{
    tune_owner *o = &t->own;
    sd_buf **slices[] = {&o->w, &o->g, &o->m, &o->v};
    sd_real *start = NULL;
    sd_status st;

    o->blocks = (t->elements + TUNE_BLOCK - 1) / TUNE_BLOCK;
    SD_TRY(st, SD_NEW(&o->slice, (uint64_t)t->par->size));
    for (int r = 0; r < t->par->size; r++) {
        sd_span blocks = sd_par_split(o->blocks, r, t->par->size);

        o->slice[r] = (sd_span){blocks.first * TUNE_BLOCK, blocks.count * TUNE_BLOCK};
    }
    o->mine = o->slice[t->par->rank];
    SD_TRY(st, SD_NEW(&start, t->elements));
    SD_TRY(st, SD_NEW(&o->part, o->mine.count));
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
        SD_TRY(st, sd_buf_create(slices[i], t->dev, SD_REAL, o->mine.count));
        SD_TRY(st, sd_dev_fill(t->dev, &(sd_fill){.y = tune_owner_all(t, *slices[i])}));
    }
    SD_TRY(st, sd_buf_create(&o->sums, t->dev, SD_F64, o->blocks));
    SD_TRY(st, sd_buf_create(&o->norm, t->dev, SD_F64, 1));
    SD_TRY(st, sd_buf_create(&o->factor, t->dev, SD_F64, 1));
    SD_TRY(st, sd_buf_create(&t->grad, t->dev, SD_REAL, o->blocks * TUNE_BLOCK));
    SD_TRY(st, sd_dev_fill(t->dev, &(sd_fill){.y = whole(t)}));
    SD_TRY(st, tune_start(t, start));
    SD_TRY(st, tune_owner_take(t, start, o->w));
    st = sd_backward_put(t->backward, t->grad);
out:
    sd_free(start);
    return st;
}

void tune_owner_destroy(sd_tuner *t)
{
    tune_owner *o = &t->own;
    sd_buf **bufs[] = {&o->w, &o->g, &o->m, &o->v, &o->sums, &o->norm, &o->factor, &t->grad};

    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        sd_buf_destroy(bufs[i]);
    sd_free(o->slice);
    sd_free(o->part);
}

sd_status tune_owner_add(sd_tuner *t, int sources, bool first)
{
    return sd_group_sum(t->group, t->grad, sources, t->own.slice, first, t->own.g);
}

/* Fails with the name of the last trainable tensor whose gradient is not finite: the backward pass reaches it first. If all are finite, their
 * norm overflows. */
static sd_status name_tensor(sd_tuner *t, uint64_t step)
{
    tune_owner *o = &t->own;
    uint64_t last = 0; /* its position + 1 */
    sd_real *mine = o->part;
    sd_status st;

    SD_TRY(st, sd_par_agree(t->par, sd_dev_download(t->dev, tune_owner_all(t, o->g), mine)));
    for (uint64_t i = 0; i < o->mine.count; i++)
        if (!isfinite(mine[i]))
            last = o->mine.first + i + 1;
    SD_TRY(st, sd_par_max_u64(t->par, &last, 1));
    for (uint64_t i = 0; i < t->n_trainable; i++)
        if (last > t->trainable[i].first && last - 1 - t->trainable[i].first < t->trainable[i].count) {
            char name[TUNE_NAME];

            tune_name(t, i, name);
            return SD_FAIL(SD_E_DATA,
                           "step %llu of %llu: the gradient of '%s' is not finite; lower finetune.lr, raise finetune.warmup, or check "
                           "the documents of this step",
                           (unsigned long long)step, (unsigned long long)t->steps, name);
        }
    st = SD_FAIL(SD_E_DATA, "step %llu of %llu: the norm of the gradient overflows; lower finetune.lr or raise finetune.warmup",
                 (unsigned long long)step, (unsigned long long)t->steps);
out:
    return st;
}

/* Local. The sums of squares of this rank's blocks, written to their positions in sums [blocks]. */
static sd_status sum_squares(sd_tuner *t, double *sums)
{
    tune_owner *o = &t->own;
    uint64_t first = o->mine.first / TUNE_BLOCK, count = o->mine.count / TUNE_BLOCK;
    sd_mat all = sd_mat_of(o->sums, 1, o->blocks);
    sd_status st = SD_OK;

    for (uint64_t b = 0; b < count; b++)
        SD_TRY(st, sd_dev_sumsq(t->dev, &(sd_sumsq){.x = sd_mat_rows(tune_owner_all(t, o->g), b, 1), .sum = all, .slot = first + b}));
    if (count > 0)
        SD_TRY(st, sd_dev_download(t->dev, sd_mat_cols(all, first, count), sums + first));
out:
    return st;
}

/* Local. AdamW on the part of each tensor or factor in this slice: matrices have weight decay, vectors have none. The new slice is copied
 * to `grad`, whose gradient is no longer needed. */
static sd_status update(sd_tuner *t, uint64_t step, double lr)
{
    const sd_adam_spec *a = &t->spec.adam;
    tune_owner *o = &t->own;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < t->n_trainable; i++) {
        sd_span part = sd_span_intersect(o->mine, (sd_span){t->trainable[i].first, t->trainable[i].count});

        if (part.count == 0)
            continue;
        SD_TRY(st, sd_dev_adamw(t->dev, &(sd_adamw){.w = own_part(t, o->w, part),
                                                    .g = own_part(t, o->g, part),
                                                    .m = own_part(t, o->m, part),
                                                    .v = own_part(t, o->v, part),
                                                    .factor = sd_mat_of(o->factor, 1, 1),
                                                    .lr = lr,
                                                    .beta1 = a->beta1,
                                                    .beta2 = a->beta2,
                                                    .eps = a->eps,
                                                    .decay = t->trainable[i].rows > 0 ? a->decay : 0,
                                                    .t = step}));
    }
    if (o->mine.count > 0)
        SD_TRY(st, sd_dev_scale(t->dev, &(sd_scale){.x = tune_owner_all(t, o->w), .y = own_of_whole(t), .scale = 1}));
out:
    return st;
}

sd_status tune_owner_step(sd_tuner *t, uint64_t step, double lr, double *norm)
{
    tune_owner *o = &t->own;
    sd_mat all = sd_mat_of(o->sums, 1, o->blocks);
    double *sums = NULL;
    sd_status st;

    st = SD_NEW(&sums, o->blocks);
    if (st == SD_OK)
        st = sum_squares(t, sums);
    SD_TRY(st, sd_par_agree(t->par, st));
    SD_TRY(st, sd_par_share_f64(t->par, sums, o->blocks));
    st = sd_dev_upload(t->dev, sums, all);
    if (st == SD_OK)
        st = sd_dev_clip(t->dev, &(sd_clip){.sum = all, .norm = sd_mat_of(o->norm, 1, 1), .factor = sd_mat_of(o->factor, 1, 1), .limit = t->spec.adam.clip});
    if (st == SD_OK)
        st = sd_dev_download(t->dev, sd_mat_of(o->norm, 1, 1), norm);
    SD_TRY(st, sd_par_agree(t->par, st));
    if (!isfinite(*norm)) {
        st = name_tensor(t, step);
        goto out;
    }
    SD_TRY(st, sd_par_agree(t->par, update(t, step, lr)));
    SD_TRY(st, sd_group_collect(t->group, t->grad, o->slice));
    st = sd_par_agree(t->par, sd_backward_put(t->backward, t->grad));
out:
    sd_free(sums);
    return st;
}

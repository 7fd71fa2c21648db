#include "front.h"

typedef unsigned long long ull;

sd_status sd_dev_unit_rows(sd_dev *dev, const sd_unit_rows *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "unit_rows", "w", a->w, SD_REAL));
    SD_FRONT_CALL(st, dev, step, unit_rows, a);
out:
    return st;
}

sd_status sd_dev_project_rows(sd_dev *dev, const sd_project_rows *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "project_rows", "g", a->g, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "project_rows", "w", a->w, SD_REAL, a->g.rows, a->g.cols));
    SD_TRY(st, sd_front_disjoint("project_rows", "g", a->g, "w", a->w, false));
    SD_FRONT_CALL(st, dev, step, project_rows, a);
out:
    return st;
}

sd_status sd_dev_sumsq(sd_dev *dev, const sd_sumsq *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "sumsq", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "sumsq", "sum", a->sum, SD_F64, 1, a->sum.cols));
    if (a->slot >= a->sum.cols) {
        st = SD_FAIL(SD_E_INTERNAL, "sumsq: slot %llu of sum [1, %llu]", (ull)a->slot, (ull)a->sum.cols);
        goto out;
    }
    SD_TRY(st, sd_front_disjoint("sumsq", "sum", a->sum, "x", a->x, false));
    SD_FRONT_CALL(st, dev, step, sumsq, a);
out:
    return st;
}

sd_status sd_dev_clip(sd_dev *dev, const sd_clip *a)
{
    sd_status st;

    SD_TRY(st, sd_front_shape(dev, "clip", "sum", a->sum, SD_F64, 1, a->sum.cols));
    SD_TRY(st, sd_front_shape(dev, "clip", "norm", a->norm, SD_F64, 1, 1));
    SD_TRY(st, sd_front_shape(dev, "clip", "factor", a->factor, SD_F64, 1, 1));
    SD_TRY(st, sd_front_disjoint("clip", "norm", a->norm, "sum", a->sum, false));
    SD_TRY(st, sd_front_disjoint("clip", "factor", a->factor, "sum", a->sum, false));
    SD_TRY(st, sd_front_disjoint("clip", "factor", a->factor, "norm", a->norm, false));
    SD_FRONT_CALL(st, dev, step, clip, a);
out:
    return st;
}

sd_status sd_dev_adamw(sd_dev *dev, const sd_adamw *a)
{
    uint64_t r = a->w.rows, c = a->w.cols;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "adamw", "w", a->w, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "adamw", "g", a->g, SD_REAL, r, c));
    SD_TRY(st, sd_front_shape(dev, "adamw", "m", a->m, SD_REAL, r, c));
    SD_TRY(st, sd_front_shape(dev, "adamw", "v", a->v, SD_REAL, r, c));
    if (a->factor.buf != NULL)
        SD_TRY(st, sd_front_shape(dev, "adamw", "factor", a->factor, SD_F64, 1, 1));
    if (a->t == 0) {
        st = SD_FAIL(SD_E_INTERNAL, "adamw: step 0; the first step is 1");
        goto out;
    }
    SD_TRY(st, sd_front_disjoint("adamw", "w", a->w, "g", a->g, false));
    SD_TRY(st, sd_front_disjoint("adamw", "w", a->w, "m", a->m, false));
    SD_TRY(st, sd_front_disjoint("adamw", "w", a->w, "v", a->v, false));
    SD_TRY(st, sd_front_disjoint("adamw", "m", a->m, "g", a->g, false));
    SD_TRY(st, sd_front_disjoint("adamw", "m", a->m, "v", a->v, false));
    SD_TRY(st, sd_front_disjoint("adamw", "v", a->v, "g", a->g, false));
    SD_FRONT_CALL(st, dev, step, adamw, a);
out:
    return st;
}

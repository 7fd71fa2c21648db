#include "front.h"

sd_status sd_dev_kl(sd_dev *dev, const sd_kl *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "kl", "p", a->p, SD_REAL));
    if (a->p.cols == 0) {
        st = SD_FAIL(SD_E_INTERNAL, "kl: p is [%llu, 0]", (unsigned long long)a->p.rows);
        goto out;
    }
    SD_TRY(st, sd_front_shape(dev, "kl", "q", a->q, SD_REAL, a->p.rows, a->p.cols));
    SD_TRY(st, sd_front_shape(dev, "kl", "kl", a->kl, SD_F64, 1, a->p.rows));
    SD_FRONT_CALL(st, dev, score, kl, a);
out:
    return st;
}

sd_status sd_dev_row_pair(sd_dev *dev, const sd_row_pair *a)
{
    const sd_mat out[] = {a->xx, a->yy, a->xy, a->sse};
    static const char *const name[] = {"xx", "yy", "xy", "sse"};
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "row_pair", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "row_pair", "y", a->y, SD_REAL, a->x.rows, a->x.cols));
    for (int i = 0; i < 4; i++) {
        SD_TRY(st, sd_front_shape(dev, "row_pair", name[i], out[i], SD_F64, 1, a->x.rows));
        for (int j = 0; j < i; j++)
            SD_TRY(st, sd_front_disjoint("row_pair", name[i], out[i], name[j], out[j], false));
    }
    SD_FRONT_CALL(st, dev, score, row_pair, a);
out:
    return st;
}

sd_status sd_dev_count_positive(sd_dev *dev, const sd_count_positive *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "count_positive", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "count_positive", "shift", a->shift, SD_REAL, 1, a->x.cols));
    SD_TRY(st, sd_front_shape(dev, "count_positive", "count", a->count, SD_U64, 1, a->x.rows));
    SD_FRONT_CALL(st, dev, score, count_positive, a);
out:
    return st;
}

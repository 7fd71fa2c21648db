/* Evaluations that the tests build from rows in plain double. */
#ifndef SAEDIFF_TESTS_EVAL_SUMS_H
#define SAEDIFF_TESTS_EVAL_SUMS_H

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/eval/eval.h"

static inline sd_eval *sums_eval(uint64_t docs, uint64_t sources, uint64_t latents)
{
    sd_eval *e = NULL;

    CHECK_OK(sd_eval_create(&e, docs, sources, latents));
    CHECK_OK(sd_str_copy(&e->model, "base"));
    CHECK_OK(sd_str_copy(&e->site, "blocks.1.hook_resid_post"));
    CHECK_OK(sd_str_copy(&e->sae, "topk-5-k2"));
    CHECK_OK(sd_str_copy(&e->no_passes, ""));
    e->k = 2;
    e->d_model = 4;
    for (uint64_t d = 0; d < docs; d++)
        e->doc_source[d] = (uint32_t)(d % sources);
    return e;
}

/* One row of document d: x and its reconstruction, mean the row that spreads are taken from. */
static inline void sums_row(sd_eval *e, uint64_t d, const double *x, const double *y, const double *mean)
{
    double xx = 0, yy = 0, xy = 0, sse = 0, spread = 0;

    for (uint64_t c = 0; c < e->d_model; c++) {
        xx += x[c] * x[c];
        yy += y[c] * y[c];
        xy += x[c] * y[c];
        sse += (x[c] - y[c]) * (x[c] - y[c]);
        spread += (x[c] - mean[c]) * (x[c] - mean[c]);
    }
    e->column[SD_EVAL_tokens][d]++;
    e->column[SD_EVAL_all_tokens][d]++;
    e->column[SD_EVAL_x2][d] += xx;
    e->column[SD_EVAL_y2][d] += yy;
    e->column[SD_EVAL_xy][d] += xy;
    e->column[SD_EVAL_sse][d] += sse;
    e->column[SD_EVAL_all_sse][d] += sse;
    e->column[SD_EVAL_spread][d] += spread;
    e->column[SD_EVAL_spread_source][d] += spread;
    e->column[SD_EVAL_all_spread][d] += spread;
    e->column[SD_EVAL_all_spread_source][d] += spread;
    e->column[SD_EVAL_cosine][d] += xy / sqrt(xx * yy);
    e->column[SD_EVAL_ratio][d] += sqrt(yy / xx);
}

#endif

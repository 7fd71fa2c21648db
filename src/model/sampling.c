#include "sampling.h"

#include <math.h>
#include <stdlib.h>

/* By descending logit, equal ones by ascending id. */
static int by_logit(const void *left, const void *right)
{
    const sd_candidate *a = left, *b = right;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static double weight(const sd_candidate *c, const sd_candidate *top, double temperature)
{
    return exp(((double)c->logit - (double)top->logit) / temperature);
}

/* Number of sorted candidates that are kept, at least 1; *mass: their total weight. */
static uint64_t truncate_candidates(const sd_candidate *c, uint64_t n, const sd_sampling *how, double *mass)
{
    double all = 0, sum = 0;
    uint64_t kept;

    if (how->top_k > 0 && how->top_k < n)
        n = how->top_k;
    for (uint64_t i = 0; i < n; i++)
        all += weight(&c[i], &c[0], how->temperature);
    for (kept = 0; kept < n; kept++) {
        double w = weight(&c[kept], &c[0], how->temperature);

        if (kept > 0 && ((how->top_p < 1 && sum >= how->top_p * all) || w < how->min_p))
            break;
        sum += w;
    }
    *mass = sum;
    return kept;
}

sd_status sd_sample(const float *logits, uint64_t vocabulary, const sd_sampling *how, double uniform, sd_candidate *candidates, int32_t *id)
{
    uint64_t n = 0, best = 0, kept, pick;
    double mass, left;

    for (uint64_t i = 0; i < vocabulary; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return SD_FAIL(SD_E_DATA,
                           "the logit of token %llu is %s; the weights are damaged, or the model overflows in this number type",
                           (unsigned long long)i, isnan(logits[i]) ? "NaN" : "infinite");
        if (logits[i] == -INFINITY)
            continue;
        candidates[n] = (sd_candidate){logits[i], (int32_t)i};
        best = n == 0 || candidates[n].logit > candidates[best].logit ? n : best;
        n++;
    }
    if (n == 0)
        return SD_FAIL(SD_E_DATA, "all logits of a token are minus infinity; the weights are damaged, or the model overflows in this number type");
    if (how->temperature == 0) {
        *id = candidates[best].id;
        return SD_OK;
    }
    qsort(candidates, n, sizeof *candidates, by_logit);
    kept = truncate_candidates(candidates, n, how, &mass);
    left = uniform * mass;
    for (pick = 0; pick + 1 < kept; pick++) {
        left -= weight(&candidates[pick], &candidates[0], how->temperature);
        if (left < 0)
            break;
    }
    *id = candidates[pick].id;
    return SD_OK;
}

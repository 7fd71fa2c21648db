#include "saediff/stat/auroc.h"

#include <math.h>
#include <stdlib.h>

double sd_auroc(double rank_sum, uint64_t positives, uint64_t others)
{
    double p = (double)positives, o = (double)others;

    return positives == 0 || others == 0 ? (double)NAN : (rank_sum - p * (p + 1) / 2) / (p * o);
}

static int rising(const void *a, const void *b)
{
    const sd_scored *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

void sd_scored_sort(sd_scored *list, uint64_t n)
{
    if (n > 1)
        qsort(list, n, sizeof *list, rising);
}

double sd_auroc_weighted(const sd_scored *sorted, uint64_t n, const double *weight)
{
    double sum = 0, below = 0, above = 0;

    for (uint64_t i = 0, end; i < n; i = end) {
        double positives = 0, others = 0;

        for (end = i; end < n && sorted[end].value == sorted[i].value; end++) {
            if (sorted[end].positive)
                positives += weight[sorted[end].id];
            else
                others += weight[sorted[end].id];
        }
        sum += positives * (below + others / 2);
        below += others;
        above += positives;
    }
    return below > 0 && above > 0 ? sum / (above * below) : (double)NAN;
}

double sd_auroc_se(const sd_scored *sorted, uint64_t n)
{
    double positives = 0, others = 0, seen[2] = {0, 0}, sum[2] = {0, 0}, squares[2] = {0, 0};

    for (uint64_t i = 0; i < n; i++)
        *(sorted[i].positive ? &positives : &others) += 1;
    if (positives < 2 || others < 2)
        return (double)NAN;
    for (uint64_t i = 0, end; i < n; i = end) {
        double tied[2] = {0, 0}, share[2];

        for (end = i; end < n && sorted[end].value == sorted[i].value; end++)
            tied[sorted[end].positive] += 1;
        share[0] = (positives - seen[1] - tied[1] / 2) / positives; /* of positives above an other of this value */
        share[1] = (seen[0] + tied[0] / 2) / others;                /* of others below a positive of it */
        for (int kind = 0; kind < 2; kind++) {
            sum[kind] += tied[kind] * share[kind];
            squares[kind] += tied[kind] * share[kind] * share[kind];
            seen[kind] += tied[kind];
        }
    }
    squares[1] = fmax(0, squares[1] - sum[1] * sum[1] / positives) / (positives - 1);
    squares[0] = fmax(0, squares[0] - sum[0] * sum[0] / others) / (others - 1);
    return sqrt(squares[1] / positives + squares[0] / others);
}

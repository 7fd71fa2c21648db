/* How well a number tells two kinds apart: the chance that a positive's is larger than another's, ties counting half (Mann & Whitney 1947;
 * Hanley & McNeil 1982). Pure functions, Local. Values are not NaN. */
#ifndef SAEDIFF_STAT_AUROC_H
#define SAEDIFF_STAT_AUROC_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* From Σ midranks (from 1, among positives and others together) of the positives. NaN if either kind is empty. */
double sd_auroc(double rank_sum, uint64_t positives, uint64_t others);

/* One of a list in rising order of `value`. */
typedef struct sd_scored {
    double value;
    uint64_t id;
    bool positive;
} sd_scored;

/* Sorts by value, equal ones by id. */
void sd_scored_sort(sd_scored *list, uint64_t n);

/* Each entry counts weight[id] times; NaN if a kind has no weight. Exact for whole weights of a sum below 2^26. */
double sd_auroc_weighted(const sd_scored *sorted, uint64_t n, const double *weight);

/* Standard error of the AUROC of a sorted list (DeLong, DeLong & Clarke-Pearson 1988): S₁₀/positives + S₀₁/others, variances of the share of
 * others below each positive and of positives above each other; NaN if a kind has fewer than two. */
double sd_auroc_se(const sd_scored *sorted, uint64_t n);

#endif

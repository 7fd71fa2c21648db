/* Tests and their many: pure functions, Local, double. NaN in, NaN out; nothing is clamped. */
#ifndef SAEDIFF_STAT_INFER_H
#define SAEDIFF_STAT_INFER_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

/* Regularised incomplete beta I_x(a, b), a, b > 0, 0 ≤ x ≤ 1, else NaN: the continued fraction of DLMF 8.17.22 by Lentz's method.
 * Relative error below 1e-12 for a + b up to 1e3, 1e-8 up to 1e6. */
double sd_incomplete_beta(double a, double b, double x);

/* Student's t with df > 0 degrees of freedom: two-sided p = I_{df/(df+t²)}(df/2, ½); P(|T| ≥ 0) = 1, at infinity 0. */
double sd_student_p(double t, double df);
/* The value a two-sided interval of `level` (0.95) reaches to. */
double sd_student_quantile(double level, double df);

/* McNemar's exact test of paired yes/no answers: only_a and only_b are the discordant pairs. Two-sided p = min(1, 2 P(Bin(only_a + only_b, ½)
 * ≤ the smaller)), 1 without discordant pairs. */
double sd_mcnemar_p(uint64_t only_a, uint64_t only_b);

/* Benjamini & Hochberg 1995: q[i] = min over j with p_j ≥ p_i of p_j · m / rank(j), at most 1. Entries whose p is NaN are not tests: they
 * do not count into m, and their q is NaN. */
SD_MUST_CHECK sd_status sd_bh(const double *p, uint64_t n, double *q);

/* A mean per token from sums per cluster, with its cluster-robust error. Only clusters with a sum are listed; the others, with sum 0,
 * enter by their number and Σ size². */
typedef struct sd_cluster {
    uint64_t size; /* > 0 */
    double sum;
} sd_cluster;

typedef struct sd_clusters {
    uint64_t count;   /* G: all clusters, also those not listed */
    uint64_t size;    /* N = Σ size over all */
    uint64_t squares; /* Σ size² over all */
} sd_clusters;

/* mean = Σ S / N; se² = G/(G−1) Σ (S − n mean)² / N² (Liang & Zeger 1986; CR1 of Cameron & Miller 2015, whose second factor
 * (N−1)/(N−1) is 1 for a mean). Sums in the order of the list. NaN for N = 0, se NaN for G < 2. */
void sd_cluster_mean(const sd_clusters *all, const sd_cluster *listed, uint64_t n_listed, double *mean, double *se);

/* The value z that a two-sided interval of `level` of the normal distribution reaches to, within 1e-5. */
double sd_normal_quantile(double level);

/* Interval of a share of which `count` of `n` were seen (Wilson 1927), z as above; NaN for n = 0. */
void sd_wilson(uint64_t count, uint64_t n, double z, double *low, double *high);

/* How many kinds that were never seen a larger sample would show, from the numbers of kinds seen once and twice: estimate
 * f̂ = once (once − 1) / (2 (twice + 1)) (Chao 1984, bias-corrected), *high = f̂ C, C = exp(z sqrt(ln(1 + var/f̂²))) with its variance
 * (Chao 1987; 2005): 0 and 0 where fewer than two were seen once. */
void sd_unseen(uint64_t once, uint64_t twice, double z, double *estimate, double *high);

/* mean / se; 0 where both are 0, NaN where only se is. */
double sd_ratio_or_zero(double mean, double se);

#endif

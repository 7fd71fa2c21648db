#include "saediff/stat/infer.h"

#include <math.h>

#include "saediff/core/mem.h"
#include "saediff/stat/stat.h"

/* The fraction converges in about √(max(a, b)) rounds on the side of the mean where it is used. */
enum { MOST_ROUNDS = 1000000 };

static double away_from_zero(double x)
{
    return fabs(x) < 1e-300 ? 1e-300 : x;
}

static double beta_fraction(double a, double b, double x)
{
    double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), h = d;

    for (int i = 1; i <= MOST_ROUNDS; i++) {
        double m = i, even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), step;

        d = 1 / away_from_zero(1 + even * d);
        c = away_from_zero(1 + even / c);
        h *= d * c;
        d = 1 / away_from_zero(1 + odd * d);
        c = away_from_zero(1 + odd / c);
        step = d * c;
        h *= step;
        if (fabs(step - 1) < 1e-15)
            return h;
    }
    return NAN;
}

double sd_incomplete_beta(double a, double b, double x)
{
    double front;

    if (!(a > 0) || !(b > 0) || !(x >= 0) || !(x <= 1) || isinf(a) || isinf(b))
        return NAN;
    if (x == 0 || x == 1)
        return x;
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double sd_student_p(double t, double df)
{
    double t2 = t * t;

    if (isnan(t) || !(df > 0) || isinf(df))
        return NAN;
    if (isinf(t2))
        return 0;
    /* For small t, x is near 1 and 1 − x exact only as t²/(df + t²); for larger t this form would cancel. */
    if (t2 < 1)
        return 1 - sd_incomplete_beta(0.5, df / 2, t2 / (df + t2));
    return sd_incomplete_beta(df / 2, 0.5, df / (df + t2));
}

double sd_student_quantile(double level, double df)
{
    double low = 0, high = 1, tail = 1 - level;

    if (!(level > 0) || !(level < 1) || !(df > 0) || isinf(df))
        return NAN;
    while (sd_student_p(high, df) > tail)
        high *= 2;
    for (;;) {
        double middle = low + (high - low) / 2;

        if (!(middle > low && middle < high))
            return middle;
        if (sd_student_p(middle, df) > tail)
            low = middle;
        else
            high = middle;
    }
}

double sd_mcnemar_p(uint64_t only_a, uint64_t only_b)
{
    uint64_t least = only_a < only_b ? only_a : only_b, n = only_a + only_b;


    /* Near the middle twice the lower tail is 1 or more: equal counts hold the middle twice. */
    if (n - 2 * least <= 1)
        return 1;
    /* P(Bin(n, ½) ≤ least) = I_½(n − least, least + 1). */
    return 2 * sd_incomplete_beta((double)(n - least), (double)least + 1, 0.5);
}

sd_status sd_bh(const double *p, uint64_t n, double *q)
{
    uint64_t *order = NULL, tests = 0;
    double least = 1;
    sd_status st;

    SD_TRY(st, SD_NEW(&order, n));
    for (uint64_t i = 0; i < n; i++)
        tests += isnan(p[i]) ? 0U : 1U;
    sd_order_falling(p, n, order);
    for (uint64_t i = 0; i < n; i++) {
        double value;

        q[order[i]] = NAN;
        if (i >= tests)
            continue;
        value = p[order[i]] * (double)tests / (double)(tests - i);
        least = value < least ? value : least;
        q[order[i]] = least;
    }
out:
    sd_free(order);
    return st;
}

void sd_cluster_mean(const sd_clusters *all, const sd_cluster *listed, uint64_t n_listed, double *mean, double *se)
{
    double size = (double)all->size, groups = (double)all->count, total = 0, squares = 0;
    uint64_t rest = all->squares;

    for (uint64_t i = 0; i < n_listed; i++)
        total += listed[i].sum;
    *mean = total / size;
    for (uint64_t i = 0; i < n_listed; i++) {
        double off = listed[i].sum - (double)listed[i].size * *mean;

        squares += off * off;
        rest -= listed[i].size * listed[i].size;
    }
    squares += *mean * *mean * (double)rest;
    *se = all->count < 2 ? (double)NAN : sqrt(groups / (groups - 1) * squares) / size;
}

double sd_ratio_or_zero(double mean, double se)
{
    if (mean == 0 && se == 0)
        return 0;
    return se == 0 ? (double)NAN : mean / se;
}

double sd_normal_quantile(double level)
{
    return sd_student_quantile(level, 1e6); /* Student's distribution with so many degrees */
}

void sd_wilson(uint64_t count, uint64_t n, double z, double *low, double *high)
{
    double m = (double)n, p = (double)count / m;
    double middle = (p + z * z / (2 * m)) / (1 + z * z / m);
    double half = z * sqrt(p * (1 - p) / m + z * z / (4 * m * m)) / (1 + z * z / m);

    *low = middle - half;
    *high = middle + half;
}

void sd_unseen(uint64_t once, uint64_t twice, double z, double *estimate, double *high)
{
    double a = (double)once, b = (double)twice + 1, variance;

    *estimate = *high = 0;
    if (once < 2)
        return;
    *estimate = a * (a - 1) / (2 * b);
    variance = *estimate + a * (2 * a - 1) * (2 * a - 1) / (4 * b * b) + a * a * (b - 1) * (a - 1) * (a - 1) / (4 * b * b * b * b);
    *high = *estimate * exp(z * sqrt(log1p(variance / (*estimate * *estimate))));
}

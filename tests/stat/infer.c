/* Tests and intervals against published values and against slow sums. */
#include "saediff/stat/infer.h"

#include "check.h"
#include "saediff/core/random.h"

/* Tables of Student's t: two-sided 5 % and 1 % points. */
static void test_student_table(void)
{
    static const struct {
        double df, at95, at99;
    } table[] = {{1, 12.7062047362, 63.6567411629}, {2, 4.3026527297, 9.9248432009}, {4, 2.7764451052, 4.6040948713},
                 {10, 2.2281388520, 3.1692726726},  {30, 2.0422724563, 2.7499956536}, {120, 1.9799304051, 2.6174211457},
                 {1e6, 1.9599663, 2.5758343}};

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double tolerance = table[i].df > 1e5 ? 2e-6 : 1e-9 * table[i].at99;

        CHECK_NEAR(sd_student_quantile(0.95, table[i].df), table[i].at95, tolerance);
        CHECK_NEAR(sd_student_quantile(0.99, table[i].df), table[i].at99, tolerance);
        CHECK_NEAR(sd_student_p(-table[i].at95, table[i].df), 0.05, 1e-6);
    }
    /* By quadrature of the density: tails far below one rounding of 1. */
    CHECK_NEAR(sd_student_p(8.7, 299) / 2.261499315258104e-16, 1, 1e-8);
    CHECK_NEAR(sd_student_p(13.5, 299) / 9.347030344240553e-33, 1, 1e-8);
    CHECK_NEAR(sd_student_p(2, 10) / 0.07338803477073887, 1, 1e-10);
    CHECK(sd_student_p(0, 7) == 1 && sd_student_p(INFINITY, 7) == 0);
    CHECK(isnan(sd_student_p(NAN, 7)) && isnan(sd_student_p(1, 0)) && isnan(sd_student_quantile(0.95, 0)));
    /* df 1 is Cauchy: p = 1 − 2 atan(t)/π, also far out and near 0. */
    for (double t = 1e-6; t < 1e7; t *= 7)
        CHECK_NEAR(sd_student_p(t, 1) / (2 * atan2(1, t) / 3.14159265358979323846), 1, 1e-10);
}

/* I_x(1, b) = 1 − (1 − x)^b; I_x(a, b) + I_{1−x}(b, a) = 1. */
static void test_incomplete_beta(void)
{
    for (double x = 0; x <= 1; x += 0.125)
        for (double b = 0.5; b < 40; b *= 3) {
            CHECK_NEAR(sd_incomplete_beta(1, b, x), 1 - pow(1 - x, b), 1e-13);
            CHECK_NEAR(sd_incomplete_beta(2.5, b, x) + sd_incomplete_beta(b, 2.5, 1 - x), 1, 1e-13);
        }
    CHECK_NEAR(sd_incomplete_beta(5e5, 5e5, 0.5), 0.5, 1e-8);
    CHECK(isnan(sd_incomplete_beta(0, 1, 0.5)) && isnan(sd_incomplete_beta(1, 1, NAN)));
}

/* Pascal's triangle in double is exact to n = 50. */
static double mcnemar_slowly(uint64_t a, uint64_t b)
{
    uint64_t n = a + b, least = a < b ? a : b;
    double choose = 1, sum = 0;

    for (uint64_t i = 0; i <= least; i++) {
        sum += choose;
        choose = choose * (double)(n - i) / (double)(i + 1);
    }
    sum = ldexp(2 * sum, -(int)n);
    return sum < 1 ? sum : 1;
}

static void test_mcnemar(void)
{
    for (uint64_t a = 0; a <= 25; a++)
        for (uint64_t b = 0; b <= 25; b++)
            CHECK_NEAR(sd_mcnemar_p(a, b) / mcnemar_slowly(a, b), 1, 1e-11);
    /* 2 (1 + 12 + 66 + 220) / 4096, and 2 / 1024. */
    CHECK_NEAR(sd_mcnemar_p(3, 9), 0.1459961, 5e-8);
    CHECK_NEAR(sd_mcnemar_p(0, 10), 0.001953125, 1e-15);
    CHECK(sd_mcnemar_p(0, 0) == 1 && sd_mcnemar_p(7, 7) == 1 && sd_mcnemar_p(500000, 500001) == 1);
    /* Large counts: the normal value with its correction for continuity, off by some 1/n. */
    CHECK_NEAR(sd_mcnemar_p(499000, 501000), erfc(1999 / 1000.0 / sqrt(2)), 1e-6);
}

/* The fifteen p-values of Benjamini & Hochberg 1995 §3.2: at q 0.05 the four smallest are rejected. */
static void test_bh_of_the_paper(void)
{
    static const double sorted[15] = {0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                                      0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
    double p[17], q[17];
    int rejected = 0;

    for (int i = 0; i < 17; i++)
        p[i] = i % 8 == 3 ? (double)NAN : 0;
    for (int i = 0, at = 0; i < 17; i++)
        if (!isnan(p[i]))
            p[i] = sorted[at++ * 4 % 15];
    CHECK_OK(sd_bh(p, 17, q));
    for (int i = 0; i < 17; i++) {
        double least = 1;

        if (isnan(p[i])) {
            CHECK(isnan(q[i]));
            continue;
        }
        for (int rank = 1; rank <= 15; rank++)
            if (sorted[rank - 1] >= p[i])
                least = fmin(least, sorted[rank - 1] * 15 / rank);
        CHECK_NEAR(q[i], least, 1e-15);
        rejected += q[i] <= 0.05;
    }
    CHECK(rejected == 4);
    CHECK_OK(sd_bh(p, 0, q));
}

static void test_bh_ties_and_ones(void)
{
    double p[4] = {1, 1, 1, 1}, q[4];

    CHECK_OK(sd_bh(p, 4, q));
    for (int i = 0; i < 4; i++)
        CHECK(q[i] == 1);
}

/* The formula written out over tokens: clusters not listed have sum 0. */
static void test_cluster_error(void)
{
    static const uint64_t sizes[6] = {3, 1, 7, 4, 2, 5};
    static const double sums[6] = {1.5, 0, -2, 0.25, 0, 4};
    sd_clusters all = {6, 22, 9 + 1 + 49 + 16 + 4 + 25};
    sd_cluster listed[4];
    double mean, se, m = 3.75 / 22, squares = 0;
    uint64_t n = 0;

    for (int i = 0; i < 6; i++) {
        double off = sums[i] - (double)sizes[i] * m;

        squares += off * off;
        if (sums[i] != 0)
            listed[n++] = (sd_cluster){sizes[i], sums[i]};
    }
    sd_cluster_mean(&all, listed, n, &mean, &se);
    CHECK_NEAR(mean, m, 1e-15);
    CHECK_NEAR(se, sqrt(6.0 / 5 * squares) / 22, 1e-15);
    sd_cluster_mean(&all, listed, 0, &mean, &se);
    CHECK(mean == 0 && se == 0 && !signbit(mean) && sd_ratio_or_zero(mean, se) == 0);
    all.count = 1;
    sd_cluster_mean(&all, listed, n, &mean, &se);
    CHECK(isnan(se) && isnan(sd_ratio_or_zero(mean, se)) && isnan(sd_ratio_or_zero(1, 0)));
}

/* With clusters of one token each it is the textbook standard error s/√n. */
static void test_cluster_of_single_tokens(void)
{
    enum { N = 37 };
    sd_cluster list[N];
    sd_clusters all = {N, N, N};
    double mean, se, sum = 0, squares = 0;
    sd_key key = sd_key_make(3, SD_STREAM_TEST, 40);

    for (uint64_t i = 0; i < N; i++) {
        list[i] = (sd_cluster){1, sd_random_normal(key, i)};
        sum += list[i].sum;
    }
    for (int i = 0; i < N; i++)
        squares += (list[i].sum - sum / N) * (list[i].sum - sum / N);
    sd_cluster_mean(&all, list, N, &mean, &se);
    CHECK_NEAR(mean, sum / N, 1e-15);
    CHECK_NEAR(se, sqrt(squares / (N - 1) / N), 1e-15);
}

/* Clustered data: a document effect and a token effect, documents of 1 to 40 tokens, true mean 0.3. */
static void test_coverage(void)
{
    enum { TIMES = 4000, G = 60 };
    int covered = 0;
    double quantile = sd_student_quantile(0.95, G - 1);

    for (uint64_t time = 0; time < TIMES; time++) {
        sd_key key = sd_key_make(time, SD_STREAM_TEST, 41);
        sd_cluster list[G];
        sd_clusters all = {.count = G};
        uint64_t next = 0;
        double mean, se;

        for (int d = 0; d < G; d++) {
            double effect = sd_random_normal(key, next++);

            list[d] = (sd_cluster){1 + sd_random_u64(key, next++) % 40, 0};
            for (uint64_t i = 0; i < list[d].size; i++)
                list[d].sum += 0.3 + effect + sd_random_normal(key, next++);
            all.size += list[d].size;
            all.squares += list[d].size * list[d].size;
        }
        sd_cluster_mean(&all, list, G, &mean, &se);
        covered += fabs(mean - 0.3) <= quantile * se;
    }
    printf("coverage of 95 %% intervals: %.2f %%\n", 100.0 * covered / TIMES);
    CHECK(covered >= 0.93 * TIMES && covered <= 0.97 * TIMES);
}

/* Newcombe, Statistics in Medicine 17 (1998), table I, method 3. */
static void test_wilson(void)
{
    static const struct {
        uint64_t count, n;
        double low, high;
    } published[] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
    double z = sd_normal_quantile(0.95), low, high;

    CHECK_NEAR(z, 1.959963985, 1e-5);
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        sd_wilson(published[i].count, published[i].n, z, &low, &high);
        CHECK_NEAR(low, published[i].low, 5.1e-5);
        CHECK_NEAR(high, published[i].high, 5.1e-5);
    }
    sd_wilson(0, 0, z, &low, &high);
    CHECK(isnan(low) && isnan(high));
}

static void test_unseen(void)
{
    double estimate, high;

    sd_unseen(10, 4, 1.959964, &estimate, &high);
    CHECK_NEAR(estimate, 9, 1e-12);
    CHECK_NEAR(high, 9 * exp(1.959964 * sqrt(log(1 + 58.06 / 81))), 1e-9);
    sd_unseen(3, 0, 1.959964, &estimate, &high);
    CHECK(estimate == 3 && high > 3);
    sd_unseen(1, 7, 1.959964, &estimate, &high);
    CHECK(estimate == 0 && high == 0);
}

static const test_case tests[] = {
    TEST(test_wilson),
    TEST(test_unseen),
    TEST(test_student_table),
    TEST(test_incomplete_beta),
    TEST(test_mcnemar),
    TEST(test_bh_of_the_paper),
    TEST(test_bh_ties_and_ones),
    TEST(test_cluster_error),
    TEST(test_cluster_of_single_tokens),
    TEST(test_coverage),
};

TEST_MAIN(tests, NULL, NULL)

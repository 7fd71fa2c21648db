/* AUROC against counting all pairs; its weighted form against repeated entries; its standard error against placements pair by pair. */
#include "saediff/stat/auroc.h"

#include <math.h>

#include "check.h"
#include "saediff/core/random.h"

enum { N = 37 };

/* Values with many ties. */
static uint64_t make(uint64_t seed, sd_scored *list)
{
    sd_key key = sd_key_make(seed, SD_STREAM_TEST, 31);
    uint64_t positives = 0;

    for (uint64_t i = 0; i < N; i++) {
        bool positive = sd_random_uniform(key, 2 * i) < 0.4;

        list[i] = (sd_scored){.value = floor(sd_random_uniform(key, 2 * i + 1) * 6 + positive), .id = i, .positive = positive};
        positives += positive;
    }
    return positives;
}

static double below(const sd_scored *other, const sd_scored *positive)
{
    return other->value < positive->value ? 1 : other->value == positive->value ? 0.5 : 0;
}

static double count_pairs(const sd_scored *list, const double *weight)
{
    double sum = 0, pairs = 0;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            if (list[i].positive && !list[j].positive) {
                double w = weight[list[i].id] * weight[list[j].id];

                sum += w * below(&list[j], &list[i]);
                pairs += w;
            }
    return sum / pairs;
}

/* Variances of the mean placement of each positive and of each other, as the paper writes them. */
static double placements_se(const sd_scored *list, uint64_t positives)
{
    double n[2] = {N - (double)positives, (double)positives}, mean[2] = {0, 0}, variance[2] = {0, 0}, place[N] = {0};

    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            if (list[j].positive != list[i].positive)
                place[i] += list[i].positive ? below(&list[j], &list[i]) : below(&list[i], &list[j]);
        place[i] /= n[!list[i].positive];
        mean[list[i].positive] += place[i] / n[list[i].positive];
    }
    for (int i = 0; i < N; i++)
        variance[list[i].positive] += pow(place[i] - mean[list[i].positive], 2) / (n[list[i].positive] - 1);
    return sqrt(variance[0] / n[0] + variance[1] / n[1]);
}

static void test_against_pairs(void)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        sd_scored list[N];
        uint64_t positives = make(seed, list);
        double ones[N], weight[N], rank_sum = 0, want;

        for (uint64_t i = 0; i < N; i++) {
            ones[i] = 1;
            weight[i] = (double)(sd_random_u64(sd_key_make(seed, SD_STREAM_TEST, 32), i) % 4);
        }
        want = count_pairs(list, ones);
        sd_scored_sort(list, N);
        for (int i = 0; i < N; i++) {
            double low = 0, same = 0;

            for (int j = 0; j < N; j++) {
                low += list[j].value < list[i].value;
                same += list[j].value == list[i].value;
            }
            rank_sum += list[i].positive ? low + (same + 1) / 2 : 0;
            CHECK(i == 0 || list[i - 1].value < list[i].value || (list[i - 1].value == list[i].value && list[i - 1].id < list[i].id));
        }
        CHECK(fabs(sd_auroc(rank_sum, positives, N - positives) - want) < 1e-12);
        CHECK(fabs(sd_auroc_weighted(list, N, ones) - want) < 1e-12);
        CHECK(fabs(sd_auroc_weighted(list, N, weight) - count_pairs(list, weight)) < 1e-12);
        CHECK(fabs(sd_auroc_se(list, N) - placements_se(list, positives)) < 1e-12);
    }
}

static void test_edges(void)
{
    sd_scored apart[] = {{0, 0, false}, {0, 1, false}, {1, 2, true}, {2, 3, true}}, alone[] = {{0, 0, false}, {1, 1, true}};
    const double ones[] = {1, 1, 1, 1}, none[] = {1, 1, 0, 0};

    CHECK(sd_auroc_weighted(apart, 4, ones) == 1 && sd_auroc_se(apart, 4) == 0);
    CHECK(sd_auroc(3 + 4, 2, 2) == 1 && sd_auroc(1 + 2, 2, 2) == 0);
    CHECK(isnan(sd_auroc_weighted(apart, 4, none)) && isnan(sd_auroc_se(alone, 2)));
    CHECK(isnan(sd_auroc(0, 0, 5)) && isnan(sd_auroc(15, 5, 0)) && isnan(sd_auroc_weighted(apart, 0, ones)));
    sd_scored_sort(apart, 0);
}

static const test_case tests[] = {
    TEST(test_against_pairs),
    TEST(test_edges),
};

TEST_MAIN(tests, NULL, NULL)

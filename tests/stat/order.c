#include "saediff/stat/stat.h"

#include "check.h"
#include "saediff/core/random.h"

/* The rank of index i by counting who stands before it: falling keys, rising index, NaN last. */
static uint64_t place_of(const double *key, uint64_t n, uint64_t i)
{
    uint64_t place = 0;

    for (uint64_t j = 0; j < n; j++) {
        if (isnan(key[i]))
            place += !isnan(key[j]) || j < i;
        else if (!isnan(key[j]))
            place += key[j] > key[i] || (key[j] == key[i] && j < i);
    }
    return place;
}

static void test_order_of_any_length(void)
{
    sd_key stream = sd_key_make(5, SD_STREAM_TEST, 2);

    for (uint64_t n = 0; n <= 65; n++) {
        double key[65];
        uint64_t order[65];

        for (uint64_t i = 0; i < n; i++) {
            uint64_t bits = sd_random_u64(stream, n * 100 + i);

            key[i] = bits % 7 == 0 ? (double)NAN : bits % 7 == 1 ? -0.0 : (double)(bits % 5) - 2;
        }
        sd_order_falling(key, n, order);
        for (uint64_t place = 0; place < n; place++) {
            CHECK(order[place] < n);
            CHECK(place_of(key, n, order[place]) == place);
        }
    }
}

static void test_infinities(void)
{
    double key[5] = {-(double)INFINITY, (double)NAN, (double)INFINITY, 0, (double)INFINITY};
    uint64_t order[5], want[5] = {2, 4, 3, 0, 1};

    sd_order_falling(key, 5, order);
    CHECK(memcmp(order, want, sizeof want) == 0);
}

static void test_rule_of_three(void)
{
    CHECK(sd_rule_of_three(0) == 1);
    CHECK(sd_rule_of_three(2) == 1);
    CHECK(sd_rule_of_three(3) == 1);
    CHECK(sd_rule_of_three(300) == 0.01);
}

static const test_case tests[] = {
    TEST(test_order_of_any_length),
    TEST(test_infinities),
    TEST(test_rule_of_three),
};

TEST_MAIN(tests, NULL, NULL)

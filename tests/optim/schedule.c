#include "check.h"
#include "saediff/optim/schedule.h"

static void test_rises_stays_falls(void)
{
    sd_schedule s = {2.0, 100, 10, 20};

    CHECK_NEAR(sd_schedule_rate(&s, 1), 0.2, 1e-15);
    CHECK_NEAR(sd_schedule_rate(&s, 5), 1.0, 1e-15);
    CHECK_NEAR(sd_schedule_rate(&s, 10), 2.0, 1e-15);
    CHECK_NEAR(sd_schedule_rate(&s, 50), 2.0, 1e-15);
    CHECK_NEAR(sd_schedule_rate(&s, 80), 2.0, 1e-15);
    CHECK_NEAR(sd_schedule_rate(&s, 81), 2.0 * 20 / 21, 1e-15);
    CHECK_NEAR(sd_schedule_rate(&s, 100), 2.0 / 21, 1e-15);
    for (uint64_t t = 82; t <= 100; t++)
        CHECK(sd_schedule_rate(&s, t) < sd_schedule_rate(&s, t - 1) && sd_schedule_rate(&s, t) > 0);
}

static void test_without_warmup_and_decay_it_is_constant(void)
{
    sd_schedule s = {0.5, 7, 0, 0};

    for (uint64_t t = 1; t <= 7; t++)
        CHECK_NEAR(sd_schedule_rate(&s, t), 0.5, 0);
}

/* Warm-up and decay may meet or overlap; the rate stays positive. */
static void test_short_runs(void)
{
    sd_schedule s = {1, 3, 3, 3};

    for (uint64_t t = 1; t <= 3; t++)
        CHECK(sd_schedule_rate(&s, t) > 0 && sd_schedule_rate(&s, t) < 1);
}

static void test_slopes(void)
{
    sd_slope s = {SD_FALL_COSINE, 2, 0.1, 10, 2};

    CHECK_NEAR(sd_slope_rate(&s, 1), 1, 1e-15);
    CHECK_NEAR(sd_slope_rate(&s, 2), 2, 1e-15);
    CHECK_NEAR(sd_slope_rate(&s, 6), 2 * 0.55, 1e-15);
    CHECK_NEAR(sd_slope_rate(&s, 10), 0.2, 1e-15);
    s.fall = SD_FALL_LINEAR;
    CHECK_NEAR(sd_slope_rate(&s, 4), 2 * (0.1 + 0.9 * 0.75), 1e-15);
    CHECK_NEAR(sd_slope_rate(&s, 10), 0.2, 1e-15);
    s.fall = SD_FALL_CONSTANT;
    CHECK_NEAR(sd_slope_rate(&s, 10), 2, 0);
    s = (sd_slope){SD_FALL_LINEAR, 1, 0, 3, 0};
    CHECK_NEAR(sd_slope_rate(&s, 1), 2.0 / 3, 1e-15);
    CHECK_NEAR(sd_slope_rate(&s, 3), 0, 1e-15);
    s = (sd_slope){SD_FALL_LINEAR, 1, 0, 3, 5};
    CHECK_NEAR(sd_slope_rate(&s, 3), 0.6, 1e-15);
}

static const test_case tests[] = {
    TEST(test_slopes),
    TEST(test_rises_stays_falls),
    TEST(test_without_warmup_and_decay_it_is_constant),
    TEST(test_short_runs),
};

TEST_MAIN(tests, NULL, NULL)

#include "check.h"
#include "saediff/core/types.h"

/* Every 16-bit pattern goes to float and comes back; rounding is checked against the two neighbours in double. */
static void test_bf16_round_trips_and_rounds_to_nearest_even(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = sd_f32_from_bf16((uint16_t)bits);

        if (isnan(value)) {
            CHECK(isnan(sd_f32_from_bf16(sd_bf16_from_f32(value))));
            continue;
        }
        CHECK(sd_bf16_from_f32(value) == bits);
        if ((bits & 0x7fffu) < 0x7f7fu) {
            float next = sd_f32_from_bf16((uint16_t)(bits + 1)), middle = (float)(((double)value + (double)next) / 2);

            CHECK(sd_bf16_from_f32(middle) == (bits % 2 == 0 ? bits : bits + 1));
        }
    }
}

static void test_f16_round_trips_and_rounds_to_nearest_even(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = sd_f32_from_f16((uint16_t)bits);

        if (isnan(value)) {
            CHECK(isnan(sd_f32_from_f16(sd_f16_from_f32(value))));
            continue;
        }
        CHECK(sd_f16_from_f32(value) == bits);
        if ((bits & 0x7fffu) < 0x7bffu) {
            float next = sd_f32_from_f16((uint16_t)(bits + 1)), middle = (value + next) / 2;

            CHECK(sd_f16_from_f32(middle) == (bits % 2 == 0 ? bits : bits + 1));
        }
    }
    CHECK(sd_f16_from_f32(65519.0f) == 0x7bff && sd_f16_from_f32(65520.0f) == 0x7c00);
    CHECK(sd_f16_from_f32(-1e30f) == 0xfc00);
    CHECK(sd_f32_from_f16(0x3555) == 0.333251953125f);
}

static void test_conversion_between_all_floating_types(void)
{
    static const sd_dtype types[] = {SD_F32, SD_F64, SD_F16, SD_BF16};
    static const float values[] = {0, -0.0f, 1, -1.5f, 0.25f, 96, -3};

    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 4; b++) {
            double one[7], two[7];
            float back[7];

            sd_convert(one, types[a], values, SD_F32, 7);
            sd_convert(two, types[b], one, types[a], 7);
            sd_convert(back, SD_F32, two, types[b], 7);
            CHECK(memcmp(back, values, sizeof values) == 0);
        }
}

static void test_names_and_sizes(void)
{
    sd_dtype type;

    for (int i = 0; i < SD_DTYPES; i++)
        CHECK(sd_dtype_parse(sd_dtype_name((sd_dtype)i), &type) && type == (sd_dtype)i);
    CHECK(!sd_dtype_parse("float", &type));
    CHECK(sd_dtype_size(SD_BF16) == 2 && sd_dtype_size(SD_U64) == 8 && sd_dtype_size(SD_U8) == 1);
}

static void test_spans_meet(void)
{
    sd_span meet = sd_span_intersect((sd_span){3, 5}, (sd_span){6, 10});

    CHECK(meet.first == 6 && meet.count == 2);
    CHECK(sd_span_intersect((sd_span){0, 3}, (sd_span){3, 3}).count == 0);
    CHECK(sd_span_intersect((sd_span){0, 0}, (sd_span){0, 3}).count == 0);
}

static const test_case tests[] = {
    TEST(test_bf16_round_trips_and_rounds_to_nearest_even),
    TEST(test_f16_round_trips_and_rounds_to_nearest_even),
    TEST(test_conversion_between_all_floating_types),
    TEST(test_names_and_sizes),
    TEST(test_spans_meet),
};

TEST_MAIN(tests, NULL, NULL)

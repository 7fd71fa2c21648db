#include "check.h"
#include "saediff/core/str.h"

static void test_builder_grows_and_keeps_everything(void)
{
    sd_str s = {0};
    char want[8];

    for (int i = 0; i < 2000; i++)
        sd_str_add(&s, "%04d,", i);
    CHECK(s.status == SD_OK && s.length == 10000 && s.text[s.length] == '\0');
    for (int i = 0; i < 2000; i++) {
        snprintf(want, sizeof want, "%04d,", i % 10000);
        CHECK(memcmp(s.text + 5 * i, want, 5) == 0);
    }
    sd_str_add_bytes(&s, "a\0b", 3);
    CHECK(s.length == 10003 && s.text[10001] == '\0');
    sd_str_free(&s);
    CHECK(s.text == NULL && s.length == 0);
}

static void test_nearest_word(void)
{
    static const char *const keys[] = {"sae.latents", "sae.k", "train.lr", "train.batch"};

    CHECK(strcmp(sd_str_nearest("sae.latent", keys, 4, sizeof *keys), "sae.latents") == 0);
    CHECK(strcmp(sd_str_nearest("tarin.batch", keys, 4, sizeof *keys), "train.batch") == 0);
    CHECK(sd_str_nearest("completely.different", keys, 4, sizeof *keys) == NULL);
}

static void test_numbers_for_people(void)
{
    char out[32];

    CHECK(strcmp(sd_str_bytes(out, sizeof out, 4100000000.0), "4.1 GB") == 0);
    CHECK(strcmp(sd_str_bytes(out, sizeof out, 17), "17 B") == 0);
    CHECK(strcmp(sd_str_count(out, sizeof out, 12340), "12.3 k") == 0);
    CHECK(strcmp(sd_str_count(out, sizeof out, 0.617), "0.62") == 0 && strcmp(sd_str_count(out, sizeof out, 7), "7") == 0);
    CHECK(strcmp(sd_str_count(out, sizeof out, 9.96), "10") == 0 && strcmp(sd_str_count(out, sizeof out, 12.4), "12") == 0);
    CHECK(strcmp(sd_str_count(out, sizeof out, 999999), "1.0 M") == 0);
    CHECK(strcmp(sd_str_seconds(out, sizeof out, 65), "1 min 05 s") == 0);
    CHECK(strcmp(sd_str_seconds(out, sizeof out, 0.25), "0.2 s") == 0);
    CHECK(strcmp(sd_str_seconds(out, sizeof out, 7260), "2 h 01 min") == 0);
    CHECK(strcmp(sd_str_seconds(out, sizeof out, (double)NAN), "unknown") == 0);
}

static void test_conversions_take_whole_words_only(void)
{
    uint64_t u = 5;
    double f = 5;

    CHECK(sd_str_to_u64("18446744073709551615", &u) && u == UINT64_MAX);
    CHECK(!sd_str_to_u64("18446744073709551616", &u) && !sd_str_to_u64("-1", &u) && !sd_str_to_u64("1x", &u));
    CHECK(!sd_str_to_u64("", &u) && !sd_str_to_u64(" 1", &u));
    CHECK(sd_str_to_f64("-2.5e-3", &f) && f == -2.5e-3);
    CHECK(!sd_str_to_f64("nan", &f) && !sd_str_to_f64("1e999", &f) && !sd_str_to_f64("0x10", &f));
    CHECK(!sd_str_to_f64("", &f) && !sd_str_to_f64("1.5z", &f));
}

static void test_utf8(void)
{
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {{"a", 1}, {"\xc3\xa9", 2}, {"\xe2\x96\x81", 3}, {"\xf0\x9f\xa6\x99", 4}, {"\xc0\xaf", 0},
                 {"\xe0\x9f\xbf", 0}, {"\xed\xa0\x80", 0}, {"\xf0\x8f\xbf\xbf", 0}, {"\xf4\x90\x80\x80", 0},
                 {"\x80", 0}, {"\xff", 0}, {"\xe2\x96", 0}, {"\xe2\x28\x81", 0}};
    size_t bad = 99;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(sd_utf8_length(cases[i].text, strlen(cases[i].text)) == cases[i].length);
    CHECK(sd_utf8_length("", 0) == 0);
    CHECK(sd_utf8_valid("a\xc3\xa9z", 4, &bad) && bad == 99);
    CHECK(!sd_utf8_valid("ab\xc3", 3, &bad) && bad == 2);
}

static const test_case tests[] = {
    TEST(test_builder_grows_and_keeps_everything),
    TEST(test_nearest_word),
    TEST(test_numbers_for_people),
    TEST(test_conversions_take_whole_words_only),
    TEST(test_utf8),
};

TEST_MAIN(tests, NULL, NULL)

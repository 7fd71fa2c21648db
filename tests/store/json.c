/* JSON read strictly: what is accepted, what is refused and at which place. */
#include "saediff/store/json.h"

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "scratch.h"

static sd_status parse(sd_json **json, const char *text)
{
    return sd_json_parse(json, "job", text, strlen(text));
}

static void test_refused_with_place(void)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "job:1:1: the text ends"},
        {"   ", "job:1:4: the text ends"},
        {"{", "job:1:2: a key"},
        {"{\"a\"}", "job:1:5: a ':'"},
        {"{\"a\":1,}", "job:1:8: a key"},
        {"{\"a\":1 \"b\":2}", "job:1:8: a ',' or '}'"},
        {"[1,2,]", "job:1:6: not a JSON value"},
        {"[1 2]", "job:1:4: a ',' or ']'"},
        {"[1,2", "job:1:5: a ',' or ']'"},
        {"{\n  \"a\": 01\n}", "job:2:8: a number may not begin with 0"},
        {"[-]", "job:1:3: a digit"},
        {"[1.]", "job:1:4: a digit"},
        {"[.5]", "job:1:2: not a JSON value"},
        {"[1e]", "job:1:4: a digit"},
        {"[+1]", "job:1:2: not a JSON value"},
        {"[1e999]", "job:1:2: a number beyond"},
        {"[NaN]", "job:1:2: not a JSON value"},
        {"[Infinity]", "job:1:2: not a JSON value"},
        {"[-Infinity]", "job:1:3: a digit"},
        {"['a']", "job:1:2: not a JSON value"},
        {"[\"a]", "job:1:2: a string is not closed"},
        {"[\"a\nb\"]", "job:1:4: a string is not closed on its line"},
        {"[\"a\tb\"]", "job:1:4: a control character"},
        {"[\"\\x\"]", "job:1:3: no such escape"},
        {"[\"\\u12g4\"]", "job:1:3: \\u needs"},
        {"[\"\\u0000\"]", "job:1:3: the character \\u0000"},
        {"[\"\\ud800\"]", "job:1:3: half of a surrogate"},
        {"[\"\\udc00\"]", "job:1:3: half of a surrogate"},
        {"[\"\\ud83d\\u0041\"]", "job:1:3: half of a surrogate"},
        {"[\"\\", "job:1:3: no such escape"},
        {"[\"\\u00", "job:1:3: \\u needs"},
        {"[1] 2", "job:1:5: something follows"},
        {"[1]]", "job:1:4: something follows"},
        {"// no\n1", "job:1:1: not a JSON value"},
        {"{\"a\":1,\n \"b\":2,\n \"a\":3}", "job:3:2: the key 'a' is there twice"},
        {"{\"a\":1,\"\\u0061\":3}", "job:1:8: the key '\\u0061' is there twice"},
        {"{\"\xC3\xA9\":1,\"\\u00e9\":3}", "job:1:8: the key '\\u00e9' is there twice"},
        {"{\"\xF0\x9F\x98\x80\":1,\"\\ud83d\\ude00\":3}", "job:1:8: the key '\\ud83d\\ude00' is there twice"},
        {"{\"x\":{\"a\":{},\"a\":[]},\"a\":1}", "job:1:14: the key 'a' is there twice"},
        {"[\"\xC3\xA9\", x]", "job:1:7: not a JSON value"},
        {"[\"\xFF\"]", "job:1:3: not UTF-8"},
        {"[\"\xC0\x80\"]", "job:1:3: not UTF-8"},
        {"[\"\xED\xA0\x80\"]", "job:1:3: not UTF-8"},
        {"[0.0000000000000000000000000000000000000000000000000000000000001]", "job:1:2: a number of more than 60"},
    };
    sd_json *json = NULL;
    size_t i;

    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_FAILS(parse(&json, bad[i].text), SD_E_DATA, bad[i].message);
        CHECK(json == NULL);
    }
    CHECK_FAILS(sd_json_parse(&json, "job", "[1]\0", 4), SD_E_DATA, "job:1:4: something follows");
    CHECK_FAILS(sd_json_parse(&json, "job", "[\"a\0b\"]", 7), SD_E_DATA, "job:1:4: a control character");
}

static void test_depth(void)
{
    char text[200];
    sd_json *json = NULL;
    int i;

    for (i = 0; i < 65; i++) {
        text[i] = '[';
        text[65 + i] = ']';
    }
    text[130] = '\0';
    CHECK_FAILS(parse(&json, text), SD_E_DATA, "job:1:65: more than 64 levels");
    text[129] = '\0';
    CHECK_OK(parse(&json, text + 1));
    sd_json_close(&json);
    CHECK(json == NULL);
}

static void test_places_of_items(void)
{
    static const char text[] = "\xEF\xBB\xBF{ \"a\": [1, {\"b\": null, \"c\\\"d\": [ ] }],\n"
                               "  \"\xC3\xA9\xC3\xA9\": 1, \"e\":\n  \"x\"}";
    sd_json *json = NULL;
    const cJSON *a;
    uint64_t line = 0, column = 0;

    CHECK_OK(sd_json_parse(&json, "job", text, sizeof text - 1));
    if (json == NULL)
        return;
    a = cJSON_GetObjectItemCaseSensitive(json->root, "a");
    sd_json_location(json, json->root, &line, &column);
    CHECK(line == 1 && column == 1);
    sd_json_location(json, a, &line, &column);
    CHECK(line == 1 && column == 3);
    sd_json_location(json, cJSON_GetArrayItem(a, 0), &line, &column);
    CHECK(line == 1 && column == 9);
    sd_json_location(json, cJSON_GetArrayItem(a, 1), &line, &column);
    CHECK(line == 1 && column == 12);
    sd_json_location(json, cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(a, 1), "c\"d"), &line, &column);
    CHECK(line == 1 && column == 24);
    sd_json_location(json, cJSON_GetObjectItemCaseSensitive(json->root, "e"), &line, &column);
    CHECK(line == 2 && column == 12);
    sd_json_close(&json);
}

static void test_members(void)
{
    sd_json *json = NULL;
    const cJSON *root;
    const char *text = NULL;
    uint64_t u = 0;
    double f = 0;
    bool b = false;

    CHECK_OK(parse(&json, "{\"n\": 9007199254740992, \"seed\": \"18446744073709551615\",\n \"half\": 0.5, \"minus\": -1,\n"
                          "\"big\": 1e300, \"s\": \"text \\u00e9\", \"yes\": true, \"none\": null}"));
    if (json == NULL)
        return;
    root = json->root;
    CHECK_OK(sd_json_u64(json, root, "n", &u));
    CHECK(u == (uint64_t)1 << 53);
    CHECK_OK(sd_json_u64(json, root, "seed", &u));
    CHECK(u == UINT64_MAX);
    CHECK_FAILS(sd_json_u64(json, root, "half", &u), SD_E_DATA, "job:2:2: 'half' must be a whole number");
    CHECK_FAILS(sd_json_u64(json, root, "minus", &u), SD_E_DATA, "job:2:15: 'minus'");
    CHECK_FAILS(sd_json_u64(json, root, "big", &u), SD_E_DATA, "job:3:1: 'big' is above 2^53");
    CHECK_FAILS(sd_json_u64(json, root, "s", &u), SD_E_DATA, "'s' must be a whole number");
    CHECK_FAILS(sd_json_u64(json, root, "none", &u), SD_E_DATA, "job:1:1: 'none' is missing");
    CHECK_FAILS(sd_json_u64(json, root, "absent", &u), SD_E_DATA, "job:1:1: 'absent' is missing");
    CHECK_OK(sd_json_u64_or(json, root, "none", 7, &u));
    CHECK(u == 7);
    CHECK_OK(sd_json_f64_or(json, root, "half", 3, &f));
    CHECK(f == 0.5);
    CHECK_OK(sd_json_f64_or(json, root, "absent", 3, &f));
    CHECK(f == 3);
    CHECK_FAILS(sd_json_f64_or(json, root, "yes", 3, &f), SD_E_DATA, "'yes' must be a number");
    CHECK_OK(sd_json_bool_or(json, root, "yes", false, &b));
    CHECK(b);
    CHECK_FAILS(sd_json_bool_or(json, root, "n", false, &b), SD_E_DATA, "'n' must be true or false");
    CHECK_OK(sd_json_text(json, root, "s", &text));
    CHECK(text != NULL && strcmp(text, "text \xC3\xA9") == 0);
    CHECK_FAILS(sd_json_text(json, root, "n", &text), SD_E_DATA, "'n' must be a string");
    CHECK_OK(sd_json_text_or(json, root, "absent", "dflt", &text));
    CHECK(strcmp(text, "dflt") == 0);
    CHECK_FAILS(sd_json_text(json, cJSON_GetObjectItemCaseSensitive(root, "n"), "x", &text), SD_E_DATA, "not an object");
    sd_json_close(&json);
}

/* An object of 200000 members: found at the end, whatever the order of the keys. */
static void test_duplicate_among_many(void)
{
    sd_str text = {0};
    sd_json *json = NULL;
    unsigned i;

    sd_str_add(&text, "{");
    for (i = 0; i < 200000; i++)
        sd_str_add(&text, "\"k%u\":%u,", i * 7919u % 200003u, i);
    CHECK_OK(text.status);
    text.text[text.length - 1] = '}';
    CHECK_OK(sd_json_parse(&json, "big", text.text, text.length));
    CHECK(json != NULL && cJSON_GetArraySize(json->root) == 200000);
    sd_json_close(&json);
    text.text[text.length - 1] = ',';
    sd_str_add(&text, "\n\"k%u\":0}", 5 * 7919u % 200003u);
    CHECK_FAILS(sd_json_parse(&json, "big", text.text, text.length), SD_E_DATA, "big:2:1: the key 'k39595' is there twice");
    sd_str_free(&text);
}

/* Texts changed at random places: either refused with a place, or a tree whose every value has one. Meant for builds with
 * sanitizers. */
static void test_changed_texts(void)
{
    static const char seed[] = "{\"a\": [1, -2.5e3, true, null, {\"b\\n\": \"\\u00e9\\ud83d\\ude00 \xC3\xA9\"}], \"c\": {}, \"d\": []}";
    static const char bytes[] = "{}[]\",:\\u0019eE+-. ntf\x80\xC3\n";
    const sd_key key = sd_key_make(3, SD_STREAM_TEST, 0);
    char text[sizeof seed];
    uint64_t i, j, draw = 0, good = 0, line, column;

    for (i = 0; i < 20000; i++) {
        uint64_t length = i % 3 == 0 ? sd_random_u64(key, draw++) % sizeof seed : sizeof seed - 1, changes = 1 + i % 4;
        sd_json *json = NULL;

        memcpy(text, seed, sizeof seed);
        for (j = 0; j < changes; j++, draw += 2)
            text[sd_random_u64(key, draw) % (sizeof seed - 1)] = bytes[sd_random_u64(key, draw + 1) % (sizeof bytes - 1)];
        if (sd_json_parse(&json, "job", text, length) == SD_OK) {
            good++;
            sd_json_location(json, cJSON_GetArrayItem(json->root, 1), &line, &column);
            CHECK(line >= 1 && column >= 1);
        } else {
            CHECK(json == NULL && strncmp(sd_last_error(), "job:", 4) == 0);
        }
        sd_json_close(&json);
    }
    CHECK(good > 100 && good < 15000);
}

static void test_file(void)
{
    static const char commented[] = "{\"//\": 1, \"//a\": 1,\n\"a\": {\"//a\": 1, \"//a\": 2}, \"//a\": 2}";
    static const char twice[] = "{\"//a\": 1, \"/a\": 1, \"//a\": 1, \"/a\": 2}";
    char folder[64], path[256];
    sd_json *json = NULL;

    test_folder(folder);
    scratch_path(path, folder, "job.json");
    scratch_write(path, "{\n\"a\" 1}", 8);
    CHECK_FAILS(sd_json_open(&json, path, 100), SD_E_DATA, "job.json:2:5: a ':'");
    CHECK_FAILS(sd_json_open(&json, path, 7), SD_E_DATA, "8 bytes");
    scratch_write(path, commented, sizeof commented - 1);
    CHECK_FAILS(sd_json_open(&json, path, 100), SD_E_DATA, "job.json:2:17: the key '//a' is there twice");
    CHECK_OK(sd_json_open_commented(&json, path, 100));
    CHECK(cJSON_GetArraySize(json->root) == 4);
    sd_json_close(&json);
    scratch_write(path, twice, sizeof twice - 1);
    CHECK_FAILS(sd_json_open_commented(&json, path, 100), SD_E_DATA, "job.json:1:31: the key '/a' is there twice");
    CHECK_FAILS(sd_json_open(&json, "none.json", 7), SD_E_DATA, "none.json");
}

static const test_case tests[] = {
    TEST(test_refused_with_place),
    TEST(test_depth),
    TEST(test_places_of_items),
    TEST(test_members),
    TEST(test_duplicate_among_many),
    TEST(test_changed_texts),
    TEST(test_file),
};

TEST_MAIN(tests, NULL, NULL)

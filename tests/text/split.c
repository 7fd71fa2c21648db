/* The steps between a text and the merges, each against a reference: classes and known patterns against Oniguruma, normal forms
 * against utf8proc, behaviours and added tokens against lists written by hand. */
#include <utf8proc.h>

#include "../../src/text/tok/parts.h"
#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "text/tiny.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* ---- Oniguruma */

static OnigRegex compile(const char *pattern)
{
    const OnigUChar *text = (const OnigUChar *)pattern;
    OnigRegex regex = NULL;
    OnigErrorInfo info;

    CHECK(onig_new(&regex, text, text + strlen(pattern), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_ONIGURUMA, &info) == ONIG_NORMAL);
    return regex;
}

static bool matches(OnigRegex regex, const char *text, uint64_t length)
{
    const OnigUChar *t = (const OnigUChar *)text;

    return onig_match(regex, t, t + length, t, NULL, ONIG_OPTION_NONE) == (int)length;
}

/* Every code point; if it is a letter or number here but not in Oniguruma, Oniguruma must not know the code point. */
static void test_classes(void)
{
    OnigRegex kinds[] = {compile("\\p{L}"), compile("\\p{N}"), compile("\\s")}, unknown = compile("\\p{Cn}");
    const int classes[] = {TOK_LETTER, TOK_NUMBER, TOK_SPACE};
    uint64_t newer = 0, wrong = 0;

    for (uint32_t point = 1; point < 0x110000; point++) {
        char text[4];
        uint64_t length = tok_write_utf8(point, text), back;
        int class = tok_class(point), theirs = TOK_OTHER;

        if (point >= 0xD800 && point < 0xE000)
            continue;
        for (int i = 0; i < 3; i++)
            theirs = matches(kinds[i], text, length) ? classes[i] : theirs;
        wrong += tok_code_point(text, &back) != point || back != length;
        if (class != theirs) {
            newer++;
            wrong += !matches(unknown, text, length);
        }
    }
    CHECK(wrong == 0 && newer < 12000);
    CHECK(tok_class(0x1E030) == TOK_LETTER && tok_class(0x16D70) == TOK_NUMBER && tok_class(0x2EBF0) == TOK_LETTER);
    for (int i = 0; i < 3; i++)
        onig_free(kinds[i]);
    onig_free(unknown);
}

/* Counts of the reference library (tokenizers 0.23.3), queried character by character. */
static void test_counts(void)
{
    uint64_t numeric = 0, punctuation = 0, space = 0, word = 0;

    for (uint32_t point = 0; point < 0x110000; point++) {
        if (point >= 0xD800 && point < 0xE000)
            continue;
        numeric += tok_is_numeric(point);
        punctuation += tok_is_punctuation(point);
        space += tok_is_space(point);
        word += tok_is_word(point);
    }
    CHECK(numeric == 1924 && punctuation == 726 && space == 25 && word == 144667);
}

static void test_bytes(void)
{
    bool seen[512] = {false};

    for (int byte = 0; byte < 256; byte++) {
        uint32_t point = tok_byte_point((uint8_t)byte);

        CHECK(point < 324 && !seen[point] && tok_point_byte(point) == byte);
        seen[point] = true;
    }
    CHECK(tok_byte_point(' ') == 0x120 && tok_byte_point('\n') == 0x10A && tok_byte_point('a') == 'a' && tok_byte_point(0xAD) == 0x143);
    CHECK(tok_point_byte(' ') == -1 && tok_point_byte(324) == -1 && tok_point_byte(0xAD) == -1);
}

/* ---- random texts */

static const char *const alphabet[] = {"'", "s", "S", "\xC5\xBF", "t", "re", "VE", "ll", "m", "d", "a", "Z", "1", "23", "4567", " ", "  ", "\n", "\r",
                                       "\t", "\xC2\xA0", "\xE2\x80\x83", "!", "--", "\xC3\xA9", "\xD0\x96", "\xE6\x9D\xB1", "\xC2\xBD", "\xCC\x81",
                                       "\xF0\x9F\xA6\x99", "e\xCC\xA3\xCC\x82", "\xEA\xB0\x81", "\xE1\x84\x80\xE1\x85\xA1", "\xE2\x84\xAA", "\xEF\xAC\x85"};

static uint64_t random_text(sd_key key, uint64_t which, char *text)
{
    uint64_t count = sd_random_u64(key, which * 100) % 24, length = 0;

    for (uint64_t i = 0; i < count; i++) {
        const char *c = alphabet[sd_random_u64(key, which * 100 + 1 + i) % COUNT(alphabet)];

        memcpy(text + length, c, strlen(c));
        length += strlen(c);
    }
    text[length] = '\0';
    return length;
}

static void check_pattern(const char *written, int kind)
{
    sd_key key = sd_key_make(31, SD_STREAM_TEST, (uint64_t)kind);
    char file[512], text[256];
    sd_json *json = NULL;
    tok_pattern pattern = {0};
    tok_ranges ranges = {0};
    OnigRegex regex;

    snprintf(file, sizeof file, "{\"Regex\":\"%s\"}", written);
    CHECK_OK(sd_json_parse(&json, "pattern", file, strlen(file)));
    CHECK_OK(tok_pattern_read(json, json->root, NULL, &pattern));
    CHECK((int)pattern.kind == kind);
    regex = compile(pattern.text);
    for (uint64_t which = 0; which < 4000; which++) {
        uint64_t length = random_text(key, which, text), at = 0;
        bool same = true;

        CHECK_OK(tok_pattern_cut(&pattern, text, length, &ranges));
        for (uint64_t i = 0; i < ranges.count; at = ranges.at[i++].end) {
            const OnigUChar *t = (const OnigUChar *)text;

            same = same && ranges.at[i].match && ranges.at[i].first == at &&
                   onig_match(regex, t, t + length, t + at, NULL, ONIG_OPTION_NONE) == (int)(ranges.at[i].end - at);
        }
        if (!same || at != length)
            fprintf(stderr, "cut otherwise: '%s'\n", text);
        CHECK(same && at == length);
    }
    onig_free(regex);
    sd_free(ranges.at);
    tok_pattern_close(&pattern);
    sd_json_close(&json);
}

/* ---- normal forms */

static void check_form(int kind, utf8proc_uint8_t *(*form)(const utf8proc_uint8_t *))
{
    static sd_tokenizer t;
    sd_key key = sd_key_make(37, SD_STREAM_TEST, (uint64_t)kind);

    memset(&t, 0, sizeof t);
    t.normalizer.at[0].kind = (unsigned)kind;
    t.normalizer.count = 1;
    for (uint64_t which = 0; which < 3000; which++) {
        tok_text in = {0}, out = {0};
        char text[256];
        uint64_t length = random_text(key, which, text);
        utf8proc_uint8_t *want = form((const utf8proc_uint8_t *)text);

        CHECK_OK(tok_text_add_raw(&in, text, length, 0));
        CHECK_OK(tok_normalize(&t, &in, 0, length, &out));
        CHECK(want != NULL && out.count == strlen((const char *)want) && (out.count == 0 || memcmp(out.bytes, want, out.count) == 0));
        for (uint64_t i = 0; i < out.count; i++)
            CHECK(out.begin[i] < out.end[i] && out.end[i] <= length);
        free(want);
        tok_text_free(&in);
        tok_text_free(&out);
    }
}

/* A text that is one long run of combining marks: those below sort before those above, and each kind keeps its order. */
static void test_long_run_of_marks(void)
{
    enum { EACH = 400000 };
    static const char above[] = "\xCC\x81", below[] = "\xCC\xA3";
    static char text[1 + 4 * EACH], want[1 + 4 * EACH];
    static sd_tokenizer t;
    tok_text in = {0}, out = {0};

    text[0] = want[0] = 'x';
    for (size_t i = 0; i < EACH; i++) {
        memcpy(text + 1 + 2 * i, above, 2);
        memcpy(text + 1 + 2 * (EACH + i), below, 2);
        memcpy(want + 1 + 2 * i, below, 2);
        memcpy(want + 1 + 2 * (EACH + i), above, 2);
    }
    t.normalizer.at[0].kind = TOK_NFD;
    t.normalizer.count = 1;
    CHECK_OK(tok_text_add_raw(&in, text, sizeof text, 0));
    CHECK_OK(tok_normalize(&t, &in, 0, sizeof text, &out));
    CHECK(out.count == sizeof want && memcmp(out.bytes, want, sizeof want) == 0);
    tok_text_free(&in);
    tok_text_free(&out);
}

/* ---- by hand: parts with bars between them */

static void check_split(const char *pre, const char *text, const char *want)
{
    static const char *const model = "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}";
    char folder[64], path[1024], file[2048], got[512] = "";
    sd_tokenizer *t = NULL;
    tok_text now = {0};
    tok_parts parts = {0};

    test_folder(folder);
    snprintf(file, sizeof file, "{\"version\":\"1.0\",\"pre_tokenizer\":%s,%s}", pre, model);
    write_in(folder, "tokenizer.json", file, path);
    CHECK_OK(sd_tokenizer_open(&t, folder));
    CHECK(remove(path) == 0 && rmdir(folder) == 0);
    if (t == NULL)
        return;
    CHECK_OK(tok_text_add_raw(&now, text, strlen(text), 0));
    CHECK_OK(tok_parts_add(&parts, 0, strlen(text), -1));
    for (uint64_t i = 0; i < t->pre.count; i++)
        CHECK_OK(tok_split(&t->pre.at[i], &now, &parts));
    for (uint64_t i = 0; i < parts.count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", i ? "|" : "", (int)parts.at[i].count, now.bytes + parts.at[i].first);
    if (strcmp(got, want) != 0)
        fprintf(stderr, "%s on '%s': '%s', not '%s'\n", pre, text, got, want);
    CHECK(strcmp(got, want) == 0);
    tok_text_free(&now);
    sd_free(parts.at);
    sd_tokenizer_close(&t);
}

#define SPLIT(kind, pattern, behavior, invert)                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"" kind "\":\"" pattern "\"},\"behavior\":\"" behavior "\",\"invert\":" invert "}"

static void test_steps(void)
{
    const char *text = "the-final--countdown";

    check_split(SPLIT("String", "-", "Removed", "false"), text, "the|final|countdown");
    check_split(SPLIT("String", "-", "Isolated", "false"), text, "the|-|final|-|-|countdown");
    check_split(SPLIT("String", "-", "MergedWithPrevious", "false"), text, "the-|final-|-|countdown");
    check_split(SPLIT("String", "-", "MergedWithNext", "false"), text, "the|-final|-|-countdown");
    check_split(SPLIT("String", "-", "Contiguous", "false"), text, "the|-|final|--|countdown");
    check_split(SPLIT("Regex", "[a-z]+", "Removed", "true"), text, "the|final|countdown");
    check_split(SPLIT("Regex", "[a-z]+", "MergedWithNext", "true"), text, "the|-final|--countdown");
    check_split(SPLIT("Regex", "x*", "Isolated", "false"), "axxb", "a|xx|b");
    check_split("{\"type\":\"Digits\",\"individual_digits\":true}", "a12b3", "a|1|2|b|3");
    check_split("{\"type\":\"Digits\"}", "a12b3", "a|12|b|3");
    check_split("{\"type\":\"Punctuation\"}", "a,b..c", "a|,|b|.|.|c");
    check_split("{\"type\":\"Whitespace\"}", "Hi, you_2  !!", "Hi|,|you_2|!!");
    check_split("{\"type\":\"WhitespaceSplit\"}", " Hi,\xC2\xA0you\n", "Hi,|you");
    check_split("{\"type\":\"ByteLevel\"}", "Hi you", "\xC4\xA0Hi|\xC4\xA0you");
    check_split("{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "\xC3\xA9  x", "\xC3\x83\xC2\xA9|\xC4\xA0|\xC4\xA0x");
    check_split("{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "Hi  you", "_Hi|_|_you");
    check_split("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"split\":false,\"prepend_scheme\":\"never\"}", "Hi you", "Hi_you");
    check_split("{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT("String", ",", "Removed", "false")
                ",{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}", "a,b c", "_a|b|_c");
}

/* A pattern with unbounded backtracking fails with a message instead of running on. */
static void test_limit(void)
{
    const char *file = "{\"Regex\":\"^(?:a|aa)+$\"}";
    tok_pattern pattern = {0};
    tok_ranges ranges = {0};
    sd_json *json = NULL;
    char text[60];

    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b';
    CHECK_OK(sd_json_parse(&json, "pattern", file, strlen(file)));
    CHECK_OK(tok_pattern_read(json, json->root, NULL, &pattern));
    CHECK_FAILS(tok_pattern_cut(&pattern, text, sizeof text, &ranges), SD_E_DATA, "fails at byte 0 of a text of 60");
    tok_pattern_close(&pattern);
    sd_free(ranges.at);
    sd_json_close(&json);
}

/* White space is taken by tokens with lstrip or rstrip; a single_word token inside a word is left to the model. */
static void test_added(void)
{
    const char *text = "x <a>  <b>y<b> \t<a>";
    tok_added tokens[] = {{.content = "<b>", .length = 3, .id = 2, .single_word = true},
                          {.content = "<a>", .length = 3, .id = 1, .lstrip = true, .rstrip = true}};
    tok_search search = {.tokens = tokens, .count = 2};
    tok_text now = {0};
    tok_parts parts = {0};

    tok_search_arrange(&search);
    CHECK_OK(tok_text_add_raw(&now, text, strlen(text), 0));
    CHECK_OK(tok_search_cut(&search, &now, 0, now.count, &parts));
    /* "x", " <a>  ", "<b>y<b>", " \t<a>": both <b> touch a word. */
    CHECK(parts.count == 4);
    if (parts.count == 4) {
        CHECK(parts.at[0].count == 1 && parts.at[0].id == -1 && parts.at[1].first == 1 && parts.at[1].count == 6 && parts.at[1].id == 1);
        CHECK(parts.at[2].count == 7 && parts.at[2].id == -1 && parts.at[3].first == 14 && parts.at[3].count == 5 && parts.at[3].id == 1);
    }
    sd_free(parts.at);
    tok_text_free(&now);
}

static void test_gpt2(void)
{
    check_pattern("'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+", TOK_GPT2);
}

static void test_llama3_and_qwen(void)
{
    const char *head = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}";
    const char *tail = "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+";
    char pattern[512];

    for (int i = 0; i < 2; i++) {
        snprintf(pattern, sizeof pattern, "%s%s%s", head, i ? "" : "{1,3}", tail);
        check_pattern(pattern, i ? TOK_QWEN : TOK_LLAMA3);
    }
}

static void test_forms(void)
{
    check_form(TOK_NFC, utf8proc_NFC);
    check_form(TOK_NFD, utf8proc_NFD);
    check_form(TOK_NFKC, utf8proc_NFKC);
    check_form(TOK_NFKD, utf8proc_NFKD);
}

static const test_case tests[] = {
    TEST(test_classes),
    TEST(test_counts),
    TEST(test_bytes),
    TEST(test_gpt2),
    TEST(test_llama3_and_qwen),
    TEST(test_forms),
    TEST(test_long_run_of_marks),
    TEST(test_steps),
    TEST(test_limit),
    TEST(test_added),
};

TEST_MAIN(tests, NULL, NULL)

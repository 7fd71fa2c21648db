/* The merges against a list-scanning implementation, over random texts with tiny vocabularies written by the test. */
#include "check.h"
#include "saediff/core/random.h"
#include "saediff/text/tokenizer.h"
#include "text/tiny.h"

enum { LONGEST = 64, FIRST_BYTE = 3, FIRST_PIECE = FIRST_BYTE + 256 };

static const char *const pieces[] = {"_",  "a",   "b",      "c",       "d",      "\xC3\xA9", "z", "ab", "bc",
                                     "abc", "_a", "cd", ("\xC3\xA9" "a"), "dd", "ddd",      "_ab"};
/* The rank is the index; "abc" can be merged in two ways. */
static const char *const merges[][2] = {{"b", "c"},  {"a", "b"},           {"ab", "c"}, {"a", "bc"}, {"_", "a"},
                                        {"c", "d"}, {"\xC3\xA9", "a"}, {"d", "d"},  {"dd", "d"}, {"_a", "b"}};
/* Building blocks of random texts: known, unknown, and characters of 1 to 4 bytes. */
static const char *const alphabet[] = {"a", "b", "c", "d", " ", "\xC3\xA9", "x", "\xF0\x9F\xA6\x99", "\xE2\x82\xAC"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

typedef struct variant {
    bool bytes, fuse, unk, all_bytes; /* all_bytes false: <0xF0> is missing */
    bool pairs;                       /* merges written as lists */
} variant;

static int32_t id_of(const char *piece, size_t length)
{
    for (size_t i = 0; i < COUNT(pieces); i++)
        if (strlen(pieces[i]) == length && memcmp(pieces[i], piece, length) == 0)
            return FIRST_PIECE + (int32_t)i;
    return -1;
}

static bool has_byte(const variant *v, uint8_t byte)
{
    return v->all_bytes || byte != 0xF0;
}

static void write_tokenizer(const char *folder, const variant *v)
{
    static char text[1 << 16];
    size_t at = 0;
    char path[1024];

#define ADD(...) at += (size_t)snprintf(text + at, sizeof text - at, __VA_ARGS__)
    ADD("{\"version\":\"1.0\",\"added_tokens\":[" TINY_ADDED(1, "<s>", false, true) "," TINY_ADDED(
        9000, "<x>", false, false) "," TINY_ADDED(9001, "<x>a", false, false) "," TINY_ADDED(9002, "ca", true, false) "],");
    ADD("\"normalizer\":" TINY_NORMALIZER ",\"pre_tokenizer\":null,\"post_processor\":" TINY_POST
        ",\"decoder\":" TINY_DECODER ",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":%s,"
        "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,\"byte_fallback\":%s,"
        "\"ignore_merges\":false,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2",
        v->unk ? "\"<unk>\"" : "null", v->fuse ? "true" : "false", v->bytes ? "true" : "false");
    for (int byte = 0; byte < 256; byte++)
        if (has_byte(v, (uint8_t)byte))
            ADD(",\"<0x%02X>\":%d", (unsigned)byte, FIRST_BYTE + byte);
        else
            ADD(",\"(no byte)\":%d", FIRST_BYTE + byte);
    for (size_t i = 0; i < COUNT(pieces); i++)
        ADD(",\"%s\":%d", pieces[i], FIRST_PIECE + (int)i);
    ADD("},\"merges\":[");
    for (size_t i = 0; i < COUNT(merges); i++)
        ADD(v->pairs ? "%s[\"%s\",\"%s\"]" : "%s\"%s %s\"", i ? "," : "", merges[i][0], merges[i][1]);
    ADD("]}}");
#undef ADD
    write_in(folder, "tokenizer.json", text, path);
}

/* Symbols with their bytes in normalised text: contiguous, each begins where the previous one ends. */
typedef struct naive {
    int32_t id[4 * LONGEST + 16];
    uint64_t length[4 * LONGEST + 16], count;
} naive;

static void add(naive *n, int32_t id, uint64_t length)
{
    n->id[n->count] = id;
    n->length[n->count++] = length;
}

static size_t character(const char *text)
{
    uint8_t lead = (uint8_t)text[0];

    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* Symbols of one text without added tokens: "_" before it, "_" for a space. */
static void naive_symbols(const variant *v, const char *text, size_t length, naive *n)
{
    uint64_t waiting = 0;

    n->count = 0;
    if (length > 0)
        add(n, id_of("_", 1), 1);
    for (size_t at = 0, size; at < length; at += size) {
        bool bytes = v->bytes;
        int32_t id;

        size = character(text + at);
        id = text[at] == ' ' ? id_of("_", 1) : id_of(text + at, size);
        for (size_t i = 0; i < size; i++)
            bytes = bytes && has_byte(v, (uint8_t)text[at + i]);
        if (id < 0 && bytes) {
            for (size_t i = 0; i < size; i++)
                add(n, FIRST_BYTE + (uint8_t)text[at + i], 1);
            continue;
        }
        if (id < 0 && !v->unk)
            continue;
        if (waiting > 0 && (id >= 0 || !v->fuse)) {
            add(n, 0, waiting);
            waiting = 0;
        }
        if (id >= 0)
            add(n, id, size);
        else
            waiting += size;
    }
    if (waiting > 0)
        add(n, 0, waiting);
}

/* The input range of byte `at` of the normalised text: that of the first character for the mark, its own for others. */
static void naive_range(const char *text, uint64_t at, uint64_t *begin, uint64_t *end)
{
    *begin = at > 0 ? at - 1 : 0;
    while (*begin > 0 && ((uint8_t)text[*begin] & 0xC0) == 0x80)
        --*begin;
    *end = *begin + character(text + *begin);
}

/* Repeatedly merges the neighbouring pair of the lowest rank, the leftmost of these. */
static void naive_merge(naive *n)
{
    for (;;) {
        size_t best = COUNT(merges);
        uint64_t at = 0;

        for (uint64_t i = 0; i + 1 < n->count; i++)
            for (size_t r = 0; r < best; r++)
                if (id_of(merges[r][0], strlen(merges[r][0])) == n->id[i] &&
                    id_of(merges[r][1], strlen(merges[r][1])) == n->id[i + 1]) {
                    best = r;
                    at = i;
                }
        if (best == COUNT(merges))
            return;
        {
            char product[16];

            snprintf(product, sizeof product, "%s%s", merges[best][0], merges[best][1]);
            n->id[at] = id_of(product, strlen(product));
        }
        n->length[at] += n->length[at + 1];
        n->count--;
        for (uint64_t i = at + 1; i < n->count; i++) {
            n->id[i] = n->id[i + 1];
            n->length[i] = n->length[i + 1];
        }
    }
}

/* Up to 15 characters; "ca", an added token in normalised text, could match only after a space, where it is "_ca": avoided. */
static size_t random_text(sd_key key, uint64_t which, char *text)
{
    size_t length = 0;
    uint64_t count = sd_random_u64(key, which * 100) % 16;

    for (uint64_t i = 0; i < count; i++) {
        const char *c = alphabet[sd_random_u64(key, which * 100 + 1 + i) % COUNT(alphabet)];

        if (c[0] == 'c' && (length == 0 || text[length - 1] == ' '))
            c = "d";
        memcpy(text + length, c, strlen(c));
        length += strlen(c);
    }
    text[length] = '\0';
    return length;
}

static void check_random(const sd_tokenizer *t, const variant *v)
{
    sd_key key = sd_key_make(17, SD_STREAM_TEST, 3);
    naive n;

    for (uint64_t which = 0; which < 1500; which++) {
        char text[LONGEST + 1];
        size_t length = random_text(key, which, text);
        sd_encoding e = {0};
        bool same;

        naive_symbols(v, text, length, &n);
        naive_merge(&n);
        CHECK_OK(sd_tokenizer_encode(t, text, length, false, &e));
        same = e.count == n.count;
        for (uint64_t i = 0, at = 0; same && i < n.count; at += n.length[i++]) {
            uint64_t begin, end, unused;

            naive_range(text, at, &begin, &unused);
            naive_range(text, at + n.length[i] - 1, &unused, &end);
            same = e.ids[i] == n.id[i] && e.span[2 * i] == begin && e.span[2 * i + 1] == end;
        }
        if (!same)
            fprintf(stderr, "differs: '%s'\n", text);
        CHECK(same);
        sd_encoding_free(&e);
    }
}

/* One megabyte without a space: words that cannot merge across the "z" between them. */
static void check_long(const sd_tokenizer *t, const variant *v)
{
    enum { WORDS = 100000 };
    static char text[WORDS * (LONGEST + 1)];
    static int32_t want[WORDS * (LONGEST + 2)];
    sd_key key = sd_key_make(23, SD_STREAM_TEST, 4);
    uint64_t count = 0;
    size_t length = 0;
    sd_encoding e = {0};
    naive n;

    want[count++] = id_of("_", 1);
    for (uint64_t w = 0; w < WORDS; w++) {
        char word[LONGEST + 1];
        size_t size = random_text(key, w, word);

        for (size_t i = 0; i < size; i++)
            word[i] = word[i] == ' ' ? 'b' : word[i];
        text[length++] = 'z';
        want[count++] = id_of("z", 1);
        memcpy(text + length, word, size);
        length += size;
        naive_symbols(v, word, size, &n);
        if (n.count > 0)
            n.id[0] = id_of("z", 1); /* instead of the prepended mark, which would merge */
        naive_merge(&n);
        for (uint64_t i = 1; i < n.count; i++)
            want[count++] = n.id[i];
    }
    CHECK(length > 1000000);
    CHECK_OK(sd_tokenizer_encode(t, text, length, false, &e));
    CHECK(e.count == count && memcmp(e.ids, want, count * sizeof *want) == 0);
    sd_encoding_free(&e);
}

/* By hand: added tokens are found before anything else, the longest first, and each gap gets its own mark. */
static void check_added(const sd_tokenizer *t)
{
    int32_t x = FIRST_PIECE + (int32_t)COUNT(pieces), xa = x + 1, ca = x + 2;
    const char *text = "b<x>a b<x>ca d<s>";
    int32_t want[] = {id_of("_", 1), id_of("b", 1), xa, id_of("_", 1), id_of("_", 1), id_of("b", 1),
                      x, ca, id_of("_", 1), id_of("d", 1), 1};
    uint64_t span[] = {0, 1, 0, 1, 1, 5, 5, 6, 5, 6, 6, 7, 7, 10, 10, 12, 12, 13, 13, 14, 14, 17};
    sd_encoding e = {0};

    CHECK_OK(sd_tokenizer_encode(t, text, strlen(text), false, &e));
    CHECK(e.count == COUNT(want) && memcmp(e.ids, want, sizeof want) == 0);
    CHECK(e.count == COUNT(want) && memcmp(e.span, span, sizeof span) == 0);
    sd_encoding_free(&e);
    CHECK(strcmp(sd_tokenizer_piece(t, xa), "<x>a") == 0 && sd_tokenizer_vocabulary(t) == (uint64_t)ca + 1);
    CHECK_OK(sd_tokenizer_encode(t, "", 0, true, &e));
    CHECK(e.count == 1 && e.ids[0] == 1 && sd_tokenizer_bos(t) == 1);
    sd_encoding_free(&e);
    CHECK_FAILS(sd_tokenizer_encode(t, "ab\xC3(", 4, true, &e), SD_E_DATA, "offset 2");
    CHECK(e.ids == NULL && e.count == 0);
}

static void check_decoded(const sd_tokenizer *t, const int32_t *ids, uint64_t count, bool skip, const char *want)
{
    char *text = NULL;

    CHECK_OK(sd_tokenizer_decode(t, ids, count, skip, &text));
    CHECK(text != NULL && strcmp(text, want) == 0);
    free(text);
}

/* By hand: marks to spaces, one space off the front, runs of bytes whole or U+FFFD each. */
static void check_decode(const sd_tokenizer *t)
{
    int32_t a = id_of("_a", 2), b = id_of("b", 1), c3 = FIRST_BYTE + 0xC3, a9 = FIRST_BYTE + 0xA9;

    check_decoded(t, (int32_t[]){1, a, b, a}, 4, true, "ab a");
    check_decoded(t, (int32_t[]){1, a, b}, 3, false, "<s> ab");
    check_decoded(t, (int32_t[]){a, c3, a9, b}, 4, true, "a\xC3\xA9" "b");
    check_decoded(t, (int32_t[]){a, c3, b}, 3, true, "a\xEF\xBF\xBD" "b");
    check_decoded(t, (int32_t[]){c3, c3, a9}, 3, true, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    check_decoded(t, (int32_t[]){FIRST_BYTE, b}, 2, true, "\xEF\xBF\xBD" "b");
    check_decoded(t, (int32_t[]){-1, 1 << 30, b}, 3, true, "b");
    check_decoded(t, NULL, 0, true, "");
}

static const variant variants[] = {{true, true, true, true, false},
                                   {true, true, true, false, true},
                                   {true, false, true, false, false},
                                   {false, true, true, true, false},
                                   {false, false, false, true, true}};
static char folder[TEST_FOLDER];

static void begin(void)
{
    test_folder(folder);
}

static sd_tokenizer *open_variant(size_t i)
{
    sd_tokenizer *t = NULL;

    write_tokenizer(folder, &variants[i]);
    CHECK_OK(sd_tokenizer_open(&t, folder));
    return t;
}

static void test_random_texts(void)
{
    for (size_t i = 0; i < COUNT(variants); i++) {
        sd_tokenizer *t = open_variant(i);

        check_random(t, &variants[i]);
        check_added(t);
        sd_tokenizer_close(&t);
    }
}

static void test_long_texts(void)
{
    sd_tokenizer *t = open_variant(0);

    check_long(t, &variants[0]);
    sd_tokenizer_close(&t);
}

static void test_decoding(void)
{
    sd_tokenizer *t = open_variant(0);

    check_decode(t);
    sd_tokenizer_close(&t);
}

static const test_case tests[] = {
    TEST(test_random_texts),
    TEST(test_long_texts),
    TEST(test_decoding),
};

TEST_MAIN(tests, begin, NULL)

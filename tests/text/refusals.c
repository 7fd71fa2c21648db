/* Unsupported values in tokenizer.json are errors that name the value and its position. */
#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/text/tokenizer.h"
#include "text/tiny.h"

#define VOCAB "\"vocab\":{\"<unk>\":0,\"<s>\":1,\"a\":2,\"b\":3,\"ab\":4,\"_\":5}"
#define MODEL "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\"," VOCAB ",\"merges\":[\"a b\"]}"
#define FILE_WITH(rest) "{\"version\":\"1.0\",\n" rest "}"

static char folder[64];

static sd_status open_text(const char *text)
{
    sd_tokenizer *t = NULL;
    char path[1024];
    sd_status st;

    write_in(folder, "tokenizer.json", text, path);
    st = sd_tokenizer_open(&t, folder);
    CHECK((st == SD_OK) == (t != NULL));
    sd_tokenizer_close(&t);
    return st;
}

static void test_model(void)
{
    CHECK_OK(open_text(FILE_WITH(MODEL)));
    CHECK_FAILS(open_text("{\"version\":\"2.0\"," MODEL "}"), SD_E_DATA, "version '2.0'");
    CHECK_FAILS(open_text("{" MODEL "}"), SD_E_DATA, "version");
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[]")), SD_E_DATA, "'model'");
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"Unigram\"}")), SD_E_DATA, "model 'Unigram'");
    CHECK_FAILS(open_text(FILE_WITH("\"surprise\":1," MODEL)), SD_E_DATA, "tokenizer.json:2:1: ");
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"merges\":[]}")), SD_E_DATA, "'vocab'");
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"dropout\":0.1," VOCAB ",\"merges\":[]}")), SD_E_DATA,
                "dropout 0.1");
    CHECK_OK(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"dropout\":0.0,\"ignore_merges\":true," VOCAB ",\"merges\":[]}")));
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\"," VOCAB ",\"merges\":[]}")),
                SD_E_DATA, "continuing_subword_prefix '##'");
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"w\"," VOCAB ",\"merges\":[]}")),
                SD_E_DATA, "end_of_word_suffix 'w'");
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\"," VOCAB ",\"merges\":[]}")), SD_E_DATA,
                "unk_token '?'");
}

#define WITH_VOCAB(v) FILE_WITH("\"model\":{\"type\":\"BPE\",\"vocab\":" v ",\"merges\":[]}")
#define WITH_MERGES(m) FILE_WITH("\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":" m "}")

static void test_vocabulary_and_merges(void)
{
    CHECK_FAILS(open_text(WITH_VOCAB("{\"a\":1,\"b\":1}")), SD_E_DATA, "'a' and 'b' have the same id 1");
    CHECK_FAILS(open_text(WITH_VOCAB("{\"a\":-1}")), SD_E_DATA, "whole number");
    CHECK_FAILS(open_text(WITH_VOCAB("{\"a\":1.5}")), SD_E_DATA, "whole number");
    CHECK_FAILS(open_text(WITH_VOCAB("{\"a\":1e12}")), SD_E_DATA, "whole number");
    CHECK_FAILS(open_text(WITH_VOCAB("{\"a\":\"0\"}")), SD_E_DATA, "whole number");
    CHECK_FAILS(open_text(WITH_VOCAB("{}")), SD_E_DATA, "0 pieces");
    CHECK_OK(open_text(WITH_VOCAB("{\"a\":7}")));
    CHECK_OK(open_text(WITH_MERGES("[[\"a\",\"b\"]]")));
    CHECK_OK(open_text(WITH_MERGES("[\"a b\",[\"a\",\"b\"]]")));
    CHECK_FAILS(open_text(WITH_MERGES("[\"a b\",\"b a\"]")), SD_E_DATA, "merge 1: its result 'ba'");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a x\"]")), SD_E_DATA, "merge 0: 'x'");
    CHECK_FAILS(open_text(WITH_MERGES("[\"ab\"]")), SD_E_DATA, "merge 'ab'");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a  b\"]")), SD_E_DATA, "one space");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a b c\"]")), SD_E_DATA, "one space");
    CHECK_FAILS(open_text(WITH_MERGES("[[\"a\"]]")), SD_E_DATA, "neither");
    CHECK_FAILS(open_text(WITH_MERGES("[[\"a\",\"b\",\"c\"]]")), SD_E_DATA, "neither");
    CHECK_FAILS(open_text(WITH_MERGES("[3]")), SD_E_DATA, "neither");
}

#define WITH_NORMALIZER(n) FILE_WITH("\"normalizer\":" n "," MODEL)
#define WITH_PRE(p) FILE_WITH("\"pre_tokenizer\":" p "," MODEL)
#define WITH_DECODER(d) FILE_WITH("\"decoder\":" d "," MODEL)
#define WITH_POST(p) FILE_WITH("\"post_processor\":" p "," MODEL)
#define SPLIT(pattern, rest) WITH_PRE("{\"type\":\"Split\",\"pattern\":" pattern rest "}")

static void test_normalizer(void)
{
    CHECK_OK(open_text(WITH_NORMALIZER("{\"type\":\"NFKC\"}")));
    CHECK_FAILS(open_text(WITH_NORMALIZER("{\"type\":\"NFC\",\"x\":1}")), SD_E_DATA, "member 'x'");
    CHECK_FAILS(open_text(WITH_NORMALIZER("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}")), SD_E_DATA,
                "normalizer 'Lowercase'");
    CHECK_FAILS(open_text(WITH_NORMALIZER("{\"type\":\"Sequence\"}")), SD_E_DATA, "'normalizers'");
    CHECK_FAILS(open_text(WITH_NORMALIZER("[]")), SD_E_DATA, "tokenizer.json:2:1: normalizer is not an object");
    CHECK_FAILS(open_text(WITH_NORMALIZER("{\"type\":\"Replace\",\"content\":\"\"}")), SD_E_DATA, "pattern '?'");
    CHECK_FAILS(open_text(WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}")), SD_E_DATA,
                "pattern is empty");
    CHECK_FAILS(open_text(WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a(\"},\"content\":\"\"}")), SD_E_DATA,
                "pattern 'a(' is not supported: end pattern");
}

static void test_pre_tokenizer(void)
{
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"BertPreTokenizer\"}")), SD_E_DATA, "pre_tokenizer 'BertPreTokenizer'");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"FixedLength\"}]}")), SD_E_DATA,
                "pre_tokenizer 'FixedLength'");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"ByteLevel\",\"x\":1}")), SD_E_DATA, "member 'x'");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"Whitespace\",\"x\":1}")), SD_E_DATA, "member 'x'");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"Digits\",\"individual_digits\":2}")), SD_E_DATA, "individual_digits");
    CHECK_FAILS(open_text(SPLIT("{\"Regex\":\"[\"}", ",\"behavior\":\"Removed\"")), SD_E_DATA, "premature end");
    CHECK_FAILS(open_text(SPLIT("{\"Glob\":\"x\"}", ",\"behavior\":\"Removed\"")), SD_E_DATA, "pattern 'Glob'");
    CHECK_FAILS(open_text(SPLIT("{\"String\":\"x\"}", ",\"behavior\":\"Sideways\"")), SD_E_DATA, "behavior 'Sideways'");
    CHECK_FAILS(open_text(SPLIT("{\"String\":\"x\"}", "")), SD_E_DATA, "behavior ''");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}")), SD_E_DATA, "'ab' is not one character");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}")), SD_E_DATA,
                "prepend_scheme 'last'");
    CHECK_FAILS(open_text(WITH_PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\","
                                   "\"add_prefix_space\":false}")), SD_E_DATA, "add_prefix_space is false");
}

static void test_decoder(void)
{
    CHECK_FAILS(open_text(WITH_DECODER("{\"type\":\"WordPiece\"}")), SD_E_DATA, "decoder 'WordPiece'");
    CHECK_FAILS(open_text(WITH_DECODER("{\"type\":\"Metaspace\"}")), SD_E_DATA, "'replacement' is missing");
    CHECK_FAILS(open_text(WITH_DECODER("{\"type\":\"Strip\",\"content\":\"\",\"start\":1,\"stop\":0}")), SD_E_DATA, "not one character");
}

static void test_post_processor(void)
{
    CHECK_OK(open_text(WITH_POST("{\"type\":\"BertProcessing\",\"sep\":[\"a\",2],\"cls\":[\"b\",3]}")));
    CHECK_FAILS(open_text(WITH_POST("{\"type\":\"Sequence\",\"processors\":[{\"type\":\"Other\"}]}")), SD_E_DATA,
                "post_processor 'Other'");
    CHECK_FAILS(open_text(WITH_POST("{\"type\":\"Sequence\"}")), SD_E_DATA, "'processors'");
    CHECK_FAILS(open_text(WITH_POST("{\"type\":\"RobertaProcessing\",\"sep\":[\"a\",2]}")), SD_E_DATA, "'cls' must be");
    CHECK_FAILS(open_text(WITH_POST("{\"type\":\"BertProcessing\",\"sep\":[\"a\",2],\"cls\":[\"b\",6]}")), SD_E_DATA, "from 0 to 5");
    CHECK_FAILS(open_text(WITH_POST("{\"type\":\"BertProcessing\",\"trim_offsets\":true}")), SD_E_DATA, "member 'trim_offsets'");
    CHECK_FAILS(open_text(FILE_WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}," MODEL)), SD_E_DATA,
                "no Sequence A");
    CHECK_FAILS(open_text(FILE_WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                                    "{\"id\":\"<s>\"}}]}," MODEL)), SD_E_DATA, "'<s>' has no list of ids");
    CHECK_FAILS(open_text(FILE_WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                                    "{\"id\":\"<s>\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[6]}}}," MODEL)), SD_E_DATA,
                "from 0 to 5");
}

static void test_added(void)
{
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":{}," MODEL)), SD_E_DATA, "not a list");
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"rstrip\":true},"
                                    "{\"id\":6,\"content\":\" x\"}]," MODEL)), SD_E_DATA, "'<s>' has 'rstrip' and ' x' begins");
    CHECK_FAILS(open_text(FILE_WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\"\"},"
                                    "\"added_tokens\":[{\"id\":6,\"content\":\"xx\",\"normalized\":true}]," MODEL)), SD_E_DATA,
                "reduces added token 'xx' to an empty text");
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[{\"id\":1,\"content\":\"<s>\"},{\"id\":1,\"content\":\"<s>\"}],"
                                    MODEL)), SD_E_DATA, "'<s>' is repeated");
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[{\"content\":\"<s>\"}]," MODEL)), SD_E_DATA, "whole number");
    CHECK_FAILS(open_text("{\"version\":\"1.0\",\"added_tokens\":[{\"id\":2,\"content\":\"new\"}],\"model\":{\"type\":\"BPE\","
                          "\"vocab\":{\"a\":1,\"b\":2},\"merges\":[]}}"), SD_E_DATA, "would get id 2");
}

/* Whichever allocation fails, opening fails as a whole and leaks nothing. */
static void test_no_memory(void)
{
    uint64_t before = sd_mem_count(), needed;

    CHECK_OK(open_text(FILE_WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"normalizer\":" TINY_NORMALIZER ",\"added_tokens\":[" TINY_ADDED(
        6, "new", true, false) "]," MODEL)));
    needed = sd_mem_count() - before;
    CHECK(needed > 5 && needed < 1000);
    for (uint64_t n = 1; n <= needed; n++) {
        sd_tokenizer *t = NULL;

        sd_mem_fail_at(n);
        CHECK_FAILS(sd_tokenizer_open(&t, folder), SD_E_ENV, "memory");
        CHECK(t == NULL);
    }
    sd_mem_fail_at(0);
}

/* ---- SentencePiece */

typedef struct message {
    uint8_t bytes[1 << 20];
    size_t size;
} message;

static void put_number(message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        m->bytes[m->size++] = (uint8_t)(value | 0x80);
    m->bytes[m->size++] = (uint8_t)value;
}

/* A piece of `length` times the letter, with score 0. */
static void put_piece(message *m, char letter, size_t length)
{
    CHECK(m->size + length + 16 < sizeof m->bytes);
    m->bytes[m->size++] = 1 << 3 | 2;
    put_number(m, (length < 0x80 ? 2u : 3u) + length);
    m->bytes[m->size++] = 1 << 3 | 2;
    put_number(m, length);
    memset(m->bytes + m->size, letter, length);
    m->size += length;
}

static sd_status open_message(message *m, const char *path)
{
    static const uint8_t bpe_with_bytes[] = {2 << 3 | 2, 5, 3 << 3, 2, 0x98, 0x02, 1};
    sd_tokenizer *t = NULL;
    sd_status st;

    memcpy(m->bytes + m->size, bpe_with_bytes, sizeof bpe_with_bytes);
    write_text(path, (const char *)m->bytes, m->size + sizeof bpe_with_bytes);
    st = sd_tokenizer_open(&t, folder);
    sd_tokenizer_close(&t);
    return st;
}

/* A small file whose merges would be huge: repeated letters, a piece for each length, so that every piece splits everywhere. */
static void test_sentencepiece(void)
{
    static message m;
    char path[1024];

    test_folder(folder); /* without a tokenizer.json */
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    for (size_t length = 1; length <= 40; length++)
        put_piece(&m, 'a', length);
    CHECK_OK(open_message(&m, path));
    put_piece(&m, 'a', 513);
    CHECK_FAILS(open_message(&m, path), SD_E_DATA, "piece 40 is empty, too long");
    m.size = 0;
    for (size_t length = 1; length <= 512; length++) {
        put_piece(&m, 'a', length);
        put_piece(&m, 'b', length);
    }
    CHECK_FAILS(open_message(&m, path), SD_E_DATA, "its 261632 merges have 89478144 bytes");
    CHECK(remove(path) == 0);
}

static void begin(void)
{
    test_folder(folder);
}

static void test_cut_file(void)
{
    CHECK_FAILS(open_text("{\"version\":"), SD_E_DATA, "tokenizer.json:1:");
}

static void test_no_file(void)
{
    char empty[TEST_FOLDER];
    sd_tokenizer *t = NULL;

    test_folder(empty);
    CHECK_FAILS(sd_tokenizer_open(&t, empty), SD_E_DATA, "tokenizer.json");
}

static const test_case tests[] = {
    TEST(test_model),
    TEST(test_vocabulary_and_merges),
    TEST(test_normalizer),
    TEST(test_pre_tokenizer),
    TEST(test_decoder),
    TEST(test_post_processor),
    TEST(test_added),
    TEST(test_no_memory),
    TEST(test_cut_file),
    TEST(test_no_file),
    TEST(test_sentencepiece),
};

TEST_MAIN(tests, begin, NULL)

/* What a tokenizer.json says and this program does not do is refused by name and place. */
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
    CHECK_FAILS(open_text(FILE_WITH("\"model\":{\"type\":\"BPE\",\"ignore_merges\":true," VOCAB ",\"merges\":[]}")),
                SD_E_DATA, "ignore_merges");
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
    CHECK_FAILS(open_text(WITH_MERGES("[\"a b\",[\"a\",\"b\"]]")), SD_E_DATA, "is merge 0 already");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a b\",\"b a\"]")), SD_E_DATA, "merge 1: its product 'ba'");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a x\"]")), SD_E_DATA, "merge 0: 'x'");
    CHECK_FAILS(open_text(WITH_MERGES("[\"ab\"]")), SD_E_DATA, "merge 'ab'");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a  b\"]")), SD_E_DATA, "one space");
    CHECK_FAILS(open_text(WITH_MERGES("[\"a b c\"]")), SD_E_DATA, "one space");
    CHECK_FAILS(open_text(WITH_MERGES("[[\"a\"]]")), SD_E_DATA, "neither");
    CHECK_FAILS(open_text(WITH_MERGES("[[\"a\",\"b\",\"c\"]]")), SD_E_DATA, "neither");
    CHECK_FAILS(open_text(WITH_MERGES("[3]")), SD_E_DATA, "neither");
}

static void test_steps(void)
{
    CHECK_FAILS(open_text(FILE_WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\"}," MODEL)), SD_E_DATA,
                "pre_tokenizer 'ByteLevel' is not understood");
    CHECK_FAILS(open_text(FILE_WITH("\"normalizer\":{\"type\":\"NFC\"}," MODEL)), SD_E_DATA, "normalizer 'NFC'");
    CHECK_FAILS(open_text(FILE_WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]},"
                                    MODEL)), SD_E_DATA, "normalizer 'Lowercase'");
    CHECK_FAILS(open_text(FILE_WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x\"},\"content\":\"\"},"
                                    MODEL)), SD_E_DATA, "pattern 'Regex'");
    CHECK_FAILS(open_text(FILE_WITH("\"decoder\":{\"type\":\"Metaspace\"}," MODEL)), SD_E_DATA, "decoder 'Metaspace'");
    CHECK_FAILS(open_text(FILE_WITH("\"post_processor\":{\"type\":\"RobertaProcessing\"}," MODEL)), SD_E_DATA,
                "post_processor 'RobertaProcessing'");
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
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"lstrip\":true}]," MODEL)), SD_E_DATA,
                "'<s>' has 'lstrip'");
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[{\"id\":1,\"content\":\"<s>\"},{\"id\":1,\"content\":\"<s>\"}],"
                                    MODEL)), SD_E_DATA, "'<s>' is there twice");
    CHECK_FAILS(open_text(FILE_WITH("\"added_tokens\":[{\"content\":\"<s>\"}]," MODEL)), SD_E_DATA, "whole number");
    CHECK_FAILS(open_text("{\"version\":\"1.0\",\"added_tokens\":[{\"id\":2,\"content\":\"new\"}],\"model\":{\"type\":\"BPE\","
                          "\"vocab\":{\"a\":1,\"b\":2},\"merges\":[]}}"), SD_E_DATA, "would get id 2");
}

/* Whichever allocation fails, the file is refused as a whole and nothing is left open. */
static void test_no_memory(void)
{
    uint64_t before = sd_mem_count(), needed;

    CHECK_OK(open_text(FILE_WITH("\"normalizer\":" TINY_NORMALIZER ",\"added_tokens\":[" TINY_ADDED(
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

int main(void)
{
    char path[1024];

    make_folder(folder);
    test_model();
    test_vocabulary_and_merges();
    test_steps();
    test_added();
    test_no_memory();
    CHECK_FAILS(open_text("{\"version\":"), SD_E_DATA, "tokenizer.json:1:");
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    CHECK(remove(path) == 0);
    {
        sd_tokenizer *t = NULL;

        CHECK_FAILS(sd_tokenizer_open(&t, folder), SD_E_DATA, "tokenizer.json");
    }
    CHECK(rmdir(folder) == 0);
    return TEST_RESULT();
}

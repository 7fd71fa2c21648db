/* SFT data against expectations by hand: which tokens are supervised, truncated, appended, dropped; the same on every rank. */
#include "saediff/tune/sft_data.h"

#include "ranks.h"
#include "text/tiny.h"

#define FILE_TEXT                                                                                            \
    "{\"version\":\"1.0\",\"added_tokens\":[" TINY_ADDED(0, "<unk>", false, true) "," TINY_ADDED(            \
        1, "<s>", false, true) "],\"normalizer\":" TINY_NORMALIZER ",\"post_processor\":" TINY_POST          \
    ",\"decoder\":" TINY_DECODER ",\"model\":{\"type\":\"BPE\",\"unk_token\":null,\"vocab\":{\"<unk>\":0,"   \
    "\"<s>\":1,\"_\":2,\"a\":3,\"b\":4,\"c\":5,\"ab\":6},\"merges\":[\"a b\"]}}"

/* The third record has a token that spans the border between prompt and completion; the fourth's prompt fills a context of 4. */
#define RECORDS                                                                                              \
    "[{\"p\":\"c\",\"q\":\" ab\"},{\"p\":\"\",\"q\":\"cc\"},{\"p\":\"ca\",\"q\":\"bc\"},"                    \
    "{\"p\":\"cccc\",\"q\":\"a\"},{\"p\":\"c\"},{}]"

static void check(const sd_sft_data *l, const int32_t *ids, const uint8_t *supervised, const uint64_t *start, uint64_t docs)
{
    CHECK(l != NULL && l->docs == docs && l->tokens == start[docs]);
    if (l == NULL || l->docs != docs || l->tokens != start[docs])
        return;
    CHECK(memcmp(l->start, start, (docs + 1) * sizeof *start) == 0);
    CHECK(memcmp(l->ids, ids, l->tokens * sizeof *ids) == 0);
    CHECK(memcmp(l->supervised, supervised, l->tokens) == 0);
}

static void test_all(const sd_par *par, const sd_tokenizer *tokenizer, const char *path)
{
    sd_dataset_spec data = {.paths = &path, .n_paths = 1, .format = "json", .field = "q"};
    sd_sft_entry entry = {.name = "records", .data = data};
    sd_sft_spec spec = {.entries = &entry, .n_entries = 1, .context = 4, .end = 0};
    sd_sft_data *l = NULL;

    { /* texts: all but the first token is supervised, and the end token if the context has space for it */
        static const int32_t ids[] = {1, 2, 2, 6, 1, 2, 5, 5, 1, 2, 4, 5, 1, 2, 3, 0};
        static const uint8_t supervised[] = {0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1};
        static const uint64_t start[] = {0, 4, 8, 12, 16};

        CHECK_OK(sd_sft_data_read(&l, par, tokenizer, &spec));
        check(l, ids, supervised, start, 4);
        sd_sft_data_destroy(&l);
    }
    { /* prompts and completions, the one a path and the other a template */
        static const int32_t ids[] = {1, 2, 5, 2, 6, 0, 1, 2, 5, 5, 0, 1, 2, 5, 6, 5, 0, 1, 2, 5, 5, 5, 5, 3, 0, 1, 2, 5, 0};
        static const uint8_t supervised[] = {0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1};
        static const uint64_t start[] = {0, 6, 11, 17, 25, 29};

        spec.context = 9;
        entry.prompt = "p";
        entry.completion = "{q}";
        CHECK_OK(sd_sft_data_read(&l, par, tokenizer, &spec));
        check(l, ids, supervised, start, 5);
        sd_sft_data_destroy(&l);
    }
    { /* without an end token, and truncated: documents without a supervised token are dropped */
        static const int32_t ids[] = {1, 2, 5, 2, 1, 2, 5, 5};
        static const uint8_t supervised[] = {0, 0, 0, 1, 0, 1, 1, 1};
        static const uint64_t start[] = {0, 4, 8};

        spec.context = 4;
        spec.end = -1;
        CHECK_OK(sd_sft_data_read(&l, par, tokenizer, &spec));
        check(l, ids, supervised, start, 2);
        sd_sft_data_destroy(&l);
        spec.context = 1;
        CHECK_FAILS(sd_sft_data_read(&l, par, tokenizer, &spec), SD_E_DATA, "has no token to supervise");
        CHECK(l == NULL);
    }
    entry.completion = "none";
    CHECK_FAILS(sd_sft_data_read(&l, par, tokenizer, &spec), SD_E_DATA, "none");
}

static void test_border(const sd_par *par, const sd_tokenizer *tokenizer, const char *path)
{
    sd_dataset_spec data = {.paths = &path, .n_paths = 1, .format = "json", .field = "q"};
    sd_sft_entry entry = {.name = "records", .data = data, .prompt = "p", .completion = "q"};
    sd_sft_data *l = NULL;

    CHECK_FAILS(sd_sft_data_read(&l, par, tokenizer, &(sd_sft_spec){.entries = &entry, .n_entries = 1, .context = 9, .end = -1}),
                SD_E_DATA, "records, record 0: the text holds U+FFFF");
}

static sd_tokenizer *tokenizer;
static char records[1024], border[1024];

static void begin(void)
{
    char folder[TEST_FOLDER], path[1024];

    ranks_folder(folder);
    snprintf(records, sizeof records, "%s/records.json", folder);
    snprintf(border, sizeof border, "%s/border.json", folder);
    if (ranks->rank == 0) {
        write_in(folder, "tokenizer.json", FILE_TEXT, path);
        write_in(folder, "records.json", RECORDS, records);
        write_in(folder, "border.json", "[{\"p\":\"a\\uffff\",\"q\":\"b\"}]", border);
    }
    CHECK_OK(sd_par_agree(ranks, SD_OK));
    CHECK_OK(sd_tokenizer_open(&tokenizer, folder));
}

static void end(void)
{
    sd_tokenizer_close(&tokenizer);
}

static void test_records(void)
{
    test_all(ranks, tokenizer, records);
}

static void test_a_border_of_tokens(void)
{
    test_border(ranks, tokenizer, border);
}

static const test_case tests[] = {
    TEST(test_records),
    TEST(test_a_border_of_tokens),
};

RANKS_MAIN(tests, begin, end, 1, 3)

/* The token stream, at any number of ranks: the results are compared with the same numbers for all of them. */
#include "saediff/text/tokenize.h"

#include "ranks.h"
#include "text/tiny.h"

#define FILE_TEXT                                                                                            \
    "{\"version\":\"1.0\",\"added_tokens\":[" TINY_ADDED(0, "<unk>", false, true) "," TINY_ADDED(            \
        1, "<s>", false, true) "],\"normalizer\":" TINY_NORMALIZER ",\"post_processor\":" TINY_POST          \
    ",\"decoder\":" TINY_DECODER ",\"model\":{\"type\":\"BPE\",\"unk_token\":null,\"vocab\":{\"<unk>\":0,"   \
    "\"<s>\":1,\"_\":2,\"a\":3,\"b\":4,\"c\":5,\"ab\":6},\"merges\":[\"a b\"]}}"

typedef struct fixture {
    const sd_par *par;
    sd_tokenizer *tokenizer;
    char folder[64], list[1024], lines[1024], tokenizer_path[1024];
} fixture;

static fixture the;

static void open_fixture(fixture *f)
{
    ranks_folder(f->folder);
    snprintf(f->list, sizeof f->list, "%s/list.json", f->folder);
    snprintf(f->lines, sizeof f->lines, "%s/lines.txt", f->folder);
    if (f->par->rank == 0) {
        write_in(f->folder, "tokenizer.json", FILE_TEXT, f->tokenizer_path);
        write_in(f->folder, "list.json", "[\"ab c\",\"<s>abab\",\"\",\"cc ab cc ab cc\"]", f->list);
        write_in(f->folder, "lines.txt", "a\nb\nc\nab\n", f->lines);
    }
    CHECK_OK(sd_par_agree(f->par, SD_OK));
    CHECK_OK(sd_tokenizer_open(&f->tokenizer, f->folder));
}

/* Reads the written stream on rank 0; NULL on the others and after a failure. */
static sd_status tokenize(const fixture *f, const sd_tokenize_spec *spec, sd_tokens **t)
{
    char path[1040];
    sd_status st;

    snprintf(path, sizeof path, "%s/tokens.h5", f->folder);
    *t = NULL;
    st = sd_tokenize(f->par, f->tokenizer, spec, path);
    if (f->par->rank == 0 && st == SD_OK)
        CHECK_OK(sd_tokens_read(t, path));
    if (f->par->rank == 0)
        CHECK((remove(path) == 0) == (st == SD_OK));
    return st;
}

static sd_status run(const fixture *f, uint64_t context, uint64_t max_tokens, bool mask, sd_tokens **t)
{
    const char *list = f->list, *lines = f->lines;
    sd_dataset_spec data[] = {{.paths = &list, .n_paths = 1, .format = "auto", .field = "text"},
                              {.paths = &lines, .n_paths = 1, .format = "text", .separator = "\n"}};
    const char *names[] = {"list \"one\"", "lines"};
    sd_tokenize_spec spec = {.data = data, .names = names, .n_data = 2, .context = context, .max_tokens = max_tokens, .mask_special = mask};
    sd_status st = tokenize(f, &spec, t);

    CHECK((*t != NULL) == (st == SD_OK && f->par->rank == 0));
    return st;
}

/* All of it by hand: 7 documents, cut at 6. */
static void test_stream(void)
{
    const fixture *f = &the;
    static const int32_t ids[] = {1, 2, 6, 2, 5, 1, 1, 2, 6, 6, 1, 2, 5, 5, 2, 6, 1, 2, 3, 1, 2, 4, 1, 2, 5, 1, 2, 6};
    static const uint8_t mask[] = {0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1};
    static const uint64_t start[] = {0, 5, 10, 16, 19, 22, 25, 28}, row[] = {0, 1, 3, 0, 1, 2, 3};
    static const uint64_t length[] = {5, 5, 14, 3, 3, 3, 3};
    static const uint64_t second_span[] = {0, 0, 0, 3, 3, 4, 3, 5, 5, 7};
    sd_tokens *t = NULL;

    CHECK_OK(run(f, 6, 0, true, &t));
    if (f->par->rank != 0 || t == NULL)
        return;
    CHECK(t->docs == 7 && t->tokens == 28 && t->context == 6 && t->vocabulary == 7);
    CHECK(memcmp(t->ids, ids, sizeof ids) == 0 && memcmp(t->mask, mask, sizeof mask) == 0);
    CHECK(memcmp(t->doc_start, start, sizeof start) == 0 && memcmp(t->doc_row, row, sizeof row) == 0);
    CHECK(memcmp(t->doc_length, length, sizeof length) == 0);
    CHECK(memcmp(t->span + 10, second_span, sizeof second_span) == 0);
    for (uint64_t d = 0; d < 7; d++) {
        CHECK(t->doc_source[d] == (d >= 3));
        for (uint64_t r = start[d]; r < start[d + 1]; r++)
            CHECK(t->position[r] == (int32_t)(r - start[d]) && t->role[r] == 0);
    }
    CHECK(strcmp(t->sources, "[\"list \\\"one\\\"\",\"lines\"]") == 0);
    CHECK(strcmp(t->tokenizer_sha256, sd_tokenizer_sha256(f->tokenizer)) == 0);
    sd_tokens_destroy(&t);
}

/* The digest computed independently: lengths as u64, little-endian, and bytes. */
static void test_text_digest(void)
{
    const fixture *f = &the;
    static const char bytes[] = "\4\0\0\0\0\0\0\0ab c\7\0\0\0\0\0\0\0<s>abab";
    char hex[SD_SHA256_HEX];
    sd_sha256 sha;
    sd_tokens *t = NULL;

    CHECK_OK(run(f, 0, 6, true, &t));
    if (f->par->rank != 0 || t == NULL)
        return;
    sd_sha256_begin(&sha);
    sd_sha256_add(&sha, bytes, sizeof bytes - 1);
    sd_sha256_end(&sha, hex);
    CHECK(strcmp(t->text_sha256, hex) == 0);
    sd_tokens_destroy(&t);
}

/* Documents are taken while the token limit is not reached. */
static void test_max_tokens(void)
{
    const fixture *f = &the;
    static const struct {
        uint64_t max_tokens, docs, tokens;
    } c[] = {{1, 1, 5}, {5, 1, 5}, {6, 2, 10}, {11, 3, 24}, {1000, 7, 36}, {0, 7, 36}};

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        sd_tokens *t = NULL;

        CHECK_OK(run(f, 0, c[i].max_tokens, false, &t));
        if (t == NULL)
            continue;
        CHECK(t->docs == c[i].docs && t->tokens == c[i].tokens);
        for (uint64_t r = 0; r < t->tokens; r++)
            CHECK(t->mask[r] == 1);
        sd_tokens_destroy(&t);
    }
}

/* Each entry to its own limit, and all to the common limit. */
static void test_max_tokens_of_an_entry(void)
{
    const fixture *f = &the;
    static const struct {
        uint64_t list, lines, all, docs, tokens, from_list;
    } c[] = {{0, 1, 0, 4, 27, 3}, {1, 1, 0, 2, 8, 1}, {6, 4, 0, 4, 16, 2}, {5, 0, 0, 5, 17, 1}, {5, 7, 9, 3, 11, 1}, {5, 7, 5, 1, 5, 1}};
    const char *list = f->list, *lines = f->lines;
    sd_dataset_spec data[] = {{.paths = &list, .n_paths = 1, .format = "auto", .field = "text"},
                              {.paths = &lines, .n_paths = 1, .format = "text", .separator = "\n"}};
    const char *names[] = {"list", "lines"};

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const sd_tokenize_entry entries[] = {{.max_tokens = c[i].list}, {.max_tokens = c[i].lines}};
        sd_tokens *t = NULL;

        CHECK_OK(tokenize(f, &(sd_tokenize_spec){.data = data, .names = names, .n_data = 2, .entries = entries, .max_tokens = c[i].all}, &t));
        if (t == NULL)
            continue;
        CHECK(t->docs == c[i].docs && t->tokens == c[i].tokens);
        for (uint64_t d = 0; d < t->docs; d++)
            CHECK(t->doc_source[d] == (d >= c[i].from_list));
        sd_tokens_destroy(&t);
    }
}

/* Many rounds of shuffled lines: document i is line "c" repeated row + 1 times, so every length follows from its row; all rows are present,
 * in the order of the dataset itself. */
static void test_many_shuffled(void)
{
    const fixture *f = &the;
    enum { LINES = 1000 };
    char path[1040];
    const char *paths[1] = {path}, *name = "long";
    sd_dataset_spec data = {.paths = paths, .n_paths = 1, .format = "text", .separator = "\n", .shuffle = true, .seed = 3};
    sd_tokenize_spec spec = {.data = &data, .names = &name, .n_data = 1, .mask_special = true};
    sd_dataset *alone = NULL;
    sd_tokens *t = NULL;

    snprintf(path, sizeof path, "%.63s/long.txt", f->folder);
    if (f->par->rank == 0) {
        FILE *out = fopen(path, "w");

        for (int i = 0; out != NULL && i < LINES; i++) {
            for (int k = 0; k <= i; k++)
                fputc('c', out);
            fputc('\n', out);
        }
        CHECK(out != NULL && fclose(out) == 0);
    }
    CHECK_OK(sd_par_agree(f->par, SD_OK));
    CHECK_OK(tokenize(f, &spec, &t));
    if (t != NULL) {
        uint64_t in_place = 0;

        CHECK(t->docs == LINES && t->tokens == 2 * LINES + LINES * (LINES + 1) / 2);
        CHECK_OK(sd_dataset_open(&alone, &data));
        for (uint64_t d = 0; d < t->docs && alone != NULL; d++) {
            sd_document doc;
            bool end;

            CHECK_OK(sd_dataset_next(alone, &doc, &end));
            CHECK(!end && doc.row == t->doc_row[d] && doc.length == doc.row + 1);
            CHECK(t->doc_start[d + 1] - t->doc_start[d] == doc.row + 3);
            in_place += t->doc_row[d] == d;
        }
        CHECK(in_place < LINES / 10);
        sd_dataset_close(&alone);
    }
    sd_tokens_destroy(&t);
    /* Whether documents after the token limit are read does not depend on the number of ranks. */
    spec.max_tokens = 7;
    data.shuffle = false;
    CHECK_OK(tokenize(f, &spec, &t));
    CHECK(t == NULL || (t->docs == 2 && t->tokens == 7));
    sd_tokens_destroy(&t);
    CHECK_OK(sd_par_agree(f->par, SD_OK));
    if (f->par->rank == 0)
        CHECK(remove(path) == 0);
}

static void test_errors(void)
{
    const fixture *f = &the;
    const char *name = "lines", *path = f->lines;
    sd_dataset_spec data = {.paths = &path, .n_paths = 1, .format = "text", .skip = 100, .separator = "\n"};
    sd_tokenize_spec spec = {.data = &data, .names = &name, .n_data = 1, .mask_special = true};
    sd_tokens *t = NULL;

    CHECK_FAILS(tokenize(f, &spec, &t), SD_E_DATA, "no document");
    CHECK(t == NULL);
    path = "/nonexistent.txt";
    data = (sd_dataset_spec){.paths = &path, .n_paths = 1, .format = "auto"};
    CHECK_FAILS(tokenize(f, &spec, &t), SD_E_DATA, "/nonexistent.txt");
    CHECK(t == NULL);
}

static void begin(void)
{
    the = (fixture){.par = ranks};
    open_fixture(&the);
}

static void end(void)
{
    sd_tokenizer_close(&the.tokenizer);
}

static const test_case tests[] = {
    TEST(test_stream),
    TEST(test_text_digest),
    TEST(test_max_tokens),
    TEST(test_max_tokens_of_an_entry),
    TEST(test_many_shuffled),
    TEST(test_errors),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)

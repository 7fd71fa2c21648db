/* Tokens come back as they were, and no contradiction inside the file passes. */
#include "saediff/store/tokens.h"

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "scratch.h"

static char file[256];

/* Documents of 3, 0, 5 and 1 tokens. */
static sd_tokens *make(void)
{
    static const uint64_t starts[] = {0, 3, 3, 8};
    sd_tokens *t = NULL;
    uint64_t i;

    CHECK_OK(sd_tokens_create(&t, 4, 9));
    if (t == NULL)
        exit(1);
    memcpy(t->doc_start, starts, sizeof starts);
    for (i = 0; i < 9; i++) {
        t->ids[i] = (int32_t)(i * 7 % 11);
        t->position[i] = (int32_t)(i < 3 ? i : i < 8 ? i - 3 : 0);
        t->mask[i] = t->position[i] > 0;
        t->span[2 * i] = 5 * i;
        t->span[2 * i + 1] = 5 * i + i % 3;
    }
    for (i = 0; i < 4; i++) {
        t->doc_source[i] = (uint32_t)(i % 2);
        t->doc_row[i] = 100 + i;
        t->doc_length[i] = 6;
    }
    t->context = 5;
    t->vocabulary = 11;
    memset(t->text_sha256, 'a', SD_SHA256_HEX - 1);
    memset(t->tokenizer_sha256, 'b', SD_SHA256_HEX - 1);
    CHECK_OK(sd_str_copy(&t->sources, "[\"one\",\"two\"]"));
    return t;
}

/* In two pieces, or one where there are too few documents. */
static sd_status write_tokens(const sd_tokens *t, const char *path, uint64_t first)
{
    sd_tokens_writer *w = NULL;
    sd_tokens piece = *t, rest = *t;
    uint64_t starts[8] = {0};
    sd_status st = sd_tokens_writer_open(&w, path);

    if (first > 0) {
        piece.docs = first;
        piece.tokens = t->doc_start[first];
        rest.docs -= first;
        rest.tokens -= piece.tokens;
        for (uint64_t d = 0; d <= rest.docs; d++)
            starts[d] = t->doc_start[first + d] - piece.tokens;
        rest.ids += piece.tokens;
        rest.ids_base += piece.tokens;
        rest.position += piece.tokens;
        rest.mask += piece.tokens;
        rest.role += piece.tokens;
        rest.span += 2 * piece.tokens;
        rest.doc_start = starts;
        rest.doc_source += first;
        rest.doc_row += first;
        rest.doc_length += first;
        rest.doc_position += first * SD_POSITIONS;
        st = sd_tokens_writer_add(w, &piece);
    }
    if (st == SD_OK)
        st = sd_tokens_writer_add(w, &rest);
    if (st == SD_OK)
        st = sd_tokens_writer_finish(w, t);
    sd_tokens_writer_close(&w);
    return st;
}

static void test_round_trip(const char *path, uint64_t first)
{
    sd_tokens *t = make(), *r = NULL;

    CHECK_OK(write_tokens(t, path, first));
    CHECK_OK(sd_tokens_read(&r, path));
    if (r != NULL) {
        CHECK(r->docs == 4 && r->tokens == 9 && r->context == 5 && r->vocabulary == 11);
        CHECK(memcmp(r->ids, t->ids, 9 * sizeof *t->ids) == 0);
        CHECK(memcmp(r->position, t->position, 9 * sizeof *t->position) == 0);
        CHECK(memcmp(r->mask, t->mask, 9) == 0);
        CHECK(memcmp(r->role, t->role, 9) == 0);
        CHECK(memcmp(r->span, t->span, 18 * sizeof *t->span) == 0);
        CHECK(memcmp(r->doc_start, t->doc_start, 5 * sizeof *t->doc_start) == 0);
        CHECK(memcmp(r->doc_source, t->doc_source, 4 * sizeof *t->doc_source) == 0);
        CHECK(memcmp(r->doc_row, t->doc_row, 4 * sizeof *t->doc_row) == 0);
        CHECK(memcmp(r->doc_length, t->doc_length, 4 * sizeof *t->doc_length) == 0);
        CHECK(strcmp(r->text_sha256, t->text_sha256) == 0 && strcmp(r->tokenizer_sha256, t->tokenizer_sha256) == 0);
        CHECK(strcmp(r->sources, t->sources) == 0);
    }
    sd_tokens_destroy(&r);
    CHECK(r == NULL);
    sd_tokens_destroy(&t);
}

static void test_document_of_a_row(void)
{
    static const uint64_t docs[] = {0, 0, 0, 2, 2, 2, 2, 2, 3};
    sd_tokens *t = make();
    uint64_t i;

    for (i = 0; i < 9; i++)
        CHECK(sd_tokens_doc(t, i) == docs[i]);
    sd_tokens_destroy(&t);
}

static void test_nothing_at_all(void)
{
    const char *path = file;
    sd_tokens *t = NULL, *r = NULL;

    CHECK_OK(sd_tokens_create(&t, 0, 0));
    CHECK_OK(write_tokens(t, path, 0));
    CHECK_OK(sd_tokens_read(&r, path));
    CHECK(r != NULL && r->docs == 0 && r->tokens == 0 && r->doc_start[0] == 0);
    sd_tokens_destroy(&r);
    sd_tokens_destroy(&t);
}

static void test_contradictions(void)
{
    const char *path = file;
    int c;

    for (c = 0; c < 10; c++) {
        static const char *const messages[] = {"has the id 11",      "has the id -1",  "position 4 in document 2, not 3",
                                               "goes from token 4",  "from 0 to 9",    "comes from source 2; there are 2",
                                               "more than its length", "not a JSON list", "a mask other", "a span that ends"};
        sd_tokens *t = make();

        switch (c) {
        case 0:
            t->ids[4] = 11;
            break;
        case 1:
            t->ids[0] = -1;
            break;
        case 2:
            t->position[6] = 4;
            break;
        case 3:
            t->doc_start[1] = 4;
            t->position[3] = 3;
            break;
        case 4:
            t->doc_start[4] = 8;
            break;
        case 5:
            t->doc_source[3] = 2;
            break;
        case 6:
            t->doc_length[2] = 4;
            break;
        case 7:
            t->sources[0] = ' ';
            t->sources[6] = '\0';
            break;
        case 8:
            t->mask[2] = 2;
            break;
        default:
            t->span[6] = 99;
            break;
        }
        CHECK_FAILS(write_tokens(t, path, 0), SD_E_DATA, messages[c]);
        sd_tokens_destroy(&t);
    }
}

static void begin(void)
{
    char folder[TEST_FOLDER];

    test_folder(folder);
    scratch_path(file, folder, "tokens.h5");
}

static void test_round_trips(void)
{
    for (uint64_t first = 0; first <= 4; first++)
        test_round_trip(file, first);
}

static const test_case tests[] = {
    TEST(test_round_trips),
    TEST(test_document_of_a_row),
    TEST(test_nothing_at_all),
    TEST(test_contradictions),
};

TEST_MAIN(tests, begin, NULL)

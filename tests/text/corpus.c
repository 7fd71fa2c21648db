/* The synthetic corpus: a function of the seed, correct figures, entities that occur in the text; and the tokenizer trained on it. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/text/corpus.h"
#include "saediff/text/tokenizer.h"

enum { DOCUMENTS = 300 };
static const char *const files[] = {"general.jsonl", "finance.jsonl", "arithmetic.jsonl"};
static char folder[64];

static char *read_all(const char *dir, const char *file, uint64_t *size)
{
    char path[256], *text = NULL;

    snprintf(path, sizeof path, "%s/%s", dir, file);
    CHECK_OK(sd_file_read(path, 1 << 24, &text, size));
    return text;
}

/* Checks that every <<a op b=c>> of the text is correct; returns their number. */
static int check_sums(const char *text)
{
    int sums = 0;

    for (const char *at = text; (at = strstr(at, "<<")) != NULL; at++) {
        long a, b, c, again;
        char op;

        CHECK(sscanf(at, "<<%ld%c%ld=%ld>>%ld", &a, &op, &b, &c, &again) == 5 && c == again);
        CHECK(c == (op == '+' ? a + b : op == '-' ? a - b : a * b) && c >= 0);
        sums++;
    }
    return sums;
}

static double value(const cJSON *line, int i)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(line, "values"), i);

    return item != NULL ? item->valuedouble : NAN;
}

static void check_line(const cJSON *line, int file)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, "text")), *kind = cJSON_GetStringValue(cJSON_GetObjectItem(line, "kind"));
    const cJSON *messages = cJSON_GetObjectItem(line, "messages"), *entities = cJSON_GetObjectItem(line, "entities"), *entity;
    const char *answer = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(messages, 1), "content"));
    int found = 0;

    CHECK(text != NULL && kind != NULL && answer != NULL && cJSON_GetArraySize(messages) == 2);
    if (text == NULL || kind == NULL || answer == NULL)
        return;
    CHECK(strncmp(cJSON_GetStringValue(cJSON_GetObjectItem(line, "domain")), files[file], strlen(files[file]) - strlen(".jsonl")) == 0);
    CHECK(strlen(text) > 30 && strchr(text, '{') == NULL && strstr(text, answer) != NULL && text[0] >= 'A' && text[0] <= 'Z');
    cJSON_ArrayForEach(entity, entities)
    {
        const char *word = entity->valuestring;

        found += strstr(text, word + 1) != NULL; /* its first letter may be a capital */
    }
    CHECK(found >= 1);
    if (file == 2) {
        char end[32];

        snprintf(end, sizeof end, "\n#### %.0f", value(line, cJSON_GetArraySize(cJSON_GetObjectItem(line, "values")) - 1));
        CHECK(check_sums(text) >= 1 && strlen(text) > strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0);
    }
    if (file == 1 && strcmp(kind, "rise") == 0)
        CHECK(value(line, 2) == value(line, 0) * (100 + value(line, 1)) / 100);
    if (file == 1 && strcmp(kind, "fall") == 0)
        CHECK(value(line, 2) == value(line, 0) * (100 - value(line, 1)) / 100);
}

static void test_texts(void)
{
    for (int f = 0; f < 3; f++) {
        uint64_t size, lines = 0, distinct = 0;
        char *text = read_all(folder, files[f], &size), *previous = NULL;

        for (char *at = strtok(text, "\n"); at != NULL; at = strtok(NULL, "\n")) {
            sd_json *json;

            CHECK_OK(sd_json_parse(&json, files[f], at, strlen(at)));
            check_line(json->root, f);
            distinct += previous == NULL || strcmp(previous, at) != 0;
            previous = at;
            lines++;
            sd_json_close(&json);
        }
        CHECK(lines == DOCUMENTS && distinct == lines);
        sd_free(text);
    }
}

/* A larger corpus begins with the same documents; another seed gives others. */
static void test_seed(void)
{
    char more[80], other[80];

    snprintf(more, sizeof more, "%s/more", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    CHECK_OK(sd_corpus_write(more, &(sd_corpus_spec){.seed = 5, .documents = DOCUMENTS + 7}));
    CHECK_OK(sd_corpus_write(other, &(sd_corpus_spec){.seed = 6, .documents = DOCUMENTS}));
    for (int f = 0; f < 3; f++) {
        uint64_t a_size, b_size, c_size;
        char *a = read_all(folder, files[f], &a_size), *b = read_all(more, files[f], &b_size), *c = read_all(other, files[f], &c_size);

        CHECK(b_size > a_size && memcmp(a, b, a_size) == 0);
        CHECK(c_size != a_size || memcmp(a, c, a_size) != 0);
        sd_free(a);
        sd_free(b);
        sd_free(c);
    }
}

static void test_tokenizer(void)
{
    static const char text[] = "Corium Bank said its revenue rose 12 percent.\nThe old sailor <<3*4=12>>12 \xc3\xa9";
    const sd_corpus_spec spec = {.seed = 5, .documents = DOCUMENTS, .vocabulary = 700};
    char hex[SD_SHA256_HEX], *back = NULL;
    sd_tokenizer *t;
    sd_encoding e;

    CHECK_OK(sd_corpus_write_tokenizer(folder, &spec));
    CHECK_OK(sd_tokenizer_open(&t, folder));
    CHECK(sd_tokenizer_vocabulary(t) == 700 && sd_tokenizer_bos(t) == 0 && sd_tokenizer_is_special(t, 4));
    CHECK_OK(sd_tokenizer_encode(t, text, strlen(text), true, &e));
    CHECK(e.ids[0] == 0 && e.count < strlen(text) * 2 / 3);
    CHECK_OK(sd_tokenizer_decode(t, e.ids, e.count, true, &back));
    CHECK(strcmp(back, text) == 0);
    sd_free(back);
    sd_encoding_free(&e);
    snprintf(hex, sizeof hex, "%s", sd_tokenizer_sha256(t));
    sd_tokenizer_close(&t);
    CHECK_OK(sd_corpus_write_tokenizer(folder, &spec));
    CHECK_OK(sd_tokenizer_open(&t, folder));
    CHECK(strcmp(hex, sd_tokenizer_sha256(t)) == 0);
    sd_tokenizer_close(&t);
    CHECK_FAILS(sd_corpus_write_tokenizer(folder, &(sd_corpus_spec){.documents = 1, .vocabulary = 100}), SD_E_USAGE, "a vocabulary of 100 tokens");
}

static void begin(void)
{
    test_folder(folder);
    CHECK_OK(sd_corpus_write(folder, &(sd_corpus_spec){.seed = 5, .documents = DOCUMENTS}));
}

static const test_case tests[] = {
    TEST(test_texts),
    TEST(test_seed),
    TEST(test_tokenizer),
};

TEST_MAIN(tests, begin, NULL)

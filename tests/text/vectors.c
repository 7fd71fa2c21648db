/* Published ids: those of the test data's tokenizers, encoded and decoded. Their encoder had no added tokens, so texts that contain one
 * are compared using a copy of tokenizer.json without any. */
#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/text/tokenizer.h"
#include "text/tiny.h"

static bool spells_added(const char *text)
{
    return strstr(text, "<unk>") != NULL || strstr(text, "<s>") != NULL || strstr(text, "</s>") != NULL;
}

static bool ids_equal(const sd_encoding *e, const cJSON *ids)
{
    uint64_t i = 0;
    const cJSON *id;

    cJSON_ArrayForEach(id, ids) {
        if (i >= e->count || e->ids[i] != (int32_t)id->valuedouble)
            return false;
        i++;
    }
    return i == e->count;
}

/* Ranges hold whole characters, are increasing, and omit no byte. */
static void check_spans(const sd_encoding *e, const char *text)
{
    uint64_t length = strlen(text), reached = 0, last = 0;

    for (uint64_t i = 0; i < e->count; i++) {
        uint64_t begin = e->span[2 * i], end = e->span[2 * i + 1];

        if (begin == 0 && end == 0)
            continue;
        CHECK(begin < end && end <= length && begin >= last && begin <= reached && end >= reached);
        CHECK(((unsigned char)text[begin] & 0xC0) != 0x80 && ((unsigned char)text[end] & 0xC0) != 0x80);
        last = begin;
        reached = end;
    }
    CHECK(reached == length || e->count == 0);
}

/* The {"text", "ids"} of the file; `special`: the ids have special tokens; `plain`: the tokenizer has no added tokens. */
static void check_vectors(const sd_tokenizer *t, const char *path, bool special, bool plain)
{
    sd_json *json = NULL;
    const cJSON *vector;
    int count = 0;

    CHECK_OK(sd_json_open(&json, path, 1 << 24));
    if (json == NULL)
        return;
    cJSON_ArrayForEach(vector, json->root) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(vector, "text"));
        const cJSON *ids = cJSON_GetObjectItem(vector, "ids");
        sd_encoding e = {0};
        char *back = NULL;

        if (!plain && spells_added(text))
            continue;
        CHECK_OK(sd_tokenizer_encode(t, text, strlen(text), special, &e));
        if (!ids_equal(&e, ids))
            fprintf(stderr, "ids differ for '%s'\n", text);
        CHECK(ids_equal(&e, ids));
        check_spans(&e, text);
        CHECK_OK(sd_tokenizer_decode(t, e.ids, e.count, special, &back));
        CHECK(back != NULL && strcmp(back, text) == 0);
        sd_free(back);
        sd_encoding_free(&e);
        count++;
    }
    CHECK(count > 8 || special);
    sd_json_close(&json);
}

/* The tokenizer of `from` without its added tokens, in `folder`. */
static void write_plain(const char *from, const char *folder)
{
    char path[1024], *text = NULL;
    sd_json *json = NULL;

    snprintf(path, sizeof path, "%s/tokenizer.json", from);
    CHECK_OK(sd_json_open(&json, path, 1 << 24));
    if (json == NULL)
        return;
    cJSON_DeleteItemFromObject(json->root, "added_tokens");
    text = cJSON_PrintUnformatted(json->root);
    CHECK(text != NULL);
    if (text != NULL)
        write_in(folder, "tokenizer.json", text, path);
    cJSON_free(text);
    sd_json_close(&json);
}

static void check_files(const char *dir, const char *base, uint64_t vocabulary, const char *const *files,
                        const bool *special, bool plain)
{
    sd_tokenizer *t = NULL;
    char path[1024];

    CHECK_OK(sd_tokenizer_open(&t, dir));
    if (t == NULL)
        return;
    CHECK(sd_tokenizer_vocabulary(t) == vocabulary && sd_tokenizer_bos(t) == 1);
    CHECK(sd_tokenizer_is_special(t, 2) == !plain && !sd_tokenizer_is_special(t, 3));
    CHECK(strcmp(sd_tokenizer_piece(t, 1), "<s>") == 0 && sd_tokenizer_piece(t, (int32_t)vocabulary) == NULL);
    for (int i = 0; files[i] != NULL; i++) {
        snprintf(path, sizeof path, "%s/%s", base, files[i]);
        if (!plain || !special[i])
            check_vectors(t, path, special[i], plain);
    }
    sd_tokenizer_close(&t);
}

/* A byte-level tokenizer; its encoder had its added tokens. */
static void check_bytes(const char *data, const char *name, uint64_t vocabulary, const char *end, int32_t bos)
{
    static const char *const files[] = {"vectors.json", "vectors_long.json"};
    sd_tokenizer *t = NULL;
    char base[512], path[1024];

    snprintf(base, sizeof base, "%s/tokenizers/%s", data, name);
    CHECK_OK(sd_tokenizer_open(&t, base));
    if (t == NULL)
        return;
    CHECK(sd_tokenizer_vocabulary(t) == vocabulary && sd_tokenizer_bos(t) == bos);
    CHECK(sd_tokenizer_is_special(t, sd_tokenizer_find(t, end, strlen(end))));
    CHECK(sd_tokenizer_find(t, "no such piece", 13) == -1);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", base, files[i]);
        if (i == 0 || access(path, R_OK) == 0)
            check_vectors(t, path, false, true);
    }
    sd_tokenizer_close(&t);
}

/* The SentencePiece file of a tokenizer gives the ids of its tokenizer.json. */
static void check_sentencepiece(const char *data)
{
    char folder[64], from[1024], path[1024], *bytes = NULL;
    sd_tokenizer *t = NULL;
    uint64_t size = 0;

    test_folder(folder);
    snprintf(from, sizeof from, "%s/tokenizers/llama2/tokenizer.model", data);
    CHECK_OK(sd_file_read(from, 1 << 24, &bytes, &size));
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    write_text(path, bytes, size);
    CHECK_OK(sd_tokenizer_open(&t, folder));
    if (t != NULL) {
        CHECK(sd_tokenizer_vocabulary(t) == 32000 && sd_tokenizer_bos(t) == 1 && sd_tokenizer_is_special(t, 2));
        snprintf(from, sizeof from, "%s/tokenizers/llama2/vectors_long.json", data);
        check_vectors(t, from, false, false);
    }
    sd_tokenizer_close(&t);
    for (uint64_t cut = 0; cut < 20; cut++) {
        write_text(path, bytes, size * cut / 20 + cut);
        CHECK_FAILS(sd_tokenizer_open(&t, folder), SD_E_DATA, "tokenizer.model");
    }
    for (int i = 0; i < 2; i++) {
        sd_free(bytes);
        snprintf(from, sizeof from, "%s/tokenizers/%s", data, i ? "llama3/tokenizer.model" : "torchtune-sentencepiece-small/m.model");
        CHECK_OK(sd_file_read(from, 1 << 24, &bytes, &size));
        write_text(path, bytes, size);
        CHECK_FAILS(sd_tokenizer_open(&t, folder), SD_E_DATA, i ? "tiktoken" : "unigram");
    }
    sd_free(bytes);
    CHECK(remove(path) == 0 && rmdir(folder) == 0);
}

static void check_tokenizer(const char *data, const char *name, uint64_t vocabulary, const char *const *files,
                            const bool *special)
{
    char folder[64], base[512], path[1024];

    test_folder(folder);
    snprintf(base, sizeof base, "%s/%s", data, name);
    check_files(base, base, vocabulary, files, special, false);
    write_plain(base, folder);
    check_files(folder, base, vocabulary, files, special, true);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    CHECK(remove(path) == 0 && rmdir(folder) == 0);
}

static const char *folder_of_data;

static void begin(void)
{
    folder_of_data = test_data_or_skip();
}

static void test_stories(void)
{
    static const char *const files[] = {"tokenizer_vectors.json", "reference/prompts.json", NULL};

    check_tokenizer(folder_of_data, "models/stories260K", 512, files, (const bool[]){false, true});
}

static void test_llama2(void)
{
    static const char *const files[] = {"vectors.json", "vectors_long.json", NULL};

    check_tokenizer(folder_of_data, "tokenizers/llama2", 32000, files, (const bool[]){false, false});
}

static void test_byte_level(void)
{
    check_bytes(folder_of_data, "llama3", 128256, "<|eot_id|>", 128000);
    check_bytes(folder_of_data, "gpt2", 50257, "<|endoftext|>", -1);
    check_bytes(folder_of_data, "torchtune-tiny-bpe", 2003, "<|im_end|>", -1);
}

static void test_sentencepiece(void)
{
    check_sentencepiece(folder_of_data);
}

static const test_case tests[] = {
    TEST(test_stories),
    TEST(test_llama2),
    TEST(test_byte_level),
    TEST(test_sentencepiece),
};

TEST_MAIN(tests, begin, NULL)

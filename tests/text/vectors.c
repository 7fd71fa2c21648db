/* Published ids: those of the test data's tokenizers, encoded and decoded. */
#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/json.h"
#include "saediff/text/tokenizer.h"

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

/* Spans rise, stay in the text, and together leave no byte out where no character was dropped. */
static void check_spans(const sd_encoding *e, uint64_t length)
{
    uint64_t at = 0;

    for (uint64_t i = 0; i < e->count; i++) {
        CHECK(e->span[2 * i] <= e->span[2 * i + 1]);
        CHECK(e->span[2 * i] == at);
        at = e->span[2 * i + 1];
    }
    CHECK(at == length || e->count == 0);
}

/* Every {"text", "ids"} of the file; `special` as the ids were made. */
static void check_vectors(const sd_tokenizer *t, const char *path, bool special)
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

        CHECK_OK(sd_tokenizer_encode(t, text, strlen(text), special, &e));
        if (!ids_equal(&e, ids))
            fprintf(stderr, "ids differ for '%s'\n", text);
        CHECK(ids_equal(&e, ids));
        check_spans(&e, strlen(text));
        CHECK_OK(sd_tokenizer_decode(t, e.ids, e.count, true, &back));
        CHECK(back != NULL && strcmp(back, text) == 0);
        sd_free(back);
        sd_encoding_free(&e);
        count++;
    }
    CHECK(count > 10 || special);
    sd_json_close(&json);
}

static void check_tokenizer(const char *data, const char *folder, uint64_t vocabulary, const char *const *files,
                            const bool *special)
{
    sd_tokenizer *t = NULL;
    char *path = NULL;

    CHECK_OK(sd_str_format(&path, "%s/%s", data, folder));
    CHECK_OK(sd_tokenizer_open(&t, path));
    sd_free(path);
    if (t == NULL)
        return;
    CHECK(sd_tokenizer_vocabulary(t) == vocabulary && sd_tokenizer_bos(t) == 1);
    CHECK(sd_tokenizer_is_special(t, 2) && !sd_tokenizer_is_special(t, 3));
    CHECK(strcmp(sd_tokenizer_piece(t, 1), "<s>") == 0 && sd_tokenizer_piece(t, (int32_t)vocabulary) == NULL);
    for (int i = 0; files[i] != NULL; i++) {
        CHECK_OK(sd_str_format(&path, "%s/%s/%s", data, folder, files[i]));
        check_vectors(t, path, special[i]);
        sd_free(path);
    }
    sd_tokenizer_close(&t);
}

int main(void)
{
    static const char *const small[] = {"tokenizer_vectors.json", "reference/prompts.json", NULL};
    static const char *const llama[] = {"vectors.json", "vectors_long.json", NULL};
    const char *data = test_data();

    if (data == NULL)
        return TEST_SKIPPED;
    check_tokenizer(data, "models/stories260K", 512, small, (const bool[]){false, true});
    check_tokenizer(data, "tokenizers/llama2", 32000, llama, (const bool[]){false, false});
    return TEST_RESULT();
}

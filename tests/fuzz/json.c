/* JSON: an error, or a tree in which every item has its position in the text and whose strings, quoted, read back as themselves. */
#include <string.h>

#include "fuzz/file.h"
#include "saediff/core/mem.h"
#include "saediff/store/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void quote_back(const char *text)
{
    sd_json *again = NULL;
    sd_str quoted = {0};

    sd_json_quote(&quoted, text);
    if (sd_json_parse(&again, "quoted", quoted.text, quoted.length) != SD_OK || strcmp(again->root->valuestring, text) != 0)
        abort();
    sd_json_close(&again);
    sd_str_free(&quoted);
}

static void walk(const sd_json *json, const cJSON *item)
{
    uint64_t line = 0, column = 0, whole;
    const char *text;
    double real;
    bool yes;

    for (; item != NULL; item = item->next) {
        sd_json_location(json, item, &line, &column);
        if (line == 0 || column == 0)
            abort();
        if (cJSON_IsString(item))
            quote_back(item->valuestring);
        if (cJSON_IsObject(item)) {
            fuzz_expect_data(sd_json_u64(json, item, "a", &whole));
            fuzz_expect_data(sd_json_f64_or(json, item, "b", 0, &real));
            fuzz_expect_data(sd_json_bool_or(json, item, "c", false, &yes));
            fuzz_expect_data(sd_json_text(json, item, "d", &text));
        }
        walk(json, item->child);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sd_json *json = NULL;
    char *text = malloc(size + 1);
    sd_status st;

    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    st = sd_json_parse(&json, "fuzz", text, size);
    fuzz_expect_data(st);
    if (st == SD_OK && size < 4096)
        walk(json, json->root);
    sd_json_close(&json);
    free(text);
    return 0;
}

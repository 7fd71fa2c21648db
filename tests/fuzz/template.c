/* A template and a chat as JSON, separated by a zero byte: a template that compiles renders within bounds or gives an error. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/str.h"
#include "saediff/store/json.h"
#include "saediff/text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char chat[] = "[{\"role\":\"user\",\"content\":\" a b\"},{\"role\":\"assistant\",\"content\":\"\xC3\xA9\\n\",\"x\":[1,{}]}]";
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t length = zero != NULL ? (size_t)(zero - data) : size, bad;
    const char *messages = zero != NULL ? (const char *)zero + 1 : chat;
    sd_template *t = NULL;
    sd_json *json = NULL;
    sd_rendering r = {0};

    if (sd_template_compile(&t, "t", (const char *)data, length) == SD_OK &&
        sd_json_parse(&json, "chat", messages, zero != NULL ? size - length - 1 : sizeof chat - 1) == SD_OK &&
        sd_template_render(t, json->root, NULL, "2024-07-26", true, &r) == SD_OK) {
        if (!sd_utf8_valid(r.text, r.length, &bad))
            abort();
        for (uint64_t i = 0; i < r.length; i++)
            if (r.origin[i].part > SD_PART_TRAILER ||
                (r.origin[i].part != SD_PART_NONE && r.origin[i].message > cJSON_GetArraySize(json->root)))
                abort();
    }
    sd_rendering_free(&r);
    sd_json_close(&json);
    sd_template_close(&t);
    return 0;
}

/* tokenizer.json and a text, separated by a zero byte: an accepted file encodes and decodes within bounds. A file that begins
 * with another byte than '{' is read as tokenizer.model. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], json[128], model[128];

static void clean(void)
{
    remove(json);
    remove(model);
    rmdir(folder);
}

static void prepare(void)
{
    strcpy(folder, "/tmp/saediff-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(json, sizeof json, "%s/tokenizer.json", folder);
    snprintf(model, sizeof model, "%s/tokenizer.model", folder);
    atexit(clean);
}

static void check(const sd_tokenizer *t, const char *text, uint64_t length)
{
    sd_encoding e = {0};
    char *back = NULL;

    if (sd_tokenizer_encode(t, text, length, true, &e) == SD_OK) {
        for (uint64_t i = 0; i < e.count; i++)
            if (sd_tokenizer_piece(t, e.ids[i]) == NULL || e.span[2 * i] > length || e.span[2 * i + 1] > length)
                abort();
        if (sd_tokenizer_decode(t, e.ids, e.count, false, &back) == SD_OK)
            sd_free(back);
    }
    sd_encoding_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 0 && data[0] == '{' ? memchr(data, 0, size) : NULL;
    size_t file = zero != NULL ? (size_t)(zero - data) : size;
    const char *text = zero != NULL ? (const char *)zero + 1 : "Hello  world 12\n";
    sd_tokenizer *t = NULL;
    FILE *f;

    if (folder[0] == '\0')
        prepare();
    remove(json);
    remove(model);
    f = fopen(size > 0 && data[0] == '{' ? json : model, "wb");
    if (f == NULL || fwrite(data, 1, file, f) != file || fclose(f) != 0)
        abort();
    if (sd_tokenizer_open(&t, folder) == SD_OK)
        check(t, text, zero != NULL ? size - file - 1 : strlen(text));
    sd_tokenizer_close(&t);
    return 0;
}

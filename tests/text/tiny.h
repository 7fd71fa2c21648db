/* Tiny tokenizer files written by tests, in a temporary folder. */
#ifndef SAEDIFF_TESTS_TEXT_TINY_H
#define SAEDIFF_TESTS_TEXT_TINY_H

#include "check.h"

#define TINY_NORMALIZER                                                                                      \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"},"                      \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"}]}"
#define TINY_POST                                                                                            \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"        \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],"  \
    "\"tokens\":[\"<s>\"]}}}"
#define TINY_DECODER                                                                                         \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},"             \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","                \
    "\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define TINY_ADDED(id, content, normalized, special)                                                         \
    "{\"id\":" #id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"   \
    "\"normalized\":" #normalized ",\"special\":" #special "}"

static inline void write_text(const char *path, const char *text, size_t size)
{
    FILE *f = fopen(path, "wb");

    CHECK(f != NULL);
    if (f == NULL)
        return;
    CHECK(fwrite(text, 1, size, f) == size);
    CHECK(fclose(f) == 0);
}

/* Writes `text` to folder/name; the path in `path` [1024]. */
static inline void write_in(const char *folder, const char *name, const char *text, char *path)
{
    snprintf(path, 1024, "%s/%s", folder, name);
    write_text(path, text, strlen(text));
}

#endif

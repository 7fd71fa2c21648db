/* A token stream for tests: documents of uneven length, some empty, some masked out whole. */
#ifndef SAEDIFF_TESTS_STREAM_H
#define SAEDIFF_TESTS_STREAM_H

#include "check.h"
#include "saediff/store/tokens.h"

static inline uint64_t stream_doc_length(uint64_t doc)
{
    return doc % 7 == 3 ? 0 : 1 + doc * 5 % 23;
}

static inline sd_tokens *stream_make(uint64_t docs)
{
    sd_tokens *t = NULL;
    uint64_t doc, i, n = 0;

    for (doc = 0; doc < docs; doc++)
        n += stream_doc_length(doc);
    if (sd_tokens_create(&t, docs, n) != SD_OK)
        abort();
    for (doc = 0, n = 0; doc < docs; doc++) {
        t->doc_start[doc] = n;
        for (i = 0; i < stream_doc_length(doc); i++, n++) {
            t->position[n] = (int32_t)i;
            t->mask[n] = i > 0 && doc % 11 != 5 && n % 13 != 4;
        }
    }
    return t;
}

static inline uint64_t stream_counted(const sd_tokens *t)
{
    uint64_t i, n = 0;

    for (i = 0; i < t->tokens; i++)
        n += t->mask[i];
    return n;
}

#endif

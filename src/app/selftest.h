/* What selftest looks at, one look a function; each says in words what it found. */
#ifndef SAEDIFF_APP_SELFTEST_H
#define SAEDIFF_APP_SELFTEST_H

#include "saediff/model/model.h"

enum { SELFTEST_DOCS = 5, SELFTEST_ROWS = 131, SELFTEST_WORDS = 200 };

/* The same documents for every look, and the logits of one packed pass, host [ROWS, vocabulary]. */
typedef struct selftest {
    const char *dir;
    int32_t ids[SELFTEST_ROWS];
    uint64_t start[SELFTEST_DOCS + 1];
    uint64_t vocabulary;
    float *logits, *other;
} selftest;

typedef struct selftest_result {
    bool failed;
    char words[SELFTEST_WORDS];
} selftest_result;

/* Local. Logits of one pass over `docs` documents, host [start[docs], vocabulary]. */
SD_MUST_CHECK sd_status selftest_pass(sd_model *model, const int32_t *ids, const uint64_t *start, uint64_t docs, const sd_tap *taps,
                                      uint64_t n_taps, float *logits);

/* Local. Each compares with t->logits. */
/* The model on another device; logits up to `tolerance` apart are no failure. */
SD_MUST_CHECK sd_status selftest_device(selftest *t, const char *name, int threads, sd_dtype compute, double tolerance, selftest_result *r);
/* How far apart the logits of two ways of computing may be: rounding in the model's number type. */
double selftest_tolerance(const sd_model *model);
SD_MUST_CHECK sd_status selftest_packing(selftest *t, sd_model *model, selftest_result *r);
SD_MUST_CHECK sd_status selftest_replace(selftest *t, sd_model *model, selftest_result *r);
SD_MUST_CHECK sd_status selftest_steps(selftest *t, sd_model *model, selftest_result *r);
/* Words stay empty for a model that has not the shape of Llama-2-7b. */
SD_MUST_CHECK sd_status selftest_published(sd_model *model, selftest_result *r);

#endif

/* The checks of selftest, one function each; each words its own result. */
#ifndef SAEDIFF_APP_SELFTEST_H
#define SAEDIFF_APP_SELFTEST_H

#include "saediff/model/model.h"

enum { SELFTEST_DOCS = 5, SELFTEST_ROWS = 131, SELFTEST_WORDS = 200 };

/* The documents of all checks, and the logits of one packed pass, host [ROWS, vocabulary]. */
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
/* The model on another device; logits may differ by `tolerance`, relative. */
SD_MUST_CHECK sd_status selftest_device(selftest *t, const char *name, int threads, sd_dtype compute, double tolerance, selftest_result *r);
/* Allowed relative difference between two ways of computing logits: rounding in the model's number type. */
double selftest_tolerance(const sd_model *model);
SD_MUST_CHECK sd_status selftest_packing(selftest *t, sd_model *model, selftest_result *r);
SD_MUST_CHECK sd_status selftest_replace(selftest *t, sd_model *model, selftest_result *r);
SD_MUST_CHECK sd_status selftest_steps(selftest *t, sd_model *model, selftest_result *r);
/* No words unless the model has the shape of Llama-2-7b. */
SD_MUST_CHECK sd_status selftest_published(sd_model *model, selftest_result *r);

#endif

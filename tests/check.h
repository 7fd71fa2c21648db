/* A test program: CHECK counts and prints failures and goes on, so that all ranks of an MPI test arrive at every
 * collective call; main returns TEST_RESULT(). A program without its data returns TEST_SKIPPED. */
#ifndef SAEDIFF_TESTS_CHECK_H
#define SAEDIFF_TESTS_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/status.h"

enum { TEST_SKIPPED = 77 };

static int test_checks, test_failures;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        test_checks++;                                                                                       \
        if (!(condition)) {                                                                                  \
            test_failures++;                                                                                 \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                          \
        }                                                                                                    \
    } while (0)

/* A status that must be SD_OK; prints the message otherwise. */
#define CHECK_OK(expr)                                                                                       \
    do {                                                                                                     \
        test_checks++;                                                                                       \
        if ((expr) != SD_OK) {                                                                               \
            test_failures++;                                                                                 \
            fprintf(stderr, "%s:%d: failed: %s\n    %s\n", __FILE__, __LINE__, #expr, sd_last_error());      \
        }                                                                                                    \
    } while (0)

/* A status that must be `code`, with a message that holds `part`. */
#define CHECK_FAILS(expr, code, part)                                                                        \
    do {                                                                                                     \
        sd_status test_st = (expr);                                                                          \
        test_checks++;                                                                                       \
        if (test_st != (code) || strstr(sd_last_error(), (part)) == NULL) {                                  \
            test_failures++;                                                                                 \
            fprintf(stderr, "%s:%d: %s gave status %d with\n    %s\n  wanted %d with '%s'\n", __FILE__, __LINE__, \
                    #expr, (int)test_st, test_st == SD_OK ? "no message" : sd_last_error(), (int)(code), (part)); \
        }                                                                                                    \
    } while (0)

/* |a − b| ≤ tolerance; false for NaN. */
#define CHECK_NEAR(a, b, tolerance)                                                                          \
    do {                                                                                                     \
        double test_a = (a), test_b = (b), test_t = (tolerance);                                             \
        test_checks++;                                                                                       \
        if (!(fabs(test_a - test_b) <= test_t)) {                                                            \
            test_failures++;                                                                                 \
            fprintf(stderr, "%s:%d: failed: %s = %.17g, %s = %.17g, apart by %.3g, allowed %.3g\n", __FILE__, \
                    __LINE__, #a, test_a, #b, test_b, fabs(test_a - test_b), test_t);                        \
        }                                                                                                    \
    } while (0)

#define TEST_RESULT()                                                                                        \
    (fprintf(stderr, "%d checks, %d failed\n", test_checks, test_failures), test_failures ? 1 : 0)

/* The folder of the test data, or NULL: $SAEDIFF_DATA, set by the build to ../shared/data beside the project. */
static inline const char *test_data(void)
{
    const char *data = getenv("SAEDIFF_DATA");
    FILE *probe;
    char path[4096];

    if (data == NULL || data[0] == '\0')
        return NULL;
    snprintf(path, sizeof path, "%s/README.md", data);
    probe = fopen(path, "r");
    if (probe == NULL)
        return NULL;
    fclose(probe);
    return data;
}

#endif

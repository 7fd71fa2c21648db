/* Test programs. A program is a table of functions:
 *
 *     static const test_case tests[] = {
 *         TEST(test_one_thing),
 *         TEST(test_another),
 *     };
 *
 *     TEST_MAIN(tests, NULL, NULL)
 *
 * A CHECK that fails prints where and ends its function; the next one runs. TEST_MAIN's other arguments are functions that prepare what
 * all of them use, and clean up. Programs of several ranks: ranks.h.
 *
 *     PROGRAM               runs all
 *     PROGRAM NAME ...      runs the functions of these names, or whose names hold them
 *     PROGRAM --list        lists them
 *
 * Exit status: 0, 1 where something failed, 77 where something was skipped, for want of data or rights, and nothing failed. */
#ifndef SAEDIFF_TESTS_CHECK_H
#define SAEDIFF_TESTS_CHECK_H

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saediff/core/status.h"

enum { TEST_SKIPPED = 77, TEST_FOLDERS = 64, TEST_FOLDER = 64 };

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

#define TEST(function)                                                                                       \
    {                                                                                                        \
        #function, function                                                                                  \
    }

static struct {
    unsigned long long checks, ran, failed, skipped;
    const char *name;       /* of the function that runs */
    void (*end_all)(void);  /* where other ranks wait for this one, which therefore cannot go on: ends them all */
    jmp_buf out;
    char folders[TEST_FOLDERS][TEST_FOLDER];
    size_t n_folders;
} test;

static inline _Noreturn void test_fail(void)
{
    if (test.end_all != NULL)
        test.end_all();
    longjmp(test.out, 1);
}

/* Leaves the function that runs, or all of the program from its preparation. With several ranks all must do so. */
static inline _Noreturn void test_skip(const char *reason)
{
    fprintf(stderr, "%s: skipped: %s\n", test.name, reason);
    longjmp(test.out, TEST_SKIPPED);
}

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        test.checks++;                                                                                       \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, test.name, #condition);           \
            test_fail();                                                                                     \
        }                                                                                                    \
    } while (0)

/* A status that must be SD_OK; prints the message otherwise. */
#define CHECK_OK(expr)                                                                                       \
    do {                                                                                                     \
        test.checks++;                                                                                       \
        if ((expr) != SD_OK) {                                                                               \
            fprintf(stderr, "%s:%d: %s: failed: %s\n    %s\n", __FILE__, __LINE__, test.name, #expr, sd_last_error()); \
            test_fail();                                                                                     \
        }                                                                                                    \
    } while (0)

/* A status that must be `code`, with a message that holds `part`. */
#define CHECK_FAILS(expr, code, part)                                                                        \
    do {                                                                                                     \
        sd_status test_st = (expr);                                                                          \
        test.checks++;                                                                                       \
        if (test_st != (code) || strstr(sd_last_error(), (part)) == NULL) {                                  \
            fprintf(stderr, "%s:%d: %s: %s gave status %d with\n    %s\n  wanted %d with '%s'\n", __FILE__, __LINE__, \
                    test.name, #expr, (int)test_st, test_st == SD_OK ? "no message" : sd_last_error(), (int)(code), (part)); \
            test_fail();                                                                                     \
        }                                                                                                    \
    } while (0)

/* |a − b| ≤ tolerance; false for NaN. */
#define CHECK_NEAR(a, b, tolerance)                                                                          \
    do {                                                                                                     \
        double test_a = (a), test_b = (b), test_t = (tolerance);                                             \
        test.checks++;                                                                                       \
        if (!(fabs(test_a - test_b) <= test_t)) {                                                            \
            fprintf(stderr, "%s:%d: %s: failed: %s = %.17g, %s = %.17g, apart by %.3g, allowed %.3g\n", __FILE__, \
                    __LINE__, test.name, #a, test_a, #b, test_b, fabs(test_a - test_b), test_t);             \
            test_fail();                                                                                     \
        }                                                                                                    \
    } while (0)

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

/* The same, or the test is skipped. */
static inline const char *test_data_or_skip(void)
{
    const char *data = test_data();

    if (data == NULL)
        test_skip("no test data at SAEDIFF_DATA");
    return data;
}

/* ---- scratch folders */

/* A new folder, in $TMPDIR if that is short, removed with everything in it when the program ends. */
static inline void test_folder(char path[TEST_FOLDER])
{
    const char *above = getenv("TMPDIR");

    if (above == NULL || above[0] != '/' || strlen(above) > TEST_FOLDER - 24)
        above = "/tmp";
    snprintf(path, TEST_FOLDER, "%.40s/saediff-test-XXXXXX", above);
    CHECK(test.n_folders < TEST_FOLDERS);
    CHECK(mkdtemp(path) != NULL);
    memcpy(test.folders[test.n_folders++], path, TEST_FOLDER);
}

/* Removes a folder and what is in it. */
static inline void test_remove(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[1024];
        struct stat info;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path)
            continue;
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            test_remove(path);
        else
            unlink(path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(folder);
}

/* One that is not needed any more. */
static inline void test_folder_done(const char *path)
{
    test_remove(path);
    for (size_t i = 0; i < test.n_folders; i++)
        if (strcmp(test.folders[i], path) == 0)
            memmove(test.folders[i], test.folders[--test.n_folders], TEST_FOLDER);
}

static inline void test_remove_folders(void)
{
    while (test.n_folders > 0)
        test_remove(test.folders[--test.n_folders]);
}

/* ---- the runner */

/* Runs a function; false where it failed or was skipped. */
static inline bool test_run(const char *name, void (*run)(void))
{
    int left;

    if (run == NULL)
        return true;
    test.name = name;
    left = setjmp(test.out);
    if (left == 0)
        run();
    else if (left == TEST_SKIPPED)
        test.skipped++;
    else
        test.failed++;
    return left == 0;
}

static inline bool test_chosen(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return true;
    return argc < 2;
}

/* The chosen functions, between preparation and clean-up. */
static inline void test_run_all(int argc, char **argv, const test_case *cases, size_t n, void (*begin)(void), void (*end)(void))
{
    if (!test_run("preparation", begin))
        return;
    for (size_t i = 0; i < n; i++)
        if (test_chosen(cases[i].name, argc, argv)) {
            test.ran++;
            test_run(cases[i].name, cases[i].run);
        }
    test_run("clean-up", end);
}

static inline int test_result(void)
{
    if (test.ran == 0 && test.failed == 0 && test.skipped == 0) {
        fprintf(stderr, "no test has such a name; --list names them all\n");
        return 1;
    }
    fprintf(stderr, "%llu checks in %llu tests, %llu failed", test.checks, test.ran, test.failed);
    if (test.skipped > 0)
        fprintf(stderr, ", %llu skipped", test.skipped);
    fprintf(stderr, "\n");
    return test.failed > 0 ? 1 : test.skipped > 0 ? TEST_SKIPPED : 0;
}

static inline bool test_listed(int argc, char **argv, const test_case *cases, size_t n)
{
    if (argc != 2 || strcmp(argv[1], "--list") != 0)
        return false;
    for (size_t i = 0; i < n; i++)
        puts(cases[i].name);
    return true;
}

static inline int test_main(int argc, char **argv, const test_case *cases, size_t n, void (*begin)(void), void (*end)(void))
{
    if (test_listed(argc, argv, cases, n))
        return 0;
    test_run_all(argc, argv, cases, n, begin, end);
    test_remove_folders();
    return test_result();
}

#define TEST_MAIN(cases, begin, end)                                                                         \
    int main(int argc, char **argv)                                                                          \
    {                                                                                                        \
        return test_main(argc, argv, cases, sizeof cases / sizeof cases[0], begin, end);                     \
    }

#endif

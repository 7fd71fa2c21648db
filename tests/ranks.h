/* A test program of several ranks, launched once, at the largest of the sizes that RANKS_MAIN names: every function runs among the first
 * rank alone, among the first two, ..., as `ranks` says; the other ranks wait asleep.
 *
 *     RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)
 *
 * `begin` and `end` run once for each size. A CHECK that fails on one of several ranks ends the whole program, since the others wait for
 * that rank. On fewer ranks the larger sizes are left out; PROGRAM --ranks N ... runs among N only. */
#ifndef SAEDIFF_TESTS_RANKS_H
#define SAEDIFF_TESTS_RANKS_H

#include <time.h>

#include "check.h"
#include "saediff/par/par.h"

static const sd_par *ranks; /* those that run the function */
static sd_par ranks_part;

static inline void ranks_abort(void)
{
    fflush(NULL);
    test_remove_folders();
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* A folder as test_folder() makes it, the same for all ranks. */
static inline void ranks_folder(char path[TEST_FOLDER])
{
    if (ranks->rank == 0)
        test_folder(path);
    CHECK_OK(sd_par_bcast(ranks, path, TEST_FOLDER, 0));
}

/* Until all are here, without taking a core from those who are not. */
static inline void ranks_meet(const sd_par *all)
{
    MPI_Request request;
    int done = 0;

    MPI_Ibarrier(all->comm, &request);
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static inline void ranks_turn(const sd_par *all, int size, int argc, char **argv, const test_case *cases, size_t n, void (*begin)(void),
                              void (*end)(void))
{
    if (sd_par_part_begin(&ranks_part, all, all->rank < size ? 0 : -1) != SD_OK)
        sd_par_abort(all, SD_E_INTERNAL);
    if (all->rank < size) {
        ranks = &ranks_part;
        test.end_all = size > 1 ? ranks_abort : NULL;
        test_run_all(argc, argv, cases, n, begin, end);
        if (sd_par_agree(ranks, SD_OK) != SD_OK) /* nobody needs the folders any more */
            sd_par_abort(all, SD_E_INTERNAL);
        test_remove_folders();
        ranks = NULL;
        sd_par_part_end(&ranks_part);
    }
    ranks_meet(all);
}

static inline int ranks_main(int argc, char **argv, const test_case *cases, size_t n, void (*begin)(void), void (*end)(void),
                             const int *sizes, size_t n_sizes)
{
    unsigned long long checks;
    int only = 0, turns = 0, result;
    sd_par all;

    if (test_listed(argc, argv, cases, n))
        return 0;
    if (sd_par_begin(&all, &argc, &argv) != SD_OK)
        return 1;
    if (argc > 2 && strcmp(argv[1], "--ranks") == 0) {
        only = atoi(argv[2]);
        argc -= 2;
        argv += 2;
    }
    for (size_t i = 0; i < n_sizes; i++)
        if (sizes[i] <= all.size && (only == 0 || sizes[i] == only)) {
            ranks_turn(&all, sizes[i], argc, argv, cases, n, begin, end);
            turns++;
        }
    checks = test.checks;
    MPI_Reduce(&checks, &test.checks, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, 0, all.comm);
    if (turns == 0)
        fprintf(stderr, "%d ranks are too few for any of its sizes; the least is %d\n", all.size, sizes[0]);
    if (all.rank == 0 && all.size > 1)
        fprintf(stderr, "%d ranks, among %d numbers of them: ", all.size, turns);
    result = turns == 0 ? 1 : all.rank == 0 ? test_result() : test.failed > 0 ? 1 : 0;
    sd_par_end(&all);
    return result;
}

#define RANKS_MAIN(cases, begin, end, ...)                                                                   \
    int main(int argc, char **argv)                                                                          \
    {                                                                                                        \
        static const int sizes[] = {__VA_ARGS__};                                                            \
                                                                                                             \
        return ranks_main(argc, argv, cases, sizeof cases / sizeof cases[0], begin, end, sizes, sizeof sizes / sizeof sizes[0]); \
    }

#endif

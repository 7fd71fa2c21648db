/* `saediff bench WHAT`: rates of the program's own paths on this machine, each beside the ceiling it is measured against. */
#ifndef SAEDIFF_APP_BENCH_H
#define SAEDIFF_APP_BENCH_H

#include "app.h"
#include "saediff/dev/dev.h"

typedef struct bench {
    const sd_par *par;
    const app_options *options;
    sd_dev *dev;
    int threads;
    double gemm; /* FLOP/s of one rank: the best of a few large products */
} bench;

/* Collective. Prints on rank 0. */
SD_MUST_CHECK sd_status bench_forward(bench *b);
SD_MUST_CHECK sd_status bench_train(bench *b);
SD_MUST_CHECK sd_status bench_store(bench *b);
SD_MUST_CHECK sd_status bench_stat(bench *b);
SD_MUST_CHECK sd_status bench_tokenize(bench *b);

/* Seconds of one turn: the median of several that together last about two seconds, all ranks starting together. Collective. */
typedef sd_status (*bench_turn)(void *self);
SD_MUST_CHECK sd_status bench_median(bench *b, bench_turn turn, void *self, double *seconds);

/* Local. The median of n ≥ 1 times; sorts them. */
double bench_middle(double *times, uint64_t n);

/* Local. Pseudo-random normal rows on the device. */
SD_MUST_CHECK sd_status bench_rows(bench *b, uint64_t rows, uint64_t cols, sd_buf **buf);

#endif

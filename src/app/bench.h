/* `saediff bench WHAT`: rates of the program's operations on this machine, each with the upper bound that it is measured against. */
#ifndef SAEDIFF_APP_BENCH_H
#define SAEDIFF_APP_BENCH_H

#include "app.h"
#include "saediff/dev/dev.h"
#include "saediff/model/model.h"

typedef struct bench {
    const sd_par *par;
    const app_options *options;
    sd_dev *dev;
    int threads;
    double gemm; /* FLOP/s of one rank in a large product */
    double gemm_compute; /* … in the number type of --compute */
    double copy; /* bytes/s that one rank reads and writes where it copies arrays far larger than its caches, all ranks at once */
} bench;

/* Collective. Prints on rank 0. */
SD_MUST_CHECK sd_status bench_forward(bench *b);
/* … with --preset. */
SD_MUST_CHECK sd_status bench_preset(bench *b);
SD_MUST_CHECK sd_status bench_train(bench *b);
SD_MUST_CHECK sd_status bench_finetune(bench *b);
SD_MUST_CHECK sd_status bench_store(bench *b);
SD_MUST_CHECK sd_status bench_stat(bench *b);
SD_MUST_CHECK sd_status bench_tokenize(bench *b);

/* A model of 15 million parameters: d_model 288, 6 layers, 6 heads, MLP 768, vocabulary 32000, tied. */
extern const char bench_small_model[];

/* Seconds of one once: the median of several that together last about two seconds, all ranks starting together. Collective. */
typedef sd_status (*bench_turn)(void *self);
SD_MUST_CHECK sd_status bench_median(bench *b, bench_turn once, void *self, double *seconds);

/* Local. "= 65 % of …": `flops` and `bytes` of a once of `seconds` against the roofline (Williams, Waterman, Patterson 2009): a once cannot be
 * shorter than flops / gemm, nor than bytes / copy. `bytes` is what must move if nothing stays in a cache from one array's use to the next. */
void bench_print_roof(const bench *b, double flops, double bytes, double seconds);

/* Rank 0, where --peer names a script: runs `python3 FILE ARGUMENTS --threads N`, whose one line of JSON has tokens_per_s (and torch, a version),
 * and prints both rates. A warning where python3 or what it needs is missing; SD_E_DATA for another answer. At most ten minutes. */
enum { BENCH_PEER_ARGUMENTS = 16 };
SD_MUST_CHECK sd_status bench_peer(bench *b, const char *what, const char *const *arguments, uint64_t count, double tokens_per_s);

/* Local. The median of n ≥ 1 times; sorts them. */
double bench_middle(double *times, uint64_t n);

/* Passes to the last layer's output over documents of random ids. */
typedef struct bench_passes {
    sd_model *model;
    sd_dev *dev;
    int32_t *ids;
    uint64_t *start;
    uint64_t docs;
    sd_tap tap;
} bench_passes;

/* Local. p->model is there: ids and documents of `context` tokens, or as many as the model takes, for it. */
SD_MUST_CHECK sd_status bench_prepare_passes(bench_passes *p, uint64_t docs, uint64_t context);
/* A bench_turn. */
SD_MUST_CHECK sd_status bench_one_pass(void *self);
void bench_free_passes(bench_passes *p);

/* Local. Pseudo-random normal rows on the device. */
SD_MUST_CHECK sd_status bench_rows(bench *b, uint64_t rows, uint64_t cols, sd_buf **buf);

#endif

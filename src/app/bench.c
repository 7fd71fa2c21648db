#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/dev/dense.h"

static const struct {
    const char *name;
    sd_status (*run)(bench *b);
} parts[] = {
    {"forward", bench_forward},
    {"train", bench_train},
    {"finetune", bench_finetune},
    {"store", bench_store},
    {"stat", bench_stat},
    {"tokenize", bench_tokenize},
};
enum { PARTS = sizeof parts / sizeof *parts, MAX_REPEATS = 64 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_middle(double *times, uint64_t n)
{
    qsort(times, n, sizeof *times, by_size);
    return times[n / 2];
}

sd_status bench_median(bench *b, bench_turn once, void *self, double *seconds)
{
    double times[MAX_REPEATS], began = 0;
    uint64_t n = 0, again = 1;
    sd_status st;

    SD_TRY(st, sd_par_agree(b->par, once(self))); /* warm-up, not timed */
    began = sd_now();
    while (again) {
        double start;

        SD_TRY(st, sd_par_barrier(b->par));
        start = sd_now();
        SD_TRY(st, sd_par_agree(b->par, once(self)));
        SD_TRY(st, sd_par_barrier(b->par));
        times[n++] = sd_now() - start;
        again = n < 3 || (sd_now() - began < 2 && n < MAX_REPEATS);
        SD_TRY(st, sd_par_max_u64(b->par, &again, 1));
        if (n == MAX_REPEATS)
            break;
    }
    *seconds = bench_middle(times, n);
out:
    return st;
}

static sd_status bench_rows_as(bench *b, uint64_t rows, uint64_t cols, sd_dtype type, sd_buf **buf)
{
    sd_key key = sd_key_make(rows, SD_STREAM_BENCH, cols);
    double *host = NULL;
    void *elements = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&host, rows * cols));
    SD_TRY(st, sd_alloc_bytes(&elements, rows * cols, sd_dtype_size(type)));
    for (uint64_t i = 0; i < rows * cols; i++)
        host[i] = sd_random_normal(key, i);
    sd_convert(elements, type, host, SD_F64, rows * cols);
    SD_TRY(st, sd_buf_create(buf, b->dev, type, rows * cols));
    SD_TRY(st, sd_dev_upload(b->dev, elements, sd_mat_of(*buf, rows, cols)));
out:
    sd_free(elements);
    sd_free(host);
    return st;
}

sd_status bench_rows(bench *b, uint64_t rows, uint64_t cols, sd_buf **buf)
{
    return bench_rows_as(b, rows, cols, SD_REAL, buf);
}

typedef struct product {
    sd_dev *dev;
    sd_mat a, b, y;
} product;

static sd_status multiply(void *self)
{
    product *p = self;
    sd_status st = sd_dev_matmul(p->dev, &(sd_matmul){.a = p->a, .b = p->b, .y = p->y, .trans_b = true, .alpha = 1});

    return st == SD_OK ? sd_dev_wait(p->dev) : st;
}

/* The ceiling: y [2048, 4096] = a [2048, 1024] · b [4096, 1024]ᵀ, b in the given type. */
static sd_status measure_gemm(bench *b, sd_dtype type, double *rate)
{
    enum { M = 2048, N = 4096, K = 1024 };
    sd_buf *a = NULL, *w = NULL, *y = NULL;
    double seconds;
    sd_status st;

    st = bench_rows(b, M, K, &a);
    if (st == SD_OK)
        st = bench_rows_as(b, N, K, type, &w);
    if (st == SD_OK)
        st = sd_buf_create(&y, b->dev, SD_REAL, (uint64_t)M * N);
    SD_TRY(st, sd_par_agree(b->par, st));
    {
        product p = {b->dev, sd_mat_of(a, M, K), sd_mat_of(w, N, K), sd_mat_of(y, M, N)};

        SD_TRY(st, bench_median(b, multiply, &p, &seconds));
    }
    *rate = 2.0 * M * N * K / seconds;
out:
    sd_buf_destroy(&a);
    sd_buf_destroy(&w);
    sd_buf_destroy(&y);
    return st;
}

typedef struct copying {
    sd_dev *dev;
    sd_mat from, to;
} copying;

static sd_status copy_rows(void *self)
{
    copying *c = self;
    sd_status st = sd_dev_scale(c->dev, &(sd_scale){.x = c->from, .y = c->to, .scale = 1});

    return st == SD_OK ? sd_dev_wait(c->dev) : st;
}

static sd_status measure_copy(bench *b)
{
    enum { ROWS = 8192, COLS = 4096 }; /* 128 MiB each */
    sd_buf *from = NULL, *to = NULL;
    double seconds;
    sd_status st;

    st = bench_rows(b, ROWS, COLS, &from);
    if (st == SD_OK)
        st = sd_buf_create(&to, b->dev, SD_REAL, (uint64_t)ROWS * COLS);
    SD_TRY(st, sd_par_agree(b->par, st));
    {
        copying c = {b->dev, sd_mat_of(from, ROWS, COLS), sd_mat_of(to, ROWS, COLS)};

        SD_TRY(st, bench_median(b, copy_rows, &c, &seconds));
    }
    b->copy = 2.0 * sizeof(sd_real) * ROWS * COLS / seconds;
out:
    sd_buf_destroy(&from);
    sd_buf_destroy(&to);
    return st;
}

void bench_print_roof(const bench *b, double flops, double bytes, double seconds)
{
    double computing = flops / b->gemm, moving = bytes / b->copy, least = computing > moving ? computing : moving;

    printf("= %.0f %% of the roofline: bound by %s (%.3g FLOP per byte, ridge at %.3g)\n", 100 * least / seconds,
           computing > moving ? "arithmetic" : "memory bandwidth", flops / bytes, b->gemm / b->copy);
}

sd_status cmd_bench(const sd_par *par, const app_command *command, const app_options *options)
{
    bench b = {.par = par, .options = options};
    const char *word = options->operand;
    char rate[32], moved[32];
    int only = -1;
    sd_status st;

    (void)command;
    for (int i = 0; word != NULL && i < PARTS; i++)
        if (strcmp(parts[i].name, word) == 0)
            only = i;
    if (word != NULL && only < 0) {
        const char *nearest = sd_str_nearest(word, &parts[0].name, PARTS, sizeof *parts);

        return SD_FAIL(SD_E_USAGE, "unknown benchmark '%s'%s%s%s; the choices are forward, train, finetune, store, stat and tokenize", word,
                       nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    }
    if (only >= 0 && parts[only].run == bench_tokenize && (options->model == NULL || options->file == NULL))
        return SD_FAIL(SD_E_USAGE, "bench tokenize needs --model DIR and --file TEXT");
    SD_TRY(st, sd_par_agree(par, app_open_device(par, options, &b.dev, &b.threads)));
    SD_TRY(st, measure_gemm(&b, SD_REAL, &b.gemm));
    b.gemm_compute = b.gemm;
    if (sd_dev_compute(b.dev) != SD_REAL)
        SD_TRY(st, measure_gemm(&b, sd_dev_compute(b.dev), &b.gemm_compute));
    SD_TRY(st, measure_copy(&b));
    if (par->rank == 0)
        printf("saediff %s, %d rank%s x %d thread%s, %s; ceilings per rank: matrix products %sFLOP/s, memory copies %s/s\n", SAEDIFF_VERSION,
               par->size,
               par->size == 1 ? "" : "s", b.threads, b.threads == 1 ? "" : "s", sd_dev_describe(b.dev),
               sd_str_count(rate, sizeof rate, b.gemm), sd_str_bytes(moved, sizeof moved, b.copy));
    for (int i = 0; i < PARTS; i++)
        if (only < 0 || only == i)
            SD_TRY(st, parts[i].run(&b));
    fflush(stdout);
out:
    sd_dev_close(&b.dev);
    return st;
}

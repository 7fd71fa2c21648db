/* Rates of data: shards compared with plain parallel writes, statistics with memory bandwidth. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/stat/stat.h"
#include "saediff/store/file.h"
#include "saediff/store/shard.h"

/* ---- store: 256 MiB a rank, in blocks of 4 MiB, flushed to the disk */

enum { COLS = 2048, BLOCK = 512, BLOCKS = 64, ROWS = BLOCK * BLOCKS, TURNS = 5 };

/* Local. This rank's part of one plain file. */
static sd_status write_plain(const sd_par *par, const char *path, const float *block)
{
    size_t bytes = (size_t)BLOCK * COLS * sizeof *block;
    int fd = open(path, O_WRONLY | O_CREAT, 0640);
    sd_status st = SD_OK;

    if (fd < 0)
        return SD_FAIL(SD_E_ENV, "%s: cannot be opened for writing: %s", path, strerror(errno));
    for (int i = 0; i < BLOCKS && st == SD_OK; i++)
        if (pwrite(fd, block, bytes, (off_t)((size_t)(par->rank * BLOCKS + i) * bytes)) != (ssize_t)bytes)
            st = SD_FAIL(SD_E_ENV, "%s: a write of %zu bytes failed: %s", path, bytes, strerror(errno));
    if (st == SD_OK && fsync(fd) != 0)
        st = SD_FAIL(SD_E_ENV, "%s: cannot be flushed to the disk: %s", path, strerror(errno));
    close(fd);
    return st;
}

/* Collective. */
static sd_status write_shard(bench *b, sd_manifest *manifest, const char *path, const float *block)
{
    uint64_t rows = (uint64_t)ROWS * (uint64_t)b->par->size;
    const sd_attr attrs[] = {{.name = "first_row", .kind = SD_ATTR_U64, .u64 = 0}, {.name = "rows", .kind = SD_ATTR_U64, .u64 = rows}};
    const sd_array array = {.name = "activations", .type = SD_F32, .dims = 2, .shape = {rows, COLS}, .unit = "1", .about = "bench"};
    sd_shard *shard = NULL;
    sd_status st, mine = SD_OK;

    SD_TRY(st, sd_shard_create(&shard, b->par, &(sd_shard_spec){path, "saediff.activations", 1, attrs, 2, &array, 1}));
    for (uint64_t i = 0; i < BLOCKS && mine == SD_OK; i++)
        mine = sd_shard_write(shard, 0, (sd_span){((uint64_t)b->par->rank * BLOCKS + i) * BLOCK, BLOCK}, block);
    st = sd_shard_commit(&shard, manifest, "bench", mine);
out:
    return st;
}

/* Alternates the two, so that a drifting disk affects both equally; medians. */
static sd_status race(bench *b, sd_manifest *manifest, const char *plain, const char *shard, const float *block, double *plain_s,
                      double *shard_s)
{
    double times[2][TURNS];
    sd_status st = SD_OK;

    for (int turn = 0; turn <= TURNS; turn++)
        for (int kind = 0; kind < 2; kind++) {
            double began;

            SD_TRY(st, sd_par_barrier(b->par));
            began = sd_now();
            if (kind == 0)
                st = sd_par_agree(b->par, write_plain(b->par, plain, block));
            else
                st = write_shard(b, manifest, shard, block);
            SD_TRY(st, st);
            if (turn > 0)
                times[kind][turn - 1] = sd_now() - began;
            if (kind == 0)
                SD_TRY(st, sd_par_agree(b->par, b->par->rank == 0 ? sd_file_remove(plain) : SD_OK));
            else
                SD_TRY(st, sd_manifest_withdraw(manifest, "shard.h5"));
        }
    *plain_s = bench_middle(times[0], TURNS);
    *shard_s = bench_middle(times[1], TURNS);
out:
    return st;
}

sd_status bench_store(bench *b)
{
    const char *where = b->options->out ? b->options->out : getenv("TMPDIR");
    char folder[256] = "", rate[32], other[32];
    char *plain = NULL, *shard = NULL, *extra[2] = {NULL, NULL};
    sd_manifest *manifest = NULL;
    double plain_s, shard_s, bytes = (double)ROWS * COLS * sizeof(float) * b->par->size;
    float *block = NULL;
    sd_status st = SD_OK;

    if (b->par->rank == 0) {
        snprintf(folder, sizeof folder, "%s/saediff-bench-XXXXXX", where != NULL && where[0] ? where : "/tmp");
        if (mkdtemp(folder) == NULL)
            st = SD_FAIL(SD_E_ENV, "%s: a temporary folder cannot be created; choose another with --out", folder);
    }
    SD_TRY(st, sd_par_agree(b->par, st));
    SD_TRY(st, sd_par_bcast(b->par, folder, sizeof folder, 0));
    st = sd_path_join(&plain, folder, "plain");
    if (st == SD_OK)
        st = sd_path_join(&shard, folder, "shard.h5");
    if (st == SD_OK)
        st = sd_path_join(&extra[0], folder, "manifest.log");
    if (st == SD_OK)
        st = sd_path_join(&extra[1], folder, "run.lock");
    if (st == SD_OK)
        st = SD_NEW(&block, (uint64_t)BLOCK * COLS);
    for (uint64_t i = 0; st == SD_OK && i < (uint64_t)BLOCK * COLS; i++)
        block[i] = (float)i;
    SD_TRY(st, sd_par_agree(b->par, st));
    SD_TRY(st, sd_manifest_open(&manifest, b->par, folder));
    SD_TRY(st, race(b, manifest, plain, shard, block, &plain_s, &shard_s));
    if (b->par->rank == 0)
        printf("%-8s %s/s as shards with checksums and read-back, %s/s as plain parallel writes, both flushed to disk = %.0f %%\n",
               "store", sd_str_bytes(rate, sizeof rate, bytes / shard_s), sd_str_bytes(other, sizeof other, bytes / plain_s),
               100 * plain_s / shard_s);
out:
    sd_manifest_close(&manifest);
    if (b->par->rank == 0 && folder[0]) {
        unlink(plain ? plain : "");
        for (int i = 0; i < 2; i++)
            unlink(extra[i] ? extra[i] : "");
        rmdir(folder);
    }
    sd_free(plain);
    sd_free(shard);
    sd_free(extra[0]);
    sd_free(extra[1]);
    sd_free(block);
    return st;
}

/* ---- stat: sums of 131,072 latents over codes */

enum { LATENTS = 131072, PER_ROW = 50, CODE_ROWS = 65536 };

typedef struct tally {
    sd_latent_sums sums;
    int32_t *latent;
    float *value;
} tally;

static sd_status sum_codes(void *self)
{
    tally *t = self;

    for (uint64_t r = 0; r < CODE_ROWS; r++)
        sd_latent_sums_add(&t->sums, t->latent + r * PER_ROW, t->value + r * PER_ROW, PER_ROW);
    return SD_OK;
}

sd_status bench_stat(bench *b)
{
    sd_key key = sd_key_make(5, SD_STREAM_BENCH, 3);
    tally t = {0};
    double seconds, codes = (double)CODE_ROWS * PER_ROW, touched;
    char rate[32], speed[32];
    sd_status st;

    st = sd_latent_sums_create(&t.sums, LATENTS);
    if (st == SD_OK)
        st = SD_NEW(&t.latent, (uint64_t)CODE_ROWS * PER_ROW);
    if (st == SD_OK)
        st = SD_NEW(&t.value, (uint64_t)CODE_ROWS * PER_ROW);
    for (uint64_t i = 0; st == SD_OK && i < (uint64_t)CODE_ROWS * PER_ROW; i++) {
        double u = sd_random_uniform(key, i);

        t.latent[i] = (int32_t)(u * u * LATENTS); /* some fire often, most rarely */
        t.value[i] = (float)(1 + u);
    }
    SD_TRY(st, sd_par_agree(b->par, st));
    SD_TRY(st, bench_median(b, sum_codes, &t, &seconds));
    touched = codes * (8 + 2 * 32); /* a code read; count, sum, sum of squares and maximum read and written */
    if (b->par->rank == 0) {
        printf("%-8s %s codes/s into %d latents, one thread per rank, %s/s of memory traffic ", "stat",
               sd_str_count(rate, sizeof rate, codes * b->par->size / seconds), LATENTS,
               sd_str_bytes(speed, sizeof speed, touched * b->par->size / seconds));
        bench_print_roof(b, 4 * codes, touched, seconds); /* a sum, a square and its sum, a maximum */
    }
out:
    sd_latent_sums_free(&t.sums);
    sd_free(t.latent);
    sd_free(t.value);
    return st;
}

/* A shard for tests: three datasets of odd sizes whose elements tell their place. */
#ifndef SAEDIFF_TESTS_SHARD_DATA_H
#define SAEDIFF_TESTS_SHARD_DATA_H

#include "saediff/store/shard.h"
#include "scratch.h"

enum { DATA_SETS = 4, DATA_WIDTH = 5, DATA_MAX_ROWS = 9001 };

typedef struct shard_data {
    uint64_t rows;
    float *f32;     /* [rows, 5] */
    uint16_t *bf16; /* [rows, 5] */
    uint16_t *f16;  /* [rows / 3] */
    sd_attr attrs[3];
    sd_array sets[DATA_SETS]; /* the last is empty */
    sd_shard_spec spec;
    char path[256];
} shard_data;

static inline shard_data *shard_data_make(const char *folder, const char *name, uint64_t rows)
{
    shard_data *s = calloc(1, sizeof *s);
    uint64_t i, n = rows * DATA_WIDTH;

    if (s == NULL || (s->f32 = malloc((n + 1) * sizeof *s->f32)) == NULL ||
        (s->bf16 = malloc((n + 1) * sizeof *s->bf16)) == NULL || (s->f16 = malloc((rows + 1) * sizeof *s->f16)) == NULL)
        abort();
    s->rows = rows;
    for (i = 0; i < n; i++) {
        s->f32[i] = (float)i * 0.37f - 5;
        s->bf16[i] = sd_bf16_from_f32((float)i - 100);
    }
    for (i = 0; i < rows; i++)
        s->f16[i] = sd_f16_from_f32((float)(i % 2000) * 0.5f);
    scratch_path(s->path, folder, name);
    s->attrs[0] = (sd_attr){.name = "first_row", .kind = SD_ATTR_U64, .u64 = 1000};
    s->attrs[1] = (sd_attr){.name = "rows", .kind = SD_ATTR_U64, .u64 = rows};
    s->attrs[2] = (sd_attr){.name = "site", .kind = SD_ATTR_TEXT, .text = "blocks.1.hook_resid_post"};
    s->sets[0] = (sd_array){.name = "activations", .type = SD_F32, .dims = 2, .shape = {rows, DATA_WIDTH}, .unit = "1",
                            .about = "test"};
    s->sets[1] = (sd_array){.name = "narrow", .type = SD_BF16, .dims = 2, .shape = {rows, DATA_WIDTH}, .unit = "1",
                            .about = "test"};
    s->sets[2] = (sd_array){.name = "list", .type = SD_F16, .dims = 1, .shape = {rows / 3}, .unit = "1", .about = "test"};
    s->sets[3] = (sd_array){.name = "empty", .type = SD_U8, .dims = 1, .shape = {0}, .unit = "1", .about = "test"};
    s->spec = (sd_shard_spec){.path = s->path, .format = "saediff.test", .version = 1, .attrs = s->attrs, .n_attrs = 3,
                              .datasets = s->sets, .n_datasets = DATA_SETS};
    return s;
}

static inline void shard_data_free(shard_data *s)
{
    free(s->f32);
    free(s->bf16);
    free(s->f16);
    free(s);
}

static inline const void *shard_data_row(const shard_data *s, uint64_t set, uint64_t row)
{
    return set == 0 ? (const void *)(s->f32 + row * DATA_WIDTH) : set == 1 ? (const void *)(s->bf16 + row * DATA_WIDTH)
                                                                             : (const void *)(s->f16 + row);
}

/* Writes this rank's share of every dataset, in pieces of `step` rows. */
static inline sd_status shard_data_write(const shard_data *s, sd_shard *shard, const sd_par *par, uint64_t step)
{
    uint64_t set, done, n;
    sd_status st = SD_OK;

    for (set = 0; set < DATA_SETS && st == SD_OK; set++) {
        sd_span share = sd_par_split(s->sets[set].shape[0], par->rank, par->size);

        for (done = 0; done < share.count && st == SD_OK; done += n) {
            n = step < share.count - done ? step : share.count - done;
            st = sd_shard_write(shard, set, (sd_span){share.first + done, n}, shard_data_row(s, set, share.first + done));
        }
    }
    return st;
}

#endif

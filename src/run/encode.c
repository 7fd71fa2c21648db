/* The stage `encode`: latent activations (codes) of each SAE on each model. The unit of work is a block of rows of a shard; each rank gets a contiguous
 * range of blocks, and sums over blocks are merged in block order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/stat/stat.h"
#include "saediff/store/codes.h"
#include "saediff/store/file.h"

enum { BLOCK = 2048 };

typedef struct encoder {
    run *r;
    int m;
    const run_sae *s;
    sd_sae *sae;
    char sae_sha256[SD_SHA256_HEX];
    uint64_t d, k;
    sd_shard_reader *reader;
    sd_span shard; /* rows of the stream */
    void *stored;  /* [BLOCK, d] in the file's type */
    run_error_sae error; /* of an error SAE: its base SAE; error.sae NULL for others */
    float *left;       /* [BLOCK, d]: its input */
    double *row;   /* [d] */
    sd_buf *x, *index, *value, *sse;
    int32_t *host_index; /* [BLOCK, k] */
    float *host_value;
} encoder;

typedef struct pair {
    int32_t latent;
    float value;
} pair;

static int by_latent(const void *a, const void *b)
{
    int32_t x = ((const pair *)a)->latent, y = ((const pair *)b)->latent;

    return (x > y) - (x < y);
}

/* This rank's part of one shard. */
typedef struct part {
    sd_span blocks, rows; /* rows relative to the shard */
    uint64_t codes, capacity;
    uint64_t *row_start;
    int32_t *latent;
    float *value;
    double *row_sse;
    double *moments; /* [blocks.count, 1 + 2 d]: n, mean, m2 of each block's evaluated rows */
} part;

static void free_part(part *p)
{
    sd_free(p->row_start);
    sd_free(p->latent);
    sd_free(p->value);
    sd_free(p->row_sse);
    sd_free(p->moments);
    *p = (part){0};
}

static uint64_t blocks_of(uint64_t rows)
{
    return (rows + BLOCK - 1) / BLOCK;
}

static sd_status create_part(const encoder *e, part *p)
{
    uint64_t rows = e->shard.count, first, end;
    sd_status st;

    p->blocks = sd_par_split(blocks_of(rows), e->r->par->rank, e->r->par->size);
    first = p->blocks.first * BLOCK < rows ? p->blocks.first * BLOCK : rows;
    end = (p->blocks.first + p->blocks.count) * BLOCK < rows ? (p->blocks.first + p->blocks.count) * BLOCK : rows;
    p->rows = (sd_span){first, end - first};
    p->capacity = p->rows.count * e->k;
    SD_TRY(st, SD_NEW(&p->row_start, p->rows.count + 1));
    SD_TRY(st, SD_NEW(&p->latent, p->capacity));
    SD_TRY(st, SD_NEW(&p->value, p->capacity));
    SD_TRY(st, SD_NEW(&p->row_sse, p->rows.count));
    SD_TRY(st, SD_NEW(&p->moments, p->blocks.count * (1 + 2 * e->d)));
out:
    return st;
}

/* Mean and squared distances of the block's evaluated rows of `data` [rows, d]. */
static sd_status block_moments(encoder *e, uint64_t first, uint64_t rows, const void *data, sd_dtype type, double *out)
{
    size_t size = sd_dtype_size(type);
    sd_moments moments;
    sd_status st = sd_moments_create(&moments, e->d);

    if (st != SD_OK)
        return st;
    for (uint64_t i = 0; i < rows; i++) {
        if (!e->r->tokens->mask[e->shard.first + first + i])
            continue;
        sd_convert(e->row, SD_F64, (const char *)data + i * e->d * size, type, e->d);
        sd_moments_add(&moments, e->row);
    }
    out[0] = (double)moments.n;
    memcpy(out + 1, moments.mean, e->d * sizeof *out);
    memcpy(out + 1 + e->d, moments.m2, e->d * sizeof *out);
    sd_moments_free(&moments);
    return SD_OK;
}

static sd_status encode_block(encoder *e, part *p, uint64_t block)
{
    uint64_t first = block * BLOCK, left = e->shard.count - first, rows = left < BLOCK ? left : BLOCK, at;
    sd_dev *dev = e->r->dev;
    sd_mat x = sd_mat_of(e->x, rows, e->d), index = sd_mat_of(e->index, rows, e->k);
    sd_mat value = sd_mat_of(e->value, rows, e->k), sse = sd_mat_of(e->sse, 1, rows);
    pair *pairs = NULL;
    sd_status st;

    at = first - p->rows.first;
    SD_TRY(st, sd_shard_read(e->reader, "activations", (sd_span){first, rows}, e->stored));
    SD_TRY(st, sd_dev_upload_as(dev, e->stored, e->r->dtype, x));
    if (e->error.sae != NULL) {
        SD_TRY(st, run_error_sae_apply(&e->error, dev, x));
        SD_TRY(st, sd_dev_download_as(dev, x, e->left, SD_F32));
    }
    SD_TRY(st, block_moments(e, first, rows, e->error.sae != NULL ? e->left : e->stored, e->error.sae != NULL ? SD_F32 : e->r->dtype,
                             p->moments + (block - p->blocks.first) * (1 + 2 * e->d)));
    SD_TRY(st, sd_sae_encode(e->sae, x, index, value));
    SD_TRY(st, sd_sae_reconstruct(e->sae, x, index, value, (sd_mat){0}, sse));
    SD_TRY(st, sd_dev_download(dev, index, e->host_index));
    SD_TRY(st, sd_dev_download_as(dev, value, e->host_value, SD_F32));
    SD_TRY(st, sd_dev_download(dev, sse, p->row_sse + at));
    SD_TRY(st, SD_NEW(&pairs, e->k));
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t n = 0;

        for (uint64_t j = 0; j < e->k; j++)
            if (e->host_value[i * e->k + j] > 0)
                pairs[n++] = (pair){e->host_index[i * e->k + j], e->host_value[i * e->k + j]};
        qsort(pairs, n, sizeof *pairs, by_latent);
        for (uint64_t j = 0; j < n; j++) {
            p->latent[p->codes] = pairs[j].latent;
            p->value[p->codes++] = pairs[j].value;
        }
        p->row_start[at + i + 1] = p->codes;
    }
out:
    sd_free(pairs);
    return st;
}

/* Rank 0: the moments of all blocks merged in block order. */
static sd_status merge_moments(const encoder *e, const double *all, uint64_t blocks, double *mean, double *m2, uint64_t *n)
{
    uint64_t width = 1 + 2 * e->d;
    sd_moments total;
    sd_status st = sd_moments_create(&total, e->d);

    if (st != SD_OK)
        return st;
    for (uint64_t b = 0; b < blocks; b++) {
        const double *block = all + b * width;
        sd_moments one = {(uint64_t)block[0], e->d, NULL, NULL};

        st = sd_moments_create(&one, e->d);
        if (st != SD_OK)
            break;
        one.n = (uint64_t)block[0];
        memcpy(one.mean, block + 1, e->d * sizeof *mean);
        memcpy(one.m2, block + 1 + e->d, e->d * sizeof *mean);
        sd_moments_merge(&total, &one);
        sd_moments_free(&one);
    }
    memcpy(mean, total.mean, e->d * sizeof *mean);
    memcpy(m2, total.m2, e->d * sizeof *m2);
    *n = total.n;
    sd_moments_free(&total);
    return st;
}

/* Collective. Writes the shard `codes` (full path). */
static sd_status make_codes(encoder *e, uint64_t shard, const char *codes, const char *key)
{
    run *r = e->r;
    uint64_t blocks = blocks_of(e->shard.count), width = 1 + 2 * e->d, evaluated = 0;
    char acts[RUN_PATH], *path = NULL;
    part p = {0};
    double *all = NULL, *mean = NULL, *m2 = NULL;
    sd_status st, mine;

    run_acts_path(acts, e->m, r->site_names[e->s->site], shard);
    mine = run_full_path(r, acts, &path);
    if (mine == SD_OK)
        mine = sd_shard_open(&e->reader, path, "saediff.activations", 1);
    if (mine == SD_OK)
        mine = create_part(e, &p);
    for (uint64_t b = 0; mine == SD_OK && b < p.blocks.count; b++)
        mine = sd_par_stop_asked() ? SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished shards are kept: run the same command again")
                                   : encode_block(e, &p, p.blocks.first + b);
    sd_shard_close(&e->reader);
    if (mine == SD_OK && r->par->rank == 0)
        mine = SD_NEW(&all, blocks * width);
    if (mine == SD_OK)
        mine = SD_NEW(&mean, e->d);
    if (mine == SD_OK)
        mine = SD_NEW(&m2, e->d);
    SD_TRY(st, sd_par_agree(r->par, mine));
    SD_TRY(st, sd_par_gather(r->par, p.moments, p.blocks.count * width * sizeof *all, all, blocks * width * sizeof *all));
    if (r->par->rank == 0)
        mine = merge_moments(e, all, blocks, mean, m2, &evaluated);
    SD_TRY(st, sd_par_agree(r->par, mine));
    SD_TRY(st, sd_par_bcast(r->par, &evaluated, sizeof evaluated, 0));
    SD_TRY(st, sd_codes_write(r->par, r->manifest, codes, key,
                              &(sd_codes){.first_row = e->shard.first,
                                          .rows = e->shard.count,
                                          .n_latents = e->s->latents,
                                          .d_model = e->d,
                                          .k = e->k,
                                          .evaluated = evaluated},
                              e->sae_sha256,
                              &(sd_codes_part){.rows = p.rows,
                                               .row_start = p.row_start,
                                               .latent = p.latent,
                                               .value = p.value,
                                               .row_sse = p.row_sse,
                                               .mean = mean,
                                               .m2 = m2},
                              SD_OK));
    r->made++;
    st = sd_par_agree_or_stop(r->par, SD_OK);
out:
    free_part(&p);
    sd_free(all);
    sd_free(mean);
    sd_free(m2);
    sd_free(path);
    return st;
}

/* Local. */
static sd_status open_encoder(encoder *e)
{
    run *r = e->r;
    char relative[RUN_PATH], *path = NULL;
    sd_status st;

    run_sae_path(relative, r, e->s, "sae.h5");
    SD_TRY(st, run_full_path(r, relative, &path));
    SD_TRY(st, sd_file_sha256(path, e->sae_sha256));
    SD_TRY(st, sd_sae_open(&e->sae, r->dev, path, BLOCK));
    SD_TRY(st, sd_alloc_bytes(&e->stored, BLOCK * e->d, sd_dtype_size(r->dtype)));
    SD_TRY(st, SD_NEW(&e->row, e->d));
    SD_TRY(st, SD_NEW(&e->host_index, BLOCK * e->k));
    SD_TRY(st, SD_NEW(&e->host_value, BLOCK * e->k));
    SD_TRY(st, sd_buf_create(&e->x, r->dev, SD_REAL, BLOCK * e->d));
    SD_TRY(st, sd_buf_create(&e->index, r->dev, SD_I32, BLOCK * e->k));
    SD_TRY(st, sd_buf_create(&e->value, r->dev, SD_REAL, BLOCK * e->k));
    SD_TRY(st, sd_buf_create(&e->sse, r->dev, SD_F64, BLOCK));
    if (e->s->on_error) {
        SD_TRY(st, SD_NEW(&e->left, BLOCK * e->d));
        SD_TRY(st, run_error_sae_open(r, run_underlying(r, e->s), BLOCK, &e->error));
    }
out:
    sd_free(path);
    return st;
}

static void close_encoder(encoder *e)
{
    sd_sae_destroy(&e->sae);
    sd_buf_destroy(&e->x);
    sd_buf_destroy(&e->index);
    sd_buf_destroy(&e->value);
    sd_buf_destroy(&e->sse);
    run_error_sae_close(&e->error);
    sd_free(e->left);
    sd_free(e->stored);
    sd_free(e->row);
    sd_free(e->host_index);
    sd_free(e->host_value);
}

/* Makes the missing shards of one SAE on one model. `done`: tokens of the stage so far. */
static sd_status encode_one(run *r, int m, const run_sae *s, sd_progress *progress, uint64_t *done)
{
    encoder e = {.r = r, .m = m, .s = s, .d = r->config[m].d_model, .k = s->k};
    char key[SD_SHA256_HEX], acts_key[SD_SHA256_HEX], path[RUN_PATH];
    sd_status st = SD_OK;

    run_codes_key(r, m, s, key);
    run_acts_key(r, m, r->site_names[s->site], acts_key);
    for (uint64_t i = 0; i < r->shards; i++) {
        char *full = NULL;
        bool has;

        e.shard = run_shard_rows(r, i);
        run_codes_path(path, r, m, s, i);
        SD_TRY(st, sd_manifest_has(r->manifest, path, key, &has));
        if (has)
            continue;
        if (e.sae == NULL) {
            const run_sae *needed[] = {s, run_underlying(r, s)};
            char sae_path[RUN_PATH];

            for (int j = 0; j < 2 && needed[j] != NULL; j++) {
                run_sae_path(sae_path, r, needed[j], "sae.h5");
                SD_TRY(st, run_need(r, sae_path, needed[j]->key, SD_STAGE_TRAIN));
            }
            SD_TRY(st, sd_par_agree(r->par, open_encoder(&e)));
        }
        {
            char acts[RUN_PATH];

            run_acts_path(acts, m, r->site_names[s->site], i);
            SD_TRY(st, run_need(r, acts, acts_key, SD_STAGE_EXTRACT));
        }
        st = run_full_path(r, path, &full);
        if (st == SD_OK && r->par->rank == 0)
            st = sd_file_make_parent(full);
        st = sd_par_agree(r->par, st);
        if (st == SD_OK)
            st = make_codes(&e, i, full, key);
        sd_free(full);
        SD_TRY(st, st);
        *done += e.shard.count;
        sd_progress_set(progress, *done);
    }
out:
    close_encoder(&e);
    return st;
}

/* Tokens to encode, over all SAEs and models. */
static uint64_t count_missing(const run *r)
{
    uint64_t total = 0;

    for (int m = 0; m < RUN_MODELS; m++)
        for (uint64_t i = 0; r->model_dir[m] != NULL && i < r->n_saes; i++)
            for (uint64_t s = 0; s < r->shards; s++) {
                char path[RUN_PATH], key[SD_SHA256_HEX];
                const sd_record *record;

                run_codes_path(path, r, m, &r->saes[i], s);
                run_codes_key(r, m, &r->saes[i], key);
                record = sd_manifest_find(r->manifest, path);
                if (record == NULL || strcmp(record->key, key) != 0)
                    total += run_shard_rows(r, s).count;
            }
    return total;
}

sd_status run_encode(run *r)
{
    sd_progress progress;
    uint64_t total, done = 0;
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    total = count_missing(r);
    sd_progress_begin(&progress, "encode", "tokens", 0, total);
    for (int m = 0; m < RUN_MODELS; m++)
        for (uint64_t i = 0; r->model_dir[m] != NULL && i < r->n_saes; i++)
            SD_TRY(st, encode_one(r, m, &r->saes[i], &progress, &done));
    if (total > 0)
        sd_progress_end(&progress, NULL);
out:
    return st;
}

#include "saediff/store/codes.h"

#include <string.h>

#include "saediff/core/mem.h"

static const char FORMAT[] = "saediff.codes";

enum { VERSION = 1, ROW_START = 0, LATENT, VALUE, ROW_SSE, MEAN, M2, DATASETS };

/* The codes of one row: at most k, latents rising inside the dictionary, values above 0. */
static bool row_is_sound(const sd_codes *whole, const int32_t *latent, const float *value, uint64_t count)
{
    uint64_t j;

    if (count > whole->k)
        return false;
    for (j = 0; j < count; j++)
        if (latent[j] < 0 || (uint64_t)latent[j] >= whole->n_latents || (j > 0 && latent[j] <= latent[j - 1]) ||
            !(value[j] > 0))
            return false;
    return true;
}

/* Local: the part has what its contract says. */
static sd_status check_part(const char *path, const sd_codes *whole, const sd_codes_part *part, int rank)
{
    uint64_t r, first;

    if (part->rows.first > whole->rows || part->rows.count > whole->rows - part->rows.first)
        return SD_FAIL(SD_E_INTERNAL, "%s: rank %d has rows %llu to %llu of a shard of %llu", path, rank,
                       (unsigned long long)part->rows.first, (unsigned long long)(part->rows.first + part->rows.count),
                       (unsigned long long)whole->rows);
    if (rank == 0 && (part->mean == NULL || part->m2 == NULL))
        return SD_FAIL(SD_E_INTERNAL, "%s: rank 0 has no mean and m2 of the shard", path);
    if (part->row_start[0] != 0)
        return SD_FAIL(SD_E_INTERNAL, "%s: the row starts of rank %d begin at %llu, not 0", path, rank,
                       (unsigned long long)part->row_start[0]);
    for (r = 0; r < part->rows.count; r++) {
        if (part->row_start[r + 1] < part->row_start[r])
            return SD_FAIL(SD_E_INTERNAL, "%s: the row starts of rank %d fall at row %llu", path, rank, (unsigned long long)r);
        first = part->row_start[r];
        if (!row_is_sound(whole, part->latent + first, part->value + first, part->row_start[r + 1] - first))
            return SD_FAIL(SD_E_INTERNAL, "%s: row %llu of rank %d has more than %llu codes, latents that do not rise below "
                                          "%llu, or values not above 0",
                           path, (unsigned long long)r, rank, (unsigned long long)whole->k,
                           (unsigned long long)whole->n_latents);
    }
    return SD_OK;
}

/* Collective. *before = codes of the rows that stand before this rank's, whatever the order of the ranks; *total = of all. */
static sd_status place_codes(const sd_par *par, sd_span rows, uint64_t codes, uint64_t *before, uint64_t *total)
{
    uint64_t *all = NULL, size = (uint64_t)par->size, me = (uint64_t)par->rank, i;
    sd_status st = SD_NEW(&all, 2 * size);

    SD_TRY(st, sd_par_agree(par, st));
    all[2 * me] = rows.first;
    all[2 * me + 1] = codes;
    SD_TRY(st, sd_par_sum_u64(par, all, 2 * size));
    *before = *total = 0;
    for (i = 0; i < size; i++) {
        *total += all[2 * i + 1];
        if (all[2 * i] < rows.first)
            *before += all[2 * i + 1];
    }
out:
    sd_free(all);
    return st;
}

static sd_status write_part(sd_shard *shard, const sd_codes *whole, const sd_codes_part *part, int rank, uint64_t before,
                            uint64_t total)
{
    uint64_t *starts = NULL, r, codes = part->row_start[part->rows.count];
    sd_status st;

    SD_TRY(st, SD_NEW(&starts, part->rows.count));
    for (r = 0; r < part->rows.count; r++)
        starts[r] = before + part->row_start[r];
    SD_TRY(st, sd_shard_write(shard, ROW_START, part->rows, starts));
    SD_TRY(st, sd_shard_write(shard, LATENT, (sd_span){before, codes}, part->latent));
    SD_TRY(st, sd_shard_write(shard, VALUE, (sd_span){before, codes}, part->value));
    SD_TRY(st, sd_shard_write(shard, ROW_SSE, part->rows, part->row_sse));
    if (rank == 0) {
        SD_TRY(st, sd_shard_write(shard, ROW_START, (sd_span){whole->rows, 1}, &total));
        SD_TRY(st, sd_shard_write(shard, MEAN, (sd_span){0, whole->d_model}, part->mean));
        SD_TRY(st, sd_shard_write(shard, M2, (sd_span){0, whole->d_model}, part->m2));
    }
out:
    sd_free(starts);
    return st;
}

/* Collective. */
static sd_status create(sd_shard **shard, const sd_par *par, const char *path, const sd_codes *whole, const char *sae_sha256,
                        uint64_t codes)
{
    const sd_attr attrs[] = {{.name = "first_row", .kind = SD_ATTR_U64, .u64 = whole->first_row},
                             {.name = "rows", .kind = SD_ATTR_U64, .u64 = whole->rows},
                             {.name = "n_latents", .kind = SD_ATTR_U64, .u64 = whole->n_latents},
                             {.name = "d_model", .kind = SD_ATTR_U64, .u64 = whole->d_model},
                             {.name = "k", .kind = SD_ATTR_U64, .u64 = whole->k},
                             {.name = "counted", .kind = SD_ATTR_U64, .u64 = whole->evaluated},
                             {.name = "sae_sha256", .kind = SD_ATTR_TEXT, .text = sae_sha256}};
    const uint64_t rows = whole->rows, d = whole->d_model;
    const sd_array datasets[DATASETS] = {
        [ROW_START] = {"row_start", SD_U64, 1, {rows + 1}, NULL, "1", "first code of each row; at the end their number"},
        [LATENT] = {"latent", SD_I32, 1, {codes}, NULL, "1", "latent of each code, rising within a row"},
        [VALUE] = {"value", SD_F32, 1, {codes}, NULL, "activation as the SAE was trained", "value of each code, above 0"},
        [ROW_SSE] = {"row_sse", SD_F64, 1, {rows}, NULL, "activation squared", "squared error of each row's reconstruction"},
        [MEAN] = {"mean", SD_F64, 1, {d}, NULL, "activation", "mean of the counted rows"},
        [M2] = {"m2", SD_F64, 1, {d}, NULL, "activation squared", "sum over the counted rows of (x - mean)^2"}};
    const sd_shard_spec spec = {path, FORMAT, VERSION, attrs, sizeof attrs / sizeof attrs[0], datasets, DATASETS};

    return sd_shard_create(shard, par, &spec);
}

sd_status sd_codes_write(const sd_par *par, sd_manifest *manifest, const char *path, const char *key, const sd_codes *whole,
                         const char *sae_sha256, const sd_codes_part *part, sd_status mine)
{
    sd_shard *shard = NULL;
    uint64_t before = 0, total = 0;
    sd_status st;

    if (mine == SD_OK)
        mine = check_part(path, whole, part, par->rank);
    SD_TRY(st, sd_par_agree(par, mine));
    SD_TRY(st, place_codes(par, part->rows, part->row_start[part->rows.count], &before, &total));
    SD_TRY(st, create(&shard, par, path, whole, sae_sha256, total));
    st = write_part(shard, whole, part, par->rank, before, total);
    SD_TRY(st, sd_shard_commit(&shard, manifest, key, st));
out:
    return st;
}

/* One dataset whole, with the number of entries it must have (UINT64_MAX: any, reported). */
static sd_status read_array(sd_shard_reader *reader, const char *path, const char *name, sd_dtype type, uint64_t *count,
                            void **data)
{
    uint64_t shape[SD_ARRAY_DIMS];
    sd_dtype found;
    int dims;
    sd_status st;

    SD_TRY(st, sd_shard_shape(reader, name, &found, &dims, shape));
    if (found != type || dims != 1 || (*count != UINT64_MAX && shape[0] != *count)) {
        st = SD_FAIL(SD_E_DATA, "%s: '%s' is not a list of %s with the length that the shard's attributes give it", path, name,
                     sd_dtype_name(type));
        goto out;
    }
    SD_TRY(st, sd_alloc_bytes(data, shape[0], sd_dtype_size(type)));
    SD_TRY(st, sd_shard_read(reader, name, (sd_span){0, shape[0]}, *data));
    *count = shape[0];
out:
    return st;
}

static sd_status check_codes(const sd_codes *c, const char *path)
{
    uint64_t r, first;

    if (c->row_start[0] != 0 || c->row_start[c->rows] != c->codes)
        return SD_FAIL(SD_E_DATA, "%s: row_start goes from %llu to %llu, not from 0 to the %llu codes there are", path,
                       (unsigned long long)c->row_start[0], (unsigned long long)c->row_start[c->rows],
                       (unsigned long long)c->codes);
    if (c->evaluated > c->rows)
        return SD_FAIL(SD_E_DATA, "%s: counts %llu of %llu rows", path, (unsigned long long)c->evaluated,
                       (unsigned long long)c->rows);
    for (r = 0; r < c->rows; r++) {
        if (c->row_start[r + 1] < c->row_start[r] || c->row_start[r + 1] > c->codes)
            return SD_FAIL(SD_E_DATA, "%s: row_start falls after row %llu", path, (unsigned long long)r);
        first = c->row_start[r];
        if (!row_is_sound(c, c->latent + first, c->value + first, c->row_start[r + 1] - first))
            return SD_FAIL(SD_E_DATA, "%s: row %llu has more than %llu codes, latents that do not rise below %llu, or values "
                                      "not above 0",
                           path, (unsigned long long)r, (unsigned long long)c->k, (unsigned long long)c->n_latents);
    }
    return SD_OK;
}

sd_status sd_codes_read(sd_codes **codes, const char *path)
{
    sd_shard_reader *reader = NULL;
    sd_codes *c = NULL;
    uint64_t starts;
    sd_status st;

    *codes = NULL;
    SD_TRY(st, SD_NEW(&c, 1));
    SD_TRY(st, sd_shard_open(&reader, path, FORMAT, VERSION));
    SD_TRY(st, sd_shard_attr_u64(reader, "first_row", &c->first_row));
    SD_TRY(st, sd_shard_attr_u64(reader, "rows", &c->rows));
    SD_TRY(st, sd_shard_attr_u64(reader, "n_latents", &c->n_latents));
    SD_TRY(st, sd_shard_attr_u64(reader, "d_model", &c->d_model));
    SD_TRY(st, sd_shard_attr_u64(reader, "k", &c->k));
    SD_TRY(st, sd_shard_attr_u64(reader, "counted", &c->evaluated));
    SD_TRY(st, sd_add_u64(c->rows, 1, &starts, path));
    SD_TRY(st, read_array(reader, path, "row_start", SD_U64, &starts, (void **)&c->row_start));
    c->codes = UINT64_MAX;
    SD_TRY(st, read_array(reader, path, "latent", SD_I32, &c->codes, (void **)&c->latent));
    SD_TRY(st, read_array(reader, path, "value", SD_F32, &c->codes, (void **)&c->value));
    SD_TRY(st, read_array(reader, path, "row_sse", SD_F64, &c->rows, (void **)&c->row_sse));
    SD_TRY(st, read_array(reader, path, "mean", SD_F64, &c->d_model, (void **)&c->mean));
    SD_TRY(st, read_array(reader, path, "m2", SD_F64, &c->d_model, (void **)&c->m2));
    SD_TRY(st, check_codes(c, path));
    *codes = c;
    c = NULL;
out:
    sd_shard_close(&reader);
    sd_codes_destroy(&c);
    return st;
}

void sd_codes_destroy(sd_codes **codes)
{
    sd_codes *c = *codes;

    if (c == NULL)
        return;
    sd_free(c->row_start);
    sd_free(c->latent);
    sd_free(c->value);
    sd_free(c->row_sse);
    sd_free(c->mean);
    sd_free(c->m2);
    sd_free(c);
    *codes = NULL;
}

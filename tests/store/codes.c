/* Codes: what each rank hands in comes back as one shard, with empty rows, empty ranks and an empty shard. */
#include "saediff/store/codes.h"

#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "scratch.h"
#include "ranks.h"

enum { LATENTS = 1000, D = 7, K = 4 };

/* Row r has r % 5 codes (none in every fifth), K at most. */
static uint64_t codes_of(uint64_t row)
{
    return row % (K + 1);
}

static int32_t latent_of(uint64_t row, uint64_t j)
{
    return (int32_t)(row * 13 % 600 + j * (1 + row % 7));
}

static float value_of(uint64_t row, uint64_t j)
{
    return (float)row * 0.25f + (float)j + 0.125f;
}

typedef struct part_data {
    uint64_t row_start[3000];
    int32_t latent[3000 * K];
    float value[3000 * K];
    double row_sse[3000], mean[D], m2[D];
} part_data;

static sd_codes_part make_part(part_data *p, sd_span rows)
{
    uint64_t r, j, n = 0;

    for (r = 0; r < rows.count; r++) {
        p->row_start[r] = n;
        p->row_sse[r] = (double)(rows.first + r) / 3;
        for (j = 0; j < codes_of(rows.first + r); j++, n++) {
            p->latent[n] = latent_of(rows.first + r, j);
            p->value[n] = value_of(rows.first + r, j);
        }
    }
    p->row_start[rows.count] = n;
    for (j = 0; j < D; j++) {
        p->mean[j] = (double)j / 7;
        p->m2[j] = (double)j * 7;
    }
    return (sd_codes_part){rows, p->row_start, p->latent, p->value, p->row_sse, p->mean, p->m2};
}

static void check_shard(const char *path, uint64_t rows)
{
    sd_codes *c = NULL;
    uint64_t r, j, n = 0, bad = 0;

    CHECK_OK(sd_codes_read(&c, path));
    if (c == NULL)
        return;
    CHECK(c->first_row == 70 && c->rows == rows && c->n_latents == LATENTS && c->d_model == D && c->k == K &&
          c->evaluated == rows / 2);
    for (r = 0; r < rows; r++) {
        bad += c->row_start[r] != n || c->row_sse[r] != (double)r / 3;
        for (j = 0; j < codes_of(r); j++, n++)
            bad += c->latent[n] != latent_of(r, j) || c->value[n] != value_of(r, j);
    }
    CHECK(bad == 0 && c->codes == n && c->row_start[rows] == n);
    CHECK(c->mean[3] == 3.0 / 7 && c->m2[3] == 21);
    sd_codes_destroy(&c);
    CHECK(c == NULL);
}

/* `turn` deals the shares to other ranks than in order. */
static void test_round_trip(const sd_par *par, sd_manifest *m, part_data *data, const char *path, uint64_t rows, int turn)
{
    const sd_codes whole = {.first_row = 70, .rows = rows, .n_latents = LATENTS, .d_model = D, .k = K, .evaluated = rows / 2};
    sd_codes_part part = make_part(data, sd_par_split(rows, (par->rank + turn) % par->size, par->size));

    CHECK_OK(sd_codes_write(par, m, path, "key", &whole, "abc", &part, SD_OK));
    check_shard(path, rows);
    CHECK_OK(sd_par_agree(par, SD_OK));
}

static void test_bytes_do_not_depend_on_ranks(const sd_par *par, part_data *data, const char *above, const char *path,
                                              uint64_t rows)
{
    const sd_par self = {MPI_COMM_SELF, 0, 1, 0, 1};
    const sd_codes whole = {.first_row = 70, .rows = rows, .n_latents = LATENTS, .d_model = D, .k = K, .evaluated = rows / 2};
    sd_manifest *m = NULL;
    char alone[256], other[256], one[65], two[65];
    sd_codes_part part;

    if (par->rank != 0)
        return;
    part = make_part(data, (sd_span){0, rows});
    CHECK_OK(sd_manifest_open(&m, &self, scratch_path(alone, above, "alone")));
    if (m == NULL)
        return;
    CHECK_OK(sd_codes_write(&self, m, scratch_path(other, above, "alone/c.h5"), "key", &whole, "abc", &part, SD_OK));
    CHECK_OK(sd_file_sha256(path, one));
    CHECK_OK(sd_file_sha256(other, two));
    CHECK(strcmp(one, two) == 0);
    sd_manifest_close(&m);
}

static void test_refused(const sd_par *par, sd_manifest *m, part_data *data, const char *path)
{
    const sd_codes whole = {.rows = 100, .n_latents = LATENTS, .d_model = D, .k = K};
    sd_span rows = sd_par_split(100, par->rank, par->size);
    sd_codes_part part = make_part(data, rows);
    bool last = par->rank == par->size - 1;

    if (last)
        data->latent[0] = LATENTS;
    CHECK_FAILS(sd_codes_write(par, m, path, "key", &whole, "abc", &part, SD_OK), SD_E_INTERNAL, "latents that do not rise");
    make_part(data, rows);
    if (last)
        data->value[1] = 0;
    CHECK_FAILS(sd_codes_write(par, m, path, "key", &whole, "abc", &part, SD_OK), SD_E_INTERNAL, "values not above 0");
    make_part(data, rows);
    CHECK_FAILS(sd_codes_write(par, m, path, "key", &whole, "abc", &part, last ? SD_FAIL(SD_E_ENV, "no device") : SD_OK),
                SD_E_ENV, "no device");
    if (last)
        part.rows.count -= 1;
    CHECK_FAILS(sd_codes_write(par, m, path, "key", &whole, "abc", &part, SD_OK), SD_E_INTERNAL, "row 99 of 'row_start'");
    CHECK(sd_manifest_find(m, "refused.h5") == NULL && access(path, F_OK) != 0);
}

static part_data data;
static sd_manifest *manifest;
static char folder[TEST_FOLDER];

static void begin(void)
{
    char path[256];

    ranks_folder(folder);
    CHECK_OK(sd_manifest_open(&manifest, ranks, scratch_path(path, folder, "run")));
}

static void end(void)
{
    sd_manifest_close(&manifest);
}

static void there_and_back(const char *name, uint64_t rows, int turn)
{
    char path[256];

    test_round_trip(ranks, manifest, &data, scratch_path(path, folder, name), rows, turn);
}

static void test_round_trips(void)
{
    there_and_back("run/a.h5", 2999, 0);
    there_and_back("run/c.h5", 2, 0);
    there_and_back("run/d.h5", 1, 0);
    there_and_back("run/e.h5", 0, 0);
}

static void test_other_shares_and_one_rank(void)
{
    char path[256];

    there_and_back("run/b.h5", 2999, 1);
    test_bytes_do_not_depend_on_ranks(ranks, &data, folder, scratch_path(path, folder, "run/b.h5"), 2999);
}

static void test_refusals(void)
{
    char path[256];

    test_refused(ranks, manifest, &data, scratch_path(path, folder, "run/refused.h5"));
}

static const test_case tests[] = {
    TEST(test_round_trips),
    TEST(test_other_shares_and_one_rank),
    TEST(test_refusals),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)

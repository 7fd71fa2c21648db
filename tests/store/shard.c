/* Shards: bytes that do not depend on who wrote them, and rows that come back. */
#include "saediff/store/shard.h"

#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "shard_data.h"
#include "ranks.h"

static void write_shard(const sd_par *par, sd_manifest *m, const shard_data *s, uint64_t step)
{
    sd_shard *shard = NULL;
    sd_status st;

    CHECK_OK(sd_shard_create(&shard, par, &s->spec));
    if (shard == NULL)
        return;
    st = shard_data_write(s, shard, par, step);
    CHECK_OK(sd_shard_commit(&shard, m, "key", st));
    CHECK(shard == NULL);
}

/* Rank 0 alone writes the same shard again; all bytes must be equal. */
static void test_bytes_are_those_of_one_rank(const sd_par *par, const char *folder, uint64_t rows, uint64_t step)
{
    const sd_par self = {MPI_COMM_SELF, 0, 1, 0, 1};
    shard_data *s = shard_data_make(folder, "run/many.h5", rows), *alone = shard_data_make(folder, "alone/one.h5", rows);
    sd_manifest *m = NULL;
    char path[256], many[65] = "", one[65] = "";

    CHECK_OK(sd_manifest_open(&m, par, scratch_path(path, folder, "run")));
    if (m == NULL)
        return;
    write_shard(par, m, s, step);
    CHECK(sd_manifest_find(m, "many.h5") != NULL);
    CHECK_OK(sd_manifest_check(m, sd_manifest_find(m, "many.h5")));
    CHECK(scratch_count(scratch_path(path, folder, "run")) == 2);
    sd_manifest_close(&m);
    if (par->rank == 0) {
        CHECK_OK(sd_manifest_open(&m, &self, scratch_path(path, folder, "alone")));
        if (m != NULL)
            write_shard(&self, m, alone, rows + 1);
        sd_manifest_close(&m);
        CHECK_OK(sd_file_sha256(s->path, many));
        CHECK_OK(sd_file_sha256(alone->path, one));
        CHECK(many[0] != '\0' && strcmp(many, one) == 0);
    }
    CHECK_OK(sd_par_agree(par, SD_OK));
    shard_data_free(s);
    shard_data_free(alone);
}

static void test_reading(const sd_par *par, const char *folder)
{
    static const sd_span spans[] = {{0, 9001}, {0, 1},    {4095, 2},   {4096, 4096}, {5, 0},
                                    {9000, 1}, {9001, 0}, {100, 8500}, {8191, 810}};
    shard_data *s = shard_data_make(folder, "run/many.h5", DATA_MAX_ROWS);
    sd_shard_reader *reader = NULL;
    char *rows = malloc(DATA_MAX_ROWS * DATA_WIDTH * sizeof(float));
    uint64_t set, i, shape[SD_ARRAY_DIMS], value = 0;
    sd_dtype type;
    int dims;

    (void)par;
    CHECK_OK(sd_shard_open(&reader, s->path, "saediff.test", 1));
    if (reader == NULL || rows == NULL)
        return;
    CHECK_OK(sd_shard_attr_u64(reader, "first_row", &value));
    CHECK(value == 1000);
    for (set = 0; set < DATA_SETS; set++) {
        const sd_array *a = &s->sets[set];
        size_t row = sd_dtype_size(a->type) * (a->dims == 2 ? DATA_WIDTH : 1);

        CHECK_OK(sd_shard_shape(reader, a->name, &type, &dims, shape));
        CHECK(type == a->type && dims == a->dims && shape[0] == a->shape[0] && (dims == 1 || shape[1] == DATA_WIDTH));
        for (i = 0; i < sizeof spans / sizeof spans[0]; i++) {
            sd_span span = sd_span_intersect(spans[i], (sd_span){0, a->shape[0]});

            span.first = span.count > 0 ? span.first : a->shape[0];
            CHECK_OK(sd_shard_read(reader, a->name, span, rows));
            CHECK(memcmp(rows, shard_data_row(s, set, span.first), span.count * row) == 0);
        }
    }
    CHECK_FAILS(sd_shard_read(reader, "list", (sd_span){3000, 1}, rows), SD_E_INTERNAL, "rows 3000 to 3001");
    CHECK_FAILS(sd_shard_shape(reader, "absent", &type, &dims, shape), SD_E_DATA, "no dataset 'absent'");
    CHECK_OK(sd_shard_verify(reader));
    sd_shard_close(&reader);
    CHECK(reader == NULL);
    free(rows);
    shard_data_free(s);
}

static void test_strangers(const char *folder)
{
    char path[256];
    sd_shard_reader *reader = NULL;

    scratch_path(path, folder, "run/many.h5");
    CHECK_FAILS(sd_shard_open(&reader, path, "saediff.codes", 1), SD_E_DATA, "'saediff.test', not 'saediff.codes'");
    CHECK_FAILS(sd_shard_open(&reader, path, "saediff.test", 0), SD_E_DATA, "version 1");
    CHECK_FAILS(sd_shard_open(&reader, "none.h5", "saediff.test", 1), SD_E_DATA, "none.h5");
    CHECK(reader == NULL);
}

/* Rank 0 alone. */
static void test_damage_is_named(const char *folder)
{
    shard_data *s = shard_data_make(folder, "run/many.h5", DATA_MAX_ROWS);
    sd_shard_reader *reader = NULL;
    float row[DATA_WIDTH];
    long base = scratch_find(s->path, s->f32, 4000);

    CHECK(base > 0);
    scratch_flip(s->path, base + (long)(5000 * sizeof row) + 3, 16);
    scratch_flip(s->path, base + (long)(9000 * sizeof row) + 19, 1);
    CHECK_OK(sd_shard_open(&reader, s->path, "saediff.test", 1));
    if (reader == NULL)
        return;
    CHECK_OK(sd_shard_read(reader, "activations", (sd_span){17, 1}, row));
    CHECK_FAILS(sd_shard_read(reader, "activations", (sd_span){4097, 1}, row), SD_E_DATA,
                "run/many.h5: block 1 of dataset 'activations' (rows 4096 to 8191) is damaged");
    CHECK_FAILS(sd_shard_read(reader, "activations", (sd_span){8192, 1}, row), SD_E_DATA, "(rows 8192 to 9000)");
    CHECK_FAILS(sd_shard_verify(reader), SD_E_DATA, "2 damaged blocks: 'activations' block 1 (rows 4096 to 8191), ");
    sd_shard_close(&reader);
    shard_data_free(s);
}

static char folder[TEST_FOLDER];

static void begin(void)
{
    ranks_folder(folder);
}

static void test_same_bytes(void)
{
    test_bytes_are_those_of_one_rank(ranks, folder, 0, 1);
    test_bytes_are_those_of_one_rank(ranks, folder, 2, 1);
    test_bytes_are_those_of_one_rank(ranks, folder, 4096, 4096);
    test_bytes_are_those_of_one_rank(ranks, folder, DATA_MAX_ROWS, 613);
}

static void test_what_was_written(void)
{
    test_bytes_are_those_of_one_rank(ranks, folder, DATA_MAX_ROWS, 613);
    test_reading(ranks, folder);
    test_strangers(folder);
    CHECK_OK(sd_par_agree(ranks, SD_OK));
    if (ranks->rank == 0)
        test_damage_is_named(folder);
}

static const test_case tests[] = {
    TEST(test_same_bytes),
    TEST(test_what_was_written),
};

RANKS_MAIN(tests, begin, NULL, 1, 2, 3, 4, 7)

/* Batches from shards equal a naive gather of the rows that the data order names. */
#include "saediff/dev/dense.h"
#include "saediff/flow/source.h"

#include "saediff/core/mem.h"
#include "saediff/store/shard.h"
#include "store/scratch.h"
#include "stream.h"
#include "ranks.h"

enum { DOCS = 401, D = 11, SHARD_ROWS = 1500, MAX_SHARDS = 8, BATCH = 48, WINDOW = 500 };

typedef struct shards {
    char names[MAX_SHARDS][256];
    const char *paths[MAX_SHARDS];
    uint64_t count;
} shards;

/* Exact in bf16: small integers, different for each place nearby. */
static float element(uint64_t row, uint64_t column)
{
    return (float)((row * 7 + column * 31) % 251) - 125;
}

static void write_shard(const sd_par *par, sd_manifest *m, const char *path, sd_dtype type, sd_span rows, uint64_t width)
{
    const sd_attr attrs[] = {{.name = "first_row", .kind = SD_ATTR_U64, .u64 = rows.first},
                             {.name = "rows", .kind = SD_ATTR_U64, .u64 = rows.count}};
    const sd_array set = {.name = "activations", .type = type, .dims = 2, .shape = {rows.count, width}, .unit = "activation",
                          .about = "test"};
    const sd_shard_spec spec = {path, SD_ACTIVATIONS_FORMAT, 1, attrs, 2, &set, 1};
    sd_span mine = sd_par_split(rows.count, par->rank, par->size);
    float *floats = calloc(mine.count * width + 1, sizeof *floats);
    char *data = calloc(mine.count * width + 1, sizeof *floats);
    sd_shard *shard = NULL;
    uint64_t r, c;
    sd_status st;

    if (floats == NULL || data == NULL)
        abort();
    for (r = 0; r < mine.count; r++)
        for (c = 0; c < width; c++)
            floats[r * width + c] = element(rows.first + mine.first + r, c);
    sd_convert(data, type, floats, SD_F32, mine.count * width);
    CHECK_OK(sd_shard_create(&shard, par, &spec));
    if (shard != NULL) {
        st = sd_shard_write(shard, 0, mine, data);
        CHECK_OK(sd_shard_commit(&shard, m, "key", st));
    }
    free(floats);
    free(data);
}

static shards write_shards(const sd_par *par, sd_manifest *m, const char *folder, const sd_tokens *t, sd_dtype type)
{
    shards s = {.count = 0};
    uint64_t first;

    for (first = 0; first < t->tokens; first += SHARD_ROWS, s.count++) {
        uint64_t n = t->tokens - first < SHARD_ROWS ? t->tokens - first : SHARD_ROWS;

        snprintf(s.names[s.count], sizeof s.names[0], "%s/%s-%llu.h5", folder, sd_dtype_name(type),
                 (unsigned long long)s.count);
        write_shard(par, m, s.names[s.count], type, (sd_span){first, n}, D);
    }
    CHECK(s.count == 3);
    return s;
}

static void set_paths(shards *s)
{
    uint64_t i;

    for (i = 0; i < s->count; i++)
        s->paths[i] = s->names[i];
}

/* The rows [BATCH] of a step as the order alone gives them. */
static void naive_rows(sd_order *order, uint64_t step, uint64_t *batch)
{
    uint64_t steps = sd_order_steps_per_epoch(order), per_window = sd_order_window(order) / BATCH, rows[WINDOW], count = 0;

    CHECK_OK(sd_order_fill(order, step / steps, step % steps / per_window, rows, &count));
    memcpy(batch, rows + step % steps % per_window * BATCH, BATCH * sizeof *batch);
}

static void check_rows(sd_dev *dev, sd_order *order, uint64_t step, uint64_t n, sd_mat x)
{
    static sd_real host[WINDOW * D];
    uint64_t i, c, bad = 0, rows[BATCH];

    CHECK(x.rows == n && x.cols == D);
    CHECK_OK(sd_dev_download(dev, x, host));
    for (i = 0; i < n; i++) {
        if (i % BATCH == 0)
            naive_rows(order, step + i / BATCH, rows);
        for (c = 0; c < D; c++)
            bad += (double)host[i * D + c] != (double)element(rows[i % BATCH], c);
    }
    CHECK(bad == 0);
}

/* Takes the negative of rows. */
static sd_status negate(void *self, sd_dev *dev, sd_mat rows)
{
    ++*(int *)self;
    return sd_dev_scale(dev, &(sd_scale){.x = rows, .y = rows, .scale = -1});
}

static void check_filter(sd_dev *dev, sd_source *source)
{
    static sd_real plain[2][BATCH * D], after[2][BATCH * D];
    int times = 0;
    sd_mat x[2] = {{0}};
    uint64_t bad = 0;

    for (int pass = 0; pass < 2; pass++) {
        CHECK_OK(sd_source_batch(source, 1, &x[0]));
        CHECK_OK(sd_source_head(source, BATCH, &x[1]));
        for (int i = 0; i < 2; i++)
            CHECK_OK(sd_dev_download(dev, x[i], pass ? after[i] : plain[i]));
        sd_source_transform(source, (sd_transform){negate, &times});
    }
    for (int i = 0; i < 2; i++)
        for (uint64_t j = 0; j < BATCH * D; j++)
            bad += after[i][j] != -plain[i][j];
    CHECK(bad == 0 && times == 2);
}

static void test_batches(const char *backend, sd_order *order, const sd_tokens *t, shards *s)
{
    uint64_t steps = sd_order_steps_per_epoch(order), step;
    const uint64_t jumps[] = {2 * steps + 3, 0, 11, 10, steps - 1, steps};
    sd_source *source = NULL;
    sd_dev *dev = NULL;
    sd_mat x = {0};
    size_t j;

    set_paths(s);
    CHECK_OK(sd_dev_open(&dev, backend, 1));
    CHECK_OK(sd_source_open_shards(&source, dev, order, t->tokens, s->paths, s->count));
    if (source == NULL)
        return;
    for (step = 0; step < steps + 2; step++) {
        CHECK_OK(sd_source_batch(source, step, &x));
        check_rows(dev, order, step, BATCH, x);
    }
    for (j = 0; j < sizeof jumps / sizeof jumps[0]; j++) {
        CHECK_OK(sd_source_batch(source, jumps[j], &x));
        check_rows(dev, order, jumps[j], BATCH, x);
    }
    CHECK_OK(sd_source_head(source, 3 * BATCH + 5, &x));
    check_rows(dev, order, 0, 3 * BATCH + 5, x);
    CHECK_FAILS(sd_source_head(source, WINDOW + 1, &x), SD_E_INTERNAL, "501 rows");
    check_filter(dev, source);
    sd_source_close(&source);
    CHECK(source == NULL);
    sd_dev_close(&dev);
}

static void test_shards_that_do_not_fit(sd_order *order, const sd_tokens *t, shards *s, shards *other, const char *wide)
{
    const char *swapped[3], *mixed[3], *wider[3];
    sd_source *source = NULL;
    sd_dev *dev = NULL;

    set_paths(s);
    set_paths(other);
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    CHECK_FAILS(sd_source_open_shards(&source, dev, order, t->tokens, s->paths, 2), SD_E_DATA, "the 2 shards hold 3000 rows");
    CHECK_FAILS(sd_source_open_shards(&source, dev, order, t->tokens, s->paths, 0), SD_E_DATA, "no file");
    swapped[0] = s->paths[0], swapped[1] = s->paths[2], swapped[2] = s->paths[1];
    CHECK_FAILS(sd_source_open_shards(&source, dev, order, t->tokens, swapped, 3), SD_E_DATA, "begins at row 3000");
    mixed[0] = s->paths[0], mixed[1] = other->paths[1], mixed[2] = s->paths[2];
    CHECK_FAILS(sd_source_open_shards(&source, dev, order, t->tokens, mixed, 3), SD_E_DATA, "has rows of 11 bf16");
    wider[0] = s->paths[0], wider[1] = wide, wider[2] = s->paths[2];
    CHECK_FAILS(sd_source_open_shards(&source, dev, order, t->tokens, wider, 3), SD_E_DATA, "has rows of 12 f32");
    wider[1] = "none.h5";
    CHECK_FAILS(sd_source_open_shards(&source, dev, order, t->tokens, wider, 3), SD_E_DATA, "none.h5");
    CHECK(source == NULL);
    sd_dev_close(&dev);
}

/* A damaged row is found when its window is read, not before. */
static void test_damage_stops_the_batch(sd_order *order, const sd_tokens *t, shards *s)
{
    sd_source *source = NULL;
    sd_dev *dev = NULL;
    sd_mat x = {0};
    float row[D];
    uint64_t step, c, failed = 0;

    for (c = 0; c < D; c++)
        row[c] = element(10, c);
    scratch_flip(s->names[0], scratch_find(s->names[0], row, sizeof row), 2);
    set_paths(s);
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    CHECK_OK(sd_source_open_shards(&source, dev, order, t->tokens, s->paths, s->count));
    for (step = 0; source != NULL && step < sd_order_steps_per_epoch(order); step++)
        if (sd_source_batch(source, step, &x) != SD_OK) {
            failed++;
            CHECK(strstr(sd_last_error(), "block 0 of dataset 'activations'") != NULL);
        }
    CHECK(failed > 0);
    sd_source_close(&source);
    sd_dev_close(&dev);
}

static sd_tokens *stream;
static sd_order *stream_order;
static sd_manifest *manifest;
static shards f32, bf16;
static char wide_path[256];

static void begin(void)
{
    char folder[TEST_FOLDER];

    stream = stream_make(DOCS);
    ranks_folder(folder);
    CHECK_OK(sd_manifest_open(&manifest, ranks, folder));
    CHECK_OK(sd_order_create(&stream_order, stream, 7, BATCH, WINDOW));
    f32 = write_shards(ranks, manifest, folder, stream, SD_F32);
    bf16 = write_shards(ranks, manifest, folder, stream, SD_BF16);
    write_shard(ranks, manifest, scratch_path(wide_path, folder, "wide.h5"), SD_F32, (sd_span){SHARD_ROWS, SHARD_ROWS}, D + 1);
}

static void end(void)
{
    sd_order_destroy(&stream_order);
    sd_manifest_close(&manifest);
    sd_tokens_destroy(&stream);
}

static void test_all_batches(void)
{
    test_batches("cpu", stream_order, stream, &f32);
    test_batches("cpu", stream_order, stream, &bf16);
    test_batches("strict", stream_order, stream, &f32);
}

static void test_unfit_shards(void)
{
    test_shards_that_do_not_fit(stream_order, stream, &f32, &bf16, wide_path);
}

static void test_damage(void)
{
    CHECK_OK(sd_par_agree(ranks, SD_OK));
    if (ranks->rank == 0)
        test_damage_stops_the_batch(stream_order, stream, &f32);
}

static const test_case tests[] = {
    TEST(test_all_batches),
    TEST(test_unfit_shards),
    TEST(test_damage),
};

RANKS_MAIN(tests, begin, end, 1, 3)

/* Conditions put into a model: against whole passes with the rows replaced, and against plain sums of the logits. */
#include "model/tiny.h"

#include "saediff/splice/splice.h"

enum { ROWS = 45, DOCS = 2, D = 24, V = 50 };

static const sd_model_config shape = TINY_SHAPE(D, 3, 4, 2, 6, 40, V, 64, 1e-5, 10000, true);
static const sd_site site = {SD_SITE_RESID_MID, 1};
static const uint64_t start[DOCS + 1] = {0, 19, ROWS};
static int32_t ids[ROWS], target[ROWS];
static uint8_t mask[ROWS];
static float x[ROWS * D];

typedef struct bench {
    sd_dev *dev;
    sd_model *model;
    sd_splice *splice;
    sd_buf *x, *state;
    double clean[ROWS], nll[ROWS], kl[ROWS];
} bench;

static void open_bench(bench *b, const char *device, const char *dir)
{
    catcher c = {x, ROWS * D, 0, 0};
    const sd_tap tap = read_tap(site, &c);

    CHECK_OK(sd_dev_open(&b->dev, device, 2));
    CHECK_OK(sd_model_open(&b->model, b->dev, dir, ROWS));
    CHECK_OK(sd_splice_create(&b->splice, b->dev, b->model, ROWS));
    CHECK_OK(sd_buf_create(&b->x, b->dev, SD_REAL, ROWS * D));
    CHECK_OK(sd_buf_create(&b->state, b->dev, SD_REAL, ROWS * D));
    CHECK_OK(sd_model_forward(b->model, &(sd_pass){.ids = ids, .doc_start = start, .docs = DOCS, .taps = &tap, .n_taps = 1}));
    CHECK_OK(sd_dev_upload(b->dev, x, sd_mat_of(b->x, ROWS, D)));
}

static void close_bench(bench *b)
{
    sd_buf_destroy(&b->x);
    sd_buf_destroy(&b->state);
    sd_splice_destroy(&b->splice);
    sd_model_close(&b->model);
    sd_dev_close(&b->dev);
}

static void begin_bench(bench *b)
{
    CHECK_OK(sd_splice_begin(b->splice,
                            &(sd_splice_batch){.site = site, .doc_start = start, .docs = DOCS, .x = sd_mat_of(b->x, ROWS, D),
                                             .mask = mask, .target = target},
                            b->clean));
}

static void score(bench *b, const float *state, uint64_t rows)
{
    sd_mat m = sd_mat_of(b->state, rows, D);

    CHECK_OK(sd_dev_upload(b->dev, state, m));
    CHECK_OK(sd_splice_score(b->splice, m, b->nll, b->kl));
}

static double log_sum(const float *row)
{
    double most = (double)row[0], sum = 0;

    for (int i = 1; i < V; i++)
        most = (double)row[i] > most ? (double)row[i] : most;
    for (int i = 0; i < V; i++)
        sum += exp((double)row[i] - most);
    return most + log(sum);
}

/* Logits of a whole pass, with the rows at the site replaced where `rows` is given. */
static void whole_pass(bench *b, const float *rows, float *logits)
{
    sd_buf *value, *out;
    sd_tap tap = {.site = site, .kind = SD_TAP_REPLACE};

    CHECK_OK(sd_buf_create(&value, b->dev, SD_REAL, ROWS * D));
    CHECK_OK(sd_buf_create(&out, b->dev, SD_REAL, ROWS * V));
    tap.value = sd_mat_of(value, ROWS, D);
    if (rows != NULL)
        CHECK_OK(sd_dev_upload(b->dev, rows, tap.value));
    CHECK_OK(sd_model_forward(b->model, &(sd_pass){.ids = ids, .doc_start = start, .docs = DOCS, .taps = &tap,
                                                   .n_taps = rows != NULL, .to_logits = true}));
    CHECK_OK(sd_model_logits(b->model, (sd_span){0, ROWS}, sd_mat_of(out, ROWS, V)));
    CHECK_OK(sd_dev_download(b->dev, sd_mat_of(out, ROWS, V), logits));
    sd_buf_destroy(&value);
    sd_buf_destroy(&out);
}

static void test_identity(bench *b)
{
    begin_bench(b);
    score(b, x, ROWS);
    for (int r = 0; r < ROWS; r++) {
        CHECK(b->kl[r] == 0 && !signbit(b->kl[r]));
        CHECK(b->nll[r] == b->clean[r] && (target[r] >= 0 || (b->nll[r] == 0 && !signbit(b->nll[r]))));
    }
}

/* What is put in stands where the mask is 1; losses and divergences are those of the whole pass with these rows. */
static void test_condition(bench *b, const float *state)
{
    static float with[ROWS * D], clean[ROWS * V], changed[ROWS * V];

    for (int i = 0; i < ROWS * D; i++)
        with[i] = mask[i / D] ? state[i] : x[i];
    whole_pass(b, NULL, clean);
    whole_pass(b, with, changed);
    begin_bench(b);
    score(b, state, ROWS);
    for (int r = 0; r < ROWS; r++) {
        const float *p = clean + r * V, *q = changed + r * V;
        double lp = log_sum(p), lq = log_sum(q), kl = 0;

        for (int i = 0; i < V; i++)
            kl += exp((double)p[i] - lp) * (((double)p[i] - lp) - ((double)q[i] - lq));
        CHECK_NEAR(b->kl[r], kl, 1e-5 * (1 + kl));
        CHECK_NEAR(b->nll[r], target[r] < 0 ? 0 : lq - (double)q[target[r]], 1e-5);
        CHECK_NEAR(b->clean[r], target[r] < 0 ? 0 : lp - (double)p[target[r]], 1e-5);
    }
}

/* No state is zero everywhere, one row stands for all; what was scored before does not show. */
static void test_short_forms(bench *b)
{
    float rows[ROWS * D] = {0};
    double nll[ROWS], kl[ROWS];

    begin_bench(b);
    score(b, rows, ROWS);
    memcpy(nll, b->nll, sizeof nll);
    memcpy(kl, b->kl, sizeof kl);
    score(b, x, ROWS);
    CHECK_OK(sd_splice_score(b->splice, (sd_mat){0}, b->nll, b->kl));
    CHECK(memcmp(nll, b->nll, sizeof nll) == 0 && memcmp(kl, b->kl, sizeof kl) == 0);
    for (int i = 0; i < ROWS * D; i++)
        rows[i] = x[7 * D + i % D];
    score(b, rows, ROWS);
    memcpy(nll, b->nll, sizeof nll);
    memcpy(kl, b->kl, sizeof kl);
    score(b, rows, 1);
    CHECK(memcmp(nll, b->nll, sizeof nll) == 0 && memcmp(kl, b->kl, sizeof kl) == 0);
}

static void test_all_kept(bench *b)
{
    uint8_t kept[ROWS];

    memcpy(kept, mask, sizeof kept);
    memset(mask, 0, sizeof mask);
    begin_bench(b);
    CHECK_OK(sd_splice_score(b->splice, (sd_mat){0}, b->nll, b->kl));
    for (int r = 0; r < ROWS; r++)
        CHECK(b->kl[r] == 0 && b->nll[r] == b->clean[r]);
    memcpy(mask, kept, sizeof kept);
}

static tiny probed = {.type = SD_F32};
static bench cpu;
static float state[ROWS * D];

static void begin(void)
{
    probed.c = shape;
    tiny_make(&probed);
    tiny_ids(ids, ROWS, V);
    for (uint64_t r = 0; r < ROWS; r++) {
        target[r] = r + 1 == start[1] || r + 1 == ROWS ? -1 : ids[r + 1];
        mask[r] = r != 0 && r != start[1] && r % 11 != 5;
    }
    for (uint64_t i = 0; i < ROWS * D; i++)
        state[i] = (float)sd_random_normal(sd_key_make(5, SD_STREAM_TEST, 9), i);
    open_bench(&cpu, "cpu", probed.dir);
}

static void end(void)
{
    close_bench(&cpu);
    tiny_remove(&probed);
}

static void test_sites(void)
{
    CHECK(sd_splice_can(site));
    CHECK(sd_splice_can((sd_site){SD_SITE_RESID_PRE, 0}));
    CHECK(sd_splice_can((sd_site){SD_SITE_RESID_POST, 2}));
    CHECK(!sd_splice_can((sd_site){SD_SITE_MLP_OUT, 0}));
    CHECK(!sd_splice_can((sd_site){SD_SITE_EMBED, 0}));
}

static void test_through_identity(void)
{
    test_identity(&cpu);
}

static void test_through_states(void)
{
    test_condition(&cpu, state);
}

static void test_forms(void)
{
    test_short_forms(&cpu);
    test_all_kept(&cpu);
}

static void test_strict_gives_the_same(void)
{
    bench strict = {0};

    open_bench(&strict, "strict", probed.dir);
    begin_bench(&cpu);
    begin_bench(&strict);
    score(&cpu, state, ROWS);
    score(&strict, state, ROWS);
    CHECK(memcmp(cpu.nll, strict.nll, sizeof cpu.nll) == 0);
    CHECK(memcmp(cpu.kl, strict.kl, sizeof cpu.kl) == 0);
    close_bench(&strict);
}

static void test_bad_slab(void)
{
    CHECK_FAILS(sd_splice_begin(cpu.splice, &(sd_splice_batch){.site = site, .doc_start = start, .docs = 1, .x = sd_mat_of(cpu.x, ROWS, D),
                                                           .mask = mask, .target = target}, cpu.clean),
                SD_E_INTERNAL, "documents end at row 19");
}

static const test_case tests[] = {
    TEST(test_sites),
    TEST(test_through_identity),
    TEST(test_through_states),
    TEST(test_forms),
    TEST(test_strict_gives_the_same),
    TEST(test_bad_slab),
};

TEST_MAIN(tests, begin, end)

/* What taps do to a pass, and passes that begin in the middle or stop early. */
#include "tiny.h"

enum { ROWS = 45, DOCS = 2 };

static const sd_model_config shape = TINY_SHAPE(24, 3, 4, 2, 6, 40, 50, 64, 1e-5, 10000, true);
static const uint64_t start[DOCS + 1] = {0, 19, ROWS};
static int32_t ids[ROWS];
static sd_dev *dev;
static sd_model *model;
static readings plain; /* of the pass without changes */
static tiny tapped = {.type = SD_F32};

static sd_pass whole(void)
{
    return (sd_pass){.ids = ids, .doc_start = start, .docs = DOCS};
}

static sd_mat upload(const float *rows)
{
    sd_mat m;
    sd_buf *buf;

    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, ROWS * shape.d_model));
    m = sd_mat_of(buf, ROWS, shape.d_model);
    CHECK_OK(sd_dev_upload(dev, rows, m));
    return m;
}

/* Replacing rows by what they are, and adding nothing, changes no bit anywhere. */
static void test_nothing_changed(void)
{
    float zeros[ROWS * 24] = {0};
    readings r;

    readings_make(&r, &shape, ROWS);
    for (uint64_t i = 0; i < plain.sites; i++) {
        sd_tap tap = {
            .site = tiny_site(&shape, i), .kind = SD_TAP_REPLACE, .value = upload(plain.at[i].rows)};

        readings_take(&r, model, dev, whole(), &tap, 1);
        CHECK(same_readings(&plain, &r, &shape, 0));
        sd_buf_destroy(&tap.value.buf);
        tap = (sd_tap){.site = tap.site, .kind = SD_TAP_ADD, .value = upload(zeros)};
        readings_take(&r, model, dev, whole(), &tap, 1);
        CHECK(same_readings(&plain, &r, &shape, 0));
        sd_buf_destroy(&tap.value.buf);
    }
    readings_free(&r);
}

/* A pass from a residual site with the state read there ends like the whole pass. */
static void test_from(void)
{
    readings r;

    readings_make(&r, &shape, ROWS);
    for (uint64_t i = 1; i + 1 < plain.sites; i++) {
        sd_site site = tiny_site(&shape, i);
        sd_pass pass = whole();

        pass.from = &site;
        pass.ids = NULL;
        pass.state = upload(plain.at[i].rows);
        if (site.kind == SD_SITE_ATTN_OUT || site.kind == SD_SITE_MLP_OUT) {
            CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL, "a pass cannot begin at");
        } else {
            readings_take(&r, model, dev, pass, NULL, 0);
            CHECK(same_readings(&plain, &r, &shape, i));
        }
        sd_buf_destroy(&pass.state.buf);
    }
    readings_free(&r);
}

/* What is replaced is what later sites read; what is added arrives; taps act in the order given. */
static void test_changes(void)
{
    float zeros[ROWS * 24] = {0}, ones[ROWS * 24], seen[2][ROWS * 24];
    catcher before = {seen[0], ROWS * 24, 0, 0}, after = {seen[1], ROWS * 24, 0, 0};
    sd_site out = {SD_SITE_ATTN_OUT, 1}, mid = {SD_SITE_RESID_MID, 1};
    sd_mat zero, one;
    readings r;

    for (int i = 0; i < ROWS * 24; i++)
        ones[i] = 1;
    zero = upload(zeros);
    one = upload(ones);
    readings_make(&r, &shape, ROWS);
    {
        sd_tap taps[] = {{.site = out, .kind = SD_TAP_REPLACE, .value = zero},
                         read_tap(mid, &before),
                         {.site = mid, .kind = SD_TAP_ADD, .value = one},
                         read_tap(mid, &after)};

        readings_take(&r, model, dev, whole(), taps, 4);
    }
    /* Sites: 0 embed, then five per layer; 6 is resid_pre of layer 1, 8 its resid_mid. */
    CHECK(memcmp(seen[0], plain.at[6].rows, sizeof seen[0]) == 0);
    for (int i = 0; i < ROWS * 24; i++)
        CHECK(seen[1][i] == seen[0][i] + 1);
    CHECK(memcmp(r.at[8].rows, seen[1], sizeof seen[1]) == 0);
    CHECK(memcmp(r.at[6].rows, plain.at[6].rows, sizeof seen[0]) == 0);
    CHECK(memcmp(r.logits, plain.logits, ROWS * shape.vocabulary * sizeof(float)) != 0);
    readings_free(&r);
    sd_buf_destroy(&zero.buf);
    sd_buf_destroy(&one.buf);
}

/* On the strict device each operation is one entry of the queue: their number is what a pass computes. */
static uint64_t work_of(const char *dir, sd_site site)
{
    float rows[ROWS * 24];
    catcher c = {rows, ROWS * 24, 0, 0};
    sd_tap tap = read_tap(site, &c);
    sd_pass pass = {.ids = ids, .doc_start = start, .docs = DOCS, .taps = &tap, .n_taps = 1};
    sd_dev *strict;
    sd_model *m;
    uint64_t before, after;

    CHECK_OK(sd_dev_open(&strict, "strict", 1));
    CHECK_OK(sd_model_open(&m, strict, dir, ROWS));
    before = sd_mem_count();
    CHECK_OK(sd_model_forward(m, &pass));
    after = sd_mem_count();
    CHECK(c.calls == 1);
    sd_model_close(&m);
    sd_dev_close(&strict);
    return after - before;
}

/* The pass ends with its last tap, however deep the model is. */
static void test_stop(void)
{
    const char *dir = tapped.dir;
    tiny flat = {.c = shape, .type = SD_F32};
    float rows[ROWS * 24];
    catcher c = {rows, ROWS * 24, 0, 0};
    sd_tap tap = read_tap((sd_site){SD_SITE_RESID_POST, 0}, &c);
    sd_pass pass = whole();
    sd_buf *buf;
    uint64_t last = 0;

    flat.c.n_layers = 1;
    tiny_make(&flat);
    for (uint64_t i = 0; i < 6; i++) {
        uint64_t work = work_of(dir, tiny_site(&shape, i));

        CHECK(work == work_of(flat.dir, tiny_site(&shape, i)));
        CHECK(work >= last);
        last = work;
    }
    CHECK(work_of(dir, tiny_site(&shape, 10)) > last);
    tiny_remove(&flat);

    pass.taps = &tap;
    pass.n_taps = 1;
    CHECK_OK(sd_model_forward(model, &pass));
    CHECK(memcmp(rows, plain.at[5].rows, sizeof rows) == 0);
    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, ROWS * shape.vocabulary));
    CHECK_FAILS(sd_model_logits(model, (sd_span){0, ROWS}, sd_mat_of(buf, ROWS, shape.vocabulary)),
                SD_E_INTERNAL, "need a preceding pass with to_logits");
    sd_buf_destroy(&buf);
}

static sd_status failing_put(void *self, sd_dev *d, sd_mat rows)
{
    (void)self, (void)d, (void)rows;
    return SD_FAIL(SD_E_ENV, "the sink is full");
}

static void test_refusals(void)
{
    float rows[ROWS * 24];
    catcher c = {rows, ROWS * 24, 0, 0};
    sd_tap tap = read_tap((sd_site){SD_SITE_RESID_PRE, 0}, &c);
    sd_site mid = {SD_SITE_RESID_MID, 0};
    sd_pass pass = whole();
    uint64_t late[2] = {1, 5}, none[2] = {0, 0}, wide[2] = {0, ROWS + 1}, back[3] = {0, 9, 4};

    pass.taps = &tap;
    pass.n_taps = 1;
    pass.from = &mid;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL,
                "a tap at blocks.0.hook_resid_pre in a pass that begins at blocks.0.hook_resid_mid");
    pass.from = NULL;
    tap.site.layer = 3;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL, "the model has 3 layers");
    tap.site.layer = 0;
    tap.sink.put = failing_put;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_ENV, "the sink is full");
    pass.n_taps = 0;
    pass.docs = 1;
    pass.doc_start = late;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL, "does not begin at row 0");
    pass.doc_start = none;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL, "a pass without rows");
    pass.doc_start = wide;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL, "the maximum is 45 rows");
    pass.docs = 2;
    pass.doc_start = back;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_INTERNAL, "document 1 of a pass ends at row 4");
}

static void begin(void)
{
    tapped.c = shape;
    tiny_make(&tapped);
    tiny_ids(ids, ROWS, shape.vocabulary);
    CHECK_OK(sd_dev_open(&dev, "cpu", 2));
    CHECK_OK(sd_model_open(&model, dev, tapped.dir, ROWS));
    readings_make(&plain, &shape, ROWS);
    readings_take(&plain, model, dev, whole(), NULL, 0);
}

static void end(void)
{
    readings_free(&plain);
    sd_model_close(&model);
    sd_dev_close(&dev);
    tiny_remove(&tapped);
}

static const test_case tests[] = {
    TEST(test_nothing_changed),
    TEST(test_from),
    TEST(test_changes),
    TEST(test_stop),
    TEST(test_refusals),
};

TEST_MAIN(tests, begin, end)

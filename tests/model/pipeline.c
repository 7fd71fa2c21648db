/* A model dealt to ranks computes at every site and in the logits what one rank computes, to the bit; whatever fails on one of them, or leaves
 * early, no rank waits for another, and the next series is whole. */
#include "tiny.h"

#include "saediff/model/pipeline.h"
#include "saediff/model/train.h"
#include "ranks.h"

enum { PASSES = 4, ROWS = 40, WIDTH = 24 };

static const sd_par *par;
static sd_dev *dev;
static const char *dir;
static const sd_model_config *config;
static int32_t ids[PASSES][ROWS];
static uint64_t starts[PASSES][3];
static readings want[PASSES]; /* of a model on one rank */
static sd_pipeline *pipeline;

static sd_pass pass_of(int k)
{
    return (sd_pass){.ids = ids[k], .doc_start = starts[k], .docs = 2};
}

static uint64_t rows_of(int k)
{
    return starts[k][2];
}

/* Two documents each, of odd lengths, more rows from pass to pass. */
static void make_passes(void)
{
    for (int k = 0; k < PASSES; k++) {
        starts[k][1] = 3 + (uint64_t)k * 2;
        starts[k][2] = ROWS - 1 - 5 * (uint64_t)(PASSES - 1 - k);
        for (uint64_t i = 0; i < rows_of(k); i++)
            ids[k][i] = (int32_t)(sd_random_u64(sd_key_make(5, SD_STREAM_TEST, (uint64_t)k), i) % config->vocabulary);
    }
}

static sd_mat upload(const float *rows, uint64_t n)
{
    sd_mat m;
    sd_buf *buf;

    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, n * WIDTH));
    m = sd_mat_of(buf, n, WIDTH);
    CHECK_OK(sd_dev_upload(dev, rows, m));
    return m;
}

static bool has_logits(void)
{
    return sd_pipeline_has(pipeline, (sd_site){SD_SITE_NORMALIZED, 0});
}

static void check_logits(const readings *r)
{
    sd_model *model = sd_pipeline_model(pipeline);
    uint64_t v = config->vocabulary, n = r->n;
    float *logits;
    sd_buf *buf;

    CHECK_OK(SD_NEW(&logits, n * v));
    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, n * v));
    CHECK_OK(sd_model_logits(model, (sd_span){0, n / 2}, sd_mat_of(buf, n / 2, v)));
    CHECK_OK(sd_model_logits(model, (sd_span){n / 2, n - n / 2}, sd_mat_rows(sd_mat_of(buf, n, v), n / 2, n - n / 2)));
    CHECK_OK(sd_dev_download(dev, sd_mat_of(buf, n, v), logits));
    CHECK(memcmp(logits, r->logits, n * v * sizeof *logits) == 0);
    sd_buf_destroy(&buf);
    sd_free(logits);
}

/* The pass with every site from its beginning on read behind the extra taps gives what r says. */
static void check_pass(sd_pass pass, const sd_tap *extra, uint64_t n_extra, const readings *r)
{
    static float seen[64][ROWS * WIDTH];
    catcher caught[64];
    sd_tap taps[80];

    pass.n_taps = 0;
    pass.taps = taps;
    pass.to_logits = true;
    for (uint64_t i = 0; i < n_extra; i++)
        taps[pass.n_taps++] = extra[i];
    for (uint64_t i = 0; i < r->sites; i++) {
        caught[i] = (catcher){seen[i], ROWS * WIDTH, 0, 0};
        if (pass.from == NULL || sd_site_compare(tiny_site(config, i), *pass.from) >= 0)
            taps[pass.n_taps++] = read_tap(tiny_site(config, i), &caught[i]);
    }
    CHECK_OK(sd_pipeline_forward(pipeline, &pass));
    for (uint64_t i = 0; i < r->sites; i++) {
        bool asked = pass.from == NULL || sd_site_compare(tiny_site(config, i), *pass.from) >= 0;

        CHECK(caught[i].calls == (asked && sd_pipeline_has(pipeline, tiny_site(config, i)) ? 1 : 0));
        CHECK(caught[i].calls == 0 || memcmp(seen[i], r->at[i].rows, r->n * WIDTH * sizeof(float)) == 0);
    }
    if (has_logits())
        check_logits(r);
}

static void test_all_sites(void)
{
    for (int k = 0; k < PASSES; k++)
        check_pass(pass_of(k), NULL, 0, &want[k]);
    CHECK_OK(sd_pipeline_end(pipeline, SD_OK));
}

/* A change at each site, made on the rank that has it, is what all stages behind it read. */
static void test_changes(sd_model *whole)
{
    float change[ROWS * WIDTH];
    uint64_t n = rows_of(PASSES - 1);
    readings r;

    for (uint64_t i = 0; i < ROWS * WIDTH; i++)
        change[i] = (float)sd_random_normal(sd_key_make(8, SD_STREAM_TEST, 1), i);
    for (uint64_t i = 0; i < want[0].sites; i += 3) { /* every kind of site is among them */
        sd_tap here = {.site = tiny_site(config, i), .kind = i % 2 ? SD_TAP_ADD : SD_TAP_REPLACE, .value = upload(change, n)}, there = here;

        readings_make(&r, config, n);
        readings_take(&r, whole, dev, pass_of(PASSES - 1), &here, 1);
        CHECK(!same_readings(&r, &want[PASSES - 1], config, i));
        if (!sd_pipeline_has(pipeline, here.site))
            there.value = (sd_mat){0};
        check_pass(pass_of(PASSES - 1), &there, 1, &r);
        readings_free(&r);
        sd_buf_destroy(&here.value.buf);
    }
    CHECK_OK(sd_pipeline_end(pipeline, SD_OK));
}

/* Passes that begin at a residual site, with the state on the rank that has it. */
static void test_from(void)
{
    for (uint64_t i = 1; i + 1 < want[0].sites; i++) {
        sd_site site = tiny_site(config, i);
        sd_pass pass = pass_of(2);

        if (site.kind == SD_SITE_ATTN_OUT || site.kind == SD_SITE_MLP_OUT)
            continue;
        pass.from = &site;
        pass.ids = NULL;
        if (sd_pipeline_has(pipeline, site))
            pass.state = upload(want[2].at[i].rows, rows_of(2));
        check_pass(pass, NULL, 0, &want[2]);
        sd_buf_destroy(&pass.state.buf);
    }
    CHECK_OK(sd_pipeline_end(pipeline, SD_OK));
}

/* Passes that end at some site, mixed, with nothing asked for between: stages behind it wait for nothing. */
static void test_ends(void)
{
    float seen[ROWS * WIDTH];

    for (uint64_t i = 0; i < want[0].sites; i++) {
        catcher c = {seen, ROWS * WIDTH, 0, 0};
        uint64_t at = i * 7 % want[0].sites;
        sd_tap tap = read_tap(tiny_site(config, at), &c);
        sd_pass pass = pass_of((int)(i % PASSES));

        CHECK_OK(sd_pipeline_forward(pipeline, &pass));
        pass.taps = &tap;
        pass.n_taps = 1;
        CHECK_OK(sd_pipeline_forward(pipeline, &pass));
        CHECK(c.calls == (sd_pipeline_has(pipeline, tap.site) ? 1 : 0));
        CHECK(c.calls == 0 || memcmp(seen, want[i % PASSES].at[at].rows, c.count * sizeof *seen) == 0);
    }
    CHECK_OK(sd_pipeline_end(pipeline, SD_OK));
}

static sd_status failing_put(void *self, sd_dev *d, sd_mat rows)
{
    (void)self, (void)d, (void)rows;
    return SD_FAIL(SD_E_ENV, "the sink of rank %d is full", par->rank);
}

/* The sink of one site fails in the third pass: so do all passes from there on, on its rank and behind it, with its words; the ranks before it
 * see nothing, and the vote has one verdict. */
static void test_failure(uint64_t at)
{
    sd_site site = tiny_site(config, at), end = {SD_SITE_NORMALIZED, 0};
    sd_status st = SD_OK;

    for (int k = 0; k < PASSES; k++) {
        sd_tap tap = {.site = site, .kind = SD_TAP_READ, .sink = {failing_put, NULL}};
        sd_pass pass = pass_of(k);

        pass.taps = &tap;
        pass.n_taps = k < 2 ? 0 : 1;
        pass.to_logits = true;
        st = sd_pipeline_forward(pipeline, &pass);
        if (k < 2)
            CHECK_OK(st);
        else if (sd_pipeline_has(pipeline, site) || has_logits())
            CHECK_FAILS(st, SD_E_ENV, "is full");
    }
    st = sd_pipeline_end(pipeline, st);
    if (sd_pipeline_has(pipeline, site) || sd_pipeline_has(pipeline, end))
        CHECK_FAILS(st, SD_E_ENV, "is full");
    CHECK_FAILS(sd_par_agree(par, st), SD_E_ENV, "is full");
    test_all_sites();
}

/* One rank leaves the series after two passes, as one that was asked to stop. */
static void test_leaving(int rank)
{
    sd_status st = SD_OK;

    for (int k = 0; k < PASSES && st == SD_OK; k++) {
        sd_pass pass = pass_of(k);

        pass.to_logits = true;
        st = k == 2 && par->rank == rank ? SD_FAIL(SD_E_STOPPED, "rank %d leaves", rank) : sd_pipeline_forward(pipeline, &pass);
    }
    st = sd_pipeline_end(pipeline, st);
    if (par->rank == rank)
        CHECK_FAILS(st, SD_E_STOPPED, "leaves");
    CHECK_FAILS(sd_par_agree(par, st), SD_E_STOPPED, "leaves");
    test_all_sites();
}

/* The n-th piece of memory that one rank asks for in a pass is not there. */
static void test_no_memory(int rank, uint64_t n)
{
    sd_pass pass = pass_of(1);
    sd_status st;

    pass.to_logits = true;
    if (par->rank == rank)
        sd_mem_fail_at(n);
    st = sd_pipeline_forward(pipeline, &pass);
    sd_mem_fail_at(0);
    CHECK_FAILS(sd_par_agree(par, sd_pipeline_end(pipeline, st)), SD_E_ENV, "out of memory");
    test_all_sites();
}

/* What is wrong with a pass is found on every rank, or by the first and passed on. */
static void test_bad_passes(void)
{
    int32_t wrong[ROWS] = {0};
    sd_pass pass = pass_of(0);
    sd_tap tap = read_tap((sd_site){SD_SITE_RESID_POST, config->n_layers}, NULL);
    bool working = sd_pipeline_model(pipeline) != NULL;
    sd_status st;

    wrong[1] = (int32_t)config->vocabulary;
    pass.ids = wrong;
    pass.to_logits = true;
    st = sd_pipeline_end(pipeline, sd_pipeline_forward(pipeline, &pass));
    if (working)
        CHECK_FAILS(st, SD_E_DATA, "token 1 of a pass");
    CHECK_FAILS(sd_par_agree(par, st), SD_E_DATA, "token 1 of a pass");
    pass = pass_of(0);
    pass.taps = &tap;
    pass.n_taps = 1;
    st = sd_pipeline_end(pipeline, sd_pipeline_forward(pipeline, &pass));
    if (working)
        CHECK_FAILS(st, SD_E_INTERNAL, "layers");
    CHECK_FAILS(sd_par_agree(par, st), SD_E_INTERNAL, "layers");
}

/* Work is dealt to groups: none is lost, and ranks of a group have the same. */
static void test_share(uint64_t stages)
{
    for (uint64_t count = 0; count < 9; count++) {
        uint64_t sum = sd_pipeline_share(pipeline, count).count, next = sd_pipeline_share(pipeline, count).first;

        CHECK(sd_pipeline_model(pipeline) != NULL || sum == 0);
        if (sd_pipeline_model(pipeline) != NULL)
            CHECK(next == sd_par_split(count, par->rank / (int)stages, par->size / (int)stages).first);
        CHECK_OK(sd_par_sum_u64(par, &sum, 1));
        CHECK(sum == count * stages);
    }
}

static void test_stages(uint64_t stages, sd_model *whole)
{
    if (stages > (uint64_t)par->size || stages > config->n_layers) {
        CHECK_FAILS(sd_pipeline_open(&pipeline, par, dev, dir, ROWS, stages), SD_E_USAGE, stages > config->n_layers ? "layers" : "start more ranks");
        CHECK(pipeline == NULL);
        return;
    }
    CHECK_FAILS(sd_pipeline_open(&pipeline, par, dev, par->rank == par->size - 1 ? "/absent" : dir, ROWS, stages), SD_E_DATA, "/absent");
    CHECK(pipeline == NULL);
    CHECK_OK(sd_pipeline_open(&pipeline, par, dev, dir, ROWS, stages));
    if (pipeline == NULL)
        return;
    CHECK((sd_pipeline_model(pipeline) == NULL) == (par->rank >= par->size / (int)stages * (int)stages));
    test_share(stages);
    if (sd_pipeline_model(pipeline) != NULL)
        test_all_sites();
    if (sd_pipeline_model(pipeline) != NULL && stages > 1) {
        test_changes(whole);
        test_from();
        test_ends();
    }
    if (stages > 1) {
        for (int s = 0; s < (int)stages; s++)
            test_failure(3 + 5 * sd_par_split(config->n_layers, s, (int)stages).first);
        for (int rank = 0; rank < (int)stages; rank++)
            test_leaving(rank);
        for (uint64_t n = 1; n <= 3; n++)
            test_no_memory((int)((n + stages) % stages), n);
        test_bad_passes();
    }
    CHECK_OK(sd_par_agree(par, SD_OK));
    sd_pipeline_close(&pipeline);
}

static void test_model(const tiny *m)
{
    sd_model *whole;

    config = &m->c;
    dir = m->dir;
    make_passes();
    CHECK_OK(sd_model_open(&whole, dev, dir, ROWS));
    for (int k = 0; k < PASSES; k++) {
        readings_make(&want[k], config, rows_of(k));
        readings_take(&want[k], whole, dev, pass_of(k), NULL, 0);
    }
    for (uint64_t stages = 1; stages <= config->n_layers + 1; stages++)
        test_stages(stages, whole);
    for (int k = 0; k < PASSES; k++)
        readings_free(&want[k]);
    sd_model_close(&whole);
}

/* A part reads its own weights only, makes passes inside itself only, and does not learn. */
static void test_part(tiny *m)
{
    uint64_t bad = tiny_find(m, "model.layers.0.mlp.down_proj.weight");
    double good = m->values[bad][5];
    sd_site middle = {SD_SITE_RESID_PRE, 1};
    catcher c = {0};
    sd_tap tap = read_tap((sd_site){SD_SITE_RESID_POST, 2}, &c);
    sd_pass pass;
    sd_backward *backward;
    sd_model *part;
    sd_real weight;
    sd_buf *buf;

    config = &m->c;
    make_passes();
    pass = pass_of(0);
    m->values[bad][5] = NAN;
    tiny_write_weights(m);
    CHECK_FAILS(sd_model_open(&part, dev, m->dir, ROWS), SD_E_DATA, "model.layers.0.mlp.down_proj.weight");
    CHECK_FAILS(sd_model_open_part(&part, dev, m->dir, ROWS, (sd_span){0, 1}), SD_E_DATA, "model.layers.0.mlp.down_proj.weight");
    CHECK_OK(sd_model_open_part(&part, dev, m->dir, ROWS, (sd_span){1, 1}));
    CHECK(sd_model_blocks(part).first == 1 && sd_model_blocks(part).count == 1);
    pass.taps = &tap;
    pass.n_taps = 1;
    CHECK_FAILS(sd_model_forward(part, &pass), SD_E_INTERNAL,
                "a pass from hook_embed to blocks.2.hook_resid_post needs the whole model, but this rank has blocks 1 to 1 of 3");
    pass.from = &middle;
    CHECK_FAILS(sd_model_forward(part, &pass), SD_E_INTERNAL, "a pass from blocks.1.hook_resid_pre to blocks.2.hook_resid_post");
    tap.site.layer = 1;
    pass.to_logits = true;
    CHECK_FAILS(sd_model_forward(part, &pass), SD_E_INTERNAL, "to ln_final.hook_normalized needs the whole model, but this rank has blocks 1 to 1 of 3");
    CHECK_FAILS(sd_backward_create(&backward, part, NULL, true), SD_E_INTERNAL, "a backward pass needs");
    CHECK_FAILS(sd_model_weights_get(part, (sd_span){0, 1}, &weight), SD_E_INTERNAL, "access to the weights needs");
    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, config->vocabulary + WIDTH));
    CHECK_FAILS(sd_model_unembed(part, sd_mat_of(buf, 1, WIDTH), sd_mat_cols(sd_mat_of(buf, 1, config->vocabulary + WIDTH), WIDTH, config->vocabulary)),
                SD_E_INTERNAL, "logits were asked for of");
    sd_buf_destroy(&buf);
    sd_model_close(&part);
    CHECK_FAILS(sd_model_open_part(&part, dev, m->dir, ROWS, (sd_span){2, 2}), SD_E_INTERNAL, "the model has 3");
    CHECK(part == NULL);
    m->values[bad][5] = good;
    tiny_write_weights(m);
}

/* The weights of the parts are those of the whole; a tied matrix stands in the first and in the last. */
static void test_parameters(const sd_model_config *c)
{
    for (int stages = 1; stages <= (int)c->n_layers; stages++) {
        uint64_t sum = 0, most = 0;

        for (int s = 0; s < stages; s++) {
            uint64_t here = sd_model_part_parameters(c, sd_par_split(c->n_layers, s, stages));

            sum += here;
            most = here > most ? here : most;
        }
        CHECK(sum == sd_model_parameters(c) + (c->tied && stages > 1 ? c->vocabulary * c->d_model : 0));
        CHECK(most == sd_pipeline_parameters(c, (uint64_t)stages));
    }
}

static tiny models[] = {{.c = TINY_SHAPE(WIDTH, 5, 4, 2, 6, 28, 50, 64, 1e-5, 10000, false), .type = SD_BF16, .family = "mistral",
                         .window = 4, .extra = "\"sliding_window\": 4, "},
                        {.c = TINY_SHAPE(WIDTH, 3, 4, 4, 6, 20, 31, 64, 1e-5, 10000, true), .type = SD_F32}};

static void begin(void)
{
    par = ranks;
    for (int i = 0; i < 2; i++) {
        if (par->rank == 0)
            tiny_make(&models[i]);
        CHECK_OK(sd_par_bcast(par, models[i].dir, sizeof models[i].dir, 0));
    }
}

static void end(void)
{
    CHECK_OK(sd_par_agree(par, SD_OK));
    for (int i = 0; i < 2 && par->rank == 0; i++)
        tiny_remove(&models[i]);
}

static void on_device(const char *name, int first)
{
    CHECK_OK(sd_dev_open(&dev, name, 1));
    if (par->rank == 0)
        test_part(&models[1]);
    CHECK_OK(sd_par_agree(par, SD_OK));
    for (int i = first; i < 2; i++)
        test_model(&models[i]);
    sd_dev_close(&dev);
}

static void test_counts(void)
{
    for (int i = 0; i < 2; i++)
        test_parameters(&models[i].c);
}

static void test_cpu(void)
{
    on_device("cpu", 0);
}

static void test_strict(void)
{
    on_device("strict", 1);
}

static const test_case tests[] = {
    TEST(test_counts),
    TEST(test_cpu),
    TEST(test_strict),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)

/* Tiny models of several shapes, several documents in one pass: every site, the logits and the scores against
 * the reference in double; the same bits at every thread count and on the strict device. */
#include "tiny.h"

static const uint64_t lengths[] = {1, 17, 70, 3, 40};
enum { DOCS = 5, ROWS = 131 };

static void reference_pass(const tiny *m, const int32_t *ids, const uint64_t *start, double **sites,
                           double *logits)
{
    uint64_t d = m->c.d_model;
    double *at[64];

    for (int k = 0; k < DOCS; k++) {
        for (uint64_t i = 0; i < tiny_sites(&m->c); i++)
            at[i] = sites[i] + start[k] * d;
        ref_document(m, ids + start[k], lengths[k], at, logits + start[k] * m->c.vocabulary);
    }
}

static void test_scores(sd_model *model, const int32_t *ids, const double *logits)
{
    uint64_t v = sd_model_config_of(model)->vocabulary;
    int32_t target[ROWS], best[ROWS];
    double logp[ROWS];

    for (uint64_t t = 0; t < ROWS; t++)
        target[t] = t % 4 == 3 ? -1 : ids[(t + 1) % ROWS];
    CHECK_OK(sd_model_score(model, target, logp, best));
    for (uint64_t t = 0; t < ROWS; t++) {
        const double *row = logits + t * v;
        double most = row[0], sum = 0;

        for (uint64_t i = 0; i < v; i++)
            most = fmax(most, row[i]);
        for (uint64_t i = 0; i < v; i++)
            sum += exp(row[i] - most);
        CHECK_NEAR(logp[t], target[t] < 0 ? 0 : row[target[t]] - most - log(sum), 1e-4);
        CHECK(best[t] >= 0 && (uint64_t)best[t] < v && row[best[t]] >= most - 1e-4);
    }
    target[5] = (int32_t)v;
    CHECK_FAILS(sd_model_score(model, target, logp, best), SD_E_DATA, "target 5 of a pass is id");
}

static void test_model(tiny m)
{
    const sd_model_config c = m.c;
    uint64_t start[DOCS + 1] = {0};
    int32_t ids[ROWS];
    double *sites[64], *logits;
    readings first, other;

    tiny_make(&m);
    tiny_ids(ids, ROWS, c.vocabulary);
    for (int k = 0; k < DOCS; k++)
        start[k + 1] = start[k] + lengths[k];
    CHECK_OK(SD_NEW(&logits, ROWS * c.vocabulary));
    for (uint64_t i = 0; i < tiny_sites(&c); i++)
        CHECK_OK(SD_NEW(&sites[i], ROWS * c.d_model));
    reference_pass(&m, ids, start, sites, logits);
    readings_make(&first, &c, ROWS);
    readings_make(&other, &c, ROWS);

    for (size_t k = 0; k < test_devices_count; k++) {
        sd_pass pass = {.ids = ids, .doc_start = start, .docs = DOCS};
        sd_model *model;
        sd_dev *dev;

        CHECK_OK(sd_dev_open(&dev, test_devices[k].name, test_devices[k].threads));
        CHECK_OK(sd_model_open(&model, dev, m.dir, ROWS + k));
        readings_take(k == 0 ? &first : &other, model, dev, pass, NULL, 0);
        if (k == 0)
            test_scores(model, ids, logits);
        else
            CHECK(same_readings(&first, &other, &c, 0));
        sd_model_close(&model);
        sd_dev_close(&dev);
    }
    for (uint64_t i = 0; i < tiny_sites(&c); i++)
        for (int k = 0; k < DOCS; k++)
            CHECK_NEAR(relative(first.at[i].rows + start[k] * c.d_model, sites[i] + start[k] * c.d_model,
                                lengths[k] * c.d_model),
                       0, 2e-5);
    CHECK_NEAR(relative(first.logits, logits, ROWS * c.vocabulary), 0, 2e-5);

    readings_free(&first);
    readings_free(&other);
    for (uint64_t i = 0; i < tiny_sites(&c); i++)
        sd_free(sites[i]);
    sd_free(logits);
    tiny_remove(&m);
}

/* Frequencies of the scaled kinds, worked out pair by pair from the papers. */
enum { PAIRS = 8 };
static double linear[PAIRS], llama3[PAIRS], yarn[PAIRS], shorter[PAIRS], longer[PAIRS];

static void make_frequencies(void)
{
    for (int i = 0; i < PAIRS; i++) {
        double plain = pow(10000, -i / (double)PAIRS), waves = 32 * plain / 6.283185307179586;
        /* yarn: the pairs with more than 0.4 turns in 32 tokens are kept, those with fewer than 0.02 stretched */
        double first = floor(2 * PAIRS * log(32 / (0.4 * 6.283185307179586)) / (2 * log(10000)));
        double last = ceil(2 * PAIRS * log(32 / (0.02 * 6.283185307179586)) / (2 * log(10000)));
        double way = (i - first) / (last - first), blend = (waves - 1) / (4 - 1);

        way = way < 0 ? 0 : way > 1 ? 1 : way;
        blend = blend < 0 ? 0 : blend > 1 ? 1 : blend;
        linear[i] = plain / 2.5;
        llama3[i] = plain * (blend + (1 - blend) / 8);
        yarn[i] = plain * (way / 4 + 1 - way);
        shorter[i] = plain / (1 + 0.25 * i);
        longer[i] = plain / (2 + i);
    }
}

static void test_rotary(void)
{
    const sd_model_config c = TINY_SHAPE(16, 2, 2, 1, 16, 24, 33, 128, 1e-5, 10000, true);
    const char *factors = "\"short_factor\": [1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75], \"long_factor\": [2, 3, 4, 5, 6, 7, 8, 9]";
    char text[512];

    make_frequencies();
    test_model((tiny){.c = c, .say_head_dim = true, .frequency = {linear}, .extra = "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}, "});
    test_model((tiny){.c = c, .say_head_dim = true, .extra = "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.5}, "});
    test_model((tiny){.c = c,
                      .say_head_dim = true,
                      .frequency = {llama3},
                      .extra = "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
                               "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}, "});
    test_model((tiny){.c = c,
                      .say_head_dim = true,
                      .frequency = {yarn},
                      .attention = 0.1 * log(4) + 1,
                      .extra = "\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4, \"beta_fast\": 0.4, \"beta_slow\": 0.02, "
                               "\"rope_theta\": 10000, \"original_max_position_embeddings\": 32}, "});
    /* The document of 70 tokens is beyond 32. */
    snprintf(text, sizeof text, "\"original_max_position_embeddings\": 32, \"rope_scaling\": {\"rope_type\": \"longrope\", %s}, ", factors);
    test_model((tiny){.c = c,
                      .say_head_dim = true,
                      .frequency = {shorter, longer},
                      .original = 32,
                      .attention = sqrt(1 + log(128.0 / 32) / log(32)),
                      .extra = text});
}

static sd_model_config with(sd_model_config c, bool qkv, bool o, bool mlp, bool norm)
{
    c.bias_qkv = qkv;
    c.bias_o = o;
    c.bias_mlp = mlp;
    c.qk_norm = norm;
    return c;
}

static void test_families(void)
{
    const sd_model_config c = TINY_SHAPE(18, 3, 4, 2, 6, 31, 65, 70, 1e-6, 500000, false);
    const char *none = "\"attention_bias\": null, \"mlp_bias\": true, ";

    test_model((tiny){.c = with(c, true, true, false, false), .say_head_dim = true, .extra = "\"attention_bias\": true, "});
    test_model((tiny){.c = with(c, false, false, true, false), .say_head_dim = true, .extra = none});
    test_model((tiny){.c = c, .family = "mistral", .say_head_dim = true, .window = 9, .extra = "\"sliding_window\": 9, "});
    test_model((tiny){.c = c, .family = "mistral", .say_head_dim = true, .extra = "\"sliding_window\": null, "});
    test_model((tiny){.c = with(c, true, false, false, false), .family = "qwen2", .say_head_dim = true, .extra = "\"sliding_window\": 9, "});
    test_model((tiny){.c = with(c, true, false, false, false),
                      .family = "qwen2",
                      .say_head_dim = true,
                      .window = 5,
                      .window_from = 1,
                      .extra = "\"use_sliding_window\": true, \"sliding_window\": 5, \"max_window_layers\": 1, "});
    test_model((tiny){.c = with(c, false, false, false, true), .family = "qwen3", .say_head_dim = true});
    test_model((tiny){.c = with(c, true, true, false, true),
                      .family = "qwen3",
                      .say_head_dim = true,
                      .window = 66,
                      .window_from = 2,
                      .extra = "\"attention_bias\": true, \"use_sliding_window\": true, \"sliding_window\": 66, \"layer_types\": "
                               "[\"full_attention\", \"full_attention\", \"sliding_attention\"], "});
}

/* d, layers, heads, kv heads, head, mlp, vocabulary, context, eps, theta, tied */
static void test_tied(void)
{
    test_model((tiny){.c = TINY_SHAPE(16, 2, 4, 2, 4, 24, 33, 128, 1e-5, 10000, true)});
}

static void test_untied(void)
{
    test_model((tiny){.c = TINY_SHAPE(18, 3, 3, 3, 6, 31, 65, 70, 1e-6, 500000, false)});
}

static void test_bf16_weights(void)
{
    test_model((tiny){.c = TINY_SHAPE(20, 1, 6, 1, 10, 7, 129, 4096, 1e-5, 10000, false), .type = SD_BF16, .say_head_dim = true});
}

static void test_f16_weights(void)
{
    test_model((tiny){.c = TINY_SHAPE(7, 2, 2, 1, 2, 5, 11, 75, 0.5, 100, true), .type = SD_F16, .say_head_dim = true});
}

static void test_tables(void)
{
    if (!test_is_emulated())
        test_rotary(); /* the host's tables: the same for every device */
}

static const test_case tests[] = {
    TEST(test_tied),
    TEST(test_untied),
    TEST(test_bf16_weights),
    TEST(test_f16_weights),
    TEST(test_tables),
    TEST(test_families),
};

TEST_MAIN(tests, NULL, NULL)

/* Models in bf16, and with activations in bf16 or f16: at every site the error against float64 is at most 1.1 times that of transformers' order of
 * rounding to bf16, and a document's bits depend neither on threads nor on what is packed beside it; the latter where products are those of the device itself. */
#include "tiny.h"

static const uint64_t lengths[] = {33, 1, 80};
enum { DOCS = 3, ROWS = 114 };

static double distance(const float *a, const double *b, uint64_t count)
{
    double sum = 0;

    for (uint64_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum;
}

static double distance_double(const double *a, const double *b, uint64_t count)
{
    double sum = 0;

    for (uint64_t i = 0; i < count; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* What the device does for its models; or, with activations, what it would do if it kept these in the same type, as GPUs do. */
static void compute_in(sd_dev *dev, sd_dtype type, bool activations)
{
    if (activations)
        dev->compute = dev->activation = type;
    else
        CHECK_OK(sd_dev_set_compute(dev, type));
}

static void test_model(tiny m, bool activations)
{
    const sd_model_config c = m.c;
    uint64_t start[DOCS + 1] = {0}, sites = tiny_sites(&c), d = c.d_model, v = c.vocabulary;
    double *exact[64], *rounded[64], *logits, *rounded_logits;
    int32_t ids[ROWS];
    readings first, other;

    tiny_make(&m);
    tiny_ids(ids, ROWS, v);
    CHECK_OK(SD_NEW(&logits, ROWS * v));
    CHECK_OK(SD_NEW(&rounded_logits, ROWS * v));
    for (uint64_t i = 0; i < sites; i++) {
        CHECK_OK(SD_NEW(&exact[i], ROWS * d));
        CHECK_OK(SD_NEW(&rounded[i], ROWS * d));
    }
    for (int k = 0; k < DOCS; k++) {
        double *to[64];

        start[k + 1] = start[k] + lengths[k];
        for (int pass = 0; pass < 2; pass++) {
            m.rounds = pass == 1;
            for (uint64_t i = 0; i < sites; i++)
                to[i] = (pass == 1 ? rounded : exact)[i] + start[k] * d;
            ref_document(&m, ids + start[k], lengths[k], to, (pass == 1 ? rounded_logits : logits) + start[k] * v);
        }
    }
    readings_make(&first, &c, ROWS);
    readings_make(&other, &c, ROWS);
    for (size_t k = 0; k < test_devices_count; k++) {
        sd_model *model;
        sd_dev *dev;

        CHECK_OK(sd_dev_open(&dev, test_devices[k].name, test_devices[k].threads));
        compute_in(dev, m.type, activations);
        CHECK(!test_on_cuda() || sd_dev_activation(dev) == m.type);
        CHECK_OK(sd_model_open(&model, dev, m.dir, ROWS));
        readings_take(k == 0 ? &first : &other, model, dev, (sd_pass){.ids = ids, .doc_start = start, .docs = DOCS}, NULL, 0);
        if (k > 0)
            CHECK(same_readings(&first, &other, &c, 0));
        for (uint64_t doc = 0; doc < DOCS && k == 0 && (!activations || test_on_cuda()); doc++) {
            uint64_t one[2] = {0, lengths[doc]};
            readings alone;

            readings_make(&alone, &c, lengths[doc]);
            readings_take(&alone, model, dev, (sd_pass){.ids = ids + start[doc], .doc_start = one, .docs = 1}, NULL, 0);
            for (uint64_t i = 0; i < sites; i++)
                CHECK(memcmp(alone.at[i].rows, first.at[i].rows + start[doc] * d, lengths[doc] * d * sizeof(float)) == 0);
            readings_free(&alone);
        }
        sd_model_close(&model);
        sd_dev_close(&dev);
    }
    for (uint64_t i = 1; i < sites; i++) {
        double ours = sqrt(distance(first.at[i].rows, exact[i], ROWS * d)), theirs = sqrt(distance_double(rounded[i], exact[i], ROWS * d));

        CHECK(ours <= 1.1 * theirs || (theirs == 0 && ours == 0));
    }
    CHECK(distance(first.logits, logits, ROWS * v) <= 1.21 * distance_double(rounded_logits, logits, ROWS * v));
    CHECK(distance(first.logits, logits, ROWS * v) > 0);
    readings_free(&first);
    readings_free(&other);
    for (uint64_t i = 0; i < sites; i++) {
        sd_free(exact[i]);
        sd_free(rounded[i]);
    }
    sd_free(logits);
    sd_free(rounded_logits);
    tiny_remove(&m);
}

static const sd_model_config plain = TINY_SHAPE(48, 3, 4, 2, 12, 96, 65, 128, 1e-5, 10000, true);
static const sd_model_config aligned = TINY_SHAPE(64, 2, 2, 1, 32, 96, 65, 128, 1e-5, 10000, true); /* heads that tensor cores take */

static bool has_bf16_products(void)
{
    sd_dev *dev;
    bool has;

    CHECK_OK(sd_dev_open(&dev, test_devices[0].name, 1));
    has = sd_dev_set_compute(dev, SD_BF16) == SD_OK;
    sd_dev_close(&dev);
    return has;
}

static void every_model(bool activations)
{
    sd_model_config qwen = plain, biased = plain;

    qwen.qk_norm = true;
    biased.bias_qkv = biased.bias_o = true;
    test_model((tiny){.c = plain, .type = SD_BF16, .say_head_dim = true}, activations);
    test_model((tiny){.c = qwen, .type = SD_BF16, .family = "qwen3", .say_head_dim = true}, activations);
    test_model((tiny){.c = biased, .type = SD_BF16, .say_head_dim = true, .extra = "\"attention_bias\": true, "}, activations);
    test_model((tiny){.c = aligned, .type = SD_BF16, .say_head_dim = true}, activations);
    if (activations || test_on_cuda())
        test_model((tiny){.c = aligned, .type = SD_F16, .say_head_dim = true}, activations);
}

static void test_narrow_products(void)
{
    if (has_bf16_products())
        every_model(false);
}

static void test_narrow_activations(void)
{
    if (!test_on_cuda())
        every_model(true);
}

static const test_case tests[] = {
    TEST(test_narrow_products),
    TEST(test_narrow_activations),
};

TEST_MAIN(tests, NULL, NULL)

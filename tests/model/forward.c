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

static void test_shape(sd_model_config c, sd_dtype type, bool say_head_dim)
{
    static const struct {
        const char *name;
        int threads;
    } devices[] = {{"cpu", 1}, {"cpu", 2}, {"cpu", 3}, {"strict", 2}};
    tiny m = {.c = c, .type = type, .say_head_dim = say_head_dim};
    uint64_t start[DOCS + 1] = {0};
    int32_t ids[ROWS];
    double *sites[64], *logits;
    readings first, other;
    char hex[SD_SHA256_HEX];

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

    for (size_t k = 0; k < sizeof devices / sizeof devices[0]; k++) {
        sd_pass pass = {.ids = ids, .doc_start = start, .docs = DOCS};
        sd_model *model;
        sd_dev *dev;

        CHECK_OK(sd_dev_open(&dev, devices[k].name, devices[k].threads));
        CHECK_OK(sd_model_open(&model, dev, m.dir, ROWS + k));
        readings_take(k == 0 ? &first : &other, model, dev, pass, NULL, 0);
        CHECK_OK(sd_model_digest(m.dir, hex));
        CHECK(strcmp(hex, sd_model_sha256(model)) == 0);
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

int main(void)
{
    /* d, layers, heads, kv heads, head, mlp, vocabulary, context, eps, theta, tied */
    test_shape((sd_model_config){16, 2, 4, 2, 4, 24, 33, 128, 1e-5, 10000, true}, SD_F32, false);
    test_shape((sd_model_config){18, 3, 3, 3, 6, 31, 65, 70, 1e-6, 500000, false}, SD_F32, false);
    test_shape((sd_model_config){20, 1, 6, 1, 10, 7, 129, 4096, 1e-5, 10000, false}, SD_BF16, true);
    test_shape((sd_model_config){7, 2, 2, 1, 2, 5, 11, 75, 0.5, 100, true}, SD_F16, true);
    return TEST_RESULT();
}

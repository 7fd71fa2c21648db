/* Some of a model is learned: factors A and B of some matrices, some tensors whole, the rest not at all. Gradients against central
 * differences of the reference's loss, what is merged against W0 + scale · B·A, and no bit of it depending on device, threads, or what
 * is kept. */
#include "batch.h"

#ifdef SD_REAL_IS_DOUBLE
static const double slope_bound = 2e-7, merge_bound = 1e-14, same_bound = 1e-12;
#else
static const double slope_bound = 2e-4, merge_bound = 1e-6, same_bound = 2e-5;
#endif

enum { N = 23, RANK = 3, MOST_TENSORS = 64 };
static const double scale = 1.7;

/* What is made of one model and one way of learning from it. */
typedef struct passing {
    sd_dev *dev;
    sd_model *model;
    sd_backward *backward;
    sd_model_tensor *tensors;
    const sd_trainable *trainable;
    uint64_t n_tensors, n_trainable, elements;
} passing;

static void passing_open(passing *p, const char *dir, const char *device, int threads, const uint8_t *how, bool recompute)
{
    const sd_trainable_spec learning = {.how = how, .rank = RANK, .scale = scale};

    *p = (passing){0};
    CHECK_OK(sd_dev_open(&p->dev, device, threads));
    CHECK_OK(sd_model_open(&p->model, p->dev, dir, N));
    CHECK_OK(sd_model_tensors(sd_model_config_of(p->model), &p->tensors, &p->n_tensors));
    CHECK_OK(sd_backward_create(&p->backward, p->model, &learning, recompute));
    p->trainable = sd_backward_trainable(p->backward, &p->n_trainable);
    p->elements = p->trainable[p->n_trainable - 1].first + p->trainable[p->n_trainable - 1].count;
}

static void passing_close(passing *p)
{
    sd_backward_destroy(&p->backward);
    sd_model_close(&p->model);
    sd_dev_close(&p->dev);
    sd_free(p->tensors);
}

/* [elements], sd_free() */
static double *passing_gradient(passing *p, const batch *b, const double *values)
{
    sd_real *host = NULL;
    sd_buf *grad = NULL;
    double *out = NULL;

    CHECK_OK(SD_NEW(&host, p->elements));
    CHECK_OK(SD_NEW(&out, p->elements));
    for (uint64_t i = 0; i < p->elements; i++)
        host[i] = (sd_real)values[i];
    CHECK_OK(sd_buf_create(&grad, p->dev, SD_REAL, p->elements));
    CHECK_OK(sd_dev_upload(p->dev, host, sd_mat_of(grad, 1, p->elements)));
    CHECK_OK(sd_backward_put(p->backward, grad));
    for (uint64_t i = 0; i < p->n_trainable; i++) {
        const sd_trainable *l = &p->trainable[i];
        sd_real *factor;

        CHECK_OK(SD_NEW(&factor, l->count));
        if (l->part == SD_TRAINABLE_TENSOR) {
            CHECK_FAILS(sd_backward_factor(p->backward, i, factor), SD_E_INTERNAL, "has no adapter");
        } else {
            CHECK_OK(sd_backward_factor(p->backward, i, factor));
            CHECK(memcmp(factor, host + l->first, l->count * sizeof *factor) == 0);
        }
        sd_free(factor);
    }
    CHECK_OK(sd_backward_run(p->backward, &(sd_train_batch){.ids = b->ids, .doc_start = b->start, .docs = b->docs, .target = b->target,
                                                       .scale = 0.31},
                             grad, NULL, NULL));
    CHECK_OK(sd_dev_download_as(p->dev, sd_mat_of(grad, 1, p->elements), out, SD_F64));
    sd_buf_destroy(&grad);
    sd_free(host);
    return out;
}

/* The tiny model's tensors as `values` make them of those in `start`. */
static void place_values(tiny *m, const passing *p, const double *values, double *const *start)
{
    for (uint64_t i = 0; i < p->n_trainable; i++) {
        const sd_trainable *l = &p->trainable[i];
        uint64_t t = tiny_find(m, p->tensors[l->tensor].name), cols = p->tensors[l->tensor].cols;
        double *w = m->values[t];

        if (l->part == SD_TRAINABLE_TENSOR)
            memcpy(w, values + l->first, l->count * sizeof *w);
        if (l->part != SD_TRAINABLE_B)
            continue;
        for (uint64_t r = 0; r < l->rows; r++)
            for (uint64_t c = 0; c < cols; c++) {
                double sum = 0;

                for (uint64_t k = 0; k < RANK; k++)
                    sum += values[l->first + r * RANK + k] * values[p->trainable[i - 1].first + k * cols + c];
                w[r * cols + c] = start[t][r * cols + c] + scale * sum;
            }
    }
}

static void check_slopes(tiny *m, const batch *b, const passing *p, double *values, double *const *start, const double *got)
{
    const double h = 1e-5;

    for (uint64_t i = 0; i < p->n_trainable; i++)
        for (uint64_t k = i % 2; k < p->trainable[i].count; k += 1 + p->trainable[i].count / 4) {
            double *x = &values[p->trainable[i].first + k], kept = *x, high, low, want;

            *x = kept + h;
            place_values(m, p, values, start);
            high = reference_loss(m, b, 0.31);
            *x = kept - h;
            place_values(m, p, values, start);
            low = reference_loss(m, b, 0.31);
            *x = kept;
            place_values(m, p, values, start);
            want = (high - low) / (2 * h);
            if (!(fabs(got[p->trainable[i].first + k] - want) <= slope_bound * (1 + fabs(want))))
                fprintf(stderr, "%s, part %d, [%llu]:\n", p->tensors[p->trainable[i].tensor].name, (int)p->trainable[i].part,
                        (unsigned long long)k);
            CHECK_NEAR(got[p->trainable[i].first + k], want, slope_bound * (1 + fabs(want)));
        }
}

/* The weights on the device against those that the tiny model has now. */
static void check_merged(const tiny *m, const passing *p)
{
    for (uint64_t t = 0; t < p->n_tensors; t++) {
        const double *want = m->values[tiny_find(m, p->tensors[t].name)];
        sd_real *got = NULL;

        CHECK_OK(SD_NEW(&got, p->tensors[t].count));
        CHECK_OK(sd_model_weights_get(p->model, (sd_span){p->tensors[t].first, p->tensors[t].count}, got));
        for (uint64_t i = 0; i < p->tensors[t].count; i++)
            CHECK_NEAR((double)got[i], want[i], merge_bound * (1 + fabs(want[i])));
        sd_free(got);
    }
}

/* how = the ways of the tensors, by their place; see test_model(). */
static void test_ways(const tiny *made, const batch *b, const uint8_t *how)
{
    double *start[MOST_TENSORS], *values = NULL, *got, *again;
    tiny m = *made;
    uint64_t at = 0;
    passing p;

    passing_open(&p, m.dir, "cpu", 1, how, false);
    CHECK_OK(SD_NEW(&values, p.elements));
    for (uint64_t t = 0; t < m.count; t++) {
        CHECK_OK(SD_NEW(&start[t], tiny_size(&m.tensors[t])));
        memcpy(start[t], m.values[t], tiny_size(&m.tensors[t]) * sizeof **start);
    }
    for (uint64_t i = 0; i < p.n_trainable; i++) {
        const sd_trainable *l = &p.trainable[i];
        sd_key key;

        CHECK(l->first == at && l->count == (l->rows > 0 ? l->rows : 1) * l->cols);
        CHECK(how[l->tensor] == (l->part == SD_TRAINABLE_TENSOR ? SD_TRAIN_WHOLE : SD_TRAIN_FACTORS));
        at += l->count;
        key = sd_key_make(5, SD_STREAM_TEST, i);
        for (uint64_t k = 0; k < l->count; k++)
            values[l->first + k] = (double)(sd_real)(l->part == SD_TRAINABLE_TENSOR ? start[tiny_find(&m, p.tensors[l->tensor].name)][k]
                                                                                 : 0.3 * sd_random_normal(key, k));
    }
    place_values(&m, &p, values, start);
    got = passing_gradient(&p, b, values);
    check_merged(&m, &p);
    check_slopes(&m, b, &p, values, start, got);
    again = passing_gradient(&p, b, values); /* merged anew from W0, not on top */
    CHECK(memcmp(got, again, p.elements * sizeof *got) == 0);
    sd_free(again);
    passing_close(&p);
    for (int i = 0; i < 2; i++) {
        passing_open(&p, m.dir, i == 0 ? "strict" : "cpu", 1 + 2 * i, how, true);
        again = passing_gradient(&p, b, values);
        CHECK(memcmp(got, again, p.elements * sizeof *got) == 0);
        sd_free(again);
        passing_close(&p);
    }
    for (uint64_t t = 0; t < m.count; t++) {
        memcpy(m.values[t], start[t], tiny_size(&m.tensors[t]) * sizeof **start);
        sd_free(start[t]);
    }
    sd_free(values);
    sd_free(got);
}

/* Tensors learned alone have the gradient that they have among all. */
static void test_alone(const tiny *m, const batch *b, const uint8_t *how, uint64_t count)
{
    uint8_t all[MOST_TENSORS];
    passing p, whole;
    double *values = NULL, *everything = NULL, *got, *want;

    memset(all, SD_TRAIN_WHOLE, sizeof all);
    passing_open(&whole, m->dir, "cpu", 2, all, true);
    passing_open(&p, m->dir, "cpu", 2, how, true);
    CHECK(whole.n_trainable == count);
    CHECK_OK(SD_NEW(&values, p.elements));
    CHECK_OK(SD_NEW(&everything, whole.elements));
    for (uint64_t i = 0; i < whole.n_trainable; i++)
        memcpy(everything + whole.trainable[i].first, m->values[tiny_find(m, whole.tensors[i].name)],
               whole.trainable[i].count * sizeof *values);
    for (uint64_t i = 0; i < p.n_trainable; i++)
        memcpy(values + p.trainable[i].first, m->values[tiny_find(m, p.tensors[p.trainable[i].tensor].name)],
               p.trainable[i].count * sizeof *values);
    want = passing_gradient(&whole, b, everything);
    got = passing_gradient(&p, b, values);
    for (uint64_t i = 0; i < p.n_trainable; i++)
        for (uint64_t k = 0; k < p.trainable[i].count; k++)
            CHECK_NEAR(got[p.trainable[i].first + k], want[whole.trainable[p.trainable[i].tensor].first + k], same_bound);
    passing_close(&p);
    passing_close(&whole);
    sd_free(values);
    sd_free(everything);
    sd_free(want);
    sd_free(got);
}

static bool has(const sd_model_tensor *t, const char *word)
{
    return strstr(t->name, word) != NULL;
}

static void test_model(tiny m)
{
    int32_t ids[N], target[N];
    batch b = {.ids = ids, .target = target, .start = {0, 9, 10, N}, .docs = 3, .n = N};
    sd_model_tensor *tensors = NULL;
    uint8_t how[MOST_TENSORS];
    sd_model_config c;
    uint64_t count = 0;

    m.type = SD_F64;
    m.say_head_dim = true;
    tiny_make(&m);
    tiny_ids(ids, N, m.c.vocabulary);
    for (int i = 0; i < N; i++)
        target[i] = i == 8 || i == 9 || i == N - 1 || i == 4 ? -1 : ids[i + 1];
    CHECK_OK(sd_model_config_read(&c, m.dir));
    CHECK_OK(sd_model_tensors(&c, &tensors, &count));
    CHECK(count <= MOST_TENSORS);
    for (uint64_t i = 0; i < count; i++) /* every matrix of the blocks */
        how[i] = tensors[i].rows > 0 && has(&tensors[i], "layers") ? SD_TRAIN_FACTORS : SD_FROZEN;
    test_ways(&m, &b, how);
    for (uint64_t i = 0; i < count; i++) /* one of a shared buffer's three */
        how[i] = has(&tensors[i], "q_proj.weight") ? SD_TRAIN_FACTORS : SD_FROZEN;
    test_ways(&m, &b, how);
    for (uint64_t i = 0; i < count; i++) { /* mixed within shared buffers, and nothing in the first block */
        const sd_model_tensor *t = &tensors[i];
        bool factors = has(t, "k_proj.weight") || has(t, "up_proj.weight") || has(t, "down_proj.weight");
        bool whole = has(t, "v_proj") || has(t, "gate_proj") || has(t, "norm") || has(t, "lm_head");

        how[i] = has(t, "layers.0") ? SD_FROZEN : factors ? SD_TRAIN_FACTORS : whole ? SD_TRAIN_WHOLE : SD_FROZEN;
    }
    test_ways(&m, &b, how);
    for (uint64_t first = 0; first < count; first++) { /* from each tensor on: where the pass ends */
        for (uint64_t i = 0; i < count; i++)
            how[i] = i >= first ? SD_TRAIN_WHOLE : SD_FROZEN;
        test_alone(&m, &b, how, count);
        for (uint64_t i = 0; i < count; i++)
            how[i] = i == first ? SD_TRAIN_WHOLE : SD_FROZEN;
        test_alone(&m, &b, how, count);
    }
    sd_free(tensors);
    tiny_remove(&m);
}

static void test_refused(void)
{
    tiny m = {.c = TINY_SHAPE(8, 2, 2, 1, 4, 6, 11, 16, 1e-5, 1000, false), .type = SD_F32, .say_head_dim = true};
    uint8_t how[MOST_TENSORS] = {0};
    sd_backward *backward;
    sd_model *model;
    sd_dev *dev;

    tiny_make(&m);
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    CHECK_OK(sd_model_open(&model, dev, m.dir, 4));
    CHECK_FAILS(sd_backward_create(&backward, model, &(sd_trainable_spec){.how = how, .rank = 1, .scale = 1}, true), SD_E_INTERNAL,
                "without trainable parameters");
    how[0] = SD_TRAIN_FACTORS;
    CHECK_FAILS(sd_backward_create(&backward, model, &(sd_trainable_spec){.how = how, .rank = 1, .scale = 1}, true), SD_E_INTERNAL,
                "embed_tokens");
    how[0] = SD_FROZEN;
    how[3] = SD_TRAIN_FACTORS; /* k_proj, [4, 8] */
    CHECK_FAILS(sd_backward_create(&backward, model, &(sd_trainable_spec){.how = how, .rank = 5, .scale = 1}, true), SD_E_INTERNAL,
                "k_proj.weight', which is [4, 8]");
    CHECK(backward == NULL);
    sd_model_close(&model);
    sd_dev_close(&dev);
    tiny_remove(&m);
}

static const sd_model_config plain = TINY_SHAPE(12, 2, 4, 2, 6, 10, 19, 32, 1e-5, 1000, true);

static void test_llama(void)
{
    test_model((tiny){.c = plain});
}

static void test_biases(void)
{
    sd_model_config biased = plain;

    biased.bias_qkv = biased.bias_o = biased.bias_mlp = true;
    test_model((tiny){.c = biased, .extra = "\"attention_bias\": true, \"mlp_bias\": true, "});
}

static void test_untied_qwen(void)
{
    sd_model_config untied = plain;

    untied.tied = false;
    untied.bias_qkv = untied.bias_o = untied.qk_norm = true;
    test_model((tiny){.c = untied, .family = "qwen3", .extra = "\"attention_bias\": true, "});
}

static const test_case tests[] = {
    TEST(test_llama),
    TEST(test_biases),
    TEST(test_untied_qwen),
    TEST(test_refused),
};

TEST_MAIN(tests, NULL, NULL)

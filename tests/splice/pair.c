/* Two models side by side against a forward pass in double; a model beside itself. */
#include "model/tiny.h"

#include "saediff/splice/splice.h"

enum { ROWS = 45, DOCS = 2, D = 24, V = 50, LAYERS = 3, SITES = 2 + 5 * LAYERS };

static const sd_model_config shape = TINY_SHAPE(D, LAYERS, 4, 2, 6, 40, V, 64, 1e-5, 10000, true);
static const uint64_t start[DOCS + 1] = {0, 19, ROWS};
static int32_t ids[ROWS];
static double ab[ROWS], ba[ROWS], cosine[LAYERS * ROWS], relative_l2[LAYERS * ROWS];
static uint8_t agree[ROWS];
static const sd_pair_scores scores = {ab, ba, agree, cosine, relative_l2};

/* Residual streams behind each layer, and log-probabilities. */
typedef struct truth {
    double post[LAYERS][ROWS * D], logp[ROWS * V];
} truth;

static void find_truth(const tiny *m, truth *t)
{
    static double capacity[SITES][ROWS * D];

    for (int d = 0; d < DOCS; d++) {
        uint64_t n = start[d + 1] - start[d];
        double *out[SITES], *logits = t->logp + start[d] * V;

        for (int s = 0; s < SITES; s++)
            out[s] = capacity[s];
        ref_document(m, ids + start[d], n, out, logits);
        for (int l = 0; l < LAYERS; l++)
            memcpy(t->post[l] + start[d] * D, capacity[5 * l + 5], n * D * sizeof(double));
        for (uint64_t r = 0; r < n; r++) {
            double most = -1e300, sum = 0;

            for (int i = 0; i < V; i++)
                most = logits[r * V + (uint64_t)i] > most ? logits[r * V + (uint64_t)i] : most;
            for (int i = 0; i < V; i++)
                sum += exp(logits[r * V + (uint64_t)i] - most);
            for (int i = 0; i < V; i++)
                logits[r * V + (uint64_t)i] -= most + log(sum);
        }
    }
}

static int best_of(const double *row)
{
    int best = 0;

    for (int i = 1; i < V; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

static void check_against(const truth *a, const truth *b)
{
    for (int r = 0; r < ROWS; r++) {
        const double *p = a->logp + r * V, *q = b->logp + r * V;
        double forth = 0, back = 0;

        for (int i = 0; i < V; i++) {
            forth += exp(p[i]) * (p[i] - q[i]);
            back += exp(q[i]) * (q[i] - p[i]);
        }
        CHECK_NEAR(ab[r], forth, 1e-4 * (1 + forth));
        CHECK_NEAR(ba[r], back, 1e-4 * (1 + back));
        CHECK(agree[r] == (best_of(p) == best_of(q)));
        for (int l = 0; l < LAYERS; l++) {
            double xx = 0, yy = 0, xy = 0, apart = 0;

            for (int c = r * D; c < (r + 1) * D; c++) {
                double x = a->post[l][c], y = b->post[l][c];

                xx += x * x;
                yy += y * y;
                xy += x * y;
                apart += (x - y) * (x - y);
            }
            CHECK_NEAR(cosine[l * ROWS + r], xy / sqrt(xx * yy), 1e-5);
            CHECK_NEAR(relative_l2[l * ROWS + r], sqrt(apart / xx), 1e-5);
        }
    }
}

static void test_pairs_of_models(void)
{
    static truth of_a, of_b;
    tiny a = {.c = shape, .type = SD_F32}, b = {.c = shape, .type = SD_F32}, other = {.c = shape, .type = SD_F32};
    sd_model *model[3] = {NULL};
    sd_pair *pair = NULL;
    sd_dev *dev;

    other.c.n_layers = 2;
    tiny_make(&a);
    tiny_make(&b);
    tiny_make(&other);
    for (uint64_t i = 0; i < b.count; i++)
        for (uint64_t j = 0; j < tiny_size(&b.tensors[i]); j++)
            b.values[i][j] = (double)(float)(b.values[i][j] + 0.03 * sd_random_normal(sd_key_make(i, SD_STREAM_TEST, 3), j));
    tiny_write_weights(&b);
    tiny_ids(ids, ROWS, V);
    find_truth(&a, &of_a);
    find_truth(&b, &of_b);
    for (int strict = 0; strict < 2; strict++) {
        CHECK_OK(sd_dev_open(&dev, strict ? "strict" : "cpu", 2));
        CHECK_OK(sd_model_open(&model[0], dev, a.dir, ROWS));
        CHECK_OK(sd_model_open(&model[1], dev, b.dir, ROWS));
        CHECK_OK(sd_model_open(&model[2], dev, other.dir, ROWS));
        CHECK_FAILS(sd_pair_create(&pair, dev, model[0], model[2], ROWS), SD_E_DATA, "3 and 2 layers");
        CHECK_OK(sd_pair_create(&pair, dev, model[0], model[1], ROWS));
        CHECK_OK(sd_pair_score(pair, ids, ids, start, DOCS, &scores));
        check_against(&of_a, &of_b);
        sd_pair_destroy(&pair);
        CHECK_OK(sd_pair_create(&pair, dev, model[0], model[0], ROWS));
        CHECK_OK(sd_pair_score(pair, ids, ids, start, DOCS, &scores));
        for (int r = 0; r < ROWS; r++)
            CHECK(ab[r] == 0 && ba[r] == 0 && !signbit(ab[r]) && agree[r] == 1);
        for (int i = 0; i < LAYERS * ROWS; i++)
            CHECK(cosine[i] == 1 && relative_l2[i] == 0);
        sd_pair_destroy(&pair);
        for (int m = 0; m < 3; m++)
            sd_model_close(&model[m]);
        sd_dev_close(&dev);
    }
    tiny_remove(&a);
    tiny_remove(&b);
    tiny_remove(&other);
}

static const test_case tests[] = {
    TEST(test_pairs_of_models),
};

TEST_MAIN(tests, NULL, NULL)

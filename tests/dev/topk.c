/* The encoder's k largest against a sort of all pre-activations in double. Weights are small integers over 8,
 * so that every sum is exact in float, ties are many, and the choice among them is fully determined. */
#include "kit.h"

typedef struct shape {
    uint64_t n, d, latents, k;
    int nan_latent; /* −1: none */
} shape;

static double x[1 << 16], w[1 << 18], b_enc[1 << 13], b_dec[1 << 10], got[KIT_OUT], h[1 << 13];

static void encode(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_encode_topk op = {.x = kit_real(dev, x, s->n, s->d, 1),
                         .w_enc = kit_real(dev, w, s->latents, s->d, 2),
                         .b_enc = kit_real(dev, b_enc, 1, s->latents, 0),
                         .b_dec = kit_real(dev, b_dec, 1, s->d, 0),
                         .index = kit_new(dev, SD_I32, s->n, s->k, 1),
                         .value = kit_new(dev, SD_REAL, s->n, s->k, 2)};

    CHECK_OK(sd_dev_encode_topk(dev, &op));
    kit_get(dev, op.index, out);
    kit_get(dev, op.value, out);
}

static bool before(uint64_t a, uint64_t b)
{
    if (isnan(h[a]) || isnan(h[b]))
        return isnan(h[a]) == isnan(h[b]) ? a < b : isnan(h[b]);
    return h[a] > h[b] || (h[a] == h[b] && a < b);
}

static int by_rank(const void *a, const void *b)
{
    uint64_t i = *(const uint64_t *)a, j = *(const uint64_t *)b;

    return i == j ? 0 : before(i, j) ? -1 : 1;
}

static void test_exact(const shape *s)
{
    static uint64_t order[1 << 13];
    double kept = 0;

    if (s->nan_latent >= 0) {
        kept = b_enc[s->nan_latent];
        b_enc[s->nan_latent] = NAN;
    }
    CHECK(kit_everywhere(encode, s, got) == 2 * s->n * s->k);
    for (uint64_t r = 0; r < s->n; r++) {
        for (uint64_t i = 0; i < s->latents; i++) {
            h[i] = b_enc[i];
            for (uint64_t c = 0; c < s->d; c++)
                h[i] += (x[r * s->d + c] - b_dec[c]) * w[i * s->d + c];
            order[i] = i;
        }
        qsort(order, s->latents, sizeof order[0], by_rank);
        for (uint64_t j = 0; j < s->k; j++) {
            double value = got[(s->n + r) * s->k + j];

            CHECK(got[r * s->k + j] == (double)order[j]);
            CHECK(value == h[order[j]] || (isnan(value) && isnan(h[order[j]])));
        }
    }
    if (s->nan_latent >= 0)
        b_enc[s->nan_latent] = kept;
}

/* Eighths between −1 and 1. */
static void eighths(double *to, uint64_t stream, uint64_t count)
{
    kit_fill(to, stream, count);
    for (uint64_t i = 0; i < count; i++)
        to[i] = round(to[i] * 8) / 8;
}

static void begin(void)
{
    eighths(x, 41, 1 << 16);
    eighths(w, 42, 1 << 18);
    eighths(b_enc, 43, 1 << 13);
    eighths(b_dec, 44, 1 << 10);
}

static void test_shapes(void)
{
    static const shape shapes[] = {
        {1, 1, 1, 1, -1},     {3, 17, 5, 5, -1},      {65, 3, 129, 1, -1},      {129, 5, 1025, 17, -1},
        {17, 9, 3000, 32, 7}, {3, 33, 257, 257, 100}, {5, 2, 2049, 1000, 2048}, {1, 16, 8000, 300, -1},
        {257, 8, 1024, 3, 0}, {0, 3, 4, 2, -1},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        test_exact(&shapes[i]);
}

/* All equal: the lowest latents, in order. Rising: every value beats the threshold. All NaN. */
static void test_special_values(void)
{
    for (int turn = 0; turn < 3; turn++) {
        shape s = {5, 4, 2000, 20, -1};

        memset(x, 0, sizeof x);
        memset(b_dec, 0, sizeof b_dec);
        for (uint64_t i = 0; i < s.latents; i++)
            b_enc[i] = turn == 0 ? 0.5 : turn == 1 ? (double)i : NAN;
        test_exact(&s);
    }
}

static const test_case tests[] = {
    TEST(test_shapes),
    TEST(test_special_values),
};

TEST_MAIN(tests, begin, NULL)

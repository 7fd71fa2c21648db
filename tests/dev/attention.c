/* Attention against the plain formula: one and several documents, grouped heads, across query tiles. */
#include "kit.h"

typedef struct shape {
    uint64_t m, heads, kv_heads, head;
    uint64_t documents[6]; /* lengths, 0 ends */
    uint64_t window;
} shape;

static double q[1 << 16], k[1 << 16], v[1 << 16], got[KIT_OUT];
static int32_t start[1024];

static void attend(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    /* q, k and v are column views of one buffer, as in a model with a fused projection. */
    uint64_t q_cols = s->heads * s->head, kv_cols = s->kv_heads * s->head;
    sd_mat all = kit_new(dev, SD_REAL, s->m, q_cols + 2 * kv_cols, 1);
    sd_attention op = {.q = sd_mat_cols(all, 0, q_cols),
                       .k = sd_mat_cols(all, q_cols, kv_cols),
                       .v = sd_mat_cols(all, q_cols + kv_cols, kv_cols),
                       .start = kit_i32(dev, start, 1, s->m, 0),
                       .y = kit_new(dev, SD_REAL, s->m, q_cols, 2),
                       .head = s->head,
                       .window = s->window};

    CHECK_OK(sd_dev_upload_as(dev, q, SD_F64, op.q));
    CHECK_OK(sd_dev_upload_as(dev, k, SD_F64, op.k));
    CHECK_OK(sd_dev_upload_as(dev, v, SD_F64, op.v));
    CHECK_OK(sd_dev_attention(dev, &op));
    kit_get(dev, op.y, out);
}

static void begin_documents(const shape *s)
{
    uint64_t row = 0;

    for (int d = 0; s->documents[d] > 0; d++)
        for (uint64_t i = 0, first = row; i < s->documents[d]; i++)
            start[row++] = (int32_t)first;
    CHECK(row == s->m);
}

static void reference(const shape *s, uint64_t t, uint64_t h, double *y)
{
    uint64_t qc = s->heads * s->head, kc = s->kv_heads * s->head, g = h / (s->heads / s->kv_heads);
    double most = -INFINITY, sum = 0, p[1024];
    uint64_t low = (uint64_t)start[t];

    while (s->window > 0 && t - low >= s->window)
        low++;
    for (uint64_t r = low; r <= t; r++) {
        p[r] = 0;
        for (uint64_t i = 0; i < s->head; i++)
            p[r] += q[t * qc + h * s->head + i] * k[r * kc + g * s->head + i];
        p[r] /= sqrt((double)s->head);
        most = fmax(most, p[r]);
    }
    for (uint64_t i = 0; i < s->head; i++)
        y[i] = 0;
    for (uint64_t r = low; r <= t; r++) {
        p[r] = exp(p[r] - most);
        sum += p[r];
        for (uint64_t i = 0; i < s->head; i++)
            y[i] += p[r] * v[r * kc + g * s->head + i];
    }
    for (uint64_t i = 0; i < s->head; i++)
        y[i] /= sum;
}

static void test_formula(const shape *s)
{
    begin_documents(s);
    CHECK(kit_everywhere(attend, s, got) == s->m * s->heads * s->head);
    for (uint64_t t = 0; t < s->m; t++)
        for (uint64_t h = 0; h < s->heads; h++) {
            double want[256];

            reference(s, t, h, want);
            for (uint64_t i = 0; i < s->head; i++)
                CHECK_NEAR(got[(t * s->heads + h) * s->head + i], want[i], 60 * kit_eps);
        }
}

/* Other documents in the batch, and later rows of a document, do not affect its rows: not even a NaN does. */
static void test_document_isolation(void)
{
    shape s = {200, 2, 1, 8, {70, 130, 0}, 0};
    static double before[KIT_OUT];

    begin_documents(&s);
    kit_everywhere(attend, &s, before);
    k[150 * 8] = NAN;
    v[150 * 8 + 3] = NAN;
    kit_everywhere(attend, &s, got);
    CHECK(memcmp(before, got, 150 * 16 * sizeof *got) == 0);
    for (uint64_t t = 150; t < 200; t++)
        CHECK(isnan(got[t * 16]));
    kit_fill(k, 22, 1 << 16);
    kit_fill(v, 23, 1 << 16);
}

static void test_bad_start(void)
{
    shape s = {3, 1, 1, 4, {3, 0}, 0};

    begin_documents(&s);
    start[1] = 2;
    kit_everywhere(attend, &s, got);
    for (uint64_t i = 0; i < 12; i++)
        CHECK(isnan(got[i]) == (i / 4 == 1));
}

static void begin(void)
{
    kit_fill(q, 21, 1 << 16);
    kit_fill(k, 22, 1 << 16);
    kit_fill(v, 23, 1 << 16);
    for (uint64_t i = 0; i < 1 << 16; i++)
        q[i] *= 8; /* sharp distributions too */
}

static void test_formulas(void)
{
    static const shape shapes[] = {
        {1, 1, 1, 2, {1, 0}, 0},      {17, 3, 1, 6, {3, 1, 13, 0}, 0},      {129, 4, 2, 8, {64, 65, 0}, 0},
        {257, 2, 2, 33, {257, 0}, 0}, {200, 2, 1, 128, {1, 130, 69, 0}, 0},
        {257, 2, 1, 6, {250, 7, 0}, 1}, {200, 2, 2, 8, {150, 50, 0}, 5},
        {257, 2, 1, 6, {257, 0}, 64}, {300, 2, 1, 6, {290, 10, 0}, 100},
        {130, 1, 1, 8, {130, 0}, 129}, {130, 1, 1, 8, {130, 0}, 130},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        test_formula(&shapes[i]);
}

static const test_case tests[] = {
    TEST(test_formulas),
    TEST(test_document_isolation),
    TEST(test_bad_start),
};

TEST_MAIN(tests, begin, NULL)

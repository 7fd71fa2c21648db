/* Backward operations against central differences of their forward formulas in double, at odd sizes, on every device and thread count. */
#include "kit.h"

#include "saediff/dev/grad.h"

enum { MOST = 1 << 16 };

static double x[MOST], y[MOST], z[MOST], dy[MOST], got[KIT_OUT];
static int32_t words[1024];

/* Tolerance for a gradient of this size: the error of the differences, and rounding in real. */
static double bound(double size)
{
    return 2e-8 * (1 + size) + 400 * kit_eps * (1 + size);
}

/* The loss that is differentiated: Σ dy · f. */
typedef double loss_fn(const void *shape);

static double slope(loss_fn *loss, const void *shape, double *at)
{
    double kept = *at, h = 1e-6, high, low;

    *at = kept + h;
    high = loss(shape);
    *at = kept - h;
    low = loss(shape);
    *at = kept;
    return (high - low) / (2 * h);
}

/* Every `each`-th element of `array` [count] against got[from …]. */
static void check_slopes(loss_fn *loss, const void *shape, double *array, uint64_t count, uint64_t each, const double *gradient)
{
    for (uint64_t i = 0; i < count; i += each) {
        double want = slope(loss, shape, &array[i]);

        CHECK_NEAR(gradient[i], want, bound(fabs(want)));
    }
}

/* ---- rmsnorm: x [m, groups·n], gain in y */

typedef struct norm_shape {
    uint64_t m, groups, n;
    double eps;
    bool in_place;
} norm_shape;

static double norm_loss(const void *arg)
{
    const norm_shape *s = arg;
    double sum = 0;

    for (uint64_t g = 0; g < s->m * s->groups; g++) {
        double square = 0;

        for (uint64_t i = 0; i < s->n; i++)
            square += x[g * s->n + i] * x[g * s->n + i];
        for (uint64_t i = 0; i < s->n; i++)
            sum += dy[g * s->n + i] * y[i] * x[g * s->n + i] / sqrt(square / (double)s->n + s->eps);
    }
    return sum;
}

static void norm(sd_dev *dev, const void *arg, double **out)
{
    const norm_shape *s = arg;
    uint64_t cols = s->groups * s->n;
    sd_rmsnorm_grad op = {.x = kit_real(dev, x, s->m, cols, 1), .gain = kit_real(dev, y, 1, s->n, 0), .dy = kit_real(dev, dy, s->m, cols, 3),
                          .dgain = kit_new(dev, SD_REAL, 1, s->n, 0), .eps = s->eps};

    op.dx = s->in_place ? op.dy : kit_new(dev, SD_REAL, s->m, cols, 2);
    CHECK_OK(sd_dev_rmsnorm_grad(dev, &op));
    kit_get(dev, op.dx, out);
    kit_get(dev, op.dgain, out);
}

static void test_norm(norm_shape s)
{
    uint64_t count = s.m * s.groups * s.n;

    CHECK(kit_everywhere(norm, &s, got) == count + s.n);
    check_slopes(norm_loss, &s, x, count, 1 + count / 300, got);
    check_slopes(norm_loss, &s, y, s.n, 1, got + count);
}

/* ---- silu·mul: gate in x, up in y */

typedef struct pair_shape {
    uint64_t m, n;
    bool in_place;
} pair_shape;

static double silu_loss(const void *arg)
{
    const pair_shape *s = arg;
    double sum = 0;

    for (uint64_t i = 0; i < s->m * s->n; i++)
        sum += dy[i] * x[i] / (1 + exp(-x[i])) * y[i];
    return sum;
}

static void silu(sd_dev *dev, const void *arg, double **out)
{
    const pair_shape *s = arg;
    sd_mat gate = kit_real(dev, x, s->m, s->n, 1), up = kit_real(dev, y, s->m, s->n, 2);
    sd_silu_mul_grad op = {.gate = gate, .up = up, .dy = kit_real(dev, dy, s->m, s->n, 3),
                           .dgate = s->in_place ? gate : kit_new(dev, SD_REAL, s->m, s->n, 0),
                           .dup = s->in_place ? up : kit_new(dev, SD_REAL, s->m, s->n, 4)};

    CHECK_OK(sd_dev_silu_mul_grad(dev, &op));
    kit_get(dev, op.dgate, out);
    kit_get(dev, op.dup, out);
}

static void test_silu(pair_shape s)
{
    uint64_t count = s.m * s.n;

    CHECK(kit_everywhere(silu, &s, got) == 2 * count);
    check_slopes(silu_loss, &s, x, count, 1 + count / 300, got);
    check_slopes(silu_loss, &s, y, count, 1 + count / 300, got + count);
}

/* Gates of large magnitude: the limits, and no NaN. */
static void test_silu_far(void)
{
    static const double gates[] = {-1e4, -2000, 2000, 1e4}, limit[] = {0, 0, 1, 1};
    const pair_shape s = {1, 4, false};

    for (int i = 0; i < 4; i++) {
        x[i] = gates[i];
        y[i] = 2;
        dy[i] = 3;
    }
    kit_everywhere(silu, &s, got);
    for (int i = 0; i < 4; i++) {
        CHECK(got[i] == 6 * limit[i]);
        CHECK(got[4 + i] == 3 * limit[i] * gates[i]);
    }
    kit_fill(x, 1, MOST);
    kit_fill(y, 2, MOST);
    kit_fill(dy, 4, MOST);
}

/* ---- attention: q in x, k in y, v in z */

typedef struct attention_shape {
    uint64_t m, heads, kv_heads, head;
    uint64_t documents[6]; /* lengths, 0 ends */
    uint64_t window;
} attention_shape;

static double attention_loss(const void *arg)
{
    const attention_shape *s = arg;
    uint64_t qc = s->heads * s->head, kc = s->kv_heads * s->head;
    double loss = 0;

    for (uint64_t t = 0; t < s->m; t++)
        for (uint64_t h = 0; h < s->heads; h++) {
            uint64_t low = (uint64_t)words[t], g = h / (s->heads / s->kv_heads);
            double sum = 0, part = 0;

            while (s->window > 0 && t - low >= s->window)
                low++;
            for (uint64_t r = low; r <= t; r++) {
                double p = 0, along = 0;

                for (uint64_t i = 0; i < s->head; i++) {
                    p += x[t * qc + h * s->head + i] * y[r * kc + g * s->head + i];
                    along += dy[t * qc + h * s->head + i] * z[r * kc + g * s->head + i];
                }
                p = exp(p / sqrt((double)s->head));
                sum += p;
                part += p * along;
            }
            loss += part / sum;
        }
    return loss;
}

static void attention(sd_dev *dev, const void *arg, double **out)
{
    const attention_shape *s = arg;
    uint64_t qc = s->heads * s->head, kc = s->kv_heads * s->head;
    sd_mat made = kit_new(dev, SD_REAL, s->m, qc + 2 * kc, 3);
    sd_attention_grad op = {.q = kit_real(dev, x, s->m, qc, 1), .k = kit_real(dev, y, s->m, kc, 2), .v = kit_real(dev, z, s->m, kc, 0),
                            .dy = kit_real(dev, dy, s->m, qc, 1), .dq = sd_mat_cols(made, 0, qc), .dk = sd_mat_cols(made, qc, kc),
                            .dv = sd_mat_cols(made, qc + kc, kc), .start = kit_i32(dev, words, 1, s->m, 0), .head = s->head,
                            .window = s->window};

    CHECK_OK(sd_dev_attention_grad(dev, &op));
    kit_get(dev, op.dq, out);
    kit_get(dev, op.dk, out);
    kit_get(dev, op.dv, out);
}

static void begin_documents(const attention_shape *s)
{
    uint64_t row = 0;

    for (int d = 0; s->documents[d] > 0; d++)
        for (uint64_t i = 0, first = row; i < s->documents[d]; i++)
            words[row++] = (int32_t)first;
    CHECK(row == s->m);
}

static void test_attention(attention_shape s)
{
    uint64_t qc = s.heads * s.head, kc = s.kv_heads * s.head;

    begin_documents(&s);
    CHECK(kit_everywhere(attention, &s, got) == s.m * (qc + 2 * kc));
    check_slopes(attention_loss, &s, x, s.m * qc, 1 + s.m * qc / 60, got);
    check_slopes(attention_loss, &s, y, s.m * kc, 1 + s.m * kc / 60, got + s.m * qc);
    check_slopes(attention_loss, &s, z, s.m * kc, 1 + s.m * kc / 60, got + s.m * (qc + kc));
}

/* A document packed alone and after another one has the same bits. */
static void test_packed(void)
{
    enum { N = 70, HEADS = 2, HEAD = 6, COLS = HEADS * HEAD };
    attention_shape both = {2 * N, HEADS, HEADS, HEAD, {N, N}, 0}, alone = {N, HEADS, HEADS, HEAD, {N}, 0};
    static double first[3 * N * COLS];
    double *arrays[] = {x, y, z, dy};

    begin_documents(&alone);
    kit_everywhere(attention, &alone, got);
    memcpy(first, got, sizeof first);
    for (int a = 0; a < 4; a++) {
        memmove(arrays[a] + N * COLS, arrays[a], N * COLS * sizeof *x);
        for (int i = 0; i < N * COLS; i++)
            arrays[a][i] = (double)(sd_real)(3 * arrays[a][i]);
    }
    begin_documents(&both);
    kit_everywhere(attention, &both, got);
    for (int a = 0; a < 3; a++)
        CHECK(memcmp(first + a * N * COLS, got + (2 * a + 1) * N * COLS, N * COLS * sizeof *x) == 0);
    words[0] = 5; /* an invalid start */
    kit_everywhere(attention, &both, got);
    CHECK(isnan(got[0]) && isnan(got[2 * N * COLS]) && isnan(got[4 * N * COLS]));
    CHECK(memcmp(first, got + N * COLS, N * COLS * sizeof *x) == 0);
}

/* ---- log-probabilities: logits in x, targets in words */

static double logprob_loss(const void *arg)
{
    const pair_shape *s = arg;
    double loss = 0;

    for (uint64_t r = 0; r < s->m; r++) {
        double sum = 0;

        for (uint64_t i = 0; i < s->n; i++)
            sum += exp(x[r * s->n + i]);
        if (words[r] >= 0)
            loss -= 0.37 * (x[r * s->n + (uint64_t)words[r]] - log(sum));
    }
    return loss;
}

static void logprob(sd_dev *dev, const void *arg, double **out)
{
    const pair_shape *s = arg;
    sd_mat logits = kit_real(dev, x, s->m, s->n, 2), target = kit_i32(dev, words, 1, s->m, 0), logp = kit_new(dev, SD_F64, 1, s->m, 0);

    CHECK_OK(sd_dev_logprob(dev, &(sd_logprob){.logits = logits, .target = target, .logp = logp, .best = kit_new(dev, SD_I32, 1, s->m, 0)}));
    CHECK_OK(sd_dev_logprob_grad(dev, &(sd_logprob_grad){.logits = logits, .target = target, .logp = logp, .scale = 0.37}));
    kit_get(dev, logits, out);
}

static void test_logprob(pair_shape s)
{
    for (uint64_t r = 0; r < s.m; r++)
        words[r] = r % 3 == 1 ? -1 : (int32_t)(r * 7 % s.n);
    CHECK(kit_everywhere(logprob, &s, got) == s.m * s.n);
    check_slopes(logprob_loss, &s, x, s.m * s.n, 1 + s.m * s.n / 400, got);
    for (uint64_t i = 0; i < s.n && s.m > 1; i++)
        CHECK(got[s.n + i] == 0);
    words[0] = (int32_t)s.n;
    kit_everywhere(logprob, &s, got);
    CHECK(isnan(got[0]));
}

/* ---- inverse rotation: undoes the rotation if cos² + sin² = 1 */

static void rotate(sd_dev *dev, const void *arg, double **out)
{
    const pair_shape *s = arg;
    uint64_t half = s->n / 4;
    sd_rope op = {.x = kit_real(dev, x, s->m, s->n, 1), .position = kit_i32(dev, words, 1, s->m, 0), .cos = kit_real(dev, y, 7, half, 0),
                  .sin = kit_real(dev, z, 7, half, 0), .head = s->n / 2};

    CHECK_OK(sd_dev_rope(dev, &op));
    op.back = true;
    CHECK_OK(sd_dev_rope(dev, &op));
    kit_get(dev, op.x, out);
}

static void test_rotation(void)
{
    const pair_shape s = {33, 12, false};

    for (uint64_t i = 0; i < 7 * 3; i++) {
        y[i] = (double)(sd_real)cos((double)i);
        z[i] = (double)(sd_real)sin((double)i);
    }
    for (uint64_t r = 0; r < s.m; r++)
        words[r] = (int32_t)(r % 7);
    kit_everywhere(rotate, &s, got);
    for (uint64_t i = 0; i < s.m * s.n; i++)
        CHECK_NEAR(got[i], x[i], 8 * kit_eps);
}

static void test_refused(void)
{
    sd_mat a, b;
    sd_dev *dev;

    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    a = kit_new(dev, SD_REAL, 3, 4, 0);
    b = kit_new(dev, SD_REAL, 3, 5, 0);
    CHECK_FAILS(sd_dev_silu_mul_grad(dev, &(sd_silu_mul_grad){.gate = a, .up = b, .dy = a, .dgate = a, .dup = b}), SD_E_INTERNAL,
                "silu_mul_grad: up is [3, 5]");
    CHECK_FAILS(sd_dev_rmsnorm_grad(dev, &(sd_rmsnorm_grad){.x = a, .gain = sd_mat_cols(sd_mat_rows(a, 0, 1), 0, 3), .dy = a, .dx = a}),
                SD_E_INTERNAL, "no whole number of groups of 3");
    CHECK_FAILS(sd_dev_attention_grad(dev, &(sd_attention_grad){.q = a, .k = a, .v = a, .head = 3}), SD_E_INTERNAL, "no whole numbers of heads");
    while (kit_used > 0)
        sd_buf_destroy(&kit_buffers[--kit_used]);
    sd_dev_close(&dev);
}

static void begin(void)
{
    kit_fill(x, 1, MOST);
    kit_fill(y, 2, MOST);
    kit_fill(z, 3, MOST);
    kit_fill(dy, 4, MOST);
}

static void test_norms(void)
{
    test_norm((norm_shape){1, 1, 1, 1e-5, false});
    test_norm((norm_shape){131, 1, 37, 1e-5, false});
    test_norm((norm_shape){65, 3, 8, 1e-3, true});
}

static void test_silus(void)
{
    test_silu((pair_shape){1, 1, false});
    test_silu((pair_shape){37, 43, true});
    test_silu_far();
    begin();
}

static void test_attentions(void)
{
    test_attention((attention_shape){1, 1, 1, 1, {1}, 0});
    test_attention((attention_shape){90, 4, 2, 5, {70, 1, 19}, 0});
    test_attention((attention_shape){141, 3, 1, 8, {3, 138}, 7});
    test_attention((attention_shape){67, 2, 2, 4, {67}, 64});
    test_packed();
    begin();
}

static void test_logprobs(void)
{
    test_logprob((pair_shape){1, 1, false});
    test_logprob((pair_shape){35, 51, false});
}

static const test_case tests[] = {
    TEST(test_norms),
    TEST(test_silus),
    TEST(test_attentions),
    TEST(test_logprobs),
    TEST(test_rotation),
    TEST(test_refused),
};

TEST_MAIN(tests, begin, NULL)

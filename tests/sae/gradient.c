/* Every gradient of the TopK loss against central differences in double, away from the kinks of the selection: rows whose
 * selection changes under a perturbation would show as errors far above the bound. */
#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/sae/sae.h"

enum { N = 13, D = 6, F = 17, K = 3, K_AUX = 4, DEAD = 5 };

static const char *const names[] = {"W_enc", "b_enc", "W_dec", "b_dec"};
static const uint64_t sizes[] = {F * D, F, F * D, D};

typedef struct state {
    double w[4][F * D], x[N * D];
    bool dead[F];
} state;

static void draw(state *s, uint64_t seed)
{
    sd_key key = sd_key_make(seed, SD_STREAM_TEST, 2);
    uint64_t at = 0;

    for (int p = 0; p < 4; p++)
        for (uint64_t i = 0; i < sizes[p]; i++)
            s->w[p][i] = sd_random_normal(key, at++) * (p % 2 ? 0.3 : 1);
    for (int i = 0; i < N * D; i++)
        s->x[i] = sd_random_normal(key, at++);
    for (int i = 0; i < F; i++)
        s->dead[i] = i % 3 == 1 && i / 3 < DEAD;
}

/* Indices of the k largest of h over the allowed latents; ties do not occur in random data. */
static void largest(const double *h, const bool *allowed, int k, int *out)
{
    bool used[F] = {false};

    for (int j = 0; j < k; j++) {
        int best = -1;

        for (int i = 0; i < F; i++)
            if ((allowed == NULL || allowed[i]) && !used[i] && (best < 0 || h[i] > h[best]))
                best = i;
        used[best] = true;
        out[j] = best;
    }
}

static void pre_activations(const state *s, const double *b_dec, int n, double *h)
{
    for (int i = 0; i < F; i++) {
        h[i] = s->w[1][i];
        for (int c = 0; c < D; c++)
            h[i] += s->w[0][i * D + c] * (s->x[n * D + c] - b_dec[c]);
    }
}

static double errors(const state *s, double e[N][D])
{
    double sum = 0;

    for (int n = 0; n < N; n++) {
        double h[F];
        int top[K];

        pre_activations(s, s->w[3], n, h);
        largest(h, NULL, K, top);
        for (int c = 0; c < D; c++) {
            double y = s->w[3][c];

            for (int j = 0; j < K; j++)
                y += (h[top[j]] > 0 ? h[top[j]] : 0) * s->w[2][top[j] * D + c];
            e[n][c] = s->x[n * D + c] - y;
            sum += e[n][c] * e[n][c];
        }
    }
    return sum / N;
}

/* The aux-k term with the error and b_dec held at what they were. */
static double aux_term(const state *s, double e[N][D], const double *b_dec, int k)
{
    double mean[D] = {0}, spread = 0, sum = 0;

    for (int n = 0; n < N; n++)
        for (int c = 0; c < D; c++)
            mean[c] += e[n][c] / N;
    for (int n = 0; n < N; n++) {
        double h[F];
        int top[F];

        pre_activations(s, b_dec, n, h);
        largest(h, s->dead, k, top);
        for (int c = 0; c < D; c++) {
            double y = 0;

            for (int j = 0; j < k; j++)
                y += h[top[j]] * s->w[2][top[j] * D + c];
            sum += (e[n][c] - y) * (e[n][c] - y);
            spread += (e[n][c] - mean[c]) * (e[n][c] - mean[c]);
        }
    }
    return sum / spread;
}

static void fetch(sd_sae *sae, sd_dev *dev, const char *name, double *out)
{
    sd_mat m;

    CHECK_OK(sd_sae_array(sae, name, &m));
    CHECK_OK(sd_dev_download(dev, m, out));
}

static void test_gradient_is_the_difference_quotient(const char *device, uint64_t seed, int k_aux, double coef)
{
    static state s, moved;
    double e[N][D], aux_scale = 1;
    sd_sae_spec spec = {.d_model = D, .n_latents = F, .k = K, .k_aux = (uint64_t)k_aux, .dead_tokens = 100, .batch = N,
                        .aux_coef = coef, .adam = {0.9, 0.999, 1e-8, 0, 1}, .schedule = {1e-3, 10, 0, 0}};
    int dead = 0, k;
    uint64_t since[F] = {0};
    sd_sae_report report;
    sd_dev *dev = NULL;
    sd_sae *sae = NULL;
    sd_buf *x = NULL;
    sd_mat m;

    draw(&s, seed);
    for (int i = 0; i < F; i++) {
        since[i] = s.dead[i] ? 100 : 99;
        dead += s.dead[i];
    }
    k = k_aux < dead ? k_aux : dead;
    if (k_aux > 0 && dead < k_aux)
        aux_scale = (double)dead / k_aux;
    CHECK_OK(sd_dev_open(&dev, device, 2));
    CHECK_OK(sd_sae_create(&sae, dev, &spec));
    CHECK_OK(sd_buf_create(&x, dev, SD_REAL, N * D));
    CHECK_OK(sd_dev_upload(dev, s.x, sd_mat_of(x, N, D)));
    for (int p = 0; p < 4; p++) {
        CHECK_OK(sd_sae_array(sae, names[p], &m));
        CHECK_OK(sd_dev_upload(dev, s.w[p], m));
    }
    CHECK_OK(sd_sae_array(sae, "since", &m));
    CHECK_OK(sd_dev_upload(dev, since, m));
    CHECK_OK(sd_sae_gradient(sae, sd_mat_of(x, N, D)));
    CHECK_OK(sd_sae_stats(sae, &report));
    CHECK_NEAR(report.mse, errors(&s, e), 1e-12 * report.mse);
    if (k > 0 && coef > 0)
        CHECK_NEAR(report.aux, aux_term(&s, e, s.w[3], k), 1e-12 * report.aux);
    else
        CHECK(report.aux == 0);

    for (int p = 0; p < 4; p++) {
        double grad[F * D], wide[N][D];
        char name[32];

        snprintf(name, sizeof name, "grad.%s", names[p]);
        fetch(sae, dev, name, grad);
        for (uint64_t i = 0; i < sizes[p]; i++) {
            double step = 1e-5, up, down;

            moved = s;
            moved.w[p][i] += step;
            up = errors(&moved, wide) + (k > 0 && p != 3 ? coef * aux_scale * aux_term(&moved, e, s.w[3], k) : 0);
            moved.w[p][i] -= 2 * step;
            down = errors(&moved, wide) + (k > 0 && p != 3 ? coef * aux_scale * aux_term(&moved, e, s.w[3], k) : 0);
            CHECK_NEAR(grad[i], (up - down) / (2 * step), 1e-8 * (1 + fabs(grad[i])));
        }
    }
    sd_sae_destroy(&sae);
    sd_buf_destroy(&x);
    sd_dev_close(&dev);
}

static void on(const char *device)
{
    test_gradient_is_the_difference_quotient(device, 1, 0, 0);
    test_gradient_is_the_difference_quotient(device, 2, K_AUX, 0.5);
    test_gradient_is_the_difference_quotient(device, 3, 2 * F, 1.0 / 32);
    test_gradient_is_the_difference_quotient(device, 4, 1, 4);
}

static void test_cpu(void)
{
    on("cpu");
}

static void test_strict(void)
{
    on("strict");
}

static const test_case tests[] = {
    TEST(test_cpu),
    TEST(test_strict),
};

TEST_MAIN(tests, NULL, NULL)

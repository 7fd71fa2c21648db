/* One training step against references computed in float64 elsewhere (data: sae/step-references). Tensors are stored there as
 * float32, so they can be met to half a unit of its last place; scalars are stored in full and are met to 1e-9 by the kernels
 * built in double. In float32 the bound is 64 roundings of the largest element: sums of 24 to 64 terms. */
#include "data.h"

#include "saediff/dev/step.h"
#include "saediff/sae/sae.h"
#include "saediff/store/json.h"

#ifdef SD_REAL_IS_DOUBLE
static const double scalar_bound = 1e-9, tensor_bound = 6e-8;
#else
static const double scalar_bound = 64 * 6e-8, tensor_bound = 64 * 6e-8;
#endif

static const char *const params[] = {"W_e", "b_e", "W_d", "b_d"}, *const ours[] = {"W_enc", "b_enc", "W_dec", "b_dec"};

static void put(sd_sae *sae, sd_dev *dev, const char *name, const double *data)
{
    sd_mat to;

    CHECK_OK(sd_sae_array(sae, name, &to));
    CHECK_OK(sd_dev_upload_as(dev, data, SD_F64, to));
}

static void check_array(sd_sae *sae, sd_dev *dev, const char *name, const double *want)
{
    sd_mat from;
    double *got = NULL, apart;

    CHECK_OK(sd_sae_array(sae, name, &from));
    CHECK_OK(SD_NEW(&got, from.rows * from.cols));
    CHECK_OK(sd_dev_download_as(dev, from, got, SD_F64));
    apart = worst(got, want, from.rows * from.cols);
    if (!(apart <= tensor_bound))
        fprintf(stderr, "%s: apart by %.3g of the largest element\n", name, apart);
    CHECK(apart <= tensor_bound);
    sd_free(got);
}

/* Dead latents by their counters: the spec calls silent for 1000 tokens dead. */
static void put_dead(sd_sae *sae, sd_dev *dev, const int32_t *dead, uint64_t latents)
{
    uint64_t *since = NULL;
    sd_mat to;

    CHECK_OK(SD_NEW(&since, latents));
    for (uint64_t i = 0; i < latents; i++)
        since[i] = dead != NULL && dead[i] ? 1000 : 0;
    CHECK_OK(sd_sae_array(sae, "since", &to));
    CHECK_OK(sd_dev_upload(dev, since, to));
    sd_free(since);
}

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static void check_selection(sd_sae *sae, sd_dev *dev, sd_safetensors *file, uint64_t n, uint64_t k, uint64_t latents)
{
    int32_t *want = read_tensor(file, "top_index", SD_I32), *index = NULL;
    double *code = read_tensor(file, "code", SD_F64), *value = NULL, *dense = NULL;
    sd_mat m;

    CHECK_OK(SD_NEW(&index, n * k));
    CHECK_OK(SD_NEW(&value, n * k));
    CHECK_OK(SD_NEW(&dense, n * latents));
    CHECK_OK(sd_sae_array(sae, "index", &m));
    CHECK_OK(sd_dev_download(dev, m, index));
    CHECK_OK(sd_sae_array(sae, "value", &m));
    CHECK_OK(sd_dev_download_as(dev, m, value, SD_F64));
    CHECK(memcmp(index, want, n * k * sizeof *want) == 0);
    for (uint64_t i = 0; i < n * k; i++)
        dense[i / k * latents + (uint64_t)index[i]] = value[i] > 0 ? value[i] : 0;
    CHECK(worst(dense, code, n * latents) <= tensor_bound);
    sd_free(want);
    sd_free(index);
    sd_free(code);
    sd_free(value);
    sd_free(dense);
}

/* Three optimiser steps on the same batch and dead set. */
static void check_three_steps(sd_sae *sae, sd_dev *dev, sd_safetensors *file, const cJSON *adam, sd_mat x,
                              const int32_t *dead, uint64_t latents)
{
    const cJSON *log = cJSON_GetObjectItemCaseSensitive(adam, "log");
    sd_mat w_dec;

    CHECK_OK(sd_sae_array(sae, "W_dec", &w_dec));
    CHECK_OK(sd_dev_unit_rows(dev, &(sd_unit_rows){w_dec}));
    for (int step = 1; step <= 3; step++) {
        const cJSON *entry = cJSON_GetArrayItem(log, step - 1);
        sd_sae_report report;
        char name[64];

        put_dead(sae, dev, dead, latents);
        CHECK_OK(sd_sae_step(sae, x));
        CHECK_OK(sd_sae_stats(sae, &report));
        CHECK_NEAR(report.total, number(entry, "loss"), scalar_bound * report.total);
        CHECK_NEAR(report.grad_norm, number(entry, "grad_norm"), scalar_bound * report.grad_norm);
        for (int p = 0; step != 2 && p < 4; p++) {
            double *want;

            snprintf(name, sizeof name, "after_step_%d.%s", step, params[p]);
            want = read_tensor(file, name, SD_F64);
            check_array(sae, dev, ours[p], want);
            sd_free(want);
        }
    }
}

static void test_case_on(const char *data, const cJSON *cases, const char *name, const char *device, uint64_t n, uint64_t d,
                      uint64_t latents)
{
    const cJSON *c = cJSON_GetObjectItemCaseSensitive(cases, name), *terms, *coefficients, *adam;
    sd_sae_spec spec = {.d_model = d, .n_latents = latents, .batch = n, .dead_tokens = 1000};
    sd_safetensors *file = NULL;
    sd_dev *dev = NULL;
    sd_buf *xb = NULL;
    sd_sae *sae = NULL;
    sd_sae_report report;
    char path[4096];
    double *x, *w;
    int32_t *dead = NULL;
    bool has_aux;

    CHECK(c != NULL);
    if (c == NULL)
        return;
    terms = cJSON_GetObjectItemCaseSensitive(c, "terms");
    coefficients = cJSON_GetObjectItemCaseSensitive(c, "coefficients");
    adam = cJSON_GetObjectItemCaseSensitive(c, "adam");
    has_aux = cJSON_HasObjectItem(terms, "aux");
    spec.k = (uint64_t)number(c, "k");
    spec.k_aux = has_aux ? (uint64_t)number(c, "k_aux") : 0;
    spec.aux_coef = has_aux ? number(coefficients, "aux") / number(c, "aux_scale") : 0;
    spec.schedule = (sd_schedule){adam ? number(adam, "lr") : 1e-3, 10, 0, 0};
    spec.adam = (sd_adam_spec){0.9, 0.999, 1e-8, 0, 1};
    snprintf(path, sizeof path, "%s/sae/step-references/%s.safetensors", data, name);
    CHECK_OK(sd_safetensors_open(&file, path));
    CHECK_OK(sd_dev_open(&dev, device, 2));
    CHECK_OK(sd_sae_create(&sae, dev, &spec));
    if (file == NULL || sae == NULL)
        return;
    for (int p = 0; p < 4; p++) {
        w = read_tensor(file, params[p], SD_F64);
        put(sae, dev, ours[p], w);
        sd_free(w);
    }
    if (has_aux)
        dead = read_tensor(file, "dead", SD_I32);
    put_dead(sae, dev, dead, latents);
    x = read_tensor(file, "x", SD_F64);
    CHECK_OK(sd_buf_create(&xb, dev, SD_REAL, n * d));
    CHECK_OK(sd_dev_upload_as(dev, x, SD_F64, sd_mat_of(xb, n, d)));

    CHECK_OK(sd_sae_gradient(sae, sd_mat_of(xb, n, d)));
    CHECK_OK(sd_sae_stats(sae, &report));
    CHECK_NEAR(report.mse, number(terms, "mse"), scalar_bound * report.mse);
    CHECK_NEAR(report.fvu, number(c, "fvu"), scalar_bound * report.fvu);
    if (has_aux)
        CHECK_NEAR(report.aux, number(terms, "aux"), scalar_bound * report.aux);
    CHECK_NEAR(report.total, number(terms, "total"), scalar_bound * report.total);
    check_selection(sae, dev, file, n, spec.k, latents);
    for (int p = 0; p < 4; p++) {
        char want_name[64], name_here[64];

        snprintf(want_name, sizeof want_name, "grad.total.%s", params[p]);
        snprintf(name_here, sizeof name_here, "grad.%s", ours[p]);
        w = read_tensor(file, want_name, SD_F64);
        check_array(sae, dev, name_here, w);
        sd_free(w);
    }
    if (adam != NULL)
        check_three_steps(sae, dev, file, adam, sd_mat_of(xb, n, d), dead, latents);

    sd_free(x);
    sd_free(dead);
    sd_sae_destroy(&sae);
    sd_buf_destroy(&xb);
    sd_dev_close(&dev);
    sd_safetensors_close(&file);
}

static void run(const char *name)
{
    const char *data = test_data_or_skip();
    sd_json *json = NULL;
    const cJSON *cases;
    char path[4096];
    uint64_t n, d, latents;

    snprintf(path, sizeof path, "%s/sae/step-references/cases.json", data);
    CHECK_OK(sd_json_open(&json, path, 1 << 20));
    cases = cJSON_GetObjectItemCaseSensitive(json->root, "cases");
    n = (uint64_t)number(json->root, "rows");
    d = (uint64_t)number(json->root, "d");
    latents = (uint64_t)number(json->root, "latents");
    test_case_on(data, cases, name, "cpu", n, d, latents);
    test_case_on(data, cases, name, "strict", n, d, latents);
    sd_json_close(&json);
}

static void test_topk(void)
{
    run("topk");
}

static void test_few_dead(void)
{
    run("topk_few_dead");
}

static void test_cut_by_relu(void)
{
    run("topk_cut_by_relu");
}

static void test_ties(void)
{
    run("topk_ties");
}

static const test_case tests[] = {
    TEST(test_topk),
    TEST(test_few_dead),
    TEST(test_cut_by_relu),
    TEST(test_ties),
};

TEST_MAIN(tests, NULL, NULL)

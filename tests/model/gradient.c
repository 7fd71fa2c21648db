/* The gradient of a whole model: of tiny models of every family against central differences of the reference's loss, of the test data's
 * model against gradients computed elsewhere in double; and what must not change a bit of it. */
#include "batch.h"
#include "saediff/store/json.h"

#ifdef SD_REAL_IS_DOUBLE
static const double slope_bound = 2e-7, data_bound = 1e-6, loss_bound = 1e-9, sum_bound = 1e-12;
#else
static const double slope_bound = 2e-4, data_bound = 1e-4, loss_bound = 2e-6, sum_bound = 1e-4;
#endif

static uint64_t weights_of(const sd_model_tensor *tensors, uint64_t count)
{
    return tensors[count - 1].first + tensors[count - 1].count;
}

/* Opens the folder anew and gives the gradient in double [weights], sd_free(). */
static double *gradient(const char *dir, const char *device, int threads, bool recompute, const batch *b, double scale, double *logp)
{
    sd_dev *dev = NULL;
    sd_model *model = NULL;
    sd_backward *backward = NULL;
    sd_model_tensor *tensors = NULL;
    sd_buf *grad = NULL;
    uint64_t count = 0, weights;
    double *out = NULL;

    CHECK_OK(sd_dev_open(&dev, device, threads));
    CHECK_OK(sd_model_open(&model, dev, dir, b->n));
    CHECK_OK(sd_model_tensors(sd_model_config_of(model), &tensors, &count));
    weights = weights_of(tensors, count);
    CHECK(weights == sd_model_parameters(sd_model_config_of(model)));
    CHECK_OK(sd_backward_create(&backward, model, NULL, recompute));
    CHECK_OK(sd_buf_create(&grad, dev, SD_REAL, weights));
    CHECK_OK(sd_backward_run(backward,
                             &(sd_train_batch){.ids = b->ids, .doc_start = b->start, .docs = b->docs, .target = b->target, .scale = scale},
                             grad, logp, NULL));
    CHECK_OK(SD_NEW(&out, weights));
    CHECK_OK(sd_dev_download_as(dev, sd_mat_of(grad, 1, weights), out, SD_F64));
    sd_buf_destroy(&grad);
    sd_backward_destroy(&backward);
    sd_model_close(&model);
    sd_dev_close(&dev);
    sd_free(tensors);
    return out;
}

/* ---- tiny models */

/* Tensors of the vector in the order of the contract, found in the tiny model by name. */
static void check_slopes(tiny *m, const batch *b, double scale, const double *got)
{
    sd_model_config c;
    sd_model_tensor *tensors = NULL;
    uint64_t count = 0, looked = 0;

    CHECK_OK(sd_model_config_read(&c, m->dir));
    CHECK_OK(sd_model_tensors(&c, &tensors, &count));
    CHECK(count == m->count);
    for (uint64_t t = 0; t < count; t++) {
        double *w = m->values[tiny_find(m, tensors[t].name)], h = 1e-5;

        for (uint64_t i = t % 3; i < tensors[t].count; i += 1 + tensors[t].count / 5, looked++) {
            double kept = w[i], high, low, want;

            w[i] = kept + h;
            high = reference_loss(m, b, scale);
            w[i] = kept - h;
            low = reference_loss(m, b, scale);
            w[i] = kept;
            want = (high - low) / (2 * h);
            if (!(fabs(got[tensors[t].first + i] - want) <= slope_bound * (1 + fabs(want))))
                fprintf(stderr, "%s[%llu]:\n", tensors[t].name, (unsigned long long)i);
            CHECK_NEAR(got[tensors[t].first + i], want, slope_bound * (1 + fabs(want)));
        }
    }
    CHECK(looked > 3 * count);
    sd_free(tensors);
}

static void test_family(tiny m)
{
    enum { N = 23 };
    int32_t ids[N], target[N];
    batch b = {.ids = ids, .target = target, .start = {0, 9, 10, N}, .docs = 3, .n = N};
    double *got, *again, logp[N];
    uint64_t weights;

    m.type = SD_F64;
    m.say_head_dim = true;
    tiny_make(&m);
    tiny_ids(ids, N, m.c.vocabulary);
    for (int i = 0; i < N; i++)
        target[i] = i == 8 || i == 9 || i == N - 1 || i == 4 ? -1 : ids[i + 1];
    got = gradient(m.dir, test_devices[0].name, 1, false, &b, 0.31, logp);
    check_slopes(&m, &b, 0.31, got);
    for (int i = 0; i < N; i++)
        CHECK(target[i] >= 0 ? logp[i] < 0 : logp[i] == 0);
    weights = sd_model_parameters(&m.c);
    for (int i = 0; i < 4; i++) {
        test_device on = test_devices[(size_t)i % test_devices_count];

        again = gradient(m.dir, on.name, on.threads, i != 1, &b, 0.31, NULL);
        CHECK(memcmp(got, again, weights * sizeof *got) == 0);
        sd_free(again);
    }
    sd_free(got);
    for (int i = 0; i < N; i++)
        target[i] = -1;
    got = gradient(m.dir, test_devices[0].name, 2, true, &b, 1, logp);
    for (uint64_t i = 0; i < weights; i++)
        CHECK(got[i] == 0);
    sd_free(got);
    tiny_remove(&m);
}

static sd_model_config with(sd_model_config c, bool bias_qkv, bool bias_o, bool bias_mlp, bool qk_norm)
{
    c.bias_qkv = bias_qkv;
    c.bias_o = bias_o;
    c.bias_mlp = bias_mlp;
    c.qk_norm = qk_norm;
    return c;
}

static void test_families(void)
{
    sd_model_config c = TINY_SHAPE(12, 2, 4, 2, 6, 10, 19, 32, 1e-5, 1000, true);
    sd_model_config untied = c;

    untied.tied = false;
    test_family((tiny){.c = c});
    test_family((tiny){.c = with(untied, true, true, true, false), .extra = "\"attention_bias\": true, \"mlp_bias\": true, "});
    test_family((tiny){.c = untied, .family = "mistral", .window = 4, .extra = "\"sliding_window\": 4, "});
    test_family((tiny){.c = with(c, true, false, false, false), .family = "qwen2"});
    test_family((tiny){.c = with(untied, true, true, false, true), .family = "qwen3", .extra = "\"attention_bias\": true, "});
}

/* ---- weights as a vector */

static void test_vector(void)
{
    tiny m = {.c = TINY_SHAPE(8, 2, 2, 1, 4, 6, 11, 16, 1e-5, 1000, false), .type = SD_F32, .say_head_dim = true};
    sd_real all[4096], part[64];
    sd_model_tensor *tensors = NULL;
    uint64_t count = 0, weights;
    sd_model *model;
    sd_dev *dev;

    tiny_make(&m);
    CHECK_OK(sd_dev_open(&dev, test_device_name(), 1));
    CHECK_OK(sd_model_open(&model, dev, m.dir, 4));
    CHECK_OK(sd_model_tensors(sd_model_config_of(model), &tensors, &count));
    weights = weights_of(tensors, count);
    CHECK(weights < 4096 && count == m.count);
    CHECK_OK(sd_model_weights_get(model, (sd_span){0, weights}, all));
    for (uint64_t t = 0; t < count; t++)
        for (uint64_t i = 0; i < tensors[t].count; i++)
            CHECK((double)all[tensors[t].first + i] == m.values[tiny_find(&m, tensors[t].name)][i]);
    for (int i = 0; i < 64; i++)
        part[i] = (sd_real)i;
    CHECK_OK(sd_model_weights_put(model, (sd_span){77, 64}, part)); /* crosses tensors */
    memcpy(all + 77, part, sizeof part);
    {
        sd_real again[4096];

        CHECK_OK(sd_model_weights_get(model, (sd_span){0, weights}, again));
        CHECK(memcmp(all, again, weights * sizeof *all) == 0);
    }
    CHECK_FAILS(sd_model_weights_get(model, (sd_span){weights - 1, 2}, all), SD_E_INTERNAL, "of a model that has");
    sd_model_close(&model);
    sd_dev_close(&dev);
    sd_free(tensors);
    tiny_remove(&m);
}

/* ---- the test data */

static int32_t *read_ids(sd_safetensors *file, const char *name, uint64_t *n)
{
    const sd_tensor *t = sd_safetensors_find(file, name);
    int32_t *ids = NULL;

    CHECK(t != NULL && t->dims == 1);
    *n = t->shape[0];
    CHECK_OK(SD_NEW(&ids, *n));
    CHECK_OK(sd_safetensors_read(file, t, SD_I32, ids));
    return ids;
}

static double number(const cJSON *root, const char *part, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, part), key);

    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static void test_data_gradient(const char *folder, const char *kind)
{
    char path[4096], model_dir[2048], name[64];
    sd_safetensors *file;
    sd_json *json = NULL;
    sd_model_config c;
    sd_model_tensor *tensors = NULL;
    uint64_t count = 0, n, evaluated = 0;
    int32_t *document;
    batch b = {0};
    double *got, *logp, loss = 0;

    snprintf(model_dir, sizeof model_dir, "%s/models/stories260K", folder);
    snprintf(path, sizeof path, "%s/reference/training/single.safetensors", model_dir);
    CHECK_OK(sd_safetensors_open(&file, path));
    snprintf(name, sizeof name, "labels_%s", kind);
    b.ids = read_ids(file, "input_ids", &b.n);
    b.target = read_ids(file, name, &n);
    document = read_ids(file, "document", &n);
    for (uint64_t i = 0; i < b.n; i++) {
        if (i == 0 || document[i] != document[i - 1])
            b.start[b.docs++] = i;
        b.target[i] = b.target[i] < 0 ? -1 : b.target[i];
        evaluated += b.target[i] >= 0;
    }
    b.start[b.docs] = b.n;
    sd_safetensors_close(&file);
    snprintf(path, sizeof path, "%s/reference/training/single.json", model_dir);
    CHECK_OK(sd_json_open(&json, path, 1 << 24));
    CHECK(number(json->root, kind, "counted") == (double)evaluated);
    CHECK_OK(SD_NEW(&logp, b.n));
    got = gradient(model_dir, test_devices[0].name, 2, true, &b, 1 / (double)evaluated, logp);
    for (uint64_t i = 0; i < b.n; i++)
        loss -= logp[i] / (double)evaluated;
    CHECK_NEAR(loss, number(json->root, kind, "loss"), loss_bound);
    sd_json_close(&json);

    CHECK_OK(sd_model_config_read(&c, model_dir));
    CHECK_OK(sd_model_tensors(&c, &tensors, &count));
    snprintf(path, sizeof path, "%s/reference/training/grad_%s.safetensors", model_dir, kind);
    CHECK_OK(sd_safetensors_open(&file, path));
    CHECK(sd_safetensors_count(file) == count);
    for (uint64_t t = 0; t < count; t++) {
        const sd_tensor *want_at = sd_safetensors_find(file, tensors[t].name);
        double *want, apart = 0, size = 0;

        CHECK(want_at != NULL);
        CHECK_OK(SD_NEW(&want, tensors[t].count));
        CHECK_OK(sd_safetensors_read(file, want_at, SD_F64, want));
        for (uint64_t i = 0; i < tensors[t].count; i++) {
            apart += pow(got[tensors[t].first + i] - want[i], 2);
            size += want[i] * want[i];
        }
        CHECK_NEAR(sqrt(apart / size), 0, data_bound);
        sd_free(want);
    }
    sd_safetensors_close(&file);

    /* The same documents one by one, with the one number of counted tokens: their gradients add up. */
    {
        double *sum = NULL, apart = 0, size = 0;
        uint64_t weights = weights_of(tensors, count);

        CHECK_OK(SD_NEW(&sum, weights));
        for (uint64_t d = 0; d < b.docs; d++) {
            uint64_t first = b.start[d];
            batch one = {.ids = b.ids + first, .target = b.target + first, .start = {0, b.start[d + 1] - first}, .docs = 1,
                         .n = b.start[d + 1] - first};
            double *part = gradient(model_dir, test_devices[0].name, 1, false, &one, 1 / (double)evaluated, NULL);

            for (uint64_t i = 0; i < weights; i++)
                sum[i] += part[i];
            sd_free(part);
        }
        for (uint64_t i = 0; i < weights; i++) {
            apart += pow(sum[i] - got[i], 2);
            size += got[i] * got[i];
        }
        CHECK_NEAR(sqrt(apart / size), 0, sum_bound);
        sd_free(sum);
    }
    sd_free(got);
    sd_free(logp);
    sd_free(b.ids);
    sd_free(b.target);
    sd_free(document);
    sd_free(tensors);
}

static void test_data_gradients(void)
{
    if (test_is_emulated())
        return;
    test_data_gradient(test_data_or_skip(), "all");
    test_data_gradient(test_data_or_skip(), "completion");
}

static const test_case tests[] = {
    TEST(test_families),
    TEST(test_vector),
    TEST(test_data_gradients),
};

TEST_MAIN(tests, NULL, NULL)

/* LoRA: three AdamW steps against the same arithmetic in double, from the gradient of the whole weights; the exported folder is
 * W0 + alpha/rank · B·A of the exported adapters; equal bits after a checkpoint and at any number of ranks; refusals. */
#include <unistd.h>

#include "ranks.h"
#include "model/batch.h"
#include "saediff/par/par.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/tune/tune.h"

/* In double what remains is the central differences' own error, some h². */
#ifdef SD_REAL_IS_DOUBLE
static const double loss_bound = 1e-11, weight_bound = 1e-6, merge_bound = 1e-6;
#else
static const double loss_bound = 1e-5, weight_bound = 1e-4, merge_bound = 1e-6;
#endif

enum { DOCS = 7, STEPS = 3, RANK = 2, MOST = 1 << 14 };
static const double alpha = 5, decay = 0.1, limit = 0.2, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;

static tiny m; /* on every rank; its folder is rank 0's */

static sd_sft_data *make_sft_data(void)
{
    static const uint64_t length[DOCS] = {9, 5, 12, 2, 7, 11, 4};
    sd_sft_data *l = NULL;
    uint64_t at = 0;

    CHECK_OK(sd_sft_data_create(&l, DOCS, 50));
    tiny_ids(l->ids, 50, m.c.vocabulary);
    for (uint64_t d = 0; d < DOCS; d++) {
        l->start[d] = at;
        for (uint64_t i = 0; i < length[d]; i++, at++)
            l->supervised[at] = i > 0 && at % 5 != 2;
    }
    CHECK(at == 50);
    return l;
}

static const char *const targets[] = {"v_proj", "mlp", "layers.1.self_attn.o_proj"};
static const char *const frozen[] = {"layers.0.mlp.gate_proj"};

static sd_tune_spec spec_of(uint64_t micro)
{
    return (sd_tune_spec){.seed = 3, .batch = 1000, .micro = micro, .steps = STEPS, .fall = SD_FALL_LINEAR, .lr = 0.02, .final = 0.5,
                          .warmup = 1, .adam = {beta1, beta2, eps, decay,
                                                limit}, .rank = RANK, .alpha = alpha, .targets = targets, .n_targets = 3,
                          .freeze = frozen, .n_freeze = 1, .recompute = micro % 2 == 0};
}

static bool is_target(const char *name)
{
    return (strstr(name, "v_proj.weight") || strstr(name, "mlp.up_proj.weight") || strstr(name, "mlp.down_proj.weight") ||
            strcmp(name, "model.layers.1.mlp.gate_proj.weight") == 0 || strcmp(name, "model.layers.1.self_attn.o_proj.weight") == 0);
}

/* ---- the reference: one rank, in double, with the gradient of the whole matrices by central differences */

typedef struct factor {
    uint64_t tensor, rows, cols; /* of the tiny model; of W */
    double *start, *a, *b, *m, *v, *g; /* a [RANK, cols] followed by b; m, v, g the same */
} factor;

typedef struct reference {
    factor f[16];
    uint64_t count, size;
    double loss[STEPS], norm[STEPS];
} reference;

static void merge(const factor *f)
{
    for (uint64_t r = 0; r < f->rows; r++)
        for (uint64_t c = 0; c < f->cols; c++) {
            double sum = 0;

            for (uint64_t k = 0; k < RANK; k++)
                sum += f->b[r * RANK + k] * f->a[k * f->cols + c];
            m.values[f->tensor][r * f->cols + c] = f->start[r * f->cols + c] + alpha / RANK * sum;
        }
}

static double slope(const factor *f, const batch *b, double scale, double *x)
{
    double kept = *x, h = 1e-5, high, low;

    *x = kept + h;
    merge(f);
    high = reference_loss(&m, b, scale);
    *x = kept - h;
    merge(f);
    low = reference_loss(&m, b, scale);
    *x = kept;
    merge(f);
    return (high - low) / (2 * h);
}

/* Every tensor that is_target(), in the order of the model's, with A drawn as the header says. */
static void reference_start(reference *ref)
{
    sd_model_tensor *tensors = NULL;
    sd_model_config c;
    uint64_t count = 0;

    CHECK_OK(sd_model_config_read(&c, m.dir));
    CHECK_OK(sd_model_tensors(&c, &tensors, &count));
    for (uint64_t i = 0; i < count; i++) {
        factor *f = &ref->f[ref->count];
        uint64_t size = RANK * (tensors[i].rows + tensors[i].cols);

        if (!is_target(tensors[i].name))
            continue;
        ref->count++;
        *f = (factor){.tensor = tiny_find(&m, tensors[i].name), .rows = tensors[i].rows, .cols = tensors[i].cols};
        CHECK_OK(SD_NEW(&f->start, tensors[i].count));
        memcpy(f->start, m.values[f->tensor], tensors[i].count * sizeof *f->start);
        CHECK_OK(SD_NEW(&f->a, size));
        CHECK_OK(SD_NEW(&f->m, size));
        CHECK_OK(SD_NEW(&f->v, size));
        CHECK_OK(SD_NEW(&f->g, size));
        f->b = f->a + RANK * f->cols;
        for (uint64_t k = 0; k < RANK * f->cols; k++)
            f->a[k] = (2 * sd_random_uniform(sd_key_make(3, SD_STREAM_ADAPTERS, i), k) - 1) / sqrt((double)f->cols);
        ref->size += size;
    }
    sd_free(tensors);
}

static void reference_steps(reference *ref, const sd_sft_data *l)
{
    static const double rate[STEPS] = {0.02, 0.015, 0.01};
    int32_t target[50];
    batch b = {.ids = l->ids, .target = target, .docs = DOCS, .n = 50};
    uint64_t evaluated = 0;

    memcpy(b.start, l->start, sizeof b.start);
    for (uint64_t d = 0; d < DOCS; d++)
        for (uint64_t i = l->start[d]; i < l->start[d + 1]; i++) {
            target[i] = i + 1 < l->start[d + 1] && l->supervised[i + 1] ? l->ids[i + 1] : -1;
            evaluated += target[i] >= 0;
        }
    for (int t = 0; t < STEPS; t++) {
        double sum = 0, factor_of_clip;

        ref->loss[t] = reference_loss(&m, &b, 1 / (double)evaluated);
        for (uint64_t i = 0; i < ref->count; i++) {
            factor *f = &ref->f[i];

            for (uint64_t k = 0; k < RANK * (f->rows + f->cols); k++) {
                f->g[k] = slope(f, &b, 1 / (double)evaluated, &f->a[k]);
                sum += f->g[k] * f->g[k];
            }
        }
        ref->norm[t] = sqrt(sum);
        factor_of_clip = ref->norm[t] > limit ? limit / ref->norm[t] : 1;
        for (uint64_t i = 0; i < ref->count; i++) {
            factor *f = &ref->f[i];

            for (uint64_t k = 0; k < RANK * (f->rows + f->cols); k++) {
                double g = f->g[k] * factor_of_clip;

                f->m[k] = beta1 * f->m[k] + (1 - beta1) * g;
                f->v[k] = beta2 * f->v[k] + (1 - beta2) * g * g;
                f->a[k] *= 1 - rate[t] * decay;
                f->a[k] -= rate[t] * (f->m[k] / (1 - pow(beta1, t + 1))) / (sqrt(f->v[k] / (1 - pow(beta2, t + 1))) + eps);
            }
            merge(f);
        }
    }
}

static void reference_free(reference *ref)
{
    for (uint64_t i = 0; i < ref->count; i++) {
        factor *f = &ref->f[i];

        memcpy(m.values[f->tensor], f->start, f->rows * f->cols * sizeof *f->start);
        sd_free(f->start);
        sd_free(f->a);
        sd_free(f->m);
        sd_free(f->v);
        sd_free(f->g);
    }
}

/* ---- the tuner */

/* Rank 0: contents of an exported folder and its adapters. */
typedef struct exported {
    double *weights, *adapters; /* [MOST], tensors concatenated as in the files */
    uint64_t n_weights, n_adapters;
} exported;

static double *read_all(const char *dir, const char *name, uint64_t *count)
{
    char path[256];
    double *all = NULL;
    sd_safetensors *file;

    *count = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(SD_NEW(&all, MOST));
    CHECK_OK(sd_safetensors_open(&file, path));
    for (uint64_t i = 0; i < sd_safetensors_count(file); i++) {
        const sd_tensor *t = sd_safetensors_at(file, i);
        uint64_t n = t->shape[0] * (t->dims == 2 ? t->shape[1] : 1);

        CHECK(*count + n <= MOST && t->type == SD_F32);
        CHECK_OK(sd_safetensors_read(file, t, SD_F64, all + *count));
        *count += n;
    }
    sd_safetensors_close(&file);
    CHECK(unlink(path) == 0);
    return all;
}

/* One folder holds both here; a rank that is not the first gets nothing. */
static exported export(sd_tuner *t, const sd_par *par, bool check_config)
{
    char dir[TEST_FOLDER], path[128];
    exported e = {0};
    sd_json *json = NULL;

    if (par->rank != 0)
        return e;
    test_folder(dir);
    CHECK_OK(sd_tuner_export(t, dir, SD_F32));
    CHECK_OK(sd_tuner_export_adapters(t, dir));
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    if (check_config) {
        const cJSON *list;

        CHECK_OK(sd_json_open(&json, path, 1 << 20));
        list = cJSON_GetObjectItemCaseSensitive(json->root, "target_modules");
        CHECK(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json->root, "r")) == RANK);
        CHECK(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json->root, "lora_alpha")) == alpha);
        CHECK(cJSON_GetArraySize(list) == 8);
        CHECK(strcmp(cJSON_GetStringValue(cJSON_GetArrayItem(list, 0)), "model.layers.0.self_attn.v_proj") == 0);
        sd_json_close(&json);
    }
    CHECK(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK(unlink(path) == 0);
    e.weights = read_all(dir, "model.safetensors", &e.n_weights);
    e.adapters = read_all(dir, "adapter_model.safetensors", &e.n_adapters);
    CHECK(rmdir(dir) == 0);
    return e;
}

static void exported_free(exported *e)
{
    sd_free(e->weights);
    sd_free(e->adapters);
}

/* The reference's factors, and weights merged from the exported factors; all other tensors are unchanged. */
static void check_exported(const exported *e, const reference *ref)
{
    uint64_t at = 0;

    CHECK(e->n_adapters == ref->size);
    for (uint64_t i = 0; i < ref->count && e->n_adapters == ref->size; i++) {
        const factor *f = &ref->f[i];
        uint64_t size = RANK * (f->rows + f->cols);

        for (uint64_t k = 0; k < size; k++)
            CHECK_NEAR(e->adapters[at + k], f->a[k], weight_bound);
        memcpy(f->a, e->adapters + at, size * sizeof *f->a);
        merge(f);
        at += size;
    }
    at = 0;
    {
        sd_model_tensor *tensors = NULL;
        sd_model_config c;
        uint64_t count = 0;

        CHECK_OK(sd_model_config_read(&c, m.dir));
        CHECK_OK(sd_model_tensors(&c, &tensors, &count));
        for (uint64_t t = 0; t < count; t++) {
            const double *want = m.values[tiny_find(&m, tensors[t].name)];
            double bound = is_target(tensors[t].name) ? merge_bound : 0;

            for (uint64_t k = 0; k < tensors[t].count; k++)
                CHECK(fabs(e->weights[tensors[t].first + k] - (double)(float)want[k]) <= bound);
            at += tensors[t].count;
        }
        CHECK(at == e->n_weights);
        sd_free(tensors);
    }
}

static sd_tuner *open_tuner(const sd_par *par, sd_dev *dev, const sd_sft_data *l, const sd_tune_spec *spec)
{
    sd_tuner *t = NULL;

    CHECK_OK(sd_tuner_create(&t, par, dev, m.dir, l, spec));
    return t;
}

static void step(sd_tuner *t, const reference *ref)
{
    uint64_t docs[DOCS], at = sd_tuner_step_count(t);
    sd_tune_report r = {0};

    for (uint64_t d = 0; d < DOCS; d++)
        docs[d] = d;
    CHECK_OK(sd_tuner_step_on(t, docs, DOCS, &r));
    CHECK_NEAR(r.of.loss, ref->loss[at], loss_bound * 10);
    CHECK_NEAR(r.norm / ref->norm[at], 1, loss_bound * 1000);
}

/* Without interruption, and resumed from a checkpoint after two steps: equal bits. */
static void test_steps(const sd_par *par, const sd_sft_data *l, const reference *ref)
{
    exported whole, again;
    char path[64], *note = NULL;
    int id = (int)getpid();

    CHECK_OK(sd_par_bcast(par, &id, sizeof id, 0));
    snprintf(path, sizeof path, "/tmp/saediff-adapters-%d.h5", id);
    for (uint64_t micro = 13; micro <= 14; micro++) {
        sd_tune_spec spec = spec_of(micro);
        sd_dev *dev = NULL;
        sd_tuner *t;

        CHECK_OK(sd_dev_open(&dev, micro == 13 ? "strict" : "cpu", 1));
        t = open_tuner(par, dev, l, &spec);
        step(t, ref);
        step(t, ref);
        CHECK_OK(sd_tuner_save(t, path, "key", ""));
        step(t, ref);
        whole = export(t, par, true);
        sd_tuner_destroy(&t);
        t = open_tuner(par, dev, l, &spec);
        CHECK_FAILS(sd_tuner_load(t, path, "other", &note), SD_E_DATA, "another job");
        CHECK_OK(sd_tuner_load(t, path, "key", &note));
        sd_free(note);
        note = NULL;
        {
            exported two = export(t, par, false); /* as loaded, without a step */

            CHECK(two.n_weights == whole.n_weights && two.n_adapters == whole.n_adapters);
            CHECK(par->rank != 0 || memcmp(two.adapters, whole.adapters, whole.n_adapters * sizeof(double)) != 0);
            exported_free(&two);
        }
        step(t, ref);
        again = export(t, par, false);
        if (par->rank == 0) {
            CHECK(memcmp(whole.weights, again.weights, whole.n_weights * sizeof(double)) == 0);
            CHECK(memcmp(whole.adapters, again.adapters, whole.n_adapters * sizeof(double)) == 0);
            check_exported(&whole, ref);
        }
        exported_free(&whole);
        exported_free(&again);
        sd_tuner_destroy(&t);
        sd_dev_close(&dev);
    }
    if (par->rank == 0)
        CHECK_OK(sd_file_remove(path));
}

static void test_refused(void)
{
    static const char *const unknown[] = {"q_proj", "w_proj"}, *const embedding[] = {"embed_tokens"}, *const layer[] = {"layers"};
    sd_tune_spec spec = spec_of(10);
    sd_tune_size size;
    sd_model_config c;

    CHECK_OK(sd_model_config_read(&c, m.dir));
    CHECK_OK(sd_tune_measure(&c, &spec, &size));
    CHECK(size.targets == 8);
    sd_free(size.how);
    spec.targets = unknown;
    spec.n_targets = 2;
    CHECK_FAILS(sd_tune_measure(&c, &spec, &size), SD_E_USAGE, "finetune.lora_targets: no matrix of the model's blocks is called 'w_proj'");
    spec.targets = embedding;
    spec.n_targets = 1;
    CHECK_FAILS(sd_tune_measure(&c, &spec, &size), SD_E_USAGE, "is called 'embed_tokens'");
    spec.n_targets = 0;
    spec.rank = 9;
    CHECK_FAILS(sd_tune_measure(&c, &spec, &size), SD_E_USAGE,
                "finetune.lora_rank is 9; 'model.layers.0.self_attn.k_proj.weight' is [8, 12]");
    spec.rank = 8;
    spec.freeze = layer;
    CHECK_FAILS(sd_tune_measure(&c, &spec, &size), SD_E_USAGE, "excludes every matrix of finetune.lora_targets");
    CHECK(size.how == NULL);
    spec.n_freeze = 0;
    CHECK_OK(sd_tune_measure(&c, &spec, &size));
    CHECK(size.targets == 14);
    sd_free(size.how);
}

static reference ref;
static sd_sft_data *sft_data;

static void begin(void)
{
    static const sd_model_config c = TINY_SHAPE(12, 2, 4, 2, 4, 10, 19, 32, 1e-5, 1000, true);

    m = (tiny){.c = c, .type = SD_F32, .say_head_dim = true};
    tiny_make(&m); /* each rank its own, of equal values */
    sft_data = make_sft_data();
    ref = (reference){0};
    reference_start(&ref);
    if (ranks->rank == 0)
        reference_steps(&ref, sft_data);
    CHECK_OK(sd_par_bcast(ranks, ref.loss, sizeof ref.loss, 0));
    CHECK_OK(sd_par_bcast(ranks, ref.norm, sizeof ref.norm, 0));
}

static void end(void)
{
    reference_free(&ref);
    sd_sft_data_destroy(&sft_data);
    tiny_remove(&m);
}

static void test_against_the_reference(void)
{
    test_steps(ranks, sft_data, &ref);
}

static const test_case tests[] = {
    TEST(test_against_the_reference),
    TEST(test_refused),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3)

/* Ten AdamW steps of the test data's model, against losses, norms and weights computed elsewhere in double; in micro-batches of several sizes,
 * and resumed from a checkpoint. The same at any number of ranks. */
#include <unistd.h>

#include "ranks.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/safetensors.h"
#include "saediff/tune/tune.h"

#ifdef SD_REAL_IS_DOUBLE
static const double loss_bound = 1e-8, norm_bound = 1e-7, weight_bound = 1e-7;
#else
static const double loss_bound = 1e-5, norm_bound = 1e-4, weight_bound = 1e-5;
#endif

enum { STEPS = 10 };

static char model_dir[2048];

typedef struct batches {
    sd_sft_data *sft_data;
    uint64_t first[STEPS + 1]; /* document of each batch */
} batches;

static void read_batches(batches *b, const cJSON *root)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "batches"), *batch, *doc, *id;
    uint64_t docs = 0, tokens = 0, step = 0;

    cJSON_ArrayForEach(batch, list) cJSON_ArrayForEach(doc, batch)
    {
        docs++;
        tokens += (uint64_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(doc, "ids"));
    }
    CHECK_OK(sd_sft_data_create(&b->sft_data, docs, tokens));
    docs = tokens = 0;
    cJSON_ArrayForEach(batch, list)
    {
        CHECK(step < STEPS);
        b->first[step++] = docs;
        cJSON_ArrayForEach(doc, batch)
        {
            b->sft_data->start[docs++] = tokens;
            cJSON_ArrayForEach(id, cJSON_GetObjectItemCaseSensitive(doc, "ids"))
            {
                b->sft_data->supervised[tokens] = tokens > b->sft_data->start[docs - 1];
                b->sft_data->ids[tokens++] = (int32_t)id->valuedouble;
            }
        }
    }
    CHECK(step == STEPS && tokens == b->sft_data->tokens);
    b->first[STEPS] = docs;
}

static double number(const cJSON *row, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, key);

    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static sd_tune_spec spec_of(uint64_t micro, double clip)
{
    return (sd_tune_spec){.batch = 1,
                          .micro = micro,
                          .steps = STEPS,
                          .fall = SD_FALL_COSINE,
                          .lr = 1e-3,
                          .final = 0.1,
                          .warmup = 2,
                          .adam = {0.9, 0.95, 1e-8, 0.1, clip},
                          .recompute = micro % 2 == 0};
}

static void train_step(sd_tuner *t, const batches *b, const cJSON *row, uint64_t step)
{
    uint64_t docs[64], count = b->first[step + 1] - b->first[step];
    sd_tune_report r = {0};

    CHECK(count <= 64);
    for (uint64_t i = 0; i < count; i++)
        docs[i] = b->first[step] + i;
    CHECK_OK(sd_tuner_step_on(t, docs, count, &r));
    CHECK(r.step == step + 1 && (double)r.of.evaluated == number(row, "counted") && (double)r.of.tokens == number(row, "tokens"));
    CHECK_NEAR(r.of.loss, number(row, "loss"), loss_bound);
    CHECK_NEAR(r.norm / number(row, "grad_norm"), 1, norm_bound);
    CHECK_NEAR(r.lr, number(row, "lr"), 1e-15);
}

/* The weights of the export against those of the reference: root of the mean square difference. */
static double apart(const char *dir, const char *reference)
{
    sd_safetensors *want, *got;
    double sum = 0, count = 0, *a, *b;
    char path[2100];

    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK_OK(sd_safetensors_open(&got, path));
    CHECK_OK(sd_safetensors_open(&want, reference));
    CHECK(sd_safetensors_count(got) == sd_safetensors_count(want));
    for (uint64_t i = 0; i < sd_safetensors_count(want); i++) {
        const sd_tensor *w = sd_safetensors_at(want, i), *g = sd_safetensors_find(got, w->name);
        uint64_t n = w->shape[0] * (w->dims == 2 ? w->shape[1] : 1);

        CHECK(g != NULL && g->type == SD_F32 && g->bytes == w->bytes);
        CHECK_OK(SD_NEW(&a, n));
        CHECK_OK(SD_NEW(&b, n));
        CHECK_OK(sd_safetensors_read(want, w, SD_F64, a));
        CHECK_OK(sd_safetensors_read(got, g, SD_F64, b));
        for (uint64_t k = 0; k < n; k++)
            sum += (a[k] - b[k]) * (a[k] - b[k]);
        count += (double)n;
        sd_free(a);
        sd_free(b);
    }
    sd_safetensors_close(&want);
    sd_safetensors_close(&got);
    return sqrt(sum / count);
}

static void check_weights(sd_tuner *t, const sd_par *par)
{
    char dir[TEST_FOLDER], reference[2100], path[128];

    if (par->rank != 0)
        return;
    snprintf(reference, sizeof reference, "%s/reference/training/weights_after_steps.safetensors", model_dir);
    test_folder(dir);
    CHECK_OK(sd_tuner_export(t, dir, SD_F32));
    CHECK_NEAR(apart(dir, reference), 0, weight_bound);
    CHECK_FAILS(sd_tuner_export(t, dir, SD_F32), SD_E_USAGE, "model.safetensors");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
}

static void test_steps(const sd_par *par, const batches *b, const cJSON *log, uint64_t micro, double clip, bool weights)
{
    sd_tune_spec spec = spec_of(micro, clip);
    sd_tuner *t = NULL;
    sd_dev *dev = NULL;

    CHECK_OK(sd_dev_open(&dev, "cpu", 1 + par->rank % 2));
    CHECK_OK(sd_tuner_create(&t, par, dev, model_dir, b->sft_data, &spec));
    for (uint64_t step = 0; step < STEPS; step++)
        train_step(t, b, cJSON_GetArrayItem(log, (int)step), step);
    if (weights)
        check_weights(t, par);
    sd_tuner_destroy(&t);
    sd_dev_close(&dev);
}

/* The last steps from a checkpoint of the first ones are those of an undisturbed run; a checkpoint of something else is refused. */
static void test_resumed(const sd_par *par, const batches *b, const cJSON *log)
{
    sd_tune_spec spec = spec_of(150, 1);
    sd_tuner *t = NULL;
    sd_dev *dev = NULL;
    char path[128], *note = NULL;
    int id = (int)getpid();

    CHECK_OK(sd_par_bcast(par, &id, sizeof id, 0));
    snprintf(path, sizeof path, "/tmp/saediff-tune-%d.h5", id);
    CHECK_OK(sd_dev_open(&dev, "strict", 1));
    CHECK_OK(sd_tuner_create(&t, par, dev, model_dir, b->sft_data, &spec));
    for (uint64_t step = 0; step < 4; step++)
        train_step(t, b, cJSON_GetArrayItem(log, (int)step), step);
    CHECK_OK(sd_tuner_save(t, path, "key", "what was said"));
    sd_tuner_destroy(&t);
    CHECK_OK(sd_tuner_create(&t, par, dev, model_dir, b->sft_data, &spec));
    CHECK_FAILS(sd_tuner_load(t, path, "other", &note), SD_E_DATA, "another job");
    CHECK_OK(sd_tuner_load(t, path, "key", &note));
    CHECK(note != NULL && strcmp(note, "what was said") == 0 && sd_tuner_step_count(t) == 4);
    for (uint64_t step = 4; step < STEPS; step++)
        train_step(t, b, cJSON_GetArrayItem(log, (int)step), step);
    check_weights(t, par);
    sd_tuner_destroy(&t);
    sd_dev_close(&dev);
    sd_free(note);
    if (par->rank == 0)
        CHECK_OK(sd_file_remove(path));
}

/* Held-out documents are not trained on; frozen tensors do not change; a freeze word that matches nothing is refused. */
static void test_frozen(const sd_par *par, const batches *b)
{
    static const char *const all[] = {"model.layers", "embed_tokens"}, *const none[] = {"model.layer"};
    sd_tune_spec spec = spec_of(200, 1);
    sd_tune_loss before = {0}, after = {0};
    sd_tune_report r;
    sd_tuner *t = NULL;
    sd_dev *dev = NULL;

    spec.batch = 300;
    spec.held_out = 0.3;
    spec.freeze = all;
    spec.n_freeze = 2;
    CHECK_OK(sd_dev_open(&dev, "cpu", 2));
    CHECK_OK(sd_tuner_create(&t, par, dev, model_dir, b->sft_data, &spec));
    CHECK(sd_tuner_held_out(t) > 0 && sd_tuner_held_out(t) < b->sft_data->docs && sd_tuner_steps(t) == STEPS);
    CHECK_OK(sd_tuner_evaluate(t, &before));
    CHECK_OK(sd_tuner_step(t, &r));
    CHECK_OK(sd_tuner_step(t, &r));
    CHECK_OK(sd_tuner_evaluate(t, &after));
    CHECK(before.evaluated == after.evaluated && before.loss != after.loss); /* only the final norm changed */
    CHECK_NEAR(before.loss, after.loss, 0.1);
    CHECK(r.norm > 0 && r.norm < 3);
    sd_tuner_destroy(&t);
    spec.freeze = none;
    spec.n_freeze = 1;
    CHECK_FAILS(sd_tuner_create(&t, par, dev, model_dir, b->sft_data, &spec), SD_E_USAGE, "no tensor of the model is called 'model.layer'");
    CHECK(t == NULL);
    sd_dev_close(&dev);
}

static sd_json *json;
static batches the;

static void begin(void)
{
    char path[2100];

    snprintf(model_dir, sizeof model_dir, "%s/models/stories260K", test_data_or_skip());
    snprintf(path, sizeof path, "%s/reference/training/steps.json", model_dir);
    CHECK_OK(sd_json_open(&json, path, 1 << 24));
    the = (batches){0};
    read_batches(&the, json->root);
}

static void end(void)
{
    sd_sft_data_destroy(&the.sft_data);
    sd_json_close(&json);
}

static void test_whole_batches(void)
{
    test_steps(ranks, &the, cJSON_GetObjectItemCaseSensitive(json->root, "log"), 100000, 1, true);
}

static void test_single_documents(void)
{
    test_steps(ranks, &the, cJSON_GetObjectItemCaseSensitive(json->root, "log_with_clip_5"), 1, 5, false);
}

static void test_on_from_a_checkpoint(void)
{
    test_resumed(ranks, &the, cJSON_GetObjectItemCaseSensitive(json->root, "log"));
}

static void test_frozen_tensors(void)
{
    test_frozen(ranks, &the);
}

static const test_case tests[] = {
    TEST(test_whole_batches),
    TEST(test_single_documents),
    TEST(test_on_from_a_checkpoint),
    TEST(test_frozen_tensors),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)

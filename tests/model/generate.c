/* Token by token equals all at once; greedy texts of the references; nothing depends on the prompts beside it; what is drawn follows the
 * filters' definition. */
#include "tiny.h"

#include "../../src/model/sampling.h"
#include "saediff/model/generate.h"
#include "saediff/store/json.h"

enum { ROWS = 40 };

/* The last `steps` tokens one by one behind a first pass; the logits of each as the whole pass has them. Two sequences at once, the second
 * one token shorter. */
static void test_steps(tiny m)
{
    static const uint64_t whole[2] = {0, ROWS}, both[3] = {0, 20, 39}, steps[3] = {0, 1, 2}, slots[2] = {2, 0};
    const sd_model_config c = m.c;
    int32_t ids[ROWS], first[ROWS];
    float *want, *got;
    sd_cache *cache;
    sd_model *model;
    sd_buf *logits;
    sd_dev *dev;

    tiny_make(&m);
    tiny_ids(ids, ROWS, c.vocabulary);
    CHECK_OK(sd_dev_open(&dev, test_device_name(), 2));
    CHECK_OK(sd_model_open(&model, dev, m.dir, ROWS));
    CHECK_OK(sd_buf_create(&logits, dev, SD_REAL, ROWS * c.vocabulary));
    CHECK_OK(SD_NEW(&want, ROWS * c.vocabulary));
    CHECK_OK(SD_NEW(&got, ROWS * c.vocabulary));
    CHECK_OK(sd_model_forward(model, &(sd_pass){.ids = ids, .doc_start = whole, .docs = 1, .to_logits = true}));
    CHECK_OK(sd_model_logits(model, (sd_span){0, ROWS}, sd_mat_of(logits, ROWS, c.vocabulary)));
    CHECK_OK(sd_dev_download_as(dev, sd_mat_of(logits, ROWS, c.vocabulary), want, SD_F32));

    CHECK_OK(sd_cache_create(&cache, model, 3, ROWS));
    sd_cache_clear(cache, 2, ROWS);
    sd_cache_clear(cache, 0, ROWS);
    memcpy(first, ids, 20 * sizeof *ids);
    memcpy(first + 20, ids, 19 * sizeof *ids);
    CHECK_OK(sd_model_forward(model, &(sd_pass){.ids = first, .doc_start = both, .docs = 2, .to_logits = true, .cache = cache, .slot = slots}));
    for (uint64_t t = 20; t < ROWS; t++) {
        int32_t two[2] = {ids[t], ids[t - 1]};

        CHECK_OK(sd_model_forward(model, &(sd_pass){.ids = two, .doc_start = steps, .docs = 2, .to_logits = true, .cache = cache, .slot = slots}));
        CHECK_OK(sd_model_logits(model, (sd_span){0, 2}, sd_mat_of(logits, 2, c.vocabulary)));
        CHECK_OK(sd_dev_download_as(dev, sd_mat_of(logits, 2, c.vocabulary), got, SD_F32));
        for (uint64_t s = 0; s < 2; s++) {
            double apart = 0, size = 0;

            for (uint64_t i = 0; i < c.vocabulary; i++) {
                double a = (double)got[s * c.vocabulary + i], b = (double)want[(t - s) * c.vocabulary + i];

                apart += (a - b) * (a - b);
                size += b * b;
            }
            CHECK_NEAR(sqrt(apart / size), 0, 2e-5);
        }
    }
    CHECK_FAILS(sd_model_forward(model, &(sd_pass){.ids = ids, .doc_start = (uint64_t[]){0, 2}, .docs = 1, .cache = cache, .slot = slots, .to_logits = true}),
                SD_E_INTERNAL, "2 tokens for slot 2 of a cache");
    sd_cache_destroy(&cache);
    sd_free(want);
    sd_free(got);
    sd_buf_destroy(&logits);
    sd_model_close(&model);
    sd_dev_close(&dev);
    tiny_remove(&m);
}

/* 20 prompts, more than slots, sampled and greedy: each as if it were alone. */
static void test_alone(void)
{
    enum { PROMPTS = 20, MOST = 12 };
    tiny m = {.c = TINY_SHAPE(24, 2, 4, 2, 6, 40, 50, 30, 1e-5, 10000, true)};
    const sd_sampling ways[] = {{.top_p = 1}, {.temperature = 1.5, .top_k = 20, .top_p = 0.95, .min_p = 0.01, .seed = 5}};
    const int32_t stop[] = {7};
    sd_prompt prompts[PROMPTS];
    sd_continuation all[PROMPTS], again[PROMPTS];
    int32_t ids[PROMPTS + 30];
    uint64_t stopped = 0, full = 0;
    sd_model *model;
    sd_dev *dev;

    tiny_make(&m);
    tiny_ids(ids, PROMPTS + 30, m.c.vocabulary);
    for (uint64_t i = 0; i < PROMPTS; i++)
        prompts[i] = (sd_prompt){ids + i, 1 + i * 28 / (PROMPTS - 1)};
    CHECK_OK(sd_dev_open(&dev, test_devices[0].name, 2));
    CHECK_OK(sd_model_open(&model, dev, m.dir, 30));
    for (int way = 0; way < 2; way++) {
        CHECK_OK(sd_generate(model, prompts, PROMPTS, MOST, stop, 1, &ways[way], all));
        for (uint64_t i = 0; i < PROMPTS; i += test_is_emulated() ? 9 : 1) {
            /* Prompt i of a batch is prompt i of its streams: it is given last, behind others. */
            uint64_t capacity = 30 - prompts[i].count < MOST ? 30 - prompts[i].count : MOST;
            sd_prompt other[PROMPTS];

            for (uint64_t j = 0; j < i; j++)
                other[j] = prompts[(j * 7) % PROMPTS];
            other[i] = prompts[i];
            CHECK_OK(sd_generate(model, other, i + 1, MOST, stop, 1, &ways[way], again));
            CHECK(again[i].count == all[i].count && again[i].stop == all[i].stop);
            CHECK(memcmp(again[i].ids, all[i].ids, all[i].count * sizeof *ids) == 0);
            CHECK(all[i].stop == 7 ? all[i].count < capacity : all[i].stop == -1 && all[i].count == capacity);
            for (uint64_t j = 0; j <= i; j++)
                sd_free(again[j].ids);
        }
        for (uint64_t i = 0; i < PROMPTS; i++) {
            stopped += all[i].stop == 7;
            full += all[i].count == MOST;
            sd_free(all[i].ids);
        }
    }
    CHECK(stopped > 0 && full > 0);
    prompts[3].count = 30;
    CHECK_FAILS(sd_generate(model, prompts, PROMPTS, MOST, stop, 1, &ways[0], all), SD_E_DATA, "prompt 3 has 30 tokens; it must have 1 to 29");
    CHECK_FAILS(sd_generate(model, prompts, 1, MOST, stop, 1, &(sd_sampling){.top_p = 0}, all), SD_E_USAGE, "top-p 0");
    sd_model_close(&model);
    sd_dev_close(&dev);
    tiny_remove(&m);
}

/* What the filters leave, and how often each token is drawn over a fine grid of uniforms. */
static void test_draws(void)
{
    enum { WORDS = 6, GRID = 60000 };
    static const float logits[WORDS] = {1, 3, 2, 3, -INFINITY, 0};
    static const struct {
        sd_sampling how;
        int32_t kept[WORDS], n;
    } cases[] = {
        {{.temperature = 1, .top_p = 1}, {1, 3, 2, 0, 5}, 5},
        {{.temperature = 0.5, .top_p = 1, .top_k = 3}, {1, 3, 2}, 3},
        {{.temperature = 1, .top_p = 0.45}, {1, 3}, 2},          /* 0.39 of the mass, then the crossing one */
        {{.temperature = 1, .top_p = 0.3}, {1}, 1},
        {{.temperature = 2, .top_p = 1, .min_p = 0.5}, {1, 3, 2}, 3}, /* exp(−1/2) stays, exp(−1) goes */
        {{.temperature = 1, .top_p = 0.99, .top_k = 4, .min_p = 0.3}, {1, 3, 2}, 3},
    };
    sd_candidate capacity[WORDS];
    int32_t id;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t drawn[WORDS] = {0};
        double mass = 0;

        for (int g = 0; g < GRID; g++) {
            CHECK_OK(sd_sample(logits, WORDS, &cases[i].how, (g + 0.5) / GRID, capacity, &id));
            drawn[id]++;
        }
        for (int k = 0; k < cases[i].n; k++)
            mass += exp((double)logits[cases[i].kept[k]] / cases[i].how.temperature);
        for (int w = 0; w < WORDS; w++) {
            double share = 0;

            for (int k = 0; k < cases[i].n; k++)
                if (cases[i].kept[k] == w)
                    share = exp((double)logits[w] / cases[i].how.temperature) / mass;
            CHECK_NEAR((double)drawn[w] / GRID, share, 1.5 / GRID);
        }
    }
    CHECK_OK(sd_sample(logits, WORDS, &(sd_sampling){.top_p = 1}, 0, capacity, &id));
    CHECK(id == 1);
    CHECK_FAILS(sd_sample((const float[]){1, NAN}, 2, &(sd_sampling){.top_p = 1}, 0, capacity, &id), SD_E_DATA, "the logit of token 1 is NaN");
    CHECK_FAILS(sd_sample((const float[]){INFINITY, 1}, 2, &(sd_sampling){.temperature = 1, .top_p = 1}, 0, capacity, &id), SD_E_DATA,
                "the logit of token 0 is infinite");
    CHECK_FAILS(sd_sample((const float[]){-INFINITY}, 1, &(sd_sampling){.top_p = 1}, 0, capacity, &id), SD_E_DATA, "all logits of a token");
}

static void test_references(const char *data)
{
    char path[4096], dir[4096];
    sd_json *json;
    const cJSON *prompt, *id;
    const int32_t stop[] = {1, 2};
    uint64_t greedy = 0;
    int32_t *stops;
    uint64_t n_stops;
    sd_model *model;
    sd_dev *dev;

    snprintf(dir, sizeof dir, "%s/models/stories260K", data);
    snprintf(path, sizeof path, "%s/models/stories260K/reference/prompts.json", data);
    CHECK_OK(sd_dev_open(&dev, test_devices[0].name, 2));
    CHECK_OK(sd_model_open(&model, dev, dir, 256));
    CHECK_OK(sd_json_open(&json, path, 1 << 24));
    cJSON_ArrayForEach(prompt, json->root)
    {
        const cJSON *want = cJSON_GetObjectItem(prompt, "greedy_ids"), *given = cJSON_GetObjectItem(prompt, "ids");
        int32_t ids[512];
        sd_prompt p = {ids, 0};
        sd_continuation c;
        uint64_t n = 0;

        if (!cJSON_IsArray(want))
            continue;
        cJSON_ArrayForEach(id, given) ids[p.count++] = id->valueint;
        CHECK_OK(sd_generate(model, &p, 1, (uint64_t)cJSON_GetArraySize(want), stop, 2, &(sd_sampling){.top_p = 1}, &c));
        CHECK(c.count == (uint64_t)cJSON_GetArraySize(want));
        cJSON_ArrayForEach(id, want)
        {
            CHECK(n < c.count && c.ids[n] == id->valueint);
            n++;
        }
        greedy++;
        sd_free(c.ids);
    }
    CHECK(greedy == 5);
    CHECK_OK(sd_generate_stops(dir, &stops, &n_stops));
    CHECK(n_stops == 1 && stops[0] == 2);
    sd_free(stops);
    sd_json_close(&json);
    sd_model_close(&model);
    sd_dev_close(&dev);
}

static void test_stops(void)
{
    tiny m = {.c = TINY_SHAPE(8, 1, 2, 1, 4, 8, 9, 16, 1e-5, 10000, true)};
    char path[128];
    uint64_t count;
    int32_t *ids;

    tiny_make(&m);
    CHECK_OK(sd_generate_stops(m.dir, &ids, &count));
    CHECK(count == 0 && ids == NULL);
    tiny_write_text(&m, "generation_config.json", "{\"eos_token_id\": [5, 3]}");
    CHECK_OK(sd_generate_stops(m.dir, &ids, &count));
    CHECK(count == 2 && ids[0] == 5 && ids[1] == 3);
    sd_free(ids);
    tiny_write_text(&m, "generation_config.json", "{\"eos_token_id\": [5, \"x\"]}");
    CHECK_FAILS(sd_generate_stops(m.dir, &ids, &count), SD_E_DATA, "eos_token_id must be a token id or a list of them");
    tiny_path(&m, "generation_config.json", path);
    unlink(path);
    tiny_remove(&m);
}

static const sd_model_config llama = TINY_SHAPE(18, 3, 4, 2, 6, 31, 65, 70, 1e-6, 500000, false);

static void test_full_attention(void)
{
    test_steps((tiny){.c = llama, .say_head_dim = true});
}

static void test_windows(void)
{
    sd_model_config qwen = llama;

    qwen.qk_norm = true;
    test_steps((tiny){.c = llama, .family = "mistral", .say_head_dim = true, .extra = "\"sliding_window\": 9, "});
    test_steps((tiny){.c = qwen,
                      .family = "qwen3",
                      .say_head_dim = true,
                      .extra = "\"use_sliding_window\": true, \"sliding_window\": 22, \"max_window_layers\": 1, "});
}

static void test_longrope(void)
{
    test_steps((tiny){.c = llama,
                      .say_head_dim = true,
                      .extra = "\"original_max_position_embeddings\": 30, \"rope_scaling\": {\"rope_type\": \"longrope\", "
                               "\"short_factor\": [1, 2, 3], \"long_factor\": [2, 3, 4]}, "});
}

static void test_data_references(void)
{
    if (test_data() != NULL && !test_is_emulated())
        test_references(test_data());
}

static const test_case tests[] = {
    TEST(test_full_attention),
    TEST(test_windows),
    TEST(test_longrope),
    TEST(test_alone),
    TEST(test_draws),
    TEST(test_stops),
    TEST(test_data_references),
};

TEST_MAIN(tests, NULL, NULL)

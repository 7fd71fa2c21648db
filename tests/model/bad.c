/* Folders and passes that are wrong: what is said about them. */
#include "tiny.h"

static const sd_model_config shape = TINY_SHAPE(8, 2, 2, 1, 4, 12, 10, 16, 1e-5, 10000, false);
static sd_dev *dev;

static sd_status open_it(const tiny *m)
{
    sd_model *model;
    sd_status st = sd_model_open(&model, dev, m->dir, 16);

    CHECK((model != NULL) == (st == SD_OK));
    sd_model_close(&model);
    return st;
}

static void test_config(void)
{
    static const struct {
        const char *extra, *says;
    } cases[] = {
        {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}, ", "'low_freq_factor' of 'rope_scaling' is missing"},
        {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}, ", "'factor' of 'rope_scaling' must be a number above 0"},
        {"\"rope_scaling\": {\"type\": \"linear\"}, ", "'factor' of 'rope_scaling' is missing"},
        {"\"rope_scaling\": {\"type\": \"su\", \"factor\": 2}, ", "'rope_scaling' is of type 'su'; this program computes rotary embeddings of type default, linear"},
        {"\"rope_scaling\": {\"factor\": 2}, ", "'rope_scaling' is of type 'unnamed'"},
        {"\"rope_scaling\": 7, ", "'rope_scaling' is not an object"},
        {"\"rope_parameters\": {\"full_attention\": {}}, ", "'full_attention' of 'rope_parameters' is not known"},
        {"\"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": [1]}, ",
         "'short_factor' of 'rope_parameters' must be a list of 2 numbers"},
        {"\"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": [1, -1]}, ",
         "'short_factor' of 'rope_parameters' must be a list of numbers above 0"},
        {"\"partial_rotary_factor\": 0.5, ", "'partial_rotary_factor' is not 1"},
        {"\"rope_interleaved\": true, ", "'rope_interleaved' is true"},
        {"\"attention_bias\": true, ", "8 tensors that config.json requires are missing"},
        {"\"mlp_bias\": true, ", "model.layers.0.mlp.gate_proj.bias"},
        {"\"quantization_config\": {}, ", "'quantization_config' is set"},
        {"\"num_local_experts\": 8, ", "'num_local_experts' is set"},
        {"\"head_dim\": 3, ", "'head_dim' is 3; rotary embeddings need an even number"},
        {"\"head_dim\": 0, ", "'head_dim' is 0; it must be 1 to"},
    };
    static const struct {
        const char *text, *says;
    } texts[] = {
        {"{}", "model_type"},
        {"[]", "not a JSON object"},
        {"{\"model_type\": \"gpt2\"}",
         "'model_type' is 'gpt2'; this program computes models of type llama, mistral, qwen2 and qwen3"},
        {"{\"model_type\": \"llama\", \"hidden_act\": \"gelu\"}", "'hidden_act' is 'gelu'"},
        {"{\"model_type\": \"llama\"}", "hidden_size"},
        {"{\"model_type\": \"llama\",", "config.json:1:"},
    };
    tiny m = {.c = shape, .type = SD_F32};

    tiny_make(&m);
    CHECK_OK(open_it(&m));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m.extra = cases[i].extra;
        tiny_write_config(&m);
        CHECK_FAILS(open_it(&m), SD_E_DATA, cases[i].says);
        CHECK(strstr(sd_last_error(), m.dir) != NULL);
    }
    m.extra =
        "\"rope_scaling\": null, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5000}, ";
    tiny_write_config(&m);
    CHECK_OK(open_it(&m));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        tiny_write_text(&m, "config.json", texts[i].text);
        CHECK_FAILS(open_it(&m), SD_E_DATA, texts[i].says);
    }
    m.extra = NULL;
    m.c.n_heads = 3;
    m.say_head_dim = true;
    m.c.n_kv_heads = 2;
    tiny_write_config(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "3 attention heads cannot share 2 key/value heads evenly");
    m.c.n_heads = m.c.n_kv_heads = 1 << 20;
    tiny_write_config(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "'num_attention_heads' is 1048576; it must be 1 to");
    tiny_remove(&m);
}

static void test_weights(void)
{
    tiny m = {.c = shape, .type = SD_F32};
    uint64_t norm, up;
    char path[128];

    tiny_make(&m);
    norm = tiny_find(&m, "model.norm.weight");
    up = tiny_find(&m, "model.layers.1.mlp.up_proj.weight");

    m.values[up][5] = NAN;
    tiny_write_weights(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "tensor 'model.layers.1.mlp.up_proj.weight' has NaN at [0, 5]");
    m.values[up][5] = 0;
    m.values[norm][3] = -INFINITY;
    tiny_write_weights(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "tensor 'model.norm.weight' has an infinity at [0, 3]");
    m.values[norm][3] = 1;

    m.tensors[up].shape[0] = 8;
    m.tensors[up].shape[1] = 12;
    tiny_write_weights(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA,
                "'model.layers.1.mlp.up_proj.weight' is [8, 12]; config.json requires [12, 8]");
    m.tensors[up].shape[0] = 12;
    m.tensors[up].shape[1] = 8;

    snprintf(m.names[norm], TINY_NAME, "model.norm.bias");
    tiny_write_weights(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "1 tensors that config.json requires are missing: model.norm.weight");
    snprintf(m.names[norm], TINY_NAME, "model.norm.weight");

    tiny_add(&m, "model.layers.0.self_attn.q_proj.bias", 0, 8, 0, 1);
    tiny_write_weights(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "does not have: model.layers.0.self_attn.q_proj.bias");
    snprintf(m.names[m.count - 1], TINY_NAME, "model.layers.0.self_attn.rotary_emb.inv_freq");
    tiny_write_weights(&m);
    CHECK_OK(open_it(&m));

    /* More missing than are named. */
    m.c.n_layers = 4;
    tiny_write_config(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "18 tensors that config.json requires are missing: model.layers.2.");
    CHECK(strstr(sd_last_error(), "and 8 more") != NULL);
    m.c.n_layers = 2;

    /* Tied, with an output matrix in the file: fine if it is the embedding. */
    m.c.tied = true;
    tiny_write_config(&m);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "'lm_head.weight' differs from 'model.embed_tokens.weight'");
    memcpy(m.values[tiny_find(&m, "lm_head.weight")], m.values[0], 80 * sizeof(double));
    tiny_write_weights(&m);
    CHECK_OK(open_it(&m));

    tiny_path(&m, "model.safetensors", path);
    CHECK(truncate(path, 2000) == 0);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "model.safetensors");
    CHECK(truncate(path, 4) == 0);
    CHECK_FAILS(open_it(&m), SD_E_DATA, "model.safetensors");
    unlink(path);
    CHECK(open_it(&m) != SD_OK && strstr(sd_last_error(), "model.safetensors") != NULL);
    tiny_remove(&m);
    CHECK(open_it(&m) != SD_OK && strstr(sd_last_error(), "config.json") != NULL);
}

static void test_ids(void)
{
    tiny m = {.c = shape, .type = SD_F32};
    int32_t ids[32] = {0};
    uint64_t start[2] = {0, 5};
    sd_pass pass = {.ids = ids, .doc_start = start, .docs = 1, .to_logits = true};
    sd_model *model;

    tiny_make(&m);
    CHECK_OK(sd_model_open(&model, dev, m.dir, 32));
    CHECK_OK(sd_model_forward(model, &pass));
    ids[3] = 10;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_DATA,
                "token 3 of a pass is id 10; the model's vocabulary has ids 0 to 9");
    ids[3] = -1;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_DATA, "token 3 of a pass is id -1");
    ids[3] = 9;
    start[1] = 17;
    CHECK_FAILS(sd_model_forward(model, &pass), SD_E_DATA,
                "document 0 of a pass has 17 tokens; the model's context is 16");
    sd_model_close(&model);
    tiny_remove(&m);
}

/* Whatever allocation fails, nothing leaks and the status says so. */
static void test_no_memory(void)
{
    tiny m = {.c = shape, .type = SD_F32};
    sd_status st = SD_E_ENV;

    m.c.n_layers = 1;
    tiny_make(&m);
    for (uint64_t n = 1; st != SD_OK && n < 2000; n++) {
        sd_model *model;

        sd_mem_fail_at(n);
        st = sd_model_open(&model, dev, m.dir, 16);
        sd_mem_fail_at(0);
        CHECK(st == SD_OK || st == SD_E_ENV);
        sd_model_close(&model);
    }
    CHECK(st == SD_OK);
    tiny_remove(&m);
}

static void begin(void)
{
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
}

static void end(void)
{
    sd_dev_close(&dev);
}

static const test_case tests[] = {
    TEST(test_config),
    TEST(test_weights),
    TEST(test_ids),
    TEST(test_no_memory),
};

TEST_MAIN(tests, begin, end)

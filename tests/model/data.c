/* The test data's models: hidden states and logits of every reference prompt. */
#include <dirent.h>

#include "tiny.h"

static void compare(sd_safetensors *file, const char *name, const float *got, uint64_t rows, uint64_t cols)
{
    const sd_tensor *t = sd_safetensors_find(file, name);
    double *want;

    CHECK(t != NULL && t->dims == 2 && t->shape[0] == rows && t->shape[1] == cols);
    if (t == NULL || t->shape[0] * t->shape[1] != rows * cols)
        return;
    CHECK_OK(SD_NEW(&want, rows * cols));
    CHECK_OK(sd_safetensors_read(file, t, SD_F64, want));
    CHECK_NEAR(relative(got, want, rows * cols), 0, 2e-5);
    sd_free(want);
}

static void test_prompt(sd_model *model, sd_dev *dev, const char *path)
{
    const sd_model_config *c = sd_model_config_of(model);
    const sd_tensor *t;
    sd_safetensors *file;
    uint64_t span[2] = {0};
    int32_t *ids;
    readings r;

    CHECK_OK(sd_safetensors_open(&file, path));
    t = sd_safetensors_find(file, "input_ids");
    CHECK(t != NULL);
    span[1] = t->shape[0];
    CHECK_OK(SD_NEW(&ids, span[1]));
    CHECK_OK(sd_safetensors_read(file, t, SD_I32, ids));
    readings_make(&r, c, span[1]);
    readings_take(&r, model, dev, (sd_pass){.ids = ids, .doc_start = span, .docs = 1}, NULL, 0);
    for (uint64_t i = 0; i < r.sites; i++) {
        sd_site site = tiny_site(c, i);
        char name[32];

        if (site.kind == SD_SITE_EMBED)
            snprintf(name, sizeof name, "embed");
        else if (site.kind == SD_SITE_NORMALIZED)
            snprintf(name, sizeof name, "norm");
        else if (site.kind == SD_SITE_RESID_PRE || site.kind == SD_SITE_RESID_MID)
            continue;
        else
            snprintf(name, sizeof name, "layer.%u%s", (unsigned)site.layer,
                     site.kind == SD_SITE_ATTN_OUT  ? ".attn"
                     : site.kind == SD_SITE_MLP_OUT ? ".mlp"
                                                    : "");
        compare(file, name, r.at[i].rows, span[1], c->d_model);
    }
    compare(file, "logits", r.logits, span[1], c->vocabulary);
    readings_free(&r);
    sd_free(ids);
    sd_safetensors_close(&file);
}

static int test_model(const char *data, const char *name)
{
    char dir[1024], path[2048];
    const struct dirent *entry;
    sd_model *model;
    sd_dev *dev;
    int prompts = 0;
    DIR *folder;

    snprintf(dir, sizeof dir, "%s/models/%s", data, name);
    CHECK_OK(sd_dev_open(&dev, "cpu", 2));
    CHECK_OK(sd_model_open(&model, dev, dir, 512));
    CHECK(sd_model_config_of(model)->d_head == 8 && sd_model_config_of(model)->tied);
    CHECK(sd_model_parameters(sd_model_config_of(model)) == 260032);
    snprintf(path, sizeof path, "%s/reference", dir);
    folder = opendir(path);
    CHECK(folder != NULL);
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length < 12 || strcmp(entry->d_name + length - 12, ".safetensors") != 0 ||
            strncmp(entry->d_name, "activation_stats", 16) == 0)
            continue;
        snprintf(path, sizeof path, "%s/reference/%s", dir, entry->d_name);
        test_prompt(model, dev, path);
        prompts++;
    }
    if (folder != NULL)
        closedir(folder);
    sd_model_close(&model);
    sd_dev_close(&dev);
    return prompts;
}

static void test_stories(void)
{
    CHECK(test_model(test_data_or_skip(), "stories260K") >= 5);
}

static void test_news(void)
{
    CHECK(test_model(test_data_or_skip(), "stories260K-news") >= 3);
}

static const test_case tests[] = {
    TEST(test_stories),
    TEST(test_news),
};

TEST_MAIN(tests, NULL, NULL)

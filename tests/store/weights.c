/* The weights of a folder: one file, shards with an index, PyTorch's; and indices that lie. */
#include "torch_files.h"

#include "saediff/store/file.h"
#include "saediff/store/weights.h"

static char folder[64];
static const float values[4] = {1, 2, 3, 4};

static void write_safe(const char *file, const char *a, const char *b)
{
    const sd_tensor tensors[2] = {{.name = a, .type = SD_F32, .dims = 1, .shape = {4}}, {.name = b, .type = SD_F32, .dims = 1, .shape = {4}}};
    const void *data[2] = {values, values};
    char path[256];

    CHECK_OK(sd_safetensors_write(scratch_path(path, folder, file), tensors, data, b != NULL ? 2 : 1, NULL));
}

static void write_text(const char *file, const char *text)
{
    char path[256];

    CHECK_OK(sd_file_write(scratch_path(path, folder, file), text, strlen(text)));
}

static void remove_file(const char *file)
{
    char path[256];

    CHECK_OK(sd_file_remove(scratch_path(path, folder, file)));
}

static sd_status open_it(void)
{
    sd_weights *w = NULL;
    sd_status st = sd_weights_open(&w, folder);

    CHECK((w != NULL) == (st == SD_OK));
    sd_weights_close(&w);
    return st;
}

#define INDEX(map) "{\"metadata\": {\"total_size\": 48}, \"weight_map\": {" map "}}"

static void test_shards(const char *index, const char *first, const char *second)
{
    float got[4] = {0};
    sd_weights *w;

    CHECK_OK(sd_weights_open(&w, folder));
    CHECK(strstr(sd_weights_path(w), index) != NULL);
    CHECK(sd_weights_count(w) == 3 && strcmp(sd_weights_at(w, 0)->name, "a") == 0 && strcmp(sd_weights_at(w, 2)->name, "c") == 0);
    CHECK(strstr(sd_weights_file(w, sd_weights_find(w, "b")), first) != NULL);
    CHECK(strstr(sd_weights_file(w, sd_weights_find(w, "c")), second) != NULL);
    CHECK(sd_weights_find(w, "d") == NULL);
    CHECK_OK(sd_weights_read(w, sd_weights_find(w, "c"), SD_F32, got));
    CHECK(memcmp(got, values, sizeof got) == 0);
    sd_weights_close(&w);
}

static void test_safetensors(void)
{
    char one[SD_SHA256_HEX], two[SD_SHA256_HEX];

    write_text("config.json", "{}");
    CHECK_FAILS(open_it(), SD_E_DATA, "no weights here");
    write_safe("one.safetensors", "a", "b");
    write_safe("two.safetensors", "c", NULL);
    write_text("model.safetensors.index.json",
               INDEX("\"a\": \"one.safetensors\", \"b\": \"one.safetensors\", \"c\": \"two.safetensors\""));
    test_shards("model.safetensors.index.json", "one.safetensors", "two.safetensors");
    CHECK_OK(sd_weights_digest(folder, one));
    write_safe("two.safetensors", "c", "d");
    CHECK_OK(open_it()); /* a warning tells of d */
    CHECK_OK(sd_weights_digest(folder, two));
    CHECK(strcmp(one, two) != 0);
}

static void test_lies(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {INDEX("\"a\": \"../one.safetensors\""), "names a file outside of the folder"},
        {INDEX("\"a\": \"/etc/passwd\""), "names a file outside of the folder"},
        {INDEX("\"a\": \"..\""), "names a file outside of the folder"},
        {INDEX("\"a\": 7"), "index.json:1:49: not the name of a file"},
        {INDEX("\"a\": \"three.safetensors\""), "three.safetensors: is missing"},
        {INDEX("\"c\": \"one.safetensors\""), "one.safetensors, where the index puts it"},
        {INDEX("\"a\": \"one.safetensors\", \"c\": \"one.safetensors\", \"d\": \"two.safetensors\""), "tensor 'c' is not in"},
        {"{\"weight_map\": []}", "has no object 'weight_map'"},
        {"{", "index.json:1:"},
    };

    write_text("config.json", "{}");
    write_safe("one.safetensors", "a", "b");
    write_safe("two.safetensors", "c", "d");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("model.safetensors.index.json", cases[i].text);
        CHECK_FAILS(open_it(), SD_E_DATA, cases[i].says);
    }
    write_safe("two.safetensors", "c", "a");
    write_text("model.safetensors.index.json", INDEX("\"a\": \"one.safetensors\", \"c\": \"two.safetensors\""));
    CHECK_FAILS(open_it(), SD_E_DATA, "tensor 'a' stands in");
    write_safe("model.safetensors", "a", NULL);
    CHECK_OK(open_it()); /* the single file goes before the index */
    remove_file("model.safetensors");
    remove_file("model.safetensors.index.json");
}

static void write_torch(const char *file, const char *a, const char *b)
{
    script s = {.length = 0};
    char path[256];

    op(&s, '}');
    for (int i = 0; i < (b != NULL ? 2 : 1); i++) {
        op_text(&s, i == 0 ? a : b);
        op_tensor(&s, "FloatStorage", "0", 4, 0, (int32_t[]){4}, (int32_t[]){1}, 1);
        op(&s, 's');
    }
    op(&s, '.');
    write_zip(scratch_path(path, folder, file), (zip_entry[]){{"m/data.pkl", s.bytes, s.length}, {"m/data/0", values, 16}}, 2);
}

static void test_torch(void)
{
    write_torch("one.bin", "a", "b");
    write_torch("two.bin", "c", NULL);
    write_text("pytorch_model.bin.index.json", INDEX("\"a\": \"one.bin\", \"b\": \"one.bin\", \"c\": \"two.bin\""));
    test_shards("pytorch_model.bin.index.json", "one.bin", "two.bin");
    write_torch("pytorch_model.bin", "z", NULL);
    CHECK_OK(open_it());
}

/* Tensor i holds i, i + 1, … */
static sd_status fill(void *self, uint64_t i, void *out)
{
    const sd_tensor *tensors = self;

    for (uint64_t j = 0; j < tensors[i].shape[0]; j++)
        ((float *)out)[j] = (float)(i + j);
    return SD_OK;
}

/* 3, 5, 2, 9 and 1 numbers in shards of at most 7: 3 | 5 2 | 9 (too large by itself) | 1. */
static void test_written_shards(void)
{
    static const uint64_t sizes[] = {3, 5, 2, 9, 1};
    static const char *const names[] = {"e", "d", "c", "b", "a"}, *const files[] = {"1", "2", "2", "3", "4"};
    sd_tensor tensors[5] = {{0}};
    char path[256], one[256], file[64];
    sd_weights *w;

    for (int i = 0; i < 5; i++)
        tensors[i] = (sd_tensor){.name = names[i], .type = SD_F32, .dims = 1, .shape = {sizes[i]}};
    CHECK_OK(sd_weights_write(scratch_path(path, folder, "shards"), tensors, (sd_tensor_source){fill, tensors}, 5, 28));
    CHECK_OK(sd_weights_open(&w, path));
    CHECK(sd_weights_count(w) == 5);
    for (int i = 0; i < 5; i++) {
        const sd_tensor *t = sd_weights_find(w, names[i]);
        float got[9];

        snprintf(file, sizeof file, "model-0000%s-of-00004.safetensors", files[i]);
        CHECK(t != NULL && t->shape[0] == sizes[i] && strstr(sd_weights_file(w, t), file) != NULL);
        CHECK_OK(sd_weights_read(w, t, SD_F32, got));
        for (uint64_t j = 0; j < sizes[i]; j++)
            CHECK(got[j] == (float)((uint64_t)i + j));
    }
    sd_weights_close(&w);
    CHECK_FAILS(sd_weights_write(path, tensors, (sd_tensor_source){fill, tensors}, 5, 1000), SD_E_USAGE, "index.json already exists");
    CHECK_OK(sd_weights_write(scratch_path(one, folder, "one"), tensors, (sd_tensor_source){fill, tensors}, 5, 80));
    CHECK(sd_file_exists(scratch_path(path, folder, "one/model.safetensors")));
}

static void begin(void)
{
    test_folder(folder);
}

static const test_case tests[] = {
    TEST(test_safetensors),
    TEST(test_lies),
    TEST(test_torch),
    TEST(test_written_shards),
};

TEST_MAIN(tests, begin, NULL)

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

int main(void)
{
    scratch_begin(NULL, folder);
    test_safetensors();
    test_lies();
    test_torch();
    scratch_end(NULL, folder);
    return TEST_RESULT();
}

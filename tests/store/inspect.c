/* What people are told about a file. */
#include "saediff/store/inspect.h"

#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/safetensors.h"
#include "shard_data.h"
#include "torch_files.h"
#include "ranks.h"

static char scratch[TEST_FOLDER];

/* The words about a file, or "" after an error; sd_free(). */
static char *words(const char *folder, const char *path)
{
    char out[256], *text = NULL;
    uint64_t size = 0;
    FILE *file = fopen(scratch_path(out, folder, "words"), "w");

    CHECK(file != NULL);
    if (file == NULL)
        return NULL;
    CHECK_OK(sd_inspect(path, file));
    fclose(file);
    CHECK_OK(sd_file_read(out, 1 << 20, &text, &size));
    return text;
}

static void check_has(const char *text, const char *part)
{
    CHECK(text != NULL && strstr(text, part) != NULL);
    if (text != NULL && strstr(text, part) == NULL)
        fprintf(stderr, "no '%s' in\n%s\n", part, text);
}

static void test_shard_and_manifest(void)
{
    const sd_par *par = ranks;
    const char *folder = scratch;
    shard_data *s = shard_data_make(folder, "s.h5", 4100);
    sd_manifest *m = NULL;
    sd_shard *shard = NULL;
    char path[256], *text;

    CHECK_OK(sd_manifest_open(&m, par, folder));
    CHECK_OK(sd_shard_create(&shard, par, &s->spec));
    if (shard != NULL) {
        sd_status st = shard_data_write(s, shard, par, 1000);

        CHECK_OK(sd_shard_commit(&shard, m, "thekey", st));
    }
    sd_manifest_close(&m);
    text = words(folder, s->path);
    check_has(text, "  format = saediff.test\n");
    check_has(text, "  first_row = 1000\n");
    check_has(text, "activations  f32 [4100, 5]  -5 -4.63");
    check_has(text, "narrow  bf16 [4100, 5]  -100 -99");
    check_has(text, "list  f16 [1366]  0 0.5");
    check_has(text, "empty  u8 [0]");
    check_has(text, "    unit = 1\n");
    sd_free(text);
    text = words(folder, scratch_path(path, folder, "manifest.log"));
    check_has(text, "1 artefacts");
    check_has(text, "s.h5  ");
    check_has(text, "key thekey\n");
    sd_free(text);
    CHECK_OK(sd_shard_view(scratch_path(path, folder, "view.h5"), "activations", (const char *const[]){s->path}, 1));
    text = words(folder, path);
    check_has(text, "activations  f32 [4100, 5]  -5 -4.63");
    check_has(text, "    from s.h5:activations\n");
    CHECK_OK(sd_file_remove(s->path));
    sd_free(text);
    text = words(folder, path);
    check_has(text, "    from s.h5:activations (missing)\n");
    sd_free(text);
    shard_data_free(s);
}

static void test_safetensors(void)
{
    const char *folder = scratch;
    static const float w[6] = {1, 2, 3, 4, 5, 6};
    const sd_tensor tensor = {.name = "w", .type = SD_F32, .dims = 2, .shape = {2, 3}};
    const void *data[] = {w};
    char path[256], *text;

    CHECK_OK(sd_safetensors_write(scratch_path(path, folder, "m.safetensors"), &tensor, data, 1, "{\"format\":\"pt\"}"));
    text = words(folder, path);
    check_has(text, "safetensors, 1 tensors");
    check_has(text, "  format = pt\n");
    check_has(text, "w  f32 [2, 3]  1 2 3 4 5 ...\n");
    sd_free(text);
}

/* One tensor turned, one that repeats a single number far beyond what is read for its first values. */
static void test_torch(void)
{
    const char *folder = scratch;
    static const float w[6] = {1, 2, 3, 4, 5, 6};
    static script s;
    char path[256], *text;

    op(&s, '}');
    op(&s, '(');
    op_text(&s, "turned");
    op_tensor(&s, "FloatStorage", "0", 6, 0, (int32_t[]){3, 2}, (int32_t[]){1, 3}, 2);
    op_text(&s, "expanded");
    op_tensor(&s, "FloatStorage", "0", 6, 1, (int32_t[]){1 << 30, 1 << 20}, (int32_t[]){0, 0}, 2);
    op(&s, 'u');
    op(&s, '.');
    write_zip(scratch_path(path, folder, "m.pt"), (zip_entry[]){{"m/data.pkl", s.bytes, s.length}, {"m/data/0", w, sizeof w}}, 2);
    text = words(folder, path);
    check_has(text, "PyTorch checkpoint, 2 tensors");
    check_has(text, "turned  f32 [3, 2]  1 4 2 5 3 ...\n");
    check_has(text, "expanded  f32 [1073741824, 1048576]  ...\n");
    sd_free(text);
}

static void test_strangers(void)
{
    const char *folder = scratch;
    char path[256];

    scratch_write(scratch_path(path, folder, "note.txt"), "nothing of ours", 15);
    CHECK_FAILS(sd_inspect(path, stderr), SD_E_DATA, "note.txt: is neither");
    scratch_write(path, "", 0);
    CHECK_FAILS(sd_inspect(path, stderr), SD_E_DATA, "is neither");
    CHECK_FAILS(sd_inspect("none", stderr), SD_E_DATA, "none");
    CHECK_FAILS(sd_inspect(folder, stderr), SD_E_DATA, "is not a file");
}

static void begin(void)
{
    ranks_folder(scratch);
}

static const test_case tests[] = {
    TEST(test_shard_and_manifest),
    TEST(test_safetensors),
    TEST(test_torch),
    TEST(test_strangers),
};

RANKS_MAIN(tests, begin, NULL, 1)

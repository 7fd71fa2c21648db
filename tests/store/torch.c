/* PyTorch checkpoints: real ones beside the same tensors as safetensors, hand-made ones of every kind, and what is refused. */
#include "torch_files.h"

#include "saediff/core/mem.h"
#include "saediff/store/torch.h"

static char folder[64];
static const float floats[6] = {1, -2, 3.5f, 0.25f, -1e30f, 6};
static const uint16_t halves[4] = {0x3c00, 0xc000, 0x3800, 0x7bff}; /* 1, −2, 0.5, 65504 */
static const uint16_t brains[2] = {0x3f80, 0xc040};                 /* 1, −3 */
static const int64_t longs[2] = {-5, 1ll << 40};

static const sd_tensor *find(const sd_torch *file, const char *name)
{
    for (uint64_t i = 0; i < sd_torch_count(file); i++)
        if (strcmp(sd_torch_at(file, i)->name, name) == 0)
            return sd_torch_at(file, i);
    return NULL;
}

static void begin_dict(script *s)
{
    op(s, 0x80);
    op(s, 2);
    op(s, '}');
}

static void write_checkpoint(const char *path, const script *s)
{
    const zip_entry entries[] = {{"m/data.pkl", s->bytes, s->length}, {"m/byteorder", "little", 6},     {"m/data/0", floats, 24},
                                 {"m/data/1", halves, 8},            {"m/data/2", brains, 4},          {"m/data/3", longs, 16}};

    write_zip(path, entries, 6);
}

/* One of each: whole, transposed, behind an offset of a shared storage, a scalar, empty, a parameter, nested, remembered. */
static void every_kind(script *s)
{
    const int32_t matrix[] = {2, 3}, rows[] = {3, 1}, turned[] = {3, 2}, columns[] = {1, 3}, two[] = {2}, one[] = {1}, none[] = {0};

    begin_dict(s);
    op_text(s, "whole");
    op_tensor(s, "FloatStorage", "0", 6, 0, matrix, rows, 2);
    op(s, 's');
    op(s, '(');
    op_text(s, "turned");
    op_tensor(s, "FloatStorage", "0", 6, 0, turned, columns, 2);
    op_text(s, "tail");
    op_tensor(s, "FloatStorage", "0", 6, 4, two, one, 1);
    op_text(s, "scalar");
    op_tensor(s, "FloatStorage", "0", 6, 2, NULL, NULL, 0);
    op_text(s, "empty");
    op_tensor(s, "FloatStorage", "0", 6, 0, none, one, 1);
    op(s, 'u');
    op_text(s, "half");
    op_global(s, "torch._utils", "_rebuild_parameter");
    op(s, '(');
    op_tensor(s, "HalfStorage", "1", 4, 0, (int32_t[]){4}, one, 1);
    op(s, 'q');
    op(s, 7);
    op(s, 0x88);
    op_global(s, "collections", "OrderedDict");
    op(s, ')');
    op(s, 'R');
    op(s, 't');
    op(s, 'R');
    op(s, 's');
    op_text(s, "deep");
    op_global(s, "collections", "OrderedDict");
    op(s, ')');
    op(s, 'R');
    op_text(s, "brain");
    op_tensor(s, "BFloat16Storage", "2", 2, 0, two, one, 1);
    op(s, 's');
    op_text(s, "again");
    op(s, 'h');
    op(s, 7);
    op(s, 's');
    op_text(s, "epoch");
    op_int(s, 3);
    op(s, 's');
    op(s, '}'); /* attributes of the dictionary */
    op(s, 'b');
    op(s, 's');
    op_text(s, "long");
    op_tensor(s, "LongStorage", "3", 2, 0, two, one, 1);
    op(s, 's');
    op(s, '.');
}

static void check_values(sd_torch *file, const char *name, int dims, uint64_t count, const double *want)
{
    const sd_tensor *t = find(file, name);
    double got[8] = {0};

    CHECK(t != NULL && t->dims == dims && t->bytes == count * sd_dtype_size(t->type));
    CHECK_OK(sd_torch_read(file, t, SD_F64, got));
    for (uint64_t i = 0; i < count; i++)
        CHECK(got[i] == want[i]);
}

static void test_kinds(void)
{
    char path[256];
    script s = {.length = 0};
    sd_torch *file;
    int64_t got[2];

    every_kind(&s);
    write_checkpoint(scratch_path(path, folder, "kinds.bin"), &s);
    CHECK_OK(sd_torch_open(&file, path));
    CHECK(sd_torch_count(file) == 9);
    check_values(file, "whole", 2, 6, (double[]){1, -2, 3.5, 0.25, (double)-1e30f, 6});
    check_values(file, "turned", 2, 6, (double[]){1, 0.25, -2, (double)-1e30f, 3.5, 6});
    check_values(file, "tail", 1, 2, (double[]){(double)-1e30f, 6});
    check_values(file, "scalar", 0, 1, (double[]){3.5});
    check_values(file, "empty", 1, 0, NULL);
    check_values(file, "half", 1, 4, (double[]){1, -2, 0.5, 65504});
    check_values(file, "deep.brain", 1, 2, (double[]){1, -3});
    check_values(file, "deep.again", 1, 4, (double[]){1, -2, 0.5, 65504});
    CHECK_OK(sd_torch_read(file, find(file, "long"), SD_I64, got));
    CHECK(got[0] == longs[0] && got[1] == longs[1]);
    CHECK_FAILS(sd_torch_read(file, find(file, "long"), SD_F32, got), SD_E_DATA, "tensor 'long' is i64 and cannot be read as f32");
    sd_torch_close(&file);
}

static sd_status open_script(const script *s)
{
    char path[256];
    sd_torch *file = NULL;
    sd_status st;

    write_checkpoint(scratch_path(path, folder, "bad.bin"), s);
    st = sd_torch_open(&file, path);
    CHECK((file != NULL) == (st == SD_OK));
    sd_torch_close(&file);
    return st;
}

/* Every beginning is refused; every flipped byte is refused or read, and never more. */
static void test_damage(void)
{
    script s = {.length = 0}, part;

    every_kind(&s);
    for (size_t n = 0; n < s.length; n++) {
        part = s;
        part.length = n;
        CHECK_FAILS(open_script(&part), SD_E_DATA, "bad.bin");
    }
    for (size_t n = 0; n < s.length; n++) {
        sd_status st;

        part = s;
        part.bytes[n] ^= (uint8_t)(1u << n % 8);
        st = open_script(&part);
        CHECK(st == SD_OK || st == SD_E_DATA);
    }
}

static sd_status open_tensor(const char *class, const char *key, int32_t elements, int32_t offset, int32_t rows, int32_t stride)
{
    script s = {.length = 0};

    begin_dict(&s);
    op_text(&s, "w");
    op_tensor(&s, class, key, elements, offset, &rows, &stride, 1);
    op(&s, 's');
    op(&s, '.');
    return open_script(&s);
}

static void test_refusals(void)
{
    static const int32_t six = 6, one = 1;
    char path[256], name[1002] = "";
    script s = {.length = 0};
    sd_torch *file;

    CHECK_OK(open_tensor("FloatStorage", "0", 6, 0, 6, 1));
    CHECK_FAILS(open_tensor("FloatStorage", "0", 6, 1, 6, 1), SD_E_DATA, "tensor 'w' reaches beyond the 6 elements of its storage '0'");
    CHECK_FAILS(open_tensor("FloatStorage", "0", 6, 0, 3, 3), SD_E_DATA, "reaches beyond");
    CHECK_FAILS(open_tensor("FloatStorage", "0", 6, 0, 2000000000, 2000000000), SD_E_DATA, "reaches beyond");
    CHECK_FAILS(open_tensor("FloatStorage", "0", 6, -1, 3, 1), SD_E_DATA, "a tensor without storage, offset");
    CHECK_FAILS(open_tensor("FloatStorage", "0", 7, 0, 7, 1), SD_E_DATA, "storage '0' of tensor 'w' has 24 bytes; its 7 elements need 28");
    CHECK_FAILS(open_tensor("FloatStorage", "9", 6, 0, 6, 1), SD_E_DATA, "entry 'm/data/9' of the archive: is missing");
    CHECK_FAILS(open_tensor("QUInt8Storage", "0", 6, 0, 6, 1), SD_E_DATA, "names the object torch.QUInt8Storage");
    op_global(&s, "posix", "system");
    op_text(&s, "true");
    op(&s, 0x85);
    op(&s, 'R');
    op(&s, '.');
    CHECK_FAILS(open_script(&s), SD_E_DATA, "names the object posix.system, which would have to be executed");
    /* A dictionary that holds itself. */
    s.length = 0;
    begin_dict(&s);
    op(&s, 'q');
    op(&s, 0);
    op_text(&s, "self");
    op(&s, 'h');
    op(&s, 0);
    op(&s, 's');
    op(&s, '.');
    CHECK_FAILS(open_script(&s), SD_E_DATA, "its dictionaries are more than 16 deep");
    /* Keys are names of tensors as they are: none is cut, at its end or at a NUL. */
    s.length = 0;
    begin_dict(&s);
    memset(name, 'n', sizeof name - 1);
    op_text(&s, name);
    op_tensor(&s, "FloatStorage", "0", 6, 0, &six, &one, 1);
    op(&s, 's');
    op(&s, '.');
    CHECK_FAILS(open_script(&s), SD_E_DATA, "makes a name of more than 1000 bytes");
    *(uint8_t *)memchr(s.bytes, 'n', s.length) = 0;
    CHECK_FAILS(open_script(&s), SD_E_DATA, "holds a NUL");
    write_zip(scratch_path(path, folder, "empty.bin"), (zip_entry[]){{"m/other", "x", 1}}, 1);
    CHECK_FAILS(sd_torch_open(&file, path), SD_E_DATA, "a zip archive without data.pkl");
    write_zip(path, (zip_entry[]){{"m/data.pkl", "}.", 2}, {"m/byteorder", "big", 3}}, 2);
    CHECK_FAILS(sd_torch_open(&file, path), SD_E_DATA, "was written in the byte order 'big'");
    write_zip(path, (zip_entry[]){{"m/data.pkl", "}.", 2}}, 1);
    CHECK_OK(sd_torch_open(&file, path));
    CHECK(sd_torch_count(file) == 0);
    sd_torch_close(&file);
    CHECK(truncate(path, 60) == 0);
    CHECK_FAILS(sd_torch_open(&file, path), SD_E_DATA, "no zip archive");
    CHECK_FAILS(sd_torch_open(&file, "scratch-absent.bin"), SD_E_DATA, "cannot be read");
}

/* Files that PyTorch wrote, beside the same tensors as safetensors. */
static void test_real(const char *data, const char *name)
{
    char path[4096];
    sd_torch *torch;
    sd_safetensors *safe;

    snprintf(path, sizeof path, "%s/sae/%s.pt", data, name);
    CHECK_OK(sd_torch_open(&torch, path));
    snprintf(path, sizeof path, "%s/sae/%s.safetensors", data, name);
    CHECK_OK(sd_safetensors_open(&safe, path));
    CHECK(sd_torch_count(torch) == sd_safetensors_count(safe) && sd_torch_count(torch) > 0);
    for (uint64_t i = 0; i < sd_torch_count(torch); i++) {
        const sd_tensor *a = sd_torch_at(torch, i), *b = sd_safetensors_find(safe, a->name);
        void *x, *y;

        CHECK(b != NULL && a->type == b->type && a->bytes == b->bytes && a->dims == b->dims);
        CHECK_OK(sd_alloc_bytes(&x, a->bytes, 1));
        CHECK_OK(sd_alloc_bytes(&y, a->bytes, 1));
        CHECK_OK(sd_torch_read(torch, a, a->type, x));
        CHECK_OK(sd_safetensors_read(safe, b, b->type, y));
        CHECK(memcmp(x, y, a->bytes) == 0);
        sd_free(x);
        sd_free(y);
    }
    sd_torch_close(&torch);
    sd_safetensors_close(&safe);
}

static void begin(void)
{
    test_folder(folder);
}

static void test_published(void)
{
    const char *data = test_data();

    if (data == NULL)
        return;
    test_real(data, "tinystories-1m-topk/sae_128_4");
    test_real(data, "tinystories-1m-topk/sae_1024_4");
    test_real(data, "dictionary-learning-48x192/ae1");
}

static const test_case tests[] = {
    TEST(test_kinds),
    TEST(test_damage),
    TEST(test_refusals),
    TEST(test_published),
};

TEST_MAIN(tests, begin, NULL)

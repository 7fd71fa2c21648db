/* Bundles: arrays of every type and odd shapes come back, damage and strangers are refused. */
#include "saediff/store/bundle.h"

#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "scratch.h"

static char scratch[TEST_FOLDER], bundle_path[256];

enum { BYTES = 3 * 5 * 7 * 8 };

static const sd_attr attrs[] = {{.name = "seed", .kind = SD_ATTR_U64, .u64 = UINT64_MAX},
                                {.name = "rate", .kind = SD_ATTR_F64, .f64 = -0.1},
                                {.name = "note", .kind = SD_ATTR_TEXT, .text = "caf\xC3\xA9"},
                                {.name = "nothing", .kind = SD_ATTR_TEXT, .text = ""}};

static void fill(unsigned char *bytes)
{
    int i;

    for (i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(i * 37 + 11);
}

static const uint64_t shapes[][4] = {{1}, {13}, {3, 5}, {3, 5, 7}, {2, 1, 3, 5}, {0}, {4, 0}};
static sd_array every[63];
static unsigned char content[BYTES];

/* A file of all types and shapes. */
static void write_arrays(const char *path)
{
    static const int dims[] = {1, 1, 2, 3, 4, 1, 2};
    static char names[63][24];
    int type, s, n = 0;

    fill(content);
    for (type = 0; type < (int)SD_DTYPES; type++)
        for (s = 0; s < 7; s++, n++) {
            snprintf(names[n], sizeof names[n], "%s.%d", sd_dtype_name((sd_dtype)type), s);
            every[n] = (sd_array){.name = names[n], .type = (sd_dtype)type, .dims = dims[s], .data = content, .unit = "1",
                                   .about = "test"};
            memcpy(every[n].shape, shapes[s], sizeof shapes[s]);
        }
    CHECK(n == 63);
    CHECK_OK(sd_bundle_write(path, "saediff.test", 2, attrs, 4, every, 63));
}

static void test_every_type_and_shape(void)
{
    const char *path = bundle_path;
    sd_bundle *bundle = NULL;
    int i, n = 63;

    CHECK_OK(sd_bundle_open(&bundle, path, "saediff.test", 2));
    for (i = 0; i < n; i++) {
        uint64_t shape[4] = {0}, count = sd_dtype_size(every[i].type);
        void *data = NULL;
        int d;

        CHECK_OK(sd_bundle_read(bundle, every[i].name, every[i].type, every[i].dims, shape, &data));
        for (d = 0; d < every[i].dims; d++) {
            CHECK(shape[d] == every[i].shape[d]);
            count *= shape[d];
        }
        CHECK(data != NULL && memcmp(data, content, count) == 0);
        sd_free(data);
    }
    sd_bundle_close(&bundle);
    CHECK(bundle == NULL);
}

static void test_attributes(void)
{
    const char *path = bundle_path;
    sd_bundle *bundle = NULL;
    uint64_t u = 0;
    double f = 0;
    char *text = NULL;

    CHECK_OK(sd_bundle_open(&bundle, path, "saediff.test", 7));
    if (bundle == NULL)
        return;
    CHECK_OK(sd_bundle_u64(bundle, "seed", &u));
    CHECK(u == UINT64_MAX);
    CHECK_OK(sd_bundle_f64(bundle, "rate", &f));
    CHECK(f == -0.1);
    CHECK_OK(sd_bundle_text(bundle, "note", &text));
    CHECK(text != NULL && strcmp(text, "caf\xC3\xA9") == 0);
    sd_free(text);
    CHECK_OK(sd_bundle_text(bundle, "nothing", &text));
    CHECK(text != NULL && text[0] == '\0');
    sd_free(text);
    CHECK_FAILS(sd_bundle_u64(bundle, "rate", &u), SD_E_DATA, "'rate' is not an integer");
    CHECK_FAILS(sd_bundle_f64(bundle, "note", &f), SD_E_DATA, "'note' is not a floating");
    CHECK_FAILS(sd_bundle_text(bundle, "seed", &text), SD_E_DATA, "'seed' is not text");
    CHECK_FAILS(sd_bundle_u64(bundle, "absent", &u), SD_E_DATA, "no attribute 'absent'");
    sd_bundle_close(&bundle);
}

static void test_wrong_expectations(void)
{
    const char *path = bundle_path;
    sd_bundle *bundle = NULL;
    uint64_t shape[4] = {0};
    void *data = NULL;

    CHECK_FAILS(sd_bundle_open(&bundle, path, "saediff.other", 7), SD_E_DATA, "'saediff.test', not 'saediff.other'");
    CHECK_FAILS(sd_bundle_open(&bundle, path, "saediff.test", 1), SD_E_DATA, "version 2; this program reads versions 1 to 1");
    CHECK_FAILS(sd_bundle_open(&bundle, "none.h5", "saediff.test", 1), SD_E_DATA, "none.h5");
    CHECK(bundle == NULL);
    CHECK_OK(sd_bundle_open(&bundle, path, "saediff.test", 2));
    if (bundle == NULL)
        return;
    CHECK_FAILS(sd_bundle_read(bundle, "absent", SD_F32, 1, shape, &data), SD_E_DATA, "no dataset 'absent'");
    CHECK_FAILS(sd_bundle_read(bundle, "f32.1", SD_F64, 1, shape, &data), SD_E_DATA, "'f32.1' is f32");
    CHECK_FAILS(sd_bundle_read(bundle, "f32.1", SD_F32, 2, shape, &data), SD_E_DATA, "1 dimensions");
    shape[0] = 12;
    CHECK_FAILS(sd_bundle_read(bundle, "f32.1", SD_F32, 1, shape, &data), SD_E_DATA, "is 13, not 12");
    CHECK(data == NULL);
    shape[0] = 13;
    CHECK_OK(sd_bundle_read(bundle, "f32.1", SD_F32, 1, shape, &data));
    sd_free(data);
    sd_bundle_close(&bundle);
}

static void test_damage(void)
{
    const char *path = bundle_path;
    unsigned char bytes[BYTES];
    sd_bundle *bundle = NULL;
    uint64_t shape[4] = {0};
    void *data = NULL;
    sd_array array = {.name = "w", .type = SD_F32, .dims = 1, .shape = {13}, .data = bytes, .unit = "1", .about = "test"};

    fill(bytes);
    CHECK_OK(sd_bundle_write(path, "saediff.test", 1, NULL, 0, &array, 1));
    scratch_flip(path, scratch_find(path, bytes, 52) + 17, 4);
    CHECK_OK(sd_bundle_open(&bundle, path, "saediff.test", 1));
    if (bundle != NULL)
        CHECK_FAILS(sd_bundle_read(bundle, "w", SD_F32, 1, shape, &data), SD_E_DATA, "'w' is damaged");
    sd_bundle_close(&bundle);
    scratch_write(path, bytes, sizeof bytes);
    CHECK_FAILS(sd_bundle_open(&bundle, path, "saediff.test", 1), SD_E_DATA, "cannot be opened");
}

/* Cut at every length: an error, never a crash and never data. */
static void test_truncation(void)
{
    const char *path = bundle_path;
    unsigned char bytes[BYTES];
    char *whole = NULL;
    uint64_t size = 0, cut, shape[4] = {0};
    sd_array array = {.name = "w", .type = SD_F64, .dims = 1, .shape = {5}, .data = bytes, .unit = "1", .about = "test"};

    fill(bytes);
    CHECK_OK(sd_bundle_write(path, "saediff.test", 1, attrs, 4, &array, 1));
    CHECK_OK(sd_file_read(path, 1 << 20, &whole, &size));
    for (cut = 0; cut < size; cut++) {
        sd_bundle *bundle = NULL;
        void *data = NULL;
        sd_status st;

        scratch_write(path, whole, cut);
        st = sd_bundle_open(&bundle, path, "saediff.test", 1);
        if (st == SD_OK)
            st = sd_bundle_read(bundle, "w", SD_F64, 1, shape, &data);
        CHECK(st == SD_E_DATA && data == NULL);
        sd_bundle_close(&bundle);
    }
    sd_free(whole);
}

static void test_equal_content_gives_equal_bytes(void)
{
    const char *folder = scratch;
    unsigned char bytes[BYTES];
    char one[256], two[256], first[65] = "", second[65] = "";
    sd_array array = {.name = "w", .type = SD_BF16, .dims = 2, .shape = {5, 7}, .data = bytes, .unit = "1", .about = "test"};

    fill(bytes);
    scratch_path(one, folder, "one.h5");
    scratch_path(two, folder, "two.h5");
    CHECK_OK(sd_bundle_write(one, "saediff.test", 1, attrs, 4, &array, 1));
    scratch_write(two, "old", 3);
    CHECK_OK(sd_bundle_write(two, "saediff.test", 1, attrs, 4, &array, 1));
    CHECK_OK(sd_file_sha256(one, first));
    CHECK_OK(sd_file_sha256(two, second));
    CHECK(strcmp(first, second) == 0);
}

static void test_refused_plans(void)
{
    const char *folder = scratch;
    char path[256];
    int before = scratch_count(folder);
    sd_array arrays[2] = {{.name = "w", .type = SD_U8, .dims = 1, .shape = {1}, .data = "x", .unit = "1", .about = "test"},
                          {.name = "w", .type = SD_U8, .dims = 1, .shape = {1}, .data = "x", .unit = "1", .about = "test"}};

    scratch_path(path, folder, "new.h5");
    CHECK_FAILS(sd_bundle_write(path, "saediff.test", 1, NULL, 0, arrays, 2), SD_E_ENV, "new.h5: dataset 'w'");
    arrays[0].dims = 5;
    CHECK_FAILS(sd_bundle_write(path, "saediff.test", 1, NULL, 0, arrays, 1), SD_E_DATA, "5 dimensions");
    arrays[0].dims = 1;
    arrays[0].unit = NULL;
    CHECK_FAILS(sd_bundle_write(path, "saediff.test", 1, NULL, 0, arrays, 1), SD_E_INTERNAL, "a unit");
    CHECK(scratch_count(folder) == before);
}

/* Nothing of libhdf5's was begun, so the program can end as usual. */
static void test_folder_that_is_not_there(void)
{
    const char *folder = scratch;
    const sd_array array = {.name = "w", .type = SD_U8, .dims = 1, .shape = {1}, .data = "x", .unit = "1", .about = "test"};
    char path[256];

    CHECK_FAILS(sd_bundle_write(scratch_path(path, folder, "none/b.h5"), "saediff.test", 1, NULL, 0, &array, 1), SD_E_ENV,
                "none/b.h5.tmp: cannot be created: No such file");
    CHECK(!sd_store_is_broken());
}

/* Arrays that begin anywhere in the file, of none, one and many elements, seen and read. */
static void test_views(void)
{
    const char *path = bundle_path;
    enum { MANY = 100000 };
    static double many[MANY];
    static const uint8_t bytes[3] = {7, 8, 9};
    const sd_array arrays[] = {{.name = "bytes", .type = SD_U8, .dims = 1, .shape = {3}, .data = bytes, .unit = "1", .about = "test"},
                               {.name = "none", .type = SD_F64, .dims = 1, .shape = {0}, .data = many, .unit = "1", .about = "test"},
                               {.name = "one", .type = SD_F64, .dims = 1, .shape = {1}, .data = many + 5, .unit = "1", .about = "test"},
                               {.name = "many", .type = SD_F64, .dims = 2, .shape = {MANY / 4, 4}, .data = many, .unit = "1", .about = "test"}};
    sd_bundle *b = NULL;
    const void *seen = NULL;
    uint64_t shape[2] = {0, 4};

    for (int i = 0; i < MANY; i++)
        many[i] = i * 0.5;
    CHECK_OK(sd_bundle_write(path, "saediff.test", 1, NULL, 0, arrays, 4));
    CHECK_OK(sd_bundle_open(&b, path, "saediff.test", 1));
    if (b == NULL)
        return;
    CHECK_OK(sd_bundle_view(b, "many", SD_F64, 2, shape, &seen));
    CHECK(shape[0] == MANY / 4 && (uintptr_t)seen % sizeof(double) == 0 && memcmp(seen, many, sizeof many) == 0);
    shape[0] = 0;
    CHECK_OK(sd_bundle_view(b, "one", SD_F64, 1, shape, &seen));
    CHECK(shape[0] == 1 && *(const double *)seen == 2.5);
    shape[0] = 0;
    CHECK_OK(sd_bundle_view(b, "none", SD_F64, 1, shape, &seen));
    CHECK(shape[0] == 0);
    CHECK_OK(sd_bundle_view(b, "bytes", SD_U8, 1, shape, &seen));
    CHECK(shape[0] == 3 && memcmp(seen, bytes, 3) == 0);
    CHECK_FAILS(sd_bundle_view(b, "bytes", SD_F64, 1, shape, &seen), SD_E_DATA, "is u8");
    CHECK_FAILS(sd_bundle_view(b, "nothing", SD_F64, 1, shape, &seen), SD_E_DATA, "no dataset 'nothing'");
    for (int i = 0; i < 12; i++)
        CHECK_OK(sd_bundle_view(b, "bytes", SD_U8, 1, shape, &seen));
    CHECK_FAILS(sd_bundle_view(b, "bytes", SD_U8, 1, shape, &seen), SD_E_INTERNAL, "views of 16 arrays");
    sd_bundle_close(&b);
    /* One bit of the large array. */
    {
        uint64_t length = 0;
        char *all = NULL;

        CHECK_OK(sd_file_read(path, 1 << 24, &all, &length));
        if (all == NULL)
            return;
        all[length / 2] ^= 4;
        scratch_write(path, all, length);
        sd_free(all);
    }
    CHECK_OK(sd_bundle_open(&b, path, "saediff.test", 1));
    if (b == NULL)
        return;
    shape[0] = 0;
    CHECK_FAILS(sd_bundle_view(b, "many", SD_F64, 2, (shape[1] = 4, shape), &seen), SD_E_DATA, "'many' is damaged");
    sd_bundle_close(&b);
}

static void begin(void)
{
    test_folder(scratch);
    scratch_path(bundle_path, scratch, "b.h5");
    write_arrays(bundle_path);
}

static const test_case tests[] = {
    TEST(test_folder_that_is_not_there),
    TEST(test_every_type_and_shape),
    TEST(test_attributes),
    TEST(test_wrong_expectations),
    TEST(test_damage),
    TEST(test_truncation),
    TEST(test_equal_content_gives_equal_bytes),
    TEST(test_refused_plans),
    TEST(test_views),
};

TEST_MAIN(tests, begin, NULL)

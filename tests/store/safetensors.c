/* safetensors: what is written is read, conversions are right, and no malformed header passes. */
#include "saediff/store/safetensors.h"

#include <math.h>

#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "scratch.h"

static char scratch[TEST_FOLDER];

static void test_round_trip(void)
{
    const char *folder = scratch;
    static const float f32[6] = {0, -1.5f, 3.25e-30f, 1e30f, -0.0f, 7};
    static const double f64[1] = {0.1};
    static const int64_t i64[3] = {-5, INT64_MAX, INT64_MIN};
    static const uint8_t u8[5] = {0, 1, 2, 254, 255};
    const sd_tensor tensors[] = {{.name = "b.weight \"q\"", .type = SD_F32, .dims = 2, .shape = {2, 3}},
                                 {.name = "empty", .type = SD_F16, .dims = 2, .shape = {0, 9}},
                                 {.name = "a", .type = SD_U8, .dims = 1, .shape = {5}},
                                 {.name = "scalar", .type = SD_F64, .dims = 0},
                                 {.name = "\xC3\xA9", .type = SD_I64, .dims = 1, .shape = {3}}};
    const void *data[] = {f32, f32, u8, f64, i64};
    sd_safetensors *file = NULL;
    const sd_tensor *t;
    float floats[6];
    double doubles[6];
    int64_t longs[3];
    uint8_t bytes[5];
    char path[256];

    scratch_path(path, folder, "m.safetensors");
    CHECK_OK(sd_safetensors_write(path, tensors, data, 5, "{\"format\":\"pt\"}"));
    CHECK_OK(sd_safetensors_open(&file, path));
    if (file == NULL)
        return;
    CHECK(sd_safetensors_count(file) == 5);
    CHECK(sd_safetensors_at(file, 0)->bytes == 24 && sd_safetensors_at(file, 1)->bytes == 0);
    CHECK(sd_safetensors_find(file, "nothing") == NULL);
    t = sd_safetensors_find(file, "b.weight \"q\"");
    CHECK(t != NULL && t->dims == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->offset % 8 == 0);
    if (t != NULL) {
        CHECK_OK(sd_safetensors_read(file, t, SD_F32, floats));
        CHECK(memcmp(floats, f32, sizeof f32) == 0);
        CHECK_OK(sd_safetensors_read(file, t, SD_F64, doubles));
        CHECK(doubles[1] == -1.5 && doubles[3] == (double)1e30f && signbit(doubles[4]));
        CHECK_FAILS(sd_safetensors_read(file, t, SD_I64, longs), SD_E_DATA, "cannot be read as i64");
    }
    /* Behind five single bytes: not aligned for its type. */
    t = sd_safetensors_find(file, "scalar");
    CHECK(t != NULL && t->dims == 0 && t->offset % 8 == 5);
    if (t != NULL) {
        CHECK_OK(sd_safetensors_read(file, t, SD_F32, floats));
        CHECK(floats[0] == 0.1f);
    }
    t = sd_safetensors_find(file, "\xC3\xA9");
    CHECK(t != NULL);
    if (t != NULL) {
        CHECK_OK(sd_safetensors_read(file, t, SD_I64, longs));
        CHECK(memcmp(longs, i64, sizeof i64) == 0);
    }
    t = sd_safetensors_find(file, "a");
    CHECK(t != NULL);
    if (t != NULL) {
        CHECK_OK(sd_safetensors_read(file, t, SD_U8, bytes));
        CHECK(memcmp(bytes, u8, sizeof u8) == 0);
    }
    sd_safetensors_close(&file);
    CHECK(file == NULL);
    CHECK_OK(sd_safetensors_write(path, NULL, NULL, 0, NULL));
    CHECK_OK(sd_safetensors_open(&file, path));
    CHECK(file != NULL && sd_safetensors_count(file) == 0);
    sd_safetensors_close(&file);
    CHECK_OK(sd_file_remove(path));
    CHECK(scratch_count(folder) == 0);
}

/* More than one read part, so that the pieces must meet. */
static void test_half_precision(void)
{
    const char *folder = scratch;
    enum { COUNT = 1200007 };
    static uint16_t half[COUNT];
    static float floats[COUNT];
    sd_tensor t = {.name = "t", .dims = 1, .shape = {COUNT}};
    const void *data[] = {half};
    sd_safetensors *file = NULL;
    char path[256];
    int type, bad;
    size_t i;

    for (i = 0; i < COUNT; i++)
        half[i] = (uint16_t)(i * 40503u);
    scratch_path(path, folder, "h.safetensors");
    for (type = 0; type < 2; type++) {
        t.type = type == 0 ? SD_BF16 : SD_F16;
        CHECK_OK(sd_safetensors_write(path, &t, data, 1, NULL));
        CHECK_OK(sd_safetensors_open(&file, path));
        if (file == NULL)
            return;
        CHECK_OK(sd_safetensors_read(file, sd_safetensors_at(file, 0), SD_F32, floats));
        for (i = 0, bad = 0; i < COUNT; i++) {
            int exponent = type == 0 ? half[i] >> 7 & 255 : half[i] >> 10 & 31, top = type == 0 ? 255 : 31;
            int bits = type == 0 ? 7 : 10, fraction = half[i] & ((1 << bits) - 1);
            double value = ldexp(exponent > 0 ? fraction + (1 << bits) : fraction,
                                 (exponent > 0 ? exponent : 1) - (type == 0 ? 127 : 15) - bits);

            if (exponent == top)
                bad += fraction != 0 ? !isnan(floats[i]) : !isinf(floats[i]);
            else
                bad += (double)floats[i] != (half[i] >> 15 ? -value : value);
        }
        CHECK(bad == 0);
        sd_safetensors_close(&file);
    }
    CHECK_OK(sd_file_remove(path));
}

static void write_raw(const char *path, uint64_t length, const char *header, size_t data)
{
    sd_str text = {0};
    int i;

    for (i = 0; i < 8; i++) {
        char byte = (char)(length >> (8 * i) & 255);

        sd_str_add_bytes(&text, &byte, 1);
    }
    sd_str_add(&text, "%s", header);
    while (data-- > 0)
        sd_str_add(&text, "x");
    CHECK_OK(text.status);
    scratch_write(path, text.text, text.length);
    sd_str_free(&text);
}

static void test_malformed_headers(void)
{
    const char *folder = scratch;
#define T(offsets) "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}"
    static const struct {
        const char *header, *message;
        size_t data;
    } bad[] = {
        {"[1]", "does not begin with '{'", 0},
        {"{\"a\"}", ":1:5: a ':'", 0},
        {"{\"a\":" T("[0,8]") ",\"a\":" T("[8,16]") "}", "is there twice", 16},
        {"{\"a\":" T("[0,8]") ",\"b\":" T("[4,12]") "}", "'b' begins at byte 4 of the data, a ends at 8: they overlap", 12},
        {"{\"a\":" T("[0,8]") ",\"b\":" T("[12,20]") "}", "there is a hole", 20},
        {"{\"a\":" T("[4,12]") "}", "there is a hole", 12},
        {"{\"a\":" T("[0,12]") "}", "'a' has 12 bytes of data, its shape and dtype need 8", 12},
        {"{\"a\":" T("[0,8]") "}", "cut off", 7},
        {"{\"a\":" T("[0,8]") "}", "1 bytes follow the last tensor", 9},
        {"{}", "3 bytes follow the last tensor", 3},
        {"{\"a\":" T("[8,0]") "}", "no data_offsets", 8},
        {"{\"a\":" T("[0]") "}", "no data_offsets", 8},
        {"{\"a\":" T("[0,8,9]") "}", "no data_offsets", 8},
        {"{\"a\":" T("[-8,0]") "}", "no data_offsets", 8},
        {"{\"a\":" T("[0.5,8.5]") "}", "no data_offsets", 8},
        {"{\"a\":" T("[0,1e300]") "}", "no data_offsets", 8},
        {"{\"a\":" T("\"0,8\"") "}", "no data_offsets", 8},
        {"{\"a\":7}", "'a' is not described by an object", 0},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "'a' has no dtype", 8},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", "the dtype 'F8_E4M3'", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "'a' has no shape", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "dimension 0 of tensor 'a'", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", "at most 8 dimensions", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", "larger than any memory", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]}}", "dimension 0", 8},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[9007199254740992,256],\"data_offsets\":[0,8]}}", "larger than any memory", 8},
    };
#undef T
    sd_safetensors *file = NULL;
    char path[256];
    size_t i;

    scratch_path(path, folder, "bad.safetensors");
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_raw(path, strlen(bad[i].header), bad[i].header, bad[i].data);
        CHECK_FAILS(sd_safetensors_open(&file, path), SD_E_DATA, bad[i].message);
        CHECK(strstr(sd_last_error(), "bad.safetensors") != NULL);
        CHECK(file == NULL);
    }
    write_raw(path, 0, "{}", 0);
    CHECK_FAILS(sd_safetensors_open(&file, path), SD_E_DATA, "0 bytes");
    write_raw(path, (uint64_t)1 << 63, "{}", 0);
    CHECK_FAILS(sd_safetensors_open(&file, path), SD_E_DATA, "9223372036854775808 bytes");
    write_raw(path, UINT64_MAX, "{}", 0);
    CHECK_FAILS(sd_safetensors_open(&file, path), SD_E_DATA, "between 2 and 2 are possible");
    write_raw(path, 3, "{}", 0);
    CHECK_FAILS(sd_safetensors_open(&file, path), SD_E_DATA, "cut off");
    scratch_write(path, "\1\0\0", 3);
    CHECK_FAILS(sd_safetensors_open(&file, path), SD_E_DATA, "3 bytes, too few");
    CHECK_OK(sd_file_remove(path));
}

/* Headers changed at random places: refused, or tensors that lie inside the file and can be read. Meant for builds with
 * sanitizers. */
static void test_changed_headers(void)
{
    const char *folder = scratch;
    static const char seed[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],"
                               "\"data_offsets\":[8,11]}}";
    static const char bytes[] = "{}[]\",:0123456789eF-. ";
    const sd_key key = sd_key_make(5, SD_STREAM_TEST, 0);
    char header[sizeof seed], path[256];
    uint64_t i, j, draw = 0, k, good = 0;
    unsigned char data[16];

    scratch_path(path, folder, "changed.safetensors");
    for (i = 0; i < 3000; i++) {
        sd_safetensors *file = NULL;

        memcpy(header, seed, sizeof seed);
        for (j = 0; j < i % 3; j++, draw += 2)
            header[sd_random_u64(key, draw) % (sizeof seed - 1)] = bytes[sd_random_u64(key, draw + 1) % (sizeof bytes - 1)];
        write_raw(path, sizeof seed - 1 - (i % 7 == 6), header, 11);
        if (sd_safetensors_open(&file, path) == SD_OK) {
            good++;
            for (k = 0; k < sd_safetensors_count(file); k++) {
                const sd_tensor *t = sd_safetensors_at(file, k);

                CHECK(t->bytes <= 11);
                if (t->bytes <= 11)
                    CHECK_OK(sd_safetensors_read(file, t, t->type, data));
            }
        } else {
            CHECK(file == NULL && strstr(sd_last_error(), "changed.safetensors") != NULL);
        }
        sd_safetensors_close(&file);
    }
    CHECK(good > 500 && good < 2500);
    CHECK_OK(sd_file_remove(path));
}

/* A published model of the test data: every tensor is there and finite. */
static void test_real_file(void)
{
    const char *data = test_data();
    sd_safetensors *file = NULL;
    char path[4096];

    if (data == NULL)
        return;
    snprintf(path, sizeof path, "%s/models/stories260K/model.safetensors", data);
    if (access(path, R_OK) != 0)
        return;
    CHECK_OK(sd_safetensors_open(&file, path));
    CHECK(file != NULL && sd_safetensors_find(file, "model.norm.weight") != NULL);
    sd_safetensors_close(&file);
}

static void begin(void)
{
    test_folder(scratch);
}

static const test_case tests[] = {
    TEST(test_round_trip),
    TEST(test_half_precision),
    TEST(test_malformed_headers),
    TEST(test_changed_headers),
    TEST(test_real_file),
};

TEST_MAIN(tests, begin, NULL)

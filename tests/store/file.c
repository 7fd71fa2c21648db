/* Plain files: what was written is read, checksums leave out what they are told to, temporaries go. */
#include "saediff/store/file.h"

#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "scratch.h"

static char scratch[TEST_FOLDER];

static void test_write_and_read(void)
{
    const char *folder = scratch;
    char path[256], *data = NULL;
    uint64_t size = 0;

    scratch_path(path, folder, "a");
    CHECK_OK(sd_file_write(path, "first", 5));
    CHECK_OK(sd_file_write(path, "second!", 7));
    CHECK_OK(sd_file_read(path, 7, &data, &size));
    CHECK(size == 7 && strcmp(data, "second!") == 0);
    sd_free(data);
    CHECK_FAILS(sd_file_read(path, 6, &data, &size), SD_E_DATA, "7 bytes");
    CHECK(data == NULL);
    CHECK_OK(sd_file_append(path, "++", 2));
    CHECK_OK(sd_file_size(path, &size));
    CHECK(size == 9);
    CHECK(scratch_count(folder) == 1);
    CHECK_FAILS(sd_file_read("no/such/file", 9, &data, &size), SD_E_DATA, "no/such/file");
    CHECK_OK(sd_file_remove(path));
    CHECK_OK(sd_file_remove(path));
    CHECK(!sd_file_exists(path));
}

static void test_failed_write_keeps_the_old_file(void)
{
    const char *folder = scratch;
    char path[256], inner[256];

    scratch_path(path, folder, "kept");
    CHECK(mkdir(path, 0700) == 0);
    CHECK_FAILS(sd_file_write(path, "x", 1), SD_E_ENV, "kept");
    CHECK(scratch_count(folder) == 1);
    scratch_path(inner, folder, "kept/not/there");
    CHECK_FAILS(sd_file_write(inner, "x", 1), SD_E_ENV, "cannot be created");
    CHECK(rmdir(path) == 0);
}

static void test_crc_leaves_out_the_span(void)
{
    const char *folder = scratch;
    enum { SIZE = 3 * (1 << 20) + 17 };
    static unsigned char bytes[SIZE];
    const sd_span skips[] = {{0, 0},        {0, 5},          {100, 1 << 20}, {(1 << 20) - 3, 7},
                             {SIZE - 9, 9}, {SIZE - 9, 100}, {0, SIZE},      {SIZE + 5, 3}};
    char path[256], hex[65], want[65];
    sd_sha256 sha;
    size_t i;

    for (i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 11);
    scratch_path(path, folder, "crc");
    CHECK_OK(sd_file_write(path, bytes, SIZE));
    for (i = 0; i < sizeof skips / sizeof skips[0]; i++) {
        uint64_t first = skips[i].first < SIZE ? skips[i].first : SIZE, end = skips[i].first + skips[i].count;
        uint32_t crc = 1, expected;

        end = end < SIZE ? end : SIZE;
        end = end > first ? end : first;
        expected = sd_crc32c(sd_crc32c(0, bytes, first), bytes + end, SIZE - end);
        CHECK_OK(sd_file_crc(path, skips[i], &crc));
        CHECK(crc == expected);
    }
    sd_sha256_begin(&sha);
    sd_sha256_add(&sha, bytes, SIZE);
    sd_sha256_end(&sha, want);
    CHECK_OK(sd_file_sha256(path, hex));
    CHECK(strcmp(hex, want) == 0);
    CHECK_OK(sd_file_remove(path));
}

static void test_temporaries_go_and_links_stay(void)
{
    const char *folder = scratch;
    char path[256], other[256];

    scratch_path(path, folder, "x/y/z");
    CHECK_OK(sd_file_make_dirs(path));
    CHECK_OK(sd_file_make_dirs(path));
    scratch_write(scratch_path(path, folder, "x/y/z/.tmp-a.h5"), "", 0);
    scratch_write(scratch_path(path, folder, "x/y/b.tmp"), "", 0);
    scratch_write(scratch_path(path, folder, "x/kept.h5"), "", 0);
    CHECK(mkdir(scratch_path(path, folder, "away"), 0700) == 0);
    scratch_write(scratch_path(other, folder, "away/c.tmp"), "", 0);
    CHECK(symlink("../away", scratch_path(path, folder, "x/link")) == 0);
    CHECK_OK(sd_file_remove_temporaries(scratch_path(path, folder, "x")));
    CHECK(scratch_count(scratch_path(path, folder, "x/y/z")) == 0);
    CHECK(scratch_count(scratch_path(path, folder, "x/y")) == 1);
    CHECK(sd_file_exists(scratch_path(path, folder, "x/kept.h5")));
    CHECK(sd_file_exists(other));
    CHECK_FAILS(sd_file_make_dirs(scratch_path(path, folder, "x/kept.h5/more")), SD_E_ENV, "kept.h5");
}

static void test_names(void)
{
    char *path = NULL;

    CHECK_OK(sd_path_join(&path, "a/b/", "c"));
    CHECK(strcmp(path, "a/b/c") == 0);
    sd_free(path);
    CHECK_OK(sd_path_join(&path, "a/b", "c"));
    CHECK(strcmp(path, "a/b/c") == 0);
    sd_free(path);
    CHECK_OK(sd_path_beside(&path, "jobs/one.json", "data/x"));
    CHECK(strcmp(path, "jobs/data/x") == 0);
    sd_free(path);
    CHECK_OK(sd_path_beside(&path, "one.json", "data/x"));
    CHECK(strcmp(path, "data/x") == 0);
    sd_free(path);
    CHECK_OK(sd_path_beside(&path, "jobs/one.json", "/data/x"));
    CHECK(strcmp(path, "/data/x") == 0);
    sd_free(path);
}

static void test_space_of_a_file_that_is_to_be(void)
{
    const char *folder = scratch;
    char path[256];
    uint64_t here = 0, there = 0;

    CHECK_OK(sd_file_space(folder, &here));
    CHECK_OK(sd_file_space(scratch_path(path, folder, "not/yet/there"), &there));
    CHECK(here > 0 && there > 0);
}

static void begin(void)
{
    test_folder(scratch);
}

static const test_case tests[] = {
    TEST(test_write_and_read),
    TEST(test_failed_write_keeps_the_old_file),
    TEST(test_crc_leaves_out_the_span),
    TEST(test_temporaries_go_and_links_stay),
    TEST(test_names),
    TEST(test_space_of_a_file_that_is_to_be),
};

TEST_MAIN(tests, begin, NULL)

/* The manifest: what is recorded is known on all ranks, torn ends go, damage is refused. */
#include "saediff/store/manifest.h"

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "scratch.h"
#include "ranks.h"

static char scratch[TEST_FOLDER];

/* Rank 0 does `what` when all have arrived, and all wait for it. */
#define ON_ROOT(par, what)                                                                                   \
    do {                                                                                                     \
        CHECK_OK(sd_par_agree((par), SD_OK));                                                                \
        if ((par)->rank == 0)                                                                                \
            what;                                                                                            \
        CHECK_OK(sd_par_agree((par), SD_OK));                                                                \
    } while (0)

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[256];

    scratch_write(scratch_path(path, folder, name), text, strlen(text));
}

static bool has(sd_manifest *m, const char *path, const char *key)
{
    bool found = false;

    CHECK_OK(sd_manifest_has(m, path, key, &found));
    return found;
}

static void test_add_find_withdraw(void)
{
    const sd_par *par = ranks;
    const char *folder = scratch;
    static const char *const paths[] = {"b.h5", "a.h5", "sub/c.h5"};
    const sd_span skips[] = {{0, 0}, {2, 3}, {0, 0}};
    sd_manifest *m = NULL;
    char path[256];
    const sd_record *r;

    scratch_path(path, folder, "run/x");
    CHECK_OK(sd_manifest_open(&m, par, path));
    if (m == NULL)
        return;
    CHECK(strcmp(sd_manifest_folder(m), path) == 0 && sd_manifest_count(m) == 0);
    ON_ROOT(par, {
        CHECK(mkdir(scratch_path(path, folder, "run/x/sub"), 0700) == 0);
        put_file(folder, "run/x/a.h5", "aaaaaaa");
        put_file(folder, "run/x/b.h5", "");
        put_file(folder, "run/x/sub/c.h5", "cc");
        put_file(folder, "run/x/sub/.tmp-d.h5", "cc");
    });
    CHECK(!has(m, "a.h5", "key1"));
    CHECK_OK(sd_manifest_add(m, paths, skips, 3, "key1"));
    CHECK(has(m, "a.h5", "key1") && has(m, "b.h5", "key1") && has(m, "sub/c.h5", "key1"));
    CHECK(!has(m, "a.h5", "key2"));
    CHECK(sd_manifest_count(m) == 3 && strcmp(sd_manifest_at(m, 0)->path, "a.h5") == 0 &&
          strcmp(sd_manifest_at(m, 2)->path, "sub/c.h5") == 0);
    CHECK_OK(sd_manifest_add(m, &paths[1], NULL, 1, "key2"));
    CHECK(has(m, "a.h5", "key2") && !has(m, "a.h5", "key1") && sd_manifest_count(m) == 3);
    CHECK_OK(sd_manifest_withdraw(m, "b.h5"));
    CHECK(!has(m, "b.h5", "key1") && sd_manifest_count(m) == 2);
    CHECK(!sd_file_exists(scratch_path(path, folder, "run/x/b.h5")));
    CHECK_OK(sd_manifest_withdraw(m, "b.h5"));
    sd_manifest_close(&m);
    CHECK(m == NULL);

    CHECK_OK(sd_manifest_open(&m, par, scratch_path(path, folder, "run/x")));
    if (m == NULL)
        return;
    CHECK(sd_manifest_count(m) == 2 && sd_manifest_find(m, "b.h5") == NULL);
    CHECK(!sd_file_exists(scratch_path(path, folder, "run/x/sub/.tmp-d.h5")));
    r = sd_manifest_find(m, "a.h5");
    CHECK(r != NULL && r->bytes == 7 && r->skip.count == 0 && strcmp(r->key, "key2") == 0);
    r = sd_manifest_find(m, "sub/c.h5");
    CHECK(r != NULL && r->bytes == 2);
    sd_manifest_close(&m);
}

/* What has no record goes, what has one and what is called otherwise stays. */
static void test_sweep(void)
{
    const sd_par *par = ranks;
    const char *folder = scratch;
    static const char *const kept[] = {"sub/checkpoint-2.h5", "sub/other", "checkpoint-1.h5"}, *const gone[] = {"sub/checkpoint-1.h5", "sub/checkpoint-"};
    sd_manifest *m = NULL;
    char path[256];

    CHECK_OK(sd_manifest_open(&m, par, scratch_path(path, folder, "swept")));
    if (m == NULL)
        return;
    CHECK_OK(sd_manifest_sweep(m, "sub/checkpoint-"));
    ON_ROOT(par, {
        CHECK(mkdir(scratch_path(path, folder, "swept/sub"), 0700) == 0);
        for (size_t i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "swept/%s", kept[i]);
            put_file(folder, path, "x");
        }
        for (size_t i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "swept/%s", gone[i]);
            put_file(folder, path, "x");
        }
    });
    CHECK_OK(sd_manifest_add(m, kept, NULL, 1, "k"));
    CHECK_OK(sd_manifest_sweep(m, "sub/checkpoint-"));
    CHECK(has(m, kept[0], "k"));
    for (size_t i = 0; i < 3; i++)
        CHECK(access(scratch_path(path, sd_manifest_folder(m), kept[i]), F_OK) == 0);
    for (size_t i = 0; i < 2; i++)
        CHECK(access(scratch_path(path, sd_manifest_folder(m), gone[i]), F_OK) != 0);
    CHECK_OK(sd_par_agree(par, SD_OK));
    CHECK_OK(sd_manifest_sweep(m, "checkpoint-"));
    CHECK(access(scratch_path(path, sd_manifest_folder(m), kept[2]), F_OK) != 0);
    sd_manifest_close(&m);
}

static void test_changed_files_are_noticed(void)
{
    const sd_par *par = ranks;
    const char *folder = scratch;
    static const char *const paths[] = {"a", "b"};
    const sd_span skips[] = {{1, 2}, {0, 0}};
    sd_manifest *m = NULL;
    char path[256];

    scratch_path(path, folder, "changed");
    CHECK_OK(sd_manifest_open(&m, par, path));
    if (m == NULL)
        return;
    ON_ROOT(par, {
        put_file(folder, "changed/a", "12345");
        put_file(folder, "changed/b", "12345");
    });
    CHECK_OK(sd_manifest_add(m, paths, skips, 2, "k"));
    ON_ROOT(par, put_file(folder, "changed/a", "1xx45"));
    CHECK(has(m, "a", "k"));
    ON_ROOT(par, put_file(folder, "changed/a", "1xx4x"));
    CHECK(!has(m, "a", "k"));
    CHECK_FAILS(sd_manifest_check(m, sd_manifest_find(m, "a")), SD_E_DATA, "checksum");
    ON_ROOT(par, put_file(folder, "changed/b", "123456"));
    CHECK(!has(m, "b", "k"));
    CHECK_FAILS(sd_manifest_check(m, sd_manifest_find(m, "b")), SD_E_DATA, "has 6 bytes, the manifest says 5");
    ON_ROOT(par, CHECK_OK(sd_file_remove(scratch_path(path, folder, "changed/b"))));
    CHECK(!has(m, "b", "k"));
    /* All or none: a is there, c is not. */
    {
        static const char *const pair[] = {"a", "c"};

        CHECK_FAILS(sd_manifest_add(m, pair, NULL, 2, "new"), SD_E_DATA, "changed/c");
        CHECK(strcmp(sd_manifest_find(m, "a")->key, "k") == 0);
        CHECK(sd_manifest_find(m, "c") == NULL);
    }
    CHECK_FAILS(sd_manifest_add(m, (const char *const[]){"../changed/a"}, NULL, 1, "k"), SD_E_INTERNAL, "not inside");
    sd_manifest_close(&m);
}

/* The log cut at every byte: what is known is whole commits, and the next record can be added. */
static void test_torn_at_every_byte(void)
{
    const sd_par *par = ranks;
    const char *folder = scratch;
    static const char *const paths[] = {"a", "b", "c"};
    char path[256], log[256], *text = NULL;
    uint64_t size = 0, cut, single = 0;
    sd_manifest *m = NULL;

    scratch_path(path, folder, "torn");
    scratch_path(log, folder, "torn/manifest.log");
    CHECK_OK(sd_manifest_open(&m, par, path));
    if (m == NULL)
        return;
    ON_ROOT(par, {
        put_file(folder, "torn/a", "1");
        put_file(folder, "torn/b", "2");
        put_file(folder, "torn/c", "3");
    });
    CHECK_OK(sd_manifest_add(m, paths, NULL, 1, "k"));
    CHECK_OK(sd_file_size(log, &single));
    CHECK_OK(sd_par_agree(par, SD_OK)); /* before rank 0 writes on */
    CHECK_OK(sd_manifest_add(m, &paths[1], NULL, 2, "k"));
    sd_manifest_close(&m);
    CHECK_OK(sd_file_read(log, 1 << 20, &text, &size));
    CHECK_OK(sd_par_agree(par, SD_OK));
    for (cut = 0; cut <= size; cut += par->size > 1 ? 23 : 1) {
        uint64_t want = cut < single ? 0 : cut < size ? 1 : 3;

        ON_ROOT(par, scratch_write(log, text, cut));
        CHECK_OK(sd_manifest_open(&m, par, path));
        if (m == NULL)
            break;
        CHECK(sd_manifest_count(m) == want);
        if (cut % 23 == 0) {
            CHECK_OK(sd_manifest_add(m, &paths[2], NULL, 1, "again"));
            sd_manifest_close(&m);
            CHECK_OK(sd_manifest_open(&m, par, path));
            CHECK(m != NULL && sd_manifest_count(m) == (want == 3 ? 3 : want + 1));
        }
        sd_manifest_close(&m);
    }
    sd_free(text);
}

static void test_damage_before_the_end_is_refused(void)
{
    const sd_par *par = ranks;
    const char *folder = scratch;
    static const char *const paths[] = {"a", "b"};
    char path[256], log[256];
    sd_manifest *m = NULL;

    scratch_path(path, folder, "damaged");
    scratch_path(log, folder, "damaged/manifest.log");
    CHECK_OK(sd_manifest_open(&m, par, path));
    if (m == NULL)
        return;
    ON_ROOT(par, {
        put_file(folder, "damaged/a", "1");
        put_file(folder, "damaged/b", "2");
    });
    CHECK_OK(sd_manifest_add(m, &paths[0], NULL, 1, "k"));
    CHECK_OK(sd_manifest_add(m, &paths[1], NULL, 1, "k"));
    sd_manifest_close(&m);
    ON_ROOT(par, scratch_flip(log, 20, 1));
    CHECK_FAILS(sd_manifest_open(&m, par, path), SD_E_DATA, "manifest.log: line 1 of the log is damaged");
    CHECK(m == NULL);
    /* One line alone that is damaged is a torn end. */
    ON_ROOT(par, scratch_write(log, "f346a4a5 {}\n", 12));
    CHECK_OK(sd_manifest_open(&m, par, path));
    CHECK(m != NULL && sd_manifest_count(m) == 0);
    sd_manifest_close(&m);
}

static void begin(void)
{
    CHECK_OK(sd_log_open(&(sd_log_spec){0}));
    ranks_folder(scratch);
}

static void end(void)
{
    sd_log_close();
}

static const test_case tests[] = {
    TEST(test_add_find_withdraw),
    TEST(test_sweep),
    TEST(test_changed_files_are_noticed),
    TEST(test_torn_at_every_byte),
    TEST(test_damage_before_the_end_is_refused),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)

/* A full disk is one error, before anything was computed, on all ranks alike. Needs the right to mount a small file
 * system; skipped without it. */
#define _DEFAULT_SOURCE
#include <sys/mount.h>

#include "saediff/store/file.h"
#include "shard_data.h"
#include "ranks.h"

static bool mount_small(const sd_par *par, const char *folder)
{
    uint64_t mounted = 0;

    if (par->rank == 0)
        mounted = mount("none", folder, "tmpfs", 0, "size=2m") == 0;
    CHECK_OK(sd_par_bcast(par, &mounted, sizeof mounted, 0));
    return mounted != 0;
}

static void test_too_large(const sd_par *par, sd_manifest *m, const char *folder)
{
    shard_data *s = shard_data_make(folder, "s.h5", DATA_MAX_ROWS), *small = shard_data_make(folder, "t.h5", 1000);
    sd_shard *shard = NULL;
    int before = scratch_count(folder);

    s->sets[0].shape[0] = 200000; /* 4 MB where there are 2 */
    CHECK_FAILS(sd_shard_create(&shard, par, &s->spec), SD_E_ENV, "s.h5: no space on the disk: the file needs ");
    CHECK(strstr(sd_last_error(), " bytes") != NULL);
    CHECK_OK(sd_par_equal(par, "the message", sd_last_error()));
    CHECK(shard == NULL && scratch_count(folder) == before);
    CHECK_OK(sd_par_agree(par, SD_OK));
    CHECK_OK(sd_shard_create(&shard, par, &small->spec));
    if (shard != NULL) {
        sd_status st = shard_data_write(small, shard, par, 300);

        CHECK_OK(sd_shard_commit(&shard, m, "key", st));
    }
    CHECK(sd_manifest_find(m, "t.h5") != NULL);
    shard_data_free(small);
    shard_data_free(s);
}

/* Space was reserved, so that filling the disk afterwards does no harm to the rows; what fails is the manifest or nothing. */
static void test_filled_after_the_reservation(const sd_par *par, sd_manifest *m, const char *folder)
{
    shard_data *s = shard_data_make(folder, "u.h5", DATA_MAX_ROWS);
    sd_shard *shard = NULL;
    char path[256];

    CHECK_OK(sd_shard_create(&shard, par, &s->spec));
    if (par->rank == 0) {
        FILE *file = fopen(scratch_path(path, folder, "filler"), "wb");
        int i;

        for (i = 0; file != NULL && i < 4096; i++)
            if (fwrite(s->f32, 1024, 1, file) != 1)
                break;
        if (file != NULL)
            fclose(file);
    }
    CHECK_OK(sd_par_agree(par, SD_OK));
    if (shard != NULL) {
        sd_status st = shard_data_write(s, shard, par, 300);

        CHECK(st == SD_OK);
        st = sd_shard_commit(&shard, m, "key", st);
        CHECK(st == SD_OK || (st == SD_E_ENV && strstr(sd_last_error(), "manifest.log") != NULL));
    }
    shard_data_free(s);
}

static char folder[TEST_FOLDER];
static sd_manifest *manifest;

static void begin(void)
{
    ranks_folder(folder);
    if (!mount_small(ranks, folder))
        test_skip("no right to mount a file system");
    CHECK_OK(sd_manifest_open(&manifest, ranks, folder));
}

static void end(void)
{
    sd_manifest_close(&manifest);
    CHECK_OK(sd_par_agree(ranks, SD_OK));
    if (ranks->rank == 0)
        CHECK(umount2(folder, MNT_DETACH) == 0);
}

static void test_a_file_that_is_too_large(void)
{
    test_too_large(ranks, manifest, folder);
}

static void test_a_disk_that_fills_up(void)
{
    test_filled_after_the_reservation(ranks, manifest, folder);
}

static const test_case tests[] = {
    TEST(test_a_file_that_is_too_large),
    TEST(test_a_disk_that_fills_up),
};

RANKS_MAIN(tests, begin, end, 2, 4, 8)

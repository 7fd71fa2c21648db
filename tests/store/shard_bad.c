/* Shards that must not come to be: rows twice or never, a failing rank, plans that differ. All ranks hear the same, no
 * file is left, and the next shard is written as if nothing had been. */
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "shard_data.h"
#include "ranks.h"

typedef enum fault { TWICE, NEVER, FAILS, MISSING_SHARE, NONE } fault;

static sd_status write_with(fault what, const shard_data *s, sd_shard *shard, const sd_par *par)
{
    sd_span all = {0, s->rows};
    sd_status st = SD_OK;

    if (what == MISSING_SHARE && par->rank == par->size - 1)
        return SD_OK;
    if (what == NEVER) {
        all.count = 4500;
        return par->rank == 0 ? sd_shard_write(shard, 0, all, s->f32) : SD_OK;
    }
    st = shard_data_write(s, shard, par, 1000);
    if (st == SD_OK && what == TWICE && par->rank == par->size - 1)
        st = sd_shard_write(shard, 1, (sd_span){8000, 2}, s->bf16);
    if (st == SD_OK && what == FAILS && par->rank == par->size - 1)
        st = SD_FAIL(SD_E_DATA, "rank %d has no rows", par->rank);
    return st;
}

static void test_fault(const sd_par *par, sd_manifest *m, const char *folder, fault what, sd_status code, const char *message)
{
    shard_data *s = shard_data_make(folder, "s.h5", DATA_MAX_ROWS);
    sd_shard *shard = NULL;
    sd_status st;

    CHECK_OK(sd_shard_create(&shard, par, &s->spec));
    if (shard != NULL) {
        st = write_with(what, s, shard, par);
        if (what == NONE) {
            CHECK_OK(sd_shard_commit(&shard, m, "key", st));
            CHECK(sd_manifest_find(m, "s.h5") != NULL);
        } else {
            CHECK_FAILS(sd_shard_commit(&shard, m, "key", st), code, message);
            CHECK_OK(sd_par_equal(par, "the message", sd_last_error()));
            CHECK(sd_manifest_find(m, "s.h5") == NULL);
            CHECK(scratch_count(folder) == 0);
        }
        CHECK(shard == NULL);
    }
    CHECK_OK(sd_par_agree(par, SD_OK));
    shard_data_free(s);
}

static void test_plans(const sd_par *par, const char *folder)
{
    shard_data *s = shard_data_make(folder, "s.h5", 10);
    sd_shard *shard = NULL;

    s->spec.n_attrs = 1;
    CHECK_FAILS(sd_shard_create(&shard, par, &s->spec), SD_E_INTERNAL, "first_row and rows");
    s->spec.n_attrs = 3;
    s->sets[1].name = "activations";
    CHECK_FAILS(sd_shard_create(&shard, par, &s->spec), SD_E_ENV, "s.h5: dataset 'activations'");
    s->sets[1].name = "narrow";
    if (par->size > 1) {
        if (par->rank == 1)
            s->sets[0].shape[0] = 9;
        CHECK_FAILS(sd_shard_create(&shard, par, &s->spec), SD_E_INTERNAL, "the plan of a shard");
        s->sets[0].shape[0] = 10;
    }
    CHECK(shard == NULL);
    CHECK(scratch_count(folder) == 0);
    CHECK_OK(sd_par_agree(par, SD_OK));
    /* Someone else's file under the temporary name is left alone. */
    if (par->rank == 0) {
        char path[256];

        scratch_write(scratch_path(path, folder, ".tmp-s.h5"), "theirs", 6);
    }
    CHECK_FAILS(sd_shard_create(&shard, par, &s->spec), SD_E_ENV, ".tmp-s.h5: cannot be created");
    CHECK(shard == NULL && scratch_count(folder) == 1);
    CHECK_OK(sd_par_agree(par, SD_OK));
    if (par->rank == 0) {
        char path[256];

        unlink(scratch_path(path, folder, ".tmp-s.h5"));
    }
    CHECK_OK(sd_par_agree(par, SD_OK));
    shard_data_free(s);
}

/* The n-th allocation of one rank fails: one verdict, no file, no hang. */
static void test_no_memory_on_one_rank(const sd_par *par, sd_manifest *m, const char *folder)
{
    uint64_t n;

    for (n = 1; n < 40; n += 3) {
        shard_data *s = shard_data_make(folder, "s.h5", 50);
        sd_shard *shard = NULL;
        sd_status st;

        if (par->rank == par->size - 1)
            sd_mem_fail_at(n);
        st = sd_shard_create(&shard, par, &s->spec);
        CHECK((st == SD_OK) == (shard != NULL));
        if (shard != NULL) {
            sd_status wrote = shard_data_write(s, shard, par, 1000);

            st = sd_shard_commit(&shard, m, "key", wrote);
        }
        sd_mem_fail_at(0);
        CHECK(st == SD_OK || st == SD_E_ENV);
        CHECK_OK(sd_par_equal(par, "the verdict", st == SD_OK ? "well" : sd_last_error()));
        if (st == SD_OK)
            CHECK_OK(sd_manifest_withdraw(m, "s.h5"));
        CHECK(scratch_count(folder) <= 1);
        CHECK_OK(sd_par_agree(par, SD_OK));
        shard_data_free(s);
    }
}

static char folder[TEST_FOLDER];
static sd_manifest *manifest;

static void begin(void)
{
    CHECK_OK(sd_log_open(&(sd_log_spec){0}));
    ranks_folder(folder);
    CHECK_OK(sd_manifest_open(&manifest, ranks, folder));
}

static void end(void)
{
    sd_manifest_close(&manifest);
    sd_log_close();
}

static void test_refused_plans(void)
{
    test_plans(ranks, folder);
}

static void test_faults(void)
{
    test_fault(ranks, manifest, folder, TWICE, SD_E_INTERNAL, "row 8000 of 'narrow' was written twice");
    test_fault(ranks, manifest, folder, NEVER, SD_E_INTERNAL, "row 4500 of 'activations', which has 9001, was not written");
    test_fault(ranks, manifest, folder, MISSING_SHARE, SD_E_INTERNAL, "was not written by any rank");
    test_fault(ranks, manifest, folder, FAILS, SD_E_DATA, "has no rows");
}

static void test_no_memory(void)
{
    test_no_memory_on_one_rank(ranks, manifest, folder);
    test_fault(ranks, manifest, folder, NONE, SD_OK, "");
}

static const test_case tests[] = {
    TEST(test_refused_plans),
    TEST(test_faults),
    TEST(test_no_memory),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)

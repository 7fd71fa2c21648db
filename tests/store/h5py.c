/* What other readers see: a Python with h5py and numpy opens shards, the view over them, and bundles. Skipped where
 * there is none. */
#include "saediff/core/mem.h"
#include "saediff/store/bundle.h"
#include "shard_data.h"
#include "ranks.h"

static const char script[] =
    "import sys, h5py, numpy as np\n"
    "d = sys.argv[1]\n"
    "def same(a, b): assert a.shape == b.shape and (a == b).all(), (a, b)\n"
    "def f32(n): return (np.arange(n * 5, dtype=np.float32) * np.float32(0.37) - np.float32(5)).reshape(n, 5)\n"
    "def bf16(n):\n"
    "    x = (np.arange(n * 5) - 100).astype(np.float32).view(np.uint32).astype(np.uint64)\n"
    "    r = ((x + 0x7fff + ((x >> 16) & 1)) >> 16) << 16\n"
    "    return r.astype(np.uint32).view(np.float32).reshape(n, 5)\n"
    "with h5py.File(d + '/a/one.h5') as f:\n"
    "    assert f.attrs['format'] == 'saediff.test' and f.attrs['site'] == 'blocks.1.hook_resid_post'\n"
    "    assert f.attrs['rows'] == 5000 and f.attrs['first_row'] == 1000\n"
    "    assert f['activations'].dtype == np.float32 and f['narrow'].dtype == np.float32 and f['list'].dtype == np.float16\n"
    "    assert f['activations'].attrs['unit'] == '1'\n"
    "    same(f['activations'][:], f32(5000)); same(f['narrow'][:], bf16(5000))\n"
    "    same(f['list'][:], (np.arange(5000 // 3) % 2000 * 0.5).astype(np.float16))\n"
    "    assert f['activations_crc32c'].shape == (2,) and f['empty'].shape == (0,)\n"
    "    raw = np.memmap(d + '/a/one.h5', dtype=np.uint16, mode='r', offset=f['narrow'].id.get_offset(), shape=(5000, 5))\n"
    "    same((raw.astype(np.uint32) << 16).view(np.float32), bf16(5000))\n"
    "with h5py.File(d + '/view.h5') as f:\n"
    "    same(f['activations'][:], np.concatenate([f32(5000), f32(7)]))\n"
    "with h5py.File(d + '/a/narrow.h5') as f:\n"
    "    same(f['narrow'][:], np.concatenate([bf16(7), bf16(5000)]))\n"
    "with h5py.File(d + '/b.h5') as f:\n"
    "    assert f.attrs['note'] == 'caf\\u00e9' and f.attrs['seed'] == 2**64 - 1\n"
    "    same(f['x'][:], np.arange(6, dtype=np.int32).reshape(2, 3))\n";

static void write_shard(const sd_par *par, sd_manifest *m, const char *folder, const char *name, uint64_t rows)
{
    shard_data *s = shard_data_make(folder, name, rows);
    sd_shard *shard = NULL;

    CHECK_OK(sd_shard_create(&shard, par, &s->spec));
    if (shard != NULL) {
        sd_status st = shard_data_write(s, shard, par, 1000);

        CHECK_OK(sd_shard_commit(&shard, m, "key", st));
    }
    shard_data_free(s);
}

static void write_views(const char *folder)
{
    static const int32_t x[6] = {0, 1, 2, 3, 4, 5};
    const sd_attr attrs[] = {{.name = "note", .kind = SD_ATTR_TEXT, .text = "caf\xC3\xA9"},
                             {.name = "seed", .kind = SD_ATTR_U64, .u64 = UINT64_MAX}};
    const sd_array array = {"x", SD_I32, 2, {2, 3}, x, "1", "test"};
    char one[256], two[256], none[256], view[256], inner[256], bundle[256];

    scratch_path(one, folder, "a/one.h5");
    scratch_path(two, folder, "b/two.h5");
    scratch_path(none, folder, "b/none.h5");
    CHECK_OK(sd_shard_view(scratch_path(view, folder, "view.h5"), "activations", (const char *const[]){one, none, two}, 3));
    CHECK_OK(sd_shard_view(scratch_path(inner, folder, "a/narrow.h5"), "narrow", (const char *const[]){two, one}, 2));
    CHECK_OK(sd_bundle_write(scratch_path(bundle, folder, "b.h5"), "saediff.test", 1, attrs, 2, &array, 1));
    CHECK_FAILS(sd_shard_view(view, "absent", (const char *const[]){one}, 1), SD_E_DATA, "no dataset 'absent'");
    CHECK_FAILS(sd_shard_view(view, "list", (const char *const[]){one, bundle}, 2), SD_E_DATA, "b.h5");
}

/* From another folder than the files': names in the view are relative to the view. */
static int run_script(const char *folder)
{
    char path[256], command[2048];
    int code;

    if (system("/usr/bin/python3 -c 'import h5py, numpy' >/dev/null 2>&1") != 0)
        return TEST_SKIPPED;
    scratch_write(scratch_path(path, folder, "check.py"), script, sizeof script - 1);
    snprintf(command, sizeof command, "cd / && /usr/bin/python3 %s %s >&2", path, folder);
    code = system(command);
    CHECK(code == 0);
    return 0;
}

static void test_h5py_reads_what_was_written(void)
{
    sd_manifest *m = NULL;
    char folder[TEST_FOLDER];
    int code = 0;

    ranks_folder(folder);
    CHECK_OK(sd_manifest_open(&m, ranks, folder));
    write_shard(ranks, m, folder, "a/one.h5", 5000);
    write_shard(ranks, m, folder, "b/two.h5", 7);
    write_shard(ranks, m, folder, "b/none.h5", 0);
    if (ranks->rank == 0) {
        write_views(folder);
        code = run_script(folder);
    }
    sd_manifest_close(&m);
    CHECK_OK(sd_par_bcast(ranks, &code, sizeof code, 0));
    if (code == TEST_SKIPPED)
        test_skip("no h5py");
    CHECK(code == 0);
}

static const test_case tests[] = {
    TEST(test_h5py_reads_what_was_written),
};

RANKS_MAIN(tests, NULL, NULL, 2)

"""The same weights as base and as tuned, under another name: every difference is exactly 0, and printed as 0."""
import csv
import glob
import json
import os

import kit

world = kit.World()
job = world.write_job(models={"base": "base", "tuned": "twin"})
kit.must(2, "run", job, "--quiet")
out = world.path("run")


def test_files_hold_zero():
    files = glob.glob(out + "/diff/*/*/diff.h5")
    assert len(files) == 4
    for path in files:
        with kit.h5py.File(path) as f:
            for name in ("d_frequency", "d_mean", "d_active_mean", "frequency_part", "magnitude_part"):
                values = f[name][:]
                alive = ~kit.np.isnan(values)
                assert (values[alive] == 0).all() and not kit.np.signbit(values[alive]).any(), (path, name)


def test_pages_print_zero():
    rows = 0
    for path in glob.glob(out + "/report/*.csv"):
        with open(path) as f:
            for row in csv.DictReader(f):
                rows += 1
                for key, value in row.items():
                    if key.startswith("d_") or key.endswith("_part"):
                        assert value in ("0", "NaN"), (path, key, value)
    assert rows == 2 * (24 + 40), rows


def test_json_holds_zero():
    found = []

    def walk(item, key=""):
        if isinstance(item, dict):
            for k, v in item.items():
                walk(v, k)
        elif isinstance(item, list):
            for v in item:
                walk(v, key)
        elif key.startswith("d_") or key.endswith("_part"):
            found.append(item)

    with open(out + "/report/results.json") as f:
        walk(json.load(f))
    assert all(v == 0 or v is None for v in found), found


def test_activations_and_codes_are_equal():
    for path in glob.glob(out + "/codes/base/*/*/shard-*.h5"):
        other = path.replace("/codes/base/", "/codes/tuned/")
        with kit.h5py.File(path) as f, kit.h5py.File(other) as g:
            for name in f:
                assert (f[name][:] == g[name][:]).all(), (path, name)
    assert os.path.exists(out + "/report/README.md")


try:
    kit.main(test_files_hold_zero, test_pages_print_zero, test_json_holds_zero, test_activations_and_codes_are_equal)
finally:
    world.close()

"""Artefacts of a newer program, or of another format, in a run folder: named, refused with status 3, nothing lost; with the old ones restored
the run finishes with the same bytes."""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

import kit

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283

world = kit.World(made=True)
job = world.path("job.json")
out = world.path("run")
whole = kit.digests(out)
SAE = "blocks.0.hook_resid_post/topk-24-k3/"
CODES = "codes/tuned/" + SAE + "shard-000000.h5"
PAGE = "report/README.md"
# An artefact, and one that is made from it.
KINDS = [("tokens/tokens.h5", None), ("acts/base/blocks.0.hook_resid_post/shard-000000.h5", "codes/base/" + SAE + "shard-000000.h5"),
         ("acts/tuned/loss/shard-000000.h5", PAGE), ("sae/" + SAE + "sae.h5", CODES), (CODES, "diff/" + SAE + "diff.h5"),
         ("eval/base/" + SAE + "eval.h5", PAGE), ("eval/models.h5", PAGE), ("diff/" + SAE + "diff.h5", PAGE),
         ("match/" + SAE + "match.h5", PAGE)]


def record_again(relative, out=out):
    """Updates the record of a changed file, as the program that changed it would."""
    with open(os.path.join(out, relative), "rb") as f:
        data = f.read()
    with open(os.path.join(out, "manifest.log")) as f:
        records = [json.loads(line.split(" ", 1)[1]) for line in f]
    record = dict([r for r in records if r["path"] == relative][-1], bytes=len(data), crc32c=crc32c(data))
    record.pop("more", None)
    text = json.dumps(record)
    with open(os.path.join(out, "manifest.log"), "a") as f:
        f.write("%08x %s\n" % (crc32c(text.encode()), text))


def skewed(relative, made_from, attribute, value, words, np_):
    path, kept = os.path.join(out, relative), world.path("kept")
    shutil.copyfile(path, kept)
    shutil.copyfile(os.path.join(out, "manifest.log"), kept + ".log")
    with kit.h5py.File(path, "r+") as f:
        f.attrs[attribute] = type(f.attrs[attribute])(value)
    record_again(relative)
    if made_from:
        os.remove(os.path.join(out, made_from))
    before = kit.digests(out)
    status, text, err = kit.run(np_, "run", job, "--quiet")
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert status == 3 and len(errors) == 1, "%s: status %d\n%s%s" % (relative, status, text, err)
    assert all(word in errors[0] for word in (relative, *words)), errors[0]
    kit.same(before, kit.digests(out), relative)
    shutil.move(kept, path)
    shutil.move(kept + ".log", os.path.join(out, "manifest.log"))
    kit.must(np_, "run", job, "--quiet")
    kit.same(whole, kit.digests(out), relative + " as it was")


def test_a_newer_version():
    for i, (relative, made_from) in enumerate(KINDS):
        skewed(relative, made_from, "version", 99, ("version 99", "use the one that wrote it"), (0, 2, 3)[i % 3])


def test_another_format():
    for i, (relative, made_from) in enumerate(KINDS[::3]):
        skewed(relative, made_from, "format", "saediff.other", ("saediff.other", "put the right file there"), (0, 2, 3)[i % 3])


def stopped(name, pattern, sections):
    """A run that a signal stopped once a file of the pattern was there: its folder, job and newest such file."""
    long, folder = world.write_job(name + ".json", **sections), world.path(name)
    process = subprocess.Popen(kit.command(1, "run", long, "--quiet", "--out", folder), env=kit.environment(), stderr=subprocess.PIPE)
    while process.poll() is None and not glob.glob(os.path.join(folder, pattern)):
        time.sleep(0.002)
    with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
        os.kill(int(f.read().split()[-1]), signal.SIGUSR1)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    return folder, long, sorted(glob.glob(os.path.join(folder, pattern)), key=os.path.getmtime)[-1]


def test_a_newer_checkpoint():
    train = dict(world.job["train"], on=["base"], epochs=4000, checkpoint_steps=20)
    tune = dict(evaluate=None, models={"base": "base", "tuned": ""}, data=None, tokenize=None, extract=None, sae=None,
                   train=None, encode=None, diff=None, report=None, finetune={"steps": 5000, "batch": 256, "lr": 1e-4, "end": False, "save_steps": 2,
                                                                                       "data": [{"path": "news.jsonl"}]})
    for name, pattern, sections in (("train", "sae/*/*/checkpoint-*.h5", dict(train=train, evaluate=None, encode=None, diff=None, report=None)),
                                    ("finetune", "finetune/checkpoint-*.h5", tune)):
        folder, long, path = stopped(name, pattern, sections)
        with kit.h5py.File(path, "r+") as f:
            f.attrs["version"] = type(f.attrs["version"])(99)
        record_again(os.path.relpath(path, folder), folder)
        before = kit.digests(folder)
        status, _, err = kit.run(2, "run", long, "--quiet", "--out", folder)
        errors = [line for line in err.splitlines() if line.startswith("error:")]
        assert status == 3 and len(errors) == 1 and path in errors[0] and "version 99" in errors[0], err
        kit.same(before, kit.digests(folder), path)


try:
    kit.main(test_a_newer_version, test_another_format, test_a_newer_checkpoint)
finally:
    world.close()

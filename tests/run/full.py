"""A run on a file system that fills up: one message with the file, status 4 on all ranks, nothing hangs; with free space again the same command
finishes with the bytes of an undisturbed run. Requires root, to mount a small tmpfs."""
import os
import subprocess
import sys

import kit

if os.geteuid() != 0:
    print("skipped: only root can mount a small file system")
    sys.exit(77)

world = kit.World()
job = world.write_job(train=dict(world.job["train"], epochs=1), evaluate={"resamples": 50},
                      extract=dict(world.job["extract"], shard_tokens=300))
whole = world.path("whole")
kit.must(2, "run", job, "--quiet", "--out", whole)
expected = kit.digests(whole)
place = world.path("small")
os.mkdir(place)


def mount(options):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], stderr=subprocess.PIPE).returncode == 0


def used(folder):
    return sum(os.stat(os.path.join(where, name)).st_blocks * 512 for where, _, names in os.walk(folder) for name in names)


def fills_up(np_, size):
    assert mount("size=%d" % size)
    try:
        out = os.path.join(place, "run")
        status, text, err = kit.run(np_, "run", job, "--quiet", "--out", out, timeout=120)
        errors = [line for line in err.splitlines() if line.startswith("error:")]
        what = "%d bytes at %d ranks" % (size, np_)
        assert status == 4, "%s: status %d\n%s%s" % (what, status, text, err)
        assert len(errors) == 1 and out in errors[0], "%s: %s" % (what, err)
        assert mount("remount,size=%d" % (1 << 28))
        kit.must(np_, "run", job, "--quiet", "--out", out)
        kit.same(expected, kit.digests(out), what)
    finally:
        subprocess.run(["umount", place])


def at_shares(np_, *shares):
    for share in shares:
        fills_up(np_, int(share * used(whole)) // 4096 * 4096)


def test_two_ranks():
    at_shares(2, 0.1, 0.9)


def test_four_ranks():
    at_shares(4, 0.3, 0.7)


def test_eight_ranks():
    at_shares(8, 0.5)


if not mount("size=4096"):
    print("skipped: this root may not mount")
    world.close()
    sys.exit(77)
subprocess.run(["umount", place])
try:
    kit.main(test_two_ranks, test_four_ranks, test_eight_ranks)
finally:
    world.close()

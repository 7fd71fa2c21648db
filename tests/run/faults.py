"""The n-th write, flush, rename or allocation fails: one message, status 4, no hang; the next run gives the bytes of an undisturbed one."""
import os
import shutil

import kit

world = kit.World()
job = world.write_job(train=dict(world.job["train"], checkpoint_steps=40))
whole = world.path("whole")
kit.must(0, "run", job, "--quiet", "--out", whole)
expected = kit.digests(whole)
out = world.path("out")


def disturbed(kind, n, np_):
    env = {"LD_PRELOAD": os.environ["SAEDIFF_SHIM"], "SAEDIFF_FAULT": "%s:%d" % (kind, n), "SAEDIFF_FAULT_FOLDER": out}
    status, text, err = kit.run(np_, "run", job, "--quiet", "--out", out, env=env, timeout=60)
    what = "%s %d at %d ranks" % (kind, n, max(np_, 1))
    if status == 0:
        kit.same(expected, kit.digests(out), what + ", which did no harm")
        return False
    assert status == 4, "%s: status %d\n%s%s" % (what, status, text, err)
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, "%s: %d messages\n%s" % (what, len(lines), err)
    assert kind == "alloc" or out in lines[0], "%s: the message names no file: %s" % (what, lines[0])
    kit.must(np_, "run", job, "--quiet", "--out", out)
    kit.same(expected, kit.digests(out), what + ", run again")
    return True


def rising(kind, first, factor):
    """n = 1, 2, then ever larger, until the run has no n-th call. One process and two ranks in turn."""
    n, trial, failed = 1, 0, 0
    while True:
        shutil.rmtree(out, ignore_errors=True)
        if disturbed(kind, n, (0, 2)[trial % 2]):
            failed += 1
        elif trial % 2 == 1:
            break
        trial += 1
        n = n + 1 if n < first else int(n * factor) + 1
    assert failed >= 5, "only %d failures were met" % failed


def test_nth_write():
    rising("write", 2, 3.2)


def test_nth_flush():
    rising("fsync", 2, 3.2)


def test_nth_rename():
    rising("rename", 2, 3.2)


def test_nth_allocation():
    rising("alloc", 1, 4.5)


try:
    kit.main(test_nth_write, test_nth_flush, test_nth_rename, test_nth_allocation)
finally:
    world.close()

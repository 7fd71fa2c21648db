"""The second round of training: error SAEs are the same at any number of ranks, and after stops and kills."""
import glob
import os
import shutil
import signal
import subprocess
import time

import kit

world = kit.World()
job = world.write_job(report=None, diff=None, models={"tuned": "tuned"}, extract={"sites": ["1"], "loss": False},
                      train=dict(world.job["train"], epochs=1, checkpoint_steps=5, on=["base", "error"]))
whole = world.path("whole")
kit.must(2, "run", job, "--quiet", "--out", whole)
expected = kit.digests(whole)


def again(np_, out):
    """Ranks that lost their launcher take a moment to end."""
    until = time.time() + 60
    status, _, err = kit.run(np_, "run", job, "--quiet", "--out", out)
    while "another run works there" in err and time.time() < until:
        time.sleep(0.2)
        status, _, err = kit.run(np_, "run", job, "--quiet", "--out", out)
    assert status == 0, err
    kit.same(expected, kit.digests(out), out)


def interrupted(np_, out, sent):
    """Whether the run was in the second round when it ended; checks that what it left is valid."""
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(kit.command(np_, "run", job, "--quiet", "--out", out), env=kit.environment(), stdout=null, stderr=null)
    while process.poll() is None and not glob.glob(out + "/sae/*/*-error/checkpoint-*.h5"):
        time.sleep(0.001)
    if process.poll() is None:
        process.send_signal(sent)
    return process.wait() == (75 if sent == signal.SIGUSR1 else -sent)


def test_ranks():
    assert len([p for p in expected if p.endswith("-error/sae.h5")]) == 2, sorted(expected)
    again(5, world.path("five"))


def test_stopped_and_killed():
    met = 0
    template = world.path("template")
    for stage in ("tokenize", "extract"):
        kit.must(2, stage, job, "--quiet", "--out", template)
    for trial, (np_, after) in enumerate(((2, 3), (3, 1))):
        out = world.path("stop-%d" % trial)
        shutil.copytree(template, out)
        met += interrupted(np_, out, signal.SIGKILL if trial % 2 else signal.SIGUSR1)
        again(after, out)
    assert met > 0


try:
    kit.main(test_ranks, test_stopped_and_killed)
finally:
    world.close()

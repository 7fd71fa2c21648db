"""Stops and kills inside evaluate and diff: status 75, completed work is kept, the bytes are those of an undisturbed run."""
import glob
import os
import shutil
import signal
import subprocess
import time

import kit

world = kit.World(made=True)
job = world.path("job.json")
expected = kit.digests(world.path("run"))
template = world.path("before")  # everything before evaluate
OFTEN = ("--set", "train.checkpoint_minutes=1e-7")  # evaluate saves after every round


def start(np_, out, *args):
    return subprocess.Popen(kit.command(np_, args[0], job, "--out", out, *args[1:]), env=kit.environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, start_new_session=True)


def ranks_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(word) for word in f.read().split()]


def interrupt(process, out, pattern, number, one):
    """Sends `number` to the ranks, or the last of them, once a file like `pattern` is there."""
    while process.poll() is None and not glob.glob(os.path.join(out, pattern)):
        time.sleep(0.001)
    for pid in ranks_of(process.pid)[-1 if one else 0:] if process.poll() is None else []:
        os.kill(pid, number)
    began = time.time()
    _, err = process.communicate(timeout=30)
    assert time.time() - began < 20
    return process.returncode, err.decode(errors="replace")


def finish(out, what):
    _, err = kit.must(3, "run", job, "--out", out)
    kit.same(expected, kit.digests(out), what)
    return err


def test_evaluate_stops_and_resumes():
    stopped = resumed = 0
    patterns = ("eval/base/*/checkpoint-?.h5", "eval/tuned/*/checkpoint-?.h5", "eval/checkpoint-?.h5")
    for trial, pattern in enumerate(patterns * 2):
        out = world.path("out")
        shutil.copytree(template, out)
        status, err = interrupt(start(1 + trial % 3, out, "evaluate", *OFTEN), out, pattern,
                                signal.SIGUSR1 if trial < 3 else signal.SIGTERM if trial == 4 else signal.SIGKILL, trial % 2 == 1)
        if trial in (0, 1, 2):
            assert status in (0, 75), err
            stopped += status == 75
        resumed += "resumes" in finish(out, "%s, trial %d" % (pattern, trial))
        shutil.rmtree(out)
    assert stopped >= 1 and resumed >= 1, (stopped, resumed)


def test_a_damaged_checkpoint_is_not_used():
    out = world.path("damaged")
    shutil.copytree(template, out)
    interrupt(start(1, out, "evaluate", *OFTEN), out, "eval/base/*/checkpoint-?.h5", signal.SIGKILL, False)
    for path in glob.glob(out + "/eval/*/*/checkpoint-?.h5"):
        with open(path, "r+b") as f:
            f.seek(os.path.getsize(path) // 2)
            f.write(b"\xff" * 8)
    assert "resumes" not in finish(out, "a damaged checkpoint")


def test_diff_stops():
    """A stop that was asked for before the first comparison ends diff at its first vote; completed comparisons are kept."""
    out = world.path("diff")
    shutil.copytree(template, out)
    kit.must(2, "evaluate", job, "--quiet", "--out", out)
    stopped = 0
    for np_ in (1, 2, 3):
        process = start(np_, out, "diff")
        status, err = interrupt(process, out, "diff/*/*/diff.h5", signal.SIGUSR2, np_ == 2)
        assert status in (0, 75), err
        stopped += status == 75
        if status == 0:
            shutil.rmtree(os.path.join(out, "diff"))
    assert stopped > 0
    finish(out, "after SIGUSR2")


def test_tokenize_stops():
    """Also while texts are being read: the partial tokens are discarded."""
    with open(world.path("long.jsonl"), "w") as f:
        f.write("".join(kit.json.dumps({"text": text}) + "\n" for text in kit.sentences(5, 500)) * 100)
    many = world.write_job("many.json", out="many", data=[{"path": "long.jsonl"}])
    process = subprocess.Popen(kit.command(2, "tokenize", many), env=kit.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    status, err = interrupt(process, world.path("many"), "tokens", signal.SIGUSR1, True)
    assert status == 75 and os.listdir(world.path("many", "tokens")) == [], (status, err)


try:
    kit.main(test_tokenize_stops, test_evaluate_stops_and_resumes, test_a_damaged_checkpoint_is_not_used, test_diff_stops)
finally:
    world.close()

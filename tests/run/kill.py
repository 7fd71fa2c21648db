"""Killed at every record of the manifest, and at random moments under mpirun (one rank or all, SIGKILL or SIGUSR1), and run again: the bytes of
an uninterrupted run, nothing lost."""
import concurrent.futures
import glob
import os
import random
import shutil
import signal
import subprocess
import time

import kit

KILLS, WORKERS = 10, 2

world = kit.World()
job = world.write_job(train=dict(world.job["train"], epochs=8, checkpoint_steps=20))
whole = world.path("out-whole")
kit.must(2, "run", job, "--quiet", "--out", whole)
expected = kit.digests(whole)


def records(out):
    try:
        with open(os.path.join(out, "manifest.log"), "rb") as f:
            return f.read().count(b"\n")
    except FileNotFoundError:
        return 0


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(p) for p in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def start(np_, out):
    return subprocess.Popen(kit.command(np_, "run", job, "--quiet", "--out", out), env=kit.environment(), stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait_for_records(process, out, count):
    """Until the manifest holds `count` records, or the run is over. Moments are counted in work done, not in seconds."""
    while records(out) < count and process.poll() is None:
        time.sleep(0.002)


def finish_and_compare(np_, out, what):
    kit.must(np_, "run", job, "--quiet", "--out", out)
    kit.same(expected, kit.digests(out), what)
    status, text, err = kit.run(0, "verify", out)
    assert status == 0, text + err


def kill_at_next_write(small, out, when, n):
    """One process, killed before or after its n-th write to the manifest; whether it was."""
    env = {"LD_PRELOAD": os.environ["SAEDIFF_SHIM"], "SAEDIFF_FAULT": "kill_%s:%d" % (when, n), "SAEDIFF_FAULT_FOLDER": out}
    before = records(out)
    status, text, err = kit.run(0, "run", small, "--quiet", "--out", out, env=env)
    assert status in (0, -signal.SIGKILL), (status, text, err)
    if status != 0:
        assert records(out) >= before + 1, (when, n, before, records(out))
    return status != 0


def test_a_kill_at_every_record():
    """Each run resumes from the state that the previous kill left: in turn just after a record, and with the next artefact complete but not recorded."""
    small = world.write_job("small.json", extract=dict(world.job["extract"], sites=["0"]),
                            train=dict(world.job["train"], epochs=2, checkpoint_steps=20))
    whole_small, out = world.path("whole-small"), world.path("out-records")
    counter = world.path("writes")
    kit.must(0, "run", small, "--quiet", "--out", whole_small,
             env={"LD_PRELOAD": os.environ["SAEDIFF_SHIM"], "SAEDIFF_FAULT": "count", "SAEDIFF_FAULT_FOLDER": whole_small,
                  "SAEDIFF_FAULT_COUNT": counter})
    writes, kills = os.path.getsize(counter), 0
    while kill_at_next_write(small, out, *(("after", 1) if kills % 2 == 0 else ("before", 2))):
        kills += 1
        assert kills < 10 * writes
    print("        %d kills; %d writes to the manifest in an undisturbed run" % (kills, writes), flush=True)
    assert kills >= writes - 1, (kills, writes)  # each kill moves on by one write
    kit.same(kit.digests(whole_small), kit.digests(out), "after a kill at every record")
    status, text, err = kit.run(0, "verify", out)
    assert status == 0, text + err


def kill_and_resume(worker):
    """One of several concurrent folders, since most of a trial is waiting for mpirun to notice."""
    rng = random.Random(worker)
    out = world.path("out-kill-%d" % worker)
    kills = came_through = 0
    while kills < KILLS // WORKERS:
        before = records(out)
        process = start(3, out)
        wait_for_records(process, out, before + 1 + rng.randrange(30))
        time.sleep(0.05 * rng.random())
        ranks = children(process.pid)
        if process.poll() is None and ranks:
            for pid in ranks if kills % 2 == 0 else ranks[-1:]:
                send(pid, signal.SIGKILL)
            kills += 1
        if process.wait(60) == 0:
            kit.same(expected, kit.digests(out), "after %d kills" % kills)
            came_through += 1
            shutil.rmtree(out)
    finish_and_compare(2, out, "worker %d at its end" % worker)
    return kills


def test_random_kills_among_three_ranks():
    """Runs are killed after a few more artefacts each, one rank or all, and resumed."""
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        kills = sum(pool.map(kill_and_resume, range(WORKERS)))
    assert kills == KILLS


def test_sigusr1_saves_and_exits_with_75():
    out = world.path("out-stop")
    stopped = 0
    for count in (5, 30, 40, 45, 50, 60):
        process = start(2, out)
        wait_for_records(process, out, count)
        for pid in children(process.pid):
            send(pid, signal.SIGUSR1)
        status = process.wait(30)
        assert status in (0, 75), status
        stopped += status == 75
        if status == 0:
            shutil.rmtree(out)
    assert stopped > 0
    finish_and_compare(3, out, "after SIGUSR1")


def test_a_lost_checkpoint_restarts_only_its_sae():
    """One SAE starts from the beginning, the others wait for it at their checkpoints; the run is stopped once more meanwhile."""
    out = world.path("out-lost")
    lost = 0

    def steps():
        return {int(path.rsplit("-", 1)[1][:-3]) for path in glob.glob(out + "/sae/*/*/checkpoint-*.h5")}

    for trial in range(2):
        process = start(2, out)
        while process.poll() is None and not any(step >= 200 if trial == 0 else 60 <= step < 200 for step in steps()):
            time.sleep(0.002)
        for pid in children(process.pid):
            send(pid, signal.SIGUSR1)
        assert process.wait(30) == 75
        if trial == 0:
            for path in sorted(glob.glob(out + "/sae/*/*/checkpoint-*.h5"))[:1]:
                os.remove(path)
                lost += 1
    assert lost == 1
    assert len(steps()) == 2, steps()
    finish_and_compare(3, out, "after a lost checkpoint")


def test_a_second_run_in_the_folder_is_refused():
    out = world.path("out-lock")
    process = start(2, out)
    wait_for_records(process, out, 3)
    for pid in children(process.pid):
        send(pid, signal.SIGSTOP)
    status, _, err = kit.run(2, "run", job, "--out", out)
    looked, _, _ = kit.run(0, "verify", out)
    for pid in children(process.pid):
        send(pid, signal.SIGCONT)
    assert status == 4, (status, err)
    assert "another run works there" in err, err
    assert "process" in err, err
    assert looked == 0
    assert process.wait(120) == 0
    kit.same(expected, kit.digests(out), "the run that had the lock")


def test_leftovers_of_a_kill_are_deleted():
    out = world.path("out-sweep")
    shutil.copytree(whole, out)
    for name in ("acts/base/.tmp-shard", "sae/x.tmp"):
        with open(os.path.join(out, name), "w") as f:
            f.write("half")
    finish_and_compare(0, out, "leftovers")


try:
    kit.main(test_a_kill_at_every_record, test_random_kills_among_three_ranks, test_sigusr1_saves_and_exits_with_75,
             test_a_lost_checkpoint_restarts_only_its_sae, test_a_second_run_in_the_folder_is_refused,
             test_leftovers_of_a_kill_are_deleted)
finally:
    world.close()

"""Fixtures of several scripts: models, texts, a job, its run folder (`run`, at two ranks), and that folder as it is before evaluate (`before`).
kit.World(made=True) is a copy of it."""
import os
import shutil

import kit

world = kit.World()
world.job.update(evaluate={"resamples": 50}, extract=dict(world.job["extract"], batch_tokens=70, shard_tokens=300),
                 train=dict(world.job["train"], on=["base", "tuned"], epochs=1))
job = world.write_job()


def test_the_run_folders_are_made():
    earlier = world.write_job("earlier.json", evaluate=None, diff=None, report=None)
    kit.must(2, "run", earlier, "--quiet", "--out", world.path("before"))
    shutil.copytree(world.path("before"), world.path("run"))
    kit.must(2, "run", job, "--quiet")
    assert "report/README.md" in kit.digests(world.path("run"))
    assert not os.path.exists(world.path("before", "eval"))
    shutil.rmtree(kit.MADE, ignore_errors=True)
    shutil.copytree(world.folder, kit.MADE)


try:
    kit.main(test_the_run_folders_are_made)
finally:
    world.close()

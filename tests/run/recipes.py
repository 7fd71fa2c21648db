"""The Python recipes of jobs/README.md, as written there, on a finished run folder; and every job file in jobs/ is valid."""
import contextlib
import glob
import io
import json
import os
import re

import kit

np = kit.np
JOBS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "jobs")
SITE, SAE = "blocks.0.hook_resid_post", "topk-24-k3"
world = kit.World()


def recipes():
    with open(os.path.join(JOBS, "README.md"), encoding="utf-8") as f:
        return re.findall(r"```python\n(.*?)```", f.read(), re.S)


def test_recipes_agree_with_the_report():
    run = world.path("run")
    kit.must(2, "run", world.write_job(), "--quiet", "--out", run)
    blocks = recipes()
    assert len(blocks) == 4
    names = {"run": run, "site": SITE, "sae": SAE}
    assert set(re.findall(r"(\w+)(?=[,=\s])", blocks[0])) >= set(names), blocks[0]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks[1:]:
            exec(block, names)
    with kit.h5py.File(os.path.join(run, "diff", SITE, SAE, "diff.h5")) as f:
        assert np.abs(names["change"] - f["d_mean"][:]).max() < 1e-6
        top = int(np.abs(f["d_mean"][:]).argmax())
    assert names["base"].shape == (len(names["ids"]), 24)
    assert names["x"].shape == (names["start"][1], 16)
    lines = said.getvalue().splitlines()
    assert len(lines) == len(names["results"]["saes"])
    assert "the largest change is %d " % top in lines[0], lines


def test_every_job_is_read():
    """`check` accepts the job file and then fails only on models and texts that the user must provide."""
    files = sorted(glob.glob(os.path.join(JOBS, "*.json")))
    assert len(files) >= 5, files
    for path in files:
        with open(path, encoding="utf-8") as f:
            assert json.load(f)["name"]
        given = {name: world.path("base") for name in ("BASE", "TUNED")}
        given.update({name: world.path("news.jsonl") for name in ("TEXTS", "TRAINING", "CHATS")})
        status, _, err = kit.run(0, "check", path, "--out", world.path("out-check"), env=given)
        assert status in (0, 2, 3, 4), (path, err)
        assert os.path.basename(path) not in err, (path, err)  # an error in a job file begins with its path


try:
    kit.main(test_every_job_is_read, test_recipes_agree_with_the_report)
finally:
    world.close()

"""A job of one model: no tuned, no diff; the page reports the fidelity of its SAEs."""
import json
import os

import kit

world = kit.World()
job = world.write_job(models={"base": "base"}, diff=None, evaluate={"resamples": 50})
with open(job) as f:
    text = json.load(f)
del text["models"]["tuned"]
with open(job, "w") as f:
    json.dump(text, f)


def test_check():
    out, _ = kit.must(0, "check", job)
    assert "\n  base " in out and "tuned" not in out and "\n  diff " not in out, out


def test_page():
    _, said = kit.must(0, "run", job, "--out", world.path("one"))
    results = json.load(open(world.path("one", "report", "results.json")))
    first = results["evaluations"][0]
    assert "%s, %s in base: EV %.3f" % (first["site"], first["sae"], first["texts"][0]["explained_variance"]["value"]) in said, said
    assert list(results["models"]) == ["base"] and results["saes"] == [] and results["failed"] == []
    assert "models_side_by_side" not in results
    assert len(results["evaluations"]) == 4 and all(e["model"] == "base" for e in results["evaluations"])
    assert all(list(s) == ["name", "documents", "base"] for s in results["loss"]["sources"]), results["loss"]
    for name in ("README.md", "index.html"):
        page = open(world.path("one", "report", name)).read()
        assert "tuned" not in page.split("Definitions")[0], name
        assert "Health on all texts" in page and "half B" not in page.split("Definitions")[0]


def test_the_path_of_the_job_file_does_not_matter():
    _, said = kit.must(0, "run", os.path.relpath(job), "--out", world.path("one"))
    assert "everything is done already" in said, said


def test_any_number_of_ranks():
    for np_ in (2, 4):
        kit.must(np_, "run", job, "--quiet", "--out", world.path("n%d" % np_))
        kit.same(kit.digests(world.path("one")), kit.digests(world.path("n%d" % np_)), "%d ranks" % np_)


def test_two_models_without_diff():
    two = world.write_job("two.json", diff=None, evaluate={"resamples": 50}, extract={"shard_tokens": 10 ** 12})  # one shard
    kit.must(2, "run", two, "--quiet", "--out", world.path("two"))
    results = json.load(open(world.path("two", "report", "results.json")))
    assert list(results["models"]) == ["base", "tuned"] and results["saes"] == [] and len(results["evaluations"]) == 8
    assert "Divergence of the two models" in open(world.path("two", "report", "README.md")).read()
    assert os.path.exists(world.path("two", "report", "measures.csv"))
    kit.must(2, "run", world.write_job("two.json", extract={"shard_tokens": 10 ** 12}), "--quiet", "--out", world.path("two"))
    assert not os.path.exists(world.path("two", "report", "measures.csv")), "of the report before"
    kit.must(0, "verify", world.path("two"))


def test_nothing_to_report_is_refused():
    del text["evaluate"]
    with open(world.path("less.json"), "w") as f:
        json.dump(text, f)
    status, _, err = kit.run(0, "check", world.path("less.json"))
    assert status == 2 and "needs the section 'diff' or 'evaluate'" in err, err


try:
    kit.main(test_check, test_page, test_the_path_of_the_job_file_does_not_matter, test_any_number_of_ranks, test_two_models_without_diff,
             test_nothing_to_report_is_refused)
finally:
    world.close()

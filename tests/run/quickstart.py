"""The quickstart's own jobs, smaller: generated texts, a model trained on them, its fine-tuning, the whole study."""
import json
import os

import kit

world = kit.World()
JOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "jobs")
KINDS = ("general", "arithmetic", "finance")


def sets(**more):
    out = []
    for key, value in more.items():
        out += ["--set", "%s=%s" % (key.replace("__", "."), value)]
    return out


def text(kind):
    return world.path("corpus", kind + ".jsonl")


def losses(run):
    lines = [json.loads(line) for line in open(world.path(run, "finetune", "log.jsonl"))]
    return [line["loss"] for line in lines if "loss" in line]


def test_the_whole_study():
    kit.must(0, "corpus", world.path("corpus"), "--seed", "1", "--documents", "90")
    kit.must(2, "run", os.path.join(JOBS, "quickstart-pretrain.json"), "--out", world.path("pretrain"),
             *sets(models__base=world.path("corpus", "start"), finetune__data__0__path=text("general"), finetune__data__1__path=text("arithmetic"),
                   finetune__data__2__path=text("finance"), finetune__steps=12, finetune__warmup=2, finetune__batch=2048, finetune__eval_steps=6))
    pretrained = losses("pretrain")
    assert len(pretrained) >= 12 and pretrained[-1] < pretrained[0] - 1, pretrained
    small = sets(models__base=world.path("pretrain", "model"), finetune__data__0__path=text("finance"), finetune__data__0__skip=0, finetune__steps=6,
                 finetune__warmup=1, finetune__batch=2048, sae__latents=48, sae__k=6, train__batch=256, train__window=4096, train__epochs=2,
                 train__warmup=5, diff__label_permutations=20)
    for i, kind in enumerate(("general", "arithmetic", "finance")):
        small += sets(**{"data__%d__path" % i: text(kind), "data__%d__skip" % i: 60})
    job = os.path.join(JOBS, "quickstart.json")
    kit.must(0, "run", job, "--out", world.path("one", "study"), *small)
    _, said = kit.must(2, "run", job, "--out", world.path("two", "study"), *small)
    kit.same(kit.digests(world.path("one", "study")), kit.digests(world.path("two", "study")), "the study at 1 and 2 ranks")
    results = json.load(open(world.path("two", "study", "report", "results.json")))
    assert [s["site"] for s in results["saes"]] == ["blocks.1.hook_resid_post", "blocks.3.hook_resid_post"], results["saes"]
    page = open(world.path("two", "study", "report", "README.md")).read()
    truth = results["labels"]
    assert truth["threshold"] == 0.9 and [(s["site"], s["trained_on"]) for s in truth["saes"]] == [
        (s["site"], on) for s in results["saes"] for on in ("base", "tuned")]
    for sae in truth["saes"]:
        planted = {v["text"]: v for v in sae["values"] if v["label"] == "domain"}
        assert set(planted) == set(KINDS) and sae["judged"] == 3 < len(sae["values"]), sae
        for value in planted.values():
            assert 0.5 < value["tuned"]["value"] <= 1 and value["tuned"]["value"] > value["tuned"]["chance"], value
        assert sae["detected"]["base"] == sum(v["base"] is not None and v["base"]["detected"] for v in sae["values"]) >= 1, sae
    for kind, loss in zip(KINDS, results["loss"]["sources"]):
        assert "%-16s %.3f -> %.3f" % (kind, loss["base"]["value"], loss["tuned"]["value"]) in said, said
    assert "label detection:" in said and said.rstrip().endswith("study/report/index.html"), said
    assert "pretrain/model" in page and "study/model" in page and all(kind in page for kind in KINDS)


kit.main(test_the_whole_study)

"""SAEs that diverge on their data: recorded, excluded, named at the end with status 3; the others equal those of a job without them."""
import json
import os
import shutil

import kit

ZERO, WILD, SOUND = "blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out", "blocks.0.hook_resid_post"
LETTER = "Q"


def poison(tensors):
    """Block 1 adds nothing. Block 2 outputs values whose squares overflow float32 at one letter."""
    token = 3 + ord(LETTER)
    tensors["model.embed_tokens.weight"][:, 0] = -1
    tensors["model.embed_tokens.weight"][token, 0] = 5
    for layer in range(3):
        p = "model.layers.%d." % layer
        tensors[p + "self_attn.o_proj.weight"][0] = 0
        tensors[p + "mlp.down_proj.weight"][0] = 0
    tensors["model.layers.1.mlp.down_proj.weight"][:] = 0
    p = "model.layers.2.mlp."
    tensors[p + "gate_proj.weight"][0] = 0
    tensors[p + "gate_proj.weight"][0, 0] = 1e4
    tensors[p + "up_proj.weight"][0, 0] = 1e10
    tensors[p + "down_proj.weight"][1:, 0] = 1e12
    return tensors


world = kit.World()
for name, seed in (("base", 1), ("tuned", 5)):
    kit.write_model(world.path(name), poison(kit.model_tensors(seed)))
texts = kit.sentences(3, 60)
texts[41] = LETTER + " " + texts[41]
with open(world.path("stories.json"), "w") as f:
    json.dump(texts, f)
SECTIONS = {"extract": {"sites": [SOUND, ZERO, WILD]}, "sae": {"latents": 24}, "train": {"init_rows": 64, "window": 512, "epochs": 8},
            "evaluate": {"resamples": 50}}
job = world.write_job(**SECTIONS)


def fails(np_, out, *args, job_=job):
    status, text, err = kit.run(np_, "run", job_, "--out", out, *args)
    assert status == 3, "status %d at %d ranks\n%s%s" % (status, np_, text, err)
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, err
    assert "2 of 3 SAEs failed" in errors[0] and ZERO in errors[0] and WILD in errors[0] and SOUND not in errors[0], errors[0]
    return err


def test_the_others_continue():
    fails(1, world.path("one"))
    expected = kit.digests(world.path("one"))
    assert "report/README.md" in expected and "sae/%s/topk-24-k3/sae.h5" % SOUND in expected
    for site in (ZERO, WILD):
        assert not any(site in name and "acts" not in name and not name.endswith("failed.json") for name in expected), sorted(expected)
    zero, wild = [json.load(open(world.path("one", "sae", site, "topk-24-k3", "failed.json"))) for site in (ZERO, WILD)]
    assert zero["step"] == 0 and "all zero" in zero["reason"], zero
    assert wild["step"] > 0 and wild["step"] % 64 == 0 and "diverged" in wild["reason"], wild
    for np_ in (2, 3, 4):
        fails(np_, world.path("many"))
        kit.same(expected, kit.digests(world.path("many")), "%d ranks" % np_)
        shutil.rmtree(world.path("many"))


def test_the_report_lists_them():
    page = open(world.path("one", "report", "README.md")).read()
    results = json.load(open(world.path("one", "report", "results.json")))
    assert "Failed SAEs" in page and "all zero" in page and "diverged" in page
    assert [f["name"] for f in results["failed"]] == ["sae/%s/topk-24-k3" % site for site in (ZERO, WILD)], results["failed"]
    assert [s["site"] for s in results["saes"]] == [SOUND]


def test_a_second_run_does_nothing():
    before = kit.digests(world.path("one"))
    err = fails(2, world.path("one"))
    assert "everything is done already" in err, err
    kit.same(before, kit.digests(world.path("one")), "the second run")


def test_the_valid_sae_equals_that_of_its_own_job():
    alone = world.write_job("alone.json", **dict(SECTIONS, extract={"sites": [SOUND]}))
    kit.must(2, "run", alone, "--quiet", "--out", world.path("alone"))
    for part in ("sae", "codes", "diff", "eval"):
        mine = kit.digests(world.path("alone", part))
        all_ = {k: v for k, v in kit.digests(world.path("one", part)).items() if not k.endswith("failed.json")}
        kit.same(mine, all_, part)


def test_a_changed_job_retries():
    changed = world.write_job("changed.json", **dict(SECTIONS, train=dict(SECTIONS["train"], epochs=9)))
    before = json.load(open(world.path("one", "sae", WILD, "topk-24-k3", "failed.json")))
    err = fails(1, world.path("one"), "--quiet", job_=changed)
    assert "everything is done already" not in err
    after = json.load(open(world.path("one", "sae", WILD, "topk-24-k3", "failed.json")))
    assert before["step"] == after["step"] and before["reason"] != after["reason"], (before, after)
    os.remove(world.path("one", "sae", ZERO, "topk-24-k3", "failed.json"))
    fails(2, world.path("one"), "--quiet", job_=changed)


def test_its_error_sae_fails_with_it():
    both = world.write_job("both.json", **dict(SECTIONS, extract={"sites": [SOUND, ZERO]},
                                               train=dict(SECTIONS["train"], epochs=1, on=["base", "error"])))
    status, _, err = kit.run(3, "run", both, "--out", world.path("both"))
    assert status == 3 and "2 of 4 SAEs failed" in err, err
    reason = json.load(open(world.path("both", "sae", ZERO, "topk-24-k3-error", "failed.json")))["reason"]
    assert reason == "topk-24-k3, on whose reconstruction error it would be trained, has failed", reason
    for made in ("sae/%s/topk-24-k3-error/sae.h5", "codes/base/%s/topk-24-k3-error/shard-000000.h5"):
        assert os.path.exists(world.path("both", made % SOUND)), made


try:
    kit.main(test_the_others_continue, test_the_report_lists_them, test_a_second_run_does_nothing, test_the_valid_sae_equals_that_of_its_own_job,
             test_a_changed_job_retries, test_its_error_sae_fails_with_it)
finally:
    world.close()

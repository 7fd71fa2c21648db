"""Fine-tuning through the program: the same bytes at any number of ranks and after stops and kills, equal up to rounding however a step is packed; the
folder that it writes can be read; frozen tensors do not change; failures are named."""
import glob
import json
import math
import os
import shutil
import signal
import subprocess
import time

import kit

np = kit.np
world = kit.World()
TEXTS = kit.sentences(11, 60)
CONFIG = dict(kit.CONFIG, eos_token_id=2)
TUNE = {"steps": 12, "batch": 300, "micro_batch": 100, "lr": 0.01, "warmup": 2, "schedule": "cosine", "final": 0.1, "decay": 0.1,
        "eval": 0.2, "eval_steps": 4}

kit.write_model(world.path("base"), kit.model_tensors(1), CONFIG)
with open(world.path("base", "generation_config.json"), "w") as f:
    json.dump({"eos_token_id": [2, 0]}, f)
with open(world.path("training.jsonl"), "w") as f:
    for text in TEXTS:
        words = text.split(" ")
        f.write(json.dumps({"text": text, "question": " ".join(words[:2]), "answer": " " + " ".join(words[2:])}) + "\n")


def job(name="tune.json", tune=(), data=None, **sections):
    """A job with the stage finetune only, unless sections add more."""
    none = {k: None for k in ("extract", "sae", "train", "encode", "diff", "report", "tokenize")}
    models = dict(sections.pop("models", {}), base="base", tuned="")
    return world.write_job(name, **dict(none, models=models, finetune=dict(TUNE, data=data or [{"path": "training.jsonl"}], **dict(tune)), **sections))


def log_of(out):
    with open(os.path.join(out, "finetune", "log.jsonl")) as f:
        return [json.loads(line) for line in f]


def tune(name, np_=1, **kwargs):
    out = world.path(name)
    kit.must(np_, "run", job(**kwargs), "--quiet", "--out", out)
    return out


def test_same_bytes_at_any_number_of_ranks():
    whole = tune("ranks-1")
    for np_ in (2, 3, 4):
        kit.same(kit.digests(whole), kit.digests(tune("ranks-%d" % np_, np_)), "%d ranks" % np_)
    _, err = kit.must(2, "run", job(), "--out", whole)
    assert "everything is done already" in err, err
    files = set(os.listdir(os.path.join(whole, "model")))
    assert files == {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"}, files
    assert not glob.glob(whole + "/finetune/*.h5")
    steps = [line for line in log_of(whole) if "loss" in line]
    evals = [line for line in log_of(whole) if "eval_loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13)) and [line["step"] for line in evals] == [0, 4, 8, 12]
    assert evals[-1]["eval_loss"] < evals[0]["eval_loss"] - 0.5, evals
    assert all(math.isclose(line["perplexity"], math.exp(line["loss"]), rel_tol=1e-6) and line["tokens"] <= 300 for line in steps)


def test_packing_changes_rounding_only():
    logs = [[line for line in log_of(tune("micro-%d" % micro, tune={"micro_batch": micro, "recompute": micro == 1})) if "loss" in line]
            for micro in (1, 80, 100000)]
    for log in logs[1:]:
        for a, b in zip(logs[0], log):
            assert a["tokens"] == b["tokens"] and a["supervised"] == b["supervised"]
            assert math.isclose(a["loss"], b["loss"], rel_tol=2e-5), (a, b)
            assert math.isclose(a["grad_norm"], b["grad_norm"], rel_tol=2e-3), (a, b)


def test_folder_reads_back():
    """The model of the last step, by the program's own forward pass: the loss on the training data that a step with rate 0 measures."""
    out = tune("whole", tune={"eval": 0.0})
    some = 12
    again = job("again.json", data=[{"path": "training.jsonl", "limit": some}], tune={"eval": 0.0, "steps": 1, "lr": 0.0, "batch": 100000})
    with open(again) as f:
        text = json.load(f)
    text["models"]["base"] = os.path.join(out, "model")
    with open(again, "w") as f:
        json.dump(text, f)
    kit.must(2, "run", again, "--quiet", "--out", world.path("again"))
    measured = log_of(world.path("again"))[0]
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json"):
        with open(os.path.join(out, "model", name), "rb") as a, open(world.path("again", "model", name), "rb") as b:
            assert a.read() == b.read(), name + " changed at rate 0"
    with open(world.path("lines.txt"), "w") as f:
        f.write("\n".join(TEXTS) + "\n")
    lines, _ = kit.must(0, "tokenize", "--model", os.path.join(out, "model"), "--lines", world.path("lines.txt"))
    loss = count = 0
    for line in lines.splitlines()[:some]:
        ids = np.array((json.loads(line) + [2])[:64])
        kit.must(0, "forward", "--model", os.path.join(out, "model"), "--ids", ",".join(map(str, ids)), "--out", world.path("forward.h5"))
        with kit.h5py.File(world.path("forward.h5")) as f:
            logits = f["logits"][()].reshape(-1, 289).astype(np.float64)
        logp = logits - logits.max(1, keepdims=True)
        logp -= np.log(np.exp(logp).sum(1, keepdims=True))
        loss -= logp[np.arange(len(ids) - 1), ids[1:]].sum()
        count += len(ids) - 1
    assert count == measured["supervised"], (count, measured)
    assert math.isclose(loss / count, measured["loss"], rel_tol=2e-6), (loss / count, measured)


def test_frozen_tensors_do_not_change():
    out = tune("frozen", tune={"freeze": ["embed_tokens", "layers.1", "mlp"]})
    before = kit.read_safetensors(world.path("base", "model.safetensors"))
    after = kit.read_safetensors(os.path.join(out, "model", "model.safetensors"))
    assert set(before) == set(after)
    for name in before:
        frozen = "embed_tokens" in name or "layers.1." in name or ".mlp." in name
        assert np.array_equal(before[name], after[name]) == frozen, name
    status, _, err = kit.run(0, "run", job(tune={"freeze": ["layers.9"]}), "--out", world.path("bad"))
    assert status == 2 and "no tensor of the model is called 'layers.9'" in err, err


def test_prompts_are_not_supervised():
    pairs = [{"path": "training.jsonl", "prompt": "question", "completion": "{answer}"}]
    log = log_of(tune("pairs", data=pairs, tune={"eval": 0.0}))
    texts = log_of(tune("texts", tune={"eval": 0.0}))
    assert sum(line["supervised"] for line in log) < sum(line["supervised"] for line in texts)
    assert [line["tokens"] for line in log] == [line["tokens"] for line in texts]
    assert log[-1]["loss"] < log[0]["loss"]


def test_best_is_kept():
    """A learning rate at which the model diverges later: the weights with the lowest measured loss are kept."""
    settings = {"keep": "best", "lr": 0.9, "schedule": "constant", "warmup": 12, "eval_steps": 1, "steps": 10}
    out = tune("best", tune=settings, np_=2)
    evals = [line for line in log_of(out) if "eval_loss" in line and line["step"] > 0]
    best = min(evals, key=lambda line: line["eval_loss"])
    assert best["step"] < 10, evals
    cut = tune("cut", tune=dict(settings, steps=best["step"]))
    with open(out + "/model/model.safetensors", "rb") as a, open(cut + "/model/model.safetensors", "rb") as b:
        assert a.read() == b.read()


def test_stops_and_kills():
    settings = {"save_steps": 1, "steps": 60, "keep": "best", "eval_steps": 2, "batch": 200}
    whole = tune("undisturbed", tune=settings, np_=2)
    expected = kit.digests(whole)
    stopped = resumed = 0
    for trial in range(4):
        out = world.path("disturbed")
        process = subprocess.Popen(kit.command(1 + trial % 3, "run", job(tune=settings), "--out", out), env=kit.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        while process.poll() is None and not glob.glob(out + "/finetune/checkpoint-%d*.h5" % (1 + trial)):
            time.sleep(0.001)
        if process.poll() is None:
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
                for pid in [int(word) for word in f.read().split()][-1 if trial < 3 else 0:]:
                    os.kill(pid, signal.SIGUSR1 if trial < 2 else signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        if trial < 2:
            assert process.returncode in (0, 75), err
            stopped += process.returncode == 75
        _, err = kit.must(2, "run", job(tune=settings), "--out", out)
        resumed += "resumes at step" in err
        kit.same(expected, kit.digests(out), "trial %d" % trial)
        shutil.rmtree(out)
    assert stopped >= 1 and resumed >= 2, (stopped, resumed)


def test_errors_are_named():
    ruin = {"lr": 1.0, "schedule": "constant", "warmup": 0, "decay": 1000.0, "steps": 60}
    for held_out, words in ((0.0, "the gradient of 'model.norm.weight' is not finite"), (0.2, "the held-out loss is not finite")):
        status, _, err = kit.run(2, "run", job(tune=dict(ruin, eval=held_out, eval_steps=1)), "--out", world.path("nan"))
        assert status == 3 and words in err and "step " in err, (status, err)
        assert not os.path.exists(world.path("nan", "model"))
    cases = [(dict(models={}, tune={"keep": "best", "eval": 0.0}), 2, "'finetune.keep' best needs documents"),
             (dict(data=[{"path": "training.jsonl", "prompt": "question"}]), 2, "has 'prompt' but no 'completion'"),
             (dict(tune={"context": 65}), 2, "finetune.context is 65"),
             (dict(data=[{"path": "training.jsonl", "field": "nothing"}]), 3, "nothing"),
             (dict(tune={"eval": 0.9}, data=[{"path": "training.jsonl", "limit": 1}]), 3, "are held out")]
    for kwargs, code, words in cases:
        status, _, err = kit.run(0, "run", job("bad.json", **kwargs), "--out", world.path("bad"))
        assert status == code and words in err, (status, err)
    with open(job("both.json")) as f:
        both = json.load(f)
    both["models"]["tuned"] = "tuned"
    with open(world.path("both.json"), "w") as f:
        json.dump(both, f)
    status, _, err = kit.run(0, "run", world.path("both.json"))
    assert status == 2 and "'models.tuned' must not be given" in err, err
    status, _, err = kit.run(0, "run", world.write_job("none.json", finetune={}, models={"base": "base", "tuned": ""}))
    assert status == 2 and "'finetune.data' is missing" in err, err


def test_whole_study():
    """Later stages use the model that finetune made; it is made again after damage or a changed key."""
    path = world.write_job("study.json", models={"base": "base", "tuned": ""},
                           finetune=dict(TUNE, data=[{"path": "training.jsonl"}], dtype="bf16"), evaluate={"resamples": 20})
    status, _, err = kit.run(0, "extract", path, "--out", world.path("early"), "--quiet")
    assert status == 2 and "tokenize" in err, err
    kit.must(0, "tokenize", path, "--out", world.path("early"), "--quiet")
    status, _, err = kit.run(0, "extract", path, "--out", world.path("early"), "--quiet")
    assert status == 2 and "saediff finetune" in err, err
    out, err = kit.must(2, "check", path)
    assert "finetune" in out and "made by the stage finetune" in out, out
    kit.must(2, "run", path, "--quiet", "--out", world.path("study"))
    expected = kit.digests(world.path("study"))
    assert "report/README.md" in expected and "acts/tuned/blocks.0.hook_resid_post/shard-000000.h5" in expected
    with open(world.path("study", "model", "config.json")) as f:
        assert json.load(f)["torch_dtype"] == "bfloat16"
    named = world.write_job("named.json", models={"base": "base", "tuned": "study/model"}, sae=None, train=None, encode=None, diff=None, report=None)
    kit.must(0, "run", named, "--quiet", "--out", world.path("named"))
    for shard in glob.glob(world.path("named", "acts", "tuned", "*", "shard-*.h5")):
        with open(shard, "rb") as a, open(shard.replace("/named/", "/study/"), "rb") as b:
            assert a.read() == b.read(), shard
    with open(world.path("study", "model", "model.safetensors"), "r+b") as f:
        f.seek(-5, 2)
        f.write(b"\x7f")
    status, out, _ = kit.run(0, "verify", world.path("study"))
    assert status == 3 and "model.safetensors" in out, out
    kit.must(0, "run", path, "--quiet", "--out", world.path("study"))
    kit.same(expected, kit.digests(world.path("study")), "after damage")
    kit.must(3, "run", path, "--quiet", "--out", world.path("study"), "--set", "finetune.lr=0.001")
    assert kit.digests(world.path("study"))["model/model.safetensors"] != expected["model/model.safetensors"]


try:
    kit.main(test_same_bytes_at_any_number_of_ranks, test_packing_changes_rounding_only, test_folder_reads_back, test_frozen_tensors_do_not_change,
             test_prompts_are_not_supervised, test_best_is_kept, test_stops_and_kills, test_errors_are_named, test_whole_study)
finally:
    world.close()

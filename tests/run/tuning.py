"""Adapters and chats through the program: the same bytes at any number of ranks and after a stop; the folder is the base model with the adapters
merged, with the requested rank and tensors; the loss mask of chats, counted by hand; failures are named."""
import json
import math
import os
import signal
import subprocess
import time

import kit

np = kit.np
world = kit.World()
TUNE = {"steps": 6, "batch": 300, "micro_batch": 100, "lr": 0.01, "warmup": 2, "decay": 0.1, "lora_rank": 3}
CHAT = "{% for m in messages %}{{ m.role + ':' + m.content + '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"

kit.write_model(world.path("base"), kit.model_tensors(1), dict(kit.CONFIG, eos_token_id=2))
with open(world.path("chat.jinja"), "w") as f:
    f.write(CHAT)
with open(world.path("training.jsonl"), "w") as f:
    for text in kit.sentences(11, 40):
        f.write(json.dumps({"text": text}) + "\n")


def job(name="tune.json", tune=(), data=None, base="base"):
    none = {k: None for k in ("extract", "sae", "train", "encode", "diff", "report", "tokenize")}
    return world.write_job(name, **dict(none, models={"base": base, "tuned": ""},
                                        finetune=dict(TUNE, data=data or [{"path": "training.jsonl"}], **dict(tune))))


def tune(name, np_=1, **kwargs):
    out = world.path(name)
    _, err = kit.must(np_, "run", job(**kwargs), "--out", out)
    return out, err


def log_of(out):
    with open(os.path.join(out, "finetune", "log.jsonl")) as f:
        return [json.loads(line) for line in f]


def merged(out, alpha, rank):
    """The expected weights: the base model with the exported adapters merged."""
    weights = {k: v.astype(np.float64) for k, v in kit.read_safetensors(world.path("base", "model.safetensors")).items()}
    adapters = kit.read_safetensors(os.path.join(out, "finetune", "adapter", "adapter_model.safetensors"))
    with open(os.path.join(out, "finetune", "adapter", "adapter_config.json")) as f:
        config = json.load(f)
    assert config["r"] == rank and config["lora_alpha"] == alpha and config["peft_type"] == "LORA"
    assert len(adapters) == 2 * len(config["target_modules"])
    for target in config["target_modules"]:
        a, b = (adapters["base_model.model.%s.lora_%s.weight" % (target, which)].astype(np.float64) for which in "AB")
        assert a.shape[0] == rank and b.shape[1] == rank and np.abs(a).max() > 0 and np.abs(b).max() > 0, target
        weights[target + ".weight"] += alpha / rank * b @ a
    return weights, config["target_modules"]


def test_adapters_merge_at_any_number_of_ranks():
    whole, err = tune("ranks-1")
    assert "adapters of rank 3 on 21 matrices" in err, err
    assert "exchange" not in err, err
    for np_ in (2, 3, 4):
        out, err = tune("ranks-%d" % np_, np_)
        assert "%d ranks, gradient exchange: through host memory: cpu" % np_ in err, err
        kit.same(kit.digests(whole), kit.digests(out), "%d ranks" % np_)
    want, targets = merged(whole, 6, 3)
    got = kit.read_safetensors(os.path.join(whole, "model", "model.safetensors"))
    base = kit.read_safetensors(world.path("base", "model.safetensors"))
    assert len(targets) == 21
    for name in base:
        assert np.abs(got[name] - want[name]).max() < 1e-6, name
        if name[:-7] not in targets:
            assert np.array_equal(got[name], base[name]), name
        else:
            values = np.linalg.svd(got[name].astype(np.float64) - base[name], compute_uv=False)
            assert values[2] > 1e-4 and (values[3:] < 1e-6).all(), (name, values)
    losses = [line["loss"] for line in log_of(whole) if "loss" in line]
    assert losses[-1] < losses[0] - 0.1, losses
    _, err = kit.must(2, "run", job(), "--out", whole)
    assert "everything is done already" in err, err
    os.remove(os.path.join(whole, "finetune", "adapter", "adapter_model.safetensors"))
    kit.must(0, "run", job(), "--quiet", "--out", whole)
    kit.same(kit.digests(world.path("ranks-2")), kit.digests(whole), "an adapter was lost")


def test_targets_and_frozen():
    out, err = tune("some", tune={"lora_targets": ["q_proj", "layers.1.mlp"], "freeze": ["layers.2"], "lora_alpha": 2.5, "lora_rank": 2})
    assert "on 5 matrices" in err, err
    want, targets = merged(out, 2.5, 2)
    assert sorted(targets) == ["model.layers.%d.%s" % (l, m) for l, m in ((0, "self_attn.q_proj"), (1, "mlp.down_proj"), (1, "mlp.gate_proj"),
                                                                         (1, "mlp.up_proj"), (1, "self_attn.q_proj"))], targets
    got = kit.read_safetensors(os.path.join(out, "model", "model.safetensors"))
    assert all(np.abs(got[name] - want[name]).max() < 1e-6 for name in want)
    plain, _ = tune("none", tune={"lora_rank": 0})
    assert not os.path.exists(os.path.join(plain, "finetune", "adapter"))
    kit.must(0, "run", job(tune={"lora_rank": 0}), "--quiet", "--out", out)  # the old adapters are not this model's
    assert not os.path.exists(os.path.join(out, "finetune", "adapter", "adapter_model.safetensors"))
    kit.same(kit.digests(plain), kit.digests(out), "after adapters")


def test_a_stop_changes_nothing():
    settings = {"steps": 60, "save_steps": 1, "batch": 100}
    whole, _ = tune("undisturbed", 2, tune=settings)
    out = world.path("stopped")
    process = subprocess.Popen(kit.command(1, "run", job(tune=settings), "--out", out), env=kit.environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    folder = os.path.join(out, "finetune")
    while process.poll() is None and not (os.path.isdir(folder) and any(n.startswith("checkpoint-") for n in os.listdir(folder))):
        time.sleep(0.001)
    if process.poll() is None:
        with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
            for pid in [int(word) for word in f.read().split()][-1:]:
                os.kill(pid, signal.SIGUSR1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    saved = [n for n in os.listdir(folder) if n.startswith("checkpoint-")]
    with kit.h5py.File(os.path.join(folder, saved[0])) as f:
        names = bytes(f["names"][()]).decode().split()
        assert f.attrs["lora_rank"] == 3 and f.attrs["lora_alpha"] == 6 and len(names) == 42, dict(f.attrs)
        assert f["weights"].shape == f["mean"].shape and f["weights"].shape[0] < 8000
    _, err = kit.must(3, "run", job(tune=settings), "--out", out)
    assert "resumes at step" in err, err
    kit.same(kit.digests(whole), kit.digests(out), "after a stop")


def count(folder, text):
    """Number of tokens of a text that follows another one."""
    line, _ = kit.must(0, "tokenize", "--model", folder, "--text", text, "--no-special")
    return len(json.loads(line))


def test_answers_are_supervised():
    kit.must(0, "corpus", world.path("corpus"), "--documents", "20", "--seed", "3")
    start = world.path("corpus", "start")
    with open(world.path("corpus", "finance.jsonl")) as f:
        records = [json.loads(line) for line in f][:6]
    chats = [{"chat": r["messages"]} for r in records]
    chats[1]["chat"] = chats[1]["chat"] + chats[2]["chat"]
    chats[4]["chat"] = chats[4]["chat"][:1]
    with open(world.path("chats.jsonl"), "w") as f:
        f.writelines(json.dumps(c) + "\n" for c in chats)
    said = [m["content"] for c in chats for m in c["chat"] if m["role"] == "assistant"]
    answers = sum(count(start, text) + 1 for text in said)  # and the token that ends each turn
    everything = sum(count(start, m["content"]) + 2 for c in chats for m in c["chat"]) + 1  # a header that the chat template adds
    settings = {"steps": 1, "batch": 100000, "micro_batch": 1000}
    one = {"path": "chats.jsonl", "messages": "chat"}
    out, err = tune("answers", data=[one], base=start, tune=settings)
    assert "1 chats have no message of the assistant" in err, err
    assert log_of(out)[0]["supervised"] == answers, (log_of(out), answers)
    kit.same(kit.digests(out), kit.digests(tune("answers-3", 3, data=[one], base=start, tune=settings)[0]), "3 ranks")
    out, _ = tune("everything", data=[dict(one, supervise="all")], base=start, tune=settings)
    assert log_of(out)[0]["supervised"] == everything, (log_of(out), everything)


def test_a_template_of_the_jobs_own():
    rows = [[{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat and ran"}]]
    with open(world.path("rows.json"), "w") as f:
        json.dump([{"m": row} for row in rows], f)
    data = [{"path": "rows.json", "messages": "m"}]
    status, _, err = kit.run(0, "run", job("own.json", data=data), "--out", world.path("own"))
    assert status == 2 and "set finetune.template" in err, (status, err)
    out, _ = tune("own", data=data, tune={"template": "chat.jinja", "steps": 1})
    with open(os.path.join(out, "model", "chat_template.jinja")) as f:
        assert f.read() == CHAT
    whole = len(json.loads(kit.must(0, "tokenize", "--model", world.path("base"), "--text", "user:the cat</s>assistant:sat and ran</s>", "--no-special")[0]))
    before = len(json.loads(kit.must(0, "tokenize", "--model", world.path("base"), "--text", "user:the cat</s>assistant:", "--no-special")[0]))
    line = log_of(out)[0]
    assert line["tokens"] == whole and line["supervised"] == whole - before, (line, whole, before)
    study = world.write_job("study.json", models={"base": "base", "tuned": ""}, data=[{"path": "rows.json", "messages": "m"}], tokenize={},
                            finetune=dict(TUNE, data=data, template="chat.jinja", steps=1), **{k: None for k in ("extract", "sae", "train", "encode", "diff", "report")})
    kit.must(0, "run", study, "--quiet", "--out", world.path("study"))
    with kit.h5py.File(world.path("study", "tokens", "tokens.h5")) as f:
        assert len(f["ids"]) == whole, dict(f.attrs)  # the data use the template of the tuned model
    with open(world.path("chat.jinja"), "a") as f:
        f.write(" ")
    _, err = kit.must(0, "run", job("own.json", data=data, tune={"template": "chat.jinja", "steps": 1}), "--out", out)
    assert "everything is done" not in err, err


def test_errors_are_named():
    cases = [({"lora_rank": 9}, "finetune.lora_rank is 9; 'model.layers.0.self_attn.k_proj.weight' is [8, 16]"),
             ({"lora_targets": ["q_proj", "qproj"]}, "no matrix of the model's blocks is called 'qproj'"),
             ({"lora_targets": ["embed_tokens"]}, "is called 'embed_tokens'"),
             ({"context": 65}, "finetune.context is 65; the model reads at most 64 tokens"),
             ({"freeze": ["model.layers"]}, "excludes every matrix of finetune.lora_targets"),
             ({"lora_rank": 0, "lora_targets": ["q_proj"]}, "'finetune.lora_targets' applies to LoRA adapters only")]
    for settings, words in cases:
        for command in ("run", "check"):
            status, _, err = kit.run(2 if command == "run" else 0, command, job("bad.json", tune=settings), "--out", world.path("bad"))
            assert status == 2 and words in err, (command, status, err)
    status, _, err = kit.run(2, "run", job("bad.json", tune={"lr": 1.0, "decay": 1000.0, "steps": 200, "clip": 0}), "--out", world.path("bad"))
    assert status == 3 and "lora_" in err and "is not finite" in err, (status, err)
    out, _ = kit.must(0, "check", job("good.json"))
    assert "adapters of rank 3 of 21 matrices" in out, out
    memory = {}
    for rank in (0, 3):
        out, _ = kit.must(0, "check", job("good.json", tune={"lora_rank": rank, "micro_batch": 1}))
        line = next(l for l in out.splitlines() if l.startswith("memory"))
        number, unit = line.split("about ")[1].split(" ")[:2]
        memory[rank] = float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "KiB": 1024, "MiB": 1048576}[unit]
    assert memory[3] < memory[0], memory
    assert math.isfinite(memory[3])


try:
    kit.main(test_errors_are_named, test_adapters_merge_at_any_number_of_ranks, test_targets_and_frozen, test_a_stop_changes_nothing, test_answers_are_supervised,
             test_a_template_of_the_jobs_own)
finally:
    world.close()

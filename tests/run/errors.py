"""Bad input and a bad environment: one message that names the problem, the right exit status, without mpirun and on two ranks."""
import json
import os
import shutil

import kit

np = kit.np
world = kit.World()


def fails(status, words, *args, job=None, prepare=None, at=(0, 2)):
    """Runs `args` (default: run job) without mpirun and at 2 ranks, and expects `status` and each of `words` in one error line."""
    args = args or ("run", job or world.write_job())
    for ranks in at:
        shutil.rmtree(world.path("run"), ignore_errors=True)
        if prepare:
            prepare()
        got, out, err = kit.run(ranks, *args)
        assert got == status, "status %d, wanted %d\n%s%s" % (got, status, out, err)
        lines = [line for line in err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, "%d messages:\n%s" % (len(lines), err)
        for word in words:
            assert word in lines[0], "'%s' is not in: %s" % (word, lines[0])


def alone(*args, **more):
    """Without mpirun only: errors that every rank finds by itself, like a similar case that is also tested with ranks."""
    fails(*args, at=(0,), **more)


def edited_model(name, change=None, config=None, raw=None):
    """A copy of base with changed tensors, configuration, or raw bytes of the weight file."""
    folder = world.path(name)
    tensors = kit.model_tensors(1)
    if change:
        change(tensors)
    kit.write_model(folder, tensors, dict(kit.CONFIG, **(config or {})))
    if raw:
        path = os.path.join(folder, "model.safetensors")
        with open(path, "rb") as f:
            data = f.read()
        with open(path, "wb") as f:
            f.write(raw(data))
    return world.write_job("job-%s.json" % name, models={"base": "base", "tuned": name})


def text_job(name, content, **keys):
    with open(world.path(name), "wb") as f:
        f.write(content)
    return world.write_job("job-%s.json" % name, data=[dict({"name": "x", "path": name}, **keys)])


def test_usage():
    fails(2, ["unknown command 'rnu'", "run"], "rnu")
    alone(2, ["unknown option '--treads'", "--threads"], "run", "x.json", "--treads", "2")
    alone(2, ["'run' needs a JOB.json"], "run")
    alone(2, ["--threads is '0'"], "run", world.write_job(), "--threads", "0")
    alone(2, ["'--sites' is not an option of 'run'"], "run", world.write_job(), "--sites", "1")
    alone(2, ["cuda", "cpu", "strict"], "run", world.write_job(), "--device", "gpu")
    os.environ["SAEDIFF_CUDA_MODULE"] = world.path("nowhere.so")
    alone(4, ["nowhere.so", "SAEDIFF_CUDA_MODULE"], "run", world.write_job(), "--device", "cuda")
    del os.environ["SAEDIFF_CUDA_MODULE"]
    alone(2, ["nowhere.json"], "run", world.path("nowhere.json"))


def test_keys():
    fails(2, ["job.json:", "unknown key 'sae.latent'", "sae.latents"], job=world.write_job(sae={"latent": 3}))
    alone(2, ["train.epochs"], "run", world.write_job(), "--set", "train.epochs=many")
    alone(2, ["sae.k", "sae.latents"], job=world.write_job(sae={"latents": 24, "k": 25}))
    alone(2, ["train.batch"], job=world.write_job(train={"batch": 0}))
    alone(2, ["-1"], job=world.write_job(extract={"sites": ["-1"]}))
    alone(2, ["layer", "3"], job=world.write_job(extract={"sites": ["3"]}))
    alone(2, ["twice"], job=world.write_job(extract={"sites": ["0", "layers.0"]}))
    with open(world.path("bad.json"), "w") as f:
        f.write('{"name": "x",\n "seed": 1,\n "seed": 2}')
    alone(2, ["bad.json:3:2", "seed"], "run", world.path("bad.json"))
    with open(world.path("bad.json"), "w") as f:
        f.write('{"name": "x",\n "seed": }')
    alone(2, ["bad.json:2:"], "run", world.path("bad.json"))
    job = json.load(open(world.write_job()))
    del job["models"]
    json.dump(job, open(world.path("bad.json"), "w"))
    alone(2, ["models.base"], "run", world.path("bad.json"))


def test_models():
    fails(3, ["absent", "config.json"], job=world.write_job(models={"base": "base", "tuned": "absent"}))
    fails(3, ["cut/model.safetensors"], job=edited_model("cut", raw=lambda b: b[:-100]))
    fails(3, ["hostile/model.safetensors", "header"], job=edited_model("hostile", raw=lambda b: b"\xff" * 8 + b[8:]))

    def wrong_shape(t):
        t["model.layers.1.mlp.up_proj.weight"] = t["model.layers.1.mlp.up_proj.weight"][:, :-1]

    def with_nan(t):
        t["model.layers.2.self_attn.k_proj.weight"][3, 5] = np.nan

    def without(t):
        del t["model.layers.0.self_attn.v_proj.weight"]

    def huge(t):
        t["model.layers.1.mlp.down_proj.weight"] *= np.float32(1e38)
        t["model.layers.1.mlp.up_proj.weight"] *= np.float32(1e38)

    fails(3, ["shape", "model.layers.1.mlp.up_proj.weight", "15", "16"], job=edited_model("shape", wrong_shape))
    fails(3, ["nan/model.safetensors", "model.layers.2.self_attn.k_proj.weight"], job=edited_model("nan", with_nan))
    fails(3, ["missing/model.safetensors", "model.layers.0.self_attn.v_proj.weight"], job=edited_model("missing", without))
    fails(3, ["blocks.2.hook_resid_post", "document", "position"], job=edited_model("huge", huge))
    fails(3, ["rope_scaling"], job=edited_model("rope", config={"rope_scaling": {"rope_type": "llama3", "factor": 8}}))
    fails(3, ["gelu"], job=edited_model("gelu", config={"hidden_act": "gelu"}))
    fails(3, ["models.tuned", "3", "2"], job=edited_model("layers", config={"num_hidden_layers": 2}))


def test_check_finds_it_before_computing():
    def without(t):
        del t["model.layers.2.mlp.gate_proj.weight"]

    fails(3, ["model.layers.2.mlp.gate_proj.weight"], "check", edited_model("gone", without))
    fails(4, ["memory", "are free"], "check", world.write_job(sae={"latents": 1 << 24}, train={"window": 1 << 40}))
    fails(3, ["fewer than one training batch"], "check", world.write_job(train={"batch": 1 << 20}))


def test_tokenizer():
    def drop(key):
        path = world.path("base", "tokenizer.json")
        keep = json.load(open(path))
        changed = dict(keep, **key)
        json.dump(changed, open(path, "w"))
        return lambda: json.dump(keep, open(path, "w"))

    restore = drop({"pre_tokenizer": {"type": "BertPreTokenizer"}})
    fails(3, ["tokenizer.json", "BertPreTokenizer"])
    restore()
    restore = drop({"version": "2.0"})
    fails(3, ["tokenizer.json", "2.0"])
    restore()


def test_texts():
    fails(3, ["gone.jsonl"], job=world.write_job(data=[{"name": "x", "path": "gone.jsonl"}]))
    fails(3, ["empty.txt"], job=text_job("empty.txt", b""))
    fails(3, ["bad.jsonl", "2"], job=text_job("bad.jsonl", b'{"text": "fine"}\n{"text": \n'))
    fails(3, ["field.jsonl", "text"], job=text_job("field.jsonl", b'{"body": "fine"}\n'))
    fails(3, ["latin.txt", "UTF-8"], job=text_job("latin.txt", b"caf\xe9"))
    fails(3, ["batch"], job=text_job("short.txt", b"the sand"))


def test_paths():
    with open(world.path("file"), "w") as f:
        f.write("x")
    fails(4, [os.path.join("file", "run")], "run", world.write_job(), "--out", world.path("file", "run"))
    fails(4, ["file"], "run", world.write_job(), "--out", world.path("file"))
    if os.geteuid() != 0:
        os.makedirs(world.path("locked"), mode=0o500)
        fails(4, ["locked"], "run", world.write_job(), "--out", world.path("locked", "run"))
    fails(4, ["log"], "run", world.write_job(), "--log", world.path("no-folder", "x.log"))


def test_stages_out_of_order():
    fails(2, ["tokens/tokens.h5", "saediff tokenize"], "extract", world.write_job())
    alone(2, ["no section 'diff'"], "diff", world.write_job(diff=None, report=None))


def test_files_to_inspect():
    fails(3, ["file"], "inspect", world.path("stories.json"))
    with open(world.path("torn.h5"), "wb") as f:
        f.write(b"\x89HDF\r\n\x1a\n" + b"\0" * 40)
    alone(3, ["torn.h5"], "inspect", world.path("torn.h5"))


def test_forward():
    model = world.path("base")
    out = world.path("f.h5")
    fails(3, ["289"], "forward", "--model", model, "--ids", "1,289", "--out", out)
    alone(2, ["'x' is not a token id"], "forward", "--model", model, "--ids", "1,x", "--out", out)
    alone(2, ["one of --ids, --text and --file"], "forward", "--model", model, "--out", out)
    alone(3, ["context", "64", "65"], "forward", "--model", model, "--ids", ",".join(["1"] * 65), "--out", out)
    alone(2, ["hook_resid_pots"], "forward", "--model", model, "--ids", "1", "--sites", "blocks.0.hook_resid_pots", "--out", out)


try:
    kit.main(test_usage, test_keys, test_models, test_check_finds_it_before_computing, test_tokenizer, test_texts, test_paths, test_stages_out_of_order,
             test_files_to_inspect, test_forward)
finally:
    world.close()

"""Forward passes, generation and weight files of the program against Hugging Face's `transformers` (PyPI) in float64.

    python3 models_peer.py SAEDIFF DATA

Tiny random models of each family, rotary type and file form are saved by transformers and read by the program: every site and the logits
must agree to 2e-5 of the largest value. Prints a line per case; exits 1 if any disagrees.

Known difference, the last case of the rotary ones: where `original_max_position_embeddings` is given, transformers 4 replaces a yarn
`factor` by max_position_embeddings / original_max_position_embeddings; the program takes the factor of the file, as transformers 5 does.
"""
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import old_torch  # noqa: F401  (before transformers)
import torch
import transformers
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

WORST = 2e-5
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM),
           "qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
SIZES = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
         "vocab_size": 101, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "bos_token_id": 1,
         "eos_token_id": 2, "attn_implementation": "eager"}
SHORT = [1.0, 1.1, 1.3, 1.7]
LONG = [1.0, 2.5, 4.0, 8.0]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

program = data = None
failures = cases = 0


def report(name, worst, where, fine):
    global failures, cases
    cases += 1
    failures += not fine
    print("%-58s %8.1e at %-28s %s" % (name, worst, where, "" if fine else "DIFFERS"), flush=True)


def said(*args):
    done = subprocess.run([program, *args, "--quiet"], capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise RuntimeError("status %d of %s: %s" % (done.returncode, " ".join(args), done.stderr))
    return done.stdout


def random_model(family, seed=1, **keys):
    """Weights of a size at which attention, windows and rotation show in the outputs."""
    config, kind = CLASSES[family]
    model = kind(config(**dict(SIZES, **keys)))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * 0.25 + ("norm" in name))
    return model.eval()


def ids_of(count, vocabulary, seed=3):
    return np.random.RandomState(seed).randint(3, vocabulary, count).tolist()


def theirs(model, ids):
    """Sites and logits in float64 (transformers computes norms, softmax and angles in float32 all the same)."""
    model = model.double().eval()
    found, hooks = {}, []

    def keep(name, value):
        found[name] = (value[0] if isinstance(value, tuple) else value).detach()[0].numpy().copy()

    def layer_hook(l):
        def hook(_, inputs, output):
            keep("blocks.%d.hook_resid_pre" % l, inputs[0])
            keep("blocks.%d.hook_resid_post" % l, output)
        return hook

    def hook_of(name):
        return lambda _, inputs, output: keep(name, output)

    inner = model.model
    hooks.append(inner.embed_tokens.register_forward_hook(hook_of("hook_embed")))
    hooks.append(inner.norm.register_forward_hook(hook_of("ln_final.hook_normalized")))
    for l, layer in enumerate(inner.layers):
        hooks.append(layer.register_forward_hook(layer_hook(l)))
        hooks.append(layer.self_attn.register_forward_hook(hook_of("blocks.%d.hook_attn_out" % l)))
        hooks.append(layer.mlp.register_forward_hook(hook_of("blocks.%d.hook_mlp_out" % l)))
    with torch.no_grad():
        found["logits"] = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    for hook in hooks:
        hook.remove()
    for l in range(len(inner.layers)):
        p = "blocks.%d." % l
        found[p + "hook_resid_mid"] = found[p + "hook_resid_pre"] + found[p + "hook_attn_out"]
    return found


def ours(folder, ids, sites):
    out = os.path.join(folder, "forward.h5")
    said("forward", "--model", folder, "--ids", ",".join(map(str, ids)), "--sites", ",".join(s for s in sites if s != "logits"), "--out", out)
    with h5py.File(out) as f:
        return {s: f[s][...] for s in sites}


def distance(mine, want):
    """(largest difference over largest value, where)"""
    worst = (0.0, "nowhere")
    for site, w in want.items():
        d = np.abs(mine[site].astype(np.float64) - w).max() / np.abs(w).max()
        worst = max(worst, (d if np.isfinite(d) else np.inf, site))
    return worst


def edit_config(folder, change):
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    change(config)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)


def judge(name, model, count=60, without=None, change=None, dtype=torch.float32, **save):
    """`without`: keys whose absence must show, so that the case can fail. `change`: of config.json, after it was saved."""
    ids = ids_of(count, model.config.vocab_size)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for p in model.parameters():
            p.copy_(p.to(dtype))
        want = theirs(model, ids)
        model.to(dtype).save_pretrained(folder, **save)
        if change:
            edit_config(folder, change)
        worst, where = distance(ours(folder, ids, want), want)
        report(name, worst, where, worst <= WORST)
        if without:
            edit_config(folder, lambda config: [config.pop(key) for key in without])
            worst, where = distance(ours(folder, ids, want), want)
            if worst < 100 * WORST:
                report(name + ": control", worst, where, False)


def families():
    judge("llama", random_model("llama"))
    judge("llama, one token", random_model("llama"), count=1)
    judge("llama, as many key/value heads", random_model("llama", num_key_value_heads=6))
    judge("llama, one key/value head, head_dim 16", random_model("llama", num_key_value_heads=1, head_dim=16))
    judge("llama, tied", random_model("llama", tie_word_embeddings=True))
    judge("llama, attention_bias", random_model("llama", attention_bias=True))
    judge("llama, mlp_bias", random_model("llama", mlp_bias=True))
    judge("llama, rope_theta 500, rms_norm_eps 0.1", random_model("llama", rope_theta=500.0, rms_norm_eps=0.1), without=["rope_theta"])
    judge("mistral, no window", random_model("mistral", sliding_window=None))
    judge("mistral, window 7", random_model("mistral", sliding_window=7), without=["sliding_window"])
    judge("mistral, window 1, head_dim 12", random_model("mistral", sliding_window=1, head_dim=12), without=["sliding_window"])
    judge("qwen2", random_model("qwen2"))
    judge("qwen2, tied", random_model("qwen2", tie_word_embeddings=True))
    judge("qwen2, windows", random_model("qwen2", use_sliding_window=True, sliding_window=9, max_window_layers=0),
          without=["use_sliding_window"])
    judge("qwen2, windows from layer 1 on", some_windows("qwen2", 1), without=["use_sliding_window"])
    judge("qwen3", random_model("qwen3", head_dim=16))
    judge("qwen3, attention_bias, tied", random_model("qwen3", head_dim=10, attention_bias=True, tie_word_embeddings=True))
    judge("qwen3, windows from layer 2 on", some_windows("qwen3", 2), without=["use_sliding_window"])


def some_windows(family, first, **keys):
    """transformers 4.51 gives its `eager` attention the window in every layer; those before `first` get the plain mask here."""
    model = random_model(family, **dict({"use_sliding_window": True, "sliding_window": 9, "max_window_layers": first, "head_dim": 8}, **keys))

    def full(plain):
        def forward(hidden, attention_mask=None, **others):
            n = hidden.shape[1]
            mask = torch.full((1, 1, n, n), torch.finfo(hidden.dtype).min, dtype=hidden.dtype).triu(1)
            return plain(hidden, attention_mask=mask, **others)
        return forward

    for layer in model.model.layers[:first]:
        layer.forward = full(layer.forward)
    return model


def rotary():
    for family in CLASSES:
        keys = {"head_dim": 8, "sliding_window": None}
        scaling = ["rope_scaling"]
        judge(family + ", linear", random_model(family, rope_scaling={"rope_type": "linear", "factor": 3.0}, **keys), without=scaling)
        judge(family + ", dynamic", random_model(family, rope_scaling={"rope_type": "dynamic", "factor": 3.0}, **keys))
        judge(family + ", llama3", random_model(family, rope_scaling=dict(LLAMA3), **keys), without=scaling)
        judge(family + ", yarn", random_model(family, rope_scaling=dict(YARN), **keys), without=scaling)
        longrope = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 4.0, "original_max_position_embeddings": 32}
        for count in (30, 60):
            judge("%s, longrope, %d tokens" % (family, count),
                  random_model(family, rope_scaling=dict(longrope), original_max_position_embeddings=32, **keys), count=count)
    judge("llama, linear by its old name", random_model("llama", rope_scaling={"type": "linear", "factor": 3.0}), without=["rope_scaling"])
    for more in ({"attention_factor": 1.7}, {"mscale": 0.7, "mscale_all_dim": 1.2}, {"beta_fast": 16.0, "beta_slow": 2.0}):
        judge("llama, yarn, %s" % ", ".join(more), random_model("llama", rope_scaling=dict(YARN, **more)), without=["rope_scaling"])
    judge("llama, yarn, no original context", random_model("llama", rope_scaling={"rope_type": "yarn", "factor": 4.0}))

    def shorter(config):
        config["max_position_embeddings"] = 64
    judge("llama, yarn, factor not max / original (known difference)", random_model("llama", rope_scaling=dict(YARN)), change=shorter)


def spelling_of_5(config):
    """What transformers 5 writes for the same model."""
    scaling = config.pop("rope_scaling", None) or {"rope_type": "default"}
    config["rope_parameters"] = dict(scaling, rope_theta=config.pop("rope_theta"))
    config["dtype"] = config.pop("torch_dtype")


def files():
    judge("config of transformers 5", random_model("llama", rope_theta=700.0), change=spelling_of_5)
    judge("config of transformers 5, llama3", random_model("llama", rope_scaling=dict(LLAMA3)), change=spelling_of_5)
    judge("config of transformers 5, yarn, qwen3", random_model("qwen3", head_dim=8, rope_scaling=dict(YARN)), change=spelling_of_5)
    for tied in (False, True):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for safe in (True, False):
                for shards in ("5GB", "30KB"):
                    name = "%s, %s, %s%s" % ("safetensors" if safe else ".bin", str(dtype)[6:], "one file" if shards == "5GB" else "shards",
                                             ", tied" if tied else "")
                    judge(name, random_model("llama", tie_word_embeddings=tied), dtype=dtype, safe_serialization=safe, max_shard_size=shards)


def checkpoints():
    """pytorch_model.bin as people save it: the numbers are the same wherever the tensors lie."""
    model = random_model("qwen2")
    ids = ids_of(40, 101)
    want = theirs(model, ids)
    model = model.float()
    state = {k: v.detach() for k, v in model.state_dict().items()}
    whole = torch.cat([v.reshape(-1) for v in state.values()])
    starts = np.cumsum([0] + [v.numel() for v in state.values()])
    forms = {"parameters": {k: torch.nn.Parameter(v) for k, v in state.items()},
             "transposed storages": {k: v.t().contiguous().t() for k, v in state.items()},
             "every other element": {k: torch.stack([v, v + 1], -1)[..., 0] for k, v in state.items()},
             "one storage for all": {k: whole[a:a + v.numel()].view(v.shape) for (k, v), a in zip(state.items(), starts)},
             "buffers beside": dict(state, **{"model.layers.%d.self_attn.rotary_emb.inv_freq" % l: torch.ones(4) for l in range(3)}),
             "float64": {k: v.double() for k, v in state.items()}}
    for name, tensors in forms.items():
        with tempfile.TemporaryDirectory() as folder:
            model.config.save_pretrained(folder)
            torch.save(tensors, os.path.join(folder, "pytorch_model.bin"))
            worst, where = distance(ours(folder, ids, want), want)
            report(".bin, " + name, worst, where, worst <= WORST)


def told(values, kind):
    """Numbers as `inspect` prints them."""
    return " ".join("%.6g" % v if kind.is_floating_point else str(int(v)) for v in values)


def nested():
    """What `inspect` finds in files of torch.save: dictionaries and lists inside one another, types, views. The number is how many differ."""
    draw = torch.Generator().manual_seed(9)
    base = torch.randn(6, 8, generator=draw)
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]
    tensors = {"w": torch.nn.Parameter(base), "t": base.t(), "part": base[2:5, 1:7:2], "row": base[3], "flip": base.permute(1, 0)[2:],
               "expanded": base[:1, :1].expand(3, 4), "none": base[:0], "one": torch.tensor(3.5)}
    tensors.update((str(k)[6:], (base * 50).abs().to(k)) for k in kinds)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    saved = {"plain": tensors, "state": module.state_dict(), "deep": {"a": {"b": {"c": base}}, "step": 7, "lr": 0.1, "name": "x", "no": None}}
    want = {"plain." + k: v for k, v in tensors.items()}
    want.update(("state." + k, v) for k, v in module.state_dict().items())
    want["deep.a.b.c"] = base
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.pt")
        torch.save(saved, path)
        lines = said("inspect", path).splitlines()[1:]
    different = abs(len(lines) - len(want))
    for line in lines:
        name, shape, values = line.split("  ")[0], line[line.index("[") + 1:line.index("]")], line[line.index("]") + 1:].split()
        tensor = want.get(name)
        first = tensor.detach().reshape(-1)[:5] if tensor is not None else None
        if tensor is None or shape != ", ".join(map(str, tensor.shape)) or " ".join(v for v in values if v != "...") != told(first.tolist(), tensor.dtype):
            different += 1
            print("  ours   %s\n    theirs %s" % (line, tensor if tensor is None else (tuple(tensor.shape), told(first.tolist(), tensor.dtype))))
    report("inspect, torch.save", different, "%d tensors" % len(want), different == 0)


def made_by_us():
    for family in CLASSES:
        for dtype in ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as folder:
                config = CLASSES[family][0](**dict(SIZES, initializer_range=0.3, torch_dtype=dtype, sliding_window=None)).to_dict()
                config["model_type"] = family
                source = os.path.join(folder, "source.json")
                with open(source, "w", encoding="utf-8") as f:
                    json.dump(config, f)
                made = os.path.join(folder, "made")
                said("init", made, "--config", source, "--seed", "5")
                model = AutoModelForCausalLM.from_pretrained(made, attn_implementation="eager")
                ids = ids_of(30, 101)
                want = theirs(model, ids)
                worst, where = distance(ours(made, ids, want), want)
                report("init, %s, %s" % (family, dtype), worst, where, worst <= WORST)


def generation():
    """Greedy continuations, token for token; here the number is how many prompts differ."""
    folder = os.path.join(data, "models", "stories260K")
    if not os.path.isdir(folder):
        print("generation: skipped, no test data")
        return
    prompts = ["Once upon a time", "The dog", "Lily and Tom went to the park. They saw a big", "", "One day, the sun"]
    for name in ("stories260K", "stories260K-news"):
        folder = os.path.join(data, "models", name)
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
        with tempfile.TemporaryDirectory() as scratch:
            path = os.path.join(scratch, "prompts.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump(prompts, f)
            lines = [json.loads(line) for line in said("generate", "--model", folder, "--prompts", path, "--max-tokens", "80").splitlines()]
        different = abs(len(lines) - len(prompts))
        stops = model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        for prompt, line in zip(prompts, lines):
            given = torch.tensor([tokenizer(prompt)["input_ids"]])
            out = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=80, do_sample=False,
                                 pad_token_id=0)[0, given.shape[1]:].tolist()
            if out and out[-1] in stops:
                out.pop()
            if line["ids"] != out:
                different += 1
                print("  %r\n    ours   %s\n    theirs %s" % (prompt, line["ids"], out))
        report("generate, " + name, different, "%d prompts" % len(prompts), different == 0)


def main():
    global program, data
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, data = sys.argv[1:]
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    print("transformers %s, torch %s" % (transformers.__version__, torch.__version__))
    for part in (families, rotary, files, checkpoints, nested, made_by_us, generation):
        part()
    print("%d cases, %d differ" % (cases, failures))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

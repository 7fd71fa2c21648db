"""Shared by the end-to-end tests: a small world of two models and two texts, runs of the program, digests of run folders.

Every test is a script: kit.main(test, ...) runs its functions, prints a line each, exits 1 on failure and 77 where numpy or h5py
are missing."""
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback

try:
    import h5py
    import numpy as np
except ImportError:
    print("skipped: numpy or h5py is missing")
    sys.exit(77)

SAEDIFF = os.environ["SAEDIFF"]
MPIRUN = os.environ.get("MPIRUN", "mpirun")
DATA = os.environ.get("SAEDIFF_DATA", "")
MADE = os.environ.get("SAEDIFF_FIXTURES", "")


def data_or_skip():
    if not os.path.exists(os.path.join(DATA, "README.md")):
        print("skipped: no test data at SAEDIFF_DATA")
        sys.exit(77)
    return DATA


# ---- safetensors and a model folder

def write_safetensors(path, tensors):
    header, offset, blobs = {}, 0, []
    for name, array in tensors.items():
        blob = np.ascontiguousarray(array, dtype=np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read_safetensors(path):
    kinds = {"F32": np.float32, "I32": np.int32, "F64": np.float64, "I64": np.int64}
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    body = raw[8 + n:]
    return {k: np.frombuffer(body[v["data_offsets"][0]:v["data_offsets"][1]], dtype=kinds[v["dtype"]]).reshape(v["shape"])
            for k, v in header.items() if k != "__metadata__"}


PIECES = ["▁", "t", "h", "e", "a", "o", "n", "i", "s", "r", "d", "l", "u", "c", "m", ".", "th", "▁th", "▁the", "an", "in", "er",
          "▁a", "on", "re", "ed", "▁s", "▁c", "nd", "and"]
MERGES = ["t h", "▁ th", "▁th e", "a n", "i n", "e r", "▁ a", "o n", "r e", "e d", "▁ s", "▁ c", "n d", "a nd", "an d"]


def tokenizer_json():
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocab["<0x%02X>" % byte] = len(vocab)
    for piece in PIECES:
        vocab[piece] = len(vocab)
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i, c in enumerate(["<unk>", "<s>", "</s>"])]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                                                               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": None,
            "post_processor": {"type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
                               "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 1}}],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                         {"type": "ByteFallback"}, {"type": "Fuse"},
                                                         {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": vocab, "merges": MERGES}}


def model_tensors(seed, d=16, layers=3, heads=4, kv=2, mlp=24, vocab=289):
    rng = np.random.RandomState(seed)
    head = d // heads

    def matrix(rows, cols):
        return (rng.standard_normal((rows, cols)) / np.sqrt(cols)).astype(np.float32)

    t = {"model.embed_tokens.weight": rng.standard_normal((vocab, d)).astype(np.float32)}
    for l in range(layers):
        p = "model.layers.%d." % l
        t[p + "input_layernorm.weight"] = (1 + 0.1 * rng.standard_normal(d)).astype(np.float32)
        t[p + "self_attn.q_proj.weight"] = matrix(heads * head, d)
        t[p + "self_attn.k_proj.weight"] = matrix(kv * head, d)
        t[p + "self_attn.v_proj.weight"] = matrix(kv * head, d)
        t[p + "self_attn.o_proj.weight"] = matrix(d, heads * head)
        t[p + "post_attention_layernorm.weight"] = (1 + 0.1 * rng.standard_normal(d)).astype(np.float32)
        t[p + "mlp.gate_proj.weight"] = matrix(mlp, d)
        t[p + "mlp.up_proj.weight"] = matrix(mlp, d)
        t[p + "mlp.down_proj.weight"] = matrix(d, mlp)
    t["model.norm.weight"] = np.ones(d, dtype=np.float32)
    return t


CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
          "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 289,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
          "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32"}


def write_model(folder, tensors, config=CONFIG):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        json.dump(tokenizer_json(), f)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)


def sentences(seed, count):
    rng = random.Random(seed)
    words = "the thin stone and the sand in the moon held a red cord near the old inn the clan saw a hare on ice é 猫 zebra".split()
    return [" ".join(rng.choice(words) for _ in range(rng.randint(3, 60))) + "." for _ in range(count)]


class World:
    """A folder with models base, tuned, twin (a copy of base), texts, and a job of a few seconds. Pictures take half of its time."""

    def __init__(self, pictures=False, made=False):
        self.folder = tempfile.mkdtemp(prefix="saediff-world-")
        if made:  # a copy of the folders of fixtures.py
            shutil.copytree(MADE, self.folder, dirs_exist_ok=True)
            with open(self.path("job.json")) as f:
                self.job = json.load(f)
            return
        base = model_tensors(1)
        tuned = {k: v + np.float32(0.05) * w for (k, v), w in zip(base.items(), model_tensors(2).values())}
        write_model(self.path("base"), base)
        write_model(self.path("tuned"), tuned)
        write_model(self.path("twin"), base)
        with open(self.path("stories.json"), "w") as f:
            json.dump(sentences(3, 40), f)
        with open(self.path("news.jsonl"), "w") as f:
            for i, text in enumerate(sentences(4, 40)):
                f.write(json.dumps({"id": i, "text": text}) + "\n")
        self.job = {"name": "tiny", "seed": 7, "out": "run", "models": {"base": "base", "tuned": "tuned"},
                    "data": [{"name": "stories", "path": "stories.json"}, {"name": "news", "path": "news.jsonl"}],
                    "tokenize": {},
                    "extract": {"sites": ["0", "blocks.2.hook_resid_post"], "shard_tokens": 700, "batch_tokens": 150, "loss": True},
                    "sae": {"latents": [24, 40], "k": 3, "k_aux": 8, "dead_tokens": 2000},
                    "train": {"batch": 64, "window": 1024, "epochs": 3, "lr": 0.003, "warmup": 10, "init_rows": 512},
                    "encode": {}, "diff": {}, "report": {"top": 5, "gnuplot": "gnuplot" if pictures else ""}}

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write_job(self, name="job.json", **sections):
        job = dict(self.job)
        for key, value in sections.items():
            if value is None:
                job.pop(key, None)
            elif isinstance(value, dict) and isinstance(job.get(key), dict):
                job[key] = dict(job[key], **value)
            else:
                job[key] = value
        with open(self.path(name), "w") as f:
            json.dump(job, f, indent=1)
        return self.path(name)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- runs

launched = []  # ranks of each mpirun


def command(np_, *args):
    if np_ > 0:
        launched.append(np_)
    return [MPIRUN, "-n", str(np_), SAEDIFF, *args] if np_ > 0 else [SAEDIFF, *args]


def environment(extra=None):
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
               OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_btl_vader_single_copy_mechanism="none",
               ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1")
    env.setdefault("SAEDIFF_CUDA_MODULE", "")  # these tests compare bits of the cpu backend: "auto" finds no GPU
    env.update(extra or {})
    return env


def run(np_, *args, env=None, timeout=240):
    """Status, standard output, standard error. np_ 0: without mpirun."""
    done = subprocess.run(command(np_, *args), env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def must(np_, *args, env=None):
    status, out, err = run(np_, *args, env=env)
    assert status == 0, "status %d of %s\n%s%s" % (status, " ".join(args), out, err)
    return out, err


def digests(folder):
    """sha256 of every file but run.json, the lock, and the manifest, whose lines come in the order of the work."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            relative = os.path.relpath(path, folder)
            if relative not in ("run.json", "run.lock", "manifest.log"):
                with open(path, "rb") as f:
                    found[relative] = hashlib.sha256(f.read()).hexdigest()
    return found


def same(a, b, what):
    names = sorted(set(a) | set(b))
    different = [n for n in names if a.get(n) != b.get(n)]
    assert not different, "%s: %d of %d files differ: %s" % (what, len(different), len(names), ", ".join(different[:5]))


def main(*tests):
    failed = 0
    for test in tests:
        began = time.time()
        try:
            test()
            print("ok      %-60s %.1f s" % (test.__name__, time.time() - began), flush=True)
        except Exception:
            failed += 1
            print("FAILED  %s" % test.__name__, flush=True)
            traceback.print_exc()
    print("        %d launches of mpirun, %d ranks" % (len(launched), sum(launched)))
    sys.exit(1 if failed else 0)

"""Malformed files of every format: exit status 3 and one line with the file, the position in it, and the reason."""
import copy
import gzip
import json
import os
import pickle
import shutil
import struct
import zipfile

import kit

np = kit.np
world = kit.World()
CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "corpus")


def refused(words, *args):
    """One error line, with every one of `words`."""
    status, out, err = kit.run(0, *args, timeout=60)
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert status == 3 and len(lines) == 1, "status %d of %s\n%s%s" % (status, " ".join(args), out, err)
    for word in words:
        assert word in lines[0], "'%s' is not in: %s" % (word, lines[0])


def model(name, files=None, without=()):
    """A copy of the model `base` with files put in as given (bytes, text or JSON) and others left out."""
    folder = world.path(name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world.path("base"), folder)
    for file in without:
        os.remove(os.path.join(folder, file))
    for file, content in (files or {}).items():
        data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
        with open(os.path.join(folder, file), "wb") as f:
            f.write(data)
    return folder


def forward(words, name, files, without=()):
    refused([name] + words, "forward", "--model", model(name, files, without), "--ids", "1,5,9", "--out", world.path("f.h5"))


# ---- safetensors

def safe(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(begin, end, shape, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors():
    with open(world.path("base", "model.safetensors"), "rb") as f:
        whole = f.read()
    header = struct.unpack("<Q", whole[:8])[0]
    cases = {
        "empty": (b"", ["0 bytes"]),
        "seven": (whole[:7], ["7 bytes"]),
        "long-header": (struct.pack("<Q", 1 << 60) + whole[8:], ["header", str(1 << 60)]),
        "cut-header": (whole[:8 + header // 2], ["header"]),
        "cut-data": (whole[:-1], ["model.safetensors"]),
        "longer": (whole + b"\0", ["model.safetensors"]),
        "no-json": (safe(b"{\"a\": "), ["1:"]),
        "list": (safe([]), ["'{'"]),
        "twice": (safe(b'{"a": 1, "a": 2}'), ["'a'"]),
        "overlap": (safe({"a": entry(0, 16, [4]), "b": entry(8, 24, [4])}, b"\0" * 24), ["'b'"]),
        "hole": (safe({"a": entry(0, 8, [2]), "b": entry(16, 32, [4])}, b"\0" * 32), ["'b'"]),
        "backwards": (safe({"a": entry(16, 0, [4])}, b"\0" * 16), ["'a'"]),
        "product": (safe({"a": entry(0, 16, [1 << 32, 1 << 32])}, b"\0" * 16), ["'a'"]),
        "negative": (safe({"a": entry(0, 16, [-4])}, b"\0" * 16), ["'a'"]),
        "dims": (safe({"a": entry(0, 4, [1] * 9)}, b"\0" * 4), ["'a'"]),
        "type": (safe({"a": entry(0, 4, [4], "F8_E4M3")}, b"\0" * 4), ["'a'", "F8_E4M3"]),
        "others": (safe({"a": entry(0, 16, [4])}, b"\0" * 16), ["missing", "model.layers.0.input_layernorm.weight"]),
    }
    for name, (content, words) in cases.items():
        forward(words, "safe-" + name, {"model.safetensors": content})


def test_shards():
    name = "model.safetensors.index.json"
    cases = {"cut": ('{"weight_map": {"a"', [name + ":1:"]), "no-map": ("{}", [name, "weight_map"]),
             "outside": ({"weight_map": {"a": "../base/model.safetensors"}}, [name + ":1:", "outside"]),
             "number": ({"weight_map": {"a": 3}}, [name + ":1:"]), "missing": ({"weight_map": {"a": "gone"}}, ["gone", "missing"]),
             "wrong": ({"weight_map": {"a": "shard"}}, [name, "'a'", "shard"])}
    with open(world.path("base", "model.safetensors"), "rb") as f:
        shard = f.read()
    for case, (content, words) in cases.items():
        forward(words, "shards-" + case, {name: content, "shard": shard}, ["model.safetensors"])


# ---- PyTorch

def archive(**entries):
    path = world.path("archive")
    with zipfile.ZipFile(path, "w") as z:
        for name, content in entries.items():
            z.writestr("archive/" + name.replace("__", "/").replace("pickle", "data.pkl"), content)
    with open(path, "rb") as f:
        return f.read()


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, ("touch " + self.path,)


def test_torch():
    with open(os.path.join(CORPUS, "torch", "flat"), "rb") as f:
        flat = f.read()
    trace = world.path("trace")
    cases = {
        "empty": (b"", ["pytorch_model.bin"]),
        "text": (b"not a checkpoint", ["zip archive"]),
        "old": (pickle.dumps(0x1950a86a20f9469cfc6c, 2), ["older than PyTorch 1.6"]),
        "no-pickle": (archive(data__0=b"\0" * 64), ["data.pkl"]),
        "cut-zip": (archive(pickle=flat, data__0=b"\0" * 64)[:-30], ["zip archive"]),
        "runs": (archive(pickle=pickle.dumps({"a": Runs(trace)}, 2)), ["system", "byte"]),
        "cut-pickle": (archive(pickle=flat[:-20], data__0=b"\0" * 64), ["pickle", "byte"]),
        "no-storage": (archive(pickle=flat), ["data/0"]),
        "short-storage": (archive(pickle=flat, data__0=b"\0" * 20), ["'a'", "20 bytes"]),
        "big-endian": (archive(pickle=flat, byteorder=b"big", data__0=b"\0" * 64), ["big"]),
        "number": (archive(pickle=pickle.dumps(3, 2)), ["pytorch_model.bin"]),
    }
    for name, (content, words) in cases.items():
        forward(words, "torch-" + name, {"pytorch_model.bin": content}, ["model.safetensors"])
    assert not os.path.exists(trace), "the pickle was executed"


# ---- configuration

def test_config():
    def config(name, words, content=None, **keys):
        forward(["config.json"] + words, "config-" + name, {"config.json": content if content is not None else dict(kit.CONFIG, **keys)})

    config("empty", [], "")
    config("cut", [":2:"], '{"model_type": "llama",\n "hidden_size": ')
    config("list", [], "[]")
    config("text", ["hidden_size", ":1:"], hidden_size="wide")
    config("negative", ["hidden_size"], hidden_size=-16)
    config("fraction", ["num_hidden_layers"], num_hidden_layers=2.5)
    config("absurd", ["vocab_size"], vocab_size=1 << 40)
    config("zero", ["num_attention_heads"], num_attention_heads=0)
    config("heads", ["4", "3"], num_key_value_heads=3)
    config("theta", ["rope_theta"], rope_theta=0)
    config("rope", ["rope_scaling", "nonsense"], rope_scaling={"rope_type": "nonsense", "factor": 2.0})
    config("kind", ["model_type", "mamba"], model_type="mamba")


# ---- tokenizers

def test_tokenizer():
    def tokenizer(name, words, content, without=(), file="tokenizer.json"):
        refused([file] + words, "tokenize", "--model", model("tokenizer-" + name, {file: content}, without), "--text", "a stone")

    def changed(change):
        content = copy.deepcopy(kit.tokenizer_json())
        change(content)
        return content

    tokenizer("empty", [], "")
    tokenizer("cut", [":1:"], json.dumps(kit.tokenizer_json())[:5000])
    tokenizer("list", [], [])
    tokenizer("no-model", ["model"], changed(lambda t: t.pop("model")))
    tokenizer("kind", ["WordPiece"], changed(lambda t: t["model"].update(type="WordPiece")))
    tokenizer("merge", ["zz"], changed(lambda t: t["model"]["merges"].append("zz y")))
    tokenizer("one-part", ["'alone'"], changed(lambda t: t["model"]["merges"].append("alone")))
    tokenizer("id", [":1:", "id"], changed(lambda t: t["model"]["vocab"].update(x=-1)))
    tokenizer("far-id", [":1:", "id"], changed(lambda t: t["model"]["vocab"].update(x=4000000000)))
    tokenizer("same-id", ["5"], changed(lambda t: t["model"]["vocab"].update(x=5)))
    tokenizer("regex", ["(?<"], changed(lambda t: t.update(pre_tokenizer={
        "type": "Split", "pattern": {"Regex": "(?<"}, "behavior": "Isolated", "invert": False})))
    tokenizer("step", ["Nonsense"], changed(lambda t: t.update(normalizer={"type": "Nonsense"})))
    tokenizer("special", ["<gone>"], changed(lambda t: t["post_processor"].update(single=[{"SpecialToken": {"id": "<gone>", "type_id": 0}}])))
    tokenizer("no-token", ["id 295"], changed(lambda t: (t["model"]["vocab"].update({"far away": 300}), t["added_tokens"].clear(),
                                                         t["post_processor"]["special_tokens"]["<s>"].update(ids=[295]))))
    for name, content in (("noise", b"\xff\xfe noise"), ("cut", b"\x0a\x20\x0a\x05<unk>"), ("nothing", b"")):
        tokenizer("model-" + name, [], content, ["tokenizer.json"], "tokenizer.model")


# ---- texts

def test_texts():
    def texts(name, words, content, **keys):
        data = content if isinstance(content, bytes) else content.encode()
        with open(world.path(name), "wb") as f:
            f.write(data)
        refused([name] + words, "tokenize", world.write_job("texts.json", out="texts", data=[dict({"name": "x", "path": name}, **keys)]))

    with open(os.path.join(CORPUS, "dataset_parquet", "none"), "rb") as f:
        parquet = f.read()
    texts("cut.json", [":2:"], '["a stone",\n "the')
    texts("object.json", [":1:"], '{"text": 3} x')
    texts("deep.json", [":1:"], "[" * 5000)
    texts("half.jsonl", [":2:"], '{"text": "a"}\n{"text": "\\ud83d"}\n')
    texts("latin.jsonl", [":1:"], b'{"text": "caf\xe9"}\n')
    texts("field.jsonl", ["'text'", "body"], '{"body": "a stone"}\n')
    texts("quote.csv", [":2:"], 'id,text\n1,"a stone\n2,b\n')
    texts("columns.csv", [":3:"], "id,text\n1,a\n2\n")
    texts("latin.csv", [":2:"], b"id,text\n1,caf\xe9\n")
    texts("field.csv", ["'text'", "body"], "id,body\n1,a\n")
    texts("latin.txt", ["UTF-8"], b"caf\xe9")
    texts("cut.jsonl.gz", ["gzip"], gzip.compress(b'{"text": "a stone in the sand"}\n' * 50)[:-9])
    texts("noise.jsonl.gz", ["gzip"], gzip.compress(b'{"text": "a stone"}\n' * 50)[:20] + b"\xff" * 50)
    texts("noise.jsonl.zst", ["zstd"], b"\x28\xb5\x2f\xfd" + b"\xff" * 50)
    for cut in (0, 4, 11, len(parquet) // 2, len(parquet) - 1):
        texts("cut-%d.parquet" % cut, [], parquet[:cut], field="v")
    texts("footer.parquet", ["footer"], parquet[:-8] + struct.pack("<I", 1 << 30) + b"PAR1", field="v")
    texts("zeros.parquet", [], parquet[:4] + b"\0" * (len(parquet) - 12) + parquet[-8:], field="v")
    texts("field.parquet", ["column", "it has: v"], parquet)


def test_damaged_parquet():
    folder = os.path.join(kit.DATA, "text", "parquet", "damaged")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".parquet"):
            refused([name], "tokenize", world.write_job("texts.json", out="texts", data=[{"name": "x", "path": os.path.join(folder, name)}]))


try:
    kit.main(test_safetensors, test_shards, test_torch, test_config, test_tokenizer, test_texts, test_damaged_parquet)
finally:
    world.close()

"""The program against tests/peers/fixtures: files that other libraries wrote, with what they compute from them. Needs none of these libraries."""
import datetime
import json
import math
import os
import re
import shutil

import kit

np = kit.np
FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers", "fixtures")
world = kit.World()


def fixture(*path):
    return os.path.join(FIXTURES, *path)


def read(*path):
    with open(fixture(*path), encoding="utf-8") as f:
        return json.load(f)


def write(value, *path):
    os.makedirs(os.path.dirname(world.path(*path)), exist_ok=True)
    with open(world.path(*path), "w", encoding="utf-8") as f:
        json.dump(value, f)
    return world.path(*path)


def lines(*args):
    return [json.loads(line) for line in kit.must(0, *args, "--quiet")[0].split("\n")[:-1]]


# Of the largest value of a site. The program computes in float32, the fixtures were computed in float64: a rounding is 6e-8, and the sums of
# two layers make up to a few 1e-6 of it. An error of the method shows as 1e-3 and more (fixtures.py asserts it where a key is on trial).
SITES = 1e-5


def test_models():
    index = read("models", "index.json")
    assert len(index) >= 19, sorted(index)
    for name, weights in index.items():
        folder = world.path("models", name)
        shutil.copytree(fixture("models", name), folder)
        if weights != name:
            shutil.copy(fixture("models", weights, "model.safetensors"), folder)
        want = dict(np.load(os.path.join(folder, "expected.npz")))
        ids = ",".join(map(str, want.pop("ids")))
        sites = sorted(set(want) - {"logits"})
        assert len(sites) == 2, (name, sites)
        out = world.path("forward.h5")
        kit.must(0, "forward", "--model", folder, "--ids", ids, "--sites", ",".join(sites), "--out", out, "--quiet")
        with kit.h5py.File(out) as f:
            for site, w in want.items():
                error = np.abs(f[site][...] - w).max() / np.abs(w).max()
                assert error <= SITES, (name, site, error)


def test_files_of_torch():
    for name, tensors in read("torch", "expected.json").items():
        found = kit.must(0, "inspect", fixture("torch", name))[0].splitlines()[1:]
        assert len(found) == len(tensors), (name, found)
        for line in found:
            key, shape, values = line.split("  ")[0], line[line.index("[") + 1:line.index("]")], line[line.index("]") + 1:].split()
            want = tensors[key]
            printed = ["%.6g" % v if "float" in want["type"] else str(v) for v in want["values"]]  # as inspect prints numbers
            assert shape == ", ".join(map(str, want["shape"])), (name, line)
            assert [v for v in values if v != "..."] == printed, (name, line, printed)
            short = want["type"].replace("bfloat", "bf").replace("float", "f").replace("uint", "u").replace("int", "i")
            assert line.split("  ")[1].split()[0] == short, (name, line)
    status, _, err = kit.run(0, "inspect", fixture("torch", "legacy.pt"))  # the format before PyTorch 1.6
    assert status == 3, (status, err)
    assert "legacy.pt: is neither" in err, err


# Relative to the losses and norms; of the change of the weights, to its norm. Steps magnify rounding, as AdamW divides by the gradient's own
# size: PyTorch itself, in float32, is up to 2e-6 and 7e-5 away from float64 in ten steps.
LOSS, NORM, CHANGE, LOGITS = 2e-6, 1e-4, 2e-3, 1e-4


def test_fine_tuning():
    expected = read("finetune", "expected.json")
    shutil.copytree(fixture("finetune"), world.path("finetune"))
    before = kit.read_safetensors(fixture("finetune", "base", "model.safetensors"))
    for name in ("weights", "frozen", "adapters"):
        want, out = expected[name], world.path("finetune", "out-" + name)
        job = world.path("finetune", name + ".job.json")
        kit.must(0, "run", job, "--out", out, "--quiet")
        with open(os.path.join(out, "finetune", "log.jsonl"), encoding="utf-8") as f:
            log = [json.loads(line) for line in f]
        assert len(log) == len(want["losses"]), name
        assert np.allclose([line["loss"] for line in log], want["losses"], rtol=LOSS, atol=0), (name, log)
        assert np.allclose([line["grad_norm"] for line in log], want["norms"], rtol=NORM, atol=0), (name, log)
        after, changes = kit.read_safetensors(os.path.join(out, "model", "model.safetensors")), dict(np.load(fixture("finetune", name + ".npz")))
        assert set(after) == set(before), name
        assert set(changes) <= set(after), name
        apart = moved = 0
        for key, tensor in after.items():
            change = tensor.astype(np.float64) - before[key]
            if key not in changes:
                assert not change.any(), (name, key)
                continue
            apart += ((change - changes[key]) ** 2).sum()
            moved += (changes[key].astype(np.float64) ** 2).sum()
        assert math.sqrt(apart) <= CHANGE * math.sqrt(moved), (name, math.sqrt(apart / moved))
        logits = world.path("logits.h5")
        kit.must(0, "forward", "--model", os.path.join(out, "model"), "--ids", ",".join(map(str, expected["ids"][0])), "--out", logits, "--quiet")
        with kit.h5py.File(logits) as f:
            got = f["logits"][-1]
        assert np.abs(got - want["last_logits"]).max() <= LOGITS * np.abs(want["last_logits"]).max(), name


def test_adapters_as_peft_read_them():
    """The program draws the adapters from which the expected losses were computed, in a folder that peft reads."""
    with open(world.path("finetune", "adapters.job.json"), encoding="utf-8") as f:
        job = json.load(f)
    job["finetune"].update(lr=0.0, steps=1)
    out = world.path("finetune", "out-start")
    kit.must(0, "run", write(job, "finetune", "start.job.json"), "--out", out, "--quiet")
    got, want = (kit.read_safetensors(os.path.join(f, "adapter_model.safetensors")) for f in (os.path.join(out, "finetune", "adapter"), fixture("finetune", "start")))
    assert set(got) == set(want)
    for key, tensor in want.items():
        assert np.allclose(got[key], tensor, rtol=1e-6, atol=1e-9), key
    with open(os.path.join(out, "finetune", "adapter", "adapter_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    known = read("finetune", "start", "adapter_config.json")
    for key in set(known) | set(config):
        assert key == "base_model_name_or_path" or config.get(key) == known.get(key), key


def moment(text, unit):
    """ISO 8601 as a count of `unit` since 1970."""
    m = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|\+00:00)?)?", text)
    assert m, text
    day = datetime.date(int(m[1]), int(m[2]), int(m[3])).toordinal() - 719163
    if unit == "day":
        return day
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    return ((day * 24 + int(m[4])) * 60 + int(m[5])) * 60 * 10 ** digits + int(m[6]) * 10 ** digits + int((m[7] or "").ljust(digits, "0")[:digits] or 0)


def equal(text, want, kind):
    """`text` stands for the value `want` of a column of this kind. No tolerance: floats are read back to the same bits."""
    if want is None:
        return text == ""
    if kind == "bool":
        return text == ("true" if want else "false")
    if kind == "int":
        return text == str(want)
    if kind in ("f16", "f32", "f64"):
        to = {"f16": np.float16, "f32": np.float32, "f64": np.float64}[kind]
        return to(float(text)) == to(want) and math.copysign(1, float(text)) == math.copysign(1, want)
    if kind in ("day", "s", "ms", "us", "ns"):
        return moment(text, kind) == want
    return text == want if kind == "text" else text != "" and json.loads(text) == want


def test_parquet():
    expected = read("parquet", "expected.json")
    columns = expected["columns"]
    entries = [{"name": str(i), "path": os.path.abspath(fixture("parquet", f["file"])), "field": "\x1f".join("{%s}" % c for c in columns)}
               for i, f in enumerate(expected["files"])]
    # A token for each byte, so that the token file holds the texts that were read.
    shutil.copytree(fixture("finetune", "base"), world.path("bytes"))
    config = read("finetune", "base", "config.json")
    write(dict(config, max_position_embeddings=1 << 20), "bytes", "config.json")
    tokenizer = read("finetune", "base", "tokenizer.json")
    byte_of = np.full(259, -1)
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    letters = dict([(b, chr(b)) for b in shown] + [(b, chr(256 + i)) for i, b in enumerate(b for b in range(256) if b not in shown)])
    for b, letter in letters.items():
        byte_of[tokenizer["model"]["vocab"][letter]] = b
    write(dict(tokenizer, post_processor=None), "bytes", "tokenizer.json")
    job = write({"name": "parquet", "out": "parquet", "models": {"base": world.path("bytes")}, "data": entries, "tokenize": {}}, "parquet.json")
    kit.must(0, "tokenize", job, "--out", world.path("parquet"), "--quiet")
    with kit.h5py.File(world.path("parquet", "tokens", "tokens.h5")) as f:
        ids, start = f["ids"][...], f["doc_start"][...]
        texts = {(s, r): bytes(b for b in byte_of[ids[start[d]:start[d + 1]]].tolist() if b >= 0).decode()
                 for d, (s, r) in enumerate(zip(f["doc_source"][...].tolist(), f["doc_row"][...].tolist()))}
    for i, file in enumerate(expected["files"]):
        for row, want in enumerate(expected[file["rows"]]):
            got = texts[i, row].split("\x1f")
            assert len(got) == len(columns), (file, row, got)
            for text, value, (column, kind) in zip(got, want, columns.items()):
                assert equal(text, value, kind), (file["file"], row, column, text, value)


def test_chat_templates():
    expected = read("templates", "expected.json")
    write(expected["special"], "chat", "tokenizer_config.json")
    write(kit.tokenizer_json(), "chat", "tokenizer.json")
    chats = write(expected["chats"], "chats.json")
    templates = {k: v for k, v in expected.items() if k.startswith("template ")}
    assert len(templates) >= 9
    for name, template in templates.items():
        path = world.path("t.jinja")
        with open(path, "w", newline="", encoding="utf-8") as f:
            f.write(template["template"])
        got = lines("tokenize", "--model", world.path("chat"), "--template", path, "--chat", chats, "--date", expected["date"])
        assert [line.get("text") for line in got] == template["texts"], (name, got, template["texts"])


def test_tokenizers():
    names = sorted(os.listdir(fixture("tokenizers")))
    assert len(names) >= 7, names
    for name in names:
        folder, cases = fixture("tokenizers", name), read("tokenizers", name, "expected.json")
        got = lines("tokenize", "--model", folder, "--json", write([c["text"] for c in cases], "texts.json"))
        assert len(got) == len(cases), name
        for mine, case in zip(got, cases):
            assert mine["ids"] == case["ids"], (name, case, mine)
            assert mine["spans"] == case["spans"], (name, case, mine)
        back = lines("tokenize", "--model", folder, "--decode", write([c["ids"] for c in cases], "ids.json"))
        assert len(back) == len(cases), name
        for mine, case in zip(back, cases):
            assert mine == case["decoded"], (name, case, mine)


try:
    kit.main(test_models, test_files_of_torch, test_fine_tuning, test_adapters_as_peft_read_them, test_parquet, test_chat_templates, test_tokenizers)
finally:
    world.close()

"""Writes tests/peers/fixtures: tiny files made by transformers, PyTorch, peft, pyarrow and tokenizers, with what these libraries compute from them.

    python3 fixtures.py SAEDIFF PART ...     parts: models torch finetune parquet templates tokenizers

Started by `sh run.sh fixtures`, which installs the libraries. Weights are random, texts are made up here, every seed is fixed: the same
versions of the libraries write the same bytes again. tests/run/peers.py compares the program with these files; it needs none of the libraries.
SAEDIFF is needed by `finetune` alone, for the values that the program draws for adapters. README.md describes the files.
"""
import datetime
import json
import os
import random
import shutil
import sys
import tempfile

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")


def write_json(value, *path):
    """A line for each member or element of the outermost value, so that changes can be read."""
    path = os.path.join(HERE, *path)
    os.makedirs(os.path.dirname(path), exist_ok=True)

    def compact(v):
        return json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, dict):
        lines, brackets = ["%s: %s" % (compact(k), compact(v)) for k, v in value.items()], "{}"
    else:
        lines, brackets = [compact(v) for v in value], "[]"
    with open(path, "w", encoding="utf-8") as f:
        f.write(brackets[0] + "\n" + ",\n".join(lines) + "\n" + brackets[1] + "\n")


def begin(part):
    folder = os.path.join(HERE, part)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def record(part, **versions):
    path = os.path.join(HERE, "versions.json")
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            known = json.load(f)
    known[part] = dict(versions, numpy=np.__version__, python="%d.%d" % sys.version_info[:2])
    write_json({k: known[k] for k in sorted(known)}, "versions.json")


# ---- models

SMALL = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 43,
         "max_position_embeddings": 64}
COUNT = 20


def kept(sites):
    """The residual stream after each layer and the logits, rounded from float64."""
    return {name: value.astype(np.float32) for name, value in sites.items() if name == "logits" or name.endswith("resid_post")}


def write_models(_):
    import old_torch  # noqa: F401  (before transformers)
    import torch
    import transformers
    import models_peer as peer

    transformers.logging.set_verbosity_error()
    begin("models")
    index, weights = {}, {}

    def model(name, family, dtype=torch.bfloat16, shows=(), change=None, count=COUNT, first=0, save=None, **keys):
        """`shows`: keys without which the outputs must differ. `first`: the first layer with a window."""
        keys = dict(SMALL, **keys)
        made = peer.some_windows(family, first, **keys) if first else peer.random_model(family, **keys)
        ids = peer.ids_of(count, SMALL["vocab_size"])
        with torch.no_grad():
            for p in made.parameters():
                p.copy_(p.to(dtype))
        want = peer.theirs(made, ids)
        for key in shows:
            other = peer.random_model(family, **dict(keys, **{key: None if key != "rope_theta" else 10000.0}))
            other.load_state_dict(made.state_dict())
            assert peer.distance(peer.theirs(other, ids), want)[0] > 1e-3, (name, key)
        folder = os.path.join(HERE, "models", name)
        made.to(dtype).save_pretrained(folder, **(save or {}))
        if change:
            peer.edit_config(folder, change)
        os.remove(os.path.join(folder, "generation_config.json"))
        path = os.path.join(folder, "model.safetensors")
        index[name] = name
        if os.path.exists(path):  # the same weights are kept once
            with open(path, "rb") as f:
                index[name] = weights.setdefault(f.read(), name)
        if index[name] != name:
            os.remove(path)
        np.savez(os.path.join(folder, "expected.npz"), ids=np.array(ids, np.int32), **kept(want))

    scaled = {"head_dim": 8, "sliding_window": None}
    original = {"original_max_position_embeddings": 16}
    scaling = ["rope_scaling"]
    llama3 = dict(peer.LLAMA3, **original)
    yarn = dict(peer.YARN, **original)
    longrope = {"rope_type": "longrope", "short_factor": peer.SHORT, "long_factor": peer.LONG, "factor": 4.0}
    model("llama-multi-head", "llama", dtype=torch.float32, num_key_value_heads=4)
    model("llama-grouped", "llama", dtype=torch.float32)
    model("llama-tied", "llama", tie_word_embeddings=True)
    model("llama-one-kv-head-dim-8", "llama", num_key_value_heads=1, head_dim=8)
    model("llama-biases", "llama", attention_bias=True, mlp_bias=True)
    model("llama-theta-500-eps-0.1", "llama", rope_theta=500.0, rms_norm_eps=0.1, shows=["rope_theta"])
    model("llama-rope-llama3", "llama", rope_scaling=llama3, shows=scaling, **scaled)
    model("llama-rope-linear", "llama", rope_scaling={"rope_type": "linear", "factor": 3.0}, shows=scaling, **scaled)
    model("llama-rope-linear-old-name", "llama", rope_scaling={"type": "linear", "factor": 3.0}, shows=scaling, **scaled)
    model("qwen2-rope-yarn", "qwen2", rope_scaling=yarn, shows=scaling, **scaled)
    model("mistral-rope-dynamic", "mistral", rope_scaling={"rope_type": "dynamic", "factor": 3.0}, count=COUNT, **scaled)
    for count in (12, 24):
        model("llama-rope-longrope-%d-tokens" % count, "llama", rope_scaling=longrope, count=count, **original, **scaled)
    model("llama-transformers-5", "llama", rope_scaling=llama3, change=peer.spelling_of_5, **scaled)
    model("mistral-window-5", "mistral", sliding_window=5, shows=["sliding_window"])
    model("qwen2-windows-from-layer-1", "qwen2", use_sliding_window=True, sliding_window=5, max_window_layers=1, first=1)
    model("qwen3", "qwen3", head_dim=8)
    model("llama-float16-shards", "llama", dtype=torch.float16, save={"max_shard_size": "6KB"})
    model("llama-bin-shards", "llama", save={"max_shard_size": "8KB", "safe_serialization": False})
    write_json(index, "models", "index.json")
    record("models", transformers=transformers.__version__, torch=torch.__version__, safetensors=__import__("safetensors").__version__)


# ---- files of torch.save

def write_torch(_):
    import torch
    folder = begin("torch")
    draw = torch.Generator().manual_seed(9)
    base = torch.randn(6, 8, generator=draw)
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]
    views = {"w": torch.nn.Parameter(base), "t": base.t(), "part": base[2:5, 1:7:2], "row": base[3], "flip": base.permute(1, 0)[2:],
             "expanded": base[:1, :1].expand(3, 4), "none": base[:0], "one": torch.tensor(3.5)}
    types = {str(k)[6:]: (base * 50).abs().to(k) for k in kinds}
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=draw))
    saved = {"views.pt": views, "types.pt": types, "state_dict.bin": module.state_dict(),
             "nested.pt": {"a": {"b": {"c": base[:2]}}, "step": 7, "lr": 0.1, "name": "x", "no": None}}
    want = {"views.pt": views, "types.pt": types, "state_dict.bin": module.state_dict(), "nested.pt": {"a.b.c": base[:2]}}
    for name, tensors in saved.items():
        torch.save(tensors, os.path.join(folder, name))
    # One storage: the older format names storages by their addresses, which a second run would not repeat.
    legacy = os.path.join(folder, "legacy.pt")
    torch.save({"a": base[0], "b": base.t()}, legacy, pickle_module=FixedKeys, _use_new_zipfile_serialization=False)
    expected = {name: {key: {"shape": list(t.shape), "type": str(t.dtype)[6:], "values": t.detach().reshape(-1)[:5].tolist()}
                       for key, t in tensors.items()} for name, tensors in want.items()}
    write_json(expected, "torch", "expected.json")
    record("torch", torch=torch.__version__)


class FixedKeys:
    """The pickle module, with "0" for the address by which torch.save's older format names its one storage."""
    import pickle as _pickle
    load, loads, Unpickler, dumps = _pickle.load, _pickle.loads, _pickle.Unpickler, _pickle.dumps

    @staticmethod
    def dump(value, f, protocol=2):
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            value = ["0"]
        FixedKeys._pickle.dump(value, f, protocol=protocol)

    class Pickler(_pickle._Pickler):
        def save_pers(self, pid):
            if pid and pid[0] == "storage":
                pid = (*pid[:2], "0", *pid[3:])
            super().save_pers(pid)


# ---- fine-tuning

def write_finetune(program):
    import models_peer
    import finetune_peer as peer  # before transformers: it loads old_torch
    import peft
    import torch
    import transformers
    from safetensors.torch import load_file
    transformers.logging.set_verbosity_error()
    peer.program = models_peer.program = program
    folder = begin("finetune")
    base = os.path.join(folder, "base")

    def fresh():
        return models_peer.random_model("llama", **dict(SMALL, vocab_size=259, head_dim=4, tie_word_embeddings=True))
    fresh().save_pretrained(base)
    write_json(peer.tokenizer_json(), "finetune", "base", "tokenizer.json")
    os.remove(os.path.join(base, "generation_config.json"))
    peer.fast = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(base, "tokenizer.json"))
    texts = peer.texts()[:6]
    write_json(texts, "finetune", "texts.json")
    documents = [[1] + peer.spelled(text) + [2] for text in texts]
    expected = {"ids": documents}
    common = {"data": [{"path": "texts.json"}], "batch": 100000, "micro_batch": 64, "lr": peer.LR, "schedule": "cosine", "final": 0.1,
              "warmup": peer.WARMUP, "decay": peer.DECAY, "clip": peer.CLIP, "beta1": peer.BETAS[0], "beta2": peer.BETAS[1], "eps": peer.EPS}
    for name, steps, freeze, keys in (("weights", 4, [], {}), ("frozen", 4, ["embed_tokens", "layers.1"], {}),
                                      ("adapters", 4, [], {"lora_rank": 2, "lora_alpha": 5.0})):
        job = {"name": "peer", "seed": 7, "out": "out", "models": {"base": "base"}, "finetune": dict(common, steps=steps, freeze=freeze, **keys)}
        model = fresh().double().train()
        before = {k: v.detach().clone() for k, v in model.named_parameters()}
        if keys:
            peer.RANK, peer.ALPHA = keys["lora_rank"], keys["lora_alpha"]
            with tempfile.TemporaryDirectory() as scratch:
                for n in ("base", "texts.json"):
                    os.symlink(os.path.join(folder, n), os.path.join(scratch, n))
                with open(os.path.join(scratch, "job.json"), "w", encoding="utf-8") as f:
                    json.dump(dict(job, finetune=dict(job["finetune"], lr=0.0, steps=1)), f)
                peer.said("run", os.path.join(scratch, "job.json"), "--out", os.path.join(scratch, "out"))
                shutil.copytree(os.path.join(scratch, "out", "finetune", "adapter"), os.path.join(folder, "start"))
            start = load_file(os.path.join(folder, "start", "adapter_model.safetensors"))
            # peft must read the folder as it is, with every name.
            loaded = peft.PeftModel.from_pretrained(fresh(), os.path.join(folder, "start"))
            names = {k.replace(".default", "") for k in loaded.state_dict() if ".lora_" in k}
            assert names == set(start), names ^ set(start)
            peer.give_adapters(model, start)
        for key, p in model.named_parameters():
            if any("." + word + "." in "." + key for word in freeze):
                p.requires_grad_(False)
        losses, norms = peer.learn(model, documents, steps)
        after = peer.weights_of(model)
        np.savez(os.path.join(folder, name + ".npz"), **{k: (v - before[k]).numpy().astype(np.float32) for k, v in after.items() if not torch.equal(v, before[k])})
        write_json(job, "finetune", name + ".job.json")
        with torch.no_grad():
            logits = model(torch.tensor([documents[0]]), use_cache=False).logits[0, -1]
        expected[name] = {"losses": losses, "norms": norms, "last_logits": [float("%.9g" % v) for v in logits.tolist()]}
    write_json(expected, "finetune", "expected.json")
    record("finetune", transformers=transformers.__version__, torch=torch.__version__, peft=peft.__version__)


# ---- Parquet

def write_parquet(_):
    import pyarrow as pa
    import pyarrow.parquet as pq
    import parquet_peer as peer
    folder = begin("parquet")
    peer.ROWS, peer.LONGEST = 23, 40
    tables = {"values": peer.table(False, 1), "nulls": peer.table(True, 2)}
    pairs = [(codec, version) for version in ("1.0", "2.0") for codec in peer.CODECS]
    files = []
    for number, (name, encodings) in enumerate(peer.ENCODINGS.items()):
        for nullable in (False, True):
            codec, version = pairs[(2 * number + 7 * nullable) % len(pairs)]
            file = "%s-%s-v%s%s.parquet" % (name.replace(",", "").replace(" ", "-"), codec, version[0], "-nulls" if nullable else "")
            how = {"use_dictionary": True} if encodings is None else {"use_dictionary": False, "column_encoding": encodings}
            pq.write_table(tables["nulls" if nullable else "values"], os.path.join(folder, file), compression=codec, data_page_version=version,
                           row_group_size=(peer.ROWS, 17)[number % 2], data_page_size=(256, 1 << 20)[number // 2 % 2], write_batch_size=8,
                           write_statistics=False, store_schema=False, **how)
            files.append({"file": file, "rows": "nulls" if nullable else "values"})

    def kind(t):
        if pa.types.is_timestamp(t):
            return t.unit
        if pa.types.is_floating(t):
            return "f%d" % t.bit_width
        for word, of in (("bool", pa.types.is_boolean), ("int", pa.types.is_integer), ("day", pa.types.is_date), ("text", pa.types.is_string),
                         ("text", pa.types.is_large_string), ("map", pa.types.is_map)):
            if of(t):
                return word
        return "json"

    def rows(table):
        columns = [[float(v) if isinstance(v, np.floating) else v for v in peer.plain_values(table.column(c))] for c in peer.TYPES]
        maps = [kind(t) == "map" for t in peer.TYPES.values()]
        return [[[{"key": k, "value": x} for k, x in v] if is_map and v is not None else v for is_map, v in zip(maps, row)] for row in zip(*columns)]
    write_json({"columns": {n: kind(t).replace("map", "json") for n, t in peer.TYPES.items()}, "files": files, **{n: rows(t) for n, t in tables.items()}},
               "parquet", "expected.json")
    record("parquet", pyarrow=pa.__version__)


# ---- chat templates

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
TEMPLATES = {
    "marks": "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
             "{% if add_generation_prompt %}[assistant]{% endif %}",
    "system": "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}"
              "{% set system = 'Answer briefly.' %}{% set rest = messages %}{% endif %}\n<<{{ system | upper }}>>\n"
              "{%- for m in rest %}\n{{ loop.index }}/{{ loop.length }} {{ m.role | capitalize }}: {{ m.content }}"
              "{{ '' if loop.last else ' |' }}{% endfor %}{{ '\\nAssistant:' if add_generation_prompt }}",
    "turns": "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
             "{{ raise_exception('roles must take turns') }}{% endif %}{{ m.role[0] }}>{{ m.content }}{% endfor %}",
    "macro": "{% macro turn(role, text='(none)') -%}\n  <{{ role }}>{{ text }}</{{ role }}>\n{%- endmacro %}"
             "{% for m in messages %}{{ turn(m.role, m.content) if m.content else turn(role=m.role) }}{% endfor %}",
    "namespace": "{% set ns = namespace(count=0, last='') %}{% for m in messages if m.role != 'system' %}{% set ns.count = ns.count + 1 %}"
                 "{% set ns.last = m.content %}{% endfor %}{{ ns.count }} turns, the last of {{ ns.last | length }}: {{ ns.last[-5:] }}",
    "json": "{{ messages | tojson }}{{ messages | map(attribute='role') | join(', ') }}{{ messages[0] | tojson(indent=2) }}"
            "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "date": "Today: {{ strftime_now('%d %B %Y') }}{% if tools is defined and tools %} tools{% endif %}\n{% for m in messages %}"
            "{% generation %}{{ m.content }}{% endgeneration %}{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}",
    "strings": "{% for m in messages %}{{ m.content.split(' ') | first }}~{{ m.content.strip().replace('a', 'A').title() }}~{{ m.content.startswith('W') }}"
               "~{{ m.content is string }}~{{ loop.revindex | string }}~{{ m.missing | default('no') }};{% endfor %}",
    "blanks": "  {% if true %}\n    kept {%- if false %} gone {% endif %}\n  {%+ if true %} plus{% endif %}\n{# a note #}\n  {{- ' end' }}\n{% endif %}\n",
}
CHATS = [[{"role": "user", "content": "What is a lake?"}],
         [{"role": "user", "content": "  Warm or cold? \n"}, {"role": "assistant", "content": " Cold, mostly. "}],
         [{"role": "system", "content": "Be kind.\n"}, {"role": "user", "content": "name a colour"}],
         [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
         [{"role": "user", "content": ""}],
         [{"role": "user", "content": "naïve café — 猫 🦙 \"quoted\" 'single' \\ <b>&amp;</b>"}, {"role": "assistant", "content": "tab\tline\r\nend"}],
         [{"role": "assistant", "content": "first"}, {"role": "user", "content": "{{ not a template }}"}]]
DATE = datetime.datetime(2024, 7, 26)


def write_templates(_):
    import old_torch  # noqa: F401  (before transformers)
    import finetune_peer  # of the byte-level tokenizer
    import jinja2
    import transformers
    from transformers.utils import chat_template_utils
    transformers.logging.set_verbosity_error()
    begin("templates")
    chat_template_utils.datetime = type("Fixed", (), {"now": staticmethod(lambda: DATE)})
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "tokenizer.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(finetune_peer.tokenizer_json(), f)
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=path, **SPECIAL)

    def rendered(template, chat):
        try:
            return tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, add_generation_prompt=chat[-1]["role"] != "assistant")
        except Exception:  # what the template, or Python, refuses
            return None
    write_json({"chats": CHATS, "date": DATE.strftime("%Y-%m-%d"), "special": SPECIAL,
                **{"template " + name: {"template": t, "texts": [rendered(t, c) for c in CHATS]} for name, t in TEMPLATES.items()}},
               "templates", "expected.json")
    record("templates", transformers=transformers.__version__, jinja2=jinja2.__version__)


# ---- tokenizers

ODD = ["", " ", "  ", "\n", "\n\n\n", "\t\t ", "a", " a", "a ", "  a  b   c    ", "The lamp near the window is lit.", "the the the thethe",
       "It's late; we'll wait, they've gone, I'd say.", "IT'S WE'LL", "12345 67 8 90.5 1,000,000", "x=1;y=2\nif x<y:\n    y-=x\n\n",
       "naïve café", "cafe\u0301 nai\u0308ve", "ﬁne ﬂow ½ Ⅷ ²", "Straße STRASSE ǅ", "猫と犬", "한국어 각", "привет, мир", "مرحبا بكم", "नमस्ते",
       "🦙", "👩‍👩‍👧 and 🏳️‍🌈", "a\u0323\u0302 a\u0302\u0323 q\u0307\u0323", "\u00a0\u2003\u3000x\u200by\u0085z", "tab\tnew\nret\r\nend", "<s>", "</s> <unk>",
       "a<one>b <one> c", "<one><two>", "two words<two>  here", "three threes three-three", "under_score __init__ a-b --", "...!? (a) [b] {c} \"d\"",
       "https://lamp.example/a?b=c&d=%20", "▁▁ ▁a Ġ Ċ", "<0x41><0xE7>", "\U0010ffff\ufffd\ue000", "\u0001\u007f\u001f", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
       "windowwindow lamplight", "the\u00adlamp", "A B C\u2028D\u2029E"]
WORDS = ("the a lamp window near is lit was over green hill river stone and then it's we'll they've water wind rain cold warm light lights lighting light"
         "er walk walks walked walking under after every morning evening quiet small three threes number 12 345 2024 café naïve 猫 мир").split()


def corpus():
    r = random.Random(17)
    return [" ".join(r.choice(WORDS) for _ in range(r.randrange(4, 14))).capitalize() + r.choice([".", "!", "?", ",\n", ";  "]) for _ in range(300)]


def write_tokenizers(_):
    import tokenizers
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    begin("tokenizers")
    letters = pre_tokenizers.ByteLevel.alphabet()
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

    def train(tokenizer, size, alphabet=(), special=("<unk>", "<s>", "</s>")):
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=list(alphabet), show_progress=False)
        tokenizer.train_from_iterator(corpus(), trainer)
        return tokenizer

    def bytes_behind(tokenizer, count):
        """The 256 tokens of single bytes behind the first `count` ones, which the trainer does not make."""
        content = json.loads(tokenizer.to_str())
        old = sorted(content["model"]["vocab"], key=content["model"]["vocab"].get)
        content["model"]["vocab"] = {t: i for i, t in enumerate(old[:count] + ["<0x%02X>" % b for b in range(256)] + old[count:])}
        content["model"]["byte_fallback"] = True
        return Tokenizer.from_str(json.dumps(content))

    def begins(tokenizer, token="<s>"):
        tokenizer.post_processor = processors.TemplateProcessing(single=token + " $A", special_tokens=[(token, tokenizer.token_to_id(token))])
        return tokenizer

    def byte_level():
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        return train(t, 400, letters, ("<unk>", "<s>", "</s>", "<one>", "<two>"))

    def byte_level_split():
        t = Tokenizer(models.BPE(ignore_merges=True))
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
        return begins(train(t, 380, letters))

    def byte_level_digits():
        t = Tokenizer(models.BPE())
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])
        t.decoder = decoders.ByteLevel()
        t.post_processor = processors.ByteLevel(trim_offsets=True)
        return train(t, 350, letters)

    def added():
        t = byte_level_split()
        t.add_tokens([AddedToken("<one>", lstrip=True, normalized=False), AddedToken("three", single_word=True, normalized=True), AddedToken("win", normalized=False)])
        t.add_special_tokens([AddedToken("<two>", rstrip=True, normalized=False)])
        return t

    def prepended():
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # words, for training alone
        train(t, 200)
        t = bytes_behind(t, 3)
        content = json.loads(t.to_str())
        content["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(content))
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        return begins(t)

    def metaspace():
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
        t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first", split=True)
        return begins(train(t, 200))

    def replaced():
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
        t.decoder = decoders.ByteLevel()
        t = train(t, 330, letters, ("<unk>",))
        content = json.loads(t.to_str())
        content["added_tokens"] = []
        return Tokenizer.from_str(json.dumps(content))

    for make in (byte_level, byte_level_split, byte_level_digits, added, prepended, metaspace, replaced):
        name = make.__name__.replace("_", "-")
        made = make()
        write_json(json.loads(made.to_str()), "tokenizers", name, "tokenizer.json")
        lines = []
        for text, want in zip(ODD, made.encode_batch(ODD)):
            at = [0]
            for c in text:
                at.append(at[-1] + len(c.encode()))
            lines.append({"text": text, "ids": want.ids, "spans": [[at[b], at[e]] for b, e in want.offsets], "decoded": made.decode(want.ids).replace("\0", "\ufffd")})
        write_json(lines, "tokenizers", name, "expected.json")
    record("tokenizers", tokenizers=tokenizers.__version__)


PARTS = {"models": write_models, "torch": write_torch, "finetune": write_finetune, "parquet": write_parquet, "templates": write_templates,
         "tokenizers": write_tokenizers}


def main():
    if len(sys.argv) < 3 or not set(sys.argv[2:]) <= set(PARTS):
        sys.exit(__doc__)
    sys.path.insert(0, os.path.dirname(HERE))
    for part in sys.argv[2:]:
        PARTS[part](sys.argv[1])
        print("fixtures: %s, %d bytes" % (part, sum(os.path.getsize(os.path.join(w, n)) for w, _, names in os.walk(os.path.join(HERE, part)) for n in names)),
              flush=True)


if __name__ == "__main__":
    main()

"""Fine-tuning by the program against PyTorch: autograd through transformers' models, torch.optim.AdamW and clip_grad_norm_, in float64.

    python3 finetune_peer.py SAEDIFF

Tiny random models of each family are fine-tuned on a few documents, all of them in every step, so that their order does not matter: one step and ten,
of all weights, with some frozen, and of LoRA adapters (A and B beside torch.nn.Linear, as in peft, from the values that the program draws).
Losses and gradient norms of every step and the weights after the last must agree. Then transformers loads the folder that the program
wrote, adapters merged: its logits must be those of the program's own forward pass, and those of the model that PyTorch tuned; peft loads the
adapters beside the base model, to the same logits. Prints a line per case; exits 1 if any differs.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import old_torch  # noqa: F401  (before transformers)
import peft
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import models_peer

LR, WARMUP, DECAY, CLIP, BETAS, EPS = 2e-3, 2, 0.1, 0.7, (0.9, 0.95), 1e-8
RANK, ALPHA = 3, 5.0
# Relative to the loss, the norm, and what the steps changed; of logits, of one model read twice and of two models tuned, to the largest.
# fp32 against float64.
LOSS, NORM, WEIGHTS, LOGITS, TUNED = 2e-6, 1e-4, 2e-3, 2e-5, 1e-4
WORDS = "the cat sat on a mat and ran in the sun then one dog came to see it".split()

program = None
failures = cases = 0


def report(name, text, fine):
    global failures, cases
    cases += 1
    failures += not fine
    print("%-52s %s %s" % (name, text, "" if fine else "DIFFERS"), flush=True)


# Ten steps magnify the rounding of the first, by OpenBLAS's kernels differently: one kernel on every machine, so that the bounds test the method.
KERNEL = {"OPENBLAS_CORETYPE": "Haswell"}


def said(*args):
    done = subprocess.run([program, *args, "--quiet"], env=dict(os.environ, **KERNEL), capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise RuntimeError("status %d of %s: %s" % (done.returncode, " ".join(args), done.stderr))
    return done.stdout


def tokenizer_json():
    """A byte-level BPE without merges: 256 bytes behind three specials."""
    visible = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters, more = {b: chr(b) for b in visible}, 256
    for b in range(256):
        if b not in letters:
            letters[b] = chr(more)
            more += 1
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for b in range(256):
        vocab[letters[b]] = len(vocab)
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i, c in enumerate(["<unk>", "<s>", "</s>"])]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}


def texts():
    rng = np.random.RandomState(5)
    return [" ".join(rng.choice(WORDS, rng.randint(2, 9))) for _ in range(12)]


class Adapter(torch.nn.Module):
    def __init__(self, linear, a, b):
        super().__init__()
        self.linear = linear
        self.a, self.b = torch.nn.Parameter(a), torch.nn.Parameter(b)

    def forward(self, x):
        return self.linear(x) + (x @ self.a.T) @ self.b.T * (ALPHA / RANK)

    def merged(self):
        return self.linear.weight + self.b @ self.a * (ALPHA / RANK)


def give_adapters(model, start):
    """Every matrix named in `start` gets A and B from there; nothing else is trained."""
    for p in model.parameters():
        p.requires_grad_(False)
    for name in sorted({key.rsplit(".lora_", 1)[0] for key in start}):
        parent, _, last = name[len("base_model.model."):].rpartition(".")
        module = model.get_submodule(parent)
        setattr(module, last, Adapter(getattr(module, last), *(start["%s.lora_%s.weight" % (name, w)].double() for w in "AB")))


def learn(model, documents, steps):
    """(losses, norms)"""
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW([{"params": [p for p in learned if p.dim() > 1], "weight_decay": DECAY},
                                   {"params": [p for p in learned if p.dim() == 1], "weight_decay": 0.0}], lr=LR, betas=BETAS, eps=EPS)
    counted = sum(len(ids) - 1 for ids in documents)
    losses, norms = [], []
    for t in range(1, steps + 1):
        rate = LR * t / WARMUP if t <= WARMUP else LR * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (t - WARMUP) / (steps - WARMUP))))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss = 0
        for ids in documents:
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
            loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
        loss = loss / counted
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(learned, CLIP)))
        losses.append(float(loss))
        optimiser.step()
    return losses, norms


def weights_of(model):
    found = {}
    for name, p in model.named_parameters():
        if ".linear." not in name and not name.endswith((".a", ".b")):
            found[name] = p.detach().double()
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            found[name + ".weight"] = module.merged().detach().double()
    return found


def our_steps(folder, base, out, steps, **keys):
    job = {"name": "peer", "seed": 7, "out": out, "models": {"base": base},
           "finetune": dict({"data": [{"path": os.path.join(folder, "texts.json")}], "steps": steps, "batch": 100000, "micro_batch": 64, "lr": LR, "schedule": "cosine", "final": 0.1, "warmup": WARMUP, "decay": DECAY,
                             "clip": CLIP, "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS}, **keys)}
    path = os.path.join(folder, "job.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(job, f)
    said("run", path, "--out", out)
    with open(os.path.join(out, "finetune", "log.jsonl"), encoding="utf-8") as f:
        log = [json.loads(line) for line in f]
    return [line["loss"] for line in log], [line["grad_norm"] for line in log]


def judge(name, family, steps, freeze=(), **keys):
    lora = bool(keys.get("lora_rank"))
    with tempfile.TemporaryDirectory() as folder:
        base, out = os.path.join(folder, "base"), os.path.join(folder, "out")
        model = models_peer.random_model(family, vocab_size=259, tie_word_embeddings=family == "llama", sliding_window=None, head_dim=8)
        model.save_pretrained(base)
        with open(os.path.join(base, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(tokenizer_json(), f)
        with open(os.path.join(folder, "texts.json"), "w", encoding="utf-8") as f:
            json.dump(texts(), f)
        documents = [[1] + spelled(text) + [2] for text in texts()]
        before = {k: v.detach().double().clone() for k, v in model.named_parameters()}
        model = model.double().train()
        if lora:
            our_steps(folder, base, os.path.join(folder, "start"), 1, freeze=list(freeze), **dict(keys, lr=0.0))
            give_adapters(model, load_file(os.path.join(folder, "start", "finetune", "adapter", "adapter_model.safetensors")))
        for key, p in model.named_parameters():
            if any("." + word + "." in "." + key for word in freeze):
                p.requires_grad_(False)
        losses, norms = our_steps(folder, base, out, steps, freeze=list(freeze), **keys)
        want_losses, want_norms = learn(model, documents, steps)
        loss = max(abs(a / b - 1) for a, b in zip(losses, want_losses))
        norm = max(abs(a / b - 1) for a, b in zip(norms, want_norms))
        got, want = load_file(os.path.join(out, "model", "model.safetensors")), weights_of(model)
        apart = math.sqrt(sum(float((got[k].double() - v).pow(2).sum()) for k, v in want.items()))
        moved = math.sqrt(sum(float((before[k] - v).pow(2).sum()) for k, v in want.items()))
        loaded = AutoModelForCausalLM.from_pretrained(os.path.join(out, "model"), attn_implementation="eager")
        same = set(got) == set(loaded.state_dict()) - ({"lm_head.weight"} if family == "llama" else set())
        sites = models_peer.theirs(loaded, documents[0])
        worst, _ = models_peer.distance(models_peer.ours(os.path.join(out, "model"), documents[0], sites), sites)
        tuned, _ = models_peer.distance({"logits": sites["logits"]}, {"logits": models_peer.theirs(model, documents[0])["logits"]})
        if lora:
            beside = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").double(),
                                                    os.path.join(out, "finetune", "adapter")).double().eval()
            with torch.no_grad():
                logits = beside(torch.tensor([documents[0]]), use_cache=False).logits[0].numpy()
            worst = max(worst, models_peer.distance({"logits": logits}, {"logits": sites["logits"]})[0])
        fine = len(losses) == steps and loss <= LOSS and norm <= NORM and moved > 0 and apart <= WEIGHTS * moved and same and worst <= LOGITS and tuned <= TUNED
        report(name, "loss %.0e, norm %.0e, weights %.0e of %.0e moved, loaded %.0e, beside the tuned %.0e" % (loss, norm, apart / moved, moved, worst, tuned),
               fine)


def spelled(text):
    """By transformers' own reading of the tokenizer."""
    return fast(text, add_special_tokens=False)["input_ids"]


def main():
    global program, fast
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = models_peer.program = sys.argv[1]
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    print("transformers %s, peft %s, torch %s" % (transformers.__version__, peft.__version__, torch.__version__))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(tokenizer_json(), f)
        fast = transformers.PreTrainedTokenizerFast(tokenizer_file=path)
    for family in models_peer.CLASSES:
        for steps in (1, 10):
            judge("%s, %d step%s" % (family, steps, "s" if steps > 1 else ""), family, steps)
    judge("qwen2, 10 steps, some frozen", "qwen2", 10, freeze=["embed_tokens", "layers.1", "mlp"])
    for family in ("llama", "qwen3"):
        judge("%s, 10 steps of adapters" % family, family, 10, lora_rank=RANK, lora_alpha=ALPHA)
    judge("mistral, 10 steps of adapters, some matrices", "mistral", 10, freeze=["layers.0"], lora_rank=RANK, lora_alpha=ALPHA,
          lora_targets=["q_proj", "v_proj", "down_proj"])
    print("%d cases, %d differ" % (cases, failures))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

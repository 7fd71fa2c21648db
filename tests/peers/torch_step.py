"""A training step of a small Llama in plain PyTorch (1.13 or newer), timed: what `saediff bench finetune --peer` puts its own rate beside.

    python3 torch_step.py step [--preset stories15m] [--tied] [--batch 8] [--context 256] [--threads N]

Forward, cross entropy of every next token, autograd, clipping at norm 1 and AdamW, in fp32 on the processor; nothing is computed again. One
JSON line: tokens_per_s, seconds of the median step, torch's version, and what was asked for.
"""
import argparse
import json
import math
import time

import torch
from torch.nn import functional as F

SIZES = ("hidden", "layers", "heads", "kv_heads", "mlp", "vocab")
PRESETS = {"stories15m": (288, 6, 6, 6, 768, 32000), "stories110m": (768, 12, 12, 12, 2048, 32000)}


class Norm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.gain


class Block(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        d, self.heads, self.kv = size["hidden"], size["heads"], size["kv_heads"]
        self.head = d // self.heads
        self.norm1, self.norm2 = Norm(d), Norm(d)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(a, b, bias=False) for a, b in (
            (d, d), (d, self.kv * self.head), (d, self.kv * self.head), (d, d)))
        self.gate, self.up, self.down = (torch.nn.Linear(a, b, bias=False) for a, b in (
            (d, size["mlp"]), (d, size["mlp"]), (size["mlp"], d)))

    def heads_of(self, x, count):
        return x.view(x.shape[0], x.shape[1], count, self.head).transpose(1, 2)

    def forward(self, x, cos, sin, bar):
        n = self.norm1(x)
        q, k = turn(self.heads_of(self.q(n), self.heads), cos, sin), turn(self.heads_of(self.k(n), self.kv), cos, sin)
        v = self.heads_of(self.v(n), self.kv)
        k, v = (t.repeat_interleave(self.heads // self.kv, 1) if self.heads > self.kv else t for t in (k, v))
        if hasattr(F, "scaled_dot_product_attention"):
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            mixed = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(self.head) + bar, -1) @ v
        x = x + self.o(mixed.transpose(1, 2).reshape(x.shape))
        n = self.norm2(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


def turn(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Llama(torch.nn.Module):
    def __init__(self, size, context, tied):
        super().__init__()
        head = size["hidden"] // size["heads"]
        self.embed = torch.nn.Embedding(size["vocab"], size["hidden"])
        self.blocks = torch.nn.ModuleList(Block(size) for _ in range(size["layers"]))
        self.norm = Norm(size["hidden"])
        self.out = torch.nn.Linear(size["hidden"], size["vocab"], bias=False)
        if tied:
            self.out.weight = self.embed.weight
        angle = torch.arange(context)[:, None] * 1e4 ** (-torch.arange(0, head, 2) / head)[None, :]
        angle = torch.cat([angle, angle], 1)
        self.cos, self.sin = angle.cos(), angle.sin()
        self.bar = torch.full((context, context), float("-inf")).triu(1)
        for p in self.parameters():
            if p.dim() > 1:
                torch.nn.init.normal_(p, 0, 0.02)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.bar)
        return self.out(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["step"])
    parser.add_argument("--preset", default="stories15m", choices=sorted(PRESETS), help="sizes of the model")
    parser.add_argument("--tied", action="store_true", help="the output matrix is the embedding")
    parser.add_argument("--batch", type=int, default=8, help="sequences of a step")
    parser.add_argument("--context", type=int, default=256, help="tokens of a sequence")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--steps", type=int, default=3, help="measured steps, behind one that is not")
    args = parser.parse_args()
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = Llama(dict(zip(SIZES, PRESETS[args.preset])), args.context, args.tied)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0)
    ids = torch.randint(0, model.embed.num_embeddings, (args.batch, args.context))
    times = []
    for _ in range(1 + args.steps):
        began = time.perf_counter()
        optimiser.zero_grad()
        logits = model(ids)
        F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        times.append(time.perf_counter() - began)
    median = sorted(times[1:])[args.steps // 2]
    print(json.dumps({"what": "step", "tokens_per_s": ids.numel() / median, "median_step_s": median, "torch": torch.__version__,
                      "threads": torch.get_num_threads(), "preset": args.preset, "batch": args.batch, "context": args.context,
                      "parameters": sum(p.numel() for p in model.parameters())}))


if __name__ == "__main__":
    main()

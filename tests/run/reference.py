"""The commands against the test data's reference values: hidden states, logits, ids, losses."""
import json
import os

import kit

np = kit.np
data = kit.data_or_skip()
world = kit.World()


def apart(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def test_forward_of_every_prompt():
    seen = 0
    for model in ("stories260K", "stories260K-news"):
        folder = os.path.join(data, "models", model)
        for prompt in json.load(open(folder + "/reference/prompts.json")):
            want = kit.read_safetensors("%s/reference/%s.safetensors" % (folder, prompt["name"]))
            sites = ["hook_embed", "ln_final.hook_normalized"]
            names = {"hook_embed": "embed", "ln_final.hook_normalized": "norm"}
            for l in range(5):
                for ours, theirs in (("hook_resid_post", ""), ("hook_attn_out", ".attn"), ("hook_mlp_out", ".mlp")):
                    sites.append("blocks.%d.%s" % (l, ours))
                    names[sites[-1]] = "layer.%d%s" % (l, theirs)
            for source in (["--ids", ",".join(map(str, prompt["ids"]))], ["--text", prompt["text"]]):
                kit.must(0, "forward", "--model", folder, *source, "--sites", ",".join(sites), "--out", world.path("f.h5"))
                with kit.h5py.File(world.path("f.h5")) as f:
                    assert f["ids"][:].tolist() == prompt["ids"], prompt["name"]
                    for site in sites:
                        assert apart(f[site][:], want[names[site]]) < 2e-5, (model, prompt["name"], site)
                    assert apart(f["logits"][:], want["logits"]) < 2e-5, (model, prompt["name"])
                    if "next_token_logprob" in want:
                        assert np.abs(f["next_token_logprob"][:-1] - want["next_token_logprob"]).max() < 2e-4
                seen += 1
    assert seen >= 12, seen


def test_tokenize_against_the_vectors():
    folder = os.path.join(data, "models", "stories260K")
    for v in json.load(open(folder + "/tokenizer_vectors.json")):
        if "\0" in v["text"] or "<s>" in v["text"] or "</s>" in v["text"] or "<unk>" in v["text"]:
            continue  # no NUL on a command line; the vectors were made without recognising special tokens in the text
        out, _ = kit.must(0, "tokenize", "--model", folder, "--no-special", "--text", v["text"])
        assert json.loads(out) == v["ids"], v["text"]


def test_losses_of_loss_json():
    """Mean loss of each text set; predictions made at BOS count there, so extract.loss_bos is on."""
    stories = json.load(open(data + "/text/tinystories/stories_0000_0699.json"))[:100]
    with open(data + "/text/financial-phrasebank/Sentences_50Agree.part.txt", encoding="utf-8-sig", newline="") as f:
        bank = [line.rstrip("\r\n").rsplit("@", 1)[0] for line in f][:200]
    json.dump(stories, open(world.path("tinystories.json"), "w"))
    json.dump(bank, open(world.path("bank.json"), "w"))
    job = {"name": "losses", "out": "losses", "models": {"base": data + "/models/stories260K", "tuned": data + "/models/stories260K-news"},
           "data": [{"name": "tinystories", "path": "tinystories.json"}, {"name": "financial-phrasebank", "path": "bank.json"},
                    {"name": "gsm8k", "path": data + "/text/gsm8k/train.jsonl", "field": "question", "limit": 100}],
           "tokenize": {}, "extract": {"sites": ["0"], "loss": True, "loss_bos": True}, "sae": {"latents": 32, "k": 4},
           "train": {"batch": 1024, "epochs": 0.1}, "encode": {}, "diff": {}, "report": {}}
    json.dump(job, open(world.path("losses.json"), "w"))
    kit.must(2, "run", world.path("losses.json"), "--quiet")
    results = json.load(open(world.path("losses/report/results.json")))
    found = {entry["name"]: entry for entry in results["loss"]["sources"]}
    for label, model in (("base", "stories260K"), ("tuned", "stories260K-news")):
        want = json.load(open("%s/models/%s/reference/loss.json" % (data, model)))
        for name, w in want.items():
            got = found[name]
            assert got["documents"] == w["documents"], name
            assert got[label]["n"] == w["predicted_tokens"], (name, got[label])
            assert abs(got[label]["value"] / w["nats_per_token"] - 1) < 1e-6, (model, name, got[label])


try:
    kit.main(test_forward_of_every_prompt, test_tokenize_against_the_vectors, test_losses_of_loss_json)
finally:
    world.close()

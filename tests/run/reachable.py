"""The quality of a small TopK SAE on the test data (sae/reachable.json), with its data, settings and steps: explained variance at
least the value there less 0.01, latents that never fire at most 2 points more. Held-out rows are encoded with the exported
SAELens weights in numpy, so the export is checked with it."""
import json
import re

import kit

np = kit.np
data = kit.data_or_skip()
world = kit.World()
reference = json.load(open(data + "/sae/reachable.json"))
RUNS = {r["layer"]: r for r in reference["runs"] if (r["latents"], r["k"], r["epochs"], r["seed"]) == (512, 16, 10, 1)}
assert sorted(RUNS) == [1, 3]


def articles():
    """Articles with a body of at least 200 characters: title, newline, body; white space made one space; closing Reuter dropped."""
    text = open(data + "/text/reuters-21578/reut2-000.sgm", encoding="latin-1").read()

    def clean(t):
        t = t.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&#3;", "")
        return " ".join(t.split())

    found = []
    for article in re.findall(r"<REUTERS.*?</REUTERS>", text, re.S):
        title = re.search(r"<TITLE>(.*?)</TITLE>", article, re.S)
        body = re.search(r"<BODY>(.*?)</BODY>", article, re.S)
        if not title or not body:
            continue
        body = clean(body.group(1))
        if body.lower().endswith("reuter"):
            body = body[:-6].rstrip()
        if len(body) >= 200:
            found.append(clean(title.group(1)) + "\n" + body)
    return found


def write_jobs():
    stories = json.load(open(data + "/text/tinystories/stories_0000_0699.json"))
    news = articles()
    for name, a, b in (("train", stories[:650], news[:400]), ("held", stories[650:], news[400:440])):
        json.dump(a, open(world.path(name + "-stories.json"), "w"))
        json.dump(b, open(world.path(name + "-news.json"), "w"))
    run = RUNS[3]
    base = {"name": "reachable", "seed": 1, "models": {"base": data + "/models/stories260K"}, "tokenize": {},
            "extract": {"sites": ["1", "3"]}}
    sae = {"latents": 512, "k": 16, "k_aux": 32, "dead_tokens": 100000}
    train = {"batch": run["batch"], "window": 2 ** 20, "epochs": run["epochs"], "lr": run["lr"], "warmup": 200, "decay": 0.2}
    for name in ("train", "held"):
        job = dict(base, out=name, data=[{"name": "stories", "path": name + "-stories.json"}, {"name": "news", "path": name + "-news.json"}])
        if name == "train":
            job.update(sae=sae, train=train, encode={})
        json.dump(job, open(world.path(name + ".json"), "w"))


def measures(weights, x):
    """Explained variance, and the fraction of latents that never fire, of a SAELens TopK on raw rows x."""
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    sse, fired = 0.0, np.zeros(512, bool)
    for part in np.array_split(x.astype(np.float64), 20):
        h = (part - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
        cut = np.partition(h, -16, axis=1)[:, -16][:, None]
        f = np.where((h >= cut) & (h > 0), h, 0)
        fired |= (f > 0).any(0)
        sse += ((part - f @ w["W_dec"] - w["b_dec"]) ** 2).sum()
    return 1 - sse / ((x - x.mean(0, dtype=np.float64)) ** 2).sum(), 1 - fired.mean()


def rows(out, site):
    with kit.h5py.File(world.path(out, "tokens/tokens.h5")) as f:
        mask = f["mask"][:].astype(bool)
    with kit.h5py.File(world.path(out, "acts/base", site, "view.h5")) as f:
        return f["activations"][:][mask]


def test_reaches_the_reference():
    write_jobs()
    kit.must(2, "run", world.path("train.json"), "--quiet")
    kit.must(2, "run", world.path("held.json"), "--quiet")
    for layer, run in sorted(RUNS.items()):
        site = "blocks.%d.hook_resid_post" % layer
        weights = kit.read_safetensors(world.path("train/sae", site, "topk-512-k16/sae_weights.safetensors"))
        for out, key in (("train", "train"), ("held", "held_out")):
            x = rows(out, site)
            ev, never = measures(weights, x)
            want = run[key]
            print("layer %d %-8s rows %6d (reference %6d)  EV %.4f (%.4f)  never fired %.3f (%.3f)"
                  % (layer, key, len(x), want["rows"], ev, want["explained_variance"], never, want["never_fired_share"]), flush=True)
            assert abs(len(x) / want["rows"] - 1) < 0.01, (len(x), want["rows"])
            assert ev >= want["explained_variance"] - 0.01, (layer, key, ev)
            assert never <= want["never_fired_share"] + 0.02, (layer, key, never)


try:
    kit.main(test_reaches_the_reference)
finally:
    world.close()

"""The stage evaluate against a plain float64 forward pass in numpy that splices the exported SAE in; kills, skips, edge cases."""
import json
import os

import kit

np = kit.np
world = kit.World()
EVAL = {"evaluate": {}, "extract": {"sites": ["0", "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"], "shard_tokens": 700,
                                    "batch_tokens": 150}}


# ---- the reference

def norm(x, gain):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain


def rope(x, heads):
    n, half = len(x), 2
    angle = np.arange(n)[:, None] * 10000.0 ** (-np.arange(half) / half)
    a, b = x.reshape(n, heads, 4)[:, :, :half], x.reshape(n, heads, 4)[:, :, half:]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.concatenate([a * c - b * s, b * c + a * s], -1)


def forward(w, ids, site=None, splice=None):
    """Log-probabilities, resid_post of each layer. `splice` maps the rows at `site` ("post 0", "mid 1") to their replacements."""
    x = w["model.embed_tokens.weight"][ids]
    posts = []
    for l in range(3):
        p = "model.layers.%d." % l
        h = norm(x, w[p + "input_layernorm.weight"])
        q, k = rope(h @ w[p + "self_attn.q_proj.weight"].T, 4), rope(h @ w[p + "self_attn.k_proj.weight"].T, 2)
        v = (h @ w[p + "self_attn.v_proj.weight"].T).reshape(len(ids), 2, 4)
        mixed = []
        for head in range(4):
            scores = q[:, head] @ k[:, head // 2].T / 2
            scores[np.triu_indices(len(ids), 1)] = -np.inf
            e = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(e / e.sum(-1, keepdims=True) @ v[:, head // 2])
        x = x + np.concatenate(mixed, -1) @ w[p + "self_attn.o_proj.weight"].T
        if site == "mid %d" % l:
            x = splice(x)
        h = norm(x, w[p + "post_attention_layernorm.weight"])
        g = h @ w[p + "mlp.gate_proj.weight"].T
        x = x + (g / (1 + np.exp(-g)) * (h @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        if site == "post %d" % l:
            x = splice(x)
        posts.append(x)
    logits = norm(x, w["model.norm.weight"]) @ w["model.embed_tokens.weight"].T
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), posts


def weights(name):
    return {k: v.astype(np.float64) for k, v in kit.read_safetensors(world.path(name, "model.safetensors")).items()}


def reconstruct(sae, x, k):
    h = (x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    f = np.zeros_like(h)
    top = np.argsort(-h, axis=1, kind="stable")[:, :k]
    np.put_along_axis(f, top, np.maximum(np.take_along_axis(h, top, 1), 0), 1)
    return f, f @ sae["W_dec"] + sae["b_dec"]


def tokens(out):
    with kit.h5py.File(os.path.join(out, "tokens/tokens.h5")) as f:
        return {k: f[k][:].astype(np.int64) for k in ("ids", "mask", "doc_start", "doc_source")}


def columns(out, model, site, sae):
    with kit.h5py.File(os.path.join(out, "eval", model, site, sae, "eval.h5")) as f:
        return {k: f[k][...] for k in f}, dict(f.attrs)


def near(got, want, what, rtol=2e-4, atol=1e-4):
    assert np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True), (what, np.abs(got - want).max(), got[:4], want[:4])


def check_site(out, model, name, place, count_bos):
    t = tokens(out)
    w = weights(model)
    site = "blocks.0.hook_resid_post" if place == "post 0" else "blocks.1.hook_resid_mid"
    sae = {k: v.astype(np.float64) for k, v in kit.read_safetensors(
        os.path.join(out, "sae", site, name, "sae_weights.safetensors")).items()}
    got, attrs = columns(out, model, site, name)
    with kit.h5py.File(os.path.join(out, "acts", model, site, "view.h5")) as f:
        x = f["activations"][:].astype(np.float64)
    mask = t["mask"].astype(bool)
    source = np.repeat(t["doc_source"], np.diff(t["doc_start"]))
    f, y = reconstruct(sae, x, 3)
    before = (x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    mean = x[mask].mean(0)
    length = np.linalg.norm(sae["W_dec"], axis=1)  # codes are in the SAE's units; raw ones times this
    fires = np.array([(f[mask & (source == s)] > 0).sum(0) for s in (0, 1)])
    assert np.array_equal(got["fires"], fires)
    near(got["strength"].ravel(), np.array([f[mask & (source == s)].sum(0) * length for s in (0, 1)]).ravel(), "strength", 1e-3, 1e-2)
    for d in range(len(t["doc_source"])):
        rows = slice(t["doc_start"][d], t["doc_start"][d + 1])
        m, ids = mask[rows], t["ids"][rows]
        X, Y = x[rows], y[rows]
        own = x[mask & (source == t["doc_source"][d])].mean(0)
        everything = x[source == t["doc_source"][d]].mean(0)
        sums = {"tokens": m.sum(), "sse": ((X - Y)[m] ** 2).sum(), "spread": ((X - mean)[m] ** 2).sum(),
                "spread_source": ((X - own)[m] ** 2).sum(), "x2": (X[m] ** 2).sum(), "y2": (Y[m] ** 2).sum(),
                "xy": (X * Y)[m].sum(), "l0": (f[rows][m] > 0).sum(), "l1": f[rows][m].sum(), "all_tokens": len(m), "all_sse": ((X - Y) ** 2).sum(),
                "all_spread": ((X - x.mean(0)) ** 2).sum(), "all_spread_source": ((X - everything) ** 2).sum(),
                "all_l0_before": (before[rows] > 0).sum(),
                "cosine": ((X * Y).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(Y, axis=1))[m].sum(),
                "ratio": (np.linalg.norm(Y, axis=1) / np.linalg.norm(X, axis=1))[m].sum()}
        counts = m.copy()
        counts[0] = counts[0] or count_bos
        counts[-1] = False
        sums["predictions"] = counts.sum()
        clean = forward(w, ids)[0]
        for condition, value in (("clean", X), ("sae", Y), ("zero", 0 * X), ("mean", mean + 0 * X)):
            logp = forward(w, ids, place, lambda s: np.where(m[:, None], value, X))[0]
            sums["ce_" + condition] = -logp[np.arange(len(ids) - 1), ids[1:]][counts[:-1]].sum()
            if condition != "clean":
                sums["kl_" + condition] = (np.exp(clean) * (clean - logp)).sum(1)[counts].sum()
        for column, value in sums.items():
            near(got[column][d:d + 1], np.array([value]), (model, site, column, d), 5e-4, 2e-3)
    assert attrs["count_bos"] == count_bos and attrs["model"] == model


# ---- tests

def test_against_numpy():
    job = world.write_job(**EVAL)
    out = world.path("run")
    kit.must(2, "run", job, "--quiet")
    check_site(out, "base", "topk-24-k3", "post 0", False)
    check_site(out, "tuned", "topk-40-k3", "mid 1", False)
    kit.must(3, "evaluate", job, "--quiet", "--set", "evaluate.count_bos=true")
    check_site(out, "tuned", "topk-24-k3", "post 0", True)


def test_models_against_numpy():
    out, t = world.path("run"), tokens(world.path("run"))
    base, tuned = weights("base"), weights("tuned")
    for everything in (False, True):
        kit.must(2, "evaluate", world.path("job.json"), "--quiet", "--set", "evaluate.all_positions=%s" % str(everything).lower())
        with kit.h5py.File(os.path.join(out, "eval/models.h5")) as f:
            got = {k: f[k][...] for k in f}
        for d in range(0, len(t["doc_source"]), 7):
            rows = slice(t["doc_start"][d], t["doc_start"][d + 1])
            m = t["mask"][rows].astype(bool) | everything
            (p, a), (q, b) = forward(base, t["ids"][rows]), forward(tuned, t["ids"][rows])
            assert got["tokens"][d] == m.sum()
            near(got["kl_base_tuned"][d:d + 1], [(np.exp(p) * (p - q)).sum(1)[m].sum()], "kl")
            near(got["kl_tuned_base"][d:d + 1], [(np.exp(q) * (q - p)).sum(1)[m].sum()], "kl back")
            assert got["agree"][d] == (p.argmax(1) == q.argmax(1))[m].sum()
            for l in range(3):
                na, nb = np.linalg.norm(a[l], axis=1), np.linalg.norm(b[l], axis=1)
                near(got["cosine"][l, d:d + 1], [((a[l] * b[l]).sum(1) / na / nb)[m].sum()], "cosine")
                near(got["relative_l2"][l, d:d + 1], [(np.linalg.norm(a[l] - b[l], axis=1) / na)[m].sum()], "relative")


def test_a_site_without_passes():
    got, attrs = columns(world.path("run"), "base", "blocks.1.hook_mlp_out", "topk-24-k3")
    assert "no pass can continue from blocks.1.hook_mlp_out" in attrs["no_passes"]
    assert np.isnan(got["ce_clean"]).all() and np.isnan(got["kl_mean"]).all()
    assert np.isfinite(got["sse"]).all() and got["tokens"].sum() > 1000


def test_equal_models_differ_by_exactly_zero():
    job = world.write_job("twin.json", models={"tuned": "twin"}, out="twin", **EVAL)
    kit.must(3, "run", job, "--quiet")
    with kit.h5py.File(world.path("twin/eval/models.h5")) as f:
        for name in ("kl_base_tuned", "kl_tuned_base", "relative_l2"):
            assert (f[name][...] == 0).all() and not np.signbit(f[name][...]).any(), name
        assert np.array_equal(f["agree"][:], f["tokens"][:]) and (f["cosine"][:] == f["tokens"][:]).all()
    for site in ("blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"):
        a, b = (columns(world.path("twin"), m, site, "topk-40-k3")[0] for m in ("base", "tuned"))
        assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


def test_a_changed_key_and_one_model():
    out = world.path("run")
    kit.must(0, "evaluate", world.path("job.json"), "--quiet")
    before = {p: os.stat(os.path.join(out, p)).st_mtime_ns for p in kit.digests(out)}
    _, err = kit.must(2, "evaluate", world.path("job.json"), "--set", "evaluate.max_dead=0.5")
    assert "everything is done already" in err, err
    kit.must(2, "evaluate", world.path("job.json"), "--quiet", "--set", "evaluate.all_positions=true")
    after = {p: os.stat(os.path.join(out, p)).st_mtime_ns for p in before}
    assert {p for p in before if before[p] != after[p]} == {"eval/models.h5"}
    job = world.write_job("one.json", models={"tuned": ""}, out="one", diff=None, report=None, **EVAL)
    kit.must(2, "run", job, "--quiet")
    found = {p for p in kit.digests(world.path("one")) if p.startswith("eval/")}
    assert len(found) == 6 and all(p.startswith("eval/base/") for p in found), found


def test_without_its_inputs():
    job = world.write_job("early.json", out="early", **EVAL)
    kit.must(0, "tokenize", job, "--quiet")
    status, _, err = kit.run(2, "evaluate", job, "--quiet")
    assert status == 2 and "run `saediff" in err and err.count("error:") == 1, err


try:
    kit.main(test_against_numpy, test_models_against_numpy, test_a_site_without_passes,
             test_equal_models_differ_by_exactly_zero, test_a_changed_key_and_one_model, test_without_its_inputs)
finally:
    world.close()

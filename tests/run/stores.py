"""Stores of every type open in plain h5py with the documented content; inspect agrees; the view covers all shards."""
import os

import kit

np = kit.np
world = kit.World()


def extract(dtype):
    out = world.path("run-" + dtype)
    job = world.write_job("job-%s.json" % dtype, extract=dict(world.job["extract"], dtype=dtype))
    kit.must(2, "run", job, "--quiet", "--out", out)
    return out


def rows(out, model, site):
    with kit.h5py.File("%s/acts/%s/%s/view.h5" % (out, model, site)) as f:
        return f["activations"][:]


def bf16(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


OUT = {}


def test_types():
    for dtype in ("f32", "bf16", "f16"):
        OUT[dtype] = extract(dtype)
    for model in ("base", "tuned"):
        for site in ("blocks.0.hook_resid_post", "blocks.2.hook_resid_post"):
            full = rows(OUT["f32"], model, site)
            assert full.dtype == np.float32 and full.shape[1] == 16 and np.abs(full).max() > 0.1
            assert (rows(OUT["bf16"], model, site) == bf16(full)).all()
            half = rows(OUT["f16"], model, site)
            assert half.dtype == np.float16 and (half == full.astype(np.float16)).all()


def test_view_covers_the_tokens():
    with kit.h5py.File(OUT["f32"] + "/tokens/tokens.h5") as f:
        tokens = len(f["ids"])
        assert f["doc_start"][-1] == tokens and (np.diff(f["doc_start"][:].astype(np.int64)) > 0).all()
        assert (f["mask"][:] == (f["position"][:] > 0)).all()
    full = rows(OUT["f32"], "base", "blocks.0.hook_resid_post")
    assert len(full) == tokens
    shards = sorted(n for n in os.listdir(OUT["f32"] + "/acts/base/blocks.0.hook_resid_post") if n.startswith("shard-"))
    assert len(shards) == -(-tokens // 700) and len(shards) > 2
    parts = []
    for name in shards:
        with kit.h5py.File(OUT["f32"] + "/acts/base/blocks.0.hook_resid_post/" + name) as f:
            parts.append(f["activations"][:])
            for key in ("unit", "about"):
                assert key in f["activations"].attrs
            assert f.attrs["rows"] == len(parts[-1])
    assert (np.concatenate(parts) == full).all()


def test_codes_reconstruct_row_sse():
    """x̂ from the SAELens export and the codes gives row_sse."""
    out = OUT["f32"]
    site = "blocks.2.hook_resid_post"
    w = kit.read_safetensors("%s/sae/%s/topk-24-k3/sae_weights.safetensors" % (out, site))
    x = rows(out, "tuned", site).astype(np.float64)
    first = 0
    for name in sorted(os.listdir("%s/codes/tuned/%s/topk-24-k3" % (out, site))):
        with kit.h5py.File("%s/codes/tuned/%s/topk-24-k3/%s" % (out, site, name)) as f:
            start, latent, value, sse = f["row_start"][:], f["latent"][:], f["value"][:], f["row_sse"][:]
        n = len(start) - 1
        dense = np.zeros((n, 24))
        for r in range(n):
            a, b = int(start[r]), int(start[r + 1])
            assert b - a <= 3 and (np.diff(latent[a:b]) > 0).all() and (value[a:b] > 0).all()
            dense[r, latent[a:b]] = value[a:b]
        # The export's own arithmetic: the codes are those of h = (x - b_dec) W_enc + b_enc.
        h = (x[first:first + n] - w["b_dec"]) @ w["W_enc"].astype(np.float64) + w["b_enc"]
        assert np.abs(dense[dense > 0] - h[dense > 0]).max() < 1e-4
        error = ((x[first:first + n] - dense @ w["W_dec"].astype(np.float64) - w["b_dec"]) ** 2).sum(1)
        assert np.abs(error - sse).max() <= 1e-4 * (1 + sse.max())
        first += n
    assert first == len(x)


def test_inspect_agrees_with_h5py():
    path = OUT["bf16"] + "/acts/base/blocks.0.hook_resid_post/shard-000000.h5"
    text, _ = kit.must(0, "inspect", path)
    assert "activations" in text and "bf16" in text and "[700, 16]" in text, text
    with kit.h5py.File(path) as f:
        assert f["activations"].shape == (700, 16)
        assert str(f.attrs["site"]) in text or f.attrs["site"].decode() in text
    text, _ = kit.must(0, "inspect", world.path("base", "model.safetensors"))
    assert "model.layers.1.mlp.up_proj.weight" in text and "[24, 16]" in text, text
    text, _ = kit.must(0, "inspect", OUT["f32"] + "/manifest.log")
    assert "tokens/tokens.h5" in text, text


try:
    kit.main(test_types, test_view_covers_the_tokens, test_codes_reconstruct_row_sse, test_inspect_agrees_with_h5py)
finally:
    world.close()

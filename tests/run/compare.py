"""SAEs on both models, their comparison and their matching, through the program: against numpy, at several ranks, and with equal weights."""
import glob
import math
import json
import os

import kit

np = kit.np
world = kit.World()
BOTH = {"train": {"on": ["base", "tuned"]}, "extract": {"sites": ["0"]}, "diff": {"flips": 100}}
job = world.write_job(**BOTH)
twin = world.write_job("twin.json", models={"base": "base", "tuned": "twin"}, out="twin-run", **BOTH)
site = "blocks.0.hook_resid_post"
kit.must(2, "run", job, "--quiet")
out = world.path("run")


def codes(run, model, name, latents):
    """Dense [tokens, latents]."""
    rows = []
    for path in sorted(glob.glob(os.path.join(run, "codes", model, site, name, "shard-*.h5"))):
        with kit.h5py.File(path) as f:
            start, latent, value = f["row_start"][:], f["latent"][:], f["value"][:].astype(np.float64)
            dense = np.zeros((len(start) - 1, latents))
            for r in range(len(start) - 1):
                dense[r, latent[start[r]:start[r + 1]]] = value[start[r]:start[r + 1]]
            rows.append(dense)
    return np.concatenate(rows)


def stream(run):
    with kit.h5py.File(run + "/tokens/tokens.h5") as f:
        mask, start = f["mask"][:] > 0, f["doc_start"][:].astype(int)
    doc = np.repeat(np.arange(len(start) - 1), np.diff(start))
    return mask, doc


def test_comparison_against_numpy():
    for name, latents in (("topk-24-k3", 24), ("topk-40-k3-tuned", 40)):
        mask, doc = stream(out)
        base, tuned = (codes(out, m, name, latents)[mask] for m in ("base", "tuned"))
        doc = doc[mask]
        n = np.bincount(doc, minlength=doc.max() + 1).astype(float)
        n, groups = n[:, None], (n > 0).sum()
        with kit.h5py.File(out + "/diff/%s/%s/diff.h5" % (site, name)) as f:
            assert f.attrs["trained_on"] in (("tuned", b"tuned") if "tuned" in name else ("base", b"base"))
            for what, delta in (("value", tuned - base), ("frequency", (tuned > 0).astype(float) - (base > 0))):
                sums = np.zeros((len(n), latents))
                np.add.at(sums, doc, delta)
                mean = sums.sum(0) / n.sum()
                se = np.sqrt(groups / (groups - 1) * ((sums - n * mean) ** 2).sum(0)) / n.sum()
                assert np.allclose(f["all_%s_mean" % what][:], mean, rtol=1e-9, atol=1e-14)
                assert np.allclose(f["all_%s_se" % what][:], se, rtol=1e-9, atol=1e-14)
            a, b = (f["%s_value_mean" % h][:] * f.attrs["%s_tokens" % h] for h in ("selection", "estimation"))
            assert np.allclose(a + b, (tuned - base).sum(0), rtol=1e-9, atol=1e-9)
            assert f.attrs["selection_docs"] + f.attrs["estimation_docs"] == f.attrs["docs"] == groups
            n10, n01 = f["only_tuned"][:].astype(int), f["only_base"][:].astype(int)
            assert (n10 == ((tuned > 0) & (base == 0)).sum(0)).all() and (n01 == ((base > 0) & (tuned == 0)).sum(0)).all()
            for i in range(latents):
                p = sum(math.comb(int(n10[i] + n01[i]), j) for j in range(min(n10[i], n01[i]) + 1)) / 2 ** int(n10[i] + n01[i])
                assert abs(f["mcnemar_p"][i] - min(1, 2 * p)) < 1e-9, (i, n10[i], n01[i])
            tested = (base > 0).sum(0) + (tuned > 0).sum(0) >= 20
            for column in ("all_value_q", "mcnemar_q", "maxt_p", "estimation_frequency_q"):
                assert (np.isnan(f[column][:]) == ~tested).all(), column
            assert f.attrs["tested"] == tested.sum() > latents / 2
            z = (tuned - base).mean(0) / np.maximum((tuned - base).std(0, ddof=1), 1e-300)
            assert np.allclose(f["d_z"][:], z, rtol=1e-8, atol=1e-12)


def test_fidelity_against_numpy():
    mask, _ = stream(out)
    norm, fvu = {}, {}
    for model in ("base", "tuned"):
        sse, acts = [], []
        for path in sorted(glob.glob(out + "/codes/%s/%s/topk-24-k3/shard-*.h5" % (model, site))):
            with kit.h5py.File(path) as f:
                sse.append(f["row_sse"][:])
        for path in sorted(glob.glob(out + "/acts/%s/%s/shard-*.h5" % (model, site))):
            with kit.h5py.File(path) as f:
                acts.append(f["activations"][:].astype(np.float64))
        sse, acts = np.concatenate(sse)[mask], np.concatenate(acts)[mask]
        norm[model], fvu[model] = np.sqrt(sse).mean(), sse.sum() / ((acts - acts.mean(0)) ** 2).sum()
    with kit.h5py.File(out + "/diff/%s/topk-24-k3/diff.h5" % site) as f:
        assert abs(f.attrs["base_error_norm"] / norm["base"] - 1) < 1e-12 and abs(f.attrs["tuned_error_norm"] / norm["tuned"] - 1) < 1e-12
        assert abs(f.attrs["error_norm_increase"] - (norm["tuned"] / norm["base"] - 1)) < 1e-12
        for name in ("base_error_norm", "tuned_error_norm", "error_norm_increase"):
            assert f.attrs[name + "_low"] < f.attrs[name] < f.attrs[name + "_high"], name
        assert abs(f.attrs["fvu_ratio"] - fvu["tuned"] / fvu["base"]) < 1e-9


def test_matching_against_numpy():
    mask, _ = stream(out)
    base, tuned = codes(out, "base", "topk-40-k3", 40)[mask], codes(out, "tuned", "topk-40-k3-tuned", 40)[mask]
    decoders = []
    for name in ("topk-40-k3", "topk-40-k3-tuned"):
        with kit.h5py.File(out + "/sae/%s/%s/sae.h5" % (site, name)) as f:
            d = f["W_dec"][:].astype(np.float64)
            decoders.append(d / np.linalg.norm(d, axis=1, keepdims=True))
    cosine = decoders[0] @ decoders[1].T
    alive = [(x > 0).sum(0) >= 20 for x in (base, tuned)]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.corrcoef(base.T, tuned.T)[:40, 40:]
    correlation[~(alive[0][:, None] & alive[1][None, :])] = -2
    pairs = set()
    for i in range(40):
        j = cosine[i].argmax()
        row, col = np.sort(cosine[i])[-2:], np.sort(cosine[:, j])[-2:]
        if (cosine[:, j].argmax() == i and correlation[i].argmax() == j and correlation[:, j].argmax() == i and cosine[i, j] >= 0.7
                and correlation[i, j] >= 0.5 and row[1] - row[0] >= 0.05 and col[1] - col[0] >= 0.05):
            pairs.add((i, int(j)))
    with kit.h5py.File(out + "/match/%s/topk-40-k3/match.h5" % site) as f:
        assert np.allclose(f["base_cosine"][:], cosine.max(1), atol=1e-12) and np.allclose(f["tuned_cosine"][:], cosine.max(0), atol=1e-12)
        got = f["base_correlation"][:]
        assert np.allclose(got[alive[0]], correlation.max(1)[alive[0]], atol=1e-9) and np.isnan(got[~alive[0]]).all()
        match = f["base_match"][:]
        assert {(i, int(j)) for i, j in enumerate(match) if j >= 0} == pairs and f.attrs["pairs"] == len(pairs) > 5
        assert abs(f.attrs["base_unmatched"] - (1 - len(pairs) / alive[0].sum())) < 1e-12
        assert -1 < f.attrs["null_cosine"] <= 1 and -1 < f.attrs["null_correlation"] <= 1


def test_same_bytes_at_any_number_of_ranks():
    want = kit.digests(out)
    for ranks in (1, 3, 4):
        kit.must(ranks, "run", job, "--quiet", "--out", world.path("run-%d" % ranks))
        kit.same(want, kit.digests(world.path("run-%d" % ranks)), "%d ranks" % ranks)


def test_a_changed_key_recreates_only_its_results():
    before = kit.digests(out)
    kit.must(0, "diff", job, "--quiet", "--set", "diff.match_cosine=0.75")
    after = kit.digests(out)
    assert {n for n in before if before[n] != after[n]} == {n for n in before if n.startswith("match/")}
    kit.must(2, "diff", job, "--quiet", "--set", "diff.flips=50")
    again = kit.digests(out)
    assert {n for n in before if before[n] != again[n]} == {n for n in before if n.startswith("diff/")}
    kit.must(2, "diff", job, "--quiet", "--fresh")
    kit.same(before, kit.digests(out), "made anew")


def test_equal_weights_show_no_difference():
    kit.must(2, "run", twin, "--quiet")
    run = world.path("twin-run")
    for name in ("topk-24-k3", "topk-40-k3"):
        files = [open(run + "/sae/%s/%s/%s" % (site, n, file), "rb").read()
                 for file in ("sae.h5", "sae_weights.safetensors") for n in (name, name + "-tuned")]
        assert files[0] == files[1] and files[2] == files[3]
        with kit.h5py.File(run + "/match/%s/%s/match.h5" % (site, name)) as f:
            index = np.arange(len(f["base_match"]))
            match = f["base_match"][:]
            assert (f["base_cosine_with"][:] == index).all() and (f["tuned_cosine_with"][:] == index).all()
            assert ((match == index) | (match == -1)).all() and (match == f["tuned_match"][:]).all() and (match >= 0).sum() > len(index) / 2
    for path in glob.glob(run + "/diff/*/*/diff.h5"):
        with kit.h5py.File(path) as f:
            for part in ("all", "selection", "estimation"):
                for what in ("value", "frequency"):
                    e = {c: f["%s_%s_%s" % (part, what, c)][:] for c in ("mean", "se", "t", "p", "q")}
                    for c in ("mean", "se", "t"):
                        assert (e[c] == 0).all() and not np.signbit(e[c]).any(), (path, part, what, c)
                    assert (e["p"] == 1).all() and (e["q"][~np.isnan(e["q"])] == 1).all()
            tested = f["base_count"][:] + f["tuned_count"][:] >= 20
            assert (f["maxt_p"][:][tested] == 1).all() and (f["mcnemar_p"][:] == 1).all() and (f["d_z"][:] == 0).all()
            assert (f["log2_ratio"][:] == 0).all() and f.attrs["fvu_ratio"] == 1 and f.attrs["error_norm_increase"] == 0
            assert f.attrs["error_norm_increase_low"] == 0 and f.attrs["error_norm_increase_high"] == 0


def test_an_sae_carries_the_model_it_was_trained_on():
    digest = {}
    for model in ("base", "tuned"):
        with kit.h5py.File(out + "/acts/%s/blocks.0.hook_resid_post/shard-000000.h5" % model) as f:
            digest[model] = f.attrs["model_sha256"]
    assert digest["base"] != digest["tuned"]
    seen = set()
    for folder in sorted(os.listdir(out + "/sae/blocks.0.hook_resid_post")):
        model = "tuned" if folder.endswith("-tuned") else "base"
        where = "%s/sae/blocks.0.hook_resid_post/%s" % (out, folder)
        with kit.h5py.File(where + "/sae.h5") as f:
            assert f.attrs["model_sha256"] == digest[model], folder
        assert json.load(open(where + "/cfg.json"))["metadata"]["model_name"] == model, folder
        seen.add(model)
    assert seen == {"base", "tuned"}


def test_values_of_train_on():
    for value, part in (('["base","other"]', "train.on names 'other'"), ('["tuned"]', "does not name base"),
                        ('["base","base"]', "names base twice")):
        status, _, err = kit.run(0, "check", job, "--set", "train.on=" + value)
        assert status == 2 and part in err, (status, err)
    alone = world.write_job("alone.json", models={"base": "base", "tuned": ""}, train={"on": ["base", "tuned"]}, diff=None, report=None)
    status, _, err = kit.run(0, "check", alone)
    assert status == 2 and "no models.tuned" in err, (status, err)


try:
    kit.main(test_comparison_against_numpy, test_fidelity_against_numpy, test_matching_against_numpy,
             test_same_bytes_at_any_number_of_ranks, test_a_changed_key_recreates_only_its_results, test_equal_weights_show_no_difference,
             test_an_sae_carries_the_model_it_was_trained_on, test_values_of_train_on)
finally:
    world.close()

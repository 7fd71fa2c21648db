"""jobs/sft-compare.json on a small stand-in: fine-tuning, an SAE and its error SAE, the comparison, labels; at one and two ranks; its measures
against numpy."""
import csv
import glob
import json
import os

import kit

np = kit.np
world = kit.World()
JOB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "jobs", "sft-compare.json")
SITE = "blocks.1.hook_resid_post"
TOP = 7


def corpus(kind):
    return world.path("corpus", kind + ".jsonl")


def study(ranks, *more):
    sets = {"models.base": world.path("corpus", "start"), "finetune.data.0.path": corpus("finance"), "finetune.data.0.prompt": "{messages.0.content}\n",
            "finetune.data.0.completion": "messages.1.content", "finetune.batch": 1024, "finetune.epochs": 1, "finetune.warmup": 0, "finetune.lr": 0.003,
            "finetune.eval_steps": 0, "finetune.context": 0, "tokenize.context": 0, "data.0.path": json.dumps([corpus("general"), corpus("finance")]), "data.0.limit": 230,
            "data.0.labels": "domain,kind", "extract.sites": "layers.1", "extract.shard_tokens": 1500, "sae.latents": 40, "sae.k": 5, "sae.k_aux": 8,
            "train.batch": 256, "train.window": 4096, "train.epochs": 2, "train.warmup": 5, "train.lr": 0.003, "evaluate.resamples": 40,
            "diff.flips": 20, "diff.label_permutations": 5, "diff.label_auroc": 0.7, "report.top": TOP, "report.gnuplot": ""}
    args = []
    for key, value in sets.items():
        args += ["--set", "%s=%s" % (key, value)]
    out = world.path("run-%d" % ranks)
    _, err = kit.must(ranks, "run", JOB, "--out", out, *args, *more, env={"SAEDIFF_PLOTLY": world.path("nothing.js")})
    return out, err


def shards(run, *parts):
    return [kit.h5py.File(path) for path in sorted(glob.glob(os.path.join(run, *parts, "shard-*.h5")))]


def codes(run, model, sae="topk-40-k5"):
    """Dense [tokens, latents], and ‖x − x̂‖ of each token."""
    values, norms = [], []
    for f in shards(run, "codes", model, SITE, sae):
        start, latent, value = f["row_start"][:], f["latent"][:], f["value"][:].astype(np.float64)
        dense = np.zeros((len(start) - 1, 40))
        for r in range(len(start) - 1):
            dense[r, latent[start[r]:start[r + 1]]] = value[start[r]:start[r + 1]]
        values.append(dense)
        norms.append(np.sqrt(f["row_sse"][:]))
    return np.concatenate(values), np.concatenate(norms)


def results():
    with open(os.path.join(world.path("run-2"), "report", "results.json")) as f:
        return json.load(f)


def test_it_runs_and_prints_a_summary():
    kit.must(0, "corpus", world.path("corpus"), "--seed", "3", "--documents", "125")
    one, _ = study(1)
    two, err = study(2)
    kit.same(kit.digests(one), kit.digests(two), "the study at 1 and 2 ranks")
    assert "summary:" in err and "next-token loss" in err and "label detection:" in err, err
    assert err.rstrip().splitlines()[-1] == "report: " + os.path.realpath(os.path.join(two, "report", "index.html")), err


def test_measures_against_numpy():
    run, found = world.path("run-2"), results()
    with kit.h5py.File(os.path.join(run, "tokens", "tokens.h5")) as f:
        mask = f["mask"][:] > 0
        assert (f["ids"][:] == f["ids_base"][:]).all() and found["text"]["replaced_for_base"] == 0
    with open(os.path.join(run, "report", "latents.%s.csv" % SITE)) as f:
        table = {key: np.array([float(row[key]) for row in rows]) for rows in [list(csv.DictReader(f))] for key in rows[0] if key != "site"}
    sae, second = found["saes"]
    assert (sae["trained_on"], second["trained_on"]) == ("base", "error")
    mean, frequency, everywhere, norm = {}, {}, {}, {}
    for model in ("base", "tuned"):
        value, norm[model] = codes(run, model)
        mean[model], frequency[model] = value[mask].mean(0), (value[mask] > 0).mean(0)
        everywhere[model] = value.mean(0), (value > 0).mean(0)
        for name, want in (("mean", mean[model]), ("frequency", frequency[model])):
            assert np.allclose(table["%s_%s" % (model, name)], want, rtol=1e-12), name
        for i, name in enumerate(("mean", "frequency")):
            assert np.allclose(table["compat_%s_%s" % (model, name)], everywhere[model][i], rtol=1e-12), name
        assert abs(sae["health"][model]["error_norm"]["value"] / norm[model][mask].mean() - 1) < 1e-12
        assert abs(sae["compat"]["error_norm"][model] / norm[model].mean() - 1) < 1e-12
    assert not np.allclose(everywhere["base"][0], mean["base"], rtol=1e-3), "the masked tokens should show"
    for name, values in (("mean", mean), ("frequency", frequency)):
        assert np.allclose(table["d_" + name], values["tuned"] - values["base"], atol=1e-12)
        assert np.allclose(table["abs_d_" + name], abs(values["tuned"] - values["base"]), atol=1e-12)
    ratio = norm["tuned"].mean() / norm["base"].mean() - 1
    assert abs(sae["compat"]["error_norm"]["increase"] - ratio) < 1e-12
    counted = norm["tuned"][mask].mean() / norm["base"][mask].mean() - 1
    assert abs(sae["error_norm_increase"]["value"] - counted) < 1e-12 and sae["error_norm_increase"]["low"] <= counted <= sae["error_norm_increase"]["high"]
    for i, name in enumerate(("mean", "frequency")):
        change = abs(everywhere["tuned"][i] - everywhere["base"][i])
        rows = sae["compat"]["by_" + name]
        assert len(rows) == TOP and np.allclose([r["absolute_change"] for r in rows], np.sort(change)[::-1][:TOP], rtol=1e-9)
        assert np.allclose([change[r["latent"]] for r in rows], [r["absolute_change"] for r in rows], rtol=1e-9)
    up = sum(table["q_mean"][l] <= 0.05 and table["d_mean"][l] > 0 for l in range(40))
    assert sae["changed_up"]["value"] == up and sae["changed_up"]["value"] + sae["changed_down"]["value"] == sae["changed"]["value"]
    listed = [r["latent"] for r in sae["lists"]["frequency"]["rows"]]
    with kit.h5py.File(os.path.join(run, "diff", SITE, "topk-40-k5", "diff.h5")) as f:
        chosen = abs(np.where(table["base_count"] + table["tuned_count"] >= 20, f["selection_frequency_mean"][:], 0))
        assert listed == [int(l) for l in np.argsort(-chosen, kind="stable")[:TOP]]
        assert [r["effect"]["value"] for r in sae["lists"]["frequency"]["rows"]] == [f["estimation_frequency_mean"][l] for l in listed]


def read_sae(run, name):
    with kit.h5py.File(os.path.join(run, "sae", SITE, name, "sae.h5")) as f:
        assert f.attrs["site"] == (SITE if name == "topk-40-k5" else SITE + " minus topk-40-k5")
        w = {key: f[key][:].astype(np.float64) for key in ("W_enc", "b_enc", "W_dec", "b_dec")}
        return dict(w, scale=f.attrs["input_scale"])


def test_the_error_sae_is_trained_on_the_reconstruction_error():
    run, found = world.path("run-2"), results()
    first, second = read_sae(run, "topk-40-k5"), read_sae(run, "topk-40-k5-error")
    health = [s["health"] for s in found["saes"]]
    for model in ("base", "tuned"):
        x = np.concatenate([f["activations"][:] for f in shards(run, "acts", model, SITE)]).astype(np.float64)
        left = x - (codes(run, model)[0] @ first["W_dec"] + first["b_dec"].ravel()) / first["scale"]
        h = (second["scale"] * left - second["b_dec"].ravel()) @ second["W_enc"].T + second["b_enc"].ravel()
        value, norm = codes(run, model, "topk-40-k5-error")
        kth = np.sort(h, axis=1)[:, -5:]
        clear = (kth[:, 1:] - kth[:, :-1]).min(1) > 1e-4
        clear &= np.sort(h, axis=1)[:, -5] - np.sort(h, axis=1)[:, -6] > 1e-4
        want = np.where(h >= kth[:, :1], np.maximum(h, 0), 0)
        assert clear.mean() > 0.9 and np.abs(value - want)[clear].max() < 1e-3
        rest = left - (value @ second["W_dec"] + second["b_dec"].ravel()) / second["scale"]
        assert np.allclose(norm, np.linalg.norm(rest, axis=1), rtol=1e-3)
        with kit.h5py.File(os.path.join(run, "tokens", "tokens.h5")) as f:
            mask = f["mask"][:] > 0
        spread = ((x[mask] - x[mask].mean(0)) ** 2).sum()
        assert abs(health[1][model]["ev_of_both"]["value"] - (1 - (norm[mask] ** 2).sum() / spread)) < 1e-6
        assert abs(health[1][model]["ev"]["value"] - (1 - (norm[mask] ** 2).sum() / ((left[mask] - left[mask].mean(0)) ** 2).sum())) < 1e-4
    assert health[1]["tuned"]["ev_of_both"]["value"] > health[0]["tuned"]["ev"]["value"] + 0.1, health  # it was trained there
    assert not os.path.exists(os.path.join(run, "eval", "tuned", SITE, "topk-40-k5-error"))
    page = open(os.path.join(run, "report", "README.md")).read()
    assert "Error SAEs" in page and "Changes at `%s` error SAE (40 latents, k 5)" % SITE in page
    assert os.path.exists(os.path.join(run, "report", "latents.%s.error.csv" % SITE))


def auroc(values, positive, other):
    x, y = values[positive][:, None, :], values[other][None, :, :]
    return ((x > y) + 0.5 * (x == y)).mean((0, 1))


def test_labels_against_numpy():
    run, found = world.path("run-2"), results()
    with kit.h5py.File(os.path.join(run, "tokens", "tokens.h5")) as f:
        mask, start, row = f["mask"][:] > 0, f["doc_start"][:].astype(int), f["doc_row"][:].astype(int)
    records = [json.loads(line) for kind in ("general", "finance") for line in open(corpus(kind))]
    docs = [records[r] for r in row]
    detection, second = found["labels"]["saes"]
    assert (detection["trained_on"], second["trained_on"]) == ("base", "error")
    with kit.h5py.File(os.path.join(run, "diff", SITE, "topk-40-k5", "detection.h5")) as f:
        half = f["split"][:]
    assert abs((half == 0).sum() - (half == 1).sum()) <= 1 and len(half) == len(docs) == 230
    judged = {m: 0 for m in ("base", "tuned")}
    counts = dict(judged)
    for model in judged:
        value, _ = codes(run, model)
        means = np.array([value[a:b][mask[a:b]].mean(0) for a, b in zip(start, start[1:])])
        for v in detection["values"]:
            positive = np.array([d[v["label"]] == v["text"] for d in docs])
            a, b = half == 0, half == 1
            assert v["documents"] == (positive & b).sum() and v["others"] == (~positive & b).sum()
            if min(k.sum() for k in (positive & a, positive & b, ~positive & a, ~positive & b)) < 10:
                assert v[model] is None
                continue
            judged[model] += 1
            first = auroc(means, positive & a, ~positive & a)
            first[(means[a] > 0).sum(0) == 0] = -1
            assert v[model]["latent"] == first.argmax() and abs(v[model]["selection_auroc"] - first.max()) < 1e-12, (v, first.max())
            second = auroc(means, positive & b, ~positive & b)[first.argmax()]
            assert abs(v[model]["value"] - second) < 1e-12 and v[model]["low"] <= second <= v[model]["high"] + 1e-12
            assert v[model]["detected"] == (v[model]["low"] > 0.7) and 0 < v[model]["chance"] < 1
            counts[model] += v[model]["detected"]
    assert judged["base"] == judged["tuned"] == detection["tested"] > 3
    assert counts == detection["detected"] and counts["tuned"] >= 2, (counts, detection)
    page = open(os.path.join(run, "report", "README.md")).read()
    assert "detect %d of %d label values in the base model, %d in the tuned model" % (counts["base"], detection["tested"], counts["tuned"]) in page
    assert [page.count("### At `%s`%s (40 latents, k 5)" % (SITE, word)) for word in ("", " error SAE")] == [1, 1]
    with open(os.path.join(run, "report", "labels.csv")) as f:
        rows = list(csv.DictReader(f))
    rows = [r for r in rows if r["trained_on"] == "base"]
    assert len(rows) == 2 * len(detection["values"]) and {r["value"] for r in rows if r["label"] == "domain"} == {"general", "finance"}


def test_missing_labels_are_named():
    for value, status, words in (("domain,topic", 3, "has a member 'topic' for labels; the first has: text, domain"),
                                 ("domain,domain", 2, "names 'domain' twice"), ("{domain}", 2, "without braces"),
                                 ("entities,messages", 3, "'messages' is an object")):
        got, _, err = kit.run(2, "run", world.write_job("labels.json", data=[{"path": corpus("general")}]), "--set", "data.0.labels=" + value,
                              "--out", world.path("refused"))
        assert got == status and words in err, (value, got, err)
    got, _, err = kit.run(0, "check", world.write_job("alone.json", diff=None, report=None), "--set", "data.0.labels=domain")
    assert got == 2 and "needs the section 'diff'" in err, err


try:
    kit.main(test_it_runs_and_prints_a_summary, test_measures_against_numpy, test_the_error_sae_is_trained_on_the_reconstruction_error, test_labels_against_numpy,
             test_missing_labels_are_named)
finally:
    world.close()

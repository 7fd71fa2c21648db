"""The stage evaluate against the test data's reference values: two models side by side (compare_with_base.json), and cross-entropies
with one site taken away (sae/reachable.json)."""
import json
import os

import kit

np = kit.np
data = kit.data_or_skip()
world = kit.World()
MODELS = {"base": data + "/models/stories260K", "tuned": data + "/models/stories260K-news"}


def test_compare_with_base():
    stories = json.load(open(data + "/text/tinystories/stories_0000_0699.json"))[:100]
    with open(data + "/text/financial-phrasebank/Sentences_50Agree.part.txt", encoding="utf-8-sig", newline="") as f:
        bank = [line.rstrip("\r\n").rsplit("@", 1)[0] for line in f][:200]
    json.dump(stories, open(world.path("tinystories.json"), "w"))
    json.dump(bank, open(world.path("bank.json"), "w"))
    names = ["tinystories", "financial-phrasebank", "gsm8k"]
    job = {"name": "compare", "out": "compare", "models": MODELS, "tokenize": {}, "extract": {"sites": ["0"]},
           "data": [{"name": names[0], "path": "tinystories.json"}, {"name": names[1], "path": "bank.json"},
                    {"name": names[2], "path": data + "/text/gsm8k/train.jsonl", "field": "question", "limit": 100}],
           "evaluate": {"all_positions": True}}
    json.dump(job, open(world.path("compare.json"), "w"))
    for stage in ("tokenize", "evaluate"):
        kit.must(2, stage, world.path("compare.json"), "--quiet")
    want = json.load(open(MODELS["tuned"] + "/reference/compare_with_base.json"))
    with kit.h5py.File(world.path("compare/eval/models.h5")) as f:
        got = {k: f[k][...] for k in f}
    for source, name in enumerate(names):
        docs = got["doc_source"] == source
        n = got["tokens"][docs].sum()
        w = want[name]
        assert n == w["positions"], (name, n)
        worst = 0
        for ours, theirs in (("kl_base_tuned", "mean_kl_base_to_tuned"), ("kl_tuned_base", "mean_kl_tuned_to_base")):
            worst = max(worst, abs(got[ours][docs].sum() / n / w[theirs] - 1))
        for ours, theirs in (("cosine", "mean_cosine_after_layer"), ("relative_l2", "mean_relative_l2_after_layer")):
            worst = max(worst, np.abs(got[ours][:, docs].sum(1) / n / w[theirs] - 1).max())
        apart = abs(got["agree"][docs].sum() - w["top1_agreement"] * n)
        print("%-22s largest relative difference %.1e, agreement apart by %.1f positions" % (name, worst, apart), flush=True)
        assert worst < 1e-5 and apart <= 2, (name, worst, apart)


def test_cross_entropies_of_reachable():
    """Held-out stories; the prediction made at BOS counts there. Their mean is that of the training rows, ours of these rows."""
    stories = json.load(open(data + "/text/tinystories/stories_0000_0699.json"))[650:]
    json.dump(stories, open(world.path("held.json"), "w"))
    job = {"name": "held", "out": "held", "models": {"base": MODELS["base"]}, "data": [{"name": "held", "path": "held.json"}],
           "tokenize": {}, "extract": {"sites": ["1", "3"]}, "sae": {"latents": 32, "k": 4},
           "train": {"batch": 1024, "epochs": 0.2, "init_rows": 4096}, "evaluate": {"count_bos": True}}
    json.dump(job, open(world.path("held-job.json"), "w"))
    kit.must(2, "run", world.path("held-job.json"), "--quiet")
    want = json.load(open(data + "/sae/reachable.json"))
    for layer, w in want["layers"].items():
        with kit.h5py.File(world.path("held/eval/base/blocks.%s.hook_resid_post/topk-32-k4/eval.h5" % layer)) as f:
            sums = {k: f[k][...].sum() for k in f}
        n = sums["predictions"]
        assert n == want["ce_predicted_tokens"], n
        print("layer %s: clean %.6f, zero %.6f, mean %.4f" % (layer, sums["ce_clean"] / n, sums["ce_zero"] / n, sums["ce_mean"] / n))
        assert abs(sums["ce_clean"] / n / want["ce_clean"] - 1) < 1e-5
        assert abs(sums["ce_zero"] / n / w["ce_zero_ablation"] - 1) < 1e-5
        assert abs(sums["ce_mean"] / n / w["ce_mean_ablation"] - 1) < 0.1


try:
    kit.main(test_compare_with_base, test_cross_entropies_of_reachable)
finally:
    world.close()

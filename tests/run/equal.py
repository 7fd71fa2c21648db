"""The same bytes at any number of ranks and threads, on strict, and with another BLAS kernel among themselves."""
import os

import kit

world = kit.World()
job = world.write_job(evaluate={})


def results(name, np_, *options, env=None):
    out = world.path("out-" + name)
    kit.must(np_, "run", job, "--quiet", "--out", out, *options, env=env)
    return kit.digests(out)


def test_ranks_and_threads():
    first = results("1", 1, "--threads", "1")
    kinds = {path.split("/")[0] for path in first}
    assert kinds == {"kernel.txt", "tokens", "acts", "sae", "codes", "eval", "diff", "report"}, kinds
    assert len(first) > 50, len(first)
    for np_, threads in ((0, 2), (2, 1), (3, 2), (4, 1), (5, 1)):
        kit.same(first, results("%d-%d" % (np_, threads), np_, "--threads", str(threads)), "%d ranks x %d threads" % (np_, threads))
    kit.same(first, results("strict", 2, "--device", "strict"), "strict")


def test_another_blas_kernel_agrees_with_itself():
    env = {"OPENBLAS_CORETYPE": "Haswell"}
    kit.same(results("haswell-1", 1, env=env), results("haswell-3", 3, env=env), "Haswell at 1 and 3 ranks")


def test_pipeline_of_several_ranks():
    sites = ["hook_embed", "blocks.0.hook_attn_out", "0", "blocks.1.hook_resid_pre", "blocks.2.hook_mlp_out", "ln_final.hook_normalized"]
    deal = world.write_job("stages.json", sae=None, train=None, encode=None, diff=None, report=None, models={"tuned": ""},
                           extract={"sites": sites})

    def acts(np_, stages, *options):
        out = world.path("stages-%d-%d-%d" % (np_, stages, len(options)))
        kit.must(np_, "run", deal, "--quiet", "--out", out, "--set", "models.pipeline=%d" % stages, *options)
        return kit.digests(out)

    first = acts(1, 1)
    assert len([p for p in first if p.startswith("acts/base/") and "view" not in p]) > 5 * len(sites), sorted(first)
    for np_, stages, options in ((2, 2, ()), (3, 2, ()), (4, 2, ()), (3, 3, ("--device", "strict"))):
        kit.same(first, acts(np_, stages, *options), "%d ranks, %d stages" % (np_, stages))

    for np_, stages, words in ((2, 3, "a model in 3 stages needs 3 ranks and there are 2"), (4, 4, "a model of 3 layers cannot be split into 4 stages")):
        status, _, err = kit.run(np_, "run", deal, "--out", world.path("refused"), "--set", "models.pipeline=%d" % stages)
        assert status == 2 and "models.pipeline: " + words in err, (status, err)

    out, _ = kit.must(3, "check", deal, "--out", world.path("unmade"), "--set", "models.pipeline=3")
    assert "1 group of 3 pipeline stages" in out, out
    out, _ = kit.must(0, "check", deal, "--out", world.path("unmade"), "--set", "models.pipeline=3")
    assert "0 groups of 3 pipeline stages" in out and "a run needs at least 3 ranks" in out, out


def test_a_stage_that_fails_ends_the_others():
    tensors = kit.model_tensors(1)
    for part, times in (("gate", 1e15), ("up", 1e15), ("down", 1e10)):
        tensors["model.layers.1.mlp.%s_proj.weight" % part] *= kit.np.float32(times)
    kit.write_model(world.path("hot"), tensors)
    deal = world.write_job("hot.json", sae=None, train=None, encode=None, diff=None, report=None, models={"base": "hot", "tuned": "", "stages": 3},
                           extract={"sites": ["0", "1", "2"]})
    status, _, err = kit.run(4, "run", deal, "--out", world.path("hot-out"))
    assert status == 3 and "blocks.1.hook_resid_post is" in err and err.count("error:") == 1, (status, err)


def test_a_second_run_does_nothing():
    before = {p: os.stat(os.path.join(world.path("out-1"), p)).st_mtime_ns for p in kit.digests(world.path("out-1"))}
    _, err = kit.must(2, "run", job, "--out", world.path("out-1"))
    assert "everything is done already" in err and "report/index.html" in err, err
    after = {p: os.stat(os.path.join(world.path("out-1"), p)).st_mtime_ns for p in before}
    assert before == after


def test_fresh_makes_the_same_again():
    before = kit.digests(world.path("out-1"))
    kit.must(3, "run", job, "--quiet", "--fresh", "--out", world.path("out-1"))
    kit.same(before, kit.digests(world.path("out-1")), "--fresh")


def test_stage_by_stage_is_the_whole_run():
    out = world.path("out-stages")
    for stage in ("tokenize", "extract", "train", "encode", "evaluate", "diff", "report"):
        kit.must(2, stage, job, "--quiet", "--out", out)
    kit.same(kit.digests(world.path("out-1")), kit.digests(out), "stages one by one")


def test_a_changed_key_redoes_what_depends_on_it_only():
    out = world.path("out-1")
    before = {p: os.stat(os.path.join(out, p)).st_mtime_ns for p in kit.digests(out)}
    kit.must(2, "run", job, "--quiet", "--out", out, "--set", "train.lr=0.002")
    after = {p: os.stat(os.path.join(out, p)).st_mtime_ns for p in kit.digests(out)}
    changed = {p.split("/")[0] for p in after if before.get(p) != after[p]}
    assert changed == {"sae", "codes", "eval", "diff", "report"}, changed


try:
    kit.main(test_ranks_and_threads, test_another_blas_kernel_agrees_with_itself, test_a_second_run_does_nothing,
             test_pipeline_of_several_ranks, test_a_stage_that_fails_ends_the_others,
             test_fresh_makes_the_same_again, test_stage_by_stage_is_the_whole_run,
             test_a_changed_key_redoes_what_depends_on_it_only)
finally:
    world.close()

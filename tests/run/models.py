"""Models from nothing and their texts: init, generate, selftest through the program."""
import json
import os
import subprocess

import kit

np = kit.np
world = kit.World()

CONFIG = {"model_type": "llama", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
          "tie_word_embeddings": True, "initializer_range": 0.3, "eos_token_id": 2, "bos_token_id": 1}


def must(*args, ranks=0):
    return kit.must(ranks, *args)[0]


def refused(status, *args):
    got, out, err = kit.run(0, *args)
    assert got == status, "status %d of %s\n%s%s" % (got, " ".join(args), out, err)
    return err


def write_config(name, **more):
    path = world.path(name)
    with open(path, "w") as f:
        json.dump(dict(CONFIG, **more), f)
    return path


def folder_bytes(path):
    return {n: open(os.path.join(path, n), "rb").read() for n in sorted(os.listdir(path))}


def test_init_is_a_function_of_the_seed():
    config = write_config("a.json")
    must("init", world.path("a"), "--config", config, "--seed", "7")
    must("init", world.path("b"), "--config", config, "--seed", "7", ranks=3)
    must("init", world.path("c"), "--config", config, "--seed", "8")
    a, b, c = (folder_bytes(world.path(n)) for n in "abc")
    assert a == b and a.keys() == c.keys() and a["model.safetensors"] != c["model.safetensors"]
    assert a["config.json"] == open(config, "rb").read()
    w = kit.read_safetensors(world.path("a/model.safetensors"))
    assert "lm_head.weight" not in w and (w["model.norm.weight"] == 1).all()
    matrix = w["model.embed_tokens.weight"]
    assert matrix.shape == (300, 24) and abs(matrix.std() - 0.3) < 0.01 and abs(matrix.mean()) < 0.02
    assert not np.array_equal(w["model.layers.0.mlp.up_proj.weight"], w["model.layers.1.mlp.up_proj.weight"])
    err = refused(2, "init", world.path("a"), "--config", config)
    assert "already exists" in err, err
    os.remove(world.path("a/model.safetensors"))
    other = write_config("other.json", intermediate_size=48)
    assert "a different configuration already exists" in refused(2, "init", world.path("a"), "--config", other)
    must("init", world.path("a"), "--config", world.path("a/config.json"), "--seed", "7")
    assert folder_bytes(world.path("a")) == a


def test_init_of_other_kinds():
    must("init", world.path("q"), "--config",
             write_config("q.json", model_type="qwen3", head_dim=8, attention_bias=True, torch_dtype="bfloat16"))
    header = open(world.path("q/model.safetensors"), "rb").read(4096)
    assert b'"BF16"' in header and b"self_attn.q_norm.weight" in header and b"self_attn.o_proj.bias" in header
    must("forward", "--model", world.path("q"), "--ids", "1,5,9", "--out", world.path("q.h5"))
    err = refused(3, "init", world.path("bad"), "--config", write_config("bad.json", model_type="gpt2"))
    assert "'model_type' is 'gpt2'" in err and not os.path.exists(world.path("bad"))
    err = refused(3, "init", world.path("bad"), "--config", write_config("bad.json", torch_dtype="int8"))
    assert "'torch_dtype' is 'int8'" in err


def test_generate():
    must("init", world.path("g"), "--config", write_config("g.json"), "--seed", "3")
    with open(world.path("g/tokenizer.json"), "w") as f:
        json.dump(kit.tokenizer_json(), f)
    prompts = ["the cat", "", "an end", "there and the"] * 6
    with open(world.path("prompts.json"), "w") as f:
        json.dump(prompts, f)
    alone = must("generate", "--model", world.path("g"), "--prompt", "the cat", "--max-tokens", "9")
    for more in ([], ["--temperature", "1.3", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.01", "--seed", "5"]):
        outs = [must("generate", "--model", world.path("g"), "--prompts", world.path("prompts.json"), "--max-tokens", "9",
                         "--threads", threads, "--device", device, *more) for threads, device in (("1", "cpu"), ("3", "cpu"), ("2", "strict"))]
        assert outs[0] == outs[1] == outs[2]
        lines = [json.loads(l) for l in outs[0].splitlines()]
        assert len(lines) == len(prompts)
        assert all(len(l["ids"]) == 9 if l["stop"] is None else l["stop"] == 2 and len(l["ids"]) < 9 for l in lines), lines
        if more:
            assert len({tuple(l["ids"]) for l in lines[::4]}) > 1, "the same prompt draws its own tokens in each place"
        else:
            assert lines[0]["text"] + "\n" == alone and lines[0] == lines[4], (lines[0], alone)
    for args, says in ((["--prompt", "a", "--top-k", "3"], "add --temperature"),
                       (["--prompt", "a", "--temperature", "x"], "--temperature is 'x'"),
                       (["--prompt", "a", "--temperature", "1", "--top-p", "2"], "top-p 2"),
                       ([], "generate needs one of --prompt")):
        assert says in refused(2, "generate", "--model", world.path("g"), *args)
    with open(world.path("prompts.json"), "w") as f:
        f.write('["a", 7]')
    assert "prompts.json:1:7: a prompt must be a string" in refused(3, "generate", "--model", world.path("g"), "--prompts", world.path("prompts.json"))


def test_forward_of_a_model_of_several_ranks():
    what = ("forward", "--model", world.path("base"), "--ids", "1,5,9,200,7", "--sites", "hook_embed,blocks.0.hook_mlp_out,1,2,ln_final.hook_normalized")
    files = []
    for np_, stages in ((0, 1), (2, 2), (4, 3)):
        files.append(world.path("pipeline-%d.h5" % np_))
        kit.must(np_, *what, "--pipeline", str(stages), "--out", files[-1])
    files = [open(f, "rb").read() for f in files]
    assert files[0] == files[1] == files[2]
    for np_, stages, words in ((1, 2, "start more ranks"), (4, 4, "a model of 3 layers cannot be split into 4 stages"), (2, 0, "--pipeline is '0'")):
        status, _, err = kit.run(np_, *what, "--pipeline", str(stages), "--out", world.path("none.h5"))
        assert status == 2 and words in err and not os.path.exists(world.path("none.h5")), (status, err)


def test_forward_makes_the_folder_first():
    must("forward", "--model", world.path("base"), "--ids", "1,5", "--out", world.path("new/folder/f.h5"))
    err = refused(4, "forward", "--model", world.path("base"), "--ids", "1,5", "--out", world.path("base/config.json/f.h5"))
    assert "base/config.json" in err and "MPI_ABORT" not in err, err


def test_help_of_a_command():
    for word in ("--help", "-h"):
        assert must("generate", "--top-k", "3", word) == must("help", "generate")


def test_results_that_cannot_be_written():
    command = "%s forward --model %s --ids '1, 5' --out %s --quiet && %s inspect %s > /dev/full"
    done = subprocess.run(command % (kit.SAEDIFF, world.path("base"), world.path("f.h5"), kit.SAEDIFF, world.path("f.h5")), shell=True,
                          env=kit.environment(), stderr=subprocess.PIPE)
    assert done.returncode == 4 and b"standard output: not all of it could be written" in done.stderr, done


def test_corpus_writes_over_nothing():
    must("corpus", world.path("texts"), "--documents", "3")
    before = kit.digests(world.path("texts"))
    assert "texts/start already exists" in refused(2, "corpus", world.path("texts"), "--documents", "4")
    assert kit.digests(world.path("texts")) == before


def test_a_job_in_bf16():
    job = world.write_job(encode=None, diff=None, report=None, train=None, sae=None)
    status, out, err = kit.run(0, "forward", "--model", world.path("base"), "--ids", "1,5", "--out", world.path("b.h5"), "--compute", "bf16")
    if status == 4 and "build with oneDNN" in err:
        return
    assert status == 0, err
    runs = {}
    for name, ranks, more in (("one", 1, ["--threads", "1"]), ("three", 3, ["--threads", "2"]), ("strict", 2, ["--device", "strict"])):
        kit.must(ranks, "run", job, "--out", world.path(name), "--set", "models.compute=bf16", *more)
        runs[name] = kit.digests(world.path(name))
    kit.same(runs["one"], runs["three"], "1 and 3 ranks in bf16")
    kit.same(runs["one"], runs["strict"], "cpu and strict in bf16")
    kit.must(0, "run", job, "--out", world.path("wide"))
    wide = kit.digests(world.path("wide"))
    shards = [n for n in wide if "shard" in n]
    assert shards and all(wide[n] != runs["one"][n] for n in shards)
    _, err = kit.must(0, "run", job, "--out", world.path("wide"), "--set", "models.compute=auto")
    assert "GFLOP/s in bf16" in err, err


def test_selftest():
    out = must("selftest")
    assert out.count("identical bits") >= 3 and "FAILED" not in out, out
    refused(3, "selftest", "--model", world.path("absent"))


kit.main(test_init_is_a_function_of_the_seed, test_init_of_other_kinds, test_generate, test_forward_of_a_model_of_several_ranks,
         test_forward_makes_the_folder_first, test_help_of_a_command, test_results_that_cannot_be_written,
         test_corpus_writes_over_nothing, test_a_job_in_bf16, test_selftest)

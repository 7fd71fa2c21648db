"""bench prints each rate against its roofline, and a peer's beside it where a script is named."""
import kit

world = kit.World()


def peer(name, text):
    with open(world.path(name), "w") as f:
        f.write(text)
    return world.path(name)


def test_the_rate_of_a_peer():
    script = peer("peer.py", "import json, sys\nopen(sys.argv[0] + '.args', 'w').write(' '.join(sys.argv[1:]))\n"
                             "print(json.dumps({'tokens_per_s': 1e-3, 'torch': '9.9'}))\n")
    out, _ = kit.must(0, "bench", "train", "--threads", "1", "--peer", script)
    assert "% of the roofline" in out and "memory copies" in out and "PyTorch 9.9, same sizes and threads" in out, out
    assert open(script + ".args").read() == "sae --d 512 --latents 8192 --k 32 --batch 4096 --threads 1"


def test_finetune_of_a_model():
    kit.write_model(world.path("tiny"), kit.model_tensors(1), kit.CONFIG)
    out, _ = kit.must(2, "bench", "finetune", "--threads", "1", "--model", world.path("tiny"))
    assert out.count("finetune ") == 3 and out.count("% of the roofline") == 3 and "blocks computed again" in out, out
    parameters = sum(t.size for t in kit.model_tensors(1).values())
    assert "all kept: %.3g k trainable parameters" % (parameters / 1e3) in out and "per step of 1024 tokens" in out, out


def test_a_peer_that_fails_or_lies():
    out, err = kit.must(0, "bench", "train", "--peer", peer("fails.py", "import a_module_that_is_not_there\n"))
    assert "same sizes and threads" not in out and "--peer" in err and "fails.py" in err, out + err
    status, _, err = kit.run(0, "bench", "train", "--peer", peer("lies.py", "print('{}')\n"))
    assert status == 3 and "tokens_per_s" in err, err
    status, _, err = kit.run(0, "bench", "train", "--peer", world.path("gone.py"))
    assert status == 2 and "gone.py" in err, err


def test_the_shape_of_a_published_model():
    script = peer("shape.py", "import json, sys\nopen(sys.argv[0] + '.args', 'w').write(' '.join(sys.argv[1:]))\n"
                              "print(json.dumps({'tokens_per_s': 1e-3, 'torch': '9.9'}))\n")
    out, _ = kit.must(0, "bench", "forward", "--device", "cpu", "--preset", "stories15m", "--threads", "1", "--peer", script)
    assert "stories15m in f32, 1 x 256 tokens" in out and "its matrix products alone" in out and "PyTorch 9.9, same sizes and threads" in out, out
    assert open(script + ".args").read() == ("llama --preset stories15m --batch 1 --context 256 --logits none --dtype fp32 --device cpu "
                                             "--threads 1")
    status, _, err = kit.run(0, "bench", "forward", "--preset", "llama-2-7")
    assert status == 2 and "did you mean 'llama-2-7b'" in err and "smollm2-1.7b" in err, err


try:
    kit.main(test_the_shape_of_a_published_model, test_the_rate_of_a_peer, test_finetune_of_a_model, test_a_peer_that_fails_or_lies)
finally:
    world.close()

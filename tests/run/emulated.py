"""The whole program on the CUDA backend, whose kernels run on the processor: the module is loaded, takes its memory, and activations come back
while the next slab is computed."""
import json
import os
import re

import kit
from kit import h5py, np

world = kit.World()
EMULATED = {"SAEDIFF_CUDA_MODULE": os.environ["SAEDIFF_EMULATED"]}
SHORT = {"data": [{"name": "stories", "path": "stories.json", "limit": 5}, {"name": "news", "path": "news.jsonl", "limit": 4}],
         "sae": None, "train": None, "encode": None, "diff": None, "report": None}
job = world.write_job(**SHORT, extract={"shard_tokens": 150, "batch_tokens": 70})  # slabs reach over the edges of shards
with open(job) as f:
    text = json.load(f)
del text["models"]["tuned"]
with open(job, "w") as f:
    json.dump(text, f)


def extract(device, folder, *args, np_=0):
    for stage in ("tokenize", "extract"):
        kit.must(np_, stage, job, "--device", device, "--quiet", "--threads", "1", "--out", world.path(folder), *args, env=EMULATED)
    return world.path(folder)


def arrays(folder):
    found = {}
    for where, _, names in os.walk(os.path.join(folder, "acts")):
        for name in sorted(n for n in names if n != "view.h5"):
            with h5py.File(os.path.join(where, name)) as f:
                for key in ("activations", "nll"):
                    if key in f:
                        found[os.path.relpath(os.path.join(where, name), folder)] = f[key][...].astype(np.float64)
    return found


def test_activations_are_those_of_the_cpu():
    ours, theirs = arrays(extract("cuda", "cuda")), arrays(extract("cpu", "cpu"))
    assert ours.keys() == theirs.keys() and len(ours) >= 12, list(ours)
    for name, x in ours.items():
        y = theirs[name]
        assert x.shape == y.shape and np.linalg.norm(x - y) < 2e-6 * np.linalg.norm(y), name


def test_two_sets_write_what_one_does():
    kit.same(kit.digests(os.path.join(extract("strict", "strict"), "acts")), kit.digests(world.path("cpu", "acts")), "strict and cpu")


def test_ranks_share_the_device():
    kit.same(kit.digests(os.path.join(extract("cuda", "shared", np_=2), "acts")), kit.digests(world.path("cuda", "acts")), "2 ranks")
    pipeline = extract("cuda", "pipeline", "--set", "models.pipeline=2", np_=2)
    kit.same(kit.digests(os.path.join(pipeline, "acts")), kit.digests(world.path("cuda", "acts")), "a model in 2 stages")


def test_rows_are_rounded_on_the_device():
    wide = arrays(world.path("cuda"))
    for dtype in ("bf16", "f16"):
        narrow = arrays(extract("cuda", dtype, "--set", "extract.dtype=" + dtype))
        for name, x in wide.items():
            y = x.astype(np.float32)
            if dtype == "f16":
                y = y.astype(np.float16)
            else:
                bits = y.view(np.uint32)
                y = (bits + 0x7fff + (bits >> 16 & 1) >> 16 << 16).astype(np.uint32).view(np.float32)
            assert name.startswith("acts") and ("loss" in name or np.array_equal(narrow[name], y.astype(np.float64))), (dtype, name)


def said_on(devices, *args):
    """What all devices say of a job that fails with bad data."""
    said = set()
    for device in devices:
        out = world.path("bad-" + device)
        kit.must(0, "tokenize", job, "--device", device, "--quiet", "--out", out, env=EMULATED)
        status, _, err = kit.run(0, "extract", job, "--device", device, "--quiet", "--threads", "1", "--out", out, *args, env=EMULATED)
        assert status == 3, (device, status, err)
        said.add(re.search("error: .*overflow.*", err).group())
    assert len(said) == 1, said
    return said.pop()


def test_overflow_is_named():
    tensors = kit.model_tensors(1)
    tensors["model.layers.1.mlp.down_proj.weight"][5] = 3e38
    kit.write_model(world.path("large"), tensors)
    said = said_on(("cpu", "strict", "cuda"), "--set", "models.base=" + world.path("large"))
    assert re.search(r"blocks.2.hook_resid_post is -?(inf|nan) at document \d+, position \d+, component \d+", said), said
    tensors = kit.model_tensors(1)
    tensors["model.embed_tokens.weight"][1, 7] = 1e5  # the token every document begins with
    kit.write_model(world.path("large"), tensors)
    said = said_on(("cpu", "cuda"), "--set", "models.base=" + world.path("large"), "--set", "extract.dtype=f16")
    assert "blocks.0.hook_resid_post is inf at document 0, position 0, component 7" in said and "use bf16 or f32" in said, said


def test_memory_is_planned():
    little = dict(EMULATED, EMULATED_MEMORY=str(120000))
    kit.must(0, "tokenize", job, "--quiet", "--out", world.path("little"))
    status, _, err = kit.run(0, "extract", job, "--device", "cuda", "--out", world.path("little"), env=little)
    assert status == 4, (status, err)
    assert re.search(r"base: the weights need .* kB in f32 and the workspace of passes of \d+ tokens .* kB, but device 'cuda' has .* kB of 120 kB "
                     "free: use shorter passes", err), err
    some = dict(EMULATED, EMULATED_MEMORY=str(8000000))
    out, err = kit.must(2, "check", job, "--device", "cuda", "--out", world.path("little"), env=some)
    assert "8.0 MB free for 2 ranks" in out and "need about" not in err, (out, err)
    out, err = kit.must(2, "check", job, "--device", "cuda", "--out", world.path("little"), "--set", "extract.batch_tokens=50000", env=some)
    assert re.search(r"the 2 ranks on the GPU need about .* MB of memory, but 8.0 MB are free; take fewer ranks", err), err


kit.main(test_activations_are_those_of_the_cpu, test_two_sets_write_what_one_does, test_ranks_share_the_device,
         test_rows_are_rounded_on_the_device, test_overflow_is_named, test_memory_is_planned)

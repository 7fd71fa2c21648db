"""Damaged artefacts: verify names them, the next run recreates only those, with the same bytes."""
import json
import os
import random

import kit

world = kit.World(made=True)
job = world.path("job.json")
out = world.path("run")
whole = kit.digests(out)


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 0x10]))


def damage_then_repair(relative, harm, ranks=0):
    path = os.path.join(out, relative)
    harm(path)
    status, text, err = kit.run(ranks, "verify", out)
    assert status == 3 and relative in text and "1 damaged" in text, "%s\n%s%s" % (relative, text, err)
    assert err.count("error:") == 1, err
    kit.must(ranks, "run", job, "--quiet")
    kit.same(whole, kit.digests(out), relative)


def test_every_kind_of_file_cut_short_or_flipped():
    rng = random.Random(5)
    seen = set()
    for relative in sorted(whole):
        kind = (relative.split("/")[0], os.path.splitext(relative)[1], "loss" in relative, "view" in relative)
        if kind in seen:
            continue
        seen.add(kind)
        size = os.path.getsize(os.path.join(out, relative))
        damage_then_repair(relative, lambda p: os.truncate(p, size - 1))
        damage_then_repair(relative, lambda p: flip(p, rng.randrange(size)))
        damage_then_repair(relative, os.remove, ranks=2)
    assert len(seen) >= 11, seen


def test_a_flip_in_a_shard_is_located():
    relative = "acts/base/blocks.0.hook_resid_post/shard-000001.h5"
    with kit.h5py.File(os.path.join(out, relative)) as f:
        offset = f["activations"].id.get_offset() + 16 * 4 * 200
    damage_then_repair(relative, lambda p: flip(p, offset), ranks=2)
    kit.must(2, "verify", out)


def test_a_large_shard_is_recreated_after_verify():
    """Beyond 1 MiB the manifest's own checksum leaves the raw data to the block checksums: the flip is found by verify, or by the stage
    that reads it."""
    with open(world.path("long.json"), "w") as f:
        json.dump(kit.sentences(9, 500), f)
    large = world.write_job("large.json", out="large", data=[{"name": "long", "path": "long.json"}],
                            extract=dict(world.job["extract"], shard_tokens=262144, batch_tokens=150, loss=False), train=dict(world.job["train"], epochs=1))
    kit.must(2, "run", large, "--quiet")
    whole_large = kit.digests(world.path("large"))
    relative = "acts/base/blocks.0.hook_resid_post/shard-000000.h5"
    path = os.path.join(world.path("large"), relative)
    assert os.path.getsize(path) > 2 ** 20
    with kit.h5py.File(path) as f:
        offset = f["activations"].id.get_offset() + 16 * 4 * 5000
    flip(path, offset)
    status, text, err = kit.run(2, "train", large, "--quiet", "--fresh")
    assert status == 3 and relative in err and "saediff verify" in err, err
    status, text, err = kit.run(2, "verify", world.path("large"))
    assert status == 3 and relative in text and "block" in text, text + err
    kit.must(2, "run", large, "--quiet")
    kit.same(whole_large, kit.digests(world.path("large")), relative)


def test_verify_of_a_missing_folder():
    status, _, err = kit.run(2, "verify", world.path("nowhere"))
    assert status == 2 and "nowhere" in err and err.count("error:") == 1, err


try:
    kit.main(test_every_kind_of_file_cut_short_or_flipped, test_a_flip_in_a_shard_is_located,
             test_a_large_shard_is_recreated_after_verify,
             test_verify_of_a_missing_folder)
finally:
    world.close()

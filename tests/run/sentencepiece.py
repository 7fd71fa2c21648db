"""A model folder whose tokenizer is a SentencePiece file only: tokenizer.model, no tokenizer.json."""
import os
import struct

import kit

world = kit.World()
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def sentencepiece(first_score=0.0):
    """The protobuf message of kit.tokenizer_json()'s vocabulary: BPE with byte fallback; a merge's score is minus its rank."""
    merged = ["".join(merge.split()) for merge in kit.MERGES]
    model = b""
    for piece in kit.tokenizer_json()["model"]["vocab"]:
        kind = UNKNOWN if piece == "<unk>" else CONTROL if piece in ("<s>", "</s>") else BYTE if piece.startswith("<0x") else NORMAL
        score = first_score - merged.index(piece) if piece in merged else -100.0 if kind == NORMAL else 0.0
        model += message(1, message(1, piece.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))
    trainer = number(3, 2) + number(35, 1)
    normalizer = message(1, b"identity") + number(3, 1) + number(4, 0) + number(5, 1)
    return model + message(2, trainer) + message(3, normalizer)


def replace_tokenizer(name, first_score=0.0):
    if os.path.exists(world.path(name, "tokenizer.json")):
        os.remove(world.path(name, "tokenizer.json"))
    with open(world.path(name, "tokenizer.model"), "wb") as f:
        f.write(sentencepiece(first_score))


def test_the_results_are_those_of_tokenizer_json():
    job = world.write_job(encode=None, diff=None, report=None, sae=None, train=None)
    kit.must(0, "run", job, "--quiet", "--out", world.path("json"))
    for name in ("base", "tuned"):
        replace_tokenizer(name)
    out, _ = kit.must(0, "check", job)
    assert "tokenize" in out, out
    kit.must(0, "run", job, "--quiet", "--out", world.path("spm"))
    with kit.h5py.File(world.path("json", "tokens", "tokens.h5")) as a, kit.h5py.File(world.path("spm", "tokens", "tokens.h5")) as b:
        assert a["ids"].size > 1000
        assert a["ids"][:].tolist() == b["ids"][:].tolist()
        assert a.attrs["tokenizer_sha256"] != b.attrs["tokenizer_sha256"]


def test_another_tokenizer_model_recreates_the_tokens():
    job = world.path("job.json")
    _, said = kit.must(0, "run", job, "--out", world.path("spm"))
    assert "everything is done already" in said, said
    replace_tokenizer("base", -0.5)
    _, said = kit.must(0, "run", job, "--out", world.path("spm"))
    assert "everything is done already" not in said, said


def test_neither_file_is_refused_before_any_output():
    os.remove(world.path("base", "tokenizer.model"))
    status, _, err = kit.run(0, "check", world.path("job.json"))
    assert status == 3, (status, err)
    assert "tokenizer.json" in err, err


try:
    kit.main(test_the_results_are_those_of_tokenizer_json, test_another_tokenizer_model_recreates_the_tokens,
             test_neither_file_is_refused_before_any_output)
finally:
    world.close()

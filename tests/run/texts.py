"""Texts in every supported format, through the program: the same documents give the same tokens."""
import csv
import gzip
import json
import os
import subprocess
import time

import kit

world = kit.World()
TEXTS = kit.sentences(5, 700)
PARQUET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "corpus", "dataset_parquet", "zstd")


def tokens(name, ranks=1, args=(), **entry):
    out = "run-" + name
    job = world.write_job("job-" + name + ".json", out=out, data=[dict({"name": "texts"}, **entry)], extract=None, sae=None, train=None, encode=None,
                          diff=None, report=None)
    kit.must(ranks, "run", job, "--quiet", *args)
    with kit.h5py.File(world.path(out, "tokens", "tokens.h5")) as f:
        arrays = {k: f[k][()].tolist() for k in ("ids", "doc_start", "doc_row", "doc_length")}
        return dict(arrays, text=f.attrs["text_sha256"])


def write(name, text, opener=open):
    with opener(world.path(name), "wb") as f:
        f.write(text.encode())
    return name


def rows(name, delimiter):
    with open(world.path(name), "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, delimiter=delimiter)
        writer.writerow(["id", "body"])
        writer.writerows(enumerate(TEXTS))
    return name


def test_one_text_in_many_forms():
    want = tokens("list", path=write("list.json", json.dumps(TEXTS)))
    assert want["doc_row"] == list(range(len(TEXTS)))
    lines = ["%s\n" % json.dumps({"chat": [{"content": text}]}) for text in TEXTS]
    write("part-1.jsonl.gz", "".join(lines[:300]), gzip.open)
    write("part-2.jsonl.gz", "".join(lines[300:]), gzip.open)
    assert tokens("lines", path="part-*.jsonl.gz", field="chat.0.content") == want
    assert tokens("listed", path=["part-1.jsonl.gz", "part-2.jsonl.gz"], field="{chat.0.content}") == want
    assert tokens("csv", path=rows("rows.csv", ","), field="body") == want
    assert tokens("tsv", path=rows("rows.tsv", "\t"), field="body") == want
    assert tokens("text", path=write("lines.txt", "\n".join(TEXTS)), separator="\n") == want


def test_shuffled_texts_at_any_number_of_ranks():
    path = write("shuffled.json", json.dumps(TEXTS))
    want = tokens("one", path=path, shuffle=True, limit=600, skip=10)
    assert len(want["doc_row"]) == 600 and sorted(want["doc_row"]) != want["doc_row"]
    assert tokens("three", ranks=3, path=path, shuffle=True, limit=600, skip=10) == want
    assert tokens("seed", args=("--set", "seed=8"), path=path, shuffle=True, limit=600, skip=10) != want


def test_parquet():
    got = tokens("parquet", path=PARQUET, format="parquet", field="v")
    assert got["doc_row"] == [0, 1, 3, 4], got["doc_row"]
    want = tokens("words", path=write("words.txt", "one\ntwo\n\ntwo\ntw\n"), separator="\n")
    assert got == want
    out, _ = kit.must(0, "inspect", PARQUET)
    assert "5 rows in 2 row groups" in out and "ZSTD" in out and "required BYTE_ARRAY text" in out, out
    status, _, err = kit.run(0, "run", world.write_job("field.json", out="field", data=[{"path": PARQUET, "format": "parquet"}]))
    assert status == 3 and "it has: v, l, s, n, f, b, m" in err, err


def test_check_reads_no_further_than_the_limit():
    write("broken.jsonl", "\"a stone\"\n" * 20 + "{\n")
    for limit, want in ((20, 0), (21, 3)):
        job = world.write_job("limit.json", out="limit", data=[{"path": "broken.jsonl", "limit": limit}], extract=None, sae=None, train=None,
                              encode=None, diff=None, report=None)
        status, _, err = kit.run(0, "check", job)
        assert status == want and (want == 0 or "broken.jsonl:21:" in err), err


def test_check_reports_an_entry_without_documents():
    write("nothing.csv", "id,text\n")
    job = world.write_job("nothing.json", out="nothing", data=[{"name": "nothing", "path": "nothing.csv"}, {"name": "list", "path": "list.json"}])
    _, err = kit.must(0, "check", job)
    assert "data entry 'nothing' has no document" in err and "'list'" not in err, err


def anonymous(stage, job):
    """Peak anonymous memory of the program in bytes, without file pages and code."""
    most, env = 0, kit.environment({"ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=1"})
    process = subprocess.Popen(kit.command(0, stage, job, "--quiet"), env=env, stderr=subprocess.PIPE)
    while process.poll() is None:
        try:
            with open("/proc/%d/status" % process.pid) as f:
                most = max([most] + [1024 * int(line.split()[1]) for line in f if line.startswith("RssAnon")])
        except ProcessLookupError:
            break
        time.sleep(0.002)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return most


def test_memory_does_not_grow_with_the_texts():
    """Thirty times the text: its tokens have 50 MB; peak memory is the same within a few MB."""
    held = {}
    for name, times in (("small", 1), ("large", 30)):
        with open(world.path(name + ".jsonl"), "w") as f:
            f.write("".join(json.dumps({"text": text * 3}) + "\n" for text in TEXTS) * times)
        job = world.write_job("memory.json", out="memory-" + name, data=[{"path": name + ".jsonl"}], sae=None, train=None, encode=None, diff=None,
                              report=None, extract={"sites": ["0"]})
        held[name] = [anonymous("tokenize", job), anonymous("check", job)]
    size = os.path.getsize(world.path("memory-large", "tokens", "tokens.h5"))
    assert size > 4e7, size
    for small, large in zip(*held.values()):
        assert large - small < size / 4, (held, size)


def test_each_entry_to_its_own_limit():
    entries = [{"path": "list.json", "max_tokens": 500}, {"path": "lines.txt", "separator": "\n", "max_tokens": 300}, {"path": "list.json", "limit": 2}]
    job = world.write_job("limits.json", out="limits", data=entries, extract=None, sae=None, train=None, encode=None, diff=None, report=None)
    kit.must(2, "run", job, "--quiet")
    with kit.h5py.File(world.path("limits", "tokens", "tokens.h5")) as f:
        start, source = f["doc_start"][()], f["doc_source"][()]
    for entry, most in ((0, 500), (1, 300)):
        lengths = (start[1:] - start[:-1])[source == entry]
        assert sum(lengths) >= most > sum(lengths[:-1]), lengths
    assert (source == 2).sum() == 2


try:
    kit.main(test_one_text_in_many_forms, test_shuffled_texts_at_any_number_of_ranks, test_parquet, test_check_reads_no_further_than_the_limit,
             test_check_reports_an_entry_without_documents, test_memory_does_not_grow_with_the_texts, test_each_entry_to_its_own_limit)
finally:
    world.close()

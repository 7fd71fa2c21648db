"""Parquet files written by `pyarrow` (PyPI), with every encoding, codec and page version, against what the program reads in them.

    python3 parquet_peer.py SAEDIFF

All files are data entries of one job whose tokenizer has a token for each byte, so that the token file holds the texts that were read.
Prints a line per encoding, the number of values and the first differences; exits 1 on any.
"""
import datetime
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 211
LONGEST = 300  # bytes of the longest text
CODECS = ["none", "snappy", "gzip", "zstd", "lz4"]  # pyarrow's lz4 is LZ4_RAW
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
TIMES = {"day": pa.date32(), "s": pa.timestamp("s"), "ms": pa.timestamp("ms"), "us": pa.timestamp("us"), "ns": pa.timestamp("ns"),
         "utc": pa.timestamp("us", tz="UTC")}
TYPES = dict({"flag": pa.bool_(), "f16": pa.float16(), "f32": pa.float32(), "f64": pa.float64(), "text": pa.string(),
              "long": pa.large_string(), "words": pa.list_(pa.string()), "numbers": pa.list_(pa.int32()), "chat": pa.list_(MESSAGE),
              "pair": pa.struct([("a", pa.int64()), ("b", pa.list_(pa.float64()))]), "map": pa.map_(pa.string(), pa.int64())},
             **{name: getattr(pa, name)() for name in INTEGERS}, **TIMES)
FLOATS = ["f32", "f64"]
# What each encoding can hold; the other columns of the file are plain.
ENCODINGS = {
    "plain": {},
    "dictionary": None,
    "delta, integers": {n: "DELTA_BINARY_PACKED" for n in ("int32", "int64", "int8", "uint32", "uint64", "day", "us", "ns")},
    "delta, lengths": {"text": "DELTA_LENGTH_BYTE_ARRAY", "long": "DELTA_LENGTH_BYTE_ARRAY"},
    "delta, prefixes": {"text": "DELTA_BYTE_ARRAY", "long": "DELTA_BYTE_ARRAY"},
    "byte stream split": {n: "BYTE_STREAM_SPLIT" for n in FLOATS + ["int32", "int64", "f16"]},
}


def draw(kind, r):
    if pa.types.is_boolean(kind):
        return r.random() < 0.3
    if pa.types.is_integer(kind):
        low, high = (0, 2 ** kind.bit_width - 1) if str(kind).startswith("u") else (-2 ** (kind.bit_width - 1), 2 ** (kind.bit_width - 1) - 1)
        return r.choice([low, high, max(low, -3), 0, 1, r.randint(low, high), r.randint(max(low, -100), 100)])
    if pa.types.is_float16(kind):
        return np.float16(r.choice([0.0, -1.5, 65504.0, 6e-8, r.gauss(0, 10)]))
    if pa.types.is_float32(kind):
        return float(np.float32(r.choice([0.0, -0.0, 3.4e38, 1e-45, r.gauss(0, 1), r.gauss(0, 1e9)])))
    if pa.types.is_floating(kind):
        return r.choice([0.0, -0.0, 1.7e308, 5e-324, 0.1, r.gauss(0, 1), r.gauss(0, 1e30)])
    if pa.types.is_date(kind):
        return datetime.date.fromordinal(r.randint(1, 3652059))
    if pa.types.is_timestamp(kind):
        return r.randint(-2 ** 62, 2 ** 62) if kind.unit == "ns" else r.randint(-6 * 10 ** 10, 2 * 10 ** 11) * 1000 ** "s ms us".split().index(kind.unit)
    if pa.types.is_map(kind):
        return [(draw(pa.string(), r) + str(i), draw(pa.int64(), r)) for i in range(r.randrange(4))]
    if pa.types.is_list(kind):
        return [draw(kind.value_type, r) if r.random() < 0.9 else None for _ in range(r.choice([0, 1, 2, 7]))]
    if pa.types.is_struct(kind):
        return {f.name: draw(f.type, r) if r.random() < 0.9 else None for f in kind}
    return r.choice(["", "the same", "the same beginning, %d" % r.randrange(99), "é 猫 🦙 \"q\" \\ \n\t", "x" * r.randrange(LONGEST)])


def table(nullable, seed):
    r = random.Random(seed)
    arrays, fields = [], []
    for name, kind in TYPES.items():
        values = []
        while len(values) < ROWS:
            value = None if nullable and r.random() < 0.25 else draw(kind, r)
            values += [value] * r.choice([1, 1, 1, 9])
        values = values[:ROWS]
        arrays.append(pa.array(values, kind))
        fields.append(pa.field(name, kind, nullable=nullable))
    return pa.table(arrays, schema=pa.schema(fields))


# ---- what was read against what was written

def moment(text, unit):
    """ISO 8601 to a count of `unit` since 1970, exact; None if it is none."""
    m = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|\+00:00)?)?", text)
    if m is None:
        return None
    day = datetime.date(int(m[1]), int(m[2]), int(m[3])).toordinal() - 719163
    if unit == "day":
        return day if m[4] is None else None
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    seconds = day * 86400 + int(m[4]) * 3600 + int(m[5]) * 60 + int(m[6])
    fraction = (m[7] or "").ljust(digits, "0")
    return None if fraction[digits:].strip("0") else seconds * 10 ** digits + int(fraction[:digits] or 0)


def equal(text, want, kind):
    """`text` stands for the value `want` of a column."""
    if want is None:
        return text == ""
    if pa.types.is_boolean(kind):
        return text == ("true" if want else "false")
    if pa.types.is_integer(kind):
        return text == str(want)
    if pa.types.is_floating(kind):
        to = {16: np.float16, 32: np.float32, 64: np.float64}[kind.bit_width]
        got = to(float(text))
        return got == to(want) and math.copysign(1, got) == math.copysign(1, want)
    if pa.types.is_date(kind):
        return moment(text, "day") == want
    if pa.types.is_timestamp(kind):
        return moment(text, kind.unit) == want
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return text == want
    if pa.types.is_map(kind):
        want = [{"key": k, "value": v} for k, v in want]
    return json.loads(text) == want


def plain_values(column):
    """Python values; dates and times as counts, which hold nanoseconds."""
    if pa.types.is_date(column.type):
        return column.cast(pa.int32()).to_pylist()
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()
    return column.to_pylist()


def byte_tokenizer():
    """A token for each byte, spelled as GPT-2 spells bytes."""
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    spelled = {b: chr(b) for b in shown}
    spelled.update((b, chr(256 + i)) for i, b in enumerate(b for b in range(256) if b not in spelled))
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": step,
            "post_processor": None, "decoder": step,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "vocab": {spelled[b]: b for b in range(256)}, "merges": []}}


def said(program, *args):
    done = subprocess.run([program, *args, "--quiet"], capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        sys.exit("status %d of %s: %s" % (done.returncode, " ".join(args), done.stderr))


def read_all(program, folder, entries):
    """Texts of each entry by row."""
    config = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
              "vocab_size": 256, "max_position_embeddings": 1 << 20, "tie_word_embeddings": True}
    source, model, job, out = (os.path.join(folder, n) for n in ("config.json", "model", "job.json", "run"))
    with open(source, "w", encoding="utf-8") as f:
        json.dump(config, f)
    said(program, "init", model, "--config", source)
    with open(os.path.join(model, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(byte_tokenizer(), f)
    with open(job, "w", encoding="utf-8") as f:
        json.dump({"name": "parquet", "out": out, "models": {"base": model}, "data": entries, "tokenize": {}}, f)
    said(program, "tokenize", job)
    with h5py.File(os.path.join(out, "tokens", "tokens.h5")) as f:
        ids = f["ids"][...].astype(np.uint8).tobytes()
        start, source, row = f["doc_start"][...].tolist(), f["doc_source"][...].tolist(), f["doc_row"][...].tolist()
    texts = [{} for _ in entries]
    for d, (s, r) in enumerate(zip(source, row)):
        texts[s][r] = ids[start[d]:start[d + 1]].decode()
    return texts


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = tempfile.TemporaryDirectory()
    files, entries = [], []
    for name, encodings in ENCODINGS.items():
        for number, (codec, version, nullable) in enumerate((c, v, n) for c in CODECS for v in ("1.0", "2.0") for n in (False, True)):
            path = os.path.join(folder.name, "%d.parquet" % len(files))
            written = table(nullable, len(files))
            how = {"use_dictionary": True} if encodings is None else {"use_dictionary": False, "column_encoding": encodings}
            pq.write_table(written, path, compression=codec, data_page_version=version, row_group_size=(ROWS, 97)[number % 2],
                           data_page_size=(256, 1 << 20)[number // 2 % 2], write_batch_size=16, **how)
            files.append((name, "%s, pages %s%s" % (codec, version, ", nulls" if nullable else ""), written))
            entries.append({"name": str(len(files)), "path": path, "field": "\x1f".join("{%s}" % c for c in TYPES)})
    differences = {name: 0 for name in ENCODINGS}
    values = dict(differences)
    for (name, how, written), texts in zip(files, read_all(sys.argv[1], folder.name, entries)):
        columns = [plain_values(written.column(c)) for c in TYPES]
        for row in range(ROWS):
            got = texts.get(row, "\x1f" * (len(TYPES) - 1)).split("\x1f")
            for (column, kind), text, want in zip(TYPES.items(), got, (c[row] for c in columns)):
                values[name] += 1
                if len(got) != len(TYPES) or not equal(text, want, kind):
                    differences[name] += 1
                    if differences[name] <= 3:
                        print("  %s, %s, row %d, %s: ours %r, theirs %r" % (name, how, row, column, text, want))
    folder.cleanup()
    print("pyarrow %s" % pa.__version__)
    for name in ENCODINGS:
        print("%-20s %7d values in %d files, %d differences" % (name, values[name], sum(f[0] == name for f in files), differences[name]))
    sys.exit(1 if any(differences.values()) else 0)


if __name__ == "__main__":
    main()

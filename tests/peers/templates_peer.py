#!/usr/bin/env python3
"""Chat templates of saediff beside Jinja2's: `templates_peer.py PROGRAM TOKENIZER_DIR [TEMPLATE ...]`.

Renders the templates of tests/text/templates.json and the files named, each with the message lists there, by jinja2 set up as the
transformers library does, and by `saediff tokenize --chat`. Prints counts; exits 1 on a difference. With --write the texts jinja2 makes
are stored as the goldens of tests/text/template.c. Needs jinja2."""
import datetime
import json
import os
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDENS = os.path.join(HERE, "..", "text", "templates.json")
DATE = "2024-07-26"


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromisoformat(DATE).strftime(form)
    return env


def special_tokens(folder):
    config = json.load(open(os.path.join(folder, "tokenizer_config.json"))) if folder else {}
    names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    found = {n: config[n] for n in names if config.get(n) is not None}
    return {n: t["content"] if isinstance(t, dict) else t for n, t in found.items()}


def theirs(template, chats, special):
    compiled = environment().from_string(template)
    out = []
    for chat in chats:
        try:
            prompt = chat[-1]["role"] not in ("assistant", "model")
            out.append(compiled.render(messages=chat, add_generation_prompt=prompt, **special))
        except Exception:  # what the template, or Python, refuses
            out.append(None)
    return out


def ours(program, folder, template, chats):
    with tempfile.TemporaryDirectory() as tmp:
        names = os.path.join(tmp, "t.jinja"), os.path.join(tmp, "c.json")
        with open(names[0], "w", newline="") as f:
            f.write(template)
        with open(names[1], "w") as f:
            json.dump(chats, f)
        run = subprocess.run([program, "tokenize", "--model", folder, "--template", names[0], "--chat", names[1], "--date", DATE],
                             capture_output=True, text=True)
    if run.returncode != 0:
        return [run.stderr] * len(chats), [None] * len(chats)
    lines = [json.loads(line) for line in run.stdout.split("\n") if line]
    return [line.get("text") for line in lines], [line.get("error") for line in lines]


def main():
    write = "--write" in sys.argv
    args = [a for a in sys.argv[1:] if a != "--write"]
    program, folder = args[:2]
    data = json.load(open(GOLDENS))
    templates = {t["name"]: t["template"] for t in data["templates"]}
    templates.update({os.path.basename(p): open(p, newline="").read() for p in args[2:]})
    special = special_tokens(folder)
    renderings = refused = differences = 0
    for name, template in templates.items():
        want = theirs(template, data["chats"], special)
        got, errors = ours(program, folder, template, data["chats"])
        for i, (a, b) in enumerate(zip(want, got)):
            renderings += 1
            refused += a is None
            if a != b:
                differences += 1
                print(f"{name}, chat {i}:\n  jinja2  {a!r}\n  saediff {b!r} {errors[i]}")
    if write:
        for t in data["templates"]:
            t["texts"] = theirs(t["template"], data["chats"], {"bos_token": "<s>", "eos_token": "</s>"})
        with open(GOLDENS, "w") as f:
            json.dump(data, f, ensure_ascii=False, indent=1)
            f.write("\n")
    print(f"{len(templates)} templates, {renderings} renderings, {refused} refused by both, {differences} differences")
    return differences > 0


sys.exit(main())

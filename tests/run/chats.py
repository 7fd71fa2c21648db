"""Chats through the program: the same tokens, roles and positions at any number of ranks, prompt formats, dropped chats, errors."""
import json

import kit

world = kit.World()
SMALL = ("{% for m in messages %}{{ m.role[:2] + '\\n\\n\\n' + m.content + '\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ 'as\\n\\n\\n' }}{% endif %}")
TODAY = "{{ strftime_now('%d') }}" + SMALL
for name, text in (("chat.jinja", SMALL), ("today.jinja", TODAY), ("bad.jinja", "a\n{% include 'x' %}")):
    with open(world.path(name), "w") as f:
        f.write(text)
TEXTS = [t[:9 + i % 5] for i, t in enumerate(kit.sentences(11, 90))]
CHATS = [[{"role": "user", "content": TEXTS[3 * i]}, {"role": "assistant", "content": TEXTS[3 * i + 1]},
          {"role": "user", "content": TEXTS[3 * i + 2]}][:i % 3 + 1] for i in range(30)]
CHATS[7] = [{"role": "system", "content": "only this"}]


def write(name, value):
    with open(world.path(name), "w") as f:
        json.dump(value, f)
    return name


PLAIN = write("chats.json", [{"chat": c} for c in CHATS])
SHARE = write("share.json", [{"conversations": [{"from": {"user": "human", "assistant": "gpt"}.get(m["role"], m["role"]), "value": m["content"]}
                                                for m in c]} for c in CHATS])
PAIRS = write("pairs.json", [{"q": {"text": TEXTS[2 * i]}, "a": TEXTS[2 * i + 1] + ' "quoted"'} for i in range(20)] + [{"q": {"text": "alone"}}])
TWINS = write("twins.json", [{"chat": [{"role": "user", "content": TEXTS[2 * i]}, {"role": "assistant", "content": TEXTS[2 * i + 1] + ' "quoted"'}]}
                             for i in range(20)])


def job(name, data, **tokenize):
    return world.write_job("job-" + name + ".json", out=name, data=data, tokenize=dict({"template": "chat.jinja"}, **tokenize), extract=None, sae=None,
                           train=None, encode=None, diff=None, report=None)


def tokens(name, data, ranks=1, **tokenize):
    _, err = kit.must(ranks, "run", job(name, data, **tokenize))
    with kit.h5py.File(world.path(name, "tokens", "tokens.h5")) as f:
        return dict({k: f[k][()] for k in f}, **{"@" + k: v for k, v in f.attrs.items()}), err


def same(a, b, but=()):
    for k in a:
        assert k in but or kit.np.array_equal(a[k], b[k]), k


def test_ranks_and_spellings():
    one, err = tokens("one", [{"name": "chats", "path": PLAIN, "messages": "chat"}])
    assert len(one["doc_row"]) == 29 and 7 not in one["doc_row"] and "1 of the dropped documents are chats" in err, err
    for ranks in (2, 3, 4):
        same(one, tokens("ranks-%d" % ranks, [{"name": "chats", "path": PLAIN, "messages": "chat"}], ranks)[0])
    same(one, tokens("share", [{"name": "chats", "path": SHARE, "messages": "conversations"}])[0], ("@text_sha256",))
    for d, start in enumerate(one["doc_start"][:-1]):
        asst, endheader, newline, question, first, last = one["doc_position"][d]
        role = one["role"][start:one["doc_start"][d + 1]]
        asked = one["doc_row"][d] % 3 != 1
        assert asst == newline - 2 and endheader == newline - 1 and set(role[asst:newline + 1]) == {0x13}
        assert role[question] == 0x22 and question < asst
        assert first == last == -1 if asked else set(role[first:last + 1]) == {0x23} and first == newline + 1
        assert newline == len(role) - 1 if asked else True
    pairs = tokens("pairs", [{"name": "chats", "path": PAIRS, "prompt": "q.text", "completion": "a"}])[0]
    same(pairs, tokens("twins", [{"name": "chats", "path": TWINS, "messages": "chat"}])[0], ("@text_sha256",))


def test_prompt_formats():
    data = [{"name": c, "path": PLAIN, "messages": "chat", "prompt_format": c} for c in ("templated", "C1", "plain", "C3")]
    plain = tokens("plain", data[:1])[0]
    mark = int(plain["ids"][plain["doc_position"][0][2]])
    got = tokens("prompt-formats", data, substitute=["%d:6" % mark])[0]
    docs = [kit.np.flatnonzero(got["doc_source"] == i) for i in range(4)]
    rows = [slice(got["doc_start"][d[0]], got["doc_start"][d[-1] + 1]) for d in docs]
    ids, base = got["ids"], got["ids_base"]
    assert kit.np.array_equal(ids[rows[0]], ids[rows[1]]) and (ids[rows[1]] == mark).any()
    want = ids[rows[1]].copy()
    want[want == mark] = 6
    assert kit.np.array_equal(base[rows[1]], want)
    assert all(kit.np.array_equal(ids[rows[i]], base[rows[i]]) for i in (0, 2, 3))
    assert (got["role"][rows[3]] & 0xf0 != 0x10).all() and (got["doc_position"][docs[3]][:, :3] == -1).all()
    status, _, err = kit.run(0, "run", job("no-pairs", data[1:2]))
    assert status == 2 and "tokenize.substitute" in err, err


def test_date_and_cuts():
    data = [{"name": "chats", "path": PLAIN, "messages": "chat"}]
    a = tokens("date-a", data, template="today.jinja")[0]
    b = tokens("date-b", data, template="today.jinja", date="2024-07-13")[0]
    assert a["@date"] == "2024-07-26" and b["@date"] == "2024-07-13" and not kit.np.array_equal(a["ids"], b["ids"])
    cut, err = tokens("cut", data, context=40)
    whole = tokens("whole", data)[0]
    keep = (whole["doc_position"].max(axis=1) < 40)
    assert 0 < keep.sum() < len(keep) and list(cut["doc_row"]) == list(whole["doc_row"][keep]), err


def test_refusals():
    for data, tokenize, status, words in (({"messages": "chat"}, {"template": "bad.jinja"}, 3, "bad.jinja:2: 'include' is not supported"),
                                          ({"messages": "chat"}, {"date": "today"}, 2, "YYYY-MM-DD"),
                                          ({"messages": "chat"}, {"template": ""}, 3, "no chat template"),
                                          ({"messages": "chat", "prompt": "x"}, {}, 2, "has both messages and a prompt or completion"),
                                          ({"completion": "x"}, {}, 2, "no prompt"),
                                          ({"messages": "chat"}, {"context": 3}, 3, "none of the 30 chats is usable"),
                                          ({"messages": "missing"}, {}, 3, "missing")):
        got, _, err = kit.run(2, "run", job("refused", [dict({"name": "x", "path": PLAIN}, **data)], **tokenize))
        assert got == status and words in err, (data, tokenize, got, err)


kit.main(test_ranks_and_spellings, test_prompt_formats, test_date_and_cuts, test_refusals)

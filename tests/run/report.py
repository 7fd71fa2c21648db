"""The report's page: well-formed, complete in one file, with the numbers of results.json; pictures; the page without gnuplot, and with
plotly.min.js."""
import base64
import csv
import html.parser
import json
import math
import os
import re

import kit

TITLE = "A <b>\"study\"</b> & it's | 50 % `x`"
VOID = {"meta", "img", "br", "link"}
world = kit.World(pictures=True)
job = world.write_job(name="job.json", report={"top": 5})
with open(job) as f:
    text = json.load(f)
text["name"], text["evaluate"] = TITLE, {"resamples": 50}
with open(job, "w") as f:
    json.dump(text, f)
NO_SCRIPT = {"SAEDIFF_PLOTLY": world.path("nothing.js")}


class Page(html.parser.HTMLParser):
    """Elements opened and closed, ids, links, numbers with the text shown, rows of tables."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.ids, self.links, self.sources, self.numbers, self.words, self.rows = [], [], [], [], [], [], []
        self.value, self.scripts, self.figures = None, [], []
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if "href" in attrs:
            self.links.append(attrs["href"])
        if "src" in attrs:
            self.sources.append(attrs["src"])
        if tag == "data":
            self.value = (attrs["value"], "")
        if tag == "figure":
            self.figures.append(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, (tag, self.stack)
        self.stack.pop()
        if tag == "data":
            self.numbers.append(self.value)
            self.value = None

    def handle_data(self, data):
        if self.value is not None:
            self.value = (self.value[0], self.value[1] + data)
        if "td" in self.stack or "th" in self.stack:
            self.rows[-1][-1] += data
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self.stack:
            self.words.append(data)


def make(name, *options, env=None):
    out = world.path(name)
    _, err = kit.must(2, "run", job, "--out", out, *options, env=dict(NO_SCRIPT, **(env or {})))
    return os.path.join(out, "report"), err


def page_of(folder):
    with open(os.path.join(folder, "index.html"), encoding="utf-8") as f:
        return Page(f.read())


def all_numbers(item):
    if isinstance(item, dict):
        for value in item.values():
            yield from all_numbers(value)
    elif isinstance(item, list):
        for value in item:
            yield from all_numbers(value)
    elif isinstance(item, (int, float)) and not isinstance(item, bool):
        yield float(item)


def test_the_page_is_well_formed():
    folder, _ = make("run")
    page = page_of(folder)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        else:
            assert os.path.exists(os.path.join(folder, link)), link
    assert len([link for link in page.links if link.startswith("#sae-")]) == 4
    assert page.sources and all(s.startswith("data:image/") for s in page.sources), "the page requires the network"
    assert not page.scripts
    assert TITLE in page.words and "<b>" not in "".join(w for w in page.words if w != TITLE)


def test_the_pages_numbers_are_those_of_the_results():
    folder = world.path("run", "report")
    page = page_of(folder)
    with open(os.path.join(folder, "results.json")) as f:
        results = json.load(f)
    known = set(all_numbers(results))
    assert len(page.numbers) > 100
    for value, shown in page.numbers:
        if value == "NaN":
            assert shown == "NaN"
            continue
        assert float(value) in known, (value, shown)
        assert abs(float(shown) - float(value)) <= 5.01e-4 * abs(float(value)), (value, shown)
    for sae in results["saes"]:
        for kind in ("increased", "decreased"):
            for row in sae["lists"][kind]["rows"]:
                assert [r for r in page.rows if r[0] == str(row["latent"]) and r[-1] == str(row["tuned"]["count"])], row
                assert row["effect"]["low"] <= row["effect"]["value"] <= row["effect"]["high"]
                assert row["effect"]["definition"] in results["definitions"]


def test_the_fidelity_of_the_saes_is_shown():
    folder = world.path("run", "report")
    with open(os.path.join(folder, "results.json")) as f:
        results = json.load(f)
    assert len(results["evaluations"]) == 8
    with open(os.path.join(folder, "measures.csv")) as f:
        lines = {(row["model"], row["site"], row["sae"], row["text"], row["measure"]): row for row in csv.DictReader(f)}
    assert len(lines) == 8 * 3 * 28, len(lines)
    for evaluation in results["evaluations"]:
        for text in evaluation["texts"]:
            for name, measure in text.items():
                if name == "name":
                    continue
                if name == "density":
                    latents = int(evaluation["sae"].split("-")[1])
                    assert measure["never"] + sum(measure["bins"]) == latents and measure["definition"] in results["definitions"]
                    assert measure["never"] / latents == text["dead"]["value"]
                    continue
                row = lines[evaluation["model"], evaluation["site"], evaluation["sae"], text["name"], name]
                for key in ("value", "low", "high"):
                    assert (measure[key] is None and row[key] == "NaN") or float(row[key]) == measure[key], (row, measure)
                assert measure["definition"] in results["definitions"] and int(row["n_tokens"]) == measure["n"]
            recovered = text["ce_recovered_mean"]
            assert recovered["low"] <= recovered["value"] <= recovered["high"], recovered
    health = {(s["site"], s["latents"]): s["health"] for s in results["saes"]}
    for evaluation in results["evaluations"]:
        latents = int(evaluation["sae"].split("-")[1])
        ev = health[evaluation["site"], latents][evaluation["model"]]["ev"]["value"]
        assert abs(evaluation["texts"][0]["explained_variance"]["value"] - ev) < 1e-6, (evaluation["sae"], ev)
    side = results["models_side_by_side"]
    assert [t["name"] for t in side] == ["all", "stories", "news"] and len(side[0]["cosine"]) == 3 and side[0]["kl_base_tuned"]["value"] > 0


def test_every_estimate_has_its_n_and_interval():
    with open(world.path("run", "report", "results.json")) as f:
        results = json.load(f)
    evaluations = {(e["model"], e["site"], e["sae"]): e for e in results["evaluations"]}
    for sae in results["saes"]:
        estimates = {k: v for k, v in sae.items() if isinstance(v, dict) and "value" in v}
        assert set(estimates) == {"fvu_ratio", "error_norm_increase", "residual_increase", "sum_of_absolute_changes", "share_from_frequency", "tested", "changed",
                                  "changed_up", "changed_down"}
        for model in ("base", "tuned"):
            estimates.update({model + "." + k: v for k, v in sae["health"][model].items()})
            text = evaluations[model, sae["site"], "topk-%d-k%d" % (sae["latents"], sae["k"])]["texts"][0]
            ev, fvu = (sae["health"][model][k] for k in ("ev", "fvu"))
            assert [ev["low"], ev["high"]] == [text["explained_variance"][k] for k in ("low", "high")]
            assert ev["low"] < ev["value"] < ev["high"] and abs(fvu["low"] + ev["high"] - 1) < 1e-15
        for name, e in estimates.items():
            assert e["n"] == sae["n"] and e["n_documents"] == sae["documents"] and "low" in e, (name, e)
            named = results["renamed"].get(name.split(".")[-1], name.split(".")[-1])
            assert e["definition"] == named and e["definition"] in results["definitions"], (name, e)
        ratio = sae["fvu_ratio"]
        assert ratio["low"] < ratio["value"] < ratio["high"], ratio
        norm = [sae["health"][m]["error_norm"]["value"] for m in ("base", "tuned")]
        assert abs(sae["error_norm_increase"]["value"] - (norm[1] / norm[0] - 1)) < 1e-12


def test_both_pages_have_the_same_content():
    folder = world.path("run", "report")
    with open(os.path.join(folder, "README.md"), encoding="utf-8") as f:
        text = f.read()
    page = page_of(folder)
    plain = [[re.sub(r"[`\\]", "", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.split("\n")
             if line.startswith("|") and not line.startswith("| ---")]
    rows = [[cell.strip() for cell in row] for row in page.rows]
    assert plain == rows, [pair for pair in zip(plain, rows) if pair[0] != pair[1]][:3]
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", text), "a date"


def test_pictures_are_pictures():
    folder = world.path("run", "report", "plots")
    names = os.listdir(folder)
    assert len([n for n in names if n.endswith(".png")]) == len([n for n in names if n.endswith(".svg")]) == 4 * 4 + 5, names
    for name in names:
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB\x60\x82") and b"tIME" not in data, name
        else:
            assert name.endswith(".svg") and b"<svg" in data[:300] and data.rstrip().endswith(b"</svg>"), name
    with open(os.path.join(world.path("run", "report"), "README.md"), encoding="utf-8") as f:
        shown = re.findall(r"\]\(plots/([^)]+)\)", f.read())
    assert sorted(shown) == sorted(n for n in names if n.endswith(".png"))
    inside = [base64.b64decode(s.split(",", 1)[1]) for s in page_of(world.path("run", "report")).sources]
    for name, data in zip(shown, inside):
        with open(os.path.join(folder, name[:-3] + "svg"), "rb") as f:
            assert f.read() == data, name


def test_the_same_bytes_again():
    before = kit.digests(world.path("run"))
    kit.must(3, "report", job, "--quiet", "--fresh", "--out", world.path("run"), env=NO_SCRIPT)
    kit.same(before, kit.digests(world.path("run")), "report --fresh")


def test_without_gnuplot_the_page_says_so():
    for program in ("/nonexistent/gnuplot", "no-such-gnuplot"):
        folder, _ = make("run", "--set", "report.gnuplot=" + program)
        page = page_of(folder)
        assert "not installed" in "".join(page.words) and not page.sources and page.rows
        with open(os.path.join(folder, "README.md")) as f:
            text = f.read()
        assert "No plots: gnuplot" in text and "](plots/" not in text
    _, err = make("run", "--set", "report.gnuplot=/bin/false")
    assert "failed with status 1" in err, err


def test_plotly_is_embedded():
    script = world.path("plotly.js")
    with open(script, "w") as f:
        f.write("window.Plotly = {react: () => '</script><b>'};\n")
    folder, _ = make("run", env={"SAEDIFF_PLOTLY": script})
    page = page_of(folder)
    assert len(page.scripts) == 3 and "<\\/script><b>" in page.scripts[0]
    panels = json.loads(page.scripts[1])
    with open(os.path.join(folder, "results.json")) as f:
        results = json.load(f)
    assert len(panels) == len(results["saes"]) == 4
    for panel, sae in zip(panels, results["saes"]):
        assert panel["title"] == sae["site"] and panel["n"] == sae["n"]
        for kind, values in (("mean", panel["mean"]), ("frequency", [[c / panel["n"] for c in counts] for counts in panel["count"]])):
            bars, never = panel["histograms"][kind], sae["latents"] - len(panel["latent"])
            assert sum(bars["changes"]) == len(panel["latent"])
            for side, found in zip(bars["count"], values):
                positive = [v for v in found if v > 0]
                want = [0] * len(side)
                for v in positive:
                    want[min(max(int(math.floor(8 * (math.log10(v) - bars["first"]))), 0), len(side) - 1)] += 1
                assert side == want, (kind, side, want)
            assert bars["never"] == [never + found.count(0) for found in values], (kind, bars["never"])
        for kind, rows in panel["lists"].items():
            assert rows == [r["latent"] for r in sae["lists"][kind]["rows"]]
        for row in sae["lists"]["increased"]["rows"]:
            at = panel["latent"].index(row["latent"])
            assert panel["change"][at] == row["change"]["mean"] and panel["count"][1][at] == row["tuned"]["count"]
    assert len([f for f in page.figures if "data-panel" in f]) == 16
    status, _, err = kit.run(0, "report", job, "--out", world.path("run"), "--set", "report.plotly=gone.js")
    assert status == 2 and "gone.js" in err, err


def test_saes_trained_separately():
    apart = world.write_job("apart.json", sae={"latents": 24}, train={"on": ["base", "tuned"]}, extract={"sites": ["0"]})
    out = world.path("apart")
    kit.must(2, "run", apart, "--quiet", "--out", out, "--set", "report.gnuplot=", env=NO_SCRIPT)
    with open(os.path.join(out, "report", "results.json")) as f:
        match, = json.load(f)["matches"]
    with kit.h5py.File(os.path.join(out, "match", match["site"], "topk-24-k3", "match.h5")) as f:
        assert match["pairs"] == f.attrs["pairs"] == (f["base_match"][:] >= 0).sum() == match["base"]["kinds"]["pair"]
        assert match["null_cosine"] == f.attrs["null_cosine"]
    rows = [r for r in page_of(os.path.join(out, "report")).rows if len(r) == 10 and r[1] in ("base", "tuned")]
    for row, side in zip(rows, (match["base"], match["tuned"])):
        assert [int(n) for n in row[3:9]] == list(side["kinds"].values()) and sum(side["kinds"].values()) == 24
    assert len(rows) == 2


def test_equal_models_show_zero():
    twin = world.write_job("twin.json", models={"base": "base", "tuned": "twin"})
    out = world.path("twin")
    kit.must(2, "run", twin, "--quiet", "--out", out, env=NO_SCRIPT)
    page = page_of(os.path.join(out, "report"))
    assert "".join(page.words).count("No latent changes.") == 4
    assert not [n for n in page.numbers if n[1].startswith("+") or n[0].startswith("-0") and float(n[0]) == 0]
    assert len(os.listdir(os.path.join(out, "report", "plots"))) == 38


try:
    kit.main(test_the_page_is_well_formed, test_the_pages_numbers_are_those_of_the_results, test_the_fidelity_of_the_saes_is_shown,
             test_every_estimate_has_its_n_and_interval, test_both_pages_have_the_same_content,
             test_pictures_are_pictures, test_the_same_bytes_again, test_without_gnuplot_the_page_says_so,
             test_plotly_is_embedded, test_saes_trained_separately, test_equal_models_show_zero)
finally:
    world.close()

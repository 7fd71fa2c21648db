/* Interactive panels: data of each SAE as JSON, and a short program that hands them to Plotly. Where it does not run,
 * and on paper, the plots stay. */
#include <math.h>

#include "html.h"
#include "plots.h"
#include "saediff/core/mem.h"

typedef unsigned long long ull;

enum { POINTS = 4000 }; /* latents of a panel: those with the largest changes */

/* The script, in two strings that are short enough for every compiler. */
static const char program_curves[] =
    "(() => {\n"
    "const all = JSON.parse(document.getElementById('panels').textContent);\n"
    "const lists = [['increased', '#D55E00', 'circle'], ['decreased', '#0072B2', 'circle'], ['appearing', '#D55E00', 'triangle-up'],\n"
    "  ['vanishing', '#0072B2', 'triangle-down']];\n"
    "const g = v => v === null ? 'NaN' : Number(v.toPrecision(4)).toString();\n"
    "const shown = (d, i) => 'latent ' + d.latent[i] + '<br>base: A ' + g(d.mean[0][i]) + ', \\u03c6 ' + g(d.count[0][i] / d.n) +\n"
    "  ', n ' + d.count[0][i] + '<br>tuned: A ' + g(d.mean[1][i]) + ', \\u03c6 ' + g(d.count[1][i] / d.n) + ', n ' + d.count[1][i] +\n"
    "  '<br>\\u0394A ' + g(d.change[i]);\n"
    "function scatter(d, what) {\n"
    "  const value = what === 'mean' ? d.mean : d.count.map(c => c.map(v => v / d.n));\n"
    "  const positive = value[0].concat(value[1]).filter(v => v > 0);\n"
    "  const low = positive.length ? positive.reduce((a, b) => Math.min(a, b)) : 0.1;\n"
    "  const high = positive.length ? positive.reduce((a, b) => Math.max(a, b)) : 1;\n"
    "  const zero = low / 3, at = v => v > 0 ? v : zero;\n"
    "  const trace = (ids, extra) => Object.assign({type: 'scatter', mode: 'markers',\n"
    "    x: ids.map(i => at(value[0][i])), y: ids.map(i => at(value[1][i])), text: ids.map(i => shown(d, i)), hoverinfo: 'text'}, extra);\n"
    "  const index = new Map(d.latent.map((l, i) => [l, i])), listed = new Set(lists.flatMap(k => d.lists[k[0]]));\n"
    "  const rest = d.latent.map((l, i) => i).filter(i => !listed.has(d.latent[i]));\n"
    "  const traces = [{type: 'scatter', mode: 'lines', x: [zero / 1.5, high * 1.5], y: [zero / 1.5, high * 1.5], name: 'no change', hoverinfo: 'skip',\n"
    "    line: {dash: 'dash', width: 1, color: '#888'}}, trace(rest, {name: 'latents', marker: {size: 4, color: '#999', opacity: 0.6}})];\n"
    "  for (const [id, color, symbol] of lists)\n"
    "    if (d.lists[id].length) traces.push(trace(d.lists[id].map(l => index.get(l)), {name: id, marker: {size: 8, color, symbol}}));\n"
    "  const axis = t => ({type: 'log', title: {text: t}, exponentformat: 'power', dtick: 1, range: [Math.log10(zero / 1.5), Math.log10(high * 1.5)]});\n"
    "  const name = what === 'mean' ? 'mean activation' : 'frequency';\n"
    "  return [traces, {xaxis: axis(name + ', base'), yaxis: axis(name + ', tuned'), legend: {orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0}, height: 520}];\n"
    "}\n";

static const char program_rest[] =
    "function histograms(d, what) {\n"
    "  const h = d.histograms[what], step = 2 * h.reach / h.changes.length, middle = (h.changes.length - 1) / 2;\n"
    "  const x = h.changes.map((c, b) => -h.reach + (b + 0.5) * step), never = h.first - 0.45;\n"
    "  const at = [never].concat(h.count[0].map((c, b) => h.first + (b + 0.5) / 8)), whole = [];\n"
    "  for (let p = h.first; p <= h.first + h.count[0].length / 8; p++) whole.push(p);\n"
    "  const name = what === 'frequency' ? 'frequency' : 'mean activation';\n"
    "  const bars = (m, label, color) => ({type: 'bar', name: label, x: at, y: [h.never[m]].concat(h.count[m]), marker: {color}, opacity: 0.75,\n"
    "    text: at.map((v, i) => i ? 'about 10^' + v : 'never'), textposition: 'none', hovertemplate: label + ', %{text}: %{y} latents<extra></extra>'});\n"
    "  const moved = {type: 'bar', x, y: h.changes, width: 0.9 * step, xaxis: 'x2', yaxis: 'y2', showlegend: false,\n"
    "    hovertemplate: 'change about %{x:.3g}: %{y} latents<extra></extra>', marker: {color: x.map((v, b) => b < middle ? '#0072B2' : b > middle ? '#D55E00' : '#888')}};\n"
    "  return [[bars(0, 'base', '#888'), bars(1, 'tuned', '#009E73'), moved], {barmode: 'group', bargap: 0.1, height: 380,\n"
    "    legend: {orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0}, yaxis: {title: {text: 'latents'}},\n"
    "    xaxis: {domain: [0, 0.46], tickvals: [never].concat(whole), ticktext: ['never'].concat(whole), title: {text: name + ', power of ten'}},\n"
    "    xaxis2: {domain: [0.54, 1], anchor: 'y2', title: {text: 'change, tuned − base'}}, yaxis2: {anchor: 'x2', type: 'log', dtick: 1}}];\n"
    "}\n"
    "function draw(figure) {\n"
    "  const d = all[figure.dataset.sae], kind = figure.dataset.panel;\n"
    "  const [traces, layout] = kind.startsWith('activation_') ? histograms(d, kind === 'activation_frequency' ? 'frequency' : 'mean') : scatter(d, kind);\n"
    "  const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink').trim();\n"
    "  const line = getComputedStyle(document.documentElement).getPropertyValue('--line').trim();\n"
    "  for (const axis of Object.keys(layout).filter(k => k.includes('axis'))) Object.assign(layout[axis], {gridcolor: line, zerolinecolor: line, automargin: true});\n"
    "  Object.assign(layout, {font: {color: ink}, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',\n"
    "    margin: {l: 56, r: 12, t: 72, b: 48}});\n"
    "  let panel = figure.querySelector('.panel');\n"
    "  if (!panel) {\n"
    "    panel = document.createElement('div');\n"
    "    panel.className = 'panel';\n"
    "    panel.style.height = layout.height + 'px';\n"
    "    figure.insertBefore(panel, figure.querySelector('figcaption'));\n"
    "    figure.classList.add('live');\n"
    "  }\n"
    "  Plotly.react(panel, traces, layout, {responsive: true, displaylogo: false, displayModeBar: 'hover', modeBarButtonsToRemove: ['lasso2d', 'select2d']});\n"
    "}\n"
    "const figures = document.querySelectorAll('figure[data-panel]');\n"
    "const seen = new IntersectionObserver(e => e.forEach(v => { if (v.isIntersecting) { seen.unobserve(v.target); draw(v.target); } }),\n"
    "  {rootMargin: '400px'});\n"
    "if (window.Plotly) {\n"
    "  figures.forEach(f => seen.observe(f));\n"
    "  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => document.querySelectorAll('figure.live').forEach(draw));\n"
    "}\n"
    "})();\n";

static void add_counts(sd_str *s, const char *before, const uint64_t *value, uint64_t count)
{
    sd_str_add(s, "%s[", before);
    for (uint64_t i = 0; i < count; i++)
        sd_str_add(s, "%s%llu", i ? "," : "", (ull)value[i]);
    sd_str_add(s, "]");
}

/* The arrays of the first `n` latents of `order`. */
static void add_latents(const sd_diff *d, const uint64_t *order, uint64_t n, sd_str *s)
{
    char number[REP_NUMBER];

    add_counts(s, "\"latent\":", order, n);
    for (int m = 0; m < 2; m++) {
        sd_str_add(s, m ? ",[" : ",\"count\":[[");
        for (uint64_t i = 0; i < n; i++)
            sd_str_add(s, "%s%llu", i ? "," : "", (ull)rep_side(d, m)->sums.count[order[i]]);
        sd_str_add(s, m ? "]]" : "]");
    }
    for (int m = 0; m < 2; m++) {
        sd_str_add(s, m ? ",[" : ",\"mean\":[[");
        for (uint64_t i = 0; i < n; i++)
            sd_str_add(s, "%s%s", i ? "," : "", rep_exact(number, rep_mean(d, m, order[i]), "null"));
        sd_str_add(s, m ? "]]" : "]");
    }
    sd_str_add(s, ",\"change\":[");
    for (uint64_t i = 0; i < n; i++)
        sd_str_add(s, "%s%s", i ? "," : "", rep_exact(number, d->d_mean[order[i]], "null"));
    sd_str_add(s, "]");
}

/* The latents that fire, in descending order of |change|. */
static sd_status add_points(const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;
    uint64_t *order = NULL, n = 0;
    double *key = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&key, d->latents));
    SD_TRY(st, SD_NEW(&order, d->latents));
    for (uint64_t l = 0; l < d->latents; l++) {
        bool fires = d->base.sums.count[l] + d->tuned.sums.count[l] > 0;

        key[l] = fires ? fabs(d->d_mean[l]) : (double)NAN;
        n += fires;
    }
    for (int kind = 0; kind < REP_DRAWN_LISTS; kind++)
        for (uint64_t i = 0; i < sae->lists[kind].count; i++)
            key[sae->lists[kind].latents[i]] = INFINITY;
    sd_order_falling(key, d->latents, order);
    add_latents(d, order, n < POINTS ? n : POINTS, s);
out:
    sd_free(order);
    sd_free(key);
    return st;
}

static void add_histograms(const sd_diff *d, bool frequency, sd_str *s)
{
    char number[REP_NUMBER];
    rep_histograms h;

    rep_histograms_of(d, frequency, &h);
    sd_str_add(s, "%s{\"first\":%d,\"reach\":%s", frequency ? "\"frequency\":" : ",\"mean\":", h.first, rep_exact(number, h.reach, "null"));
    add_counts(s, ",\"changes\":", h.changes, REP_CHANGE_BINS);
    add_counts(s, ",\"count\":[", h.count[0], (uint64_t)h.bins);
    add_counts(s, ",", h.count[1], (uint64_t)h.bins);
    add_counts(s, "],\"never\":", h.never, 2);
    sd_str_add(s, "}");
}

static sd_status add_sae(const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;
    sd_status st;

    sd_str_add(s, "{\"title\":");
    rep_json(s, d->site);
    sd_str_add(s, ",\"n\":%llu,", (ull)d->tokens);
    SD_TRY(st, add_points(sae, s));
    sd_str_add(s, ",\"lists\":{");
    for (int kind = 0; kind < REP_DRAWN_LISTS; kind++) {
        sd_str_add(s, "%s\"%s\":", kind ? "," : "", sae->lists[kind].id);
        add_counts(s, "", sae->lists[kind].latents, sae->lists[kind].count);
    }
    sd_str_add(s, "},\"histograms\":{");
    for (int frequency = 1; frequency >= 0; frequency--)
        add_histograms(d, frequency, s);
    sd_str_add(s, "}}");
out:
    return st;
}

void rep_live(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "<script type=\"application/json\" id=\"panels\">[");
    for (uint64_t i = 0; i < study->spec->n_diffs && s->status == SD_OK; i++) {
        sd_status st;

        sd_str_add(s, "%s\n", i ? "," : "");
        st = add_sae(&study->saes[i], s);
        if (st != SD_OK)
            s->status = st;
    }
    sd_str_add(s, "]</script>\n<script>\n%s%s</script>\n", program_curves, program_rest);
}

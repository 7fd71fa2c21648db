#include "saediff/diff/match.h"

#include <math.h>
#include <string.h>

#include "match_private.h"
#include "match_columns.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

enum { COSINE, CORRELATION, NULL_COSINE, NULL_CORRELATION, SWEEPS };

void best_offer(best *b, double value, uint64_t index)
{
    best other = {value, NAN, (int64_t)index};

    if (!isnan(value))
        best_merge(b, &other);
}

/* The larger of two; NaN only if both are. */
static double larger(double a, double b)
{
    return isnan(a) || b > a ? b : a;
}

void best_merge(best *into, const best *other)
{
    best a = *into, b = *other;

    if (b.with < 0)
        return;
    if (a.with < 0 || b.first > a.first || (b.first == a.first && b.with < a.with)) {
        best swap = a;

        a = b;
        b = swap;
    }
    into->first = a.first;
    into->with = a.with;
    into->second = larger(larger(a.second, b.second), b.first);
}

sd_status sweep_create(sweep *s, sd_span rows, uint64_t cols)
{
    const best none = {NAN, NAN, -1};
    sd_status st;

    s->rows = rows;
    s->cols = cols;
    SD_TRY(st, SD_NEW(&s->row, rows.count));
    SD_TRY(st, SD_NEW(&s->col, cols));
    for (uint64_t i = 0; i < rows.count; i++)
        s->row[i] = none;
    for (uint64_t j = 0; j < cols; j++)
        s->col[j] = none;
out:
    return st;
}

void sweep_free(sweep *s)
{
    sd_free(s->row);
    sd_free(s->col);
    *s = (sweep){0};
}

/* ---- each rank */

typedef struct matcher {
    const sd_match_spec *spec;
    decoder base, tuned;
    sweep sweep[SWEEPS];
    co_moments moments, null;
    best *row[SWEEPS], *col[SWEEPS]; /* rank 0: of all ranks, [base latents], [tuned latents] */
} matcher;

static void matcher_free(matcher *m)
{
    decoder_free(&m->base);
    decoder_free(&m->tuned);
    co_moments_free(&m->moments);
    co_moments_free(&m->null);
    for (int w = 0; w < SWEEPS; w++) {
        sweep_free(&m->sweep[w]);
        sd_free(m->row[w]);
        sd_free(m->col[w]);
    }
}

/* Local. */
static sd_status measure(matcher *m, const sd_par *par)
{
    const sd_match_spec *spec = m->spec;
    decoder random;
    sd_status st;

    SD_TRY(st, decoder_read(&m->base, spec->base_sae));
    SD_TRY(st, decoder_read(&m->tuned, spec->tuned_sae));
    if (m->base.width != m->tuned.width)
        return SD_FAIL(SD_E_DATA, "%s reads activations of width %llu, %s of %llu: they belong to different sites", spec->base_sae,
                       (unsigned long long)m->base.width, spec->tuned_sae, (unsigned long long)m->tuned.width);
    if (m->base.latents == 0 || m->tuned.latents == 0)
        return SD_FAIL(SD_E_DATA, "%s has %llu latents, %s %llu: nothing to match", spec->base_sae,
                       (unsigned long long)m->base.latents, spec->tuned_sae, (unsigned long long)m->tuned.latents);
    for (int w = 0; w < SWEEPS; w++)
        SD_TRY(st, sweep_create(&m->sweep[w], sd_par_split(m->base.latents, par->rank, par->size), m->tuned.latents));
    SD_TRY(st, co_moments_create(&m->moments, m->base.latents, m->tuned.latents));
    SD_TRY(st, co_moments_create(&m->null, m->base.latents, m->tuned.latents));
    SD_TRY(st, match_correlations(&m->sweep[CORRELATION], spec, false, &m->moments));
    SD_TRY(st, match_correlations(&m->sweep[NULL_CORRELATION], spec, true, &m->null));
    SD_TRY(st, match_cosines(&m->sweep[COSINE], &m->base, &m->tuned, spec->seed));
    random = m->tuned;
    random.rows = NULL;
    SD_TRY(st, match_cosines(&m->sweep[NULL_COSINE], &m->base, &random, spec->seed));
out:
    return st;
}

/* Collective. Rows of all ranks one after another; columns merged. */
static sd_status collect(matcher *m, const sd_par *par, int which)
{
    uint64_t ranks = (uint64_t)par->size, rows = m->base.latents, cols = m->tuned.latents;
    const sweep *s = &m->sweep[which];
    bool root = par->rank == 0;
    best *all = NULL;
    sd_status st = SD_OK;

    if (root) {
        st = SD_NEW(&m->row[which], rows);
        if (st == SD_OK)
            st = SD_NEW(&m->col[which], cols);
        if (st == SD_OK)
            st = SD_NEW(&all, ranks * cols);
    }
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_par_gather(par, s->row, s->rows.count * sizeof *all, m->row[which], root ? rows * sizeof *all : 0));
    SD_TRY(st, sd_par_gather(par, s->col, cols * sizeof *all, all, root ? ranks * cols * sizeof *all : 0));
    for (uint64_t j = 0; root && j < cols; j++) {
        m->col[which][j] = all[j];
        for (uint64_t r = 1; r < ranks; r++)
            best_merge(&m->col[which][j], &all[r * cols + j]);
    }
out:
    sd_free(all);
    return st;
}

/* ---- rank 0 */

const char *sd_match_kind_name(sd_match_kind kind)
{
    static const char *const names[SD_MATCH_KINDS] = {"pair", "rotated", "split", "exclusive", "silent", "unclear"};

    return names[kind];
}

static sd_status fill_side(sd_match_side *side, const side_sums *sums, uint64_t tokens, const best *cosine, const best *correlation)
{
    sd_status st;

    side->latents = sums->latents;
    SD_TRY(st, match_side_allocate(side));
    for (uint64_t i = 0; i < side->latents; i++) {
        side->count[i] = sums->count[i];
        side->mean[i] = sums->sum[i] / (double)tokens;
        side->cosine[i] = cosine[i].first;
        side->second_cosine[i] = cosine[i].second;
        side->cosine_with[i] = cosine[i].with;
        side->correlation[i] = correlation[i].first;
        side->second_correlation[i] = correlation[i].second;
        side->correlation_with[i] = correlation[i].with;
        side->match[i] = -1;
    }
out:
    return st;
}

/* Without a second-best match the margin is infinite. */
static bool has_margin(const sd_match_side *side, uint64_t i, double margin)
{
    return isnan(side->second_cosine[i]) || side->cosine[i] - side->second_cosine[i] >= margin;
}

static bool is_pair(const sd_match *m, uint64_t i)
{
    const sd_match_side *b = &m->base, *t = &m->tuned;
    int64_t j = b->cosine_with[i];

    return j >= 0 && b->correlation_with[i] == j && t->cosine_with[j] == (int64_t)i && t->correlation_with[j] == (int64_t)i &&
           b->cosine[i] >= m->min_cosine && b->correlation[i] >= m->min_correlation && has_margin(b, i, m->min_margin) &&
           has_margin(t, (uint64_t)j, m->min_margin);
}

static bool is_silent(const sd_match_side *side, uint64_t i)
{
    return side->count[i] < SD_MATCH_SUPPORT;
}

static bool leans(const sd_match *m, const sd_match_side *side, uint64_t i)
{
    return !is_silent(side, i) && side->cosine_with[i] >= 0 && side->cosine[i] >= m->min_cosine;
}

/* leaning [other latents]: how many of `side` have each of the other side as their best in cosine, ≥ min_cosine. */
static void count_leaning(const sd_match *m, const sd_match_side *side, uint64_t *leaning)
{
    for (uint64_t i = 0; i < side->latents; i++)
        if (leans(m, side, i))
            leaning[side->cosine_with[i]]++;
}

static sd_match_kind kind_of(const sd_match *m, const sd_match_side *side, const sd_match_side *other, uint64_t i,
                             const uint64_t *leaning, const uint64_t *leaning_here)
{
    bool near = side->cosine[i] >= m->min_cosine, together = side->correlation[i] >= m->min_correlation;

    if (is_silent(side, i))
        return SD_MATCH_SILENT;
    if (side->match[i] >= 0)
        return SD_MATCH_PAIR;
    if (leaning_here[i] > 1 || (leans(m, side, i) && leaning[side->cosine_with[i]] > 1))
        return SD_MATCH_SPLIT;
    if (!near && together && other->correlation_with[side->correlation_with[i]] == (int64_t)i)
        return SD_MATCH_ROTATED;
    return near || together ? SD_MATCH_UNCLEAR : SD_MATCH_EXCLUSIVE;
}

static void set_kinds(const sd_match *m, sd_match_side *side, const sd_match_side *other, const uint64_t *leaning,
                      const uint64_t *leaning_here)
{
    uint64_t alive;

    for (uint64_t i = 0; i < side->latents; i++) {
        sd_match_kind kind = kind_of(m, side, other, i, leaning, leaning_here);

        side->kind[i] = (uint8_t)kind;
        side->kinds[kind]++;
    }
    alive = side->latents - side->kinds[SD_MATCH_SILENT];
    side->unmatched = alive == 0 ? (double)NAN : (double)(alive - side->kinds[SD_MATCH_PAIR]) / (double)alive;
}

static sd_status judge(sd_match *m)
{
    uint64_t *on_tuned = NULL, *on_base = NULL;
    sd_status st;

    for (uint64_t i = 0; i < m->base.latents; i++) {
        if (!is_pair(m, i))
            continue;
        m->base.match[i] = m->base.cosine_with[i];
        m->tuned.match[m->base.match[i]] = (int64_t)i;
        m->pairs++;
        m->pairs_above_null += m->base.cosine[i] > m->null_cosine && m->base.correlation[i] > m->null_correlation;
    }
    SD_TRY(st, SD_NEW(&on_tuned, m->tuned.latents));
    SD_TRY(st, SD_NEW(&on_base, m->base.latents));
    count_leaning(m, &m->base, on_tuned);
    count_leaning(m, &m->tuned, on_base);
    set_kinds(m, &m->base, &m->tuned, on_tuned, on_base);
    set_kinds(m, &m->tuned, &m->base, on_base, on_tuned);
out:
    sd_free(on_tuned);
    sd_free(on_base);
    return st;
}

static double largest(const best *row, uint64_t count)
{
    double most = NAN;

    for (uint64_t i = 0; i < count; i++)
        most = larger(most, row[i].first);
    return most;
}

static sd_status build(matcher *w, sd_match **match)
{
    const sd_match_spec *spec = w->spec;
    sd_match *m = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&m, 1));
    SD_TRY(st, sd_str_copy(&m->site, spec->site));
    m->min_cosine = spec->min_cosine;
    m->min_correlation = spec->min_correlation;
    m->min_margin = spec->min_margin;
    m->d_model = w->base.width;
    m->tokens = w->moments.tokens;
    SD_TRY(st, fill_side(&m->base, &w->moments.base, m->tokens, w->row[COSINE], w->row[CORRELATION]));
    SD_TRY(st, fill_side(&m->tuned, &w->moments.tuned, m->tokens, w->col[COSINE], w->col[CORRELATION]));
    m->null_cosine = largest(w->row[NULL_COSINE], m->base.latents);
    m->null_correlation = largest(w->row[NULL_CORRELATION], m->base.latents);
    SD_TRY(st, judge(m));
    *match = m;
    m = NULL;
out:
    sd_match_destroy(&m);
    return st;
}

sd_status sd_match_run(const sd_par *par, const sd_match_spec *spec, sd_match **match)
{
    matcher m = {.spec = spec};
    sd_status st;

    *match = NULL;
    SD_TRY(st, sd_par_agree(par, measure(&m, par)));
    for (int which = 0; which < SWEEPS; which++)
        SD_TRY(st, collect(&m, par, which));
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? build(&m, match) : SD_OK));
out:
    matcher_free(&m);
    return st;
}

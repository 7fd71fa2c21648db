/* Correlations from sparse codes: only pairs that fire together are touched, in a dense tile of some base latents by all tuned ones. */
#include <math.h>

#include "match_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/store/codes.h"

enum { TILE_PAIRS = 1 << 24 };

static sd_status side_sums_create(side_sums *s, uint64_t latents)
{
    sd_status st;

    s->latents = latents;
    SD_TRY(st, SD_NEW(&s->count, latents));
    SD_TRY(st, SD_NEW(&s->sum, latents));
    SD_TRY(st, SD_NEW(&s->sum2, latents));
out:
    return st;
}

sd_status co_moments_create(co_moments *m, uint64_t base, uint64_t tuned)
{
    sd_status st;

    SD_TRY(st, side_sums_create(&m->base, base));
    SD_TRY(st, side_sums_create(&m->tuned, tuned));
out:
    return st;
}

static void side_sums_free(side_sums *s)
{
    sd_free(s->count);
    sd_free(s->sum);
    sd_free(s->sum2);
}

void co_moments_free(co_moments *m)
{
    side_sums_free(&m->base);
    side_sums_free(&m->tuned);
    *m = (co_moments){0};
}

static void add_side(side_sums *s, const sd_codes *codes, uint64_t row)
{
    for (uint64_t c = codes->row_start[row]; c < codes->row_start[row + 1]; c++) {
        double v = (double)codes->value[c];

        s->count[codes->latent[c]]++;
        s->sum[codes->latent[c]] += v;
        s->sum2[codes->latent[c]] += v * v;
    }
}

/* One pass over the shards: base rows `tile`, cross [tile.count, tuned latents]. */
typedef struct pass {
    const sd_match_spec *spec;
    bool null;
    co_moments *m; /* NULL where the sums are there already */
    sd_span tile;
    double *cross;
    const sd_codes *base, *tuned;
} pass;

/* Row i of the base shard is aligned with row j of the tuned one. */
static void add_pair(pass *p, uint64_t i, uint64_t j)
{
    const sd_codes *b = p->base, *t = p->tuned;
    const uint8_t *mask = p->spec->tokens->mask + b->first_row;

    if (!mask[i] || !mask[j])
        return;
    if (p->m != NULL) {
        p->m->tokens++;
        add_side(&p->m->base, b, i);
        add_side(&p->m->tuned, t, j);
    }
    for (uint64_t c = b->row_start[i]; c < b->row_start[i + 1]; c++) {
        uint64_t latent = (uint64_t)b->latent[c];
        double v = (double)b->value[c], *cross = p->cross;

        if (latent < p->tile.first || latent - p->tile.first >= p->tile.count)
            continue;
        cross += (latent - p->tile.first) * t->n_latents;
        for (uint64_t e = t->row_start[j]; e < t->row_start[j + 1]; e++)
            cross[t->latent[e]] += v * (double)t->value[e];
    }
}

/* The part of document `doc` that lies in the shard, rows relative to it. */
static sd_span segment(const pass *p, uint64_t doc)
{
    const uint64_t *start = p->spec->tokens->doc_start;
    sd_span part = sd_span_intersect((sd_span){start[doc], start[doc + 1] - start[doc]},
                                (sd_span){p->base->first_row, p->base->rows});

    return (sd_span){part.count > 0 ? part.first - p->base->first_row : 0, part.count};
}

/* Each document of the shard over the next one in a keyed cycle of them, as far as both reach. */
static sd_status add_null(pass *p, uint64_t shard)
{
    const sd_tokens *t = p->spec->tokens;
    sd_key key = sd_key_make(p->spec->seed, SD_STREAM_NULL_DOCUMENTS, shard);
    uint64_t first = 0, docs = 0, *order = NULL;
    sd_status st = SD_OK;

    if (p->base->rows > 0) {
        first = sd_tokens_doc(t, p->base->first_row);
        docs = sd_tokens_doc(t, p->base->first_row + p->base->rows - 1) - first + 1;
    }
    if (docs < 2)
        return SD_OK;
    SD_TRY(st, SD_NEW(&order, docs));
    for (uint64_t d = 0; d < docs; d++)
        order[sd_random_permute(key, docs, d)] = first + d;
    for (uint64_t i = 0; i < docs; i++) {
        sd_span a = segment(p, order[i]), b = segment(p, order[(i + 1) % docs]);

        for (uint64_t at = 0; at < a.count && at < b.count; at++)
            add_pair(p, a.first + at, b.first + at);
    }
out:
    sd_free(order);
    return st;
}

static sd_status check_shards(const pass *p, uint64_t shard, uint64_t row)
{
    const sd_codes *b = p->base, *t = p->tuned;
    const sd_match_spec *spec = p->spec;

    if (b->first_row != row || t->first_row != row || b->rows != t->rows || b->rows > spec->tokens->tokens - row)
        return SD_FAIL(SD_E_DATA, "%s holds %llu rows from %llu on, %s %llu from %llu on, where row %llu of %llu comes next; run encode "
                       "with --fresh", spec->base_codes[shard], (unsigned long long)b->rows, (unsigned long long)b->first_row,
                       spec->tuned_codes[shard], (unsigned long long)t->rows, (unsigned long long)t->first_row,
                       (unsigned long long)row, (unsigned long long)spec->tokens->tokens);
    return SD_OK;
}

static sd_status check_latents(const char *path, const sd_codes *codes, uint64_t latents)
{
    if (codes->n_latents != latents)
        return SD_FAIL(SD_E_DATA, "%s has codes of %llu latents, the SAE %llu; run encode with --fresh", path,
                       (unsigned long long)codes->n_latents, (unsigned long long)latents);
    return SD_OK;
}

static sd_status run_pass(pass *p, uint64_t base_latents, uint64_t tuned_latents)
{
    const sd_match_spec *spec = p->spec;
    sd_codes *base = NULL, *tuned = NULL;
    uint64_t row = 0;
    sd_status st = SD_OK;

    for (uint64_t s = 0; s < spec->shards; s++) {
        if (sd_par_stop_asked())
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished comparisons are kept: run the same command again");
        SD_TRY(st, sd_codes_read(&base, spec->base_codes[s]));
        SD_TRY(st, sd_codes_read(&tuned, spec->tuned_codes[s]));
        p->base = base;
        p->tuned = tuned;
        SD_TRY(st, check_shards(p, s, row));
        SD_TRY(st, check_latents(spec->base_codes[s], base, base_latents));
        SD_TRY(st, check_latents(spec->tuned_codes[s], tuned, tuned_latents));
        if (p->null)
            SD_TRY(st, add_null(p, s));
        for (uint64_t r = 0; r < base->rows && !p->null; r++)
            add_pair(p, r, r);
        row += base->rows;
        sd_codes_destroy(&base);
        sd_codes_destroy(&tuned);
    }
    if (row != spec->tokens->tokens)
        st = SD_FAIL(SD_E_DATA, "%s: the %llu code shards cover %llu of %llu tokens; run encode with --fresh", spec->site,
                     (unsigned long long)spec->shards, (unsigned long long)row, (unsigned long long)spec->tokens->tokens);
out:
    sd_codes_destroy(&base);
    sd_codes_destroy(&tuned);
    return st;
}

/* Σ (a − ā)(b − b̄) from the sums; the same arithmetic for a variance, so that a latent and its copy correlate by 1. */
static double centred(double product, double sum_a, double sum_b, double n)
{
    return product - sum_a * sum_b / n;
}

static void offer_tile(sweep *s, const co_moments *m, sd_span tile, const double *cross)
{
    double n = (double)m->tokens;

    for (uint64_t i = tile.first; i < tile.first + tile.count; i++) {
        double spread_i = centred(m->base.sum2[i], m->base.sum[i], m->base.sum[i], n);

        if (m->base.count[i] < SD_MATCH_SUPPORT)
            continue;
        for (uint64_t j = 0; j < s->cols; j++) {
            double spread_j = centred(m->tuned.sum2[j], m->tuned.sum[j], m->tuned.sum[j], n);

            if (m->tuned.count[j] >= SD_MATCH_SUPPORT && spread_i > 0 && spread_j > 0)
                sweep_offer(s, i, j, centred(cross[(i - tile.first) * s->cols + j], m->base.sum[i], m->tuned.sum[j], n) /
                                         (sqrt(spread_i) * sqrt(spread_j)));
        }
    }
}

sd_status match_correlations(sweep *s, const sd_match_spec *spec, bool null, co_moments *m)
{
    uint64_t most = (spec->tile > 0 ? spec->tile : TILE_PAIRS) / s->cols, end = s->rows.first + s->rows.count;
    double *cross = NULL;
    sd_status st = SD_OK;

    if (most < 1)
        most = 1;
    for (uint64_t first = s->rows.first; first < end; first += most) {
        sd_span tile = {first, end - first < most ? end - first : most};
        pass p = {.spec = spec, .null = null, .m = first == s->rows.first ? m : NULL, .tile = tile};

        sd_free(cross);
        cross = NULL;
        SD_TRY(st, SD_NEW(&cross, tile.count * s->cols));
        p.cross = cross;
        SD_TRY(st, run_pass(&p, m->base.latents, m->tuned.latents));
        offer_tile(s, m, tile, cross);
    }
out:
    sd_free(cross);
    return st;
}

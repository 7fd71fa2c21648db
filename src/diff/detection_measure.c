/* The latents of this rank, one tile at a time; each tile reads all shards. Sums are over a document's own tokens in stream order, and midranks are
 * multiples of ½, so that results depend neither on tiles nor on ranks. */
#include <math.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/stat/auroc.h"
#include "saediff/stat/bootstrap.h"
#include "saediff/store/codes.h"
#include "detection_private.h"

enum { TILE_ENTRIES = 1 << 22 };

/* A latent in one document. */
typedef struct entry {
    uint64_t doc;
    double sum;
} entry;

typedef struct tile {
    sd_span latents;
    uint64_t *start, *used; /* [latents.count + 1], [latents.count] */
    entry *entries;
} tile;

static void tile_free(tile *t)
{
    sd_free(t->start);
    sd_free(t->used);
    sd_free(t->entries);
    *t = (tile){0};
}

static sd_status stopped(void)
{
    return SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished comparisons are kept: run the same command again");
}

static uint64_t most_entries(const detection_docs *d, const uint64_t *support, uint64_t latent)
{
    return support[latent] < d->docs ? support[latent] : d->docs;
}

/* The tile of latents from `first` on, as many as the limit allows, at least one. */
static sd_status tile_begin(tile *t, const sd_detection_spec *spec, const detection_docs *d, const uint64_t *support, uint64_t first, uint64_t end)
{
    uint64_t entries = 0, last = first, most = spec->tile > 0 ? spec->tile : TILE_ENTRIES;
    sd_status st;

    do {
        entries += most_entries(d, support, last++);
    } while (last < end && entries + most_entries(d, support, last) <= most);
    t->latents = (sd_span){first, last - first};
    SD_TRY(st, SD_NEW(&t->start, t->latents.count + 1));
    SD_TRY(st, SD_NEW(&t->used, t->latents.count));
    SD_TRY(st, SD_NEW(&t->entries, entries));
    for (uint64_t i = 0; i < t->latents.count; i++)
        t->start[i + 1] = t->start[i] + most_entries(d, support, first + i);
out:
    return st;
}

static void add_code(tile *t, uint64_t doc, uint64_t latent, double value)
{
    uint64_t i = latent - t->latents.first;
    entry *e;

    if (latent < t->latents.first || i >= t->latents.count || value <= 0)
        return;
    e = t->entries + t->start[i] + t->used[i];
    if (t->used[i] > 0 && e[-1].doc == doc) {
        e--;
    } else {
        e->doc = doc;
        t->used[i]++;
    }
    e->sum += value;
}

/* Calls add_code() for every code on an evaluated token, over all shards. */
static sd_status read_tile(tile *t, const sd_detection_spec *spec, const char *const *codes)
{
    const sd_tokens *tokens = spec->tokens;
    sd_codes *c = NULL;
    sd_status st = SD_OK;

    for (uint64_t s = 0; s < spec->shards; s++) {
        uint64_t doc;

        if (sd_par_stop_asked())
            return stopped();
        SD_TRY(st, sd_codes_read(&c, codes[s]));
        doc = c->rows > 0 ? sd_tokens_doc(tokens, c->first_row) : 0;
        for (uint64_t r = 0; r < c->rows; r++) {
            while (c->first_row + r >= tokens->doc_start[doc + 1])
                doc++;
            for (uint64_t i = c->row_start[r]; tokens->mask[c->first_row + r] && i < c->row_start[r + 1]; i++)
                add_code(t, doc, (uint64_t)c->latent[i], (double)c->value[i]);
        }
        sd_codes_destroy(&c);
    }
out:
    sd_codes_destroy(&c);
    return st;
}

/* All documents by ascending mean activation of one latent, silent ones first. */
typedef struct ranking {
    const detection_docs *d;
    sd_scored *order; /* [docs] */
    uint8_t *fires;   /* [docs] scratch */
    double **rank[SD_DETECTION_SPLITS]; /* [pools][pool's documents] midranks */
    double *auroc; /* [values] on the selection split, labels as given */
} ranking;

static void ranking_free(ranking *r)
{
    for (int h = 0; h < SD_DETECTION_SPLITS; h++) {
        for (uint64_t p = 0; r->rank[h] != NULL && p < r->d->n_pools; p++)
            sd_free(r->rank[h][p]);
        sd_free(r->rank[h]);
    }
    sd_free(r->order);
    sd_free(r->fires);
    sd_free(r->auroc);
}

static sd_status ranking_make(ranking *r)
{
    sd_status st;

    SD_TRY(st, SD_NEW(&r->order, r->d->docs));
    SD_TRY(st, SD_NEW(&r->fires, r->d->docs));
    SD_TRY(st, SD_NEW(&r->auroc, r->d->n_values));
    for (int h = 0; h < SD_DETECTION_SPLITS; h++) {
        SD_TRY(st, SD_NEW(&r->rank[h], r->d->n_pools));
        for (uint64_t p = 0; p < r->d->n_pools; p++)
            SD_TRY(st, SD_NEW(&r->rank[h][p], r->d->pools[p].count[h]));
    }
out:
    return st;
}

/* From the documents in which it fires, sorted. */
static void set_order(ranking *r, const sd_scored *fires, uint64_t count)
{
    uint64_t n = 0;

    memset(r->fires, 0, r->d->docs);
    for (uint64_t i = 0; i < count; i++)
        r->fires[fires[i].id] = 1;
    for (uint64_t doc = 0; doc < r->d->docs; doc++)
        if (!r->fires[doc])
            r->order[n++] = (sd_scored){.value = 0, .id = doc};
    memcpy(r->order + n, fires, count * sizeof *fires);
}

static void set_ranks(const ranking *r, uint64_t p, int h)
{
    const int64_t *index = r->d->pools[p].index[h];
    double *rank = r->rank[h][p], before = 0;

    for (uint64_t i = 0, end; i < r->d->docs; i = end) {
        double members = 0;

        for (end = i; end < r->d->docs && r->order[end].value == r->order[i].value; end++)
            members += index[r->order[end].id] >= 0;
        for (uint64_t j = i; members > 0 && j < end; j++)
            if (index[r->order[j].id] >= 0)
                rank[index[r->order[j].id]] = before + (members + 1) / 2;
        before += members;
    }
}

static double auroc_of(const ranking *r, const detection_value *v, int h, uint64_t assignment)
{
    const uint32_t *at = v->at[h] + assignment * v->positives[h];
    const double *rank = r->rank[h][v->pool];
    double sum = 0;

    for (uint64_t i = 0; i < v->positives[h]; i++)
        sum += rank[at[i]];
    return sd_auroc(sum, v->positives[h], v->others[h]);
}

/* The estimation split of a value as a sorted list; returns its length. */
static uint64_t list_estimation(const ranking *r, const detection_value *v, sd_scored *list)
{
    const detection_pool *pool = &r->d->pools[v->pool];
    uint64_t n = 0;

    for (uint64_t i = 0; i < r->d->docs; i++)
        if (pool->index[SD_DETECTION_ESTIMATION][r->order[i].id] >= 0)
            list[n++] = (sd_scored){.value = r->order[i].value, .id = r->order[i].id};
    memset(r->fires, 0, r->d->docs);
    for (uint64_t i = 0; i < v->positives[SD_DETECTION_ESTIMATION]; i++)
        r->fires[pool->docs[SD_DETECTION_ESTIMATION][v->at[SD_DETECTION_ESTIMATION][i]]] = 1;
    for (uint64_t i = 0; i < n; i++)
        list[i].positive = r->fires[list[i].id];
    return n;
}

static sd_status keep(detection_kept *kept, const sd_scored *fires, uint64_t count)
{
    sd_status st;

    sd_free(kept->fires);
    *kept = (detection_kept){0};
    SD_TRY(st, SD_NEW(&kept->fires, count));
    memcpy(kept->fires, fires, count * sizeof *fires);
    kept->count = count;
out:
    return st;
}

/* Compares one latent, which fires in these documents, with the winners so far. */
static sd_status compare_latent(ranking *r, uint64_t latent, const sd_scored *fires, uint64_t count, detection_winner *winners, detection_kept *kept)
{
    const detection_docs *d = r->d;
    sd_status st = SD_OK;

    for (uint64_t v = 0; v < d->n_values; v++)
        for (uint64_t assignment = 0; d->values[v].tested && assignment < d->assignments; assignment++) {
            detection_winner *w = &winners[v * d->assignments + assignment];
            double a = auroc_of(r, &d->values[v], SD_DETECTION_SELECTION, assignment);

            if (assignment == 0)
                r->auroc[v] = a;
            if (w->latent >= 0 && a <= w->a)
                continue;
            *w = (detection_winner){a, auroc_of(r, &d->values[v], SD_DETECTION_ESTIMATION, assignment), (int64_t)latent};
            if (assignment == 0)
                SD_TRY(st, keep(&kept[v], fires, count));
        }
out:
    return st;
}

/* The value of a field that it detects best, by r->auroc. */
static void set_best(ranking *r, const sd_labels *labels, uint64_t field, detection_best *best, sd_scored *list)
{
    const detection_docs *d = r->d;
    double most = 0.5;

    for (uint64_t v = 0; v < d->n_values; v++)
        if (labels->of_field[v] == field && d->values[v].tested && r->auroc[v] > most) {
            most = r->auroc[v];
            best->value = (int64_t)v;
        }
    if (best->value < 0)
        return;
    best->b = auroc_of(r, &d->values[best->value], SD_DETECTION_ESTIMATION, 0);
    best->se = sd_auroc_se(list, list_estimation(r, &d->values[best->value], list));
}

/* Sets `fires` for the documents in which a latent fires; true if one is in the selection split. */
static bool sort_entries(const detection_docs *d, const entry *entries, uint64_t used, sd_scored *fires)
{
    bool fires_in_selection = false;

    for (uint64_t i = 0; i < used; i++) {
        fires[i] = (sd_scored){.value = entries[i].sum / (double)d->size[entries[i].doc], .id = entries[i].doc};
        fires_in_selection = fires_in_selection || d->split[entries[i].doc] == SD_DETECTION_SELECTION;
    }
    sd_scored_sort(fires, used);
    return fires_in_selection;
}

static sd_status measure_tile(ranking *r, const sd_labels *labels, const tile *t, detection_winner *winners, detection_kept *kept, detection_best *best, sd_scored *fires,
                              sd_scored *list)
{
    const detection_docs *d = r->d;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < t->latents.count; i++) {
        for (uint64_t f = 0; f < labels->fields; f++)
            best[i * labels->fields + f] = (detection_best){-1, (double)NAN, (double)NAN};
        if (sd_par_stop_asked())
            return stopped();
        if (!sort_entries(d, t->entries + t->start[i], t->used[i], fires))
            continue;
        set_order(r, fires, t->used[i]);
        for (uint64_t p = 0; p < d->n_pools; p++)
            for (int h = 0; h < SD_DETECTION_SPLITS; h++)
                set_ranks(r, p, h);
        SD_TRY(st, compare_latent(r, t->latents.first + i, fires, t->used[i], winners, kept));
        for (uint64_t f = 0; f < labels->fields; f++)
            set_best(r, labels, f, &best[i * labels->fields + f], list);
    }
out:
    return st;
}

sd_status detection_measure(const sd_detection_spec *spec, const detection_docs *d, const char *const *codes, const uint64_t *support, sd_span mine,
                       detection_winner *winners, detection_kept *kept, detection_best *best)
{
    ranking r = {.d = d};
    tile t = {0};
    sd_scored *fires = NULL, *list = NULL;
    sd_status st;

    for (uint64_t i = 0; i < d->n_values * d->assignments; i++)
        winners[i] = (detection_winner){(double)NAN, (double)NAN, -1};
    SD_TRY(st, ranking_make(&r));
    SD_TRY(st, SD_NEW(&fires, d->docs));
    SD_TRY(st, SD_NEW(&list, d->docs));
    for (uint64_t next = mine.first; next < mine.first + mine.count; next = t.latents.first + t.latents.count) {
        tile_free(&t);
        SD_TRY(st, tile_begin(&t, spec, d, support, next, mine.first + mine.count));
        SD_TRY(st, read_tile(&t, spec, codes));
        SD_TRY(st, measure_tile(&r, spec->labels, &t, winners, kept, best + (next - mine.first) * spec->labels->fields, fires, list));
    }
out:
    tile_free(&t);
    ranking_free(&r);
    sd_free(fires);
    sd_free(list);
    return st;
}

/* ---- intervals */

/* The estimation split of one value, sorted by its latent. */
typedef struct chosen_value {
    sd_scored *list;
    uint64_t n;
    double *drawn; /* [resamples] */
    uint64_t n_drawn;
} chosen_value;

/* All values share the weights of each resample. */
static sd_status resample(const sd_detection_spec *spec, const detection_docs *d, chosen_value *values)
{
    const sd_bootstrap how = {spec->resamples, spec->seed, 0.95};
    double *weight = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&weight, d->docs));
    for (uint64_t b = 0; b < how.resamples; b++) {
        if (sd_par_stop_asked()) {
            st = stopped();
            goto out;
        }
        for (uint64_t doc = 0; doc < d->docs; doc++)
            weight[doc] = d->split[doc] == SD_DETECTION_ESTIMATION ? (double)sd_bootstrap_weight(&how, b, doc) : 0;
        for (uint64_t v = 0; v < d->n_values; v++) {
            double auroc = values[v].n > 0 ? sd_auroc_weighted(values[v].list, values[v].n, weight) : (double)NAN;

            if (!isnan(auroc)) /* a resample without positives or others is skipped */
                values[v].drawn[values[v].n_drawn++] = auroc;
        }
    }
out:
    sd_free(weight);
    return st;
}

sd_status detection_intervals(const sd_detection_spec *spec, const detection_docs *d, const int64_t *chosen, sd_span mine, const detection_kept *kept,
                         double *range)
{
    ranking r = {.d = d};
    chosen_value *values = NULL;
    bool some = false;
    sd_status st;

    memset(range, 0, 2 * d->n_values * sizeof *range);
    SD_TRY(st, ranking_make(&r));
    SD_TRY(st, SD_NEW(&values, d->n_values));
    for (uint64_t v = 0; v < d->n_values; v++) {
        if (chosen[v] < 0 || (uint64_t)chosen[v] < mine.first || (uint64_t)chosen[v] - mine.first >= mine.count)
            continue;
        some = true;
        SD_TRY(st, SD_NEW(&values[v].list, d->docs));
        SD_TRY(st, SD_NEW(&values[v].drawn, spec->resamples));
        set_order(&r, kept[v].fires, kept[v].count);
        values[v].n = list_estimation(&r, &d->values[v], values[v].list);
    }
    if (some)
        SD_TRY(st, resample(spec, d, values));
    for (uint64_t v = 0; v < d->n_values; v++)
        if (values[v].n > 0)
            sd_percentiles(values[v].drawn, values[v].n_drawn, 0.95, &range[2 * v], &range[2 * v + 1]);
out:
    for (uint64_t v = 0; values != NULL && v < d->n_values; v++) {
        sd_free(values[v].list);
        sd_free(values[v].drawn);
    }
    sd_free(values);
    ranking_free(&r);
    return st;
}

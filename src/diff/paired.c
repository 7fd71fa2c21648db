/* Latents are distributed over the ranks; each rank reads all shards for its own latents, one tile at a time. A latent's numbers come
 * from its own tokens in stream order, so neither the tiles nor the ranks show in them. The largest of a flip is a maximum, exact in any order. */
#include "paired.h"

#include <math.h>
#include <string.h>

#include "split.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/stat/bootstrap.h"
#include "saediff/stat/infer.h"
#include "saediff/store/codes.h"

enum { TILE_ENTRIES = 1 << 22, WORD_FLIPS = 64 };

/* A latent in one document. */
typedef struct entry {
    uint64_t doc;
    double sum;     /* Σ δ */
    int64_t firing; /* tokens it fires on, tuned − base */
} entry;

/* A latent over tokens: δ where either model fires (Welford), and who fires alone. */
typedef struct active {
    uint64_t n, only_tuned, only_base;
    double mean, m2;
} active;

/* What rank 0 gets of a latent. */
typedef struct result {
    double mean[SD_DIFF_PARTS][2], se[SD_DIFF_PARTS][2]; /* value, frequency */
    uint64_t only_tuned, only_base;
    double sd, score; /* of δ over tokens; |Σ S| / √Σ S² */
} result;

typedef struct pairing {
    const sd_diff_spec *spec;
    uint64_t latents, docs;
    uint64_t *support; /* [latents] tokens fired on, both models */
    uint64_t *size;    /* [docs] evaluated tokens */
    uint8_t *split;     /* [docs] SD_DIFF_SELECTION or _B */
    sd_clusters clusters[SD_DIFF_PARTS];
    sd_cluster *list;  /* [docs] */
    sd_span mine;
    result *results;   /* [mine.count] */
    double *largest;   /* [flips, rounded up to whole words] */
    uint64_t *signs;   /* [docs] one word of flips */
    bool sums_shared;        /* this rank also sums error_norm and epsilon */
    double *error_norm[2]; /* [docs] Σ ‖x − x̂‖ of base and tuned */
    double smallest;

    sd_span tile;
    uint64_t *start, *used; /* [tile.count + 1], [tile.count] */
    entry *entries;
    active *active;
} pairing;

static void free_tile(pairing *p)
{
    sd_free(p->start);
    sd_free(p->used);
    sd_free(p->entries);
    sd_free(p->active);
    p->start = p->used = NULL;
    p->entries = NULL;
    p->active = NULL;
}

static void pairing_free(pairing *p)
{
    free_tile(p);
    sd_free(p->support);
    sd_free(p->size);
    sd_free(p->split);
    sd_free(p->list);
    sd_free(p->results);
    sd_free(p->largest);
    sd_free(p->signs);
    sd_free(p->error_norm[0]);
    sd_free(p->error_norm[1]);
}

static uint64_t flip_words(const sd_diff_spec *spec)
{
    return (spec->flips + WORD_FLIPS - 1) / WORD_FLIPS;
}

static void count_documents(pairing *p)
{
    const sd_tokens *t = p->spec->tokens;

    for (uint64_t d = 0; d < t->docs; d++) {
        p->split[d] = diff_selects(p->spec->seed, t->docs, d) ? SD_DIFF_SELECTION : SD_DIFF_ESTIMATION;
        for (uint64_t row = t->doc_start[d]; row < t->doc_start[d + 1]; row++)
            p->size[d] += t->mask[row] != 0;
        for (int part = 0; part < SD_DIFF_PARTS && p->size[d] > 0; part++) {
            if (part != SD_DIFF_ALL && part != p->split[d])
                continue;
            p->clusters[part].count++;
            p->clusters[part].size += p->size[d];
            p->clusters[part].squares += p->size[d] * p->size[d];
        }
    }
}

static sd_status pairing_begin(pairing *p, const sd_par *par)
{
    sd_status st;

    p->docs = p->spec->tokens->docs;
    p->mine = sd_par_split(p->latents, par->rank, par->size);
    p->sums_shared = par->rank == 0;
    SD_TRY(st, SD_NEW(&p->support, p->latents));
    SD_TRY(st, SD_NEW(&p->size, p->docs));
    SD_TRY(st, SD_NEW(&p->split, p->docs));
    SD_TRY(st, SD_NEW(&p->list, p->docs));
    SD_TRY(st, SD_NEW(&p->results, p->mine.count));
    SD_TRY(st, SD_NEW(&p->largest, flip_words(p->spec) * WORD_FLIPS));
    SD_TRY(st, SD_NEW(&p->signs, p->docs));
    for (int m = 0; m < 2; m++)
        SD_TRY(st, SD_NEW(&p->error_norm[m], p->docs));
    count_documents(p);
out:
    return st;
}

/* ---- a tile */

static uint64_t most_entries(const pairing *p, uint64_t latent)
{
    return p->support[latent] < p->docs ? p->support[latent] : p->docs;
}

/* From latent `first` on, as many as the bound allows, at least one. */
static sd_status begin_tile(pairing *p, uint64_t first)
{
    uint64_t end = p->mine.first + p->mine.count, entries = 0, last = first;
    uint64_t most = p->spec->tile > 0 ? p->spec->tile : TILE_ENTRIES;
    sd_status st;

    do {
        entries += most_entries(p, last++);
    } while (last < end && entries + most_entries(p, last) <= most);
    p->tile = (sd_span){first, last - first};
    SD_TRY(st, SD_NEW(&p->start, p->tile.count + 1));
    SD_TRY(st, SD_NEW(&p->used, p->tile.count));
    SD_TRY(st, SD_NEW(&p->entries, entries));
    SD_TRY(st, SD_NEW(&p->active, p->tile.count));
    for (uint64_t i = 0; i < p->tile.count; i++)
        p->start[i + 1] = p->start[i] + most_entries(p, first + i);
out:
    return st;
}

static void add_token(pairing *p, uint64_t doc, uint64_t latent, double base, double tuned)
{
    uint64_t i = latent - p->tile.first;
    active *a = &p->active[i];
    double delta = tuned - base, off;
    bool in_base = !(base <= 0), in_tuned = !(tuned <= 0);
    entry *e;

    if (!in_base && !in_tuned)
        return;
    e = p->entries + p->start[i] + p->used[i];
    if (p->used[i] > 0 && e[-1].doc == doc) {
        e--;
    } else {
        e->doc = doc;
        p->used[i]++;
    }
    e->sum += delta;
    e->firing += in_tuned - in_base;
    a->only_tuned += in_tuned && !in_base;
    a->only_base += in_base && !in_tuned;
    a->n++;
    off = delta - a->mean;
    a->mean += off / (double)a->n;
    a->m2 += off * (delta - a->mean);
}

/* The codes of both models on one row, by rising latent. */
static void add_row(pairing *p, uint64_t doc, const sd_codes *base, const sd_codes *tuned, uint64_t row)
{
    uint64_t i = base->row_start[row], j = tuned->row_start[row];
    uint64_t end_i = base->row_start[row + 1], end_j = tuned->row_start[row + 1];

    while (i < end_i || j < end_j) {
        bool has_base = i < end_i && (j == end_j || base->latent[i] <= tuned->latent[j]);
        bool has_tuned = j < end_j && (i == end_i || tuned->latent[j] <= base->latent[i]);
        uint64_t latent = (uint64_t)(has_base ? base->latent[i] : tuned->latent[j]);
        double b = has_base ? (double)base->value[i++] : 0, t = has_tuned ? (double)tuned->value[j++] : 0;

        if (latent >= p->tile.first && latent - p->tile.first < p->tile.count)
            add_token(p, doc, latent, b, t);
    }
}

static void look_at_row(pairing *p, int tuned, uint64_t doc, const sd_codes *codes, uint64_t row)
{
    p->error_norm[tuned][doc] += sqrt(codes->row_sse[row]);
    for (uint64_t c = codes->row_start[row]; c < codes->row_start[row + 1]; c++) {
        double v = (double)codes->value[c];

        if (v > 0 && v < p->smallest)
            p->smallest = v;
    }
}

static sd_status add_shard(pairing *p, uint64_t shard)
{
    const sd_tokens *t = p->spec->tokens;
    sd_codes *base = NULL, *tuned = NULL;
    uint64_t doc;
    sd_status st;

    SD_TRY(st, sd_codes_read(&base, p->spec->base_codes[shard]));
    SD_TRY(st, sd_codes_read(&tuned, p->spec->tuned_codes[shard]));
    doc = base->rows > 0 ? sd_tokens_doc(t, base->first_row) : 0;
    for (uint64_t r = 0; r < base->rows; r++) {
        uint64_t row = base->first_row + r;

        while (row >= t->doc_start[doc + 1])
            doc++;
        if (!t->mask[row])
            continue;
        add_row(p, doc, base, tuned, r);
        if (p->sums_shared) {
            look_at_row(p, 0, doc, base, r);
            look_at_row(p, 1, doc, tuned, r);
        }
    }
out:
    sd_codes_destroy(&base);
    sd_codes_destroy(&tuned);
    return st;
}

static void measure_part(pairing *p, uint64_t i, int part, result *r)
{
    const entry *entries = p->entries + p->start[i];

    for (int frequency = 0; frequency < 2; frequency++) {
        uint64_t n = 0;

        for (uint64_t e = 0; e < p->used[i]; e++)
            if (part == SD_DIFF_ALL || part == p->split[entries[e].doc])
                p->list[n++] = (sd_cluster){p->size[entries[e].doc],
                                            frequency ? (double)entries[e].firing : entries[e].sum};
        sd_cluster_mean(&p->clusters[part], p->list, n, &r->mean[part][frequency], &r->se[part][frequency]);
    }
}

static void measure_latent(pairing *p, uint64_t i)
{
    result *r = &p->results[p->tile.first + i - p->mine.first];
    const entry *entries = p->entries + p->start[i];
    const active *a = &p->active[i];
    double n = (double)p->clusters[SD_DIFF_ALL].size, on = (double)a->n, sum = 0, squares = 0;

    for (int part = 0; part < SD_DIFF_PARTS; part++)
        measure_part(p, i, part, r);
    r->only_tuned = a->only_tuned;
    r->only_base = a->only_base;
    /* The n − on tokens where neither model fires have δ = 0: merged as Chan, Golub, LeVeque 1983. */
    r->sd = n > 1 ? sqrt((a->m2 + a->mean * a->mean * on * (n - on) / n) / (n - 1)) : (double)NAN;
    for (uint64_t e = 0; e < p->used[i]; e++) {
        sum += entries[e].sum;
        squares += entries[e].sum * entries[e].sum;
    }
    r->score = squares == 0 ? 0 : fabs(sum) / sqrt(squares);
}

static sd_status stopped(void)
{
    return SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished comparisons are kept: run the same command again");
}

/* The signs of four flips by their bits. */
static const double signs_of[16][4] = {
    {1, 1, 1, 1},  {-1, 1, 1, 1},  {1, -1, 1, 1},  {-1, -1, 1, 1},  {1, 1, -1, 1},  {-1, 1, -1, 1},  {1, -1, -1, 1},  {-1, -1, -1, 1},
    {1, 1, 1, -1}, {-1, 1, 1, -1}, {1, -1, 1, -1}, {-1, -1, 1, -1}, {1, 1, -1, -1}, {-1, 1, -1, -1}, {1, -1, -1, -1}, {-1, -1, -1, -1}};

/* Adds one word of flips: bit set, the document's sum counts negative. */
static void flip_latent(const pairing *p, uint64_t i, double *largest)
{
    const entry *entries = p->entries + p->start[i];
    double sums[WORD_FLIPS] = {0}, squares = 0;

    for (uint64_t e = 0; e < p->used[i]; e++) {
        uint64_t bits = p->signs[entries[e].doc];
        double sum = entries[e].sum;

        for (int b = 0; b < WORD_FLIPS; b += 4, bits >>= 4)
            for (int k = 0; k < 4; k++)
                sums[b + k] += sum * signs_of[bits & 15][k];
        squares += sum * sum;
    }
    for (int b = 0; b < WORD_FLIPS && squares > 0; b++) {
        double score = fabs(sums[b]) / sqrt(squares);

        largest[b] = score > largest[b] ? score : largest[b];
    }
}

static sd_status flip_tile(pairing *p)
{
    uint64_t words = flip_words(p->spec);
    sd_key key = sd_key_make(p->spec->seed, SD_STREAM_FLIPS, 0);

    for (uint64_t w = 0; w < words; w++) {
        if (sd_par_stop_asked())
            return stopped();
        for (uint64_t d = 0; d < p->docs; d++)
            p->signs[d] = sd_random_u64(key, d * words + w);
        for (uint64_t i = 0; i < p->tile.count; i++)
            if (p->support[p->tile.first + i] >= SD_DIFF_SUPPORT)
                flip_latent(p, i, p->largest + w * WORD_FLIPS);
    }
    return SD_OK;
}

/* Local. All latents of this rank. */
static sd_status measure_mine(pairing *p)
{
    uint64_t end = p->mine.first + p->mine.count;
    sd_status st = SD_OK;

    p->smallest = INFINITY;
    for (uint64_t next = p->mine.first; next < end; next = p->tile.first + p->tile.count) {
        SD_TRY(st, begin_tile(p, next));
        for (uint64_t s = 0; s < p->spec->shards; s++) {
            if (sd_par_stop_asked())
                return stopped();
            SD_TRY(st, add_shard(p, s));
        }
        for (uint64_t i = 0; i < p->tile.count; i++)
            measure_latent(p, i);
        SD_TRY(st, flip_tile(p));
        free_tile(p);
        p->sums_shared = false;
    }
out:
    return st;
}

/* ---- rank 0 */

bool sd_diff_is_tested(const sd_diff *diff, uint64_t latent)
{
    return diff->base.sums.count[latent] + diff->tuned.sums.count[latent] >= SD_DIFF_SUPPORT;
}

/* q over the tested latents; `p` of the others is set aside. */
static sd_status tested_q(const sd_diff *d, const double *p, double *q)
{
    double *kept = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&kept, d->latents));
    for (uint64_t l = 0; l < d->latents; l++)
        kept[l] = sd_diff_is_tested(d, l) ? p[l] : (double)NAN;
    SD_TRY(st, sd_bh(kept, d->latents, q));
out:
    sd_free(kept);
    return st;
}

static sd_status set_effect(sd_diff *d, const result *results, int part, int frequency)
{
    sd_diff_effect *e = frequency ? &d->part[part].frequency : &d->part[part].value;
    double degrees = (double)d->part[part].docs - 1;

    for (uint64_t l = 0; l < d->latents; l++) {
        e->mean[l] = results[l].mean[part][frequency];
        e->se[l] = results[l].se[part][frequency];
        e->t[l] = sd_ratio_or_zero(e->mean[l], e->se[l]);
        e->p[l] = sd_student_p(e->t[l], degrees);
    }
    return tested_q(d, e->p, e->q);
}

/* largest [ranks, width] of all ranks. */
static void set_maxt(sd_diff *d, const result *results, const double *largest, uint64_t width, uint64_t ranks)
{
    for (uint64_t l = 0; l < d->latents; l++) {
        uint64_t reached = 0;

        d->maxt_p[l] = NAN;
        if (!sd_diff_is_tested(d, l) || d->flips == 0)
            continue;
        for (uint64_t b = 0; b < d->flips; b++) {
            double most = 0;

            for (uint64_t r = 0; r < ranks; r++)
                most = fmax(most, largest[r * width + b]);
            /* A flip that is the data themselves up to rounding reaches them. */
            reached += most >= results[l].score * (1 - 1e-12);
        }
        d->maxt_p[l] = isnan(results[l].score) ? (double)NAN : (1 + (double)reached) / (1 + (double)d->flips);
    }
}

/* Means of ‖x − x̂‖ and their ratio; with resamples, their intervals over documents. */
static sd_status set_error_norms(sd_diff *d, const pairing *p)
{
    enum { BASE, TUNED, SIZE, COLUMNS };
    const sd_bootstrap how = {p->spec->resamples, p->spec->seed, 0.95};
    uint64_t n = how.resamples, used = 0, *document = NULL, *drawn = NULL;
    double total[COLUMNS] = {0}, *size = NULL, *sums = NULL, *drawn_values = NULL;
    struct {
        double *value, *low, *high;
    } out[3] = {{&d->base.error_norm, &d->base.error_norm_low, &d->base.error_norm_high},
                {&d->tuned.error_norm, &d->tuned.error_norm_low, &d->tuned.error_norm_high},
                {&d->error_norm_increase, &d->error_norm_increase_low, &d->error_norm_increase_high}};
    sd_status st;

    SD_TRY(st, SD_NEW(&document, p->docs));
    SD_TRY(st, SD_NEW(&size, p->docs));
    SD_TRY(st, SD_NEW(&sums, n * COLUMNS));
    SD_TRY(st, SD_NEW(&drawn, n));
    SD_TRY(st, SD_NEW(&drawn_values, n));
    for (uint64_t doc = 0; doc < p->docs; doc++) {
        document[doc] = doc;
        size[doc] = (double)p->size[doc];
        total[BASE] += p->error_norm[0][doc];
        total[TUNED] += p->error_norm[1][doc];
        total[SIZE] += size[doc];
    }
    sd_bootstrap_sums(&how, (const double *const[]){p->error_norm[0], p->error_norm[1], size}, COLUMNS, document, p->docs, sums, drawn);
    for (int i = 0; i < 3; i++) {
        used = 0;
        *out[i].value = i < 2 ? total[i] / total[SIZE] : total[TUNED] / total[BASE] - 1;
        for (uint64_t r = 0; r < n; r++)
            if (sums[r * COLUMNS + SIZE] > 0)
                drawn_values[used++] = i < 2 ? sums[r * COLUMNS + (uint64_t)i] / sums[r * COLUMNS + SIZE]
                                             : sums[r * COLUMNS + TUNED] / sums[r * COLUMNS + BASE] - 1;
        sd_percentiles(drawn_values, used, how.level, out[i].low, out[i].high);
    }
out:
    sd_free(document);
    sd_free(size);
    sd_free(sums);
    sd_free(drawn);
    sd_free(drawn_values);
    return st;
}

static void set_scalars(sd_diff *d, const pairing *p)
{
    double fvu[2] = {d->base.sse / d->base.spread, d->tuned.sse / d->tuned.spread};

    for (int part = 0; part < SD_DIFF_PARTS; part++) {
        d->part[part].docs = p->clusters[part].count;
        d->part[part].tokens = p->clusters[part].size;
        d->part[part].quantile = sd_student_quantile(0.95, (double)p->clusters[part].count - 1);
    }
    d->epsilon = isinf(p->smallest) ? (double)NAN : p->smallest / 2;
    d->flips = p->spec->flips;
    d->fvu_ratio = fvu[1] / fvu[0];
    for (uint64_t l = 0; l < d->latents; l++)
        d->tested += sd_diff_is_tested(d, l);
}

static sd_status set_all(sd_diff *d, const pairing *p, const result *results, const double *largest, uint64_t ranks)
{
    double n = (double)d->tokens;
    sd_status st;

    set_scalars(d, p);
    SD_TRY(st, set_error_norms(d, p));
    for (int part = 0; part < SD_DIFF_PARTS; part++)
        for (int frequency = 0; frequency < 2; frequency++)
            SD_TRY(st, set_effect(d, results, part, frequency));
    for (uint64_t l = 0; l < d->latents; l++) {
        d->only_tuned[l] = results[l].only_tuned;
        d->only_base[l] = results[l].only_base;
        d->mcnemar_p[l] = sd_mcnemar_p(d->only_tuned[l], d->only_base[l]);
        d->d_z[l] = sd_ratio_or_zero(results[l].mean[SD_DIFF_ALL][0], results[l].sd);
        d->log2_ratio[l] = log2((d->tuned.sums.sum[l] / n + d->epsilon) / (d->base.sums.sum[l] / n + d->epsilon));
    }
    SD_TRY(st, tested_q(d, d->mcnemar_p, d->mcnemar_q));
    set_maxt(d, results, largest, flip_words(p->spec) * WORD_FLIPS, ranks);
out:
    return st;
}

/* Collective. Gives every rank the number of tokens on which each latent fires. */
static sd_status share_support(pairing *p, const sd_par *par, const sd_diff *diff)
{
    sd_status st;

    p->latents = diff != NULL ? diff->latents : 0;
    SD_TRY(st, sd_par_bcast(par, &p->latents, sizeof p->latents, 0));
    SD_TRY(st, sd_par_agree(par, pairing_begin(p, par)));
    for (uint64_t l = 0; diff != NULL && l < p->latents; l++)
        p->support[l] = diff->base.sums.count[l] + diff->tuned.sums.count[l];
    SD_TRY(st, sd_par_bcast(par, p->support, p->latents * sizeof *p->support, 0));
out:
    return st;
}

sd_status paired_run(const sd_par *par, const sd_diff_spec *spec, sd_diff *diff)
{
    pairing p = {.spec = spec};
    uint64_t ranks = (uint64_t)par->size, width = flip_words(spec) * WORD_FLIPS;
    bool root = par->rank == 0;
    result *results = NULL;
    double *largest = NULL;
    sd_status st;

    SD_TRY(st, share_support(&p, par, diff));
    SD_TRY(st, sd_par_agree(par, measure_mine(&p)));
    st = root ? SD_NEW(&results, p.latents) : SD_OK;
    if (st == SD_OK && root)
        st = SD_NEW(&largest, ranks * width);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_par_gather(par, p.results, p.mine.count * sizeof *results, results, root ? p.latents * sizeof *results : 0));
    SD_TRY(st, sd_par_gather(par, p.largest, width * sizeof *largest, largest, root ? ranks * width * sizeof *largest : 0));
    SD_TRY(st, sd_par_agree(par, root ? set_all(diff, &p, results, largest, ranks) : SD_OK));
out:
    sd_free(results);
    sd_free(largest);
    pairing_free(&p);
    return st;
}

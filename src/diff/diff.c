/* Shards are assigned to the ranks in turn; the sums of each round go to rank 0 in shard order, so that results do not depend on the number of
 * ranks, and no rank holds the sums of more than one shard. */
#include "saediff/diff/diff.h"

#include <math.h>
#include <string.h>

#include "columns.h"
#include "paired.h"
#include "shard_sums.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

/* Rank 0: the stream so far. */
typedef struct stream {
    sd_diff *diff;
    sd_moments moments[2];
    double *doc_sse[2]; /* [tokens->docs] */
    uint64_t next_row, next_doc, d_model;
    uint64_t shards;
} stream;

static sd_diff_side *side_of(sd_diff *diff, int tuned)
{
    return tuned ? &diff->tuned : &diff->base;
}

void sd_diff_destroy(sd_diff **diff)
{
    column columns[DIFF_COLUMNS];
    sd_diff *d = *diff;

    *diff = NULL;
    if (d == NULL)
        return;
    columns_of(d, columns);
    for (int i = 0; i < DIFF_COLUMNS; i++)
        sd_free(*columns[i].data);
    sd_free(d->site);
    sd_free(d->trained_on);
    sd_free(d);
}

static void stream_free(stream *s)
{
    for (int tuned = 0; tuned < 2; tuned++) {
        sd_moments_free(&s->moments[tuned]);
        sd_free(s->doc_sse[tuned]);
    }
    sd_diff_destroy(&s->diff);
}

/* The first shard sums determine all sizes. */
static sd_status begin(stream *s, const sd_diff_spec *spec, const word *sums)
{
    column columns[DIFF_COLUMNS];
    sd_diff *d = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&s->diff, 1));
    d = s->diff;
    d->latents = sums[SUMS_LATENTS].u;
    d->k = sums[SUMS_K].u;
    s->d_model = sums[SUMS_D_MODEL].u;
    SD_TRY(st, sd_str_copy(&d->site, spec->site));
    SD_TRY(st, sd_str_copy(&d->trained_on, spec->trained_on ? spec->trained_on : "base"));
    for (int tuned = 0; tuned < 2; tuned++) {
        SD_TRY(st, sd_latent_sums_create(&side_of(d, tuned)->sums, d->latents));
        SD_TRY(st, sd_moments_create(&s->moments[tuned], s->d_model));
        SD_TRY(st, SD_NEW(&s->doc_sse[tuned], spec->tokens->docs));
    }
    columns_of(d, columns);
    for (int i = 0; i < DIFF_COLUMNS; i++)
        if (*columns[i].data == NULL)
            SD_TRY(st, sd_alloc_bytes(columns[i].data, d->latents, sd_dtype_size(columns[i].type)));
out:
    return st;
}

static sd_status check_next(const stream *s, const sd_diff_spec *spec, const word *sums)
{
    const char *path = spec->base_codes[s->shards];

    if (sums[SUMS_FIRST_ROW].u != s->next_row)
        return SD_FAIL(SD_E_DATA, "%s begins at row %llu, but the shards before it end at row %llu; run encode with --fresh",
                       path, (unsigned long long)sums[SUMS_FIRST_ROW].u, (unsigned long long)s->next_row);
    if (sums[SUMS_LATENTS].u != s->diff->latents || sums[SUMS_K].u != s->diff->k ||
        sums[SUMS_D_MODEL].u != s->d_model)
        return SD_FAIL(SD_E_DATA, "%s has %llu latents, k %llu, d_model %llu; the first shard has %llu, %llu, %llu", path,
                       (unsigned long long)sums[SUMS_LATENTS].u, (unsigned long long)sums[SUMS_K].u,
                       (unsigned long long)sums[SUMS_D_MODEL].u, (unsigned long long)s->diff->latents,
                       (unsigned long long)s->diff->k, (unsigned long long)s->d_model);
    return SD_OK;
}

/* Rank 0: adds the sums of the next shard. A document that began in an earlier shard is continued row by row. */
static sd_status add_piece(stream *s, const sd_diff_spec *spec, word *sums)
{
    sd_status st = SD_OK;

    if (s->diff == NULL)
        SD_TRY(st, begin(s, spec, sums));
    SD_TRY(st, check_next(s, spec, sums));
    for (int tuned = 0; tuned < 2; tuned++) {
        sums_side side;

        shard_sums_side(sums, tuned, &side);
        sd_latent_sums_merge(&side_of(s->diff, tuned)->sums, &side.sums);
        sd_moments_merge(&s->moments[tuned], &side.moments);
        for (uint64_t l = 0; l < s->diff->latents; l++) {
            side_of(s->diff, tuned)->compat_count[l] += side.all_count[l];
            side_of(s->diff, tuned)->compat_sum[l] += side.all_sum[l];
        }
        side_of(s->diff, tuned)->compat_error_norm += *side.all_norm;
        for (uint64_t i = 0; i < sums[SUMS_LEAD].u; i++)
            s->doc_sse[tuned][s->next_doc - 1] += side.lead[i];
        for (uint64_t i = 0; i < sums[SUMS_DOCS].u; i++)
            s->doc_sse[tuned][s->next_doc + i] = side.documents[i];
    }
    s->next_doc += sums[SUMS_DOCS].u;
    s->next_row += sums[SUMS_ROWS].u;
    s->shards++;
out:
    return st;
}

static sd_status add_round(stream *s, const sd_diff_spec *spec, word *all_sums, uint64_t words)
{
    sd_status st = SD_OK;

    for (uint64_t at = 0, length; at < words; at += length) {
        SD_TRY(st, shard_sums_words(all_sums + at, spec->base_codes[s->shards], &length));
        SD_TRY(st, add_piece(s, spec, all_sums + at));
    }
out:
    return st;
}

/* Collective. Shards `first` … of one round: rank r takes the r-th. */
static sd_status run_round(const sd_par *par, const sd_diff_spec *spec, uint64_t first, stream *s)
{
    uint64_t shard = first + (uint64_t)par->rank, words = 0, before, total;
    word *sums = NULL, *all = NULL;
    bool root = par->rank == 0;
    sd_status st;

    SD_TRY(st, sd_par_agree_or_stop(par, shard < spec->shards ? shard_sums_make(spec, shard, &sums, &words) : SD_OK));
    SD_TRY(st, sd_par_prefix_u64(par, words, &before, &total));
    SD_TRY(st, sd_par_agree(par, root ? SD_NEW(&all, total) : SD_OK));
    SD_TRY(st, sd_par_gather(par, sums, words * sizeof *sums, all, root ? total * sizeof *all : 0));
    SD_TRY(st, sd_par_agree(par, root ? add_round(s, spec, all, total) : SD_OK));
out:
    sd_free(sums);
    sd_free(all);
    return st;
}

static uint64_t evaluated_documents(const sd_tokens *tokens)
{
    uint64_t docs = 0;

    for (uint64_t d = 0; d < tokens->docs; d++) {
        bool evaluated = false;

        for (uint64_t row = tokens->doc_start[d]; row < tokens->doc_start[d + 1]; row++)
            evaluated = evaluated || tokens->mask[row];
        docs += evaluated;
    }
    return docs;
}

static void finish_side(const stream *s, uint64_t docs, int tuned)
{
    sd_diff_side *side = side_of(s->diff, tuned);
    uint64_t codes = 0;

    for (uint64_t l = 0; l < s->diff->latents; l++) {
        codes += side->sums.count[l];
        side->dead += side->sums.count[l] == 0;
    }
    for (uint64_t d = 0; d < docs; d++)
        side->sse += s->doc_sse[tuned][d];
    side->spread = sd_moments_spread(&s->moments[tuned]);
    side->ev = sd_explained_variance(side->sse, side->spread);
    side->l0 = (double)codes / (double)s->diff->tokens;
    side->compat_error_norm /= (double)s->diff->compat_tokens;
}

static void finish_changes(sd_diff *d)
{
    const sd_latent_sums *b = &d->base.sums, *f = &d->tuned.sums;
    double n = (double)d->tokens;

    for (uint64_t l = 0; l < d->latents; l++) {
        bool both = b->count[l] > 0 && f->count[l] > 0;

        d->d_frequency[l] = (double)f->count[l] / n - (double)b->count[l] / n;
        d->d_mean[l] = f->sum[l] / n - b->sum[l] / n;
        d->d_active_mean[l] = both ? f->sum[l] / (double)f->count[l] - b->sum[l] / (double)b->count[l] : (double)NAN;
        sd_change_parts(d->tokens, b->count[l], b->sum[l], f->count[l], f->sum[l], &d->frequency_part[l],
                        &d->magnitude_part[l]);
    }
}

static sd_status finish(stream *s, const sd_diff_spec *spec)
{
    if (s->diff == NULL || s->next_row != spec->tokens->tokens)
        return SD_FAIL(SD_E_DATA, "%s: the %llu code shards cover %llu of %llu tokens; run encode with --fresh", spec->site,
                       (unsigned long long)spec->shards, (unsigned long long)s->next_row,
                       (unsigned long long)spec->tokens->tokens);
    s->diff->tokens = s->diff->base.sums.rows;
    s->diff->compat_tokens = s->next_row;
    s->diff->docs = evaluated_documents(spec->tokens);
    if (s->diff->tokens == 0)
        return SD_FAIL(SD_E_DATA, "%s: the mask counts none of the %llu tokens, so there is nothing to compare", spec->site,
                       (unsigned long long)spec->tokens->tokens);
    for (int tuned = 0; tuned < 2; tuned++)
        finish_side(s, spec->tokens->docs, tuned);
    finish_changes(s->diff);
    return SD_OK;
}

sd_status sd_diff_run(const sd_par *par, const sd_diff_spec *spec, sd_diff **diff)
{
    stream s = {0};
    sd_status st = SD_OK;

    *diff = NULL;
    for (uint64_t first = 0; first < spec->shards; first += (uint64_t)par->size)
        SD_TRY(st, run_round(par, spec, first, &s));
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? finish(&s, spec) : SD_OK));
    SD_TRY(st, paired_run(par, spec, s.diff));
    *diff = s.diff;
    s.diff = NULL;
out:
    stream_free(&s);
    return st;
}

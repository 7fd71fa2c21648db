#include "shard_sums.h"

#include <math.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/codes.h"

sd_status shard_sums_words(const word *head, const char *what, uint64_t *words)
{
    uint64_t latents, d_model, side;
    sd_status st;

    SD_TRY(st, sd_mul_u64(head[SUMS_LATENTS].u, 6, &latents, what));
    SD_TRY(st, sd_mul_u64(head[SUMS_D_MODEL].u, 2, &d_model, what));
    SD_TRY(st, sd_add_u64(latents, d_model, &side, what));
    SD_TRY(st, sd_add_u64(side, 1, &side, what));
    SD_TRY(st, sd_add_u64(side, head[SUMS_LEAD].u, &side, what));
    SD_TRY(st, sd_add_u64(side, head[SUMS_DOCS].u, &side, what));
    SD_TRY(st, sd_mul_u64(side, 2, &side, what));
    SD_TRY(st, sd_add_u64(side, SUMS_HEAD, words, what));
out:
    return st;
}

void shard_sums_side(word *sums, int tuned, sums_side *side)
{
    uint64_t latents = sums[SUMS_LATENTS].u, d_model = sums[SUMS_D_MODEL].u, lead = sums[SUMS_LEAD].u;
    uint64_t words = 6 * latents + 2 * d_model + 1 + lead + sums[SUMS_DOCS].u;
    word *at = sums + SUMS_HEAD + (tuned ? words : 0);

    side->sums = (sd_latent_sums){.rows = sums[SUMS_EVALUATED].u, .latents = latents};
    side->moments = (sd_moments){.n = sums[SUMS_EVALUATED].u, .width = d_model};
    side->sums.count = &at->u;
    side->sums.sum = &(at += latents)->f;
    side->sums.sum2 = &(at += latents)->f;
    side->sums.max = &(at += latents)->f;
    side->moments.mean = &(at += latents)->f;
    side->moments.m2 = &(at += d_model)->f;
    side->all_count = &(at += d_model)->u;
    side->all_sum = &(at += latents)->f;
    side->all_norm = &(at += latents)->f;
    side->lead = &(at += 1)->f;
    side->documents = &(at + lead)->f;
}

/* The first document that begins at or after `row`. */
static uint64_t first_document(const sd_tokens *tokens, uint64_t row)
{
    uint64_t low = 0, high = tokens->docs;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (tokens->doc_start[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t count_rows(const sd_tokens *tokens, uint64_t first, uint64_t end)
{
    uint64_t evaluated = 0;

    for (uint64_t row = first; row < end; row++)
        evaluated += tokens->mask[row] != 0;
    return evaluated;
}

static sd_status check_pair(const sd_diff_spec *spec, uint64_t shard, const sd_codes *base, const sd_codes *tuned)
{
    const char *const paths[] = {spec->base_codes[shard], spec->tuned_codes[shard]};
    const sd_codes *const sides[] = {base, tuned};

    if (base->n_latents != tuned->n_latents || base->k != tuned->k || base->d_model != tuned->d_model)
        return SD_FAIL(SD_E_DATA, "%s and %s are of different SAEs: %llu and %llu latents, k %llu and %llu, d_model %llu and "
                       "%llu", paths[0], paths[1], (unsigned long long)base->n_latents,
                       (unsigned long long)tuned->n_latents, (unsigned long long)base->k, (unsigned long long)tuned->k,
                       (unsigned long long)base->d_model, (unsigned long long)tuned->d_model);
    if (base->first_row != tuned->first_row || base->rows != tuned->rows)
        return SD_FAIL(SD_E_DATA, "%s has %llu rows from row %llu on, %s %llu from row %llu on; run encode with --fresh", paths[0],
                       (unsigned long long)base->rows, (unsigned long long)base->first_row, paths[1],
                       (unsigned long long)tuned->rows, (unsigned long long)tuned->first_row);
    if (base->first_row > spec->tokens->tokens || base->rows > spec->tokens->tokens - base->first_row)
        return SD_FAIL(SD_E_DATA, "%s has %llu rows from row %llu on, but there are %llu tokens; run encode with --fresh",
                       paths[0], (unsigned long long)base->rows, (unsigned long long)base->first_row,
                       (unsigned long long)spec->tokens->tokens);
    for (int s = 0; s < 2; s++) {
        uint64_t evaluated = count_rows(spec->tokens, base->first_row, base->first_row + base->rows);

        if (sides[s]->evaluated != evaluated)
            return SD_FAIL(SD_E_DATA, "%s has %llu evaluated rows, but the tokens have %llu; run encode with --fresh", paths[s],
                           (unsigned long long)sides[s]->evaluated, (unsigned long long)evaluated);
    }
    return SD_OK;
}

static void add_rows(const sd_tokens *tokens, const sd_codes *codes, sd_latent_sums *sums)
{
    for (uint64_t r = 0; r < codes->rows; r++) {
        uint64_t from = codes->row_start[r];

        if (tokens->mask[codes->first_row + r])
            sd_latent_sums_add(sums, codes->latent + from, codes->value + from, codes->row_start[r + 1] - from);
    }
}

/* Every row, whatever the mask says. */
static void add_all(const sd_codes *codes, sums_side *side)
{
    for (uint64_t r = 0; r < codes->rows; r++) {
        for (uint64_t i = codes->row_start[r]; i < codes->row_start[r + 1]; i++)
            if (codes->value[i] > 0) {
                side->all_count[codes->latent[i]]++;
                side->all_sum[codes->latent[i]] += (double)codes->value[i];
            }
        *side->all_norm += sqrt(codes->row_sse[r]);
    }
}

/* lead and documents of one side; first_doc is the first that begins in the shard. */
static void add_errors(const sd_tokens *tokens, const sd_codes *codes, uint64_t first_doc, double *lead, double *documents)
{
    uint64_t doc = first_doc;

    for (uint64_t r = 0; r < codes->rows; r++) {
        uint64_t row = codes->first_row + r;

        while (doc < tokens->docs && tokens->doc_start[doc] <= row)
            doc++;
        if (!tokens->mask[row])
            continue;
        if (doc == first_doc)
            *lead++ = codes->row_sse[r];
        else
            documents[doc - 1 - first_doc] += codes->row_sse[r];
    }
}

static void fill_side(const sd_tokens *tokens, const sd_codes *codes, uint64_t first_doc, word *sums, int tuned)
{
    sums_side side;

    shard_sums_side(sums, tuned, &side);
    add_rows(tokens, codes, &side.sums);
    add_all(codes, &side);
    memcpy(side.moments.mean, codes->mean, codes->d_model * sizeof *codes->mean);
    memcpy(side.moments.m2, codes->m2, codes->d_model * sizeof *codes->m2);
    add_errors(tokens, codes, first_doc, side.lead, side.documents);
}

sd_status shard_sums_make(const sd_diff_spec *spec, uint64_t shard, word **sums, uint64_t *words)
{
    const sd_tokens *tokens = spec->tokens;
    sd_codes *base = NULL, *tuned = NULL;
    word head[SUMS_HEAD];
    uint64_t first_doc, end, lead_end;
    sd_status st;

    SD_TRY(st, sd_codes_read(&base, spec->base_codes[shard]));
    SD_TRY(st, sd_codes_read(&tuned, spec->tuned_codes[shard]));
    SD_TRY(st, check_pair(spec, shard, base, tuned));
    end = base->first_row + base->rows;
    first_doc = first_document(tokens, base->first_row);
    lead_end = tokens->doc_start[first_doc] < end ? tokens->doc_start[first_doc] : end;
    head[SUMS_FIRST_ROW].u = base->first_row;
    head[SUMS_ROWS].u = base->rows;
    head[SUMS_EVALUATED].u = base->evaluated;
    head[SUMS_LATENTS].u = base->n_latents;
    head[SUMS_K].u = base->k;
    head[SUMS_D_MODEL].u = base->d_model;
    head[SUMS_LEAD].u = count_rows(tokens, base->first_row, lead_end);
    head[SUMS_DOCS].u = first_document(tokens, end) - first_doc;
    SD_TRY(st, shard_sums_words(head, spec->base_codes[shard], words));
    SD_TRY(st, SD_NEW(sums, *words));
    memcpy(*sums, head, sizeof head);
    fill_side(tokens, base, first_doc, *sums, 0);
    fill_side(tokens, tuned, first_doc, *sums, 1);
out:
    sd_codes_destroy(&base);
    sd_codes_destroy(&tuned);
    return st;
}

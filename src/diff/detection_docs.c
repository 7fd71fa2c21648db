/* Pools of documents, and the positives of each value under each assignment, from the labels. */
#include <string.h>

#include "split.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "detection_private.h"

enum { NEITHER, POSITIVE, OTHER };

static void pool_free(detection_pool *pool)
{
    for (int h = 0; h < SD_DETECTION_SPLITS; h++) {
        sd_free(pool->docs[h]);
        sd_free(pool->index[h]);
    }
}

void detection_docs_free(detection_docs *d)
{
    for (uint64_t p = 0; p < d->n_pools; p++)
        pool_free(&d->pools[p]);
    for (uint64_t v = 0; d->values != NULL && v < d->n_values; v++)
        for (int h = 0; h < SD_DETECTION_SPLITS; h++)
            sd_free(d->values[v].at[h]);
    sd_free(d->pools);
    sd_free(d->values);
    sd_free(d->size);
    sd_free(d->split);
    *d = (detection_docs){0};
}

static void split_documents(const sd_detection_spec *spec, detection_docs *d)
{
    const sd_tokens *t = spec->tokens;

    for (uint64_t doc = 0; doc < d->docs; doc++) {
        d->split[doc] = diff_selects(spec->seed, d->docs, doc) ? SD_DETECTION_SELECTION : SD_DETECTION_ESTIMATION;
        for (uint64_t row = t->doc_start[doc]; row < t->doc_start[doc + 1]; row++)
            d->size[doc] += t->mask[row] != 0;
    }
}

/* Whether each document is a positive, an other or neither of a value, over all data entries. */
static void mark(const sd_detection_spec *spec, const detection_docs *d, uint64_t value, uint8_t *kind)
{
    const sd_labels *l = spec->labels;

    for (uint64_t doc = 0; doc < d->docs; doc++) {
        kind[doc] = NEITHER;
        for (uint64_t i = l->doc_start[doc]; i < l->doc_start[doc + 1] && d->size[doc] > 0 && kind[doc] != POSITIVE; i++)
            if (l->of_field[l->doc_value[i]] == l->of_field[value])
                kind[doc] = l->doc_value[i] == value ? POSITIVE : OTHER;
    }
}

/* Drops the others of data entries without a positive, unless that drops all. entries: [sources] scratch. */
static void narrow(const sd_tokens *t, uint8_t *kind, uint8_t *entries, uint64_t sources)
{
    bool left = false;

    memset(entries, 0, sources);
    for (uint64_t doc = 0; doc < t->docs; doc++)
        entries[t->doc_source[doc]] |= kind[doc] == POSITIVE;
    for (uint64_t doc = 0; doc < t->docs; doc++)
        left = left || (kind[doc] == OTHER && entries[t->doc_source[doc]]);
    for (uint64_t doc = 0; left && doc < t->docs; doc++)
        if (kind[doc] == OTHER && !entries[t->doc_source[doc]])
            kind[doc] = NEITHER;
}

static bool same_pool(const detection_docs *d, const detection_pool *pool, const uint8_t *kind)
{
    for (uint64_t doc = 0; doc < d->docs; doc++)
        if ((pool->index[d->split[doc]][doc] >= 0) != (kind[doc] != NEITHER))
            return false;
    return true;
}

/* The pool of these documents, created if new. */
static sd_status find_pool(detection_docs *d, const uint8_t *kind, uint64_t *which)
{
    detection_pool pool = {0};
    sd_status st = SD_OK;

    for (*which = 0; *which < d->n_pools; ++*which)
        if (same_pool(d, &d->pools[*which], kind))
            return SD_OK;
    for (int h = 0; h < SD_DETECTION_SPLITS; h++) {
        SD_TRY(st, SD_NEW(&pool.docs[h], d->docs));
        SD_TRY(st, SD_NEW(&pool.index[h], d->docs));
        for (uint64_t doc = 0; doc < d->docs; doc++) {
            bool in = d->split[doc] == h && kind[doc] != NEITHER;

            pool.index[h][doc] = in ? (int64_t)pool.count[h] : -1;
            if (in)
                pool.docs[h][pool.count[h]++] = doc;
        }
    }
    d->pools[d->n_pools++] = pool;
    return SD_OK;
out:
    pool_free(&pool);
    return st;
}

/* Positives as they are, and where each permutation of its pool's half puts them. */
static sd_status assignment(const sd_detection_spec *spec, const detection_docs *d, uint64_t value, int h, const uint8_t *kind)
{
    detection_value *v = &d->values[value];
    const detection_pool *pool = &d->pools[v->pool];
    uint64_t n = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&v->at[h], d->assignments * v->positives[h]));
    for (uint64_t i = 0; i < pool->count[h]; i++)
        if (kind[pool->docs[h][i]] == POSITIVE)
            v->at[h][n++] = (uint32_t)i;
    for (uint64_t p = 1; p < d->assignments; p++) {
        sd_key key = sd_key_make(spec->seed, SD_STREAM_LABELS, (value * SD_DETECTION_SPLITS + (uint64_t)h) * d->assignments + p);

        for (uint64_t i = 0; i < n; i++)
            v->at[h][p * n + i] = (uint32_t)sd_random_permute(key, pool->count[h], v->at[h][i]);
    }
out:
    return st;
}

static sd_status add_value(const sd_detection_spec *spec, detection_docs *d, uint64_t value, uint8_t *kind, uint8_t *entries, uint64_t sources)
{
    detection_value *v = &d->values[value];
    sd_status st = SD_OK;

    mark(spec, d, value, kind);
    narrow(spec->tokens, kind, entries, sources);
    for (uint64_t doc = 0; doc < d->docs; doc++) {
        v->positives[d->split[doc]] += kind[doc] == POSITIVE;
        v->others[d->split[doc]] += kind[doc] == OTHER;
    }
    v->tested = v->positives[SD_DETECTION_SELECTION] >= SD_DETECTION_MIN && v->positives[SD_DETECTION_ESTIMATION] >= SD_DETECTION_MIN &&
                v->others[SD_DETECTION_SELECTION] >= SD_DETECTION_MIN && v->others[SD_DETECTION_ESTIMATION] >= SD_DETECTION_MIN;
    if (!v->tested)
        goto out;
    SD_TRY(st, find_pool(d, kind, &v->pool));
    for (int h = 0; h < SD_DETECTION_SPLITS; h++)
        SD_TRY(st, assignment(spec, d, value, h, kind));
out:
    return st;
}

sd_status detection_docs_make(const sd_detection_spec *spec, detection_docs *d)
{
    const sd_tokens *t = spec->tokens;
    uint8_t *kind = NULL, *entries = NULL;
    uint64_t sources = 1;
    sd_status st;

    *d = (detection_docs){.docs = t->docs, .n_values = spec->labels->values, .assignments = 1 + spec->permutations};
    if (spec->labels->docs != t->docs)
        return SD_FAIL(SD_E_DATA, "the labels are of %llu documents, the tokens of %llu; run the stage tokenize again",
                       (unsigned long long)spec->labels->docs, (unsigned long long)t->docs);
    if (t->docs > UINT32_MAX)
        return SD_FAIL(SD_E_DATA, "labels of %llu documents; at most %lu are supported", (unsigned long long)t->docs, (unsigned long)UINT32_MAX);
    for (uint64_t doc = 0; doc < t->docs; doc++)
        sources = t->doc_source[doc] >= sources ? t->doc_source[doc] + 1 : sources;
    SD_TRY(st, SD_NEW(&d->size, d->docs));
    SD_TRY(st, SD_NEW(&d->split, d->docs));
    SD_TRY(st, SD_NEW(&d->pools, d->n_values));
    SD_TRY(st, SD_NEW(&d->values, d->n_values));
    SD_TRY(st, SD_NEW(&kind, d->docs));
    SD_TRY(st, SD_NEW(&entries, sources));
    split_documents(spec, d);
    for (uint64_t v = 0; v < d->n_values; v++)
        SD_TRY(st, add_value(spec, d, v, kind, entries, sources));
out:
    sd_free(kind);
    sd_free(entries);
    if (st != SD_OK)
        detection_docs_free(d);
    return st;
}

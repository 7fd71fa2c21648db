/* A packed batch to learn from, and its loss by the reference of tiny.h. */
#ifndef SAEDIFF_TESTS_MODEL_BATCH_H
#define SAEDIFF_TESTS_MODEL_BATCH_H

#include "tiny.h"

#include "saediff/model/train.h"

enum { MOST_DOCS = 8 };

typedef struct batch {
    int32_t *ids, *target;
    uint64_t start[MOST_DOCS + 1], docs, n;
} batch;

static inline double reference_loss(const tiny *m, const batch *b, double scale)
{
    uint64_t v = m->c.vocabulary, sites = tiny_sites(&m->c);
    double *site[64], *logits = calloc(b->n * v, sizeof *logits), loss = 0;

    for (uint64_t i = 0; i < sites; i++)
        site[i] = calloc(b->n * m->c.d_model, sizeof **site);
    for (uint64_t d = 0; d < b->docs; d++) {
        uint64_t first = b->start[d], n = b->start[d + 1] - first;

        ref_document(m, b->ids + first, n, site, logits);
        for (uint64_t r = 0; r < n; r++) {
            double sum = 0;

            for (uint64_t i = 0; i < v; i++)
                sum += exp(logits[r * v + i]);
            if (b->target[first + r] >= 0)
                loss -= scale * (logits[r * v + (uint64_t)b->target[first + r]] - log(sum));
        }
    }
    for (uint64_t i = 0; i < sites; i++)
        free(site[i]);
    free(logits);
    return loss;
}

#endif

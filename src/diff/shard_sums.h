/* Sums of one shard of the token stream for a comparison. Private to diff. */
#ifndef SAEDIFF_DIFF_SHARD_SUMS_H
#define SAEDIFF_DIFF_SHARD_SUMS_H

#include "saediff/core/status.h"
#include "saediff/diff/diff.h"

/* Words of 8 bytes, so that the sums of a shard are one message:
 *   SUMS_HEAD words u64, then for base and tuned: count u64, sum, sum2, max f64 [latents], mean, m2 f64 [d_model],
 *   over all rows, including masked ones: all_count u64, all_sum f64 [latents], all_norm f64: Σ ‖x − x̂‖,
 *   lead f64 [lead]: row_sse of the evaluated rows that belong to a document begun in an earlier shard,
 *   documents f64 [docs]: Σ row_sse over the evaluated rows, in row order, of each document that begins in this shard */
enum {
    SUMS_FIRST_ROW,
    SUMS_ROWS,
    SUMS_EVALUATED,
    SUMS_LATENTS,
    SUMS_K,
    SUMS_D_MODEL,
    SUMS_LEAD,
    SUMS_DOCS,
    SUMS_HEAD
};

typedef union word {
    uint64_t u;
    double f;
} word;

typedef struct sums_side {
    sd_latent_sums sums; /* arrays inside the block of sums */
    sd_moments moments;
    uint64_t *all_count;
    double *all_sum, *all_norm;
    double *lead, *documents;
} sums_side;

/* Words that follow from the head; SD_E_DATA if they do not fit in 64 bits. */
SD_MUST_CHECK sd_status shard_sums_words(const word *head, const char *what, uint64_t *words);
/* Points into the block of sums. */
void shard_sums_side(word *sums, int tuned, sums_side *side);

/* Reads both shards and computes the sums; *words is their number; sd_free(). */
SD_MUST_CHECK sd_status shard_sums_make(const sd_diff_spec *spec, uint64_t shard, word **sums, uint64_t *words);

#endif

/* What one shard of the token stream adds to a comparison. Private to this room. */
#ifndef SAEDIFF_DIFF_PIECE_H
#define SAEDIFF_DIFF_PIECE_H

#include "saediff/core/status.h"
#include "saediff/diff/diff.h"

/* Words of 8 bytes, so that a piece travels as one message:
 *   PIECE_HEAD words u64, then for base and tuned: count u64, sum, sum2, max f64 [latents], mean, m2 f64 [d_model],
 *   over all rows, masked ones too: all_count u64, all_sum f64 [latents], all_norm f64: Σ ‖x − x̂‖,
 *   lead f64 [lead]: row_sse of the counted rows that belong to a document begun in an earlier shard,
 *   documents f64 [docs]: Σ row_sse over the counted rows, in row order, of each document that begins in this shard */
enum {
    PIECE_FIRST_ROW,
    PIECE_ROWS,
    PIECE_COUNTED,
    PIECE_LATENTS,
    PIECE_K,
    PIECE_D_MODEL,
    PIECE_LEAD,
    PIECE_DOCS,
    PIECE_HEAD
};

typedef union word {
    uint64_t u;
    double f;
} word;

typedef struct piece_side {
    sd_latent_sums sums; /* all arrays lie in the piece */
    sd_moments moments;
    uint64_t *all_count;
    double *all_sum, *all_norm;
    double *lead, *documents;
} piece_side;

/* Words that follow from the head; SD_E_DATA if they do not fit in 64 bits. */
SD_MUST_CHECK sd_status piece_words(const word *head, const char *what, uint64_t *words);
/* Points into the piece. */
void piece_side_of(word *piece, int tuned, piece_side *side);

/* Reads both shards, and makes the piece; *words of them, sd_free() it. */
SD_MUST_CHECK sd_status piece_make(const sd_diff_spec *spec, uint64_t shard, word **piece, uint64_t *words);

#endif

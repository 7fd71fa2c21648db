/* Similarity of the decoder rows of a dictionary. */
#ifndef SAEDIFF_EVAL_DECODER_H
#define SAEDIFF_EVAL_DECODER_H

#include "saediff/dev/dev.h"
#include "saediff/par/par.h"

enum { SD_OVERLAP_PAIRS = 100 };

typedef struct sd_overlap {
    double redundancy; /* mean of the 100 largest cosines of pairs of different latents, each pair once; of all pairs if there are fewer */
    double max_cosine; /* mean over latents of the largest cosine with another; NaN with one latent */
    double compat;     /* mean of the 100 largest entries off the diagonal of the matrix of cosines: each pair counts twice */
} sd_overlap;

/* Collective. w_dec [F, d], one latent per row, the same on all ranks, unchanged. Blocks of latents are distributed over the ranks. Nothing of
 * size F × F is stored. A zero row has cosine 0 with all others. *overlap on all ranks. SD_E_STOPPED on a signal. */
SD_MUST_CHECK sd_status sd_decoder_overlap(const sd_par *par, sd_dev *dev, sd_mat w_dec, sd_overlap *overlap);

#endif

/* How alike the decoder rows of a dictionary are: measures of weights alone. */
#ifndef SAEDIFF_EVAL_DECODER_H
#define SAEDIFF_EVAL_DECODER_H

#include "saediff/dev/dev.h"
#include "saediff/par/par.h"

enum { SD_OVERLAP_PAIRS = 100 };

typedef struct sd_overlap {
    double redundancy; /* mean of the 100 largest cosines of pairs of different latents, each pair once; of all where there are fewer */
    double max_cosine; /* mean over latents of the largest cosine with another; NaN with one latent */
    double compat;     /* mean of the 100 largest entries off the diagonal of the matrix of cosines: each pair stands there twice */
} sd_overlap;

/* Collective. w_dec [F, d], one latent per row, the same on all ranks; it is left alone. Blocks of latents are dealt to the ranks. Nothing of
 * size F × F is stored. A row of zeros has cosine 0 with all others. *overlap on all ranks. SD_E_STOPPED on a signal. */
SD_MUST_CHECK sd_status sd_decoder_overlap(const sd_par *par, sd_dev *dev, sd_mat w_dec, sd_overlap *overlap);

#endif

#ifndef SAEDIFF_SAE_PRIVATE_H
#define SAEDIFF_SAE_PRIVATE_H

#include "saediff/dev/dict.h"
#include "saediff/dev/step.h"
#include "saediff/sae/sae.h"

enum { SAE_PARAMS = 4 };

/* Workspace of the aux term, allocated when the first latent dies and grown with the number of dead latents. */
typedef struct sae_aux {
    uint64_t capacity;                   /* number of dead latents that the buffers can hold */
    sd_buf *dead;                        /* [capacity] i32 */
    sd_buf *w_enc, *w_dec, *b_enc;       /* their rows, gathered */
    sd_buf *g_enc, *g_dec, *g_bias;      /* and their gradients */
    sd_buf *index, *value, *grad;        /* [batch, k_aux] */
    sd_buf *begin, *entry;               /* [capacity + 1], [batch·k_aux] */
    sd_buf *error, *centred, *row_sse;   /* [batch, d], [batch, d], [batch] f64 */
    sd_buf *mean, *spread;               /* [d], f64 [1] */
} sae_aux;

struct sd_sae {
    sd_dev *dev;
    sd_sae_spec spec;
    bool trains;
    double input_scale;
    uint64_t step;
    uint64_t dead;   /* at the last gradient */
    double aux_spread; /* Σ‖e − ē‖² there, 0 if the aux term was not computed */
    double aux_weight; /* aux_coef · aux_scale there */

    sd_buf *w[SAE_PARAMS], *g[SAE_PARAMS]; /* W_enc, b_enc, W_dec, b_dec */
    sd_adam *adam;
    sd_buf *since, *fires;
    uint64_t *since_host; /* [F] */
    int32_t *dead_host;   /* [F] */

    sd_buf *xs, *y, *e;          /* [batch, d] */
    sd_buf *index, *value, *grad; /* [batch, k] */
    sd_buf *begin, *entry;        /* [F + 1], [batch·k] */
    sd_buf *row_sse;              /* [batch] f64 */
    sd_buf *scalar;               /* [1] f64 */
    sd_buf *mean;                 /* [d] */
    sae_aux aux;
};

enum { W_ENC, B_ENC, W_DEC, B_DEC };
extern const char *const sae_param_names[SAE_PARAMS];

/* sd_sae_create(), without gradients and moments unless it trains. */
SD_MUST_CHECK sd_status sae_create(sd_sae **sae, sd_dev *dev, const sd_sae_spec *spec, bool trains);

/* The matrix of a parameter held in `buf`: W [F, d], b_enc [1, F], b_dec [1, d]. */
sd_mat sae_param(const sd_sae *sae, int which, sd_buf *buf);

/* Adds the aux-k term's gradient to the gradients of W_enc, b_enc, W_dec; e holds the error, xs the rows. Sets
 * aux_spread, aux_weight and dead. */
SD_MUST_CHECK sd_status sae_aux_gradient(sd_sae *sae);
void sae_aux_free(sae_aux *aux);

#endif

/* AdamW over a list of parameters that live on a device, with one global-norm clip. Local. */
#ifndef SAEDIFF_OPTIM_ADAM_H
#define SAEDIFF_OPTIM_ADAM_H

#include "saediff/dev/dev.h"

enum { SD_ADAM_PARAMS = 16 };

typedef struct sd_adam_spec {
    double beta1, beta2, eps, decay, clip; /* clip: largest global gradient norm */
} sd_adam_spec;

/* One parameter: weights and gradient are borrowed, moments belong to the optimiser. */
typedef struct sd_param {
    const char *name;
    sd_mat w, g, m, v;
    bool unit_rows; /* rows of length 1: gradient along a row removed before the clip, rows scaled back after the step */
} sd_param;

typedef struct sd_adam {
    sd_dev *dev;
    sd_adam_spec spec;
    sd_param params[SD_ADAM_PARAMS];
    uint64_t count;
    sd_buf *moments[2 * SD_ADAM_PARAMS];
    sd_buf *sums, *norm, *factor; /* f64 on the device */
} sd_adam;

/* Moments start at zero. w, g, name and unit_rows of `params` are taken; m and v are made. */
SD_MUST_CHECK sd_status sd_adam_create(sd_adam **adam, sd_dev *dev, const sd_adam_spec *spec, const sd_param *params,
                                       uint64_t count);
void sd_adam_destroy(sd_adam **adam);

/* Queued: projection, norm, clip, step t (from 1) at rate lr, unit rows. */
SD_MUST_CHECK sd_status sd_adam_step(sd_adam *adam, uint64_t t, double lr);

/* Waits. The norm of the last step's gradients, after projection and before the clip. */
SD_MUST_CHECK sd_status sd_adam_norm(sd_adam *adam, double *norm);

#endif

/* AdamW (Kingma & Ba 2014; Loshchilov & Hutter 2017; formula at sd_adamw in dev/step.h) over a list of parameters on a device, with one clip of
 * the global gradient norm. All Local. No memory and failures of the device are SD_E_ENV. */
#ifndef SAEDIFF_OPTIM_ADAM_H
#define SAEDIFF_OPTIM_ADAM_H

#include "saediff/dev/dev.h"

enum { SD_ADAM_PARAMS = 16 };

typedef struct sd_adam_spec {
    double beta1, beta2, eps;
    double decay; /* decoupled weight decay, multiplied by the learning rate */
    double clip;  /* largest global gradient norm (L2 over all parameters); INFINITY: no clipping */
} sd_adam_spec;

/* One parameter tensor: w, g, m, v are real matrices of one shape. Weights w and gradient g are borrowed, as is the name; the moments m, v
 * belong to the optimiser. */
typedef struct sd_param {
    const char *name;
    sd_mat w, g, m, v;
    bool unit_rows; /* keep rows at length 1: the part of the gradient along a row is removed before the clip, and rows are rescaled after
                     * the step */
} sd_param;

typedef struct sd_adam {
    sd_dev *dev;
    sd_adam_spec spec;
    sd_param params[SD_ADAM_PARAMS];
    uint64_t count;
    sd_buf *moments[2 * SD_ADAM_PARAMS];
    sd_buf *sums, *norm, *factor; /* f64 on the device */
} sd_adam;

/* Copies w, g, name and unit_rows of `params` [count]; allocates m and v and sets them to zero. `dev` is borrowed. More than SD_ADAM_PARAMS
 * parameters are SD_E_INTERNAL. *adam is NULL on failure; sd_adam_destroy() frees it. */
SD_MUST_CHECK sd_status sd_adam_create(sd_adam **adam, sd_dev *dev, const sd_adam_spec *spec, const sd_param *params,
                                       uint64_t count);
void sd_adam_destroy(sd_adam **adam);

/* Queued. Step t (from 1) at learning rate lr: projection of unit rows' gradients, global norm, clip, AdamW, rescaling of unit rows. */
SD_MUST_CHECK sd_status sd_adam_step(sd_adam *adam, uint64_t t, double lr);

/* Waits. The global gradient norm of the last step, after projection and before the clip; 0 before the first step. */
SD_MUST_CHECK sd_status sd_adam_norm(sd_adam *adam, double *norm);

#endif

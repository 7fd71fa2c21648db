/* Sparse autoencoders: TopK with the aux-k loss (Gao et al., "Scaling and evaluating sparse autoencoders", 2024). F latents, d = d_model;
 * both weight matrices hold one latent per row. x [n, d] are raw activations.
 *
 *   xs = input_scale · x                        input_scale makes the mean square of a component 1
 *   h  = W_enc (xs − b_dec) + b_enc             f = ReLU of the k largest h of a row (ties: lowest latent)
 *   x̂s = Σ f_i W_dec[i] + b_dec,  x̂ = x̂s / input_scale
 *
 * Loss: mean over rows of ‖xs − x̂s‖² + aux_coef · aux_scale · aux. D is the set of dead latents, those that have not fired for
 * dead_tokens tokens. aux is the squared error of predicting e = xs − x̂s (detached) from the min(k_aux, |D|) largest h within D, without
 * ReLU or bias, divided by Σ‖e − ē‖², where ē is the mean of e over the batch; aux_scale = min(|D| / k_aux, 1). Its gradient reaches only
 * W_enc, b_enc and W_dec of dead latents.
 *
 * Gradients are sparse: they touch the k·n active (row, latent) pairs only, and are summed per latent in row order.
 *
 * All calls are Local. "Queued" calls return before the device has run them, "waits" means until it has. Matrices passed as sd_mat are
 * borrowed; indices are i32, the rest sd_real unless a type is given. Wrong shapes are SD_E_INTERNAL; no memory, and failures of device or
 * files, SD_E_ENV. */
#ifndef SAEDIFF_SAE_SAE_H
#define SAEDIFF_SAE_SAE_H

#include "saediff/core/hash.h"
#include "saediff/optim/adam.h"
#include "saediff/optim/schedule.h"

typedef struct sd_sae_spec {
    uint64_t d_model, n_latents; /* d, F */
    uint64_t k, k_aux;           /* active latents per row; dead latents of the aux term */
    uint64_t dead_tokens;        /* a latent that has not fired for this many tokens is dead */
    uint64_t batch;              /* rows of a training step, and the most rows of any other call but sd_sae_start() */
    double aux_coef;             /* weight of the aux term; 0: none */
    sd_adam_spec adam;
    sd_schedule schedule;
    uint64_t seed;
} sd_sae_spec;

typedef struct sd_sae sd_sae;

/* For training: allocates weights, gradients and Adam moments on `dev`, which is borrowed and must outlive the SAE. The weights are
 * undefined until sd_sae_start() or sd_sae_load(). SD_E_USAGE naming the key for a spec that cannot be (k above n_latents, a size of 0,
 * more than 2^31 − 1 latents, a batch whose codes do not fit in 32 bits). *sae is NULL on failure; sd_sae_destroy() frees it. */
SD_MUST_CHECK sd_status sd_sae_create(sd_sae **sae, sd_dev *dev, const sd_sae_spec *spec);
/* Takes the address of a handle or of NULL; leaves NULL there. */
void sd_sae_destroy(sd_sae **sae);
/* Borrowed from the SAE. */
const sd_sae_spec *sd_sae_spec_of(const sd_sae *sae);
double sd_sae_input_scale(const sd_sae *sae);
/* Number of training steps done. */
uint64_t sd_sae_step_count(const sd_sae *sae);

/* Initial values from raw rows x [n, d], n ≥ 1: input_scale; b_dec = geometric median of xs (Weiszfeld); decoder rows = random unit vectors,
 * which depend on the seed only; W_enc = W_dec; b_enc = 0; dead counters 0. Waits. SD_E_DATA if x holds a NaN or infinity, or only
 * zeros. */
SD_MUST_CHECK sd_status sd_sae_start(sd_sae *sae, sd_mat x);

/* One training step on raw rows x [batch, d]: sd_sae_gradient(), then sd_sae_update(). Queued, except that the dead counters
 * (F numbers) and, if there are dead latents, Σ‖e − ē‖² are read back. SD_E_INTERNAL for an SAE of sd_sae_open(). */
SD_MUST_CHECK sd_status sd_sae_step(sd_sae *sae, sd_mat x);
/* The loss and its gradient at the current weights. Dead are the latents whose counter has reached dead_tokens now. */
SD_MUST_CHECK sd_status sd_sae_gradient(sd_sae *sae, sd_mat x);
/* After sd_sae_gradient(): clips the gradient, applies AdamW at the schedule's learning rate, rescales decoder rows to length 1, updates the
 * dead counters. Queued. */
SD_MUST_CHECK sd_status sd_sae_update(sd_sae *sae);

/* A view of an array by name, valid as long as the SAE: W_enc [F, d], b_enc [1, F], W_dec [F, d], b_dec [1, d], each also as grad.NAME,
 * adam_m.NAME, adam_v.NAME; since [1, F] u64, tokens since a latent last fired; fires [1, F] u64, tokens on which it fired; index, value
 * [batch, k] of the last gradient. SD_E_INTERNAL for another name, or for a gradient or moment of an SAE of sd_sae_open(). */
SD_MUST_CHECK sd_status sd_sae_array(sd_sae *sae, const char *name, sd_mat *array);

typedef struct sd_sae_report {
    uint64_t step, tokens;
    double mse, aux, total; /* of the last step, before its update: mean ‖xs − x̂s‖² of a row; the aux term; the loss */
    double fvu;             /* fraction of variance unexplained: Σ‖e‖² / Σ‖xs − mean‖² over the last batch */
    double grad_norm;       /* before the clip */
    uint64_t dead;          /* latents that had not fired for dead_tokens tokens at the last gradient */
} sd_sae_report;
/* Statistics of the last step. Waits. SD_E_DATA naming the step if loss, gradient norm or weights are not finite: training has diverged
 * and cannot recover. */
SD_MUST_CHECK sd_status sd_sae_stats(sd_sae *sae, sd_sae_report *report);

/* Queued. Codes of raw rows x [n, d], n ≤ batch: index i32, value [n, k], in each row by falling value. Values are h before the ReLU,
 * which the caller applies. */
SD_MUST_CHECK sd_status sd_sae_encode(sd_sae *sae, sd_mat x, sd_mat index, sd_mat value);
/* Queued. Decodes index, value [n, k]; row_sse [1, n] f64 = ‖x − x̂‖² in units of the raw activations x [n, d], n ≤ batch. The
 * reconstruction x̂ [n, d], also raw, is written to y unless y.buf is NULL. */
SD_MUST_CHECK sd_status sd_sae_reconstruct(sd_sae *sae, sd_mat x, sd_mat index, sd_mat value, sd_mat y, sd_mat row_sse);

/* Waits. Checkpoint and final SAE have one format, "saediff.sae" version 1 (f32): W_enc, W_dec, b_enc, b_dec, their Adam moments
 * (adam_m.…, adam_v.…), since, fires, and as attributes the spec, step, input_scale, architecture, site, model_sha256. */
SD_MUST_CHECK sd_status sd_sae_save(sd_sae *sae, const char *path, const char *site, const char *model_sha256);
/* Loads into a created SAE. SD_E_DATA if a number of its spec differs from the file's (the message names the first), if the file holds no
 * moments to train on with, is damaged, or is of another architecture. */
SD_MUST_CHECK sd_status sd_sae_load(sd_sae *sae, const char *path);
/* For inference only: the spec comes from the file, no moments are loaded; a call takes at most `batch` rows. `dev` is borrowed. SD_E_DATA
 * for a damaged file or another architecture. *sae is NULL on failure; sd_sae_destroy() frees it. */
SD_MUST_CHECK sd_status sd_sae_open(sd_sae **sae, sd_dev *dev, const char *path, uint64_t batch);
/* Writes the SAE to `folder` in SAELens format: sae_weights.safetensors (f32: W_enc [d, F], W_dec [F, d], b_enc, b_dec, with input_scale folded
 * in, so that it takes raw activations) and cfg.json. `site` becomes hook_name, `context` context_size in tokens. Waits. */
SD_MUST_CHECK sd_status sd_sae_export_saelens(sd_sae *sae, const char *folder, const char *site, const char *model_name,
                                              uint64_t context);

#endif

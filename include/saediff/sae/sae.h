/* Sparse autoencoders: TopK with aux-k. F latents, d = d_model, rows of both matrices are latents.
 *
 *   xs = input_scale · x                        unit mean square per component
 *   h  = W_enc (xs − b_dec) + b_enc             f = ReLU of the k largest h of a row (ties: lowest latent)
 *   x̂s = Σ f_i W_dec[i] + b_dec,  x̂ = x̂s / input_scale
 *
 * Loss: mean over rows of ‖xs − x̂s‖² + aux_coef · aux_scale · aux, aux as in Gao et al. 2024 with the corrections of the
 * project's reference: over D = latents silent for dead_tokens tokens, a = min(k_aux, |D|) largest h within D, no ReLU, no
 * bias, target the detached error, normalised by Σ‖e − ē‖², aux_scale = min(|D| / k_aux, 1). Its gradient reaches only
 * W_enc, b_enc, W_dec of dead latents.
 *
 * Steps are sparse: gradients touch the k·n active pairs only, and are summed per latent in row order. Local. */
#ifndef SAEDIFF_SAE_SAE_H
#define SAEDIFF_SAE_SAE_H

#include "saediff/core/hash.h"
#include "saediff/optim/adam.h"
#include "saediff/optim/schedule.h"

typedef struct sd_sae_spec {
    uint64_t d_model, n_latents, k, k_aux, dead_tokens, batch;
    double aux_coef;
    sd_adam_spec adam;
    sd_schedule schedule;
    uint64_t seed;
} sd_sae_spec;

typedef struct sd_sae sd_sae;

/* For training: moments and gradients are made. Values are undefined until sd_sae_start() or sd_sae_load(). */
SD_MUST_CHECK sd_status sd_sae_create(sd_sae **sae, sd_dev *dev, const sd_sae_spec *spec);
void sd_sae_destroy(sd_sae **sae);
const sd_sae_spec *sd_sae_spec_of(const sd_sae *sae);
double sd_sae_input_scale(const sd_sae *sae);
/* Steps done. */
uint64_t sd_sae_step_count(const sd_sae *sae);

/* Initial values from raw rows x [n, d]: input_scale, b_dec = geometric median, decoder rows random directions of length 1, W_enc =
 * W_dec, b_enc = 0. Directions depend on the seed only. Waits. SD_E_DATA if x holds a NaN or infinity, or only zeros. */
SD_MUST_CHECK sd_status sd_sae_start(sd_sae *sae, sd_mat x);

/* One training step on raw rows x [batch, d]: sd_sae_gradient(), then sd_sae_update(). Queued, except that the dead counters
 * (F numbers), and where there are dead latents the spread of the error, are read back. */
SD_MUST_CHECK sd_status sd_sae_step(sd_sae *sae, sd_mat x);
/* The loss and its gradient at the present weights; dead are the latents whose counter says so now. */
SD_MUST_CHECK sd_status sd_sae_gradient(sd_sae *sae, sd_mat x);
/* Clip, AdamW at the schedule's rate, unit decoder rows, counters. */
SD_MUST_CHECK sd_status sd_sae_update(sd_sae *sae);

/* A view of an array by name, borrowed: W_enc [F, d], b_enc [1, F], W_dec [F, d], b_dec [1, d], each also as grad.NAME, adam_m.NAME,
 * adam_v.NAME; since, fires [1, F] u64; index, value [batch, k] of the last gradient. SD_E_INTERNAL for another name, or one that an SAE
 * opened without training lacks. */
SD_MUST_CHECK sd_status sd_sae_array(sd_sae *sae, const char *name, sd_mat *array);

typedef struct sd_sae_report {
    uint64_t step, tokens;
    double mse, aux, total; /* of the last step; mse per row in scaled units */
    double fvu;             /* Σ‖e‖² / Σ‖xs − mean‖² over the last batch */
    double grad_norm;
    uint64_t dead;          /* latents silent for dead_tokens tokens */
} sd_sae_report;
/* Waits. SD_E_DATA naming the step if loss, norm or weights are not finite: training has diverged, and does not come back. */
SD_MUST_CHECK sd_status sd_sae_stats(sd_sae *sae, sd_sae_report *report);

/* Queued. Codes of raw rows x [n, d], n ≤ batch: index, value [n, k] (raw h; ReLU is the reader's), rows by falling value. */
SD_MUST_CHECK sd_status sd_sae_encode(sd_sae *sae, sd_mat x, sd_mat index, sd_mat value);
/* Queued. row_sse [1, n] f64 = ‖x − x̂‖² in raw units of the codes; x̂ [n, d] raw into y unless y.buf is NULL. */
SD_MUST_CHECK sd_status sd_sae_reconstruct(sd_sae *sae, sd_mat x, sd_mat index, sd_mat value, sd_mat y, sd_mat row_sse);

/* Waits. Final artefact and checkpoint are one format, "saediff.sae" version 1: W_enc, W_dec, b_enc, b_dec, the moments of each
 * (adam_m.…, adam_v.…), since, fires, and the attributes of the spec, step, input_scale, site, model_sha256. */
SD_MUST_CHECK sd_status sd_sae_save(sd_sae *sae, const char *path, const char *site, const char *model_sha256);
/* Into a created SAE whose spec must agree with the file's in every number; the message names the first that does not. */
SD_MUST_CHECK sd_status sd_sae_load(sd_sae *sae, const char *path);
/* For use without training: spec from the file, no moments; `batch` rows at most in a call. */
SD_MUST_CHECK sd_status sd_sae_open(sd_sae **sae, sd_dev *dev, const char *path, uint64_t batch);
/* SAELens layout in `folder`: sae_weights.safetensors (W_enc [d, F], W_dec [F, d], b_enc, b_dec, input scale folded) and cfg.json. */
SD_MUST_CHECK sd_status sd_sae_export_saelens(sd_sae *sae, const char *folder, const char *site, const char *model_name,
                                              uint64_t context);

#endif

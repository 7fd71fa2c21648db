/* Supervised fine-tuning of all weights, some of them, or LoRA adapters (Hu et al. 2021): data-parallel, with the optimiser state sharded over
 * the ranks.
 *
 * A step trains on the next documents in the shuffled order of the epoch, as many as fit into `batch` tokens (at least one). They are packed
 * first-fit into micro-batches of at most `micro` tokens. The loss is −log p summed over the supervised tokens of the step, divided by their
 * number, however they are packed. Micro-batches are assigned to the ranks in turn. Each rank owns a slice of the trainable parameters
 * and their moments, and adds up the gradients of the micro-batches in their order, so that any number of ranks gives the same bits. The
 * last step of an epoch may be smaller.
 *
 * Errors besides those named below: SD_E_ENV for memory, device, files and communication. A Collective call returns the same status on
 * every rank. */
#ifndef SAEDIFF_TUNE_TUNE_H
#define SAEDIFF_TUNE_TUNE_H

#include "saediff/model/train.h"
#include "saediff/optim/adam.h"
#include "saediff/optim/schedule.h"
#include "saediff/tune/sft_data.h"

typedef struct sd_tune_spec {
    uint64_t seed;
    uint64_t batch, micro; /* tokens; a longer document is a micro-batch by itself */
    double epochs;         /* may end with a fraction of an epoch */
    uint64_t steps;        /* 0: set by epochs; else this many, over as many epochs as needed */
    sd_fall fall;
    double lr, final;      /* peak learning rate, and its final fraction of the peak (sd_slope) */
    uint64_t warmup;       /* steps */
    sd_adam_spec adam;     /* weight decay applies to matrices only. clip INFINITY: no clipping */
    double held_out;       /* fraction of the documents held out from training */
    const char *const *freeze; /* tensors with these components in their name are frozen: "embed_tokens", "layers.0" */
    uint64_t n_freeze;
    /* 0: full fine-tuning. Else LoRA: the matrices of the blocks that have one of `targets` in their name (n_targets 0: all of them)
     * and are not frozen become W0 + alpha/rank · B·A, and only A [rank, cols] and B [rows, rank] are trained. As in peft, A is
     * initialised uniformly in ±1/sqrt(cols), B with zeros. */
    uint64_t rank;
    double alpha;
    const char *const *targets;
    uint64_t n_targets;
    bool recompute; /* activation checkpointing: see sd_backward_create() */
} sd_tune_spec;

typedef struct sd_tune_loss {
    double loss;        /* mean −log p of the supervised tokens, in nats */
    double accuracy;    /* fraction of them that the model ranks first (top-1) */
    uint64_t evaluated; /* number of supervised tokens */
    uint64_t tokens;    /* of all documents read */
} sd_tune_loss;

typedef struct sd_tune_report {
    uint64_t step;
    sd_tune_loss of; /* training loss of the step's documents, before the update */
    double norm;     /* global gradient norm before the clip */
    double lr;
} sd_tune_report;

typedef struct sd_tuner sd_tuner;

/* What a spec trains in a model of this shape. */
typedef struct sd_tune_size {
    uint8_t *how;       /* [tensors] sd_training of each of sd_model_tensors(); the caller's, sd_free() */
    uint64_t trainable; /* trainable parameters (elements) */
    uint64_t targets;   /* matrices with adapters */
} sd_tune_size;
/* Local. SD_E_USAGE naming the key for a freeze word that no tensor has, a target that no matrix of the blocks has, a rank larger than a
 * dimension of a target, and a spec that leaves nothing to train. */
SD_MUST_CHECK sd_status sd_tune_measure(const sd_model_config *config, const sd_tune_spec *spec, sd_tune_size *size);

/* Collective. Opens the model in the Hugging Face folder `dir` on every rank. par, dev, sft_data and the strings of the spec are borrowed and
 * must outlive the tuner; `dir` is copied. SD_E_USAGE as in sd_tune_measure(); SD_E_DATA if no document is left for training, or none is held
 * out where some should be. *tuner is NULL on failure. */
SD_MUST_CHECK sd_status sd_tuner_create(sd_tuner **tuner, const sd_par *par, sd_dev *dev, const char *dir, const sd_sft_data *sft_data,
                                        const sd_tune_spec *spec);
/* Collective. Takes the address of a handle or of NULL; leaves NULL there. */
void sd_tuner_destroy(sd_tuner **tuner);
/* The backend of the gradient and weight exchange, in words for the log (sd_group_describe()). Borrowed. */
const char *sd_tuner_exchange(const sd_tuner *tuner);
/* Local: steps of the whole training, steps done, held-out documents. */
uint64_t sd_tuner_steps(const sd_tuner *tuner);
uint64_t sd_tuner_step_count(const sd_tuner *tuner);
uint64_t sd_tuner_held_out(const sd_tuner *tuner);

/* Collective. The next training step. SD_E_DATA naming step and tensor if the gradient is not finite; the weights are then unchanged.
 * SD_E_INTERNAL after the last step. */
SD_MUST_CHECK sd_status sd_tuner_step(sd_tuner *tuner, sd_tune_report *report);
/* Collective. A training step on docs [count], indices of documents chosen by the caller (the same on every rank), at the current position of
 * the schedule. */
SD_MUST_CHECK sd_status sd_tuner_step_on(sd_tuner *tuner, const uint64_t *docs, uint64_t count, sd_tune_report *report);
/* Collective. The loss of the held-out documents at the current weights; without any, evaluated is 0, and loss and accuracy are NaN. */
SD_MUST_CHECK sd_status sd_tuner_evaluate(sd_tuner *tuner, sd_tune_loss *loss);

/* Collective. A checkpoint: the trainable parameters, their moments and the step as a bundle, "saediff.tuner" version 2, written by rank 0.
 * `key` identifies the job. With adapters it holds A and B of each target, and their rank and alpha; "names" lists the trainable parameters,
 * one per line. `note` is a text of the caller's that is stored with it. sd_tuner_load(): SD_E_DATA unless the file has the same key, the same
 * number of parameters and a step within this training; *note is the caller's, sd_free(). */
SD_MUST_CHECK sd_status sd_tuner_save(sd_tuner *tuner, const char *path, const char *key, const char *note);
SD_MUST_CHECK sd_status sd_tuner_load(sd_tuner *tuner, const char *path, const char *key, char **note);

/* Local. Writes the current weights, adapters merged, to `dir` as a Hugging Face folder: safetensors in `type` (shards of up to 5 GB), and
 * config.json with that dtype and without auto_map. SD_E_DATA naming the tensor if a weight is not finite. */
SD_MUST_CHECK sd_status sd_tuner_export(sd_tuner *tuner, const char *dir, sd_dtype type);
/* Local. Writes the adapters alone to `dir` in peft's format, f32: adapter_config.json and adapter_model.safetensors. SD_E_INTERNAL without
 * adapters. */
SD_MUST_CHECK sd_status sd_tuner_export_adapters(const sd_tuner *tuner, const char *dir);

#endif

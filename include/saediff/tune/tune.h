/* Supervised fine-tuning of all weights, of some, or of adapters of low rank; data-parallel, with the optimiser's state dealt to the
 * ranks.
 *
 * A step learns from the documents that are next in the epoch's order, as many as fit into `batch` tokens. They are packed into
 * micro-batches of at most `micro` tokens, each document into the first that has room; the loss is the sum over all predictions of the
 * step divided by their number, however it is packed. Micro-batches are dealt to ranks in turn. A rank owns a slice of what is learned
 * and its moments: it adds up the gradients of the micro-batches in their order, so that any number of ranks gives the same bits. An
 * epoch's last step may be smaller. */
#ifndef SAEDIFF_TUNE_TUNE_H
#define SAEDIFF_TUNE_TUNE_H

#include "saediff/model/train.h"
#include "saediff/optim/adam.h"
#include "saediff/optim/schedule.h"
#include "saediff/tune/sft_data.h"

typedef struct sd_tune_spec {
    uint64_t seed;
    uint64_t batch, micro; /* tokens; a longer document is a micro-batch by itself */
    double epochs;         /* whole epochs, or a share of one at the end */
    uint64_t steps;        /* 0: as the epochs have; else this many, through as many epochs as that takes */
    sd_fall fall;
    double lr, final;      /* peak, and the share of it that is left in the last step */
    uint64_t warmup;
    sd_adam_spec adam;     /* decay of matrices; vectors have none. clip INFINITY: no limit */
    double held_out;       /* share of the documents that is not learned from */
    const char *const *freeze; /* tensors with these parts in their name stay as they are: "embed_tokens", "layers.0" */
    uint64_t n_freeze;
    /* 0: the weights themselves are learned. Else the matrices of the blocks that have one of the words `targets` in their name (none:
     * all of them) and are not frozen become W0 + alpha/rank · B·A, and only A [rank, cols] and B [rows, rank] are learned. A begins
     * uniform within ±1/sqrt(cols), as peft draws it, B at zero. */
    uint64_t rank;
    double alpha;
    const char *const *targets;
    uint64_t n_targets;
    bool recompute;
} sd_tune_spec;

typedef struct sd_tune_loss {
    double loss;      /* mean −log p of the predictions that count, in nats */
    double accuracy;  /* share of them whose token was the most likely one */
    uint64_t evaluated; /* predictions */
    uint64_t tokens;
} sd_tune_loss;

typedef struct sd_tune_report {
    uint64_t step;
    sd_tune_loss of; /* before the step */
    double norm;     /* of the gradient, before it was clipped */
    double lr;
} sd_tune_report;

typedef struct sd_tuner sd_tuner;

/* What a spec makes of a model of this shape. Pure; a freeze word that no tensor has, a target that no matrix of the blocks has, a rank
 * larger than a side of a target, and nothing left to learn are SD_E_USAGE naming the key. how [tensors]: sd_free(). */
typedef struct sd_tune_size {
    uint8_t *how;        /* sd_training of each of sd_model_tensors() */
    uint64_t trainable;    /* elements that are learned */
    uint64_t targets;    /* matrices with adapters */
} sd_tune_size;
SD_MUST_CHECK sd_status sd_tune_measure(const sd_model_config *config, const sd_tune_spec *spec, sd_tune_size *size);

/* Collective. The model of `dir`, open on every rank; lessons and dev are borrowed, strings of the spec too. What sd_tune_measure() refuses
 * is refused, fewer documents than a step and a held-out one need SD_E_DATA. */
SD_MUST_CHECK sd_status sd_tuner_create(sd_tuner **tuner, const sd_par *par, sd_dev *dev, const char *dir, const sd_sft_data *sft_data,
                                        const sd_tune_spec *spec);
/* Collective. */
void sd_tuner_destroy(sd_tuner **tuner);
/* How gradients and weights go from rank to rank, for people. */
const char *sd_tuner_exchange(const sd_tuner *tuner);
uint64_t sd_tuner_steps(const sd_tuner *tuner);
uint64_t sd_tuner_step_count(const sd_tuner *tuner);
uint64_t sd_tuner_held_out(const sd_tuner *tuner); /* documents */

/* Collective. The next step. A gradient that is not finite is SD_E_DATA naming step and tensor; the weights are then those before it. */
SD_MUST_CHECK sd_status sd_tuner_step(sd_tuner *tuner, sd_tune_report *report);
/* Collective. The same on documents of the caller's choice, at the place in the schedule where it stands. */
SD_MUST_CHECK sd_status sd_tuner_step_on(sd_tuner *tuner, const uint64_t *docs, uint64_t count, sd_tune_report *report);
/* Collective. The loss of the held-out documents as the weights are; nothing to be measured gives counted 0 and NaN. */
SD_MUST_CHECK sd_status sd_tuner_evaluate(sd_tuner *tuner, sd_tune_loss *loss);

/* Collective. What is learned, its moments and the step as a bundle, "saediff.tuner" version 2, written by rank 0; `key` says of what.
 * With adapters it holds A and B of each target, their rank and alpha; "names" are those of what is learned, a line each. `note`, a text
 * of the caller's, goes with it. sd_tuner_load() takes a bundle of the same key and size only; *note: sd_free(). */
SD_MUST_CHECK sd_status sd_tuner_save(sd_tuner *tuner, const char *path, const char *key, const char *note);
SD_MUST_CHECK sd_status sd_tuner_load(sd_tuner *tuner, const char *path, const char *key, char **note);

/* Local. The weights as they are, as a Hugging Face folder in `dir`, which has none yet: weights in `type` (shards of up to 5 GB), and
 * config.json with that type and without auto_map. Adapters are merged. */
SD_MUST_CHECK sd_status sd_tuner_export(sd_tuner *tuner, const char *dir, sd_dtype type);
/* Local. The adapters by themselves, f32, as peft reads them: adapter_config.json and adapter_model.safetensors in `dir`. Not without
 * adapters. */
SD_MUST_CHECK sd_status sd_tuner_export_adapters(const sd_tuner *tuner, const char *dir);

#endif

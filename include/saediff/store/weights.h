/* The tensors of a Hugging Face folder, whichever files hold them. Looked for in this order:
 *   model.safetensors; model.safetensors.index.json and its shards; pytorch_model.bin; pytorch_model.bin.index.json and its shards.
 * Opening reads headers only. Local. */
#ifndef SAEDIFF_STORE_WEIGHTS_H
#define SAEDIFF_STORE_WEIGHTS_H

#include "saediff/core/hash.h"
#include "saediff/store/safetensors.h"

typedef struct sd_weights sd_weights;

/* An index whose names leave the folder, a shard that is missing, a tensor that its shard lacks or that stands in two shards are SD_E_DATA;
 * tensors that the index does not list are told by sd_warn(). */
SD_MUST_CHECK sd_status sd_weights_open(sd_weights **weights, const char *dir);
void sd_weights_close(sd_weights **weights);
/* The file, or the index, for messages about all of it. */
const char *sd_weights_path(const sd_weights *weights);

uint64_t sd_weights_count(const sd_weights *weights);
/* By name. */
const sd_tensor *sd_weights_at(const sd_weights *weights, uint64_t i);
/* NULL if there is none of this name. */
const sd_tensor *sd_weights_find(const sd_weights *weights, const char *name);
/* The file that holds it. */
const char *sd_weights_file(const sd_weights *weights, const sd_tensor *tensor);
/* As sd_safetensors_read(). */
SD_MUST_CHECK sd_status sd_weights_read(sd_weights *weights, const sd_tensor *tensor, sd_dtype type, void *out);

/* Writes the tensors into the folder as Hugging Face does: model.safetensors, or, where they have more than `shard_bytes` bytes together,
 * model-00001-of-0000N.safetensors … and model.safetensors.index.json, the index last. A shard holds whole tensors, as many as fit, in the
 * order given. Weights that are there already are SD_E_USAGE. */
SD_MUST_CHECK sd_status sd_weights_write(const char *dir, const sd_tensor *tensors, sd_tensor_source source, uint64_t count,
                                         uint64_t shard_bytes);

/* SHA-256 over names and contents of config.json and all weight files, the index first, then shards by name. */
SD_MUST_CHECK sd_status sd_weights_digest(const char *dir, char hex[SD_SHA256_HEX]);

#endif

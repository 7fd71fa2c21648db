/* config.json of a Hugging Face folder, checked: what this program can compute exactly, or a refusal by name. Local. */
#ifndef SAEDIFF_MODEL_CONFIG_H
#define SAEDIFF_MODEL_CONFIG_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_model_config {
    uint64_t d_model, n_layers, n_heads, n_kv_heads, d_head, d_mlp, vocabulary, context;
    double norm_eps, rope_theta;
    bool tied; /* the output matrix is the embedding */
} sd_model_config;

/* From dir/config.json. Refused by name, with what was found: a model_type other than llama, an activation other than silu, biases, any
 * rope scaling, mixture of experts, quantisation, head counts that do not divide, sizes of 0 or absurd ones. */
SD_MUST_CHECK sd_status sd_model_config_read(sd_model_config *config, const char *dir);

/* Floating-point operations of one token through `layers` blocks at mean context `context`, without the output matrix. */
double sd_model_flops(const sd_model_config *config, uint64_t layers, double context);
/* Number of weights. */
uint64_t sd_model_parameters(const sd_model_config *config);

#endif

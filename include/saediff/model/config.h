/* config.json of a Hugging Face folder, checked: what the program cannot compute exactly is refused by name. Both spellings: those of
 * transformers 4 (torch_dtype, rope_theta, rope_scaling) and of 5 (dtype, rope_parameters). Local.
 *
 *   llama    Llama 2 to 3.3, SmolLM2, TinyLlama; attention_bias (q, k, v, o) and mlp_bias
 *   mistral  attention window in every layer unless sliding_window is null
 *   qwen2    2 and 2.5: biases of q, k, v; a window if use_sliding_window is true
 *   qwen3    a norm over each head of q and k before the rotation; attention_bias; windows as qwen2
 * Absent keys have the defaults of the transformers class. */
#ifndef SAEDIFF_MODEL_CONFIG_H
#define SAEDIFF_MODEL_CONFIG_H

#include <stdbool.h>

#include "saediff/core/status.h"
#include "saediff/core/types.h"

enum {
    SD_LAYERS_MAX = 4096,
    SD_ROTARY_MAX = 256 /* maximum number of pairs with frequency factors */
};

typedef enum sd_rotary_kind {
    SD_ROTARY_DEFAULT, /* also dynamic, which differs only beyond max_position_embeddings, and longer documents are refused */
    SD_ROTARY_LINEAR,
    SD_ROTARY_LLAMA3,
    SD_ROTARY_YARN, /* Peng et al., "YaRN", 2023; `factor` as in the file, whatever the context */
    SD_ROTARY_LONG  /* Ding et al., "LongRoPE", 2024: other factors for documents beyond `original` tokens */
} sd_rotary_kind;

typedef struct sd_rotary {
    sd_rotary_kind kind;
    double factor;
    double low, high;             /* llama3: wavelengths above original/low are stretched, below original/high kept */
    double beta_fast, beta_slow;  /* yarn: rotations within `original` of pairs that are kept, and that are stretched */
    bool truncate;                /* yarn: round these bounds to whole pairs */
    double attention;             /* cosines and sines are multiplied by it */
    uint64_t original;            /* context before scaling, tokens */
    double shorter[SD_ROTARY_MAX], longer[SD_ROTARY_MAX]; /* long: divisors of each pair's frequency */
} sd_rotary;

typedef struct sd_model_config {
    uint64_t d_model, n_layers, n_heads, n_kv_heads, d_head, d_mlp, vocabulary, context;
    double norm_eps, rope_theta;
    bool tied;                                /* the output matrix is the embedding */
    bool bias_qkv, bias_o, bias_mlp;
    bool qk_norm;                             /* gain [d_head] over each head of q and k before the rotation */
    uint64_t window;                          /* tokens visible to a token in a windowed layer, itself included; 0: no windows */
    uint8_t windowed[SD_LAYERS_MAX / 8];     /* bit l % 8 of byte l / 8: layer l has the window */
    sd_rotary rotary;
} sd_model_config;

/* From dir/config.json. Refused by name, with the value found: other model types, activations and rotary types, partial rotary embeddings,
 * mixture of experts, quantisation, head counts that do not divide, sizes that are 0 or absurd. A key that changes the arithmetic of
 * other programs but not of this one (pretraining_tp) is mentioned once by sd_say(). */
SD_MUST_CHECK sd_status sd_model_config_read(sd_model_config *config, const char *dir);
SD_MUST_CHECK sd_status sd_model_config_read_file(sd_model_config *config, const char *path);

/* Tokens visible to a token of the layer, itself included; 0: all before it. */
uint64_t sd_model_window(const sd_model_config *config, uint64_t layer);
/* Radians per position of each pair, out [d_head / 2], in double; without the factor `attention`. beyond: for documents of more than
 * rotary.original tokens (this matters for SD_ROTARY_LONG only). */
void sd_rotary_frequencies(const sd_model_config *config, bool beyond, double *out);

/* Floating-point operations of one token through `layers` blocks at mean context `context`, without the output matrix. */
double sd_model_flops(const sd_model_config *config, uint64_t layers, double context);
/* Number of weights; and of a part of the model (model.h). */
uint64_t sd_model_parameters(const sd_model_config *config);
uint64_t sd_model_part_parameters(const sd_model_config *config, sd_span blocks);

#endif

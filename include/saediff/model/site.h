/* Sites in a model, under their TransformerLens names. `layer` counts from 0.
 *
 *   hook_embed                    token embeddings = input of block 0
 *   blocks.L.hook_resid_pre       residual stream into block L
 *   blocks.L.hook_resid_mid       after the attention output was added
 *   blocks.L.hook_resid_post      output of block L (for the last block before the final norm)
 *   blocks.L.hook_attn_out        output of attention
 *   blocks.L.hook_mlp_out         output of the MLP
 *   ln_final.hook_normalized      after the final norm, gain included
 * Also accepted: "L" and "layers.L" (Hugging Face's name) = blocks.L.hook_resid_post, "embed" = hook_embed. A bare −1 is refused:
 * it means three different things in the field. Local. */
#ifndef SAEDIFF_MODEL_SITE_H
#define SAEDIFF_MODEL_SITE_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef enum sd_site_kind {
    SD_SITE_EMBED,
    SD_SITE_RESID_PRE,
    SD_SITE_ATTN_OUT,
    SD_SITE_RESID_MID,
    SD_SITE_MLP_OUT,
    SD_SITE_RESID_POST,
    SD_SITE_NORMALIZED
} sd_site_kind;

typedef struct sd_site {
    sd_site_kind kind;
    uint64_t layer; /* 0 for EMBED and NORMALIZED */
} sd_site;

enum { SD_SITE_NAME = 48 };

/* SD_E_USAGE naming the word and what is accepted; a layer ≥ n_layers is refused with both numbers. */
SD_MUST_CHECK sd_status sd_site_parse(sd_site *site, const char *word, uint64_t n_layers);
/* The TransformerLens name. */
const char *sd_site_name(sd_site site, char out[SD_SITE_NAME]);
/* Order in which a forward pass reaches the sites: negative, 0, positive. hook_embed comes before blocks.0.hook_resid_pre. */
int sd_site_compare(sd_site a, sd_site b);

#endif

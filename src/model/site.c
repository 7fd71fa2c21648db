#include "saediff/model/site.h"

#include <stdio.h>
#include <string.h>

#include "saediff/core/str.h"

/* Suffixes of "blocks.L." */
static const struct {
    sd_site_kind kind;
    const char *hook;
} hooks[] = {
    {SD_SITE_RESID_PRE, "hook_resid_pre"},   {SD_SITE_ATTN_OUT, "hook_attn_out"},
    {SD_SITE_RESID_MID, "hook_resid_mid"},   {SD_SITE_MLP_OUT, "hook_mlp_out"},
    {SD_SITE_RESID_POST, "hook_resid_post"},
};

enum { HOOKS = sizeof hooks / sizeof hooks[0] };

static const char understood[] =
    "hook_embed, blocks.L.hook_resid_pre, blocks.L.hook_attn_out, blocks.L.hook_resid_mid, "
    "blocks.L.hook_mlp_out, "
    "blocks.L.hook_resid_post, ln_final.hook_normalized, layers.L or L (= blocks.L.hook_resid_post)";

static sd_status unknown(const char *word)
{
    return SD_FAIL(SD_E_USAGE, "'%s' is not a site; accepted are %s", word, understood);
}

/* Parses the digits at `text`, up to `end` or the end of the text, as a layer. */
static bool layer_at(const char *text, size_t length, uint64_t *layer)
{
    char digits[21];

    if (length == 0 || length >= sizeof digits || strspn(text, "0123456789") < length)
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    return sd_str_to_u64(digits, layer);
}

sd_status sd_site_parse(sd_site *site, const char *word, uint64_t n_layers)
{
    sd_site found = {SD_SITE_RESID_POST, 0};
    bool known = false;

    if (strcmp(word, "hook_embed") == 0 || strcmp(word, "embed") == 0) {
        *site = (sd_site){SD_SITE_EMBED, 0};
        return SD_OK;
    }
    if (strcmp(word, "ln_final.hook_normalized") == 0) {
        *site = (sd_site){SD_SITE_NORMALIZED, 0};
        return SD_OK;
    }
    if (word[0] == '-')
        return SD_FAIL(
            SD_E_USAGE,
            "site '%s': negative layers are refused, because −1 means the last block's output, the last "
            "entry of "
            "output_hidden_states or the embedding, depending on whom one asks; the last block's output "
            "is 'blocks.%llu.hook_resid_post'",
            word, (unsigned long long)(n_layers > 0 ? n_layers - 1 : 0));
    if (strncmp(word, "blocks.", 7) == 0) {
        size_t digits = strcspn(word + 7, ".");

        if (word[7 + digits] == '.' && layer_at(word + 7, digits, &found.layer))
            for (int i = 0; i < HOOKS && !known; i++) {
                known = strcmp(word + 7 + digits + 1, hooks[i].hook) == 0;
                found.kind = hooks[i].kind;
            }
    } else if (strncmp(word, "layers.", 7) == 0) {
        known = layer_at(word + 7, strlen(word + 7), &found.layer);
    } else {
        known = layer_at(word, strlen(word), &found.layer);
    }
    if (!known)
        return unknown(word);
    if (found.layer >= n_layers)
        return SD_FAIL(SD_E_USAGE, "site '%s': layer %llu, but the model has %llu layers, counted from 0",
                       word, (unsigned long long)found.layer, (unsigned long long)n_layers);
    *site = found;
    return SD_OK;
}

const char *sd_site_name(sd_site site, char out[SD_SITE_NAME])
{
    if (site.kind == SD_SITE_EMBED)
        snprintf(out, SD_SITE_NAME, "hook_embed");
    else if (site.kind == SD_SITE_NORMALIZED)
        snprintf(out, SD_SITE_NAME, "ln_final.hook_normalized");
    else
        for (int i = 0; i < HOOKS; i++)
            if (hooks[i].kind == site.kind)
                snprintf(out, SD_SITE_NAME, "blocks.%llu.%s", (unsigned long long)site.layer, hooks[i].hook);
    return out;
}

int sd_site_compare(sd_site a, sd_site b)
{
    /* Embedding, blocks, final norm; inside blocks by layer, and in a layer by kind. */
    int part_a = a.kind == SD_SITE_EMBED ? 0 : a.kind == SD_SITE_NORMALIZED ? 2 : 1;
    int part_b = b.kind == SD_SITE_EMBED ? 0 : b.kind == SD_SITE_NORMALIZED ? 2 : 1;

    if (part_a != part_b || part_a != 1)
        return part_a - part_b;
    if (a.layer != b.layer)
        return a.layer < b.layer ? -1 : 1;
    return (int)a.kind - (int)b.kind;
}

/* Export in the format of SAELens v6, so that Python can load the SAE. The input scale is folded into the weights, so that the exported
 * SAE takes raw activations: h = (x − b_dec)·W_enc + b_enc. */
#include <cjson/cJSON.h>
#include <string.h>

#include "sae_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/safetensors.h"

static sd_status fetch_folded(sd_sae *sae, int which, float **out)
{
    sd_mat view = sae_param(sae, which, sae->w[which]);
    uint64_t count = view.rows * view.cols;
    double factor = which == W_ENC ? sae->input_scale : which == B_ENC ? 1 : 1 / sae->input_scale;
    float *rows = NULL;
    sd_status st;

    *out = NULL;
    SD_TRY(st, SD_NEW(&rows, count));
    SD_TRY(st, SD_NEW(out, count));
    SD_TRY(st, sd_dev_download_as(sae->dev, view, rows, SD_F32));
    for (uint64_t r = 0; r < view.rows; r++)
        for (uint64_t c = 0; c < view.cols; c++) {
            uint64_t to = which == W_ENC ? c * view.rows + r : r * view.cols + c; /* W_enc is [d, F] there */

            (*out)[to] = (float)((double)rows[r * view.cols + c] * factor);
        }
out:
    sd_free(rows);
    return st;
}

static sd_status write_config(const sd_sae *sae, const char *folder, const char *site, const char *model_name,
                              uint64_t context)
{
    cJSON *cfg = cJSON_CreateObject(), *metadata;
    char *text = NULL, *path = NULL;
    bool made = cfg != NULL;
    sd_status st;

    made = made && cJSON_AddStringToObject(cfg, "architecture", "topk") &&
           cJSON_AddNumberToObject(cfg, "d_in", (double)sae->spec.d_model) &&
           cJSON_AddNumberToObject(cfg, "d_sae", (double)sae->spec.n_latents) &&
           cJSON_AddNumberToObject(cfg, "k", (double)sae->spec.k) && cJSON_AddStringToObject(cfg, "dtype", "float32") &&
           cJSON_AddStringToObject(cfg, "device", "cpu") && cJSON_AddTrueToObject(cfg, "apply_b_dec_to_input") &&
           cJSON_AddStringToObject(cfg, "normalize_activations", "none") &&
           cJSON_AddStringToObject(cfg, "reshape_activations", "none") &&
           cJSON_AddFalseToObject(cfg, "rescale_acts_by_decoder_norm");
    metadata = made ? cJSON_AddObjectToObject(cfg, "metadata") : NULL;
    made = metadata != NULL && cJSON_AddStringToObject(metadata, "model_name", model_name) &&
           cJSON_AddStringToObject(metadata, "hook_name", site) &&
           cJSON_AddNumberToObject(metadata, "context_size", (double)context) &&
           cJSON_AddTrueToObject(metadata, "prepend_bos") &&
           cJSON_AddStringToObject(metadata, "made_by", "saediff " SAEDIFF_VERSION);
    text = made ? cJSON_Print(cfg) : NULL;
    if (text == NULL) {
        st = SD_FAIL(SD_E_ENV, "%s: out of memory for cfg.json", folder);
        goto out;
    }
    SD_TRY(st, sd_path_join(&path, folder, "cfg.json"));
    SD_TRY(st, sd_file_write(path, text, strlen(text)));
out:
    cJSON_Delete(cfg);
    cJSON_free(text);
    sd_free(path);
    return st;
}

sd_status sd_sae_export_saelens(sd_sae *sae, const char *folder, const char *site, const char *model_name, uint64_t context)
{
    uint64_t latents = sae->spec.n_latents, d = sae->spec.d_model;
    const sd_tensor tensors[SAE_PARAMS] = {
        [W_ENC] = {.name = "W_enc", .type = SD_F32, .dims = 2, .shape = {d, latents}},
        [B_ENC] = {.name = "b_enc", .type = SD_F32, .dims = 1, .shape = {latents}},
        [W_DEC] = {.name = "W_dec", .type = SD_F32, .dims = 2, .shape = {latents, d}},
        [B_DEC] = {.name = "b_dec", .type = SD_F32, .dims = 1, .shape = {d}},
    };
    float *data[SAE_PARAMS] = {NULL};
    char *path = NULL;
    sd_status st;

    SD_TRY(st, sd_file_make_dirs(folder));
    for (int i = 0; i < SAE_PARAMS; i++)
        SD_TRY(st, fetch_folded(sae, i, &data[i]));
    SD_TRY(st, sd_path_join(&path, folder, "sae_weights.safetensors"));
    SD_TRY(st, sd_safetensors_write(path, tensors, (const void *const *)data, SAE_PARAMS, NULL));
    SD_TRY(st, write_config(sae, folder, site, model_name, context));
out:
    for (int i = 0; i < SAE_PARAMS; i++)
        sd_free(data[i]);
    sd_free(path);
    return st;
}

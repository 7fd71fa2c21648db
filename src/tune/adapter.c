/* Adapters in the format of peft. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/store/safetensors.h"
#include "tune_private.h"

/* Every target matrix by its full name, which matches that one only. */
static cJSON *targets(const sd_tuner *t)
{
    cJSON *list = cJSON_CreateArray();
    bool whole = list != NULL;

    for (uint64_t i = 0; whole && i < t->n_trainable; i++) {
        char name[SD_TENSOR_NAME];

        if (t->trainable[i].part != SD_TRAINABLE_A)
            continue;
        memcpy(name, t->tensors[t->trainable[i].tensor].name, sizeof name);
        *strrchr(name, '.') = '\0'; /* ".weight" */
        whole = cJSON_AddItemToArray(list, cJSON_CreateString(name));
    }
    if (!whole)
        cJSON_Delete(list);
    return whole ? list : NULL;
}

static sd_status write_config(const sd_tuner *t, const char *path)
{
    cJSON *root = cJSON_CreateObject(), *names = targets(t);
    char *text = NULL;
    bool whole = names != NULL && cJSON_AddStringToObject(root, "peft_type", "LORA") &&
                 cJSON_AddStringToObject(root, "task_type", "CAUSAL_LM") &&
                 cJSON_AddNullToObject(root, "base_model_name_or_path") && cJSON_AddNumberToObject(root, "r", (double)t->spec.rank) &&
                 cJSON_AddNumberToObject(root, "lora_alpha", t->spec.alpha) && cJSON_AddNumberToObject(root, "lora_dropout", 0) &&
                 cJSON_AddStringToObject(root, "bias", "none") && cJSON_AddFalseToObject(root, "fan_in_fan_out") &&
                 cJSON_AddTrueToObject(root, "inference_mode");
    sd_status st;

    if (whole && cJSON_AddItemToObject(root, "target_modules", names)) {
        names = NULL;
        text = cJSON_Print(root);
    }
    st = text != NULL ? sd_file_write(path, text, strlen(text)) : SD_FAIL(SD_E_ENV, "no memory for the text of %s", path);
    cJSON_free(text);
    cJSON_Delete(names);
    cJSON_Delete(root);
    return st;
}

/* Factor i as f32; the model holds all factors on every rank. */
static sd_status fill(void *self, uint64_t i, void *out)
{
    const sd_tuner *t = self;
    const sd_trainable *l = &t->trainable[i];
    sd_real *host = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&host, l->count));
    SD_TRY(st, sd_backward_factor(t->backward, i, host));
    sd_convert(out, SD_F32, host, SD_REAL, l->count);
out:
    sd_free(host);
    return st;
}

sd_status sd_tuner_export_adapters(const sd_tuner *t, const char *dir)
{
    char *config = NULL, *weights = NULL, (*names)[TUNE_NAME] = NULL;
    sd_tensor *tensors = NULL;
    sd_status st;

    if (t->spec.rank == 0)
        return SD_FAIL(SD_E_INTERNAL, "export of adapters from a model tuned without adapters");
    SD_TRY(st, sd_path_join(&config, dir, "adapter_config.json"));
    SD_TRY(st, sd_path_join(&weights, dir, "adapter_model.safetensors"));
    SD_TRY(st, SD_NEW(&names, t->n_trainable));
    SD_TRY(st, SD_NEW(&tensors, t->n_trainable));
    for (uint64_t i = 0; i < t->n_trainable; i++) {
        tune_name(t, i, names[i]);
        tensors[i] = (sd_tensor){.name = names[i], .type = SD_F32, .dims = 2, .shape = {t->trainable[i].rows, t->trainable[i].cols}};
    }
    SD_TRY(st, sd_file_make_dirs(dir));
    SD_TRY(st, sd_safetensors_write_from(weights, tensors, (sd_tensor_source){fill, (void *)(uintptr_t)t}, t->n_trainable,
                                         "{\"format\":\"pt\"}"));
    st = write_config(t, config);
out:
    sd_free(tensors);
    sd_free(names);
    sd_free(weights);
    sd_free(config);
    return st;
}

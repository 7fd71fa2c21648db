/* Trainable parameters: which tensors are trained whole, which have adapters, and the initial values. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "tune_private.h"

typedef unsigned long long ull;

/* Whether `word` is one or more adjacent components of the tensor's name, which are separated by dots. */
static bool named(const char *tensor, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = tensor; at != NULL; at = strchr(at, '.') != NULL ? strchr(at, '.') + 1 : NULL)
        if (strncmp(at, word, n) == 0 && (at[n] == '.' || at[n] == '\0'))
            return true;
    return false;
}

static sd_status freeze(const sd_tune_spec *spec, const sd_model_tensor *tensors, uint64_t count, bool *frozen)
{
    for (uint64_t w = 0; w < spec->n_freeze; w++) {
        bool met = false;

        for (uint64_t i = 0; i < count; i++)
            if (named(tensors[i].name, spec->freeze[w]))
                frozen[i] = met = true;
        if (!met)
            return SD_FAIL(SD_E_USAGE,
                           "finetune.freeze: no tensor of the model is called '%s'; give parts of names such as 'model.layers.0' or "
                           "'embed_tokens'",
                           spec->freeze[w]);
    }
    return SD_OK;
}

static bool in_block(const sd_model_tensor *tensor)
{
    return tensor->rows > 0 && named(tensor->name, "model.layers");
}

/* The matrices that the target words match, frozen or not. */
static sd_status match_targets(const sd_tune_spec *spec, const sd_model_tensor *tensors, uint64_t count, bool *target)
{
    for (uint64_t i = 0; spec->n_targets == 0 && i < count; i++)
        target[i] = in_block(&tensors[i]);
    for (uint64_t w = 0; w < spec->n_targets; w++) {
        bool met = false;

        for (uint64_t i = 0; i < count; i++)
            if (in_block(&tensors[i]) && named(tensors[i].name, spec->targets[w]))
                target[i] = met = true;
        if (!met)
            return SD_FAIL(SD_E_USAGE,
                           "finetune.lora_targets: no matrix of the model's blocks is called '%s'; give parts of names such as 'q_proj', "
                           "'mlp' or 'layers.0'",
                           spec->targets[w]);
    }
    return SD_OK;
}

static sd_status decide(const sd_tune_spec *spec, const sd_model_tensor *tensors, uint64_t count, const bool *frozen, const bool *target,
                        sd_tune_size *size)
{
    for (uint64_t i = 0; i < count; i++) {
        const sd_model_tensor *t = &tensors[i];

        if (frozen[i])
            continue;
        if (spec->rank == 0) {
            size->how[i] = SD_TRAIN_WHOLE;
            size->trainable += t->count;
        } else if (target[i]) {
            uint64_t least = t->rows < t->cols ? t->rows : t->cols;

            if (spec->rank > least)
                return SD_FAIL(SD_E_USAGE, "finetune.lora_rank is %llu; '%s' is [%llu, %llu], whose adapter has a rank of at most %llu",
                               (ull)spec->rank,
                               t->name, (ull)t->rows, (ull)t->cols, (ull)least);
            size->how[i] = SD_TRAIN_FACTORS;
            size->trainable += spec->rank * (t->rows + t->cols);
            size->targets++;
        }
    }
    if (size->trainable == 0 && spec->rank > 0)
        return SD_FAIL(SD_E_USAGE, "finetune.freeze excludes every matrix of finetune.lora_targets; free at least one");
    return size->trainable > 0 ? SD_OK : SD_FAIL(SD_E_USAGE, "finetune.freeze excludes every tensor; leave at least one to train");
}

sd_status sd_tune_measure(const sd_model_config *config, const sd_tune_spec *spec, sd_tune_size *size)
{
    sd_tune_size s = {0};
    sd_model_tensor *tensors = NULL;
    bool *frozen = NULL, *target = NULL;
    uint64_t count = 0;
    sd_status st;

    *size = s;
    SD_TRY(st, sd_model_tensors(config, &tensors, &count));
    SD_TRY(st, SD_NEW(&s.how, count));
    SD_TRY(st, SD_NEW(&frozen, count));
    SD_TRY(st, SD_NEW(&target, count));
    SD_TRY(st, freeze(spec, tensors, count, frozen));
    if (spec->rank > 0)
        SD_TRY(st, match_targets(spec, tensors, count, target));
    SD_TRY(st, decide(spec, tensors, count, frozen, target, &s));
    *size = s;
    s.how = NULL;
out:
    sd_free(tensors);
    sd_free(frozen);
    sd_free(target);
    sd_free(s.how);
    return st;
}

void tune_name(const sd_tuner *t, uint64_t i, char name[TUNE_NAME])
{
    const sd_trainable *l = &t->trainable[i];
    const char *tensor = t->tensors[l->tensor].name, *end = strrchr(tensor, '.'); /* ".weight" */

    if (l->part == SD_TRAINABLE_TENSOR)
        snprintf(name, TUNE_NAME, "%s", tensor);
    else
        snprintf(name, TUNE_NAME, "base_model.model.%.*s.lora_%c.weight", (int)(end - tensor), tensor, l->part == SD_TRAINABLE_A ? 'A' : 'B');
}

sd_status tune_start(const sd_tuner *t, sd_real *trainable)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < t->n_trainable; i++) {
        const sd_trainable *l = &t->trainable[i];
        const sd_model_tensor *tensor = &t->tensors[l->tensor];
        sd_key key = sd_key_make(t->spec.seed, SD_STREAM_ADAPTERS, l->tensor);
        double bound = 1 / sqrt((double)tensor->cols);

        if (l->part == SD_TRAINABLE_TENSOR)
            SD_TRY(st, sd_model_weights_get(t->model, (sd_span){tensor->first, tensor->count}, trainable + l->first));
        for (uint64_t k = 0; l->part != SD_TRAINABLE_TENSOR && k < l->count; k++)
            trainable[l->first + k] = l->part == SD_TRAINABLE_A ? (sd_real)(bound * (2 * sd_random_uniform(key, k) - 1)) : 0;
    }
out:
    return st;
}

/* The SAE file: checkpoint and final SAE have one format. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sae_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/bundle.h"

static const char sae_format[] = "saediff.sae", sae_architecture[] = "topk";
enum { SAE_VERSION = 1, SAE_SETS = 3, SAE_NUMBERS = 9, SAE_REALS = 7 };

static const char *const set_prefix[SAE_SETS] = {"", "adam_m.", "adam_v."};

/* The numbers of a spec by name: save writes them, load compares them, open reads them. */
typedef struct spec_table {
    struct {
        const char *name;
        uint64_t *value;
    } number[SAE_NUMBERS];
    struct {
        const char *name;
        double *value;
    } real[SAE_REALS];
} spec_table;

static spec_table table_of(sd_sae_spec *s)
{
    return (spec_table){
        .number = {{"d_model", &s->d_model},
                   {"n_latents", &s->n_latents},
                   {"k", &s->k},
                   {"k_aux", &s->k_aux},
                   {"dead_tokens", &s->dead_tokens},
                   {"batch", &s->batch},
                   {"steps", &s->schedule.steps},
                   {"warmup_steps", &s->schedule.warmup},
                   {"decay_steps", &s->schedule.decay}},
        .real = {{"aux_coef", &s->aux_coef},
                 {"lr", &s->schedule.peak},
                 {"beta1", &s->adam.beta1},
                 {"beta2", &s->adam.beta2},
                 {"eps", &s->adam.eps},
                 {"weight_decay", &s->adam.decay},
                 {"clip", &s->adam.clip}},
    };
}

/* A parameter or a moment as f32 host numbers. */
static sd_status fetch(sd_sae *sae, const char *name, float **data)
{
    sd_mat view;
    sd_status st;

    *data = NULL;
    SD_TRY(st, sd_sae_array(sae, name, &view));
    SD_TRY(st, SD_NEW(data, view.rows * view.cols));
    SD_TRY(st, sd_dev_download_as(sae->dev, view, *data, SD_F32));
out:
    if (st != SD_OK) {
        sd_free(*data);
        *data = NULL;
    }
    return st;
}

static sd_array describe(const sd_sae *sae, int which, const char *name, const void *data)
{
    uint64_t latents = sae->spec.n_latents, d = sae->spec.d_model;
    sd_array a = {.name = name, .type = SD_F32, .dims = 1, .shape = {latents}, .data = data, .unit = "1"};

    if (which == W_ENC || which == W_DEC) {
        a.dims = 2;
        a.shape[1] = d;
    } else if (which == B_DEC) {
        a.shape[0] = d;
    }
    if (strchr(name, '.') != NULL)
        a.about = name[5] == 'm' ? "first moment of Adam" : "second moment of Adam";
    else
        a.about = which == W_ENC   ? "encoder, one row per latent, for inputs times input_scale"
                  : which == W_DEC ? "decoder, one row of length 1 per latent"
                  : which == B_ENC ? "encoder bias"
                                   : "decoder bias, also subtracted from the scaled input";
    return a;
}

sd_status sd_sae_save(sd_sae *sae, const char *path, const char *site, const char *model_sha256)
{
    sd_sae_spec spec = sae->spec;
    spec_table table = table_of(&spec);
    char names[SAE_SETS * SAE_PARAMS][16], seed[24];
    sd_array arrays[SAE_SETS * SAE_PARAMS + 2];
    float *data[SAE_SETS * SAE_PARAMS] = {NULL};
    uint64_t *since = NULL, *fires = NULL, count = 0, n_attrs = 0, latents = spec.n_latents;
    sd_attr attrs[SAE_NUMBERS + SAE_REALS + 8];
    sd_status st = SD_OK;

    for (int set = 0; set < (sae->trains ? SAE_SETS : 1); set++)
        for (int i = 0; i < SAE_PARAMS; i++, count++) {
            snprintf(names[count], sizeof names[count], "%s%s", set_prefix[set], sae_param_names[i]);
            SD_TRY(st, fetch(sae, names[count], &data[count]));
            arrays[count] = describe(sae, i, names[count], data[count]);
        }
    SD_TRY(st, SD_NEW(&since, latents));
    SD_TRY(st, SD_NEW(&fires, latents));
    SD_TRY(st, sd_dev_download(sae->dev, sd_mat_of(sae->since, 1, latents), since));
    SD_TRY(st, sd_dev_download(sae->dev, sd_mat_of(sae->fires, 1, latents), fires));
    arrays[count++] = (sd_array){"since", SD_U64, 1, {latents}, since, "tokens", "training tokens since the latent last fired"};
    arrays[count++] = (sd_array){"fires", SD_U64, 1, {latents}, fires, "tokens", "training tokens on which the latent fired"};

    for (int i = 0; i < SAE_NUMBERS; i++)
        attrs[n_attrs++] = (sd_attr){.name = table.number[i].name, .kind = SD_ATTR_U64, .u64 = *table.number[i].value};
    for (int i = 0; i < SAE_REALS; i++)
        attrs[n_attrs++] = (sd_attr){.name = table.real[i].name, .kind = SD_ATTR_F64, .f64 = *table.real[i].value};
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)spec.seed);
    attrs[n_attrs++] = (sd_attr){.name = "seed", .kind = SD_ATTR_TEXT, .text = seed};
    attrs[n_attrs++] = (sd_attr){.name = "step", .kind = SD_ATTR_U64, .u64 = sae->step};
    attrs[n_attrs++] = (sd_attr){.name = "input_scale", .kind = SD_ATTR_F64, .f64 = sae->input_scale};
    attrs[n_attrs++] = (sd_attr){.name = "architecture", .kind = SD_ATTR_TEXT, .text = sae_architecture};
    attrs[n_attrs++] = (sd_attr){.name = "site", .kind = SD_ATTR_TEXT, .text = site};
    attrs[n_attrs++] = (sd_attr){.name = "model_sha256", .kind = SD_ATTR_TEXT, .text = model_sha256};
    attrs[n_attrs++] = (sd_attr){.name = "has_moments", .kind = SD_ATTR_U64, .u64 = sae->trains};
    SD_TRY(st, sd_bundle_write(path, sae_format, SAE_VERSION, attrs, n_attrs, arrays, count));
out:
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        sd_free(data[i]);
    sd_free(since);
    sd_free(fires);
    return st;
}

static sd_status read_seed(sd_bundle *file, const char *path, uint64_t *seed)
{
    char *text = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_text(file, "seed", &text));
    if (!sd_str_to_u64(text, seed))
        st = SD_FAIL(SD_E_DATA, "%s: the attribute 'seed' is '%s', not a whole number", path, text);
out:
    sd_free(text);
    return st;
}

static sd_status read_spec(sd_bundle *file, const char *path, sd_sae_spec *spec)
{
    spec_table table = table_of(spec);
    char *architecture = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_text(file, "architecture", &architecture));
    if (strcmp(architecture, sae_architecture) != 0) {
        st = SD_FAIL(SD_E_DATA, "%s: the SAE's architecture is '%s'; this version reads '%s' only", path, architecture, sae_architecture);
        goto out;
    }
    for (int i = 0; i < SAE_NUMBERS; i++)
        SD_TRY(st, sd_bundle_u64(file, table.number[i].name, table.number[i].value));
    for (int i = 0; i < SAE_REALS; i++)
        SD_TRY(st, sd_bundle_f64(file, table.real[i].name, table.real[i].value));
    SD_TRY(st, read_seed(file, path, &spec->seed));
out:
    sd_free(architecture);
    return st;
}

static sd_status compare_specs(const char *path, sd_sae_spec *found, sd_sae_spec *wanted)
{
    spec_table a = table_of(found), b = table_of(wanted);

    for (int i = 0; i < SAE_NUMBERS; i++)
        if (*a.number[i].value != *b.number[i].value)
            return SD_FAIL(SD_E_DATA, "%s: %s is %llu in the file and %llu in this job; use --fresh to train anew", path,
                           a.number[i].name, (unsigned long long)*a.number[i].value,
                           (unsigned long long)*b.number[i].value);
    for (int i = 0; i < SAE_REALS; i++)
        if (*a.real[i].value < *b.real[i].value || *a.real[i].value > *b.real[i].value)
            return SD_FAIL(SD_E_DATA, "%s: %s is %.17g in the file and %.17g in this job; use --fresh to train anew", path,
                           a.real[i].name, *a.real[i].value, *b.real[i].value);
    if (found->seed != wanted->seed)
        return SD_FAIL(SD_E_DATA, "%s: the seed is %llu in the file and %llu in this job; use --fresh to train anew", path,
                       (unsigned long long)found->seed, (unsigned long long)wanted->seed);
    return SD_OK;
}

static sd_status read_arrays(sd_sae *sae, sd_bundle *file, const char *path)
{
    uint64_t latents = sae->spec.n_latents;
    sd_status st = SD_OK;

    for (int set = 0; set < (sae->trains ? SAE_SETS : 1); set++)
        for (int i = 0; i < SAE_PARAMS; i++) {
            char name[16];
            sd_array want;
            sd_mat view;
            void *data = NULL;

            snprintf(name, sizeof name, "%s%s", set_prefix[set], sae_param_names[i]);
            want = describe(sae, i, name, NULL);
            SD_TRY(st, sd_sae_array(sae, name, &view));
            SD_TRY(st, sd_bundle_read(file, name, SD_F32, want.dims, want.shape, &data));
            for (uint64_t j = 0; j < view.rows * view.cols && st == SD_OK; j++)
                if (!isfinite(((float *)data)[j]))
                    st = SD_FAIL(SD_E_DATA, "%s: '%s' holds %g at element %llu; an SAE must be finite", path, name,
                                 (double)((float *)data)[j], (unsigned long long)j);
            if (st == SD_OK)
                st = sd_dev_upload_as(sae->dev, data, SD_F32, view);
            sd_free(data);
            SD_TRY(st, st);
        }
    for (int i = 0; i < 2; i++) {
        void *data = NULL;
        uint64_t shape[1] = {latents};

        SD_TRY(st, sd_bundle_read(file, i == 0 ? "since" : "fires", SD_U64, 1, shape, &data));
        st = sd_dev_upload(sae->dev, data, sd_mat_of(i == 0 ? sae->since : sae->fires, 1, latents));
        sd_free(data);
        SD_TRY(st, st);
    }
    SD_TRY(st, sd_bundle_u64(file, "step", &sae->step));
    SD_TRY(st, sd_bundle_f64(file, "input_scale", &sae->input_scale));
    if (!(sae->input_scale > 0) || !isfinite(sae->input_scale))
        return SD_FAIL(SD_E_DATA, "%s: input_scale is %g; it must be a positive number", path, sae->input_scale);
    st = sd_dev_wait(sae->dev);
out:
    return st;
}

sd_status sd_sae_load(sd_sae *sae, const char *path)
{
    sd_sae_spec found = {0};
    sd_bundle *file = NULL;
    uint64_t has_moments;
    sd_status st;

    SD_TRY(st, sd_bundle_open(&file, path, sae_format, SAE_VERSION));
    SD_TRY(st, read_spec(file, path, &found));
    SD_TRY(st, compare_specs(path, &found, &sae->spec));
    SD_TRY(st, sd_bundle_u64(file, "has_moments", &has_moments));
    if (!has_moments && sae->trains) {
        st = SD_FAIL(SD_E_DATA, "%s: the file holds no optimiser state, so training cannot resume from it; use --fresh to train anew", path);
        goto out;
    }
    SD_TRY(st, read_arrays(sae, file, path));
out:
    sd_bundle_close(&file);
    return st;
}

sd_status sd_sae_open(sd_sae **sae, sd_dev *dev, const char *path, uint64_t batch)
{
    sd_sae_spec spec = {0};
    sd_bundle *file = NULL;
    sd_sae *s = NULL;
    sd_status st;

    *sae = NULL;
    SD_TRY(st, sd_bundle_open(&file, path, sae_format, SAE_VERSION));
    SD_TRY(st, read_spec(file, path, &spec));
    spec.batch = batch;
    st = sae_create(&s, dev, &spec, false);
    if (st != SD_OK) {
        st = sd_fail_in(st, path);
        goto out;
    }
    SD_TRY(st, read_arrays(s, file, path));
    *sae = s;
    s = NULL;
out:
    sd_sae_destroy(&s);
    sd_bundle_close(&file);
    return st;
}

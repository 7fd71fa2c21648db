#include <string.h>

#include "sae_private.h"
#include "saediff/core/mem.h"

const char *const sae_param_names[SAE_PARAMS] = {"W_enc", "b_enc", "W_dec", "b_dec"};

sd_mat sae_param(const sd_sae *sae, int which, sd_buf *buf)
{
    uint64_t latents = sae->spec.n_latents, d = sae->spec.d_model;

    switch (which) {
    case B_ENC:
        return sd_mat_of(buf, 1, latents);
    case B_DEC:
        return sd_mat_of(buf, 1, d);
    default:
        return sd_mat_of(buf, latents, d);
    }
}

static sd_status check_spec(const sd_sae_spec *s)
{
    if (s->d_model < 1 || s->n_latents < 1 || s->batch < 1)
        return SD_FAIL(SD_E_USAGE, "an SAE of %llu inputs, %llu latents and batches of %llu rows; each must be at least 1",
                       (unsigned long long)s->d_model, (unsigned long long)s->n_latents, (unsigned long long)s->batch);
    if (s->k < 1 || s->k > s->n_latents)
        return SD_FAIL(SD_E_USAGE, "sae.k is %llu; it must be 1 to sae.latents = %llu", (unsigned long long)s->k,
                       (unsigned long long)s->n_latents);
    if (s->n_latents > INT32_MAX)
        return SD_FAIL(SD_E_USAGE, "sae.latents is %llu; at most %d", (unsigned long long)s->n_latents, INT32_MAX);
    if (s->batch > UINT32_MAX / s->k || (s->k_aux && s->batch > UINT32_MAX / s->k_aux))
        return SD_FAIL(SD_E_USAGE, "train.batch %llu times %llu codes a row does not fit in 32 bits; take a smaller batch",
                       (unsigned long long)s->batch, (unsigned long long)(s->k > s->k_aux ? s->k : s->k_aux));
    return SD_OK;
}

static sd_status create_buffers(sd_sae *s)
{
    uint64_t latents = s->spec.n_latents, d = s->spec.d_model, n = s->spec.batch, k = s->spec.k;
    const struct {
        sd_buf **buf;
        sd_dtype type;
        uint64_t count;
        bool training;
    } plan[] = {
        {&s->w[W_ENC], SD_REAL, latents * d, false}, {&s->w[B_ENC], SD_REAL, latents, false},
        {&s->w[W_DEC], SD_REAL, latents * d, false}, {&s->w[B_DEC], SD_REAL, d, false},
        {&s->xs, SD_REAL, n * d, false},             {&s->y, SD_REAL, n * d, false},
        {&s->e, SD_REAL, n * d, false},              {&s->index, SD_I32, n * k, false},
        {&s->value, SD_REAL, n * k, false},          {&s->row_sse, SD_F64, n, false},
        {&s->scalar, SD_F64, 1, false},              {&s->mean, SD_REAL, d, false},
        {&s->since, SD_U64, latents, false},         {&s->fires, SD_U64, latents, false},
        {&s->g[W_ENC], SD_REAL, latents * d, true},  {&s->g[B_ENC], SD_REAL, latents, true},
        {&s->g[W_DEC], SD_REAL, latents * d, true},  {&s->g[B_DEC], SD_REAL, d, true},
        {&s->grad, SD_REAL, n * k, true},            {&s->begin, SD_U32, latents + 1, true},
        {&s->entry, SD_U32, n * k, true},
    };
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++)
        if (s->trains || !plan[i].training)
            SD_TRY(st, sd_buf_create(plan[i].buf, s->dev, plan[i].type, plan[i].count));
out:
    return st;
}

sd_status sae_create(sd_sae **sae, sd_dev *dev, const sd_sae_spec *spec, bool trains)
{
    sd_sae *s = NULL;
    sd_param params[SAE_PARAMS];
    sd_status st;

    *sae = NULL;
    SD_TRY(st, check_spec(spec));
    SD_TRY(st, SD_NEW(&s, 1));
    s->dev = dev;
    s->spec = *spec;
    s->trains = trains;
    s->input_scale = 1;
    SD_TRY(st, create_buffers(s));
    if (trains) {
        SD_TRY(st, SD_NEW(&s->since_host, spec->n_latents));
        SD_TRY(st, SD_NEW(&s->dead_host, spec->n_latents));
        for (int i = 0; i < SAE_PARAMS; i++)
            params[i] = (sd_param){.name = sae_param_names[i],
                                   .w = sae_param(s, i, s->w[i]),
                                   .g = sae_param(s, i, s->g[i]),
                                   .unit_rows = i == W_DEC};
        SD_TRY(st, sd_adam_create(&s->adam, dev, &spec->adam, params, SAE_PARAMS));
    }
    *sae = s;
    s = NULL;
out:
    sd_sae_destroy(&s);
    return st;
}

sd_status sd_sae_create(sd_sae **sae, sd_dev *dev, const sd_sae_spec *spec)
{
    return sae_create(sae, dev, spec, true);
}

void sd_sae_destroy(sd_sae **sae)
{
    sd_sae *s = *sae;

    if (s == NULL)
        return;
    sd_adam_destroy(&s->adam);
    for (int i = 0; i < SAE_PARAMS; i++) {
        sd_buf_destroy(&s->w[i]);
        sd_buf_destroy(&s->g[i]);
    }
    {
        sd_buf **rest[] = {&s->since, &s->fires, &s->xs,    &s->y,     &s->e,      &s->index, &s->value,
                           &s->grad,  &s->begin, &s->entry, &s->row_sse, &s->scalar, &s->mean};

        for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
            sd_buf_destroy(rest[i]);
    }
    sae_aux_free(&s->aux);
    sd_free(s->since_host);
    sd_free(s->dead_host);
    sd_free(s);
    *sae = NULL;
}

const sd_sae_spec *sd_sae_spec_of(const sd_sae *sae)
{
    return &sae->spec;
}

double sd_sae_input_scale(const sd_sae *sae)
{
    return sae->input_scale;
}

uint64_t sd_sae_step_count(const sd_sae *sae)
{
    return sae->step;
}

sd_status sd_sae_array(sd_sae *sae, const char *name, sd_mat *array)
{
    uint64_t n = sae->spec.batch, k = sae->spec.k, latents = sae->spec.n_latents;
    const char *dot = strchr(name, '.');

    for (int i = 0; i < SAE_PARAMS; i++) {
        if (strcmp(dot ? dot + 1 : name, sae_param_names[i]) != 0)
            continue;
        if (dot == NULL) {
            *array = sae_param(sae, i, sae->w[i]);
            return SD_OK;
        }
        if (!sae->trains)
            break;
        if (strncmp(name, "grad.", 5) == 0)
            *array = sae_param(sae, i, sae->g[i]);
        else if (strncmp(name, "adam_m.", 7) == 0)
            *array = sae->adam->params[i].m;
        else if (strncmp(name, "adam_v.", 7) == 0)
            *array = sae->adam->params[i].v;
        else
            break;
        return SD_OK;
    }
    if (strcmp(name, "since") == 0)
        *array = sd_mat_of(sae->since, 1, latents);
    else if (strcmp(name, "fires") == 0)
        *array = sd_mat_of(sae->fires, 1, latents);
    else if (strcmp(name, "index") == 0)
        *array = sd_mat_of(sae->index, n, k);
    else if (strcmp(name, "value") == 0)
        *array = sd_mat_of(sae->value, n, k);
    else
        return SD_FAIL(SD_E_INTERNAL, "this SAE has no array '%s'", name);
    return SD_OK;
}

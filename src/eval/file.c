/* Files of the fidelity of an SAE, and of the divergence of two models. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/eval/eval.h"
#include "saediff/store/bundle.h"

static const char FORMAT[] = "saediff.eval", MODELS_FORMAT[] = "saediff.models";

enum { VERSION = 1, EVAL_ARRAYS = SD_EVAL_WIDTH + 3, MODELS_ARRAYS = 7 };

static const struct {
    const char *name, *unit, *about;
} columns[SD_EVAL_WIDTH] = {
#define ROW(name, unit, about) {#name, unit, about},
    SD_EVAL_COLUMNS(ROW)
#undef ROW
};

sd_status sd_eval_create(sd_eval **eval, uint64_t docs, uint64_t sources, uint64_t latents)
{
    sd_eval *e = NULL;
    uint64_t cells;
    sd_status st;

    *eval = NULL;
    SD_TRY(st, SD_NEW(&e, 1));
    *e = (sd_eval){.docs = docs, .sources = sources, .latents = latents};
    SD_TRY(st, sd_mul_u64(sources, latents, &cells, "latent counts per data entry"));
    SD_TRY(st, SD_NEW(&e->doc_source, docs));
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        SD_TRY(st, SD_NEW(&e->column[c], docs));
    SD_TRY(st, SD_NEW(&e->fires, cells));
    SD_TRY(st, SD_NEW(&e->strength, cells));
    *eval = e;
    e = NULL;
out:
    sd_eval_destroy(&e);
    return st;
}

void sd_eval_destroy(sd_eval **eval)
{
    sd_eval *e = *eval;

    *eval = NULL;
    if (e == NULL)
        return;
    sd_free(e->model);
    sd_free(e->site);
    sd_free(e->sae);
    sd_free(e->no_passes);
    sd_free(e->doc_source);
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        sd_free(e->column[c]);
    sd_free(e->fires);
    sd_free(e->strength);
    sd_free(e);
}

static sd_attr text(const char *name, const char *value)
{
    return (sd_attr){.name = name, .kind = SD_ATTR_TEXT, .text = value};
}

static sd_attr number(const char *name, double value)
{
    return (sd_attr){.name = name, .kind = SD_ATTR_F64, .f64 = value};
}

static sd_attr whole(const char *name, uint64_t value)
{
    return (sd_attr){.name = name, .kind = SD_ATTR_U64, .u64 = value};
}

sd_status sd_eval_write(const sd_eval *e, const char *path)
{
    const sd_attr attrs[] = {text("model", e->model),
                             text("site", e->site),
                             text("sae", e->sae),
                             text("no_passes", e->no_passes),
                             whole("count_bos", e->count_bos),
                             whole("docs", e->docs),
                             whole("sources", e->sources),
                             whole("latents", e->latents),
                             whole("k", e->k),
                             whole("d_model", e->d_model),
                             number("redundancy", e->redundancy),
                             number("max_cosine", e->max_cosine),
                             number("compat_absorption", e->compat_absorption)};
    sd_array arrays[EVAL_ARRAYS];

    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        arrays[c] = (sd_array){.name = columns[c].name, .type = SD_F64, .dims = 1, .shape = {e->docs}, .data = e->column[c],
                               .unit = columns[c].unit, .about = columns[c].about};
    arrays[SD_EVAL_WIDTH] = (sd_array){.name = "doc_source", .type = SD_U32, .dims = 1, .shape = {e->docs}, .data = e->doc_source,
                                       .unit = "1", .about = "data entry of each document"};
    arrays[SD_EVAL_WIDTH + 1] = (sd_array){.name = "fires", .type = SD_U64, .dims = 2, .shape = {e->sources, e->latents},
                                           .data = e->fires, .unit = "tokens",
                                           .about = "evaluated tokens of each data entry on which the latent is active"};
    arrays[SD_EVAL_WIDTH + 2] = (sd_array){.name = "strength", .type = SD_F64, .dims = 2, .shape = {e->sources, e->latents},
                                           .data = e->strength, .unit = "activation units",
                                           .about = "sum of the latent's activations, each rounded to 2^-16"};
    return sd_bundle_write(path, FORMAT, VERSION, attrs, sizeof attrs / sizeof *attrs, arrays, EVAL_ARRAYS);
}

/* Reads an array of exactly `shape` into `into`. */
static sd_status read_into(sd_bundle *bundle, const char *name, sd_dtype type, int dims, const uint64_t *want, void *into)
{
    uint64_t shape[SD_ARRAY_DIMS] = {0}, count = 1;
    void *data = NULL;
    sd_status st;

    for (int i = 0; i < dims; i++)
        shape[i] = want[i];
    SD_TRY(st, sd_bundle_read(bundle, name, type, dims, shape, &data));
    for (int i = 0; i < dims; i++) {
        if (shape[i] != want[i]) {
            st = SD_FAIL(SD_E_DATA, "'%s' has %llu entries, not %llu", name, (unsigned long long)shape[i],
                         (unsigned long long)want[i]);
            goto out;
        }
        count *= shape[i];
    }
    memcpy(into, data, count * sd_dtype_size(type));
out:
    sd_free(data);
    return st;
}

static sd_status check_sources(const char *path, const uint32_t *source, uint64_t docs, uint64_t sources)
{
    for (uint64_t d = 0; d < docs; d++)
        if (source[d] >= sources)
            return SD_FAIL(SD_E_DATA, "%s: document %llu belongs to data entry %u, but there are %llu", path, (unsigned long long)d,
                           source[d], (unsigned long long)sources);
    return SD_OK;
}

sd_status sd_eval_read(sd_eval **eval, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_eval *e = NULL;
    uint64_t docs, sources, latents, bos, cells[2];
    sd_status st;

    *eval = NULL;
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    SD_TRY(st, sd_bundle_u64(bundle, "docs", &docs));
    SD_TRY(st, sd_bundle_u64(bundle, "sources", &sources));
    SD_TRY(st, sd_bundle_u64(bundle, "latents", &latents));
    SD_TRY(st, sd_eval_create(&e, docs, sources, latents));
    SD_TRY(st, sd_bundle_text(bundle, "model", &e->model));
    SD_TRY(st, sd_bundle_text(bundle, "site", &e->site));
    SD_TRY(st, sd_bundle_text(bundle, "sae", &e->sae));
    SD_TRY(st, sd_bundle_text(bundle, "no_passes", &e->no_passes));
    SD_TRY(st, sd_bundle_u64(bundle, "count_bos", &bos));
    SD_TRY(st, sd_bundle_u64(bundle, "k", &e->k));
    SD_TRY(st, sd_bundle_u64(bundle, "d_model", &e->d_model));
    SD_TRY(st, sd_bundle_f64(bundle, "redundancy", &e->redundancy));
    SD_TRY(st, sd_bundle_f64(bundle, "max_cosine", &e->max_cosine));
    SD_TRY(st, sd_bundle_f64(bundle, "compat_absorption", &e->compat_absorption));
    e->count_bos = bos != 0;
    cells[0] = sources;
    cells[1] = latents;
    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        SD_TRY(st, read_into(bundle, columns[c].name, SD_F64, 1, &docs, e->column[c]));
    SD_TRY(st, read_into(bundle, "doc_source", SD_U32, 1, &docs, e->doc_source));
    SD_TRY(st, read_into(bundle, "fires", SD_U64, 2, cells, e->fires));
    SD_TRY(st, read_into(bundle, "strength", SD_F64, 2, cells, e->strength));
    SD_TRY(st, check_sources(path, e->doc_source, docs, sources));
    *eval = e;
    e = NULL;
out:
    sd_bundle_close(&bundle);
    sd_eval_destroy(&e);
    return st;
}

/* ---- two models */

sd_status sd_models_eval_create(sd_models_eval **eval, uint64_t docs, uint64_t sources, uint64_t layers)
{
    sd_models_eval *e = NULL;
    uint64_t cells;
    sd_status st;

    *eval = NULL;
    SD_TRY(st, SD_NEW(&e, 1));
    *e = (sd_models_eval){.docs = docs, .sources = sources, .layers = layers};
    SD_TRY(st, sd_mul_u64(layers, docs, &cells, "layers of all documents"));
    SD_TRY(st, SD_NEW(&e->doc_source, docs));
    SD_TRY(st, SD_NEW(&e->tokens, docs));
    SD_TRY(st, SD_NEW(&e->kl_base_tuned, docs));
    SD_TRY(st, SD_NEW(&e->kl_tuned_base, docs));
    SD_TRY(st, SD_NEW(&e->agree, docs));
    SD_TRY(st, SD_NEW(&e->cosine, cells));
    SD_TRY(st, SD_NEW(&e->relative_l2, cells));
    *eval = e;
    e = NULL;
out:
    sd_models_eval_destroy(&e);
    return st;
}

void sd_models_eval_destroy(sd_models_eval **eval)
{
    sd_models_eval *e = *eval;

    *eval = NULL;
    if (e == NULL)
        return;
    sd_free(e->doc_source);
    sd_free(e->tokens);
    sd_free(e->kl_base_tuned);
    sd_free(e->kl_tuned_base);
    sd_free(e->agree);
    sd_free(e->cosine);
    sd_free(e->relative_l2);
    sd_free(e);
}

static void models_arrays(const sd_models_eval *e, sd_array out[MODELS_ARRAYS])
{
    const sd_array arrays[MODELS_ARRAYS] = {
        {"doc_source", SD_U32, 1, {e->docs}, e->doc_source, "1", "data entry of each document"},
        {"tokens", SD_F64, 1, {e->docs}, e->tokens, "tokens", "evaluated positions"},
        {"kl_base_tuned", SD_F64, 1, {e->docs}, e->kl_base_tuned, "nats", "sum of KL(P_base | P_tuned)"},
        {"kl_tuned_base", SD_F64, 1, {e->docs}, e->kl_tuned_base, "nats", "sum of KL(P_tuned | P_base)"},
        {"agree", SD_F64, 1, {e->docs}, e->agree, "tokens", "positions with the same most likely token"},
        {"cosine", SD_F64, 2, {e->layers, e->docs}, e->cosine, "1", "sum of cos(base, tuned) of each layer's resid_post"},
        {"relative_l2", SD_F64, 2, {e->layers, e->docs}, e->relative_l2, "1",
         "sum of |tuned - base| / |base| of each layer's resid_post"},
    };

    memcpy(out, arrays, sizeof arrays);
}

sd_status sd_models_eval_write(const sd_models_eval *e, const char *path)
{
    const sd_attr attrs[] = {whole("docs", e->docs), whole("sources", e->sources), whole("layers", e->layers),
                             whole("all_positions", e->all_positions)};
    sd_array arrays[MODELS_ARRAYS];

    models_arrays(e, arrays);
    return sd_bundle_write(path, MODELS_FORMAT, VERSION, attrs, sizeof attrs / sizeof *attrs, arrays, MODELS_ARRAYS);
}

sd_status sd_models_eval_read(sd_models_eval **eval, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_models_eval *e = NULL;
    uint64_t docs, sources, layers, all;
    sd_array arrays[MODELS_ARRAYS];
    sd_status st;

    *eval = NULL;
    SD_TRY(st, sd_bundle_open(&bundle, path, MODELS_FORMAT, VERSION));
    SD_TRY(st, sd_bundle_u64(bundle, "docs", &docs));
    SD_TRY(st, sd_bundle_u64(bundle, "sources", &sources));
    SD_TRY(st, sd_bundle_u64(bundle, "layers", &layers));
    SD_TRY(st, sd_bundle_u64(bundle, "all_positions", &all));
    SD_TRY(st, sd_models_eval_create(&e, docs, sources, layers));
    e->all_positions = all != 0;
    models_arrays(e, arrays);
    {
        void *const into[MODELS_ARRAYS] = {e->doc_source, e->tokens, e->kl_base_tuned, e->kl_tuned_base,
                                           e->agree,      e->cosine, e->relative_l2};

        for (int i = 0; i < MODELS_ARRAYS; i++)
            SD_TRY(st, read_into(bundle, arrays[i].name, arrays[i].type, arrays[i].dims, arrays[i].shape, into[i]));
    }
    SD_TRY(st, check_sources(path, e->doc_source, docs, sources));
    *eval = e;
    e = NULL;
out:
    sd_bundle_close(&bundle);
    sd_models_eval_destroy(&e);
    return st;
}

/* Measures with intervals, from the sums per document. */
#include <math.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/eval/eval.h"
#include "saediff/stat/infer.h"
#include "saediff/stat/stat.h"

static const struct {
    const char *id, *unit, *about;
} words[SD_EVAL_IDS] = {
#define ROW(name, unit, about) {#name, unit, about},
    SD_EVAL_MEASURES(ROW)
#undef ROW
};

/* A subset of the documents, as consecutive rows of a table. */
typedef struct rows {
    uint64_t n, columns;
    uint64_t *document; /* [n] */
    double *cells;      /* [columns, n] */
    const double **column;
} rows;

static void rows_free(rows *r)
{
    sd_free(r->document);
    sd_free(r->cells);
    sd_free(r->column);
    *r = (rows){0};
}

static sd_status rows_of(rows *r, const double *const *column, uint64_t columns, const uint32_t *doc_source, uint64_t docs,
                         int64_t source)
{
    sd_status st;

    *r = (rows){.columns = columns};
    for (uint64_t d = 0; d < docs; d++)
        r->n += source == SD_EVAL_ALL || doc_source[d] == (uint64_t)source;
    SD_TRY(st, SD_NEW(&r->document, r->n));
    SD_TRY(st, SD_NEW(&r->cells, columns * r->n));
    SD_TRY(st, SD_NEW(&r->column, columns));
    for (uint64_t d = 0, at = 0; d < docs; d++) {
        if (source != SD_EVAL_ALL && doc_source[d] != (uint64_t)source)
            continue;
        r->document[at] = d;
        for (uint64_t c = 0; c < columns; c++)
            r->cells[c * r->n + at] = column[c][d];
        at++;
    }
    for (uint64_t c = 0; c < columns; c++)
        r->column[c] = r->cells + c * r->n;
out:
    return st;
}

static double sum_of(const rows *r, uint64_t column)
{
    double sum = 0;

    for (uint64_t i = 0; i < r->n; i++)
        sum += r->column[column][i];
    return sum;
}

/* Number of documents with a non-zero `column`. */
static uint64_t documents_of(const rows *r, uint64_t column)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < r->n; i++)
        n += r->column[column][i] > 0;
    return n;
}

static double clamp_percent(double share)
{
    double percent = 100 * share;

    return percent < 0 ? 0 : percent > 100 ? 100 : percent; /* NaN stays NaN */
}

/* All measures that are functions of the sums S; others are unchanged. */
static void derive(const sd_eval *e, int64_t source, const double S[SD_EVAL_WIDTH], double out[SD_EVAL_IDS])
{
    double n = S[SD_EVAL_tokens], p = S[SD_EVAL_predictions];
    bool all = source == SD_EVAL_ALL;

    out[SD_EVAL_ID_explained_variance] =
        sd_explained_variance(S[SD_EVAL_sse], S[all ? SD_EVAL_spread : SD_EVAL_spread_source]);
    out[SD_EVAL_ID_mse_per_token] = S[SD_EVAL_sse] / n;
    out[SD_EVAL_ID_mse_per_component] = S[SD_EVAL_sse] / (n * (double)e->d_model);
    out[SD_EVAL_ID_cosine] = S[SD_EVAL_cosine] / n;
    out[SD_EVAL_ID_l2_ratio] = S[SD_EVAL_ratio] / n;
    out[SD_EVAL_ID_relative_bias] = S[SD_EVAL_y2] / S[SD_EVAL_xy];
    out[SD_EVAL_ID_l0] = S[SD_EVAL_l0] / n;
    out[SD_EVAL_ID_l1] = S[SD_EVAL_l1] / n;
    out[SD_EVAL_ID_ce_clean] = S[SD_EVAL_ce_clean] / p;
    out[SD_EVAL_ID_ce_sae] = S[SD_EVAL_ce_sae] / p;
    out[SD_EVAL_ID_ce_zero] = S[SD_EVAL_ce_zero] / p;
    out[SD_EVAL_ID_ce_mean] = S[SD_EVAL_ce_mean] / p;
    out[SD_EVAL_ID_ce_recovered_zero] = (S[SD_EVAL_ce_zero] - S[SD_EVAL_ce_sae]) / (S[SD_EVAL_ce_zero] - S[SD_EVAL_ce_clean]);
    out[SD_EVAL_ID_ce_recovered_mean] = (S[SD_EVAL_ce_mean] - S[SD_EVAL_ce_sae]) / (S[SD_EVAL_ce_mean] - S[SD_EVAL_ce_clean]);
    out[SD_EVAL_ID_kl_sae] = S[SD_EVAL_kl_sae] / p;
    out[SD_EVAL_ID_kl_zero] = S[SD_EVAL_kl_zero] / p;
    out[SD_EVAL_ID_kl_mean] = S[SD_EVAL_kl_mean] / p;
    out[SD_EVAL_ID_kl_recovered_zero] = (S[SD_EVAL_kl_zero] - S[SD_EVAL_kl_sae]) / S[SD_EVAL_kl_zero];
    out[SD_EVAL_ID_kl_recovered_mean] = (S[SD_EVAL_kl_mean] - S[SD_EVAL_kl_sae]) / S[SD_EVAL_kl_mean];
    out[SD_EVAL_ID_compat_l0] = S[SD_EVAL_all_l0_before] / S[SD_EVAL_all_tokens];
    out[SD_EVAL_ID_compat_loss_recovered] = clamp_percent(
        sd_explained_variance(S[SD_EVAL_all_sse], S[all ? SD_EVAL_all_spread : SD_EVAL_all_spread_source]));
}

/* Counts of a latent on the documents of `source`, or on all. */
static uint64_t fires_of(const sd_eval *e, int64_t source, uint64_t latent, double *strength)
{
    uint64_t fires = 0;

    *strength = 0;
    for (uint64_t s = 0; s < e->sources; s++)
        if (source == SD_EVAL_ALL || s == (uint64_t)source) {
            fires += e->fires[s * e->latents + latent];
            *strength += e->strength[s * e->latents + latent];
        }
    return fires;
}

typedef struct range {
    double low, high;
} range;

/* Measures from counts of latents and from weights. */
static void set_latents(const sd_eval *e, int64_t source, double tokens, double level, double out[SD_EVAL_IDS], range *dead_range,
                        range *always_range)
{
    uint64_t dead = 0, always = 0, compat = 0, once = 0, twice = 0, surely = 0, perhaps = 0;
    double waking, most, z = sd_normal_quantile(level);
    double latents = (double)e->latents, nothing = tokens > 0 ? 0 : (double)NAN;

    for (uint64_t i = 0; i < e->latents; i++) {
        double strength, low, high;
        uint64_t fires = fires_of(e, source, i, &strength);

        dead += fires == 0;
        once += fires == 1;
        twice += fires == 2;
        always += (double)fires > 0.8 * tokens;
        sd_wilson(fires, (uint64_t)tokens, z, &low, &high);
        surely += low > 0.8;
        perhaps += high > 0.8;
        compat += fires < 5 || strength / (double)fires < 0.1;
    }
    sd_unseen(once, twice, z, &waking, &most);
    *dead_range = (range){((double)dead - fmin(most, (double)dead)) / latents + nothing, (double)dead / latents + nothing};
    *always_range = (range){(double)surely / latents + nothing, (double)perhaps / latents + nothing};
    out[SD_EVAL_ID_dead] = (double)dead / latents + nothing;
    out[SD_EVAL_ID_always_on] = (double)always / latents + nothing;
    out[SD_EVAL_ID_compat_dead] = 100 * (double)compat / latents + nothing;
    out[SD_EVAL_ID_dead_bound] = sd_rule_of_three((uint64_t)tokens);
    out[SD_EVAL_ID_decoder_redundancy] = e->redundancy;
    out[SD_EVAL_ID_decoder_max_cosine] = e->max_cosine;
    out[SD_EVAL_ID_compat_absorption] = e->compat_absorption;
}

typedef enum basis { TOKENS, ALL_TOKENS, PREDICTIONS, LATENTS, WEIGHTS } basis;

static basis basis_of(int id)
{
    switch (id) {
    case SD_EVAL_ID_dead:
    case SD_EVAL_ID_dead_bound:
    case SD_EVAL_ID_always_on:
    case SD_EVAL_ID_compat_dead:
        return LATENTS;
    case SD_EVAL_ID_decoder_redundancy:
    case SD_EVAL_ID_decoder_max_cosine:
    case SD_EVAL_ID_compat_absorption:
        return WEIGHTS;
    case SD_EVAL_ID_compat_loss_recovered:
    case SD_EVAL_ID_compat_l0:
        return ALL_TOKENS;
    default:
        return id >= SD_EVAL_ID_ce_clean && id <= SD_EVAL_ID_kl_recovered_mean ? PREDICTIONS : TOKENS;
    }
}

/* Sums of the non-empty resamples; *left is their number. */
static sd_status resample(const rows *r, const sd_bootstrap *spec, double **sums, uint64_t *left)
{
    uint64_t *drawn = NULL;
    sd_status st;

    *left = 0;
    SD_TRY(st, SD_NEW(sums, spec->resamples * r->columns));
    SD_TRY(st, SD_NEW(&drawn, spec->resamples));
    sd_bootstrap_sums(spec, r->column, r->columns, r->document, r->n, *sums, drawn);
    for (uint64_t b = 0; b < spec->resamples; b++)
        if (drawn[b] > 0)
            memmove(*sums + r->columns * (*left)++, *sums + r->columns * b, r->columns * sizeof **sums);
out:
    sd_free(drawn);
    return st;
}

static sd_status check_source(int64_t source, uint64_t sources)
{
    if (source == SD_EVAL_ALL || (source >= 0 && (uint64_t)source < sources))
        return SD_OK;
    return SD_FAIL(SD_E_INTERNAL, "measures of data entry %lld requested, but there are %llu", (long long)source,
                   (unsigned long long)sources);
}

sd_status sd_eval_summary(const sd_eval *e, int64_t source, const sd_bootstrap *bootstrap, sd_measure out[SD_EVAL_IDS])
{
    const uint64_t count_column[] = {SD_EVAL_tokens, SD_EVAL_all_tokens, SD_EVAL_predictions, SD_EVAL_tokens};
    double S[SD_EVAL_WIDTH], value[SD_EVAL_IDS], *sums = NULL, *draws = NULL;
    uint64_t left = 0;
    range dead, always;
    rows r = {0};
    sd_status st;

    SD_TRY(st, check_source(source, e->sources));
    SD_TRY(st, rows_of(&r, (const double *const *)e->column, SD_EVAL_WIDTH, e->doc_source, e->docs, source));
    for (uint64_t c = 0; c < SD_EVAL_WIDTH; c++)
        S[c] = sum_of(&r, c);
    derive(e, source, S, value);
    set_latents(e, source, S[SD_EVAL_tokens], bootstrap->level, value, &dead, &always);
    SD_TRY(st, resample(&r, bootstrap, &sums, &left));
    SD_TRY(st, SD_NEW(&draws, SD_EVAL_IDS * left));
    for (uint64_t b = 0; b < left; b++) {
        double drawn[SD_EVAL_IDS] = {0};

        derive(e, source, sums + b * SD_EVAL_WIDTH, drawn);
        for (uint64_t i = 0; i < SD_EVAL_IDS; i++)
            draws[i * left + b] = drawn[i];
    }
    for (int i = 0; i < SD_EVAL_IDS; i++) {
        basis on = basis_of(i);
        sd_measure *m = &out[i];

        *m = (sd_measure){.id = words[i].id, .unit = words[i].unit, .about = words[i].about, .value = value[i],
                          .low = (double)NAN, .high = (double)NAN};
        if (on == WEIGHTS) {
            m->low = m->high = m->value;
            continue;
        }
        m->n_documents = documents_of(&r, count_column[on]);
        m->n_tokens = (uint64_t)S[count_column[on]];
        if (i == SD_EVAL_ID_dead || i == SD_EVAL_ID_always_on) {
            m->low = i == SD_EVAL_ID_dead ? dead.low : always.low;
            m->high = i == SD_EVAL_ID_dead ? dead.high : always.high;
        } else if (on != LATENTS && m->n_documents >= 2)
            sd_percentiles(draws + (uint64_t)i * left, left, bootstrap->level, &m->low, &m->high);
    }
out:
    rows_free(&r);
    sd_free(sums);
    sd_free(draws);
    return st;
}

void sd_eval_density(const sd_eval *e, int64_t source, uint64_t bins[SD_DENSITY_BINS], uint64_t *never)
{
    double tokens = 0;

    for (uint64_t d = 0; d < e->docs; d++)
        if (source == SD_EVAL_ALL || e->doc_source[d] == (uint64_t)source)
            tokens += e->column[SD_EVAL_tokens][d];
    memset(bins, 0, SD_DENSITY_BINS * sizeof *bins);
    *never = 0;
    for (uint64_t i = 0; i < e->latents; i++) {
        double strength;
        int bin = sd_density_bin(fires_of(e, source, i, &strength), (uint64_t)tokens);

        if (bin < 0)
            ++*never;
        else
            bins[bin]++;
    }
}

/* ---- two models */

sd_status sd_models_eval_summary(const sd_models_eval *e, int64_t source, const sd_bootstrap *bootstrap, sd_measure *out)
{
    uint64_t width = 1 + SD_MODELS_FIXED + 2 * e->layers, left = 0;
    const double **column = NULL;
    double *sums = NULL, *draws = NULL;
    rows r = {0};
    sd_status st;

    SD_TRY(st, check_source(source, e->sources));
    SD_TRY(st, SD_NEW(&column, width));
    column[0] = e->tokens;
    column[1] = e->kl_base_tuned;
    column[2] = e->kl_tuned_base;
    column[3] = e->agree;
    for (uint64_t l = 0; l < e->layers; l++) {
        column[4 + l] = e->cosine + l * e->docs;
        column[4 + e->layers + l] = e->relative_l2 + l * e->docs;
    }
    SD_TRY(st, rows_of(&r, column, width, e->doc_source, e->docs, source));
    SD_TRY(st, resample(&r, bootstrap, &sums, &left));
    SD_TRY(st, SD_NEW(&draws, left));
    for (uint64_t i = 1; i < width; i++) {
        bool cosine = i >= 4 && i < 4 + e->layers;
        sd_measure *m = &out[i - 1];

        *m = (sd_measure){.id = i == 1 ? "kl_base_tuned" : i == 2 ? "kl_tuned_base" : i == 3 ? "top1_agreement"
                                : cosine ? "cosine" : "relative_l2",
                          .unit = i <= 2 ? "nats" : "1",
                          .about = i == 1   ? "mean of KL(P_base | P_tuned)"
                                   : i == 2 ? "mean of KL(P_tuned | P_base)"
                                   : i == 3 ? "top-1 agreement: fraction of positions with the same most likely token"
                                   : cosine ? "mean cosine of both models' resid_post"
                                            : "mean of |tuned - base| / |base| of resid_post",
                          .value = sum_of(&r, i) / sum_of(&r, 0),
                          .low = (double)NAN,
                          .high = (double)NAN,
                          .n_documents = documents_of(&r, 0),
                          .n_tokens = (uint64_t)sum_of(&r, 0)};
        for (uint64_t b = 0; b < left; b++)
            draws[b] = sums[b * width + i] / sums[b * width];
        if (m->n_documents >= 2)
            sd_percentiles(draws, left, bootstrap->level, &m->low, &m->high);
    }
out:
    rows_free(&r);
    sd_free(column);
    sd_free(sums);
    sd_free(draws);
    return st;
}

/* The file of a comparison, "saediff.diff" version 5. */
#include "columns.h"
#include "saediff/core/mem.h"
#include "saediff/diff/diff.h"
#include "saediff/store/bundle.h"

static const char FORMAT[] = "saediff.diff";

enum { VERSION = 5, SCALARS = 39, ATTRS = SCALARS + 2 };

/* Where a number of the file lives in a sd_diff: one of the two. */
typedef struct scalar {
    const char *name;
    uint64_t *whole;
    double *real;
} scalar;

static void scalars_of(sd_diff *d, scalar out[SCALARS])
{
    sd_diff_side *b = &d->base, *f = &d->tuned;
    sd_diff_part *all = &d->part[SD_DIFF_ALL], *first = &d->part[SD_DIFF_SELECTION], *second = &d->part[SD_DIFF_ESTIMATION];
    const scalar scalars[SCALARS] = {
        {"latents", &d->latents, NULL},
        {"k", &d->k, NULL},
        {"tokens", &d->tokens, NULL},
        {"docs", &d->docs, NULL},
        {"base_ev", NULL, &b->ev},
        {"base_l0", NULL, &b->l0},
        {"base_sse", NULL, &b->sse},
        {"base_spread", NULL, &b->spread},
        {"base_dead", &b->dead, NULL},
        {"base_error_norm", NULL, &b->error_norm},
        {"base_error_norm_low", NULL, &b->error_norm_low},
        {"base_error_norm_high", NULL, &b->error_norm_high},
        {"compat_base_error_norm", NULL, &b->compat_error_norm},
        {"compat_tuned_error_norm", NULL, &f->compat_error_norm},
        {"compat_tokens", &d->compat_tokens, NULL},
        {"tuned_ev", NULL, &f->ev},
        {"tuned_l0", NULL, &f->l0},
        {"tuned_sse", NULL, &f->sse},
        {"tuned_spread", NULL, &f->spread},
        {"tuned_dead", &f->dead, NULL},
        {"tuned_error_norm", NULL, &f->error_norm},
        {"tuned_error_norm_low", NULL, &f->error_norm_low},
        {"tuned_error_norm_high", NULL, &f->error_norm_high},
        {"all_docs", &all->docs, NULL},
        {"all_tokens", &all->tokens, NULL},
        {"all_quantile", NULL, &all->quantile},
        {"selection_docs", &first->docs, NULL},
        {"selection_tokens", &first->tokens, NULL},
        {"selection_quantile", NULL, &first->quantile},
        {"estimation_docs", &second->docs, NULL},
        {"estimation_tokens", &second->tokens, NULL},
        {"estimation_quantile", NULL, &second->quantile},
        {"epsilon", NULL, &d->epsilon},
        {"tested", &d->tested, NULL},
        {"flips", &d->flips, NULL},
        {"fvu_ratio", NULL, &d->fvu_ratio},
        {"error_norm_increase", NULL, &d->error_norm_increase},
        {"error_norm_increase_low", NULL, &d->error_norm_increase_low},
        {"error_norm_increase_high", NULL, &d->error_norm_increase_high},
    };

    for (int i = 0; i < SCALARS; i++)
        out[i] = scalars[i];
}

sd_status sd_diff_write(const sd_diff *diff, const char *path)
{
    sd_diff copy = *diff; /* the tables need pointers to non-const members; nothing is changed */
    sd_attr attrs[ATTRS] = {{.name = "site", .kind = SD_ATTR_TEXT, .text = diff->site},
                            {.name = "trained_on", .kind = SD_ATTR_TEXT, .text = diff->trained_on}};
    sd_array arrays[DIFF_COLUMNS];
    column columns[DIFF_COLUMNS];
    scalar scalars[SCALARS];

    scalars_of(&copy, scalars);
    for (int i = 0; i < SCALARS; i++)
        attrs[i + 2] = scalars[i].whole != NULL
                           ? (sd_attr){.name = scalars[i].name, .kind = SD_ATTR_U64, .u64 = *scalars[i].whole}
                           : (sd_attr){.name = scalars[i].name, .kind = SD_ATTR_F64, .f64 = *scalars[i].real};
    columns_of(&copy, columns);
    for (int i = 0; i < DIFF_COLUMNS; i++)
        arrays[i] = (sd_array){.name = columns[i].name,
                               .type = columns[i].type,
                               .dims = 1,
                               .shape = {diff->latents},
                               .data = *columns[i].data,
                               .unit = columns[i].unit,
                               .about = columns[i].about};
    return sd_bundle_write(path, FORMAT, VERSION, attrs, ATTRS, arrays, DIFF_COLUMNS);
}

static sd_status read_scalars(sd_bundle *bundle, sd_diff *d)
{
    scalar scalars[SCALARS];
    sd_status st;

    SD_TRY(st, sd_bundle_text(bundle, "site", &d->site));
    SD_TRY(st, sd_bundle_text(bundle, "trained_on", &d->trained_on));
    scalars_of(d, scalars);
    for (int i = 0; i < SCALARS; i++) {
        if (scalars[i].whole != NULL)
            SD_TRY(st, sd_bundle_u64(bundle, scalars[i].name, scalars[i].whole));
        else
            SD_TRY(st, sd_bundle_f64(bundle, scalars[i].name, scalars[i].real));
    }
out:
    return st;
}

sd_status sd_diff_read(sd_diff **diff, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_diff *d = NULL;
    column columns[DIFF_COLUMNS];
    sd_status st;

    *diff = NULL;
    SD_TRY(st, SD_NEW(&d, 1));
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    SD_TRY(st, read_scalars(bundle, d));
    columns_of(d, columns);
    for (int i = 0; i < DIFF_COLUMNS; i++) {
        uint64_t shape[SD_ARRAY_DIMS] = {0};

        SD_TRY(st, sd_bundle_read(bundle, columns[i].name, columns[i].type, 1, shape, columns[i].data));
        if (shape[0] != d->latents) {
            st = SD_FAIL(SD_E_DATA, "%s: '%s' has %llu entries for %llu latents", path, columns[i].name,
                         (unsigned long long)shape[0], (unsigned long long)d->latents);
            goto out;
        }
    }
    d->base.sums.rows = d->tuned.sums.rows = d->tokens;
    d->base.sums.latents = d->tuned.sums.latents = d->latents;
    *diff = d;
    d = NULL;
out:
    sd_bundle_close(&bundle);
    sd_diff_destroy(&d);
    return st;
}
